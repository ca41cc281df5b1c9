//! The words of the command line.
//!
//! The flags are nutcracker's, and are written as getopt takes them: `--output=x`, `-v6`, `-dt`.
//! argh takes none of these forms, so they are taken apart before it reads them. A flag that
//! the program does not have is refused, never ignored.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use argh::FromArgs;

use crate::limits::WORKERS_MAX;

/// A proxy for Redis that runs twemproxy's nutcracker.yml on io_uring.
#[derive(Debug, PartialEq, Eq, FromArgs)]
#[argh(help_triggers("-h", "--help", "-?"))]
pub struct Cli {
    /// configuration file (default: conf/nutcracker.yml)
    #[argh(
        option,
        short = 'c',
        default = "PathBuf::from(\"conf/nutcracker.yml\")",
        from_str_fn(file_name)
    )]
    pub conf_file: PathBuf,

    /// worker threads, or auto for one per processor (default: 1)
    #[argh(option, default = "Workers::Count(NonZeroUsize::MIN)", from_str_fn(workers))]
    pub workers: Workers,

    /// log level, from 0 (nothing but the end) to 11 (everything) (default: 5)
    #[argh(option, short = 'v', default = "5", from_str_fn(verbosity))]
    pub verbose: u8,

    /// log file (default: standard error)
    #[argh(option, short = 'o', from_str_fn(file_name))]
    pub output: Option<PathBuf>,

    /// check the configuration file and exit
    #[argh(switch, short = 't')]
    pub test_conf: bool,

    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub version: bool,
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
    let words = getopt_forms(words.into_iter().skip(1));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Cli::from_args(&[PROGRAM], &words).map_err(|exit| match exit.status {
        Ok(()) => Usage { text: exit.output, exit_code: 0 },
        Err(()) => wrong(&exit.output),
    })
}

/// A message with the usage below it.
fn wrong(message: &str) -> Usage {
    let usage = match Cli::from_args(&[PROGRAM], &["--help"]) {
        Err(exit) => exit.output,
        Ok(_) => String::new(),
    };
    Usage { text: format!("{PROGRAM}: {}\n\n{usage}", message.trim_end()), exit_code: 1 }
}

/// Takes getopt's short forms apart: `--x=y` is `--x y`, `-v6` is `-v 6`, `-dt` is `-d -t`. The
/// word that an option takes, and all after `--`, stay as they are.
fn getopt_forms(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = words;
    let mut forms = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            forms.push(word);
            forms.extend(words);
            break;
        }
        let takes_next = if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => {
                    forms.extend([format!("--{name}"), value.to_owned()]);
                    false
                }
                None => {
                    let takes = LONG_WITH_VALUE.contains(&long);
                    forms.push(word);
                    takes
                }
            }
        } else if word.len() > 2 && word.starts_with('-') {
            cluster(&word[1..], &mut forms)
        } else {
            let takes = word.len() == 2 && word.ends_with(SHORT_WITH_VALUE);
            forms.push(word);
            takes
        };
        if takes_next {
            forms.extend(words.next());
        }
    }
    forms
}

/// Takes a cluster of short flags apart. Returns whether the last of them takes the next word.
fn cluster(flags: &str, forms: &mut Vec<String>) -> bool {
    for (at, flag) in flags.char_indices() {
        forms.push(format!("-{flag}"));
        if SHORT_WITH_VALUE.contains(&flag) {
            let value = &flags[at + flag.len_utf8()..];
            if value.is_empty() {
                return true;
            }
            forms.push(value.to_owned());
            return false;
        }
    }
    false
}

fn workers(text: &str) -> Result<Workers, String> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= WORKERS_MAX => Ok(Workers::Count(count)),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {WORKERS_MAX}, or auto, is required")),
    }
}

/// As nutcracker: any number, and those beyond the scale are its end.
fn verbosity(text: &str) -> Result<u8, String> {
    let number = text.parse::<u32>().map_err(|_| "a number is required".to_owned())?;
    Ok(number.min(VERBOSITY_MAX) as u8)
}

fn file_name(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a file name is required".to_owned()) } else { Ok(text.into()) }
}

const PROGRAM: &str = "ringcracker";

/// The last level of nutcracker's scale (`LOG_PVERB` in `nc_log.h`).
const VERBOSITY_MAX: u32 = 11;

/// The flags that take a word, for `getopt_forms`. A test holds them to `Cli`.
const SHORT_WITH_VALUE: [char; 3] = ['c', 'v', 'o'];
const LONG_WITH_VALUE: [&str; 4] = ["conf-file", "workers", "verbose", "output"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Cli, Usage> {
        parse(std::iter::once("ringcracker").chain(words.iter().copied()).map(OsString::from))
    }

    fn defaults() -> Cli {
        Cli {
            conf_file: "conf/nutcracker.yml".into(),
            workers: Workers::Count(NonZeroUsize::MIN),
            verbose: 5,
            output: None,
            test_conf: false,
            version: false,
        }
    }

    fn refused(words: &[&str]) -> String {
        let usage = parse_words(words).unwrap_err();
        assert_eq!(usage.exit_code, 1, "{words:?}");
        assert!(usage.text.contains("Usage: ringcracker"), "{}", usage.text);
        usage.text.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn nothing_given_is_nutcrackers_defaults() {
        assert_eq!(parse_words(&[]), Ok(defaults()));
        assert_eq!(parse([]), Ok(defaults()));
    }

    #[test]
    fn every_form_of_getopt_is_read() {
        let conf = || Ok(Cli { conf_file: "a b.yml".into(), ..defaults() });
        for words in [
            &["-c", "a b.yml"][..],
            &["-ca b.yml"],
            &["--conf-file", "a b.yml"],
            &["--conf-file=a b.yml"],
        ] {
            assert_eq!(parse_words(words), conf(), "{words:?}");
        }
        for words in [&["-v", "6"][..], &["-v6"], &["--verbose", "6"], &["--verbose=6"]] {
            assert_eq!(parse_words(words), Ok(Cli { verbose: 6, ..defaults() }), "{words:?}");
        }
        let all = Cli { verbose: 11, test_conf: true, version: true, ..defaults() };
        for words in [&["-tVv99"][..], &["-tVv", "99"], &["-t", "-V", "-v", "99"]] {
            assert_eq!(parse_words(words).as_ref(), Ok(&all), "{words:?}");
        }
    }

    #[test]
    fn the_word_of_an_option_stays_as_it_is() {
        for word in ["-tV", "--x=y", "--", "-", "a=b", "--output"] {
            let expected = || Ok(Cli { output: Some(word.into()), ..defaults() });
            assert_eq!(parse_words(&["-o", word]), expected());
            assert_eq!(parse_words(&["--output", word]), expected());
            assert_eq!(parse_words(&[&format!("--output={word}")]), expected());
        }
    }

    #[test]
    fn workers_are_a_number_or_auto() {
        let workers = |text| parse_words(&["--workers", text]).map(|cli| cli.workers);
        assert_eq!(workers("auto"), Ok(Workers::Auto));
        assert_eq!(workers("1024"), Ok(Workers::Count(NonZeroUsize::new(1024).unwrap())));
        for text in ["0", "-1", "1025", "Auto", "", "2x", "99999999999999999999"] {
            assert!(refused(&["--workers", text]).contains("1 to 1024, or auto"), "{text}");
        }
    }

    #[test]
    fn help_is_no_fault() {
        for words in [&["-h"][..], &["--help"], &["-?"], &["-th"]] {
            let usage = parse_words(words).unwrap_err();
            assert_eq!(usage.exit_code, 0, "{words:?}");
            assert!(usage.text.starts_with("Usage: ringcracker"), "{}", usage.text);
            for flag in LONG_WITH_VALUE.iter().chain(&["test-conf", "version", "help"]) {
                assert!(usage.text.contains(&format!("--{flag}")), "{flag} in {}", usage.text);
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(refused(&["-x"]).contains("-x"));
        assert!(refused(&["-tx"]).contains("-x"));
        assert!(refused(&["-té"]).contains("-é"));
        assert!(refused(&["--daemonize"]).contains("--daemonize"));
        assert!(refused(&["file.yml"]).contains("file.yml"));
        assert!(refused(&["--version=3"]).contains('3'));
        assert!(refused(&["-v", "loud"]).contains("a number is required"));
        assert!(refused(&["--output="]).contains("a file name is required"));
        assert!(refused(&["-c"]).contains("-c"));
        assert!(refused(&["--", " x"]).contains('x'));
    }

    #[test]
    fn a_word_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let argv = [OsString::from("ringcracker"), OsString::from_vec(b"-c\xff".to_vec())];
        assert_eq!(parse(argv).unwrap_err().exit_code, 1);
    }

    #[test]
    fn the_flags_with_a_value_are_those_of_the_program() {
        for flag in SHORT_WITH_VALUE.map(|flag| format!("-{flag}")) {
            assert!(refused(&[&flag]).contains("No value provided"), "{flag}");
        }
        for flag in LONG_WITH_VALUE.map(|flag| format!("--{flag}")) {
            assert!(refused(&[&flag]).contains("No value provided"), "{flag}");
        }
    }
}
