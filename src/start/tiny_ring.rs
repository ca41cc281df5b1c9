//! Rings of a test's size: `RINGCRACKER_TEST_RING=8x4x512`.
//!
//! With 8 submissions, as many completions and 4 buffers, what a worker meets once in a month
//! happens in every turn: the queues are full, completions overflow, receives find no buffer and
//! multishot operations end. A release build does not know the variable.

use std::ffi::{OsStr, OsString};

use ringcracker::limits::RECV_BUFFER_BYTES;
use ringcracker::ring::Options;

/// The variable has a value that says no sizes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE} is {0:?}, and should be SUBMISSIONSxBUFFERS or SUBMISSIONSxBUFFERSxBYTES: \
     submissions 2 to 32768, buffers a power of two up to 32768, bytes of each 1 to 16777216"
)]
pub(crate) struct NotUnderstood(OsString);

/// The sizes that the environment asks for, if it does.
///
/// Errors: a value that is not understood.
pub(super) fn asked_for() -> Result<Option<Options>, NotUnderstood> {
    std::env::var_os(VARIABLE).map(|value| understood(&value)).transpose()
}

fn understood(value: &OsStr) -> Result<Options, NotUnderstood> {
    let sizes = value.to_str().and_then(sizes);
    let (submissions, buffers, buffer_bytes) = sizes.ok_or_else(|| NotUnderstood(value.into()))?;
    Ok(Options {
        submission_entries: submissions,
        // The fewest that a kernel makes.
        completion_entries: submissions,
        buffers,
        buffer_bytes,
        ..Options::default()
    })
}

fn sizes(value: &str) -> Option<(u32, u16, usize)> {
    let mut parts = value.split('x');
    let submissions = parts.next()?.parse().ok().filter(|count| (2..=1 << 15).contains(count))?;
    let buffers: u16 = parts.next()?.parse().ok()?;
    let bytes = parts.next().map_or(Some(RECV_BUFFER_BYTES), |part| part.parse().ok())?;
    let fits = buffers.is_power_of_two() && (1..=1 << 24).contains(&bytes);
    (fits && parts.next().is_none()).then_some((submissions, buffers, bytes))
}

const VARIABLE: &str = "RINGCRACKER_TEST_RING";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(u32, u32, u16, usize)> {
        let options = understood(OsStr::new(value)).ok()?;
        let queues = (options.submission_entries, options.completion_entries);
        Some((queues.0, queues.1, options.buffers, options.buffer_bytes))
    }

    #[test]
    fn two_or_three_numbers_are_sizes() {
        assert_eq!(read("8x4"), Some((8, 8, 4, RECV_BUFFER_BYTES)));
        assert_eq!(read("16x2x512"), Some((16, 16, 2, 512)));
    }

    #[test]
    fn anything_else_is_not_understood() {
        let values = [
            "",
            "8",
            "8x",
            "x4",
            "8x4x",
            "8x4x512x1",
            "8x3",
            "8x0",
            "1x4",
            "0x4",
            "32769x4",
            "8x65536",
            "8x4x0",
            "8x4x16777217",
            "-8x4",
            "8 x4",
            "8X4",
            "off",
        ];
        for value in values {
            assert_eq!(read(value), None, "{value:?}");
        }
    }
}
