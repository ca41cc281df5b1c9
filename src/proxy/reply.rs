//! Replies of ours, in the version of RESP that their client speaks.

use crate::proto::RespVersion;

/// Writes one reply, or several, to the end of some bytes. What RESP2 has no type for is written
/// as Redis writes it to a RESP2 client.
pub(crate) struct Writer<'b> {
    version: RespVersion,
    into: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// Writes to the end of `into`.
    pub(crate) fn new(version: RespVersion, into: &'b mut Vec<u8>) -> Self {
        Self { version, into }
    }

    /// The head of an array of so many elements.
    pub(crate) fn array(&mut self, elements: usize) -> &mut Self {
        self.head(b'*', elements as i64)
    }

    /// The head of so many pairs: an array of twice as many in RESP2.
    pub(crate) fn map(&mut self, pairs: usize) -> &mut Self {
        match self.version {
            RespVersion::Two => self.array(2 * pairs),
            RespVersion::Three => self.head(b'%', pairs as i64),
        }
    }

    /// The head of a set: an array in RESP2.
    pub(crate) fn set(&mut self, elements: usize) -> &mut Self {
        match self.version {
            RespVersion::Two => self.array(elements),
            RespVersion::Three => self.head(b'~', elements as i64),
        }
    }

    /// The head of what a client has not asked for just now: an array in RESP2.
    pub(crate) fn push(&mut self, elements: usize) -> &mut Self {
        match self.version {
            RespVersion::Two => self.array(elements),
            RespVersion::Three => self.head(b'>', elements as i64),
        }
    }

    /// What has been written before, in either version.
    pub(crate) fn either(&mut self, two: &[u8], three: &[u8]) -> &mut Self {
        self.into.extend_from_slice(match self.version {
            RespVersion::Two => two,
            RespVersion::Three => three,
        });
        self
    }

    /// A bulk string.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(b'$', bytes.len() as i64);
        self.into.extend_from_slice(bytes);
        self.into.extend_from_slice(b"\r\n");
        self
    }

    /// A text to be shown as it is: a bulk string in RESP2.
    pub(crate) fn verbatim(&mut self, text: &str) -> &mut Self {
        match self.version {
            RespVersion::Two => self.bulk(text.as_bytes()),
            RespVersion::Three => {
                self.head(b'=', text.len() as i64 + 4);
                self.into.extend_from_slice(b"txt:");
                self.into.extend_from_slice(text.as_bytes());
                self.into.extend_from_slice(b"\r\n");
                self
            }
        }
    }

    /// A status. It has no line break in it.
    pub(crate) fn status(&mut self, words: &str) -> &mut Self {
        debug_assert!(!words.contains(['\r', '\n']), "{words:?}");
        self.into.push(b'+');
        self.into.extend_from_slice(words.as_bytes());
        self.into.extend_from_slice(b"\r\n");
        self
    }

    /// An integer.
    pub(crate) fn integer(&mut self, number: i64) -> &mut Self {
        self.head(b':', number)
    }

    /// Nothing, where a bulk string would be.
    pub(crate) fn null(&mut self) -> &mut Self {
        self.into.extend_from_slice(match self.version {
            RespVersion::Two => b"$-1\r\n",
            RespVersion::Three => b"_\r\n",
        });
        self
    }

    /// Nothing, where an array would be.
    pub(crate) fn null_array(&mut self) -> &mut Self {
        self.into.extend_from_slice(match self.version {
            RespVersion::Two => b"*-1\r\n",
            RespVersion::Three => b"_\r\n",
        });
        self
    }

    fn head(&mut self, kind: u8, number: i64) -> &mut Self {
        self.into.push(kind);
        self.into.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.into.extend_from_slice(b"\r\n");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: RespVersion, write: fn(&mut Writer<'_>)) -> String {
        let mut bytes = Vec::new();
        write(&mut Writer::new(version, &mut bytes));
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_type_that_resp2_lacks_is_written_as_redis_does() {
        let both = |write| (written(RespVersion::Two, write), written(RespVersion::Three, write));
        let pair = |two: &str, three: &str| (two.to_owned(), three.to_owned());
        assert_eq!(both(|to| _ = to.map(2)), pair("*4\r\n", "%2\r\n"));
        assert_eq!(both(|to| _ = to.set(2)), pair("*2\r\n", "~2\r\n"));
        assert_eq!(both(|to| _ = to.push(3)), pair("*3\r\n", ">3\r\n"));
        assert_eq!(both(|to| _ = to.null()), pair("$-1\r\n", "_\r\n"));
        assert_eq!(both(|to| _ = to.null_array()), pair("*-1\r\n", "_\r\n"));
        let text = both(|to| _ = to.verbatim("a:1"));
        assert_eq!(text, pair("$3\r\na:1\r\n", "=7\r\ntxt:a:1\r\n"));
    }

    #[test]
    fn types_of_both_are_the_same() {
        for version in [RespVersion::Two, RespVersion::Three] {
            let all = written(version, |to| {
                to.array(3).bulk(b"").status("OK").integer(-7);
            });
            assert_eq!(all, "*3\r\n$0\r\n\r\n+OK\r\n:-7\r\n");
        }
    }
}
