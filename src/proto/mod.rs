//! The protocols that clients and servers speak: where a request and a reply end, and which
//! arguments of a request are keys.
//!
//! ```text
//! bytes of a client ──> resp::RequestParser ──> Parsed::Request ──> Request {command, spans, keys}
//!                          commands::lookup ───────────┘
//! bytes of a server ──> resp::ReplyParser   ──> ReplyStep::Reply {end}
//! ```
//!
//! Both parsers are given the bytes in the pieces in which they arrive, and go on where they
//! stopped: no byte is kept here, and none is asked for again.
//!
//! **Knows nothing of:** connections, buffers, servers, time.

pub mod commands;
pub mod resp;

mod request;

pub use request::{BadRequest, KeySpan, Parsed, Request, SPANS_ALWAYS, Span, Words};
