//! What the process may use: descriptors, locked memory, processors, and which kernel it runs on.

use crate::sys::check;

/// Descriptors that this process may have open, the soft limit.
pub fn open_files_limit() -> u64 {
    limit(libc::RLIMIT_NOFILE).map_or(u64::MAX, |limit| limit.rlim_cur)
}

/// Raises the soft limit of open descriptors to the hard one. Returns what it is afterwards.
pub fn raise_open_files_limit() -> u64 {
    if let Ok(mut wanted) = limit(libc::RLIMIT_NOFILE) {
        wanted.rlim_cur = wanted.rlim_max;
        // A refusal changes nothing, and the value returned below says so.
        // SAFETY: `wanted` is a live, initialised rlimit, which setrlimit(2) reads.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
    }
    open_files_limit()
}

/// Bytes that this user may lock in memory, which rings count against; `None` is no limit.
pub fn memlock_limit() -> Option<u64> {
    let limit = limit(libc::RLIMIT_MEMLOCK).ok()?;
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Processors that this process may run on, at least 1: its affinity, and its control group's
/// quota, whichever is less.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The kernel's release, as `uname -r` prints it: `6.1.0-18-amd64`.
pub fn kernel_release() -> String {
    uname().map_or("unknown".to_owned(), |names| text(&names.release))
}

/// The name of this machine, as `hostname` prints it.
pub fn host_name() -> String {
    uname().map_or("unknown".to_owned(), |names| text(&names.nodename))
}

fn uname() -> Option<libc::utsname> {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: `names` has the size and the alignment of a utsname, which uname(2) fills.
    if unsafe { libc::uname(names.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: uname succeeded, so all fields are written.
    Some(unsafe { names.assume_init() })
}

/// A field of a `utsname`, up to its NUL.
fn text(field: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|&letter| letter as u8).collect();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn limit(resource: libc::__rlimit_resource_t) -> std::io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live local of the type that getrlimit(2) fills.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let before = open_files_limit();
        let after = raise_open_files_limit();
        assert!(after >= before && before > 0);
        assert_eq!(after, limit(libc::RLIMIT_NOFILE).unwrap().rlim_max);
    }

    #[test]
    fn the_kernel_has_a_version() {
        assert!(kernel_release().starts_with(|c: char| c.is_ascii_digit()), "{}", kernel_release());
        assert!(!host_name().is_empty());
        assert!(cpus() >= 1);
    }
}
