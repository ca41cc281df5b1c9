//! What is wrong in a configuration file, and where.

use std::fmt;

use thiserror::Error;

/// A place in a file: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub col: usize,
}

impl Place {
    /// Where a file begins: the place of what is wrong with all of it.
    pub const START: Self = Self { line: 1, col: 1 };
}

/// One thing that is wrong. It reads `line:col: pool.key: what is wrong, what would be right`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// `pool.key`, `pool`, or nothing when the fault belongs to the whole file.
    pub subject: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl Fault {
    /// A fault that belongs to no pool.
    pub fn of_file(place: Place, text: impl Into<String>) -> Self {
        Self { place, subject: String::new(), text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.col)?;
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        f.write_str(&self.text)
    }
}

/// All the faults of one file in the order of their places, at least one. Each is a line that
/// begins with `file:`.
#[derive(Debug, Error)]
pub struct Faults {
    file_name: String,
    list: Vec<Fault>,
}

impl Faults {
    /// The faults of a file, in any order.
    ///
    /// Panics when there is none.
    pub fn new(file_name: &str, mut list: Vec<Fault>) -> Self {
        assert!(!list.is_empty(), "a file without faults has no Faults");
        list.sort();
        Self { file_name: file_name.to_owned(), list }
    }

    /// The faults, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let end_of_last = if index == 0 { "" } else { "\n" };
            write!(f, "{end_of_last}{}:{fault}", self.file_name)?;
        }
        Ok(())
    }
}

/// A text of the file as it is shown in a fault: quoted, escaped so that it cannot drive a
/// terminal, and cut, as a file of noise may hold a megabyte of it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// As `quoted`, without the quotes.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(escaped).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let (plain, escape) =
        if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

/// The longest text that is shown whole.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_drive_a_terminal() {
        assert_eq!(quoted("a\u{1b}[2J\nb"), r#""a\u{1b}[2J\nb""#);
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = "é".repeat(SHOWN_CHARS_MAX);
        assert_eq!(shown(&text), text);
        assert_eq!(shown(&format!("{text}x")), format!("{text}…"));
    }

    #[test]
    fn faults_come_in_the_order_of_their_places() {
        let fault = |line, col| Fault::of_file(Place { line, col }, "x");
        let faults = Faults::new("f.yml", vec![fault(3, 1), fault(2, 9), fault(2, 10)]);
        assert_eq!(faults.to_string(), "f.yml:2:9: x\nf.yml:2:10: x\nf.yml:3:1: x");
    }
}
