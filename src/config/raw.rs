//! The values of a document as serde_yaml reads them: every scalar is the text that stands there.
//!
//! YAML would make a number of the password `1e3` and lose how it was written, so nothing is
//! typed here: `check` knows what each key must be, and can say so for all of them at once.
//!
//! **Knows nothing of:** pools, keys.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, Place};
use super::outline::Outline;

/// A value and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value of the document.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: empty, `~` or `null` without quotes.
    Null,
    /// Any other scalar, as it is written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file, with those that are there twice.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub key_place: Place,
    /// The value.
    pub node: Node,
}

/// Reads the values of the document in `text`, whose outline is given.
///
/// Errors: what serde_yaml does not accept though the outline could be read.
pub fn read(text: &str, outline: &Outline) -> Result<Node, Fault> {
    Seed(outline).deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        let place = error
            .location()
            .map_or(Place::START, |place| Place { line: place.line(), col: place.column() });
        // The place stands before the text already.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        Fault::of_file(place, format!("is not valid YAML: {text}"))
    })
}

/// Asks serde for a value of the shape that the outline has.
#[derive(Clone, Copy)]
struct Seed<'o>(&'o Outline);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let value = match self.0 {
            // A scalar that is asked for as a string comes as it is written.
            Outline::Scalar { .. } => deserializer.deserialize_str(self),
            Outline::Sequence { .. } => deserializer.deserialize_seq(self),
            Outline::Mapping { .. } => deserializer.deserialize_map(self),
        }?;
        Ok(Node { place: self.0.place(), value })
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Outline::Scalar { .. } => "a word",
            Outline::Sequence { .. } => "a list",
            Outline::Mapping { .. } => "keys and values",
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        match self.0 {
            Outline::Scalar { null: true, .. } => Ok(Value::Null),
            Outline::Scalar { null: false, .. } => Ok(Value::Text(text.to_owned())),
            Outline::Sequence { .. } | Outline::Mapping { .. } => Err(E::custom(DISAGREE)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let Outline::Sequence { items, .. } = self.0 else {
            return Err(A::Error::custom(DISAGREE));
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let node = from.next_element_seed(Seed(item))?;
            list.push(node.ok_or_else(|| A::Error::custom(DISAGREE))?);
        }
        match from.next_element::<IgnoredAny>()? {
            None => Ok(Value::List(list)),
            Some(_) => Err(A::Error::custom(DISAGREE)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let Outline::Mapping { entries, .. } = self.0 else {
            return Err(A::Error::custom(DISAGREE));
        };
        let mut list = Vec::with_capacity(entries.len());
        for &(key_place, ref outline) in entries {
            let key = from.next_key::<String>()?.ok_or_else(|| A::Error::custom(DISAGREE))?;
            let node = from.next_value_seed(Seed(outline))?;
            list.push(Entry { key, key_place, node });
        }
        match from.next_key::<IgnoredAny>()? {
            None => Ok(Value::Mapping(list)),
            Some(_) => Err(A::Error::custom(DISAGREE)),
        }
    }
}

/// YAML 1.1 and 1.2 read a few odd documents differently. Neither reading is safe to take then.
const DISAGREE: &str = "YAML 1.1 and 1.2 read this differently; write it plainer";

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Node {
        read(text, &Outline::read(text).unwrap().unwrap()).unwrap()
    }

    fn texts(text: &str) -> Vec<Value> {
        let Value::List(list) = read_text(text).value else { panic!("a list: {text}") };
        list.into_iter().map(|node| node.value).collect()
    }

    #[test]
    fn a_scalar_comes_as_it_is_written() {
        for text in ["1e3", "0x1f", "007", "+5", "yes", "true", ".inf", "1_000", "12:30", "a b"] {
            assert_eq!(texts(&format!("[{text}]")), [Value::Text(text.to_owned())]);
        }
    }

    #[test]
    fn quoted_nothing_is_a_text() {
        let nothing = || Value::Null;
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(texts("- \n- ~\n- null\n"), [nothing(), nothing(), nothing()]);
        assert_eq!(texts("- ''\n- '~'\n- \"null\"\n"), [text(""), text("~"), text("null")]);
    }

    #[test]
    fn both_of_two_equal_keys_come() {
        let Value::Mapping(entries) = read_text("a: 1\na: 2\n").value else { panic!("a mapping") };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].key, "a");
        assert_eq!(entries[1].key_place, Place { line: 2, col: 1 });
        assert_eq!(entries[1].node.value, Value::Text("2".to_owned()));
    }

    #[test]
    fn another_shape_than_the_outline_is_a_fault() {
        for (text, other) in [
            ("[a, b]", "[a]"),
            ("[a]", "[a, b]"),
            ("{a: b}", "{a: b, c: d}"),
            ("{a: b, c: d}", "{a: b}"),
            ("{a: b}", "[a]"),
            ("[a]", "a"),
            ("a", "{a: b}"),
        ] {
            let outline = Outline::read(other).unwrap().unwrap();
            assert!(read(text, &outline).is_err(), "{text} with the outline of {other}");
        }
    }
}
