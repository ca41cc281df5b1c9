//! What the process asks of the kernel outside a ring: thin safe wrappers, used at start-up and
//! between threads, never on the request path (but for the clock).
//!
//! **Knows nothing of:** rings, pools, protocols.
#![allow(unsafe_code)]

pub mod addresses;
pub mod clock;
pub mod daemon;
pub mod event;
pub mod file_lock;
pub mod memory;
pub mod names;
pub mod process;
pub mod signals;
pub mod sockets;
pub mod usage;

/// The result of a call that says -1 for "see errno".
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
