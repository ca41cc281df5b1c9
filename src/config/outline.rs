//! The shape of a document and the place of everything in it, from marked events.
//!
//! serde forgets places, and takes the last of two keys in silence. So the document is walked
//! twice: here for its shape and places, in `raw` for its values, and the two walks meet at the
//! same index path.
//!
//! What could make the second walk costly or ambiguous ends here with a fault: anchors and
//! aliases (a few lines of them unfold to gigabytes), tags, deep nesting, a second document.
//!
//! **Knows nothing of:** pools, keys, values.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::{Fault, Place};

/// A node of the document. Entries and items stand in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Outline {
    /// A text, or nothing.
    Scalar {
        /// Where it begins. Nothing begins where the next thing does.
        place: Place,
        /// Whether it is nothing: empty, `~` or `null` without quotes.
        null: bool,
    },
    /// A list.
    Sequence {
        /// Where it begins.
        place: Place,
        /// Its items.
        items: Vec<Outline>,
    },
    /// Keys and values. A key may be there more than once.
    Mapping {
        /// Where it begins.
        place: Place,
        /// The place of each key, and its value.
        entries: Vec<(Place, Outline)>,
    },
}

impl Outline {
    /// Reads the outline of the one document in `text`; `None` when there is no document.
    ///
    /// Errors: the first thing that is no YAML, or is refused here.
    pub fn read(text: &str) -> Result<Option<Self>, Fault> {
        let mut parser = Parser::new_from_str(text);
        let mut open = Vec::new();
        let mut root = None;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let text = format!("is not valid YAML: {}; {}", error.info(), remedy(error.info()));
                Fault::of_file(place_of(*error.marker()), text)
            })?;
            let place = place_of(span.start);
            if let Some(text) = refused(&event) {
                return Err(Fault::of_file(place, text));
            }
            if matches!(event, Event::DocumentStart(_)) && root.is_some() {
                return Err(Fault::of_file(place, "is a second document; one file holds one"));
            }
            if let Some(node) = step(&mut open, &event, span)? {
                root = Some(node);
            }
        }
        Ok(root)
    }

    /// Where the node begins.
    pub fn place(&self) -> Place {
        match self {
            Self::Scalar { place, .. }
            | Self::Sequence { place, .. }
            | Self::Mapping { place, .. } => *place,
        }
    }
}

/// A list or mapping whose end is still to come.
enum Open {
    Sequence { place: Place, items: Vec<Outline> },
    Mapping { place: Place, entries: Vec<(Place, Outline)>, key: Option<Place> },
}

/// Takes one event in. Returns the root when it is whole.
fn step(open: &mut Vec<Open>, event: &Event<'_>, span: Span) -> Result<Option<Outline>, Fault> {
    let place = place_of(span.start);
    let node = match event {
        Event::Scalar(text, style, ..) => {
            let null = *style == ScalarStyle::Plain && NULLS.contains(&text.as_ref());
            Outline::Scalar { place, null }
        }
        Event::SequenceStart(..) => {
            return push(open, Open::Sequence { place, items: Vec::new() });
        }
        Event::MappingStart(..) => {
            return push(open, Open::Mapping { place, entries: Vec::new(), key: None });
        }
        Event::SequenceEnd | Event::MappingEnd => match open.pop() {
            Some(Open::Sequence { place, items }) => Outline::Sequence { place, items },
            Some(Open::Mapping { place, entries, .. }) => Outline::Mapping { place, entries },
            None => return Ok(None),
        },
        Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::Alias(_) => return Ok(None),
    };
    match open.last_mut() {
        None => return Ok(Some(node)),
        Some(Open::Sequence { items, .. }) => items.push(node),
        Some(Open::Mapping { entries, key, .. }) => match key.take() {
            Some(key) => entries.push((key, node)),
            None if matches!(node, Outline::Scalar { .. }) => *key = Some(place),
            None => {
                let text = "is a list or mapping where a key should be; a key is a word";
                return Err(Fault::of_file(node.place(), text));
            }
        },
    }
    Ok(None)
}

fn push(open: &mut Vec<Open>, node: Open) -> Result<Option<Outline>, Fault> {
    if open.len() == DEPTH_MAX {
        let (Open::Sequence { place, .. } | Open::Mapping { place, .. }) = node;
        let text = "nests too deep; a pool holds keys, and lists of servers";
        return Err(Fault::of_file(place, text));
    }
    open.push(node);
    Ok(None)
}

fn refused(event: &Event<'_>) -> Option<&'static str> {
    let (anchor, tag): (usize, Option<&Tag>) = match event {
        Event::Alias(_) => return Some(ALIAS),
        Event::Scalar(_, _, anchor, tag) => (*anchor, tag.as_deref()),
        Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
            (*anchor, tag.as_deref())
        }
        Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::SequenceEnd
        | Event::MappingEnd => return None,
    };
    if anchor != 0 {
        return Some(ALIAS);
    }
    tag.is_some().then_some("is a YAML tag, which is not accepted; leave it out, or use quotes")
}

/// What most often mends what the parser complains about.
fn remedy(complaint: &str) -> &'static str {
    if complaint.contains("tab") {
        "spaces indent"
    } else {
        "see how the line is indented, and quote a value with any of [ ] { } & * ! : # @ in it"
    }
}

fn place_of(mark: saphyr_parser::Marker) -> Place {
    Place { line: mark.line(), col: mark.col() + 1 }
}

const ALIAS: &str =
    "is a YAML anchor or alias, which is not accepted; write the value itself, or use quotes";

/// Three levels are used. The rest is room for a mistake to be named by its key.
const DEPTH_MAX: usize = 8;

/// What stands for nothing in YAML 1.2, when not quoted.
const NULLS: [&str; 5] = ["", "~", "null", "Null", "NULL"];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, col: usize) -> Place {
        Place { line, col }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let outline = Outline::read("a:\n  b: [x,\n    ~]\nc:\n").unwrap().unwrap();
        let b = Outline::Sequence {
            place: at(2, 6),
            items: vec![
                Outline::Scalar { place: at(2, 7), null: false },
                Outline::Scalar { place: at(3, 5), null: true },
            ],
        };
        let a = Outline::Mapping { place: at(2, 3), entries: vec![(at(2, 3), b)] };
        let Outline::Mapping { place, entries } = outline else { panic!("a mapping") };
        assert_eq!(place, at(1, 1));
        assert_eq!(entries[0], (at(1, 1), a));
        assert_eq!(entries[1].0, at(4, 1));
        assert!(matches!(entries[1].1, Outline::Scalar { null: true, .. }));
    }

    #[test]
    fn both_of_two_equal_keys_are_there() {
        let outline = Outline::read("a: 1\na: 2\n").unwrap().unwrap();
        let Outline::Mapping { entries, .. } = outline else { panic!("a mapping") };
        assert_eq!(entries.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [at(1, 1), at(2, 1)]);
    }

    #[test]
    fn no_document_is_no_outline() {
        assert_eq!(Outline::read("# only a comment\n"), Ok(None));
        assert_eq!(Outline::read(""), Ok(None));
    }

    #[test]
    fn what_unfolds_is_refused_where_it_stands() {
        for (text, place) in [
            ("a: &x 1", at(1, 4)),
            ("a: 1\nb: &x [1]", at(2, 4)),
            ("a: !!str 1", at(1, 4)),
            ("a: 1\n---\nb: 2", at(2, 1)),
            ("? [a]\n: b", at(1, 3)),
        ] {
            assert_eq!(Outline::read(text).unwrap_err().place, place, "{text}");
        }
    }
}
