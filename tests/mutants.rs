//! The mistakes that `make mutants` plants still fit the tree: a patch that has rotted finds
//! nothing out.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Mistakes in each area, at least.
const PATCHES_MIN: [(&str, usize); 4] = [("ring", 5), ("worker", 5), ("proxy", 5), ("proto", 5)];

/// Mistakes in all areas together, at least.
const ALL_PATCHES_MIN: usize = 20;

#[test]
fn every_mistake_can_be_planted() {
    let mut faults = String::new();
    for path in patches() {
        let patch = fs::read_to_string(&path).unwrap();
        let output = check(&patch);
        let said = String::from_utf8_lossy(&output.stderr);
        // What git skips is no failure to it, but would plant nothing.
        if !output.status.success() || said.contains("Skipped patch") {
            faults += &format!("{}: {said}", path.display());
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn a_mistake_says_what_it_is_and_stays_in_its_area() {
    for path in patches() {
        let patch = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let area = name.split('-').next().unwrap();
        let (header, diff) = patch.split_once("diff --git ").unwrap();
        assert!(header.starts_with("Mistake: ") && header.contains("\nSuffered: "), "{name}");
        let files: Vec<_> = diff.lines().filter_map(|line| line.strip_prefix("+++ b/")).collect();
        assert!(!files.is_empty(), "{name}");
        let inside = format!("src/{area}/");
        assert!(files.iter().all(|file| file.starts_with(&inside)), "{name}: {files:?}");
    }
}

#[test]
fn a_number_is_that_of_one_mistake() {
    let mut numbers = HashSet::new();
    for path in patches() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let number: Vec<_> = name.split('-').take(2).collect();
        assert!(numbers.insert(number.join("-")), "{name}");
    }
}

#[test]
fn each_area_has_its_mistakes() {
    let all = patches();
    assert!(all.len() >= ALL_PATCHES_MIN, "{} mistakes", all.len());
    for (area, least) in PATCHES_MIN {
        let start = format!("{area}-");
        let of_area =
            |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&start);
        assert!(all.iter().filter(of_area).count() >= least, "{area}");
    }
}

#[test]
fn a_patch_that_does_not_fit_is_noticed() {
    let patch = fs::read_to_string(&patches()[0]).unwrap();
    let rotten = patch.replacen("\n ", "\n no such line: ", 1);
    assert_ne!(patch, rotten);
    assert!(!check(&rotten).status.success());
    assert!(check(&patch).status.success());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn patches() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/mutants")).unwrap();
    let mut patches: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    patches
}

/// Asks git whether a patch fits the tree, be that a repository of its own or a plain folder. In a
/// folder inside of another repository it would be skipped: git is not to look for one.
fn check(patch: &str) -> Output {
    let mut command = Command::new("git");
    command.args(["apply", "--check", "--verbose", "-"]).current_dir(root());
    command.env("GIT_CEILING_DIRECTORIES", root().parent().unwrap()).env_remove("GIT_DIR");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("git is installed");
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
