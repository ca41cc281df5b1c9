//! How a worker waits: the one place where batching is decided.

use std::time::Duration;

use crate::io::Wait;

/// How to wait for the next turn. `is_idle`: nothing is left to do without a new completion.
///
/// A worker returns at the first completion. While it handles one turn the next fills by itself:
/// under load it finds many completions, and a lone client is never kept waiting.
pub(crate) fn next(is_idle: bool) -> Wait {
    Wait { want: u32::from(is_idle), window: Duration::ZERO }
}
