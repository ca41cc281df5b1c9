//! The names of things a worker has in flight.
//!
//! A `Key` names a slot (a listener, a client, a server connection) and one use of it. A `Token`
//! names one operation on it, and is the kernel's `user_data`:
//!
//! ```text
//!  63      56 55                          32 31                              0
//! +----------+------------------------------+---------------------------------+
//! |   kind   |          generation          |              index              |
//! +----------+------------------------------+---------------------------------+
//!   role:2 flavour:2 op:4
//! ```
//!
//! Every operation in flight has its own token: a linked timeout cancels by `user_data`, and a
//! shared value would stop the wrong socket (Linux, `io_req_task_link_timeout`). It holds because
//! a slot has at most one operation of a kind, and a slot's generation moves on when it is freed.

/// What kind of slot a key names. Each role has its own index space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// The worker itself: its tick, its signals, its mailbox. Index and generation are 0.
    Worker = 0,
    /// A pool's listening socket.
    Listener = 1,
    /// A client's connection.
    Client = 2,
    /// A connection to a server.
    Server = 3,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum OpKind {
    /// Multishot accept on a listener.
    Accept = 0,
    /// Multishot receive.
    Recv = 1,
    /// One send.
    Send = 2,
    /// One connect.
    Connect = 3,
    /// A watch for the peer's hangup, for clients that are not read.
    Hangup = 4,
    /// The close of a descriptor.
    Close = 5,
    /// The periodic timeout of the ring.
    Tick = 6,
    /// A read of the signal descriptor.
    Signal = 7,
    /// A read of the mailbox's eventfd.
    Mail = 8,
}

/// An operation, or what accompanies it: both need a `user_data` of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flavour {
    /// The operation itself.
    Plain = 0,
    /// The request to cancel it.
    Cancel = 1,
    /// The linked timeout that bounds it.
    Deadline = 2,
}

/// A slot and one use of it. The generation has 24 bits and wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Which index space `index` belongs to.
    pub role: Role,
    /// The place in that space.
    pub index: u32,
    /// Which use of the place, 0 to `GENERATION_MAX`.
    pub generation: u32,
}

/// The largest generation: 24 bits.
pub const GENERATION_MAX: u32 = (1 << 24) - 1;

impl Key {
    /// The worker's own key.
    pub const WORKER: Key = Key { role: Role::Worker, index: 0, generation: 0 };

    /// A key from its parts.
    ///
    /// Panics when `generation` does not fit 24 bits.
    pub const fn new(role: Role, index: u32, generation: u32) -> Self {
        assert!(generation <= GENERATION_MAX);
        Self { role, index, generation }
    }

    /// The token of operation `op` on this slot.
    pub const fn token(self, op: OpKind) -> Token {
        let kind = (self.role as u64) << 6 | op as u64;
        Token(kind << 56 | (self.generation as u64) << 32 | self.index as u64)
    }
}

/// The generation after `generation`.
pub const fn next_generation(generation: u32) -> u32 {
    (generation + 1) & GENERATION_MAX
}

/// One operation in flight, unique among all of its ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The value as the kernel carries it.
    pub const fn to_user_data(self) -> u64 {
        self.0
    }

    /// Reads back what `to_user_data` wrote.
    ///
    /// Errors: `None` for a value that no token has; in a completion that is a bug of ours.
    pub const fn from_user_data(value: u64) -> Option<Self> {
        let kind = (value >> 56) as u8;
        if op_from_bits(kind & 0xf).is_none() || kind >> 4 & 3 == 3 {
            return None;
        }
        Some(Self(value))
    }

    /// The slot that the operation is on.
    pub const fn key(self) -> Key {
        let role = match (self.0 >> 62) & 3 {
            0 => Role::Worker,
            1 => Role::Listener,
            2 => Role::Client,
            _ => Role::Server,
        };
        Key { role, index: self.0 as u32, generation: (self.0 >> 32) as u32 & GENERATION_MAX }
    }

    /// What the operation does.
    pub const fn op(self) -> OpKind {
        match op_from_bits((self.0 >> 56) as u8 & 0xf) {
            Some(op) => op,
            None => unreachable!(),
        }
    }

    /// The operation itself, its cancel or its deadline.
    pub const fn flavour(self) -> Flavour {
        match (self.0 >> 60) & 3 {
            0 => Flavour::Plain,
            1 => Flavour::Cancel,
            _ => Flavour::Deadline,
        }
    }

    /// The same operation's token in another flavour.
    pub const fn with_flavour(self, flavour: Flavour) -> Self {
        Self(self.0 & !(3 << 60) | (flavour as u64) << 60)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key();
        write!(
            f,
            "{:?}[{}.{}].{:?}/{:?}",
            key.role,
            key.index,
            key.generation,
            self.op(),
            self.flavour()
        )
    }
}

const fn op_from_bits(bits: u8) -> Option<OpKind> {
    Some(match bits {
        0 => OpKind::Accept,
        1 => OpKind::Recv,
        2 => OpKind::Send,
        3 => OpKind::Connect,
        4 => OpKind::Hangup,
        5 => OpKind::Close,
        6 => OpKind::Tick,
        7 => OpKind::Signal,
        8 => OpKind::Mail,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_parts() {
        let ops = [
            OpKind::Accept,
            OpKind::Recv,
            OpKind::Send,
            OpKind::Connect,
            OpKind::Hangup,
            OpKind::Close,
            OpKind::Tick,
            OpKind::Signal,
            OpKind::Mail,
        ];
        for role in [Role::Worker, Role::Listener, Role::Client, Role::Server] {
            for op in ops {
                for flavour in [Flavour::Plain, Flavour::Cancel, Flavour::Deadline] {
                    let key = Key::new(role, u32::MAX - 3, GENERATION_MAX - 1);
                    let token = key.token(op).with_flavour(flavour);
                    let back = Token::from_user_data(token.to_user_data());
                    assert_eq!(back, Some(token));
                    assert_eq!((token.key(), token.op(), token.flavour()), (key, op, flavour));
                }
            }
        }
    }

    #[test]
    fn foreign_user_data_is_refused() {
        assert_eq!(Token::from_user_data(0xf << 56), None);
        assert_eq!(Token::from_user_data(0x30 << 56), None);
    }

    #[test]
    fn generations_wrap() {
        assert_eq!(next_generation(GENERATION_MAX), 0);
        assert_eq!(next_generation(7), 8);
    }
}
