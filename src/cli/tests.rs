//! Every form of every flag, and what is said of those that are wrong.

use super::*;

fn parse_words(words: &[&str]) -> Result<Cli, Usage> {
    parse(std::iter::once("ringcracker").chain(words.iter().copied()).map(OsString::from))
}

fn defaults() -> Cli {
    Cli {
        conf_file: "conf/nutcracker.yml".into(),
        test_conf: false,
        locate: None,
        workers: Workers::Count(NonZeroUsize::MIN),
        drain_seconds: Duration::from_secs(5),
        gather_microseconds: Duration::from_micros(150),
        daemonize: false,
        pid_file: None,
        verbose: 5,
        output: None,
        stats_port: 22222,
        stats_addr: "0.0.0.0".to_owned(),
        stats_interval: Duration::from_secs(30),
        describe_stats: false,
        mbuf_size: None,
        version: false,
        ignored: Vec::new(),
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
        &["--conf=a b.yml"],
        &["--c", "a b.yml"],
    ] {
        assert_eq!(parse_words(words), conf(), "{words:?}");
    }
    for words in [&["-v", "6"][..], &["-v6"], &["--verbose", "6"], &["--verbose=6"]] {
        assert_eq!(parse_words(words), Ok(Cli { verbose: 6, ..defaults() }), "{words:?}");
    }
    let all = Cli { verbose: 11, daemonize: true, test_conf: true, version: true, ..defaults() };
    for words in [
        &["-dtVv99"][..],
        &["-dtVv", "99999999999999999999"],
        &["-t", "-d", "-V", "-v", "99"],
        &["--test", "--daemon", "--vers", "--verb=11"],
    ] {
        assert_eq!(parse_words(words).as_ref(), Ok(&all), "{words:?}");
    }
}

#[test]
fn of_a_flag_that_comes_twice_the_last_one_counts() {
    let expected = Cli { verbose: 7, test_conf: true, ..defaults() };
    assert_eq!(parse_words(&["-v", "3", "-tt", "--verbose=7"]), Ok(expected));
}

#[test]
fn every_flag_of_nutcracker_is_known() {
    let words =
        ["-s", "1", "-a::1", "-i0", "-p", "x.pid", "-m", "512", "-D", "--drain-s=0", "--gather=0"];
    let all = Cli {
        stats_port: 1,
        stats_addr: "::1".to_owned(),
        stats_interval: Duration::ZERO,
        pid_file: Some("x.pid".into()),
        mbuf_size: Some(512),
        describe_stats: true,
        drain_seconds: Duration::ZERO,
        gather_microseconds: Duration::ZERO,
        ..defaults()
    };
    assert_eq!(parse_words(&words), Ok(all));
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
fn a_log_without_a_name_is_standard_error() {
    for words in [&["-o", ""][..], &["--output="], &["-o", "x", "-o", ""]] {
        assert_eq!(parse_words(words), Ok(defaults()), "{words:?}");
    }
}

#[test]
fn words_of_no_flag_are_kept_apart() {
    let ignored = ["file.yml", "-", "-x", "--"].map(str::to_owned).to_vec();
    let expected = Cli { test_conf: true, ignored, ..defaults() };
    assert_eq!(parse_words(&["file.yml", "-t", "-", "--", "-x", "--"]), Ok(expected));
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
    for words in [&["-h"][..], &["--help"], &["-th"], &["-ht"], &["-h", "x", "-v6"]] {
        let usage = parse_words(words).unwrap_err();
        assert_eq!(usage.exit_code, 0, "{words:?}");
        assert!(usage.text.starts_with("Usage: ringcracker"), "{}", usage.text);
        for Flag { long, short, .. } in FLAGS {
            let flag = match short {
                Some(letter) => format!("-{letter}, --{long}"),
                None => format!("--{long}"),
            };
            // argh leaves out its own one's short form.
            let is_listed = usage.text.contains(&flag) || long == "help";
            assert!(is_listed, "{flag} in {}", usage.text);
        }
    }
}

#[test]
fn what_is_not_understood_is_named_in_nutcrackers_words() {
    let cases: [(&[&str], &str); 28] = [
        (&["-x"], "invalid option -- 'x'"),
        (&["-tx"], "invalid option -- 'x'"),
        (&["-té"], "invalid option -- 'é'"),
        (&["-h", "-v", "loud"], "option -v requires a number"),
        (&["-V", "-x"], "invalid option -- 'x'"),
        (&["--nope"], "invalid option -- '--nope'"),
        (&["--stats=3"], "invalid option -- '--stats'"),
        (&["--version=3"], "option --version takes no value, but has '3'"),
        (&["-v", "loud"], "option -v requires a number"),
        (&["-v", "-1"], "option -v requires a number"),
        (&["-v+1"], "option -v requires a number"),
        (&["-v"], "option -v requires a number"),
        (&["-s", "x"], "option -s requires a number"),
        (&["-s", "0"], "option -s value 0 is not a valid port"),
        (&["-s", "65536"], "option -s value 65536 is not a valid port"),
        (&["-i", "x"], "option -i requires a number"),
        (&["-i"], "option -i requires a number"),
        (&["-a"], "option -a requires a string"),
        (&["-c"], "option -c requires a file name"),
        (&["-p"], "option -p requires a file name"),
        (&["-o"], "option -o requires a file name"),
        (&["-m", "0"], "option -m requires a non-zero number"),
        (&["-m", "x': y"], "option -m requires a non-zero number"),
        (&["-m", "511"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (&["--locate"], "option --locate requires a file name"),
        (&["--locate="], "option --locate requires a file name"),
        (
            &["--gather-microseconds", "10001"],
            "option --gather-microseconds requires a number from 0 to 10000",
        ),
        (&["--drain-seconds", "1s"], "option --drain-seconds requires a number from 0 to 86400"),
    ];
    for (words, what) in cases {
        assert_eq!(refused(words), format!("ringcracker: {what}"), "{words:?}");
    }
}

#[test]
fn a_word_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let argv = [OsString::from("ringcracker"), OsString::from_vec(b"-c\xff".to_vec())];
    assert_eq!(parse(argv).unwrap_err().exit_code, 1);
}

#[test]
fn the_flags_are_those_of_the_program() {
    for flag in FLAGS.iter().filter(|flag| flag.long != "help") {
        let long = format!("--{}", flag.long);
        if flag.takes == Takes::Nothing {
            assert!(parse_words(&[&long]).is_ok(), "{long}");
            continue;
        }
        assert!(refused(&[&long]).contains("requires"), "{long}");
        let value = if flag.takes == Takes::Number { "600" } else { "x" };
        assert_ne!(parse_words(&[&long, value]), Ok(defaults()), "{long}");
        if let Some(letter) = flag.short {
            let short = format!("-{letter}");
            assert_eq!(parse_words(&[&short, value]), parse_words(&[&long, value]), "{short}");
        }
    }
}
