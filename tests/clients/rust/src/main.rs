//! The cases of the client matrix for the crate redis: `ok NAME` or `FAIL NAME why`, one line for
//! each. Everything not named here is left at the library's default.

mod cases;

use std::env;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What a case ends with: nothing, or why it failed.
pub type Outcome = Result<(), String>;

/// Where the servers are, as the test says it by environment variables.
pub struct Surroundings {
    /// Where no password is asked for.
    pub port: u16,
    /// Where one is.
    pub port_with_password: u16,
    /// Which.
    pub password: String,
    /// The servers behind `port`.
    pub servers: Vec<u16>,
    /// How long a case may take.
    pub limit: Duration,
}

fn main() {
    println!("version {}", version());
    for (name, case) in cases::CASES {
        let (sender, receiver) = mpsc::channel();
        // One that waits for ever is left behind, and ends with the program.
        thread::spawn(move || {
            let _ = sender.send(case(&surroundings()));
        });
        let outcome = receiver.recv_timeout(surroundings().limit);
        let why = match outcome {
            Ok(Ok(())) => {
                println!("ok {name}");
                continue;
            }
            Ok(Err(why)) => why,
            Err(_) => "it panicked, or was not done in time".to_owned(),
        };
        println!("FAIL {name} {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    std::process::exit(0);
}

/// The version that is pinned.
fn version() -> &'static str {
    let line = include_str!("../Cargo.toml").lines().find(|line| line.starts_with("redis = "));
    line.expect("a dependency").trim_start_matches("redis = ").trim_matches(['"', '='])
}

fn surroundings() -> Surroundings {
    let text = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let number = |name: &str| text(name).parse().expect("a number");
    Surroundings {
        port: number("PORT"),
        port_with_password: number("PORT_WITH_PASSWORD"),
        password: text("PASSWORD"),
        servers: text("SERVERS").split(',').map(|port| port.parse().expect("a port")).collect(),
        limit: Duration::from_secs(number("LIMIT_SECONDS").into()),
    }
}
