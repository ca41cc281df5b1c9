//! Questions about all clients of a pool, and the proxy's share of the answer.
//!
//! The worker carries a round to the others; the proxy of each is visited once, and that of the
//! client that asked hears the end.

use bytes::Bytes;

use crate::io::{Buffer, Chain, Ends, Fd};
use crate::proto::RespVersion;
use crate::proxy::Proxy;
use crate::proxy::client::{Account, Client, Farewell, Phase};
use crate::proxy::gather::Elements;
use crate::proxy::identity;
use crate::proxy::local::{Sections, Subject};
use crate::proxy::pipeline::Part;
use crate::proxy::reply::Writer;
use crate::proxy::source::Source;
use crate::time::Instant;
use crate::token::Key;

/// A question on its way, and what has been found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The worker whose client asks.
    pub home: usize,
    /// The client that asks, as its worker knows it: another worker has another client there.
    asker: Key,
    asker_id: u64,
    /// The place of the reply.
    sequence: u32,
    pool: u32,
    version: RespVersion,
    question: Question,
    /// The id of each client that was found, and the line about it.
    lines: Vec<(u64, String)>,
    killed: i64,
    kills_asker: bool,
    text: String,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// INFO.
    Info(Sections),
    /// stats of memcached.
    Stats,
    /// CLIENT INFO.
    Own,
    /// CLIENT LIST.
    List(Filter),
    /// CLIENT KILL.
    Kill {
        filter: Filter,
        /// Answer with a number, not with `+OK`.
        says_how_many: bool,
    },
}

/// Which clients are meant; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// In their order.
    pub(crate) ids: Vec<u64>,
    pub(crate) kind: Option<Kind>,
    /// The client's address.
    pub(crate) peer: Option<String>,
    /// The address that it connected to.
    pub(crate) local: Option<String>,
    /// Seconds that it has been there, at least.
    pub(crate) age_s_min: Option<u64>,
    /// The id of a client that is not meant.
    pub(crate) spares: Option<u64>,
}

/// What Redis tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Pubsub,
    /// Servers that replicate are no clients of a proxy.
    Replication,
}

impl Round {
    pub(crate) fn new(asker: Key, sequence: u32, account: &Account, question: Question) -> Self {
        Self {
            home: 0,
            asker,
            asker_id: account.identity.id,
            sequence,
            pool: account.pool,
            version: account.version,
            question,
            lines: Vec::new(),
            killed: 0,
            kills_asker: false,
            text: String::new(),
        }
    }

    /// Whether no other worker has to be asked.
    pub fn is_for_home(&self) -> bool {
        matches!(self.question, Question::Info(_) | Question::Stats | Question::Own)
    }

    /// Whether the answer depends on where a client is.
    fn needs_place(&self, client: &Client) -> bool {
        match &self.question {
            Question::Info(_) | Question::Own => client.account.identity.id == self.asker_id,
            Question::Stats => false,
            Question::List(filter) => filter.knows(&client.account.identity),
            Question::Kill { filter, .. } => filter.peer.is_some() || filter.local.is_some(),
        }
    }

    fn reply(mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut to = Writer::new(self.version, &mut reply);
        match self.question {
            Question::Info(_) => to.verbatim(&self.text),
            Question::Stats => return self.text.into_bytes(),
            Question::Own | Question::List(_) => {
                self.lines.sort_unstable();
                let text: String = self.lines.iter().flat_map(|(_, line)| [line, "\n"]).collect();
                to.verbatim(&text)
            }
            Question::Kill { says_how_many: true, .. } => to.integer(self.killed),
            Question::Kill { .. } if self.killed > 0 => to.status("OK"),
            Question::Kill { .. } => {
                reply.extend_from_slice(b"-ERR No such client\r\n");
                return reply;
            }
        };
        reply
    }
}

impl Filter {
    /// Whether a client may be meant, as far as its id says.
    fn knows(&self, identity: &identity::Identity) -> bool {
        let is_listed = self.ids.is_empty() || self.ids.binary_search(&identity.id).is_ok();
        is_listed && self.spares != Some(identity.id)
    }

    fn fits(&self, client: &Client, now: Instant) -> bool {
        let identity = &client.account.identity;
        let place = identity.place();
        let is_at = |wanted: &Option<String>, at: Option<&String>| match wanted {
            Some(wanted) => at == Some(wanted),
            None => true,
        };
        self.knows(identity)
            && self.kind.is_none_or(|kind| kind == Kind::of(client))
            && self.age_s_min.is_none_or(|least| (now - identity.since).as_secs() >= least)
            && is_at(&self.peer, place.map(|place| &place.peer))
            && is_at(&self.local, place.map(|place| &place.local))
    }
}

impl Kind {
    /// The kind that a client calls so, in any case.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"normal" => Self::Normal,
            b"pubsub" => Self::Pubsub,
            b"master" | b"replica" | b"slave" => Self::Replication,
            _ => return None,
        })
    }

    fn of(client: &Client) -> Self {
        let listens = client.account.subscriptions.as_ref().is_some_and(|all| !all.is_empty());
        if listens { Self::Pubsub } else { Self::Normal }
    }
}

impl Proxy {
    /// A question that has not set out.
    #[inline]
    pub fn take_round(&mut self) -> Option<Round> {
        self.pools.rounds.pop()
    }

    /// The clients of which this question wants to know where they are, and nobody has told.
    pub fn unplaced(&self, round: &Round) -> Vec<Key> {
        let is_unplaced = |key: &Key| {
            let Some(client) = self.clients.find(*key) else { return false };
            let Account { pool, identity, .. } = &client.account;
            *pool == round.pool && identity.place().is_none() && round.needs_place(client)
        };
        self.clients.keys().filter(is_unplaced).collect()
    }

    /// Where a client is.
    pub fn on_place(&mut self, key: Key, fd: Fd, ends: &Ends) {
        if let Some(client) = self.clients.find_mut(key) {
            client.account.identity.set_place(fd.0, ends);
        }
    }

    /// Adds what this worker knows to a round, or does what it asks for.
    pub fn visit(&mut self, now: Instant, round: &mut Round) {
        self.pools.now = now;
        let (clients, asker_id, pool) = (&self.clients, round.asker_id, round.pool);
        let of = |is_meant: &dyn Fn(&Client) -> bool| -> Vec<Key> {
            let is_there = |key: &Key| {
                let client = clients.find(*key).filter(|it| it.account.phase != Phase::Leaving);
                client.is_some_and(|it| it.account.pool == pool && is_meant(it))
            };
            clients.keys().filter(is_there).collect()
        };
        match &round.question {
            Question::Info(sections) => round.text = self.subject(round).text(*sections),
            Question::Stats => round.text = self.subject(round).memcache_stats(),
            Question::Own => {
                let found = of(&|client| client.account.identity.id == asker_id);
                round.lines = self.lines(now, &found);
            }
            Question::List(filter) => {
                let found = of(&|client| filter.fits(client, now));
                round.lines.append(&mut self.lines(now, &found));
            }
            Question::Kill { filter, .. } => {
                let found = of(&|client| filter.fits(client, now));
                round.killed += found.len() as i64;
                for key in found {
                    let client = self.clients.find(key);
                    if client.is_some_and(|it| it.account.identity.id == asker_id) {
                        // It gets its answer first.
                        round.kills_asker = true;
                    } else {
                        self.drop_client(key);
                    }
                }
            }
        }
    }

    /// A question of a client of this worker has been round: the client gets its answer, if it is
    /// still there.
    pub fn end_round(&mut self, now: Instant, round: Round) {
        self.pools.now = now;
        let key = round.asker;
        let Some(client) = self.clients.find_mut(key) else { return };
        let account = &mut client.account;
        if account.phase == Phase::Leaving {
            return;
        }
        if round.kills_asker {
            account.phase = Phase::Draining(Farewell::LastWords);
        }
        let (was_due, sequence) = (account.due(), round.sequence);
        let reply = Bytes::from(round.reply());
        let (mut before, len) = (Chain::new(), reply.len());
        let mut buffer = Buffer::from_bytes(reply);
        let source = Source::new(&mut before, &mut buffer, 0..len);
        let Account { pipeline, output, .. } = account;
        pipeline.settle(sequence, Part::Whole, source, Elements::default(), output);
        self.after_replies(key, was_due);
        self.note_ready(key);
    }

    fn lines(&self, now: Instant, keys: &[Key]) -> Vec<(u64, String)> {
        let clients = keys.iter().filter_map(|&key| self.clients.find(key));
        clients.map(|it| (it.account.identity.id, identity::line(it, now))).collect()
    }

    /// What is to be told. The figures of this worker are those of this moment, those of the
    /// others are as of their last tick.
    fn subject(&mut self, round: &Round) -> Subject<'_> {
        self.show_figures();
        let client = self.clients.find(round.asker);
        let place = client.and_then(|client| client.account.identity.place());
        Subject {
            process: &self.pools.process,
            total: self.layout.total(self.pools.process.blocks()),
            pools: &self.pools.pools,
            pool: round.pool as usize,
            port: place.map_or(0, identity::Place::port),
            clients_max: self.pools.limits.clients_max,
            now: self.pools.now,
        }
    }
}
