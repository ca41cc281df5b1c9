//! The log: `simplelog` makes the lines, one thread writes them.
//!
//! ```text
//!   worker -> simplelog -> bounded queue -> writer thread -> file or stderr
//!                          full: the line is dropped and counted
//! ```
//!
//! A full disk or a pipe that nobody reads costs lines and nothing else: a worker never waits.

use std::backtrace::Backtrace;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use log::LevelFilter;
use simplelog::{ConfigBuilder, FormatItem, WriteLogger};
use time::macros::format_description;

/// The running log.
pub struct Log {
    /// On twemproxy's scale.
    verbosity: AtomicU8,
    lines: SyncSender<Entry>,
    written: Receiver<()>,
    asked: Arc<Asked>,
}

/// What the writer is asked for past the queue, which may be full. It looks before each line, and
/// once in `REPORT_INTERVAL`.
#[derive(Default)]
struct Asked {
    /// To open the file anew: at once, as what waits in the queue has waited too long for its file.
    reopen: AtomicBool,
    /// To tell when the queue is empty.
    finish: AtomicBool,
}

enum Entry {
    Line(Vec<u8>),
    Reopen,
    Finish,
}

impl Log {
    /// Starts logging to `path`, or to standard error. `verbosity` is on twemproxy's scale, 0 to
    /// `VERBOSITY_MAX`.
    ///
    /// To be called once, after signals are blocked, as it starts a thread.
    ///
    /// Errors: the file cannot be opened for appending, or the thread not started.
    pub fn start(path: Option<&Path>, verbosity: u8) -> io::Result<Self> {
        let output = Output::open(path)?;
        let (lines, queue) = sync_channel(LINES_MAX);
        let (done, written) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let asked = Arc::new(Asked::default());
        let of_writer = Arc::clone(&asked);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(output, &queue, &counter, &of_writer, &done))?;
        let config = ConfigBuilder::new()
            .set_time_format_custom(TIME_FORMAT)
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .build();
        let sink = Sink { lines: lines.clone(), line: Vec::new(), dropped };
        // It fails only where a logger has been set before, and this is called once.
        WriteLogger::init(LevelFilter::Trace, config, sink).map_err(io::Error::other)?;
        let log = Self { verbosity: AtomicU8::new(0), lines, written, asked };
        log.set_verbosity(verbosity);
        Ok(log)
    }

    /// Logs one level more. Returns which.
    pub fn turn_up(&self) -> u8 {
        self.set_verbosity(self.verbosity.load(Ordering::Relaxed).saturating_add(1))
    }

    /// Logs one level less. Returns which.
    pub fn turn_down(&self) -> u8 {
        self.set_verbosity(self.verbosity.load(Ordering::Relaxed).saturating_sub(1))
    }

    fn set_verbosity(&self, verbosity: u8) -> u8 {
        let verbosity = verbosity.min(VERBOSITY_MAX);
        self.verbosity.store(verbosity, Ordering::Relaxed);
        log::set_max_level(level_of(verbosity));
        verbosity
    }

    /// Logs a line whatever the level: what an operator did is worth knowing. Lines that other
    /// threads log in the same moment may come through as well.
    pub fn say(&self, line: fmt::Arguments<'_>) {
        log::set_max_level(log::max_level().max(LevelFilter::Info));
        log::info!("{line}");
        log::set_max_level(level_of(self.verbosity.load(Ordering::Relaxed)));
    }

    /// Opens the file anew under its name, after it was renamed: behind what was logged before,
    /// if the queue has room.
    pub fn reopen(&self) {
        if self.lines.try_send(Entry::Reopen).is_err() {
            self.asked.reopen.store(true, Ordering::Release);
        }
    }

    /// Waits until what was logged is written, but not for ever: the output may be stuck.
    pub fn finish(&self) {
        self.asked.finish.store(true, Ordering::Release);
        // It wakes a writer that has nothing to do. One that has a full queue needs no waking.
        let _ = self.lines.try_send(Entry::Finish);
        let _ = self.written.recv_timeout(FINISH_TIME);
    }
}

/// Has the last words of a thread that panics, and its stack, written to the file `path` too: where
/// a daemon's standard error goes, nobody reads them.
///
/// They go past the queue, as the process ends before it would be emptied.
pub fn write_panics_to(path: PathBuf) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let stack = Backtrace::force_capture();
        // Whether it can be written or not, the process ends.
        let _ = write_last_words(&path, &format!("{panic}\n{stack}\n"));
        usual(panic);
    }));
}

/// Writes as much as can be written at once: nobody waits for a stuck pipe to end.
fn write_last_words(path: &Path, words: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(libc::O_NONBLOCK).open(path)?.write_all(words.as_bytes())
}

/// What `simplelog` writes to: it hands each line over in pieces, with a flush behind the last.
struct Sink {
    lines: SyncSender<Entry>,
    line: Vec<u8>,
    dropped: Arc<AtomicU64>,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(data);
        if self.line.ends_with(b"\n") {
            let line = std::mem::take(&mut self.line);
            match self.lines.try_send(Entry::Line(line)) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Output {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl Output {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(append_to).transpose()?;
        Ok(Self { path: path.map(Path::to_path_buf), file, torn: false })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
        }
        let result = self.write_all(line);
        self.torn = result.is_err();
        result
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => io::stderr().write_all(bytes),
        }
    }

    /// The old file stays in use when the new one cannot be opened, and says so.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
            }
            Err(why) => {
                let line = format!("cannot open {} again: {why}\n", path.display());
                // If this fails too, there is nowhere left to say it.
                let _ = self.write(line.as_bytes());
            }
        }
    }
}

/// twemproxy's scale: 0 to 3 are errors and worse, 4 a warning, 5 a notice, 6 information, and 7
/// and up debug.
const fn level_of(verbosity: u8) -> LevelFilter {
    match verbosity {
        0..=3 => LevelFilter::Error,
        4 => LevelFilter::Warn,
        5 | 6 => LevelFilter::Info,
        7.. => LevelFilter::Debug,
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    // Whatever the umask allows, nobody else may write it.
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

fn write_lines(
    mut output: Output,
    queue: &Receiver<Entry>,
    dropped: &AtomicU64,
    asked: &Asked,
    done: &SyncSender<()>,
) {
    let mut reported = Instant::now();
    loop {
        let mut is_end = false;
        let is_last = asked.finish.load(Ordering::Acquire);
        let entry = queue.recv_timeout(if is_last { Duration::ZERO } else { REPORT_INTERVAL });
        if asked.reopen.swap(false, Ordering::AcqRel) {
            output.reopen();
        }
        match entry {
            Ok(Entry::Line(line)) => {
                if output.write(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Entry::Reopen) => output.reopen(),
            Ok(Entry::Finish) => is_end = true,
            Err(RecvTimeoutError::Timeout) => is_end = is_last,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if is_end || reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            report_lost(&mut output, dropped);
        }
        if is_end {
            asked.finish.store(false, Ordering::Release);
            let _ = done.try_send(());
        }
    }
}

fn report_lost(output: &mut Output, dropped: &AtomicU64) {
    let count = dropped.swap(0, Ordering::Relaxed);
    if count > 0 && output.write(format!("{count} log lines lost\n").as_bytes()).is_err() {
        dropped.fetch_add(count, Ordering::Relaxed);
    }
}

/// The last level of twemproxy's scale (`LOG_PVERB` in `nc_log.h`).
pub const VERBOSITY_MAX: u8 = 11;
/// RFC 3339 in UTC, to the millisecond.
const TIME_FORMAT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// Lines that wait for the writer.
const LINES_MAX: usize = 1024;
/// How often lost lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the process may wait for the log.
const FINISH_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_output_drops_lines_and_counts_them() {
        let (lines, queue) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut sink = Sink { lines, line: Vec::new(), dropped: Arc::clone(&dropped) };
        for line in [&b"first "[..], b"line\n", b"second\n", b"third\n"] {
            sink.write_all(line).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        assert!(matches!(queue.try_recv(), Ok(Entry::Line(line)) if line == b"first line\n"));
    }

    #[test]
    fn a_full_queue_loses_neither_a_reopening_nor_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let rotated = directory.path().join("log.1");
        let (lines, queue) = sync_channel(2);
        let (done, written) = sync_channel(1);
        let asked = Arc::new(Asked::default());
        let verbosity = AtomicU8::new(0);
        let log = Log { verbosity, lines, written, asked: Arc::clone(&asked) };
        for line in [b"first\n", b"other\n"] {
            log.lines.try_send(Entry::Line(line.to_vec())).unwrap();
        }
        let output = Output::open(Some(&path)).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen();
        // Nobody writes yet, so this waits in vain.
        log.finish();
        let writer =
            std::thread::spawn(move || write_lines(output, &queue, &0.into(), &asked, &done));
        log.written.recv_timeout(Duration::from_secs(10)).expect("it tells that all is written");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nother\n");
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "");
        // With room in the queue, what was logged before stays in the old file.
        log.lines.send(Entry::Line(b"third\n".to_vec())).unwrap();
        let last = directory.path().join("log.2");
        std::fs::rename(&path, &last).unwrap();
        log.reopen();
        log.finish();
        assert_eq!(std::fs::read_to_string(&last).unwrap(), "first\nother\nthird\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        drop(log);
        writer.join().unwrap();
    }

    #[test]
    fn last_words_are_written_and_wait_for_no_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        File::create(&path).unwrap();
        write_panics_to(path.clone());
        std::panic::catch_unwind(|| panic!("{} words", "last")).unwrap_err();
        drop(std::panic::take_hook());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("last words\n"), "{text}");
        assert!(text.contains("src/logging.rs") && text.lines().count() > 3, "{text}");
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(write_last_words(&pipe, "x").is_err());
    }
}
