//! Programs that end with the comparison, and what the kernel says about them.

use crate::Failure;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where what the comparison writes is kept, inside the build's own folder.
pub const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// How long a program has to begin to listen.
const START_WITHIN: Duration = Duration::from_secs(10);

/// One tick of `/proc/PID/stat` in nanoseconds: Linux shows 100 a second to every program.
const TICK_NANOS: u64 = 10_000_000;

/// A program about to be started.
pub struct Program {
    name: String,
    command: Command,
}

impl Program {
    /// `folder` takes what the program prints. The kernel kills the program when this thread ends,
    /// however it does: an interrupt, a kill and a panic leave nothing running.
    pub fn new(name: &str, folder: &Path) -> Self {
        let mut command = bound(name);
        let log = folder.join(format!("{}.out", name.replace('/', "_")));
        let output = || std::fs::File::options().create(true).append(true).open(&log);
        command.stdin(Stdio::null());
        if let (Ok(out), Ok(err)) = (output(), output()) {
            command.stdout(out).stderr(err);
        }
        Self { name: name.to_owned(), command }
    }

    pub fn arguments(&mut self, arguments: &[&str]) -> &mut Self {
        self.command.args(arguments);
        self
    }

    /// Starts it and waits until it listens on `port`.
    pub fn start(mut self, port: u16) -> Result<Process, Failure> {
        let child = self.command.spawn().map_err(|error| format!("{}: {error}", self.name))?;
        let mut process = Process { child };
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", self.name).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen on {port}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }
}

/// `name` as a command whose process does not outlive this thread. `setpriv` replaces itself by
/// the program, so the process id is the program's.
pub fn bound(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", name]);
    command
}

/// A program that runs; it is killed when this is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, user and system, in nanoseconds.
    pub fn cpu_nanos(&self) -> Result<Cpu, Failure> {
        let folder = format!("/proc/{}", self.id());
        let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
        // The name in parentheses may hold spaces; utime and stime are the 14th and 15th field.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks: u64 = after_name
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let mut exact = 0;
        for task in std::fs::read_dir(format!("{folder}/task"))? {
            // A thread may end between the listing and the reading.
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            exact += text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
        }
        Ok(Cpu { ticks_nanos: ticks * TICK_NANOS, exact_nanos: exact })
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let field = line.and_then(|line| line.split_whitespace().next());
        Ok(field.ok_or("no VmRSS in /proc/PID/status")?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of a process from two sources.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// Whole ticks, of all threads that ever were.
    ticks_nanos: u64,
    /// Nanoseconds, of the threads that are.
    exact_nanos: u64,
}

impl Cpu {
    /// Nanoseconds used since `earlier`. The exact figure loses what ended threads used, and some
    /// kernels do not have it: then the ticks show more than rounding explains.
    pub fn since(self, earlier: Self) -> u64 {
        let ticks = self.ticks_nanos.saturating_sub(earlier.ticks_nanos);
        let exact = self.exact_nanos.saturating_sub(earlier.exact_nanos);
        if ticks > exact + 2 * TICK_NANOS { ticks } else { exact }
    }
}

/// A port that nobody listens on. Another program may take it before ours does; ours then ends at
/// once, and that is reported.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The first line that a program prints, on whichever stream; empty when it cannot be run.
pub fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = bound(program).args(arguments).stdin(Stdio::null()).output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}
