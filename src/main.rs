//! The program: argv, then configuration, then workers.

mod start;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;
use std::process::ExitCode;

use ringcracker::cli::{self, describe, locate};
use ringcracker::config::{self, Config};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => {
            eprint!("{}", usage.text);
            return ExitCode::from(usage.exit_code);
        }
    };
    if cli.version {
        eprintln!("This is ringcracker-{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if cli.describe_stats {
        eprint!("{}", describe::text());
        return ExitCode::SUCCESS;
    }
    let file = cli.conf_file.display();
    let config = match config::load(&cli.conf_file) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}\nringcracker: configuration file '{file}' syntax is invalid");
            return ExitCode::FAILURE;
        }
    };
    if cli.test_conf {
        eprintln!("ringcracker: configuration file '{file}' syntax is ok");
        return ExitCode::SUCCESS;
    }
    let result = match &cli.locate {
        Some(keys) => locate_keys(&config, keys).map_err(|why| why.to_string()),
        None => start::run(&cli, &config).map_err(|why| why.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringcracker: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Says on standard output where the keys of a file belong, `-` being standard input.
fn locate_keys(config: &Config, keys: &Path) -> io::Result<()> {
    let mut lines = BufWriter::new(io::stdout().lock());
    if keys == Path::new("-") {
        return locate::locate(config, &mut io::stdin().lock(), &mut lines);
    }
    let failed = |why| io::Error::other(format!("keys '{}': {why}", keys.display()));
    let file = File::open(keys).map_err(failed)?;
    locate::locate(config, &mut BufReader::new(file), &mut lines)
}
