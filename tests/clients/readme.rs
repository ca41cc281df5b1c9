//! The README's table of clients, made from what the tests expect.

use std::path::Path;

use crate::expected::{LIBRARIES, gaps};
use crate::handshakes;
use crate::recorded::RECORDINGS;

const BEGIN: &str = "<!-- clients: made by tests/clients.rs -->\n";
const END: &str = "<!-- end of clients -->\n";

fn table() -> String {
    let mut text = String::from(
        "| client | version | tried with | works | missing yet |\n|---|---|---|---|---|\n",
    );
    for library in &LIBRARIES {
        let version = if library.version.is_empty() { "of Debian" } else { library.version };
        let cases: Vec<&str> = library.cases().collect();
        text += &row(&library.title(), library.name, version, "the library", &cases);
    }
    for recording in &RECORDINGS {
        let name = recording.title.rsplit_once(' ').expect("a name and a number").0;
        let how = "its recorded handshake";
        text += &row(recording.title, name, recording.version, how, &handshakes::CASES);
    }
    text
}

fn row(title: &str, name: &str, version: &str, how: &str, cases: &[&str]) -> String {
    let works = cases.iter().filter(|case| gaps(title, case).next().is_none()).count();
    let mut missing: Vec<&str> = vec![];
    for gap in cases.iter().flat_map(|case| gaps(title, case)) {
        if !missing.contains(&gap.missing) {
            missing.push(gap.missing);
        }
    }
    let (all, missing) = (cases.len(), missing.join(", "));
    format!("| {name} | {version} | {how} | {works} of {all} | {missing} |\n")
}

#[test]
fn the_readme_has_every_client() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).expect("the README");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (old, after) = rest.split_once(END).expect("where the table ends");
    let new = table();
    if std::env::var("README").as_deref() == Ok("write") {
        std::fs::write(&path, format!("{before}{BEGIN}{new}{END}{after}")).expect("writable");
    } else {
        assert!(old == new, "run README=write cargo test --test clients the_readme; it is\n{new}");
    }
}
