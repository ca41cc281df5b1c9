//! The protocols that clients and servers speak: where a request and a reply end, and which
//! arguments of a request are keys.
//!
//! ```text
//! bytes of a client ──> RequestParser ──> Parsed::Request ──> Request {command, spans, keys}
//!                    commands::lookup ───────────┘
//! bytes of a server ──> ReplyParser   ──> ReplyStep::Reply {end}
//! ```
//!
//! Either is of one protocol, RESP or memcached's. Both parsers are given the bytes in the pieces
//! in which they arrive, and go on where they stopped: no byte is kept here, and none is asked for
//! again.
//!
//! **Knows nothing of:** connections, buffers, servers, time.

pub mod commands;
pub mod memcache;
pub mod resp;

mod expected;
mod protocol;
mod request;

pub use expected::{Expected, KeyHash, Replies};
pub use protocol::{Protocol, ReplyParser, RequestParser, RespVersion};
pub use request::{BadRequest, Form, KeySpan, Parsed, Request, SPANS_ALWAYS, Span, Words};
