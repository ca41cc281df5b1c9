//! ringcracker: a proxy for Redis, Valkey and memcached that runs twemproxy's `nutcracker.yml`
//! on io_uring's completion model, one ring per worker.
//!
//! The house has floors, and a file uses only what stands on lower ones (`docs/design.md` has
//! the picture, `tests/tidy.rs` holds everybody to it):
//!
//! ```text
//! 5  main.rs start.rs cli.rs argv -> config -> workers
//! 4  worker  admin           the turn: completions in, state machines, flush, submit; figures
//! 3  proxy                   clients, servers, pools: events and a time in, wants out
//! 2  ring  checked           the kernel, and the watch over what is asked of it
//!    config  stats  sim      the file, the figures, and the test's stand-in for the kernel
//! 1  proto  hash  distribution
//! 0  io  sys  token  limits  time  logging
//! ```

pub mod admin;
pub mod checked;
pub mod cli;
pub mod config;
pub mod distribution;
pub mod hash;
pub mod io;
pub mod limits;
pub mod logging;
pub mod proto;
pub mod proxy;
pub mod ring;
pub mod sim;
pub mod stats;
pub mod sys;
pub mod time;
pub mod token;
pub mod worker;
