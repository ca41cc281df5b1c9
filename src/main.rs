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
            if !cli.test_conf && cli.locate.is_none() {
                start::log_faults(&cli, &faults.to_string());
            }
            eprintln!("{faults}\nringcracker: configuration file '{file}' syntax is invalid");
            return ExitCode::FAILURE;
        }
    };
    if cli.test_conf {
        return test_listens(&config, &file.to_string());
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

/// Says whether a file without a fault can be used here: an address to listen on has to be known.
fn test_listens(config: &Config, file: &str) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for pool in &config.pools {
        if let Err(why) = pool.listen.resolve() {
            eprintln!("{file}: {}.listen: {why}", pool.name);
            code = ExitCode::FAILURE;
        }
    }
    let is_ok = if code == ExitCode::SUCCESS { "ok" } else { "invalid" };
    eprintln!("ringcracker: configuration file '{file}' syntax is {is_ok}");
    code
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
