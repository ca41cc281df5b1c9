//! How a worker waits: the one place where batching is decided.

use std::time::Duration;

use crate::io::Wait;

/// Decides from recent turns whether to return at the first completion.
#[derive(Default)]
pub(crate) struct Pace {}

impl Pace {
    /// How to wait next. `is_idle`: nothing is left to do without new completions.
    pub(crate) fn next(&mut self, is_idle: bool) -> Wait {
        Wait { want: u32::from(is_idle), window: Duration::ZERO }
    }
}
