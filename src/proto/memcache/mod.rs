//! The text protocol of memcached.
//!
//! Source: memcached's `doc/protocol.txt`; what it leaves open was tried with memcached 1.6.18.

mod reply;
mod request;
mod table;

pub use reply::ReplyParser;
pub use request::RequestParser;
