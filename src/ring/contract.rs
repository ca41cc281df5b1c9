//! The caller's side of `io::Ring`'s contract, watched in debug builds only.

use std::collections::HashMap;

use crate::io::Fd;
use crate::token::Token;

/// Which operations are in flight, and on which descriptors.
///
/// A release build keeps nothing: what these assertions find are bugs, and the simulator's runs
/// find them first.
#[derive(Default)]
pub(super) struct Contract {
    on: HashMap<Token, Fd>,
    armed: HashMap<Fd, u32>,
}

impl Contract {
    /// An operation begins.
    ///
    /// Panics when its token is in flight: a deadline or a cancel would hit either of the two.
    pub(super) fn begin(&mut self, token: Token, fd: Fd) {
        if cfg!(debug_assertions) {
            let previous = self.on.insert(token, fd);
            assert!(previous.is_none(), "{token:?} is in flight already");
            *self.armed.entry(fd).or_default() += 1;
        }
    }

    /// The last completion of an operation was seen.
    pub(super) fn end(&mut self, token: Token) {
        if cfg!(debug_assertions) {
            let fd = self.on.remove(&token);
            let fd = fd.unwrap_or_else(|| panic!("{token:?} completed without being in flight"));
            let armed = self.armed.get_mut(&fd).expect("counted by begin");
            *armed -= 1;
            if *armed == 0 {
                self.armed.remove(&fd);
            }
        }
    }

    /// A descriptor is to be closed.
    ///
    /// Panics when something is armed on it: that would live on, on a socket without a number.
    pub(super) fn close(&self, fd: Fd) {
        if cfg!(debug_assertions) {
            assert!(!self.armed.contains_key(&fd), "{fd:?} is closed with operations on it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Key, OpKind};

    #[test]
    #[should_panic(expected = "in flight already")]
    fn a_token_in_flight_is_not_used_again() {
        let mut contract = Contract::default();
        contract.begin(Key::WORKER.token(OpKind::Recv), Fd(3));
        contract.begin(Key::WORKER.token(OpKind::Recv), Fd(4));
    }

    #[test]
    #[should_panic(expected = "closed with operations on it")]
    fn a_descriptor_with_an_armed_operation_is_not_closed() {
        let mut contract = Contract::default();
        contract.begin(Key::WORKER.token(OpKind::Recv), Fd(3));
        contract.begin(Key::WORKER.token(OpKind::Send), Fd(3));
        contract.end(Key::WORKER.token(OpKind::Send));
        contract.close(Fd(3));
    }

    #[test]
    fn a_descriptor_is_closed_after_its_last_operation() {
        let mut contract = Contract::default();
        contract.begin(Key::WORKER.token(OpKind::Recv), Fd(3));
        contract.end(Key::WORKER.token(OpKind::Recv));
        contract.close(Fd(3));
    }
}
