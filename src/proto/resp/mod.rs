//! RESP, the protocol of Redis.

mod number;
mod reply;
mod request;

pub use reply::{BadReply, ReplyParser, ReplyStep, integer};
pub use request::RequestParser;
