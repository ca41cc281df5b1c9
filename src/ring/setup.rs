//! Making a ring: which set-up flags, and what to do without when a kernel knows fewer.

use std::fmt;
use std::time::Duration;

use io_uring::IoUring;

use crate::io::{Errno, Fd};
use crate::limits::{
    COMPLETION_ENTRIES, RECV_BUFFER_BYTES, RECV_BUFFERS, SUBMISSION_ENTRIES, TICK_MS,
};

/// How large a ring is, and what it reads by itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submission queue entries; the kernel rounds up to a power of two.
    pub submission_entries: u32,
    /// Completion queue entries, at least as many; rounded up likewise.
    pub completion_entries: u32,
    /// Receive buffers: a power of two, at most 32768.
    pub buffers: u16,
    /// Bytes of each receive buffer, at least 1.
    pub buffer_bytes: usize,
    /// Time between two `Tick` events; `None` has none.
    pub tick: Option<Duration>,
    /// A signalfd to read: `Signal` events.
    pub signals: Option<Fd>,
    /// An eventfd to read: `Mail` events.
    pub mail: Option<Fd>,
    /// How many set-up flags to do without, as on an older kernel: 0 to 3, in the order NO_SQARRAY,
    /// DEFER_TASKRUN (COOP_TASKRUN instead), SINGLE_ISSUER. Above 0, what is younger than
    /// NO_SQARRAY is not made use of either.
    pub flags_forgone: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            submission_entries: SUBMISSION_ENTRIES,
            completion_entries: COMPLETION_ENTRIES,
            buffers: RECV_BUFFERS,
            buffer_bytes: RECV_BUFFER_BYTES,
            tick: Some(Duration::from_millis(TICK_MS)),
            signals: None,
            mail: None,
            flags_forgone: 0,
        }
    }
}

/// Why a ring could not be made. `CannotRun::from` adds the cause and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// io_uring_setup(2), or the mapping of its memory, failed.
    #[error("io_uring_setup failed: {0:?}")]
    Ring(Errno),
    /// The kernel refused the ring of receive buffers (Linux 5.19).
    #[error("io_uring_register of a buffer ring failed: {0:?}")]
    Buffers(Errno),
    /// The kernel says of itself that it lacks something this program relies on.
    #[error("io_uring lacks {0}")]
    Lacks(&'static str),
}

/// What a ring makes use of; its `Display` is for the start-up log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Only one thread submits, and the kernel relies on it (Linux 6.0).
    pub single_issuer: bool,
    /// Completions are worked off when we wait, and never interrupt us (Linux 6.1).
    pub defer_taskrun: bool,
    /// No indirection between the queue and its entries (Linux 6.6).
    pub no_sqarray: bool,
    /// Enters name the ring by a registered index, which saves a look-up (Linux 5.18).
    pub registered_ring: bool,
    /// A wait can gather completions for a while (Linux 6.12).
    pub min_wait: bool,
    /// A wait does not count as waiting for a disk (Linux 6.15).
    pub no_iowait: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("single_issuer", self.single_issuer),
            ("defer_taskrun", self.defer_taskrun),
            ("no_sqarray", self.no_sqarray),
            ("registered_ring", self.registered_ring),
            ("min_wait", self.min_wait),
            ("no_iowait", self.no_iowait),
        ];
        f.write_str("io_uring with")?;
        for (name, _) in all.iter().filter(|(_, has)| *has) {
            write!(f, " {name}")?;
        }
        let mut separator = "; without ";
        for (name, _) in all.iter().filter(|(_, has)| !has) {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// How large a ring has become; its `Display` is for the start-up log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Submission queue entries.
    pub submissions: u32,
    /// Completion queue entries.
    pub completions: u32,
    /// Receive buffers.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { submissions, completions, buffers, buffer_bytes } = self;
        write!(
            f,
            "a ring of {submissions} submissions and {completions} completions, {buffers} buffers \
             of {buffer_bytes} bytes"
        )
    }
}

/// Makes the ring with as many of the wished flags as the kernel takes.
///
/// A flag that a kernel does not know is answered with `EINVAL` and no word on which one, so the
/// flags are given up from the youngest to the oldest.
pub(super) fn build(options: &Options) -> Result<(IoUring, Features), SetupError> {
    let mut refused = Errno(libc::EINVAL);
    for wished in &LADDER[options.flags_forgone..] {
        match build_as(options, *wished) {
            Ok(ring) => return checked(ring, *wished),
            Err(errno) if errno.0 == libc::EINVAL => refused = errno,
            Err(errno) => return Err(SetupError::Ring(errno)),
        }
    }
    Err(SetupError::Ring(refused))
}

/// What to ask for: all (6.6), then what 6.1 has. The rest is for kernels of that age with a flag
/// taken out; `tests/ring` runs on every rung.
const LADDER: [Features; 4] = [
    Features { no_sqarray: true, ..LINUX_6_1 },
    LINUX_6_1,
    Features { defer_taskrun: false, ..LINUX_6_1 },
    Features { defer_taskrun: false, single_issuer: false, ..LINUX_6_1 },
];

const LINUX_6_1: Features = Features {
    single_issuer: true,
    defer_taskrun: true,
    no_sqarray: false,
    registered_ring: false,
    min_wait: false,
    no_iowait: false,
};

fn build_as(options: &Options, wished: Features) -> Result<IoUring, Errno> {
    let mut builder = IoUring::builder();
    // CLAMP cuts sizes beyond the kernel's limits instead of refusing; SUBMIT_ALL goes on behind a
    // bad entry, so that one fault is one failed operation. A child must not share the mapping.
    builder
        .dontfork()
        .setup_clamp()
        .setup_submit_all()
        .setup_cqsize(options.completion_entries.max(options.submission_entries));
    if wished.single_issuer {
        builder.setup_single_issuer();
    }
    if wished.defer_taskrun {
        builder.setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    if wished.no_sqarray {
        builder.setup_no_sqarray();
    }
    builder
        .build(options.submission_entries)
        .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// Reads what the kernel says of itself. What is required has been there since 5.17, so to lack it
/// means a kernel that was patched.
fn checked(ring: IoUring, wished: Features) -> Result<(IoUring, Features), SetupError> {
    let params = ring.params();
    // Sockaddr, timespec, msghdr and iovecs are reused right after an enter.
    let required = [
        (params.is_feature_submit_stable(), "SUBMIT_STABLE"),
        (params.is_feature_nodrop(), "NODROP"),
        (params.is_feature_ext_arg(), "EXT_ARG"),
        (params.is_feature_skip_cqe_on_success(), "CQE_SKIP"),
    ];
    if let Some((_, name)) = required.into_iter().find(|(has, _)| !has) {
        return Err(SetupError::Lacks(name));
    }
    // Kernels that have them take the first rung; who forgoes it is to be as on an older kernel.
    let is_young = wished.no_sqarray;
    let features = Features {
        min_wait: is_young && params.is_feature_min_timeout(),
        no_iowait: is_young && params.is_feature_no_iowait(),
        ..wished
    };
    Ok((ring, features))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_say_what_is_missing() {
        let none = Features::default().to_string();
        assert!(none.starts_with("io_uring with; without single_issuer defer_taskrun"), "{none}");
        let some = Features { min_wait: true, ..LINUX_6_1 }.to_string();
        assert_eq!(
            some,
            "io_uring with single_issuer defer_taskrun min_wait; without no_sqarray \
             registered_ring no_iowait"
        );
    }

    #[test]
    fn flags_are_forgone_in_the_order_of_their_age() {
        let options =
            Options { submission_entries: 8, completion_entries: 8, ..Options::default() };
        let flags = (0..=3).map(|flags_forgone| {
            let (_, made) = build(&Options { flags_forgone, ..options.clone() }).unwrap();
            (made.no_sqarray, made.defer_taskrun, made.single_issuer)
        });
        let flags: Vec<_> = flags.collect();
        // The first is whatever this kernel takes.
        assert_eq!(flags[1..], [(false, true, true), (false, false, true), (false, false, false)]);
    }
}
