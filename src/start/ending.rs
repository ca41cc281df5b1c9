//! What each signal means, and the way to the end.
//!
//! ```text
//!   INT, TERM --> drain --every worker drained--> end
//!                   +--limit, a second signal---> end
//! ```

use std::time::{Duration, Instant};

use log::{info, warn};
use ringcracker::admin::Reporting;
use ringcracker::io::Ring;
use ringcracker::logging::Log;
use ringcracker::worker::{Running, Shared, Worker};

use crate::start::StartError;
use crate::start::files::{PidFile, SocketFile};

/// The signals that are heard; `SIGPIPE` is ignored.
pub(crate) const SIGNALS: [i32; 7] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Leads the first worker through its life, up to the end of the process.
pub(crate) struct Ending<'p> {
    limit: Duration,
    log: &'p Log,
    shared: &'p Shared,
    /// What a successor may have once the drain begins.
    names: Option<Names<'p>>,
    /// When the drain is over, whoever is left; `None`: it has not begun.
    until: Option<Instant>,
}

/// The names that a process has, as long as it lets clients in; its pools' ports are the workers'.
pub(crate) struct Names<'p> {
    /// Those of unix sockets.
    pub(crate) sockets: Vec<SocketFile>,
    /// The address of the statistics.
    pub(crate) reporting: Reporting,
    pub(crate) pid_file: &'p PidFile,
}

impl Names<'_> {
    /// Lets a successor have them.
    fn let_go(self) {
        drop(self.sockets);
        self.reporting.end();
        self.pid_file.let_go();
    }
}

/// Whether the process goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    Out,
}

impl<'p> Ending<'p> {
    pub(crate) fn new(limit: Duration, log: &'p Log, shared: &'p Shared, names: Names<'p>) -> Self {
        Self { limit, log, shared, names: Some(names), until: None }
    }

    /// Turns the worker, which hears the signals, until the end.
    ///
    /// Errors: the worker's ring failed.
    pub(crate) fn run<R: Ring>(mut self, worker: &mut Worker<R>) -> Result<(), StartError> {
        loop {
            let goes = match worker.turn().map_err(StartError::Ring)? {
                Running::On => Goes::On,
                Running::Drained if self.shared.is_drained() => Goes::Out,
                Running::Drained => Goes::On,
                Running::Signal(number) => self.on_signal(number),
                Running::Stop => Goes::Out,
            };
            if goes == Goes::Out {
                return Ok(());
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                warn!("{} clients are left after {:?}", self.shared.clients(), self.limit);
                return Ok(());
            }
        }
    }

    fn on_signal(&mut self, number: i32) -> Goes {
        match number {
            libc::SIGHUP => {
                self.say(number, ", reopening log file");
                self.log.reopen();
            }
            libc::SIGTTIN => {
                self.say(number, ", up logging level");
                let level = self.log.turn_up();
                self.log.say(format_args!("up log level to {level}"));
            }
            libc::SIGTTOU => {
                self.say(number, ", down logging level");
                let level = self.log.turn_down();
                self.log.say(format_args!("down log level to {level}"));
            }
            libc::SIGUSR1 | libc::SIGUSR2 => self.say(number, ""),
            number => return self.on_end(number),
        }
        Goes::On
    }

    fn on_end(&mut self, number: i32) -> Goes {
        if self.until.is_some() || self.limit.is_zero() {
            self.say(number, ", exiting");
            return Goes::Out;
        }
        self.say(number, &format!(", draining for up to {:?}", self.limit));
        self.until = Some(Instant::now() + self.limit);
        if let Some(names) = self.names.take() {
            names.let_go();
        }
        self.shared.drain();
        info!("{} clients are let go", self.shared.clients());
        Goes::On
    }

    /// In nutcracker's words: people look for them.
    fn say(&self, number: i32, what: &str) {
        self.log.say(format_args!("signal {number} ({}) received{what}", name_of(number)));
    }
}

const fn name_of(number: i32) -> &'static str {
    match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        _ => "unknown",
    }
}
