//! Why this program cannot run here, in one line with the remedy.

use std::fs;

use super::setup::{Options, SetupError};
use crate::io::Errno;
use crate::sys::process;

/// What is in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// The administrator switched io_uring off.
    #[error(
        "io_uring is disabled by kernel.io_uring_disabled={0}; run 'sysctl -w \
         kernel.io_uring_disabled=0', or put the user in the group kernel.io_uring_group (with 1)"
    )]
    Disabled(u32),
    /// A seccomp filter is in place, and io_uring is refused.
    #[error(
        "io_uring is refused under a seccomp filter, as containers have by default; allow \
         io_uring_setup, io_uring_enter and io_uring_register in its profile (docker run \
         --security-opt seccomp=FILE, or seccomp=unconfined)"
    )]
    Seccomp,
    /// Something else refuses io_uring.
    #[error(
        "io_uring is not permitted, and neither kernel.io_uring_disabled nor seccomp seems to be \
         the cause; look for a security module's denial (SELinux, AppArmor) in the kernel's log"
    )]
    NotPermitted,
    /// There is no io_uring.
    #[error(
        "the kernel ({release}) provides no io_uring; Linux 6.1 or later is needed, built with \
         CONFIG_IO_URING (a sandbox such as gVisor has none)"
    )]
    Absent {
        /// The kernel's release.
        release: String,
    },
    /// The rings do not fit the limit of locked memory.
    #[error(
        "the limit of locked memory is too low: {limit_kib} KiB for all of this user's rings, and \
         each worker needs about {need_kib} KiB; raise it (ulimit -l, LimitMEMLOCK=, docker run \
         --ulimit memlock=-1)"
    )]
    LockedMemory {
        /// KiB of the limit.
        limit_kib: u64,
        /// KiB of one worker's ring.
        need_kib: u64,
    },
    /// The kernel has no memory, and one ring fits the limit of locked memory.
    #[error(
        "the kernel has no memory for a ring of {need_kib} KiB; free some, use less workers, or \
         raise the limit of locked memory, which all rings of a user share (ulimit -l)"
    )]
    Memory {
        /// KiB of one worker's ring.
        need_kib: u64,
    },
    /// No descriptor is left.
    #[error("too many open files: the limit is {limit}; raise it (ulimit -n, LimitNOFILE=)")]
    Descriptors {
        /// The limit of this process.
        limit: u64,
    },
    /// The kernel has io_uring, but not enough of it.
    #[error("Linux 6.1 or later is needed, and this is {release}: {lacks}")]
    Old {
        /// The kernel's release.
        release: String,
        /// What was tried and how it failed.
        lacks: String,
    },
    /// Anything else.
    #[error("{what}: {errno:?} on Linux {release}")]
    Other {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        errno: Errno,
        /// The kernel's release.
        release: String,
    },
}

/// What the process can find out about its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// `kernel.io_uring_disabled`, if the kernel has it (6.6).
    pub(super) disabled: Option<u32>,
    /// Whether a seccomp filter is in place.
    pub(super) seccomp: bool,
    /// Bytes this user may lock; `None` is no limit.
    pub(super) memlock: Option<u64>,
    /// Bytes that one ring locks.
    pub(super) need: u64,
    /// Descriptors this process may have.
    pub(super) open_files: u64,
    /// `uname -r`.
    pub(super) release: String,
}

impl Facts {
    /// Reads the facts; `options` are those of the ring that was to be made.
    pub(super) fn read(options: &Options) -> Self {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        // Filters are per thread, and it is this thread that was refused.
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self {
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            seccomp: has_seccomp_filter(&status),
            memlock: process::memlock_limit(),
            need: locked_bytes(options),
            open_files: process::open_files_limit(),
            release: process::kernel_release(),
        }
    }
}

impl From<SetupError> for CannotRun {
    /// Explains a failure to make a ring of the default sizes.
    fn from(error: SetupError) -> Self {
        explain(error, &Facts::read(&Options::default()))
    }
}

/// The cause and the remedy of a ring that could not be made.
pub(super) fn explain(error: SetupError, facts: &Facts) -> CannotRun {
    match error {
        SetupError::Ring(errno) => refused("io_uring_setup", errno, facts),
        SetupError::Buffers(errno) => refused("io_uring_register of a buffer ring", errno, facts),
        SetupError::Lacks(_) => {
            CannotRun::Old { release: facts.release.clone(), lacks: error.to_string() }
        }
    }
}

/// The cause and the remedy where `what` failed with `errno`.
pub(super) fn refused(what: &'static str, errno: Errno, facts: &Facts) -> CannotRun {
    let release = facts.release.clone();
    let need_kib = facts.need.div_ceil(1024);
    match (errno.0, facts.disabled, facts.memlock) {
        (libc::EPERM, Some(value @ 1..), _) => CannotRun::Disabled(value),
        (libc::EPERM, _, _) if facts.seccomp => CannotRun::Seccomp,
        // SELinux denies with EACCES.
        (libc::EPERM | libc::EACCES, _, _) => CannotRun::NotPermitted,
        // A filter may also answer ENOSYS, on a kernel that does have io_uring.
        (libc::ENOSYS, _, _) if facts.seccomp => CannotRun::Seccomp,
        (libc::ENOSYS, _, _) => CannotRun::Absent { release },
        (libc::ENOMEM, _, Some(limit)) if limit < facts.need => {
            CannotRun::LockedMemory { limit_kib: limit / 1024, need_kib }
        }
        (libc::ENOMEM, _, _) => CannotRun::Memory { need_kib },
        (libc::EMFILE, _, _) => CannotRun::Descriptors { limit: facts.open_files },
        (libc::EINVAL | libc::EOPNOTSUPP, _, _) => {
            CannotRun::Old { release, lacks: format!("{what} failed: {errno:?}") }
        }
        _ => CannotRun::Other { what, errno, release },
    }
}

/// Whether the text of a `/proc/*/status` tells of a seccomp filter: mode 2.
fn has_seccomp_filter(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// Bytes that a ring locks: entries of 64 and 16 bytes, an index of 4 per submission on kernels
/// before 6.6, and a page of heads and tails for each of the three mappings.
fn locked_bytes(options: &Options) -> u64 {
    let submissions = u64::from(options.submission_entries);
    let completions = u64::from(options.completion_entries);
    submissions * (64 + 4) + completions * 16 + u64::from(options.buffers) * 16 + 3 * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            disabled: Some(0),
            seccomp: false,
            memlock: Some(65536),
            need: 200 << 10,
            open_files: 1024,
            release: "5.10.0-8".to_owned(),
        }
    }

    /// Each line is whole, names the cause, and fits a log line.
    fn line(errno: i32, facts: &Facts, words: &[&str]) {
        let line = explain(SetupError::Ring(Errno(errno)), facts).to_string();
        assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        for word in words {
            assert!(line.contains(word), "{word} is missing: {line}");
        }
    }

    #[test]
    fn a_switched_off_io_uring_names_the_sysctl() {
        let facts = Facts { disabled: Some(2), seccomp: true, ..facts() };
        line(libc::EPERM, &facts, &["kernel.io_uring_disabled=2", "sysctl -w"]);
    }

    #[test]
    fn a_container_is_told_of_its_profile() {
        let facts = Facts { seccomp: true, ..facts() };
        line(libc::EPERM, &facts, &["seccomp", "io_uring_register", "--security-opt"]);
        line(libc::ENOSYS, &facts, &["seccomp", "--security-opt"]);
    }

    #[test]
    fn a_profile_that_answers_enosys_is_named_where_there_is_no_sysctl() {
        let facts = Facts { disabled: None, seccomp: true, ..facts() };
        line(libc::ENOSYS, &facts, &["seccomp", "--security-opt"]);
    }

    #[test]
    fn another_refusal_points_to_security_modules() {
        line(libc::EPERM, &facts(), &["SELinux"]);
        line(libc::EACCES, &facts(), &["SELinux"]);
    }

    #[test]
    fn a_kernel_without_io_uring_is_told_the_minimum() {
        line(libc::ENOSYS, &facts(), &["5.10.0-8", "6.1", "CONFIG_IO_URING"]);
    }

    #[test]
    fn low_locked_memory_says_how_low_and_how_much() {
        line(libc::ENOMEM, &facts(), &["64 KiB", "200 KiB", "LimitMEMLOCK"]);
    }

    #[test]
    fn locked_memory_is_not_blamed_where_a_ring_fits_it() {
        for memlock in [None, Some(200 << 10)] {
            line(libc::ENOMEM, &Facts { memlock, ..facts() }, &["no memory", "200 KiB"]);
        }
    }

    #[test]
    fn too_many_files_names_the_limit() {
        line(libc::EMFILE, &facts(), &["1024", "ulimit -n"]);
    }

    #[test]
    fn an_old_kernel_is_named_with_the_minimum() {
        line(libc::EINVAL, &facts(), &["5.10.0-8", "6.1", "io_uring_setup"]);
        line(libc::EOPNOTSUPP, &facts(), &["5.10.0-8", "6.1", "io_uring_setup"]);
        let lacks = explain(SetupError::Lacks("NODROP"), &facts()).to_string();
        assert!(lacks.contains("5.10.0-8") && lacks.contains("NODROP"), "{lacks}");
    }

    #[test]
    fn anything_else_is_said_as_it_is() {
        line(libc::EFAULT, &facts(), &["io_uring_setup", "errno 14", "5.10.0-8"]);
    }

    #[test]
    fn only_filter_mode_counts_as_seccomp() {
        assert!(has_seccomp_filter("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!has_seccomp_filter("Seccomp:\t0\nSeccomp_filters:\t2\n"));
        assert!(!has_seccomp_filter(""));
    }
}
