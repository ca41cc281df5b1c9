//! A ring on which happens what an input says, and nothing else.
//!
//! Sends and connects succeed at the next wait, unless the input has something else in mind. Time
//! stands still but where the input moves it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringcracker::io::{
    Address, Buffer, Chain, Ends, Errno, Event, Fd, How, KeepAlive, Ring, Wait, WaitError, What,
};
use ringcracker::limits::SEND_BYTES_MAX;
use ringcracker::time::Instant;
use ringcracker::token::{Key, OpKind, Token};

/// Who is at the other end of a socket: an index among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Client(usize),
    Server(usize),
}

/// The other end of a connection.
#[derive(Default)]
pub struct Peer {
    /// What it has said, and the worker has not received.
    pub unread: Vec<u8>,
    /// All that it was sent.
    pub got: Vec<u8>,
    /// It says no more.
    pub has_ended: bool,
    /// It has gone without a word.
    pub is_reset: bool,
    /// The worker has closed the connection.
    pub is_closed: bool,
    /// It was connected to, and that has succeeded, or it was accepted.
    pub is_connected: bool,
}

enum Work {
    Accept,
    Recv { fd: Fd, until: Option<Instant> },
    Send { fd: Fd, output: Chain },
    Connect { fd: Fd, until: Option<Instant> },
    Hangup { fd: Fd },
}

/// What goes wrong next; each is used once.
#[derive(Default)]
pub struct Mischief {
    pub connect_refused: bool,
    /// A connect finds no descriptor.
    pub no_descriptor: bool,
    /// A send takes so many bytes and no more.
    pub send_short: Option<usize>,
    pub send_fails: bool,
    /// A receive ends for want of a buffer.
    pub no_buffer: bool,
    /// Waits in which no send is over, and no connect.
    pub stall: u32,
    /// Something of this happened, ever.
    pub any: bool,
}

#[derive(Default)]
pub struct EventRing {
    pub now: Instant,
    pub mischief: Mischief,
    pub clients: Vec<Peer>,
    pub servers: Vec<Peer>,
    /// Connections that wait to be accepted.
    backlog: Vec<usize>,
    operations: BTreeMap<Token, Work>,
    cancelled: BTreeSet<Token>,
    sockets: BTreeMap<Fd, (Who, bool)>,
    lent: BTreeSet<u16>,
    news: Vec<Event>,
}

impl EventRing {
    /// A client comes.
    pub fn connect_client(&mut self) {
        self.backlog.push(self.clients.len());
        self.clients.push(Peer { is_connected: true, ..Peer::default() });
    }

    pub fn tick(&mut self) {
        self.news.push(Event { token: Key::WORKER.token(OpKind::Tick), what: What::Tick });
    }

    pub fn mail(&mut self) {
        self.news.push(Event { token: Key::WORKER.token(OpKind::Mail), what: What::Mail });
    }

    fn peer(&mut self, who: Who) -> &mut Peer {
        match who {
            Who::Client(index) => &mut self.clients[index],
            Who::Server(index) => &mut self.servers[index],
        }
    }

    fn open(&mut self, who: Who) -> Fd {
        let fd = (10..).map(Fd).find(|fd| !self.sockets.contains_key(fd)).expect("few are open");
        self.sockets.insert(fd, (who, false));
        fd
    }

    fn start(&mut self, token: Token, work: Work) {
        assert!(self.operations.insert(token, work).is_none(), "{token:?} is in flight already");
    }

    fn buffer(&mut self, bytes: Vec<u8>) -> Buffer {
        let home = (0..).find(|home| !self.lent.contains(home)).expect("few are lent");
        self.lent.insert(home);
        Buffer::from_ring(bytes, home)
    }

    /// What an operation says now: the events, and whether it is over.
    fn progress(&mut self, token: Token, work: &mut Work, into: &mut Vec<Event>) -> bool {
        let is_cancelled = self.cancelled.remove(&token);
        let cancelled = Errno(libc::ECANCELED);
        let (what, is_over) = match work {
            Work::Accept => {
                for client in std::mem::take(&mut self.backlog) {
                    let fd = Ok(self.open(Who::Client(client)));
                    into.push(Event { token, what: What::Accepted { fd, more: true } });
                }
                (is_cancelled.then_some(What::Accepted { fd: Err(cancelled), more: false }), true)
            }
            Work::Recv { fd, until } => {
                return self.receive(token, *fd, *until, is_cancelled, into);
            }
            Work::Send { fd, output } => (self.send_on(*fd, output, is_cancelled), true),
            Work::Connect { fd, until } => {
                let is_late = until.is_some_and(|until| until <= self.now);
                (self.connect_on(*fd, is_cancelled || is_late), true)
            }
            Work::Hangup { fd } => {
                let (who, is_shut) = self.sockets[fd];
                let is_gone = is_shut || self.peer(who).is_reset;
                let cancelled = is_cancelled.then_some(What::HungUp(Err(cancelled)));
                (if is_gone { Some(What::HungUp(Ok(()))) } else { cancelled }, true)
            }
        };
        let Some(what) = what else { return false };
        into.push(Event { token, what });
        is_over
    }

    fn receive(
        &mut self,
        token: Token,
        fd: Fd,
        until: Option<Instant>,
        is_cancelled: bool,
        into: &mut Vec<Event>,
    ) -> bool {
        let (who, is_shut) = self.sockets[&fd];
        let no_buffer = std::mem::take(&mut self.mischief.no_buffer);
        let now = self.now;
        let peer = self.peer(who);
        if no_buffer {
            let data = Err(Errno(libc::ENOBUFS));
            into.push(Event { token, what: What::Received { data, more: false } });
            return true;
        }
        let (is_reset, has_ended) = (peer.is_reset, peer.has_ended || is_shut);
        let bytes = if is_shut { Vec::new() } else { std::mem::take(&mut peer.unread) };
        for piece in bytes.chunks(BUFFER_BYTES) {
            let data = Ok(self.buffer(piece.to_vec()));
            into.push(Event { token, what: What::Received { data, more: true } });
        }
        let is_late = until.is_some_and(|until| until <= now) && bytes.is_empty();
        let data = if is_reset {
            Err(Errno(libc::ECONNRESET))
        } else if has_ended {
            Ok(self.buffer(Vec::new()))
        } else if is_cancelled || is_late {
            Err(Errno(libc::ECANCELED))
        } else {
            return false;
        };
        into.push(Event { token, what: What::Received { data, more: false } });
        true
    }

    fn send_on(&mut self, fd: Fd, output: &mut Chain, is_cancelled: bool) -> Option<What> {
        let (who, is_shut) = self.sockets[&fd];
        let is_gone = is_shut || self.peer(who).is_reset;
        let fails = !is_gone && self.mischief.stall == 0 && self.mischief.send_fails;
        let bytes = if is_gone || fails {
            self.mischief.send_fails &= !fails;
            Err(Errno(libc::EPIPE))
        } else if self.mischief.stall > 0 {
            if !is_cancelled {
                return None;
            }
            Err(Errno(libc::ECANCELED))
        } else {
            let short = self.mischief.send_short.take().unwrap_or(usize::MAX).max(1);
            let count = output.len().min(SEND_BYTES_MAX).min(short);
            let sent = output.to_vec();
            self.peer(who).got.extend_from_slice(&sent[..count]);
            Ok(count)
        };
        Some(What::Sent { bytes, output: std::mem::take(output) })
    }

    fn connect_on(&mut self, fd: Fd, is_given_up: bool) -> Option<What> {
        let (who, is_shut) = self.sockets[&fd];
        if is_given_up || is_shut {
            return Some(What::Connected(Err(Errno(libc::ECANCELED))));
        }
        if self.mischief.stall > 0 {
            return None;
        }
        if std::mem::take(&mut self.mischief.connect_refused) {
            return Some(What::Connected(Err(Errno(libc::ECONNREFUSED))));
        }
        self.peer(who).is_connected = true;
        Some(What::Connected(Ok(())))
    }

    fn fd_of(work: &Work) -> Option<Fd> {
        match work {
            Work::Accept => None,
            Work::Recv { fd, .. }
            | Work::Send { fd, .. }
            | Work::Connect { fd, .. }
            | Work::Hangup { fd } => Some(*fd),
        }
    }

    fn drop_socket(&mut self, fd: Fd) {
        let armed = self.operations.values().any(|work| Self::fd_of(work) == Some(fd));
        assert!(!armed, "fd {} is closed with something in flight", fd.0);
        if let Some((who, _)) = self.sockets.remove(&fd) {
            self.peer(who).is_closed = true;
        }
    }
}

impl Ring for EventRing {
    fn accept(&mut self, token: Token, _listener: Fd) {
        self.start(token, Work::Accept);
    }

    fn connect(
        &mut self,
        token: Token,
        _to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        if std::mem::take(&mut self.mischief.no_descriptor) {
            return Err(Errno(libc::EMFILE));
        }
        self.servers.push(Peer::default());
        let fd = self.open(Who::Server(self.servers.len() - 1));
        let until = within.map(|time| self.now + time);
        self.start(token, Work::Connect { fd, until });
        Ok(fd)
    }

    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        let until = within.map(|time| self.now + time);
        self.start(token, Work::Recv { fd, until });
    }

    fn send(&mut self, token: Token, fd: Fd, output: Chain) {
        self.start(token, Work::Send { fd, output });
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        self.start(token, Work::Hangup { fd });
    }

    fn cancel(&mut self, target: Token) {
        if self.operations.contains_key(&target) {
            self.cancelled.insert(target);
        }
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        if how == How::Both
            && let Some((_, is_shut)) = self.sockets.get_mut(&fd)
        {
            *is_shut = true;
        }
    }

    fn keep_alive(&mut self, _fd: Fd, _how: KeepAlive) {}

    fn peer(&mut self, _fd: Fd) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn ends(&mut self, fd: Fd) -> Ends {
        let at = |port: i32| Some(Address::Inet((Ipv4Addr::LOCALHOST, port as u16).into()));
        Ends { peer: at(50_000 + fd.0), local: at(6379) }
    }

    fn close(&mut self, _token: Token, fd: Fd) {
        self.drop_socket(fd);
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        if let Some(&(who, _)) = self.sockets.get(&fd) {
            self.peer(who).got.extend_from_slice(words);
        }
        self.drop_socket(fd);
    }

    fn give_back(&mut self, buffer: Buffer) {
        if let (Some(home), _) = buffer.into_parts() {
            assert!(self.lent.remove(&home), "buffer {home} comes back twice");
        }
    }

    fn wait(&mut self, _how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        into.append(&mut self.news);
        let tokens: Vec<Token> = self.operations.keys().copied().collect();
        for token in tokens {
            let Some(mut work) = self.operations.remove(&token) else { continue };
            if !self.progress(token, &mut work, into) {
                self.operations.insert(token, work);
            }
        }
        self.mischief.stall = self.mischief.stall.saturating_sub(1);
        Ok(self.now)
    }
}

/// Bytes of a receive buffer: small, so that many requests come in pieces.
const BUFFER_BYTES: usize = 512;
