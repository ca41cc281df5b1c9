//! The page about what is different from nutcracker: each row of its tables is named by the tests
//! that run it.

use std::fs;
use std::path::PathBuf;

/// Where the page is.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migrating-from-twemproxy.md");

/// Says that the test which calls it runs what this row says, which is named by its first cell.
/// Panics when the page has no such row. That each row is named is tested in `proxy_migration.rs`.
pub fn shows_row(row: &str) {
    assert!(rows().iter().any(|known| known == row), "{row} is not in the page");
}

/// The first cells of all rows of the tables.
pub fn rows() -> Vec<String> {
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let (_, tables) = page.split_once("## Different on purpose").expect("its tables");
    let cells = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    // The head of each table has no first cell, and the line below it begins otherwise.
    cells.filter(|cell| !cell.starts_with('|')).map(str::to_owned).collect()
}

/// All sources of tests, one behind the other.
pub fn test_sources() -> String {
    let mut sources = String::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    sources
}
