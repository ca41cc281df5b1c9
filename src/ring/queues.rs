//! The two queues shared with the kernel, and the one call that moves both.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue};

use super::setup::Features;
use super::shelf::Shelves;
use crate::io::{Errno, Wait, WaitError};

/// The submission queue, the completion queue, and what queued submissions point to.
///
/// The one `Submitter` lives as long as the ring, because it alone remembers that the ring's
/// descriptor is registered: one made per call would enter by the plain descriptor.
pub(super) struct Queues {
    /// A leaked box that `drop` takes back, which is why the pointer stems from its `&mut`: freeing
    /// is a write. Only shared references are ever made of it.
    ring: NonNull<IoUring>,
    /// Borrows from `ring`, hence is never used by `drop` after that is gone.
    submitter: ManuallyDrop<Submitter<'static>>,
    features: Features,
    /// Completions taken out of turn, because the kernel wanted room before it took submissions.
    early: Vec<cqueue::Entry>,
    /// Why the kernel takes no submissions any more. The next `wait` says so.
    failed: Option<WaitError>,
    /// Where queued submissions find their arguments.
    pub(super) shelves: Shelves,
}

/// How often a submission is tried before the ring counts as broken: `EAGAIN` is a passing want
/// of kernel memory, `EBUSY` a full completion queue, and each try takes completions out.
const SUBMIT_TRIES: usize = 1000;

/// How often an overflowing completion queue is emptied within one wait. The rest stays with the
/// kernel until the next.
const OVERFLOW_ROUNDS: usize = 64;

/// The sleep of a gathering wait that gathers nothing. The kernel ends a wait with a window and
/// no time limit as soon as the window is over (6.12, `io_cqring_min_timer_wakeup`), which an idle
/// worker would do all day; with a limit behind the window it sleeps on for the first completion.
const GATHER_LIMIT: Timespec = Timespec::new().sec(1);

impl Queues {
    /// Takes a ring over and registers its descriptor with this thread, if the kernel can.
    pub(super) fn new(ring: IoUring, mut features: Features) -> Self {
        let entries = ring.params().sq_entries() as usize;
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box was just leaked and lives until `drop`; the `&mut` that the pointer
        // stems from is gone, and no other is made before that.
        let mut submitter = unsafe { ring.as_ref() }.submitter();
        features.registered_ring = submitter.register_ring_fd().is_ok();
        Self {
            ring,
            submitter: ManuallyDrop::new(submitter),
            features,
            early: Vec::new(),
            failed: None,
            shelves: Shelves::new(entries),
        }
    }

    pub(super) const fn features(&self) -> &Features {
        &self.features
    }

    /// Entries of the submission queue and of the completion queue.
    pub(super) fn entries(&self) -> (u32, u32) {
        // SAFETY: `ring` is live until `drop`, and only shared references are made of it.
        let params = unsafe { self.ring.as_ref() }.params();
        (params.sq_entries(), params.cq_entries())
    }

    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Whether `entries` submissions in a row, and what they point to, find their places.
    pub(super) fn has_room(&mut self, entries: usize) -> bool {
        let (used, capacity) = self.submissions(|queue| (queue.len(), queue.capacity()));
        assert!(entries <= capacity, "a queue of {capacity} cannot take {entries} at once");
        capacity - used >= entries && self.shelves.has_room()
    }

    /// Queues submissions next to each other, so that a link is never split. Returns whether they
    /// are queued; they are not when the ring is broken, of which the next `wait` tells.
    ///
    /// # Safety
    ///
    /// What each entry points to must live, and stay where it is, until the kernel took the entry
    /// (arguments on the shelves) or completed the operation (payload).
    pub(super) unsafe fn push(&mut self, entries: &[Entry]) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.submissions(|queue| {
            // SAFETY: the caller's promise is the one that `push_multiple` asks for.
            let pushed = unsafe { queue.push_multiple(entries) };
            pushed.expect("has_room was asked for as many");
        });
        true
    }

    /// Submits what is queued, waits as `how` says, and moves all completions to `into`.
    pub(super) fn wait(
        &mut self,
        how: Wait,
        into: &mut Vec<cqueue::Entry>,
    ) -> Result<(), WaitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let want = if self.early.is_empty() { how.want } else { 0 };
        into.append(&mut self.early);
        if want > 1 && !how.window.is_zero() {
            return self.gather(want, how.window, into);
        }
        self.enter(want.min(1), self.wait_flags(), None).or_else(passing)?;
        self.take_completions(into)
    }

    /// Waits for `want` completions; once `window` is over, for one.
    fn gather(
        &mut self,
        want: u32,
        window: Duration,
        into: &mut Vec<cqueue::Entry>,
    ) -> Result<(), WaitError> {
        let flags = self.wait_flags() | EnterFlags::EXT_ARG;
        if self.features.min_wait {
            let window = u32::try_from(window.as_micros()).unwrap_or(u32::MAX).max(1);
            let args = SubmitArgs::new().min_wait_usec(window).timespec(&GATHER_LIMIT);
            self.enter(want, flags, Some(&args)).or_else(passing)?;
            return self.take_completions(into);
        }
        // The window as the limit of the wait, and another wait when it was over with nothing.
        let limit = Timespec::from(window);
        let args = SubmitArgs::new().timespec(&limit);
        self.enter(want, flags, Some(&args)).or_else(passing)?;
        self.take_completions(into)?;
        if into.is_empty() {
            self.enter(1, self.wait_flags(), None).or_else(passing)?;
            self.take_completions(into)?;
        }
        Ok(())
    }

    /// Waits for one completion for at most `limit`, without submitting more than is queued.
    ///
    /// Errors: as `wait`. A broken ring is not entered: what is queued points to shelves that were
    /// written again.
    pub(super) fn wait_at_most(
        &mut self,
        limit: Timespec,
        into: &mut Vec<cqueue::Entry>,
    ) -> Result<(), WaitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        into.append(&mut self.early);
        let args = SubmitArgs::new().timespec(&limit);
        let flags = self.wait_flags() | EnterFlags::EXT_ARG;
        self.enter(1, flags, Some(&args)).or_else(passing)?;
        self.take_completions(into)
    }

    /// GETEVENTS even when nothing is wanted: deferred work runs by it only.
    fn wait_flags(&self) -> EnterFlags {
        if self.features.no_iowait {
            EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::GETEVENTS
        }
    }

    /// Makes room: submits all that is queued, or leaves `failed` set. The shelves are empty
    /// afterwards; those of a broken ring as well, which submits nothing any more. Completions
    /// that this causes stay in their queue.
    pub(super) fn submit(&mut self) {
        for _ in 0..SUBMIT_TRIES {
            if self.failed.is_some() {
                self.shelves.clear();
                return;
            }
            match self.enter(0, EnterFlags::empty(), None).or_else(passing) {
                Ok(true) => return,
                Ok(false) => self.take_early(),
                Err(error) => self.failed = Some(error),
            }
        }
        self.failed = Some(WaitError::Enter(Errno(libc::EAGAIN)));
        self.shelves.clear();
    }

    /// Takes completions out of the way of a kernel that takes no submissions for want of room.
    fn take_early(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        let taken = self
            .enter(0, EnterFlags::GETEVENTS, None)
            .or_else(passing)
            .and_then(|_| self.take_completions(&mut early));
        self.early = early;
        if let Err(error) = taken {
            self.failed = Some(error);
        }
    }

    /// Empties the completion queue, and what the kernel kept back when it was full.
    fn take_completions(&mut self, into: &mut Vec<cqueue::Entry>) -> Result<(), WaitError> {
        for _ in 0..OVERFLOW_ROUNDS {
            // SAFETY: `ring` is live until `drop`, and only shared references are made of it.
            let ring = unsafe { self.ring.as_ref() };
            // SAFETY: `&mut self` makes this the only CompletionQueue; it ends with the statement,
            // which also frees the places for the kernel.
            into.extend(unsafe { ring.completion_shared() });
            if !self.submissions(|queue| queue.cq_overflow()) {
                break;
            }
            self.enter_with(0, 0, EnterFlags::GETEVENTS, None)
                .map(drop)
                .or_else(|errno| passing(errno).map(drop))?;
        }
        Ok(())
    }

    /// Submits what is queued and waits for `want` completions. Returns whether the submission
    /// queue is empty now, and then clears the shelves.
    fn enter(
        &mut self,
        want: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> Result<bool, Errno> {
        let queued = self.submissions(|queue| queue.len());
        let queued = u32::try_from(queued).expect("a queue has at most 32768 entries");
        let entered = self.enter_with(queued, want, flags, args);
        // A wait that failed (by its time limit, a signal) may have submitted all the same.
        let empty = self.submissions(|queue| queue.is_empty());
        if empty {
            self.shelves.clear();
        }
        entered.map(|_| empty)
    }

    fn enter_with(
        &self,
        submit: u32,
        want: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> Result<usize, Errno> {
        // SAFETY: `args` is what EXT_ARG announces and lives through the call (without the flag
        // it is None, which passes a null pointer); the queued entries were vouched for by those
        // who called `push`.
        let entered = unsafe { self.submitter.enter(submit, want, flags.bits(), args) };
        entered.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn submissions<T>(&mut self, act: impl FnOnce(&mut io_uring::SubmissionQueue<'_>) -> T) -> T {
        // SAFETY: `ring` is live until `drop`, and only shared references are made of it.
        let ring = unsafe { self.ring.as_ref() };
        // SAFETY: `&mut self` makes this the only SubmissionQueue, and `act` cannot reach `self`.
        let mut queue = unsafe { ring.submission_shared() };
        act(&mut queue)
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        if self.features.registered_ring {
            // The registration holds the ring open: left in place, it would keep it, and all that
            // is armed on it, until the thread ends. It fails only if there is none.
            let unregistered = self.submitter.unregister_ring_fd();
            debug_assert!(unregistered.is_ok(), "{unregistered:?}");
        }
        // SAFETY: `new` leaked this box, and only this drop takes it back. `submitter` borrows
        // from it, has no drop code that runs (ManuallyDrop) and is not used below.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}

/// Errors of an enter that mean "look what is there, and come again".
///
/// `ETIME` is the time limit of the wait, `EINTR` a signal, `EAGAIN` a want of memory, `EBUSY` a
/// completion queue that must be emptied first.
fn passing(errno: Errno) -> Result<bool, WaitError> {
    match errno.0 {
        libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY => Ok(false),
        libc::EBADR => Err(WaitError::CompletionLost),
        _ => Err(WaitError::Enter(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_with_a_remedy_pass() {
        for errno in [libc::EINTR, libc::ETIME, libc::EAGAIN, libc::EBUSY] {
            assert_eq!(passing(Errno(errno)), Ok(false));
        }
        assert_eq!(passing(Errno(libc::EBADR)), Err(WaitError::CompletionLost));
        let broken = Errno(libc::EEXIST);
        assert_eq!(passing(broken), Err(WaitError::Enter(broken)));
    }
}
