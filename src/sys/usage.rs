//! What the process uses of its machine, and the time of day: for a client that asks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Memory and computing time of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that it has now.
    pub resident_bytes: u64,
    /// Bytes of memory that it had at most.
    pub resident_bytes_most: u64,
    /// Bytes of memory of the machine.
    pub machine_bytes: u64,
    /// Time that it has computed.
    pub user: Duration,
    /// Time that the kernel has computed for it.
    pub system: Duration,
}

/// What this process uses now. What the kernel does not tell is zero.
pub fn now() -> Usage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has the size and the alignment of an rusage, which getrusage(2) fills.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all zero is an rusage, which is numbers only, and so is what getrusage made of it.
    let usage = unsafe { usage.assume_init() };
    let page_bytes = system_value(libc::_SC_PAGESIZE);
    Usage {
        resident_bytes: resident_pages() * page_bytes,
        resident_bytes_most: u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10,
        machine_bytes: system_value(libc::_SC_PHYS_PAGES) * page_bytes,
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    }
}

/// The time since 1970.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The second number of `/proc/self/statm` (proc(5)).
fn resident_pages() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

fn system_value(name: libc::c_int) -> u64 {
    // SAFETY: sysconf(3) takes a number and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = now();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes < usage.machine_bytes);
        assert!(usage.resident_bytes_most > 0 && usage.user + usage.system > Duration::ZERO);
        assert!(wall() > Duration::from_secs(1_600_000_000));
    }
}
