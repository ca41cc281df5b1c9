//! The test's stand-in for the kernel: a ring over in-memory pipes, a virtual clock, simulated
//! redis servers and clients, and faults. One seed determines a whole run.
//!
//! ```text
//!  random faults trace     what chance decides, and what came of it
//!  pipe network            connections, and how each side may end them
//!  resp redis              the peers' own parser, and what a server knows
//!  ledger                  what the servers have done: the truth about every reply
//!  client server           the peers: scripts, and the check of every byte
//!  operation buffers ring  the ring, and the check of its contract
//! ```
//!
//! **Knows nothing of:** the worker, the proxy, or their parsers. Whatever drives an `io::Ring`
//! can be driven here.

mod buffers;
mod client;
mod faults;
mod ledger;
mod network;
mod operation;
mod pipe;
mod random;
mod redis;
mod resp;
mod ring;
mod server;
mod trace;

pub use client::{ClientScript, Cut, Ended, Exchange, Leaves, Outcome, Reads};
pub use faults::{Fault, Faults};
pub use ledger::{Execution, Reply, mark_of, marked, range_end};
pub use random::Random;
pub use resp::{array, bulk, integer, request};
pub use ring::{Settings, SimRing};
pub use server::{AWAY_MAX, Change, Mischief, ServerScript};

#[cfg(test)]
mod tests;
