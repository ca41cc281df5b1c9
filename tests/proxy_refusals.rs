//! Where the kernel refuses io_uring: exit code 1, and one line that names the cause and the
//! remedy.

#![allow(unsafe_code)]

mod support;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use support::process::{Port, Process, limit_locked_memory, needs_root};
use support::proxy::proxy_binary;
use support::{pool, wait_until};
use tempfile::TempDir;

const NOBODY: u32 = 65_534;

/// What every user can read and run: a copy of the program and a configuration.
struct Place {
    directory: TempDir,
    port: Port,
    stats: Port,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Self { directory, port: Port::free(), stats: Port::free() };
        let listen = format!("127.0.0.1:{}", place.port.number());
        let config = pool("alpha", &listen, &["127.0.0.1:1:1".to_owned()], &[]);
        fs::copy(proxy_binary(), place.path("ringcracker")).expect("a copy");
        fs::write(place.path("nutcracker.yml"), config).expect("writable");
        for name in ["ringcracker", "nutcracker.yml", "."] {
            let everyone = Permissions::from_mode(0o755);
            fs::set_permissions(place.path(name), everyone).expect("our own");
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The proxy, not started yet; its words go to a file.
    fn proxy(&self) -> Command {
        let mut command = Command::new(self.path("ringcracker"));
        let errors = File::create(self.path("stderr")).expect("writable");
        command.arg("-c").arg(self.path("nutcracker.yml")).current_dir("/");
        command.args(["-a", "127.0.0.1", "-s", &self.stats.number().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        command
    }

    fn proxy_as_nobody(&self) -> Command {
        let mut command = self.proxy();
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Starts `command` and expects exit code 1 and one line with all of `words`.
    fn is_refused(&self, mut command: Command, words: &[&str]) {
        let code = Process::spawn(&mut command).exit_code();
        let errors = self.errors();
        assert_eq!(code, 1, "{errors}");
        assert_eq!(errors.lines().count(), 1, "not one line: {errors}");
        for word in words {
            assert!(errors.to_lowercase().contains(word), "{word} is not in: {errors}");
        }
    }
}

/// Keeps the tests here apart, over processes as well: one changes what holds for all of them.
struct Alone {
    _file: File,
}

impl Alone {
    fn wait() -> Self {
        let path = std::env::temp_dir().join("ringcracker-refusals.lock");
        let file = File::create(path).expect("writable");
        // SAFETY: the descriptor is open as long as `file` lives.
        let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
        assert_eq!(result, 0, "flock: {}", io::Error::last_os_error());
        Self { _file: file }
    }
}

/// A sysctl with another value. A process of its own, outside of this one's group, puts the old
/// value back when its input ends: that happens however the test ends.
struct Sysctl {
    path: &'static str,
    old: String,
    restorer: Child,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> io::Result<Self> {
        let old = fs::read_to_string(path)?.trim().to_owned();
        let restorer = Command::new("sh")
            .args(["-c", "cat > /dev/null; echo \"$1\" > \"$2\"", "sh", &old, path])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let changed = Self { path, old, restorer };
        fs::write(path, value)?;
        Ok(changed)
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        let _ = self.restorer.wait();
        let now = fs::read_to_string(self.path).unwrap_or_default();
        if now.trim() != self.old && !std::thread::panicking() {
            panic!("{} is {now} and was {}", self.path, self.old);
        }
    }
}

/// Makes the kernel answer one system call of the program with an error, by a filter that the
/// program gets before it begins.
fn refuse_system_call(command: &mut Command, number: libc::c_long, errno: i32) {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let number = u32::try_from(number).expect("a system call's number");
    let error = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).expect("an error's number");
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // The number of the call is the first word of `struct seccomp_data`.
        line(LOAD_WORD, 0, 0, 0),
        line(JUMP_IF_EQUAL, 0, 1, number),
        line(RETURN, 0, 0, error),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
        let mut result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result == 0 {
            let mode = libc::SECCOMP_MODE_FILTER;
            // SAFETY: `program` and the filter that it points to live to the end of the call, and
            // the kernel copies both.
            result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
        }
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure calls prctl only, and allocates nothing.
    unsafe { command.pre_exec(install) };
}

#[test]
fn a_seccomp_filter_is_named() {
    let _alone = Alone::wait();
    let place = Place::new();
    let mut command = place.proxy();
    refuse_system_call(&mut command, libc::SYS_io_uring_setup, libc::EPERM);
    place.is_refused(command, &["seccomp", "io_uring"]);
}

#[test]
fn a_filter_that_plays_a_kernel_without_io_uring_is_named_too() {
    let _alone = Alone::wait();
    let place = Place::new();
    let mut command = place.proxy();
    refuse_system_call(&mut command, libc::SYS_io_uring_setup, libc::ENOSYS);
    place.is_refused(command, &["seccomp", "io_uring"]);
}

#[test]
fn io_uring_disabled_by_sysctl_is_named() {
    const PATH: &str = "/proc/sys/kernel/io_uring_disabled";
    if !needs_root("to set kernel.io_uring_disabled") {
        return;
    }
    let _alone = Alone::wait();
    let place = Place::new();
    // Value 1 exempts root, so that a proxy of another test that starts meanwhile is not hurt.
    let changed = Sysctl::set(PATH, "1").expect("root may set it");
    place.is_refused(place.proxy_as_nobody(), &["kernel.io_uring_disabled", "sysctl -w"]);
    drop(changed);
}

#[test]
fn too_little_locked_memory_is_named() {
    if !needs_root("to become nobody") {
        return;
    }
    let _alone = Alone::wait();
    for kib in [0, 64] {
        let place = Place::new();
        let mut command = place.proxy_as_nobody();
        limit_locked_memory(&mut command, kib << 10);
        place.is_refused(command, &["memlock", "ulimit -l"]);
    }
}

#[test]
fn nobody_may_run_it_where_nothing_is_refused() {
    if !needs_root("to become nobody") {
        return;
    }
    let _alone = Alone::wait();
    let place = Place::new();
    let mut command = place.proxy_as_nobody();
    limit_locked_memory(&mut command, 8 << 20);
    let mut proxy = Process::spawn(&mut command);
    wait_until("it listens", || {
        assert!(proxy.ended().is_none(), "{}", place.errors());
        place.port.has_listener()
    });
}
