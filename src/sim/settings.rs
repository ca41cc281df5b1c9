//! The size of a simulated world.

use std::time::Duration;

use crate::limits::COMPLETION_ENTRIES;
use crate::sim::faults::Faults;

/// The size of a simulated world, and what goes wrong in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that a socket holds in each direction.
    pub pipe_bytes: usize,
    /// Receive buffers of the ring.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
    /// Accepted sockets that are open at once at most: an accept beyond finds no descriptor.
    /// Connects always find one; a proxy is to be set up that way.
    pub accepted_max: usize,
    /// The longest time that a connect takes.
    pub connect_time: Duration,
    /// Completions that one wait brings at most, unless more were waited for; at least 1. With
    /// deferred task work the kernel brings 20 (Linux 6.18, measured).
    pub completions_max: usize,
    /// Places of the completion queue, at least 1. A multishot operation whose completion finds
    /// none ends with it.
    pub queue_entries: usize,
    /// Lines of the report that a failure prints.
    pub trace_notes_max: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// From when on nothing goes wrong any more, from the beginning of the run.
    pub calm_from: Option<Duration>,
    /// Whether it is a failure when a client waits and nothing but ticks is left to happen.
    pub ticks_heal_nothing: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pipe_bytes: 4096,
            buffers: 16,
            buffer_bytes: 1024,
            accepted_max: 1000,
            connect_time: Duration::from_millis(1),
            completions_max: 20,
            queue_entries: COMPLETION_ENTRIES as usize,
            trace_notes_max: 1000,
            faults: Faults::default(),
            calm_from: None,
            ticks_heal_nothing: false,
        }
    }
}
