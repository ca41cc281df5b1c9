//! A simulated server, of redis (RESP2 and RESP3) or memcached: a map, and whatever its script
//! has it suffer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::io::Address;
use crate::proto::Protocol;
use crate::sim::fate::{Change, Mischief, ServerScript};
use crate::sim::faults::Fault;
use crate::sim::network::Network;
use crate::sim::pipe::{Readable, Writable};
use crate::sim::pubsub::{Ears, Published};
use crate::sim::redis;
use crate::sim::resp;
use crate::sim::standing::{Deed, Heard, Standing};
use crate::sim::store::{Reader, Store};
use crate::sim::trace::Who;
use crate::time::Instant;

pub(super) struct Server {
    index: usize,
    pub(super) address: Address,
    latency: Duration,
    /// By time; what is next is in front.
    changes: VecDeque<(Instant, Change)>,
    mischief: BTreeMap<u64, Mischief>,
    wanted: redis::Wanted,
    door: Door,
    stalled: bool,
    connections: Vec<Connection>,
    protocol: Protocol,
    value_bytes_max: usize,
    data: Store,
    requests: u64,
}

/// What a connect finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Refusing,
    Silent,
}

struct Connection {
    link: usize,
    input: Vec<u8>,
    reader: Reader,
    requests: VecDeque<Vec<Vec<u8>>>,
    output: VecDeque<u8>,
    busy_until: Instant,
    said: redis::Said,
    ears: Ears,
    standing: Standing,
    /// What to do once `output` is written.
    then: Then,
    /// A reply that it will send again, and when.
    again: Option<(Instant, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    HalfClose,
    Die { away: Duration },
    Close,
}

impl Server {
    pub(super) fn new(index: usize, address: Address, script: ServerScript) -> Self {
        let start = Instant::from_nanos(0);
        let mut changes: Vec<_> =
            script.changes.iter().map(|&(time, change)| (start + time, change)).collect();
        changes.sort_by_key(|&(time, _)| time);
        Self {
            index,
            address,
            latency: script.latency,
            changes: changes.into(),
            mischief: script.mischief.into_iter().collect(),
            wanted: script.wanted,
            door: Door::Open,
            stalled: false,
            connections: Vec::new(),
            protocol: script.protocol,
            value_bytes_max: script.value_bytes_max,
            data: Store::new(script.protocol),
            requests: 0,
        }
    }

    pub(super) fn door(&self) -> Door {
        self.door
    }

    pub(super) fn data(&self) -> &Store {
        &self.data
    }

    /// Requests that it has carried out.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// A connect has reached it.
    pub(super) fn greet(&mut self, link: usize, now: Instant) {
        self.connections.push(Connection {
            link,
            input: Vec::new(),
            requests: VecDeque::new(),
            output: VecDeque::new(),
            busy_until: now,
            reader: Reader::new(self.protocol, self.value_bytes_max),
            said: redis::Said::default(),
            ears: Ears::default(),
            standing: Standing::default(),
            then: Then::GoOn,
            again: None,
        });
    }

    /// When it wants to act again, if that is only a matter of time.
    pub(super) fn timer(&self, now: Instant) -> Option<Instant> {
        let busy = self.connections.iter().map(|connection| connection.busy_until);
        let again = self.connections.iter().filter_map(|connection| connection.again.as_ref());
        let waits = self.connections.iter().filter_map(|one| one.standing.waits_until());
        let busy = busy.chain(again.map(|(time, _)| *time)).chain(waits);
        let busy = busy.filter(|&until| until > now && !self.stalled).min();
        let change = self.changes.front().map(|&(time, _)| time);
        [busy, change].into_iter().flatten().min()
    }

    pub(super) fn is_ready(&self, net: &Network) -> bool {
        let due = self.changes.front().is_some_and(|&(time, _)| time <= net.now);
        due || self.connections.iter().any(|connection| self.can_act(connection, net))
    }

    /// Does one thing. It is ready.
    pub(super) fn act(&mut self, net: &mut Network) {
        if self.changes.front().is_some_and(|&(time, _)| time <= net.now) {
            let (_, change) = self.changes.pop_front().expect("one is due");
            self.change(change, net);
            return;
        }
        let ready: Vec<usize> = (0..self.connections.len())
            .filter(|&place| self.can_act(&self.connections[place], net))
            .collect();
        if let Some(change) = self.misfortune(net) {
            return self.change(change, net);
        }
        let place = net.random.pick(&ready);
        let pause = match net.happens(Fault::ServerPauses) {
            true => PAUSE_MAX,
            false => self.latency,
        };
        self.connections[place].busy_until = net.now + net.random.time_up_to(pause);
        if net.happens(Fault::ServerResets) {
            let connection = self.connections.swap_remove(place);
            net.links[connection.link].is_at_fault = true;
            net.links[connection.link].peer_reset(&mut net.random);
            net.note(Who::Server(self.index), "resets link", connection.link);
            return;
        }
        self.act_on(place, net);
        for connection in &self.connections {
            net.links[connection.link].is_asked = connection.is_asked();
        }
    }

    fn act_on(&mut self, place: usize, net: &mut Network) {
        let connection = &mut self.connections[place];
        if let Some((_, reply)) = connection.again.take_if(|(time, _)| *time <= net.now) {
            connection.then = Then::Close;
            return self.answer_again(place, &reply, net);
        }
        if self.serve(place, net) {
            return;
        }
        let connection = &mut self.connections[place];
        let can_write = connection.can_write(net);
        if can_write && (connection.requests.is_empty() || net.random.chance(500)) {
            connection.write_some(self.index, net);
            if connection.output.is_empty() {
                self.finish(place, net);
            }
        } else if connection.works() {
            let request = connection.requests.pop_front().expect("not empty");
            self.carry_out(place, request, net);
        } else if connection.can_read(net) {
            self.read_some(place, net);
        }
    }

    fn can_act(&self, connection: &Connection, net: &Network) -> bool {
        let is_over = connection.standing.waits_until().is_some_and(|until| until <= net.now);
        net.now >= connection.busy_until
            && !self.stalled
            && (connection.works()
                || is_over
                || connection.can_write(net)
                || connection.can_read(net)
                || connection.again.as_ref().is_some_and(|(time, _)| *time <= net.now))
    }

    fn read_some(&mut self, place: usize, net: &mut Network) {
        let connection = &mut self.connections[place];
        let link = &mut net.links[connection.link];
        match link.peer_readable() {
            Readable::Nothing => {}
            Readable::Bytes(count) => {
                let count = net.random.between(1, count);
                let bytes = link.peer_read(count);
                net.trace.add_bytes(&bytes);
                connection.input.extend(bytes);
                net.note(Who::Server(self.index), "reads # bytes", count);
                connection.parse();
            }
            Readable::End => {
                connection.then = Then::Close;
                if connection.output.is_empty() {
                    self.finish(place, net);
                }
            }
            Readable::Reset => {
                link.peer_close(&mut net.random);
                self.connections.swap_remove(place);
            }
        }
    }

    /// Something that chance has happen to the whole server, for a while.
    fn misfortune(&mut self, net: &mut Network) -> Option<Change> {
        let end = net.now + net.random.time_up_to(AWAY_MAX);
        let (change, back) = if net.may_happen(Fault::ServerDies) {
            (Change::Dies { resets: net.random.chance(500) }, Some(Change::Returns))
        } else if net.may_happen(Fault::ServerStalls) {
            (Change::Stalls, Some(Change::Resumes))
        } else if net.may_happen(Fault::ServerVanishes) {
            (Change::Vanishes, Some(Change::Returns))
        } else if net.may_happen(Fault::ServerEmpties) {
            (Change::Empties, None)
        } else {
            return None;
        };
        if let Some(back) = back {
            self.plan(end, back);
        }
        Some(change)
    }

    /// Something that chance has it do at a request.
    fn whim(net: &mut Network, reply_bytes: usize) -> Option<Mischief> {
        if net.may_happen(Fault::ServerDiesInReply) {
            let away = net.random.time_up_to(AWAY_MAX);
            // As often at the head of a reply as anywhere else in it.
            let most = net.random.pick(&[40, reply_bytes.max(1)]);
            return Some(Mischief::DiesInReply { bytes: net.random.below(most), away });
        }
        if net.may_happen(Fault::ServerAnswersTwice) {
            return Some(Mischief::AnswersAgain { after: net.random.time_up_to(AGAIN_MAX) });
        }
        if net.may_happen(Fault::ServerAnswersGarbage) {
            return Some(Mischief::AnswersGarbage);
        }
        net.may_happen(Fault::ServerHalfCloses).then_some(Mischief::HalfCloses)
    }

    fn carry_out(&mut self, place: usize, request: Vec<Vec<u8>>, net: &mut Network) {
        self.requests += 1;
        let connection = &mut self.connections[place];
        let is_three = connection.said.is_three();
        let reply = match connection.said.hear(&request, &self.wanted) {
            Some(reply) => {
                let is_alone = connection.requests.is_empty() && connection.input.is_empty();
                assert!(is_alone, "something is sent before a greeting is answered");
                reply
            }
            None => {
                if let Some(reply) = self.speak(place, &request, net) {
                    let reply = resp::in_version(is_three, reply, &request[0]);
                    net.ledger.carried_out(self.index, net.now, &request, &reply, Vec::new());
                    return self.answer(place, &request, &reply, net);
                }
                let connection = &mut self.connections[place];
                let heard = connection.standing.hear(&request, &mut self.data, net.now);
                let Heard::Answered { reply, deeds } = heard else { return };
                if is_three && net.happens(Fault::ServerPushes) {
                    connection.output.extend(PUSH);
                }
                for Deed { request, reply, findings } in deeds {
                    let reply = resp::in_version(is_three, reply, &request[0]);
                    let request = self.data.for_ledger(request);
                    net.ledger.carried_out(self.index, net.now, &request, &reply, findings);
                }
                resp::in_version(is_three, reply, &request[0])
            }
        };
        self.answer(place, &request, &reply, net);
        self.serve_waiting(net);
    }

    /// Answers those who wait for what has come, whoever has waited longest first.
    fn serve_waiting(&mut self, net: &mut Network) {
        let since = |place: &usize| self.connections[*place].standing.waits_since();
        let mut waiting: Vec<usize> =
            (0..self.connections.len()).filter(|place| since(place).is_some()).collect();
        waiting.sort_by_key(since);
        for link in waiting.iter().map(|&place| self.connections[place].link).collect::<Vec<_>>() {
            // An answer may end connections, so that others have moved.
            let place = self.connections.iter().position(|connection| connection.link == link);
            if let Some(place) = place {
                self.serve(place, net);
            }
        }
    }

    /// Answers a connection that waits, if there is something for it, or its time is over.
    fn serve(&mut self, place: usize, net: &mut Network) -> bool {
        let connection = &mut self.connections[place];
        let reply = connection.standing.serve(&mut self.data, net.now);
        let Some(reply) = reply else { return false };
        let reply = resp::in_version(connection.said.is_three(), reply, b"");
        self.answer(place, &[], &reply, net);
        true
    }

    /// Answers what a connection has asked for, or does otherwise.
    fn answer(&mut self, place: usize, request: &[Vec<u8>], reply: &[u8], net: &mut Network) {
        let planned = self.mischief.remove(&self.requests).filter(|_| !net.is_calm());
        let mischief = planned.or_else(|| Self::whim(net, reply.len()));
        match mischief {
            None => self.connections[place].output.extend(reply),
            Some(mischief) => self.misbehave(place, mischief, request, reply, net),
        }
        if self.connections[place].output.is_empty() {
            self.finish(place, net);
        }
    }

    /// Carries out a request about channels; none if it is about something else.
    fn speak(&mut self, place: usize, request: &[Vec<u8>], net: &mut Network) -> Option<Vec<u8>> {
        if let Some(reply) = self.connections[place].ears.hear(request) {
            return Some(reply);
        }
        let [name, channel, text] = request else { return None };
        if !name.eq_ignore_ascii_case(b"PUBLISH") {
            return None;
        }
        let mut receivers = 0;
        for connection in self.connections.iter_mut().filter(|it| it.then == Then::GoOn) {
            for message in connection.ears.messages(channel, text) {
                connection.output.extend(message);
                receivers += 1;
            }
        }
        let (channel, text) = (channel.clone(), text.clone());
        net.ledger.published(Published { at: net.now, server: self.index, channel, text });
        Some(resp::integer(receivers))
    }

    /// Answers as it should not.
    fn misbehave(
        &mut self,
        place: usize,
        mischief: Mischief,
        request: &[Vec<u8>],
        reply: &[u8],
        net: &mut Network,
    ) {
        let who = Who::Server(self.index);
        let connection = &mut self.connections[place];
        let link = &mut net.links[connection.link];
        match mischief {
            Mischief::Stalls { time } => {
                connection.output.extend(reply);
                self.plan(net.now + time, Change::Resumes);
                self.change(Change::Stalls, net);
            }
            Mischief::AnswersTwice => {
                connection.output.extend(reply);
                self.answer_again(place, reply, net);
            }
            Mischief::AnswersAgain { after } => {
                connection.output.extend(reply);
                connection.again = Some((net.now + after, reply.to_vec()));
            }
            Mischief::AnswersGarbage => {
                link.is_at_fault = true;
                let from = link.up_written + connection.output.len();
                link.garbage_from = link.garbage_from.or(Some(from));
                net.count(Fault::ServerAnswersGarbage);
                net.note_plain(who, "answers garbage");
                connection.output.extend(self.data.garbage(request, &mut net.random));
            }
            Mischief::HalfCloses => {
                link.is_at_fault = true;
                net.count(Fault::ServerHalfCloses);
                net.note_plain(who, "half-closes");
                connection.then = Then::HalfClose;
            }
            Mischief::DiesInReply { bytes, away } => {
                net.count(Fault::ServerDiesInReply);
                connection.output.extend(&reply[..bytes.min(reply.len())]);
                connection.then = Then::Die { away };
            }
        }
    }

    /// Sends a reply that nobody has asked for.
    fn answer_again(&mut self, place: usize, reply: &[u8], net: &mut Network) {
        net.count(Fault::ServerAnswersTwice);
        net.note(Who::Server(self.index), "answers again with # bytes", reply.len());
        let connection = &mut self.connections[place];
        let link = &mut net.links[connection.link];
        link.is_at_fault = true;
        link.doubled = Some((link.up_written + connection.output.len(), reply.to_vec()));
        connection.output.extend(reply);
    }

    /// The output of a connection is written.
    fn finish(&mut self, place: usize, net: &mut Network) {
        let link = self.connections[place].link;
        match self.connections[place].then {
            Then::GoOn => {}
            Then::HalfClose => net.links[link].peer_shut_write(),
            Then::Die { away } => {
                let resets = net.random.chance(500);
                self.plan(net.now + away, Change::Returns);
                self.change(Change::Dies { resets }, net);
            }
            Then::Close => {
                self.connections.swap_remove(place);
                net.links[link].peer_close(&mut net.random);
            }
        }
    }

    fn change(&mut self, change: Change, net: &mut Network) {
        let who = Who::Server(self.index);
        match change {
            Change::Dies { resets } => {
                net.count(Fault::ServerDies);
                self.data.forget_scripts();
                self.door = Door::Refusing;
                self.stalled = false;
                net.note(who, "dies with # connections", self.connections.len());
                for connection in self.connections.drain(..) {
                    let link = &mut net.links[connection.link];
                    link.is_at_fault = true;
                    match resets {
                        true => link.peer_reset(&mut net.random),
                        false => link.peer_close(&mut net.random),
                    }
                }
            }
            Change::Returns => {
                self.door = Door::Open;
                net.note(who, "returns after # requests", self.requests as usize);
            }
            Change::Stalls => {
                net.count(Fault::ServerStalls);
                self.stalled = true;
                net.note(who, "stalls after # requests", self.requests as usize);
            }
            Change::Resumes => {
                self.stalled = false;
                net.note(who, "resumes after # requests", self.requests as usize);
            }
            Change::Vanishes => {
                net.count(Fault::ServerVanishes);
                self.door = Door::Silent;
                net.note(who, "vanishes after # requests", self.requests as usize);
            }
            Change::Empties => {
                net.count(Fault::ServerEmpties);
                self.data = Store::new(self.protocol);
                net.note(who, "is empty after # requests", self.requests as usize);
            }
        }
        let is_slow = self.stalled || self.door == Door::Silent;
        net.ledger.health(self.index).set_slow(is_slow, net.now);
    }

    fn plan(&mut self, time: Instant, change: Change) {
        let place = self.changes.partition_point(|&(earlier, _)| earlier <= time);
        self.changes.insert(place, (time, change));
    }
}

impl Connection {
    /// Whether it has received what it has not answered.
    fn is_asked(&self) -> bool {
        let waits = self.standing.waits_since().is_some();
        waits || !self.requests.is_empty() || !self.input.is_empty()
    }

    /// Whether it has a request to carry out.
    fn works(&self) -> bool {
        let waits = self.standing.waits_since().is_some();
        self.then == Then::GoOn && !self.requests.is_empty() && !waits
    }

    fn can_read(&self, net: &Network) -> bool {
        let wanted = matches!(self.then, Then::GoOn | Then::HalfClose);
        wanted && net.links[self.link].peer_readable() != Readable::Nothing
    }

    fn can_write(&self, net: &Network) -> bool {
        !self.output.is_empty() && net.links[self.link].peer_writable() != Writable::Full
    }

    fn write_some(&mut self, server: usize, net: &mut Network) {
        let link = &mut net.links[self.link];
        match link.peer_writable() {
            Writable::Full => {}
            Writable::Broken => self.output.clear(),
            Writable::Room(room) => {
                let count = net.random.between(1, room.min(self.output.len()));
                let piece: Vec<u8> = self.output.drain(..count).collect();
                link.peer_write(&piece, &mut net.random);
                net.note(Who::Server(server), "writes # bytes", count);
            }
        }
    }

    /// Cuts what has arrived into requests.
    fn parse(&mut self) {
        while let Some(request) = self.reader.next(&mut self.input) {
            self.requests.push_back(request);
        }
    }
}

/// The longest time that chance has a server be away or stalled.
pub const AWAY_MAX: Duration = Duration::from_millis(300);

/// What nobody has subscribed to.
const PUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";

/// The longest time after which chance has a server answer again.
const AGAIN_MAX: Duration = Duration::from_millis(5);

/// The longest pause that the fault brings.
const PAUSE_MAX: Duration = Duration::from_millis(30);
