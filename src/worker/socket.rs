//! What is armed on each socket: the half of a connection that the proxy does not see.

use crate::io::Fd;
use crate::time::Instant;
use crate::token::{Key, Role};
use crate::worker::pace::Beat;

/// One socket and the operations on it.
///
/// ```text
///   recv, hangup:  Off -> Armed -> Off            the operation ended by itself
///                         Armed -> Cancelling -> Off
///
///   Open --farewell--> LastWords --end of stream, time, too many bytes--> Closing --> (gone)
///    +------------------------------close------------------------------------^
/// ```
///
/// A socket is closed when nothing is armed on it, and only then is its slot free.
pub(crate) struct Socket {
    pub(crate) key: Key,
    pub(crate) fd: Fd,
    pub(crate) phase: Phase,
    pub(crate) recv: Operation,
    /// Whether the receive is to be armed again when it ends.
    pub(crate) wants_recv: bool,
    pub(crate) hangup: Operation,
    /// What `Pace` remembers of it.
    pub(crate) beat: Beat,
    /// True exactly when a send has been asked for and has not come back.
    pub(crate) sending: bool,
    /// True exactly when a connect has been asked for and has not come back.
    pub(crate) connecting: bool,
}

/// An operation that can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Off,
    Armed,
    /// Its last event has still to come, and may be a success.
    Cancelling,
}

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The proxy decides.
    Open,
    /// Our side is shut down; what still comes is thrown away, so that a reset does not destroy
    /// what we said last.
    LastWords { until: Instant, bytes_left: u64 },
    /// To be closed as soon as nothing is armed.
    Closing,
}

impl Socket {
    pub(crate) fn new(key: Key, fd: Fd, connecting: bool) -> Self {
        Self {
            key,
            fd,
            phase: Phase::Open,
            recv: Operation::Off,
            wants_recv: false,
            hangup: Operation::Off,
            beat: Beat::default(),
            sending: false,
            connecting,
        }
    }

    /// Whether nothing is armed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.recv == Operation::Off
            && self.hangup == Operation::Off
            && !self.sending
            && !self.connecting
    }
}

/// The sockets of a worker, found by the proxy's keys.
#[derive(Default)]
pub(crate) struct Sockets {
    clients: Vec<Option<Socket>>,
    servers: Vec<Option<Socket>>,
}

impl Sockets {
    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Socket> {
        let places = match key.role {
            Role::Client => &mut self.clients,
            Role::Server => &mut self.servers,
            Role::Worker | Role::Listener => return None,
        };
        places.get_mut(key.index as usize)?.as_mut().filter(|socket| socket.key == key)
    }

    pub(crate) fn insert(&mut self, socket: Socket) {
        let places = match socket.key.role {
            Role::Client => &mut self.clients,
            Role::Server => &mut self.servers,
            Role::Worker | Role::Listener => unreachable!("only connections have sockets here"),
        };
        let index = socket.key.index as usize;
        if places.len() <= index {
            places.resize_with(index + 1, || None);
        }
        assert!(places[index].is_none(), "the slot's last socket is closed before its next use");
        places[index] = Some(socket);
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Socket> {
        self.find(key)?;
        match key.role {
            Role::Client => self.clients[key.index as usize].take(),
            Role::Server => self.servers[key.index as usize].take(),
            Role::Worker | Role::Listener => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_own_key_only() {
        let mut sockets = Sockets::default();
        let key = Key::new(Role::Client, 4, 7);
        sockets.insert(Socket::new(key, Fd(9), false));
        assert!(sockets.find(Key::new(Role::Client, 4, 6)).is_none());
        assert!(sockets.find(Key::new(Role::Server, 4, 7)).is_none());
        assert_eq!(sockets.remove(key).map(|socket| socket.fd), Some(Fd(9)));
        assert!(sockets.find(key).is_none());
    }
}
