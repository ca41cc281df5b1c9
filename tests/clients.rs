//! Real client libraries, with their defaults, before a plain server and before the proxy.
//!
//! A library's script is run twice, and says one line for each case. A plain server shows that the
//! script is right: there every case passes. Through the proxy exactly those may fail that stand in
//! `GAPS`, and those must.

mod support;

#[path = "clients/expected.rs"]
mod expected;
#[path = "clients/frames.rs"]
mod frames;
#[path = "clients/handshakes.rs"]
mod handshakes;
#[path = "clients/matrix.rs"]
mod matrix;
#[path = "clients/readme.rs"]
mod readme;
#[path = "clients/recorded.rs"]
mod recorded;

use expected::{LIBRARIES, gaps};
use matrix::{Library, Stage};

fn library(title: &str) -> &'static Library {
    LIBRARIES.iter().find(|library| library.title() == title).expect("a library of the table")
}

/// Runs one library's script on both stages, and reports all that is not as expected.
fn works_as_listed(title: &str) {
    let library = library(title);
    let mut faults = vec![];
    for (place, stage) in [("a plain server", Stage::plain()), ("the proxy", Stage::proxied())] {
        let said = library.run(&stage);
        if !said.version.starts_with(library.version) {
            faults.push(format!("version {}, not {}", said.version, library.version));
        }
        let known: Vec<&str> = library.cases().collect();
        let strange = said.outcomes.keys().filter(|case| !known.contains(&case.as_str()));
        faults.extend(strange.map(|case| format!("a case that is not in the table: {case}")));
        for case in known {
            let expected = gaps(title, case).next().filter(|_| place == "the proxy");
            match (said.outcomes.get(case), expected) {
                (Some(Ok(())), None) | (Some(Err(_)), Some(_)) => {}
                (None, _) => faults.push(format!("{case} on {place}: nothing was said")),
                (Some(Ok(())), Some(gap)) => {
                    faults.push(format!("{case} works on {place}; listed: {}", gap.missing));
                }
                (Some(Err(why)), None) => faults.push(format!("{case} on {place}: {why}")),
            }
        }
    }
    assert!(faults.is_empty(), "{title}:\n  {}\n", faults.join("\n  "));
}

#[test]
fn redis_py_5() {
    works_as_listed("redis-py 5");
}

#[test]
fn redis_py_6() {
    works_as_listed("redis-py 6");
}

#[test]
fn redis_py_8() {
    works_as_listed("redis-py 8");
}

#[test]
fn ioredis_5() {
    works_as_listed("ioredis 5");
}

#[test]
fn ioredis_6() {
    works_as_listed("ioredis 6");
}

#[test]
fn node_redis_4() {
    works_as_listed("node-redis 4");
}

#[test]
fn node_redis_5() {
    works_as_listed("node-redis 5");
}

#[test]
fn node_redis_6() {
    works_as_listed("node-redis 6");
}

#[test]
fn redis_rs_1() {
    works_as_listed("redis-rs 1");
}

#[test]
fn phpredis() {
    works_as_listed("phpredis");
}
