//! Ports, processes, and what `/proc` says of them.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{DEADLINE, holds_within, wait_until};

/// A loopback port that belongs to this test until it is dropped.
///
/// A bound socket that never listens holds it: the kernel gives the port to nobody else, not as
/// the near end of a connection either, and who connects is refused. A program that sets
/// `SO_REUSEADDR` may listen on it all the same, because this socket has it set as well, after
/// its own bind.
pub struct Port {
    number: u16,
    _held: Socket,
}

impl Port {
    /// A port that nobody has.
    pub fn free() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        held.bind(&any.into()).expect("a free port");
        held.set_reuse_address(true).expect("SO_REUSEADDR");
        let bound = held.local_addr().expect("bound").as_socket().expect("inet");
        Self { number: bound.port(), _held: held }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether somebody listens on it. No connection is made for that.
    pub fn has_listener(&self) -> bool {
        tcp_port_has_listener(self.number)
    }
}

/// Whether a socket listens on a TCP port, of either family.
pub fn tcp_port_has_listener(port: u16) -> bool {
    let local = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        fs::read_to_string(table).unwrap_or_default().lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let at_port = words.next().is_some_and(|address| address.ends_with(&local));
            at_port && words.nth(1) == Some("0A")
        })
    })
}

/// A started program. Dropping it kills it and waits for its end.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`. The kernel ends the program when the test's thread ends, however it ends.
    pub fn spawn(command: &mut Command) -> Self {
        let end_with_this_thread = || {
            // SAFETY: PR_SET_PDEATHSIG takes numbers only.
            let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec the closure calls prctl only, and allocates nothing.
        unsafe { command.pre_exec(end_with_this_thread) };
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, number: i32) {
        signal(self.id(), number);
    }

    /// Stops it, and waits until it does not run any more.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.id());
        wait_until("the process is stopped", || {
            let text = fs::read_to_string(&stat).unwrap_or_default();
            text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
    }

    /// Lets it run again after `stop`.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Kills it with `SIGKILL` and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for its end: the exit code, or the signal's number below zero.
    pub fn exit_code(&mut self) -> i32 {
        let mut status = None;
        let ended = holds_within(DEADLINE, || {
            status = self.ended();
            status.is_some()
        });
        assert!(ended, "process {} still runs after {DEADLINE:?}", self.id());
        let status = status.expect("it ended");
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<usize>().expect("a number") << 10
    }

    /// The most memory that it has had resident so far, in bytes.
    pub fn peak_resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") << 10
    }

    /// How many descriptors it has open.
    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Bounds the descriptors that it may open from now on. Those it has stay open.
    pub fn set_descriptor_limit(&self, count: u64) {
        let id = i32::try_from(self.id()).expect("process ids fit");
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: prlimit reads `limit`, which lives to the end of the call, and writes nothing.
        let result = unsafe {
            libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "prlimit: {}", io::Error::last_os_error());
    }

    /// Processor time that it used since it began, user and system, of all threads.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("it runs");
        let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
        let words: Vec<&str> = after_name.split(' ').collect();
        let ticks = |index: usize| words[index].parse::<u64>().expect("ticks");
        // Fields 14 and 15 of proc(5); the name was field 2. A tick is 10 ms on Linux.
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Processor time per time that passed, while `work` is repeated for `window`.
    pub fn processor_share(&self, window: Duration, mut work: impl FnMut()) -> f64 {
        let (begin, used) = (Instant::now(), self.processor_time());
        while begin.elapsed() < window {
            work();
        }
        (self.processor_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(id: u32, number: i32) {
    let id = i32::try_from(id).expect("process ids fit");
    // SAFETY: kill has no memory preconditions.
    let result = unsafe { libc::kill(id, number) };
    assert_eq!(result, 0, "kill({id}, {number}): {}", io::Error::last_os_error());
}

/// Makes a pipe hold as little as it can: one page.
pub fn shrink_pipe(pipe: &fs::File) {
    // SAFETY: fcntl with F_SETPIPE_SZ takes numbers only, and `pipe` is open.
    let result = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    assert!(result >= 4096, "F_SETPIPE_SZ: {}", io::Error::last_os_error());
}

/// Bounds the descriptors of a program that is about to start.
pub fn limit_descriptors(command: &mut Command, count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    limit_resource(command, libc::RLIMIT_NOFILE, limit);
}

/// Bounds the locked memory of a program that is about to start.
pub fn limit_locked_memory(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    limit_resource(command, libc::RLIMIT_MEMLOCK, limit);
}

fn limit_resource(command: &mut Command, which: libc::__rlimit_resource_t, limit: libc::rlimit) {
    let bound = move || {
        // SAFETY: setrlimit reads `limit`, which the closure owns, and writes nothing.
        let result = unsafe { libc::setrlimit(which, &raw const limit) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure calls setrlimit only, and allocates nothing.
    unsafe { command.pre_exec(bound) };
}

/// Whether the test may do what only root may; else it says why it does nothing.
///
/// With `CI=true` there is no way out: a test that is never run is no test.
pub fn needs_root(what: &str) -> bool {
    // SAFETY: geteuid cannot fail and has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "root is needed: {what}");
    eprintln!("skipped, root is needed: {what}");
    false
}
