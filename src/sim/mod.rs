//! The test's stand-in for the kernel: a ring over in-memory pipes, a virtual clock, simulated
//! redis servers and clients, and faults. One seed determines a whole run.
//!
//! ```text
//!  random faults trace     what chance decides, and what came of it
//!  pipe network            connections, and how each side may end them
//!  resp redis memcached    the peers' own parsers, and what a server knows
//!  store pubsub            of either, whatever it speaks; and of channels
//!  ledger marks            what the servers have done: the truth about every reply
//!  findings health         what they found, and what troubles they had
//!  standing                what a server remembers of a connection
//!  client server fate      the peers: scripts, and the check of every byte
//!  operation buffers       what is in flight, and the memory for it
//!  completions turns       what a wait brings, and whether turns get anywhere
//!  ring wait settings      the ring, the check of its contract, and what happens in a wait
//! ```
//!
//! **Knows nothing of:** the worker, the proxy, or their parsers. Whatever drives an `io::Ring`
//! can be driven here.

mod buffers;
mod client;
mod completions;
mod fate;
mod faults;
mod findings;
mod health;
mod ledger;
mod marks;
mod memcached;
mod network;
mod operation;
mod pipe;
mod pubsub;
mod random;
mod redis;
mod resp;
mod ring;
mod scripts;
mod server;
mod settings;
mod standing;
mod store;
mod trace;
mod turns;
mod wait;

pub use client::{ClientScript, Cut, Ended, Exchange, Leaves, Outcome, REFUSAL, Reads};
pub use fate::{Change, Mischief, ServerScript};
pub use faults::{Fault, Faults};
pub use ledger::Reply;
pub use marks::{mark_of, marked, range_end};
pub use memcached::TOO_LARGE;
pub use pubsub::Published;
pub use random::Random;
pub use redis::Wanted;
pub use resp::{array, bulk, integer, request};
pub use ring::SimRing;
pub use scripts::script_name;
pub use server::AWAY_MAX;
pub use settings::Settings;

#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod tests;
