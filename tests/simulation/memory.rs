//! How much memory a worker has: an allocator that counts what it asks for.
//!
//! ```text
//!   worker's code   counted, until it is freed, by whomever
//!   ring's methods  not counted: the kernel's side
//! ```
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use ringcracker::checked::Checked;
use ringcracker::io::{
    Address, Buffer, Chain, Ends, Errno, Event, Fd, How, KeepAlive, Ring, Wait, WaitError,
};
use ringcracker::sim::SimRing;
use ringcracker::time::Instant;
use ringcracker::token::Token;

/// Bytes that the worker of this thread has.
pub fn held() -> usize {
    usize::try_from(HELD.get()).unwrap_or(0)
}

/// Counts what `work` asks for as the worker's.
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    with(true, work)
}

fn with<T>(counts: bool, work: impl FnOnce() -> T) -> T {
    let before = COUNTS.replace(counts);
    let result = work();
    COUNTS.set(before);
    result
}

/// A watched ring whose own memory is not the worker's.
pub struct Outside(Checked<SimRing>);

impl Outside {
    pub fn new(ring: SimRing) -> Self {
        Self(Checked::from(ring))
    }

    pub fn inner_mut(&mut self) -> &mut SimRing {
        self.0.inner_mut()
    }
}

impl Ring for Outside {
    fn accept(&mut self, token: Token, listener: Fd) {
        with(false, || self.0.accept(token, listener));
    }

    fn connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        with(false, || self.0.connect(token, to, within))
    }

    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        with(false, || self.0.recv(token, fd, within));
    }

    fn send(&mut self, token: Token, fd: Fd, output: Chain) {
        with(false, || self.0.send(token, fd, output));
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        with(false, || self.0.watch_hangup(token, fd));
    }

    fn cancel(&mut self, target: Token) {
        with(false, || self.0.cancel(target));
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        with(false, || self.0.shutdown(fd, how));
    }

    fn keep_alive(&mut self, fd: Fd, how: KeepAlive) {
        with(false, || self.0.keep_alive(fd, how));
    }

    fn peer(&mut self, fd: Fd) -> Option<IpAddr> {
        with(false, || self.0.peer(fd))
    }

    fn ends(&mut self, fd: Fd) -> Ends {
        with(false, || self.0.ends(fd))
    }

    fn close(&mut self, token: Token, fd: Fd) {
        with(false, || self.0.close(token, fd));
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        with(false, || self.0.refuse(fd, words));
    }

    fn give_back(&mut self, buffer: Buffer) {
        with(false, || self.0.give_back(buffer));
    }

    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        with(false, || self.0.wait(how, into))
    }
}

/// The system's allocator, with a word before each piece that says whose it is: a worker's output
/// is freed by whoever has it last.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// The layout with room for the word, and how far behind its beginning the piece is.
fn widened(layout: Layout) -> Option<(Layout, usize)> {
    let before = layout.align().max(WORD);
    let size = layout.size().checked_add(before)?;
    Some((Layout::from_size_align(size, before).ok()?, before))
}

/// A piece of so many bytes is the worker's, or is so no longer.
fn count(bytes: i64) {
    // A thread that ends frees what it has after its counter.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: pieces are those of `System`, further in by a multiple of their alignment, so aligned and
// large enough; `dealloc` finds the same layout again from what it is given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((wide, before)) = widened(layout) else { return std::ptr::null_mut() };
        // SAFETY: `wide` has a size above zero, as `before` is.
        let whole = unsafe { System.alloc(wide) };
        if whole.is_null() {
            return whole;
        }
        let counts = COUNTS.try_with(Cell::get).unwrap_or(false);
        if counts {
            count(layout.size() as i64);
        }
        // SAFETY: the first `WORD` bytes of the piece are aligned to it, and nobody else's.
        unsafe { whole.cast::<usize>().write(usize::from(counts)) };
        // SAFETY: `before` bytes are part of the piece.
        unsafe { whole.add(before) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some((wide, before)) = widened(layout) else { return };
        // SAFETY: `alloc` returned `piece` for this layout, so many bytes into what it was given.
        let whole = unsafe { piece.sub(before) };
        // SAFETY: `alloc` wrote the word there.
        if unsafe { whole.cast::<usize>().read() } == 1 {
            count(-(layout.size() as i64));
        }
        // SAFETY: `System` gave this for this layout.
        unsafe { System.dealloc(whole, wide) };
    }
}

/// What stands before each piece: a word, aligned for every type that has no wishes of its own.
const WORD: usize = 16;

#[test]
fn what_a_worker_asks_for_is_counted_until_anybody_frees_it() {
    let before = held();
    let other = vec![0_u8; 1000];
    assert_eq!(held(), before);
    let own = counted(|| (vec![0_u8; 3000], with(false, || vec![0_u8; 500])));
    assert_eq!(held(), before + 3000);
    counted(|| drop(other));
    assert_eq!(held(), before + 3000, "it was not the worker's");
    drop(own);
    assert_eq!(held(), before);
}
