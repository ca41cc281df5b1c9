//! What the fuzzer has found worth keeping, through the properties that it looks for exceptions to.
//!
//! `docs/fuzzing.md` says how the corpus grows, and how a finding is replayed.

#![allow(clippy::unwrap_used)]

mod naive;
mod properties;

use std::path::{Path, PathBuf};

/// The inputs of one target, in order.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn replay(name: &str) {
    let (_, check) = properties::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let paths = corpus(name);
    assert!(paths.len() >= 20, "only {} inputs of {name}", paths.len());
    for path in paths {
        let input = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&input);
    }
}

#[test]
fn configurations() {
    replay("config");
}

#[test]
fn events_of_the_whole_worker() {
    replay("core");
}

#[test]
fn replies_of_memcached() {
    replay("memcache_reply");
}

#[test]
fn requests_for_memcached() {
    replay("memcache_request");
}

#[test]
fn replies_of_redis() {
    replay("resp_reply");
}

#[test]
fn requests_for_redis() {
    replay("resp_request");
}

#[test]
fn every_target_has_its_test_and_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, properties::TARGETS.map(|(name, _)| name));
}
