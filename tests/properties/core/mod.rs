//! The whole worker, on a ring on which happens what the input says.
//!
//! ```text
//!   input:  settings | event | event | ...        event: kind, who, and what comes with it
//!                        v
//!   clients  <-->  Checked<EventRing>  <-->  servers: honest, or the input's own bytes
//!                        |
//!                  Worker<..> with the whole of proxy/
//! ```

mod peers;
mod ring;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ringcracker::checked::Checked;
use ringcracker::config::{Access, Secret};
use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::HashKind;
use ringcracker::io::{Address, Destination, Fd};
use ringcracker::limits::Limits;
use ringcracker::proto::Protocol;
use ringcracker::proxy::PoolSetup;
use ringcracker::worker::{ListenerSetup, Running, Setup, Shared, Worker};

use super::memcached_rules;
use super::memory::peak_of;
use peers::Answering;
use ring::{EventRing, Peer};

/// Whatever happens: the contract of the ring is kept; a server gets whole requests only, of words
/// that a client has said, and never one that would change its connection for others; a client gets
/// whole replies only, no more than it has asked for, and from honest servers its own; when nothing
/// goes wrong each request is answered; memory is bounded; and nobody is left at the end.
pub fn check(input: &[u8]) {
    let Some((&settings, events)) = input.split_first() else { return };
    let ((), peak) = peak_of(|| {
        let mut run = Run::new(settings);
        run.play(events);
        run.finish();
    });
    assert!(peak <= BYTES_MAX, "{peak} bytes of memory");
}

type World = Worker<Checked<EventRing>>;

struct Run {
    worker: World,
    shared: Arc<Shared>,
    protocol: Protocol,
    /// Servers may say what the input has for them.
    is_hostile: bool,
    was_hostile: bool,
    drained: bool,
    /// All that each client has said.
    said: Vec<Vec<u8>>,
    answering: Vec<Answering>,
    /// What servers were asked.
    asked: Vec<Vec<Vec<u8>>>,
}

/// The events of an input, from its front.
struct Events<'a>(&'a [u8]);

impl<'a> Events<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(byte))
    }

    /// Bytes with their number in front.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.byte()?.min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }
}

impl Run {
    fn new(settings: u8) -> Self {
        let has = |bit: u8| settings & 1 << bit != 0;
        let protocol = if has(0) { Protocol::Memcache } else { Protocol::Resp };
        let names = ["one", "two", "three"];
        let nodes = names.map(|name| Node { name: name.to_owned(), weight: 1 });
        let routing = RoutingTable::new(
            HashKind::Fnv1a64,
            None,
            DistributionKind::Modula,
            &nodes,
            &[false; 3],
        );
        let address = Destination::Address(Address::Unix("/nowhere".into()));
        let servers = names.map(|name| (name.to_owned(), address.clone())).to_vec();
        let is_redis = protocol == Protocol::Resp;
        let pool = PoolSetup {
            protocol,
            timeout: has(2).then_some(Duration::from_millis(400)),
            password: (is_redis && has(1)).then(|| Secret::new("secret".to_owned())),
            database: if is_redis && has(5) { 3 } else { 0 },
            server_connections: if has(6) { 2 } else { 1 },
            ..PoolSetup::new("pool", Arc::new(routing), servers)
        };
        let narrow = Limits {
            in_flight_requests_max: 4,
            in_flight_bytes_max: 600,
            server_queue_requests_max: 2,
            server_queue_bytes_max: 700,
            transaction_requests_max: 4,
            transaction_bytes_max: 500,
            reply_bytes_max: 2000,
            ..Limits::default()
        };
        let limits = Limits {
            output_soft_bytes: 16 << 10,
            output_hard_bytes: 1 << 20,
            ..if has(4) { narrow } else { Limits::default() }
        };
        let shared = Arc::new(Shared::new(1, 1).expect("an eventfd can be made"));
        let access = Access::default();
        let listener = ListenerSetup { fd: Fd(5), pool: 0, clients_max: Some(4), access };
        let setup = Setup {
            number: 0,
            pools: vec![pool],
            listeners: vec![listener],
            limits,
            seed: 1,
            shared: Arc::clone(&shared),
        };
        Self {
            worker: Worker::new(Checked::from(EventRing::default()), setup),
            shared,
            protocol,
            is_hostile: has(3),
            was_hostile: false,
            drained: false,
            said: Vec::new(),
            answering: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn ring(&mut self) -> &mut EventRing {
        self.worker.ring().inner_mut()
    }

    fn play(&mut self, events: &[u8]) {
        let mut events = Events(events);
        self.turn();
        while self.event(&mut events).is_some() {
            self.turn();
            self.listen();
        }
    }

    fn turn(&mut self) {
        let running = self.worker.turn().expect("this ring goes on");
        assert!(matches!(running, Running::On | Running::Drained), "{running:?}");
    }

    /// Lets one thing happen. `None`: the input is at its end.
    fn event(&mut self, events: &mut Events) -> Option<()> {
        let kind = events.byte()?;
        let who = events.byte()?;
        match kind % 12 {
            0 => self.new_client(),
            1 | 2 => self.client_says(who, events.bytes()?),
            3 => self.serve(1 + who % 16),
            4 => self.server_says(who, events.bytes()?),
            5 => self.pass(who),
            6 => self.end_client(who, false),
            7 => self.end_client(who, true),
            8 => self.end_server(who),
            9 => self.plot(who),
            10 => self.ring().tick(),
            _ => {
                if who == 0 && !std::mem::replace(&mut self.drained, true) {
                    self.shared.drain();
                    self.ring().mail();
                }
            }
        }
        Some(())
    }

    fn new_client(&mut self) {
        if self.said.len() < 8 && !self.drained {
            self.said.push(Vec::new());
            self.ring().connect_client();
        }
    }

    fn client_says(&mut self, who: usize, bytes: &[u8]) {
        if self.said.is_empty() {
            self.new_client();
        }
        let Some(index) = who.checked_rem(self.said.len()) else { return };
        let peer = &mut self.ring().clients[index];
        if !peer.has_ended && !peer.is_reset && !peer.is_closed {
            peer.unread.extend_from_slice(bytes);
            self.said[index].extend_from_slice(bytes);
        }
    }

    fn end_client(&mut self, who: usize, is_reset: bool) {
        let Some(index) = who.checked_rem(self.said.len()) else { return };
        let peer = &mut self.ring().clients[index];
        peer.has_ended = true;
        peer.is_reset |= is_reset;
    }

    fn server_says(&mut self, who: usize, bytes: &[u8]) {
        let Some(index) = who.checked_rem(self.ring().servers.len()) else { return };
        if self.is_hostile && self.ring().servers[index].is_connected {
            self.was_hostile = true;
            self.ring().servers[index].unread.extend_from_slice(bytes);
        }
    }

    fn end_server(&mut self, who: usize) {
        self.ring().mischief.any = true;
        let Some(index) = who.checked_rem(self.ring().servers.len()) else { return };
        let peer = &mut self.ring().servers[index];
        if peer.is_connected {
            peer.has_ended = true;
            peer.is_reset |= who >= 128;
        }
    }

    fn pass(&mut self, tenths: usize) {
        let ring = self.ring();
        ring.now = ring.now + Duration::from_millis(10 * tenths as u64);
        ring.mischief.any = true;
        ring.tick();
    }

    fn plot(&mut self, what: usize) {
        let mischief = &mut self.ring().mischief;
        mischief.any = true;
        match what % 6 {
            0 => mischief.connect_refused = true,
            1 => mischief.no_descriptor = true,
            2 => mischief.send_short = Some(what / 6),
            3 => mischief.send_fails = true,
            4 => mischief.no_buffer = true,
            _ => mischief.stall = what as u32 / 6,
        }
    }

    /// Takes note of what servers were asked, without an answer.
    fn listen(&mut self) {
        let count = self.ring().servers.len();
        self.answering.resize_with(count, Answering::default);
    }

    /// Lets each server answer up to so many requests.
    fn serve(&mut self, most: usize) {
        self.listen();
        if self.protocol == Protocol::Memcache {
            return self.serve_memcached();
        }
        let ring = self.worker.ring().inner_mut();
        for (server, answering) in ring.servers.iter_mut().zip(&mut self.answering) {
            for _ in 0..most {
                let Some(request) = answering.next(server) else { break };
                if !server.has_ended && !server.is_reset {
                    let reply = answering.answer(&request);
                    server.unread.extend(reply);
                }
                self.asked.push(request);
            }
        }
    }

    /// Each server reads all that it has, and says that it has nothing.
    fn serve_memcached(&mut self) {
        let ring = self.worker.ring().inner_mut();
        for server in &mut ring.servers {
            let mut got = std::mem::take(&mut server.got);
            let mut at = 0;
            loop {
                let reply: &[u8] = match memcached_rules::read(&got[at..]) {
                    memcached_rules::Read::Takes(taken) => {
                        assert!(!taken.is_silent, "a server is told to say nothing");
                        at += taken.end;
                        match taken.words[0] {
                            b"get" | b"gets" | b"gat" | b"gats" => b"END\r\n",
                            b"version" => b"VERSION 1\r\n",
                            b"flush_all" => b"OK\r\n",
                            b"set" | b"add" | b"replace" | b"append" | b"prepend" => b"STORED\r\n",
                            _ => b"NOT_FOUND\r\n",
                        }
                    }
                    memcached_rules::Read::Refuses(end) => {
                        at += end;
                        b"ERROR\r\n"
                    }
                    memcached_rules::Read::Waits => break,
                    memcached_rules::Read::Doubt => {
                        panic!("memcached closes: {}", got[at..].escape_ascii())
                    }
                };
                if !server.has_ended && !server.is_reset {
                    server.unread.extend_from_slice(reply);
                }
            }
            got.drain(..at);
            server.got = got;
        }
    }

    /// Lets everything come to its end, and looks at what there was.
    fn finish(&mut self) {
        self.settle();
        let is_calm = !self.ring().mischief.any && !self.was_hostile && !self.drained;
        self.check_clients(is_calm);
        self.check_servers();
        for index in 0..self.said.len() {
            self.end_client(index, true);
        }
        self.settle();
        let held = self.worker.holdings();
        assert_eq!((self.worker.slots().0, self.shared.clients()), (0, 0), "{held:?}");
        assert_eq!((held.in_flight, held.owed_bytes, held.input_bytes), (0, 0, 0), "{held:?}");
    }

    /// Turns until every server has answered what it will, and no deadline is left.
    fn settle(&mut self) {
        self.ring().mischief.stall = 0;
        let mut quiet = 0;
        for round in 0..SETTLE_TURNS {
            let held = self.worker.holdings();
            let is_quiet = held.in_flight + held.waiting + held.queued_bytes + held.listed == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > QUIET_TURNS {
                break;
            }
            self.serve(usize::MAX);
            let ring = self.ring();
            if round % 8 == 7 {
                ring.now = ring.now + Duration::from_millis(100);
                ring.tick();
            }
            self.turn();
        }
    }

    fn check_clients(&mut self, is_calm: bool) {
        if self.protocol == Protocol::Memcache {
            return;
        }
        let said = &self.said;
        let was_hostile = self.was_hostile;
        let ring = self.worker.ring().inner_mut();
        for (said, peer) in said.iter().zip(&ring.clients) {
            let requests = peers::requests(said);
            let replies = peers::replies(&peer.got);
            if !peers::is_countable(&requests) {
                continue;
            }
            // The last of a client that breaks the protocol is an error that says so.
            let most = requests.len() + usize::from(peer.is_closed);
            assert!(replies.len() <= most, "{} replies to {requests:?}", replies.len());
            if !was_hostile {
                requests.iter().zip(&replies).for_each(|(request, reply)| {
                    peers::is_owed(request, reply);
                });
            }
            if is_calm && !peer.is_closed && !Self::is_gone(peer) {
                let shown = peer.got.escape_ascii();
                assert_eq!(replies.len(), requests.len(), "{requests:?}: {shown}");
            }
        }
    }

    fn is_gone(peer: &Peer) -> bool {
        peer.has_ended || peer.is_reset
    }

    fn check_servers(&mut self) {
        let requests = self.said.iter().flat_map(|said| peers::requests(said));
        let said: HashSet<Vec<u8>> =
            requests.flatten().map(|argument| argument.to_ascii_lowercase()).collect();
        self.asked.iter().for_each(|arguments| peers::is_said(arguments, &said));
    }
}

/// Longer than every deadline of the settings: 25 ms for each turn.
const SETTLE_TURNS: usize = 400;

/// After so many without anything to do, nothing will come.
const QUIET_TURNS: usize = 20;

/// More than four clients and their servers may have, with narrow outputs.
const BYTES_MAX: usize = 32 << 20;
