//! The monotonic clock.

use crate::time::Instant;

/// The time now, by `CLOCK_MONOTONIC`: the clock that the kernel's ring timeouts run on.
#[inline]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live local of the type that clock_gettime(2) fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC exists since Linux 2.6");
    let seconds = u64::try_from(time.tv_sec).expect("counted from boot");
    let nanos = u64::try_from(time.tv_nsec).expect("0 to 999,999,999");
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back() {
        let first = now();
        assert!(first > Instant::default());
        assert!((0..1000).all(|_| now() >= first));
    }
}
