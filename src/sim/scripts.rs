//! What a simulated server knows of scripts: it runs none, but answers with the script's text.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use crate::sim::resp::{array, bulk, integer};

/// The scripts that a server has, until it dies.
#[derive(Default)]
pub(super) struct Scripts {
    under: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What redis calls a script by.
pub fn script_name(body: &[u8]) -> Vec<u8> {
    let digits = |byte: u8| format!("{byte:02x}").into_bytes();
    Sha1::digest(body).iter().copied().flat_map(digits).collect()
}

impl Scripts {
    /// The reply to a request that is about scripts.
    pub(super) fn hear(&mut self, request: &[Vec<u8>]) -> Option<Vec<u8>> {
        let upper: Vec<Vec<u8>> =
            request.iter().take(2).map(|word| word.to_ascii_uppercase()).collect();
        match (&upper[0][..], upper.get(1).map(Vec::as_slice), request.get(2..)) {
            (b"SCRIPT", Some(b"LOAD"), Some([body])) => {
                let name = script_name(body);
                self.under.insert(name.clone(), body.clone());
                Some(bulk(&name))
            }
            (b"SCRIPT", Some(b"EXISTS"), Some(names)) => {
                let is_there = |name| integer(i64::from(self.under.contains_key(name)));
                Some(array(&names.iter().map(is_there).collect::<Vec<_>>()))
            }
            (b"EVALSHA", Some(_), Some([_, ..])) => {
                Some(self.under.get(&request[1]).map_or(NO_SCRIPT.to_vec(), |body| bulk(body)))
            }
            _ => None,
        }
    }

    /// The server has died.
    pub(super) fn forget(&mut self) {
        self.under.clear();
    }
}

const NO_SCRIPT: &[u8] = b"-NOSCRIPT No matching script. Please use EVAL.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_there_until_the_server_dies() {
        let mut scripts = Scripts::default();
        let mut hear = |line: &[&[u8]]| {
            let request: Vec<Vec<u8>> = line.iter().map(|word| word.to_vec()).collect();
            String::from_utf8(scripts.hear(&request).expect("it is about scripts")).expect("text")
        };
        let name = script_name(b"return 1");
        assert_eq!(name, b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert!(hear(&[b"EVALSHA", &name, b"1", b"k"]).starts_with("-NOSCRIPT"));
        assert_eq!(
            hear(&[b"script", b"load", b"return 1"]),
            format!("$40\r\n{}\r\n", name.escape_ascii())
        );
        assert_eq!(hear(&[b"SCRIPT", b"EXISTS", &name, b"other"]), "*2\r\n:1\r\n:0\r\n");
        assert_eq!(hear(&[b"EVALSHA", &name, b"1", b"k"]), "$8\r\nreturn 1\r\n");
        scripts.forget();
        assert!(scripts.under.is_empty());
    }
}
