//! RESP, the protocol of Redis.

mod inline;
mod number;
mod reply;
mod request;

pub use reply::{BadReply, ReplyParser, ReplyStep, integer};
pub use request::RequestParser;
