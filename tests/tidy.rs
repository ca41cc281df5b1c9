//! The house rules, as a test: who may know whom, how large things may be, where `unsafe` stands.
//!
//! `docs/design.md` gives the reasons. Every rule is a function from one file to its faults, and
//! has a test of its own on a small bad sample, so that a rule that cannot fail is noticed.

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/words.rs"]
mod words;

use lexer::Source;
use std::path::{Path, PathBuf};

/// One broken rule at one place.
struct Fault {
    line: usize,
    what: String,
}

/// A rule reads one file and appends what is wrong with it.
type Rule = fn(&Source, &mut Vec<Fault>);

const RULES: [Rule; 11] = [
    house::arrows_never_climb,
    house::the_proxy_is_pure,
    house::paths_are_written_from_the_root,
    sizes::files_are_short,
    sizes::functions_are_short,
    sizes::lines_are_short,
    words::nothing_is_left_to_do,
    words::lints_are_not_silenced,
    words::unsafe_has_its_rooms,
    words::unsafe_says_why_it_is_sound,
    words::modules_say_what_they_are,
];

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for room in ["src", "tests", "bench"] {
        collect(&root.join(room), &mut files);
    }
    assert!(files.len() > 10, "only {} files were found: the walk is broken", files.len());
    let sources: Vec<Source> = files.iter().map(|file| read(root, file)).collect();
    let mut report = String::new();
    for source in &sources {
        for fault in faults_of(source) {
            report += &format!("{}:{}: {}\n", source.path, fault.line, fault.what);
        }
    }
    for (from, to) in house::circles_within_low_rooms(&sources) {
        report += &format!("{from} -> {to}: an arrow of a circle\n");
    }
    assert!(report.is_empty(), "\n{report}");
}

fn read(root: &Path, file: &Path) -> Source {
    let text = std::fs::read_to_string(file).expect("a file of the tree can be read");
    let path = file.strip_prefix(root).expect("the walk began at the root");
    Source::new(path.to_str().expect("paths are ASCII"), &text)
}

fn faults_of(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in RULES {
        rule(source, &mut faults);
    }
    faults
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder of the tree can be listed").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    into.sort();
}

/// What one rule says about `text` standing at `path`, for the rules' own tests.
#[cfg(test)]
fn judged(rule: Rule, path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    rule(&Source::new(path, text), &mut faults);
    faults.into_iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect()
}
