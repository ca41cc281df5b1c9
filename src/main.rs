//! The program: argv, then configuration, then workers.

mod start;

use std::process::ExitCode;

use ringcracker::cli::{self, describe};
use ringcracker::config;

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
    match start::run(&cli, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringcracker: {why}");
            ExitCode::FAILURE
        }
    }
}
