//! The words of the command line.
//!
//! The flags are nutcracker's, and are written as getopt takes them: `--output=x`, `--out x`,
//! `-v6`, `-dt`. argh takes none of these forms, so they are taken apart before it reads them. A
//! flag that the program does not have is refused, never ignored; the refusals are nutcracker's.

pub mod describe;
pub mod locate;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::limits::{GATHER_TIME, GATHER_TIME_MAX, WORKERS_MAX};
use crate::logging::VERBOSITY_MAX;

/// A proxy for Redis that runs twemproxy's nutcracker.yml on io_uring.
#[derive(Debug, PartialEq, Eq, FromArgs)]
#[argh(help_triggers("-h", "--help"))]
pub struct Cli {
    /// configuration file (default: conf/nutcracker.yml)
    #[argh(
        option,
        short = 'c',
        default = "PathBuf::from(\"conf/nutcracker.yml\")",
        from_str_fn(conf_file)
    )]
    pub conf_file: PathBuf,

    /// check the configuration file and exit
    #[argh(switch, short = 't')]
    pub test_conf: bool,

    /// say for each key of this file (- for standard input; one a line) which server it belongs to,
    /// and exit
    #[argh(option, from_str_fn(locate_file))]
    pub locate: Option<PathBuf>,

    /// worker threads, or auto for one per processor (default: 1)
    #[argh(option, default = "Workers::Count(NonZeroUsize::MIN)", from_str_fn(workers))]
    pub workers: Workers,

    /// seconds that clients have to get their replies at SIGTERM or SIGINT; 0 ends at once
    /// (default: 5)
    #[argh(option, default = "DRAIN_SECONDS", from_str_fn(drain_seconds))]
    pub drain_seconds: Duration,

    /// microseconds that a turn may wait for more requests where clients queue anyway; 0 never
    /// waits (default: 150)
    #[argh(option, default = "GATHER_TIME", from_str_fn(gather_time))]
    pub gather_microseconds: Duration,

    /// run in the background; what goes wrong at the start is still said
    #[argh(switch, short = 'd')]
    pub daemonize: bool,

    /// file for the process id while the program runs (default: none)
    #[argh(option, short = 'p', from_str_fn(pid_file))]
    pub pid_file: Option<PathBuf>,

    /// log level, from 0 (nothing but the end) to 11 (everything) (default: 5)
    #[argh(option, short = 'v', default = "5", from_str_fn(verbosity))]
    pub verbose: u8,

    /// log file (default: standard error, as for an empty name)
    #[argh(option, short = 'o')]
    pub output: Option<PathBuf>,

    /// statistics port (default: 22222)
    #[argh(option, short = 's', default = "22222", from_str_fn(stats_port))]
    pub stats_port: u16,

    /// statistics address, or the path of a unix socket (default: 0.0.0.0)
    #[argh(option, short = 'a', default = "\"0.0.0.0\".to_owned()", from_str_fn(stats_addr))]
    pub stats_addr: String,

    /// interval of the statistics in milliseconds (default: 30000)
    #[argh(
        option,
        short = 'i',
        default = "Duration::from_millis(30_000)",
        from_str_fn(stats_interval)
    )]
    pub stats_interval: Duration,

    /// describe the statistics and exit
    #[argh(switch, short = 'D')]
    pub describe_stats: bool,

    /// size of nutcracker's buffers, 512 to 16777216 bytes; has no effect here
    #[argh(option, short = 'm', from_str_fn(mbuf_size))]
    pub mbuf_size: Option<u32>,

    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub version: bool,

    /// words that belong to no flag; nutcracker ignores them
    #[argh(positional, hidden_help)]
    pub ignored: Vec<String>,
}

/// How many workers to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// This many, up to `limits::WORKERS_MAX`.
    Count(NonZeroUsize),
    /// One for each processor that the process may run on.
    Auto,
}

/// A command line that runs nothing: what to print on standard error, and how to exit.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage {
    /// The text, with a newline at its end.
    pub text: String,
    /// 0 when help was asked for, 1 when the command line is wrong.
    pub exit_code: u8,
}

/// Reads a command line; `argv` begins with the name of the program.
///
/// Errors: help was asked for, or something is wrong; the usage is part of both texts.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, Usage> {
    let mut words = Vec::new();
    for word in argv {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return Err(wrong(&format!("not UTF-8: {}\n", word.display()))),
        }
    }
    let (words, wants_help) =
        getopt_forms(words.into_iter().skip(1)).map_err(|what| wrong(&what))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let cli = Cli::from_args(&[PROGRAM], &words).map_err(|exit| {
        // Behind argh's own words about a value stand those of the functions below.
        wrong(exit.output.rsplit_once("': ").map_or(&exit.output, |(_, what)| what))
    })?;
    if wants_help {
        return Err(Usage { text: usage(), exit_code: 0 });
    }
    // An empty name is how the default of a package is turned back into standard error.
    let output = cli.output.filter(|path| !path.as_os_str().is_empty());
    Ok(Cli { output, ..cli })
}

/// A message with the usage below it.
fn wrong(message: &str) -> Usage {
    Usage { text: format!("{PROGRAM}: {}\n\n{}", message.trim_end(), usage()), exit_code: 1 }
}

fn usage() -> String {
    match Cli::from_args(&[PROGRAM], &["--help"]) {
        Err(exit) => exit.output,
        Ok(_) => String::new(),
    }
}

/// Takes getopt's forms apart: `--x=y` is `--x y`, `--out y` is `--output y`, `-v6` is `-v 6`,
/// `-dt` is `-d -t`. The word that a flag takes stays as it is; of a flag that comes twice the
/// last one counts; words of no flag go to the end. Returns whether help is asked for beside it:
/// that does not excuse what else is wrong, and argh would look no further.
///
/// Errors: a flag that does not exist, lacks its value, or takes none; in nutcracker's words.
fn getopt_forms(words: impl Iterator<Item = String>) -> Result<(Vec<String>, bool), String> {
    let mut words = words;
    let mut forms = Forms::default();
    let mut others = vec!["--".to_owned()];
    while let Some(word) = words.next() {
        if word == "--" {
            others.extend(words);
            break;
        }
        let wants = if let Some(long) = word.strip_prefix("--") {
            forms.read_long(long)?
        } else if word.len() > 1 && word.starts_with('-') {
            forms.read_cluster(&word[1..])?
        } else {
            others.push(word);
            continue;
        };
        if let Some(flag) = wants {
            forms.push(flag, Some(words.next().ok_or_else(|| flag.lacks_value())?));
        }
    }
    let flags = forms.0.len();
    forms.0.retain(|(flag, _)| flag.long != "help");
    let wants_help = forms.0.len() < flags;
    let flags = forms.0.into_iter();
    let mut plain: Vec<String> = flags
        .flat_map(|(flag, value)| [Some(format!("--{}", flag.long)), value])
        .flatten()
        .collect();
    plain.extend(others);
    Ok((plain, wants_help))
}

/// The flags of a command line, each with its value, in order.
#[derive(Default)]
struct Forms(Vec<(&'static Flag, Option<String>)>);

impl Forms {
    fn push(&mut self, flag: &'static Flag, value: Option<String>) {
        self.0.retain(|(earlier, _)| earlier.long != flag.long);
        self.0.push((flag, value));
    }

    /// Reads a long flag, which may be cut as far as it stays the only one that begins so. Returns
    /// the flag if it takes the next word.
    fn read_long(&mut self, text: &str) -> Result<Option<&'static Flag>, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let mut fitting = FLAGS.iter().filter(|flag| flag.long.starts_with(name));
        let exact = FLAGS.iter().find(|flag| flag.long == name);
        let flag = match (exact, fitting.next(), fitting.next()) {
            (Some(flag), _, _) | (None, Some(flag), None) => flag,
            (None, _, _) => return Err(format!("invalid option -- '--{name}'")),
        };
        match (flag.takes, value) {
            (Takes::Nothing, Some(value)) => {
                Err(format!("option --{} takes no value, but has '{value}'", flag.long))
            }
            (Takes::FileName | Takes::Number | Takes::Text, None) => Ok(Some(flag)),
            (_, value) => {
                self.push(flag, value.map(str::to_owned));
                Ok(None)
            }
        }
    }

    /// Reads a cluster of short flags. Returns the last of them if it takes the next word.
    fn read_cluster(&mut self, letters: &str) -> Result<Option<&'static Flag>, String> {
        for (at, letter) in letters.char_indices() {
            let Some(flag) = FLAGS.iter().find(|flag| flag.short == Some(letter)) else {
                return Err(format!("invalid option -- '{letter}'"));
            };
            if flag.takes == Takes::Nothing {
                self.push(flag, None);
                continue;
            }
            let value = &letters[at + letter.len_utf8()..];
            if value.is_empty() {
                return Ok(Some(flag));
            }
            self.push(flag, Some(value.to_owned()));
            return Ok(None);
        }
        Ok(None)
    }
}

/// A flag as getopt knows it. A test holds them to `Cli`.
struct Flag {
    short: Option<char>,
    long: &'static str,
    takes: Takes,
}

/// What stands behind a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    FileName,
    Number,
    Text,
}

impl Flag {
    const fn new(short: char, long: &'static str, takes: Takes) -> Self {
        Self { short: Some(short), long, takes }
    }

    /// A flag that nutcracker does not have.
    const fn long(long: &'static str, takes: Takes) -> Self {
        Self { short: None, long, takes }
    }

    fn lacks_value(&self) -> String {
        let what = match self.takes {
            Takes::Nothing => "nothing",
            Takes::FileName => "a file name",
            Takes::Number => "a number",
            Takes::Text => "a string",
        };
        let name = self.short.map_or(format!("--{}", self.long), |letter| format!("-{letter}"));
        format!("option {name} requires {what}")
    }
}

fn workers(text: &str) -> Result<Workers, String> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= WORKERS_MAX => Ok(Workers::Count(count)),
        Ok(_) | Err(_) => {
            Err(format!("option --workers requires a number from 1 to {WORKERS_MAX}, or auto"))
        }
    }
}

fn drain_seconds(text: &str) -> Result<Duration, String> {
    match digits(text) {
        Some(seconds @ 0..=DRAIN_SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
        Some(_) | None => {
            Err(format!("option --drain-seconds requires a number from 0 to {DRAIN_SECONDS_MAX}"))
        }
    }
}

fn gather_time(text: &str) -> Result<Duration, String> {
    let time = digits(text).map(Duration::from_micros);
    time.filter(|time| *time <= GATHER_TIME_MAX).ok_or_else(|| {
        let most = GATHER_TIME_MAX.as_micros();
        format!("option --gather-microseconds requires a number from 0 to {most}")
    })
}

/// As nutcracker: any number, and those beyond the scale are its end.
fn verbosity(text: &str) -> Result<u8, String> {
    let number = digits(text).ok_or("option -v requires a number")?;
    Ok(number.min(u64::from(VERBOSITY_MAX)) as u8)
}

fn stats_port(text: &str) -> Result<u16, String> {
    let number = digits(text).ok_or("option -s requires a number")?;
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        Ok(0) | Err(_) => Err(format!("option -s value {number} is not a valid port")),
    }
}

fn stats_addr(text: &str) -> Result<String, String> {
    required(text, "option -a requires a string")
}

/// As nutcracker's, it fits an `int`.
fn stats_interval(text: &str) -> Result<Duration, String> {
    match digits(text) {
        Some(number) if number <= i32::MAX as u64 => Ok(Duration::from_millis(number)),
        Some(_) | None => Err("option -i requires a number".to_owned()),
    }
}

fn mbuf_size(text: &str) -> Result<u32, String> {
    match digits(text) {
        Some(0) | None => Err("option -m requires a non-zero number".to_owned()),
        Some(number) => {
            let (min, max) = MBUF_BYTES;
            let size = u32::try_from(number).ok().filter(|size| (min..=max).contains(size));
            size.ok_or_else(|| format!("mbuf chunk size must be between {min} and {max} bytes"))
        }
    }
}

fn conf_file(text: &str) -> Result<PathBuf, String> {
    required(text, "option -c requires a file name").map(PathBuf::from)
}

fn pid_file(text: &str) -> Result<PathBuf, String> {
    required(text, "option -p requires a file name").map(PathBuf::from)
}

fn locate_file(text: &str) -> Result<PathBuf, String> {
    required(text, "option --locate requires a file name").map(PathBuf::from)
}

fn required(text: &str, otherwise: &str) -> Result<String, String> {
    if text.is_empty() { Err(otherwise.to_owned()) } else { Ok(text.to_owned()) }
}

/// A number as nutcracker reads it: digits and nothing else. One that is too large stays as large
/// as there is, where nutcracker's wraps.
fn digits(text: &str) -> Option<u64> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| text.parse().unwrap_or(u64::MAX))
}

const PROGRAM: &str = "ringcracker";

/// Less than the 10 s after which Docker and others kill, and more than the timeouts in use.
const DRAIN_SECONDS: Duration = Duration::from_secs(5);

/// A day: longer is more likely a mistake.
const DRAIN_SECONDS_MAX: u64 = 86_400;

/// The smallest and the largest buffer of nutcracker (`MBUF_MIN_SIZE` in `nc_mbuf.h`).
const MBUF_BYTES: (u32, u32) = (512, 16 << 20);

const FLAGS: [Flag; 17] = [
    Flag::new('h', "help", Takes::Nothing),
    Flag::new('V', "version", Takes::Nothing),
    Flag::new('t', "test-conf", Takes::Nothing),
    Flag::new('d', "daemonize", Takes::Nothing),
    Flag::new('D', "describe-stats", Takes::Nothing),
    Flag::new('v', "verbose", Takes::Number),
    Flag::new('o', "output", Takes::FileName),
    Flag::new('c', "conf-file", Takes::FileName),
    Flag::new('s', "stats-port", Takes::Number),
    Flag::new('i', "stats-interval", Takes::Number),
    Flag::new('a', "stats-addr", Takes::Text),
    Flag::new('p', "pid-file", Takes::FileName),
    Flag::new('m', "mbuf-size", Takes::Number),
    Flag::long("locate", Takes::FileName),
    Flag::long("workers", Takes::Number),
    Flag::long("drain-seconds", Takes::Number),
    Flag::long("gather-microseconds", Takes::Number),
];

#[cfg(test)]
mod tests;
