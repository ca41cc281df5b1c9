//! Where a server's reply ends.

/// What a reply parser made of the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStep {
    /// All of the data was read, and the reply goes on.
    Partial,
    /// A reply is whole.
    Reply {
        /// Bytes of the data that were read: the reply's last byte is `data[end - 1]`.
        end: usize,
    },
    /// The server broke the protocol; its connection is of no use any more. Every further call
    /// says the same.
    Bad(BadReply),
}

/// How a server broke the protocol, or went over a limit of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadReply {
    /// A reply, or an element of one, begins with a byte that is no type of RESP2.
    Type(u8),
    /// The line after `:` is no number.
    Integer,
    /// The line after `$` or `*` is no number in its one spelling, and not `-1`.
    Length,
    /// A CR LF is missing, after a line or after a bulk string.
    End,
    /// A line goes on for more than `REPLY_LINE_BYTES_MAX`.
    Line,
    /// A bulk string is larger than `BULK_BYTES_MAX`.
    Bulk,
    /// An array has more than `REPLY_ELEMENTS_MAX` elements.
    Elements,
    /// Arrays nest deeper than `REPLY_DEPTH_MAX`.
    Depth,
    /// The reply as a whole is larger than `REPLY_BYTES_MAX`.
    TooBig,
}

/// Finds the replies in the bytes of one server.
#[derive(Default)]
pub struct ReplyParser {
    before: u64,
    first: u8,
    len: u64,
    elements: Vec<u32>,
    elements_start: u32,
    recording: bool,
}

impl ReplyParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first reply.
    pub fn parse(&mut self, data: &[u8]) -> ReplyStep {
        self.before += data.len() as u64;
        ReplyStep::Partial
    }

    /// The type byte of the reply that is being read, or of the one that the last call found.
    /// 0 before the first.
    pub fn first_byte(&self) -> u8 {
        self.first
    }

    /// Bytes of the reply that the last call found; 0 when it found none.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the last call found no reply.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether to record where the elements of the next reply end, if it is an array. To be
    /// called between two replies; it holds until it is called again.
    pub fn record_elements(&mut self, on: bool) {
        self.recording = on;
    }

    /// The end of each element of the array, as offsets from the reply's first byte. The first
    /// element begins at `elements_start`, each other where the one before it ends. Empty unless
    /// recording, and for any other reply than an array.
    pub fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Bytes of the array's `*n\r\n`, where its first element begins.
    pub fn elements_start(&self) -> u32 {
        self.elements_start
    }

    /// Whether the parser stands between two replies.
    pub fn is_idle(&self) -> bool {
        self.before == 0
    }

    /// Bytes of the reply that is not whole yet; 0 between two replies.
    pub fn bytes_so_far(&self) -> u64 {
        self.before
    }

    /// Gives up memory that an unusually long array needed. Its elements are gone then.
    pub fn trim(&mut self) {}
}

/// The number in an integer reply, `:12\r\n`; `None` for anything else.
pub fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
