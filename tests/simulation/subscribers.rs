//! Clients that listen: what they hear is held against what the servers have published.
//!
//! Within a subscription, from its confirmation to that of its end, the messages of a channel are a
//! part of what was published there, in order and without a gap; all that was published between
//! the confirmation and the request for the end is in it. Outside there are none.

use std::time::Duration;

use ringcracker::sim::{
    Change, ClientScript, Ended, Exchange, Fault, Faults, Outcome, Published, Reply, ServerScript,
    Settings, array, bulk, integer, marked, request,
};

use crate::scenarios::{case, faulty, ms, slow};
use crate::tally::Tally;
use crate::world::{Ejecting, World};

/// Requests with many names, at servers that take their time: confirmations wait for each other,
/// and messages for them.
pub fn messages_come_between_their_confirmations(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(); 3]);
    world.timeout = world.random.pick(&[None, Some(ms(2000))]);
    world.dealt = world.random.chance(200);
    let plot = Plot::new(&mut world);
    for _ in 0..3 {
        plot.add_listener(&mut world, false);
    }
    plot.add_publishers(&mut world);
    plot.run(world)
}

/// Connections fail, servers die and return, with or without ejection: who hears no more is closed.
pub fn who_would_hear_nothing_more_is_closed(seed: u64) -> Tally {
    let faults = Faults::harmless().with(Fault::ServerResets, 8);
    let settings = Settings { faults, calm_from: Some(ms(3000)), ..faulty() };
    let dies = Change::Dies { resets: case(seed).is_multiple_of(2) };
    let changes = vec![(ms(30), dies), (ms(60), Change::Returns)];
    let mortal = ServerScript { changes, ..slow() };
    let mut world = World::new(seed, settings, vec![slow(), mortal, slow()]);
    world.timeout = Some(ms(300));
    if world.random.chance(600) {
        let retry_after = world.random.pick(&[ms(20), ms(60)]);
        let probe = world.random.chance(500);
        world.ejection = Some(Ejecting { failure_limit: 1, retry_after, probe });
    }
    let plot = Plot::new(&mut world);
    for _ in 0..3 {
        plot.add_listener(&mut world, true);
    }
    plot.add_publishers(&mut world);
    plot.run(world)
}

/// Who publishes where.
struct Plot {
    /// A channel of each server.
    channels: Vec<Vec<u8>>,
    /// Of all the channels.
    pattern: Vec<u8>,
}

/// One name of a request.
struct Step<'p> {
    word: &'static str,
    name: &'p [u8],
}

impl Plot {
    fn new(world: &mut World) -> Self {
        let channels = (0..3).map(|server| world.key_on(server, "news")).collect();
        Self { channels, pattern: b"news*".to_vec() }
    }

    /// A client that subscribes and unsubscribes, and stays to the end. Where servers fail it asks
    /// for one name at a time, as an error stands for all the names of a request.
    fn add_listener(&self, world: &mut World, fails: bool) {
        let mut exchanges = Vec::new();
        let mut time = world.random.time_up_to(ms(5));
        for _ in 0..10 {
            let steps = self.steps(world, if fails { 1 } else { 5 });
            time += world.random.time_up_to(ms(12));
            if world.random.chance(300) {
                exchanges.push(ping().not_before(time));
            }
            for (place, step) in steps.iter().enumerate() {
                let words: Vec<&[u8]> = steps.iter().map(|step| step.name).collect();
                let words = [&[step.word.as_bytes()], &words[..]].concat();
                let bytes = if place == 0 { request(&words) } else { Vec::new() };
                exchanges.push(
                    self.confirmed(step, bytes, fails, world.ejection.is_some()).not_before(time),
                );
            }
        }
        // Everything has been published long before.
        exchanges.push(ping().not_before(ms(10_000)));
        let ended = if fails { Ended::Maybe } else { Ended::Never };
        let pause = world.random.pick(&[Duration::ZERO, Duration::from_micros(500)]);
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { listens: true, ended, pause, ..script });
    }

    fn steps(&self, world: &mut World, most: usize) -> Vec<Step<'_>> {
        let word = world.random.pick(&[
            "SUBSCRIBE",
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
        ]);
        let count = world.random.between(1, most);
        let mut name = || match word.starts_with('P') {
            true => &self.pattern[..],
            false => &self.channels[world.random.below(3)],
        };
        (0..count).map(|_| Step { word, name: name() }).collect()
    }

    /// Which count is right is seen afterwards.
    fn confirmed(&self, step: &Step<'_>, bytes: Vec<u8>, fails: bool, ejects: bool) -> Exchange {
        let server = self.channels.iter().position(|channel| channel == step.name);
        let mut exchange = Exchange::new(bytes, frame_of(step.word, step.name, 0));
        for count in 1..=4 {
            exchange = exchange.or(Reply::Exactly(frame_of(step.word, step.name, count)));
        }
        match (fails, server) {
            (false, _) => exchange,
            (true, Some(server)) if !ejects => exchange.or(Reply::Failure(vec![server])),
            (true, _) => exchange.or(Reply::Failure(vec![0, 1, 2])),
        }
    }

    fn add_publishers(&self, world: &mut World) {
        for publisher in 0..2 {
            let mut exchanges = Vec::new();
            for number in 0..80 {
                let server = world.random.below(3);
                let mark = marked(&format!("c{publisher}n{number}"), b"");
                let words = [b"PUBLISH", &self.channels[server][..], &mark];
                let answered = Reply::Answered(mark.clone());
                let failed = Reply::Failure(world.servers_of(&[self.channels[server].clone()]));
                let exchange = Exchange::with(request(&words), answered).or(failed);
                exchanges.push(exchange.not_before(ms(2 * number)));
            }
            let depth = world.random.pick(&[1, 5]);
            let script = world.client(exchanges);
            world.ring.add_client(ClientScript { depth, ..script });
        }
    }

    fn run(&self, world: World) -> Tally {
        let mut finished = world.run();
        let ring = finished.worker.ring().inner_mut();
        let published = ring.published().to_vec();
        for client in 0..3 {
            let outcome = ring.outcome(client);
            self.check_counts(outcome);
            self.check_messages(outcome, &published);
        }
        finished.tally()
    }

    /// The counts are those of a client that keeps them itself.
    fn check_counts(&self, outcome: &Outcome) {
        let mut held = Vec::new();
        for (_, reply) in &outcome.replies {
            let Some((is_end, name)) = self.understand(reply) else { continue };
            held.retain(|it| it != &name);
            if !is_end {
                held.push(name);
            }
            let count = integer(held.len() as i64);
            assert!(reply.ends_with(&count), "{:?}", String::from_utf8_lossy(reply));
        }
    }

    fn check_messages(&self, outcome: &Outcome, published: &[Published]) {
        for name in self.channels.iter().chain([&self.pattern]) {
            for channel in &self.channels {
                if name == channel || *name == self.pattern {
                    self.check_channel(outcome, name, channel, published);
                }
            }
        }
    }

    /// What was heard of a channel for being subscribed to `name`.
    fn check_channel(
        &self,
        outcome: &Outcome,
        name: &[u8],
        channel: &[u8],
        published: &[Published],
    ) {
        let all: Vec<&Published> = published.iter().filter(|it| it.channel == channel).collect();
        let mut since = None;
        let mut heard = Vec::new();
        for number in 0..=outcome.replies.len() {
            let of_reply = outcome.messages.iter().filter(|(after, _)| *after == number);
            let texts: Vec<&Published> =
                of_reply.filter_map(|(_, message)| find(message, name, &all)).collect();
            assert!(since.is_some() || texts.is_empty(), "a message outside of a subscription");
            heard.extend(texts);
            let reply = outcome.replies.get(number);
            let step = reply.and_then(|(_, reply)| self.understand(reply));
            match (step, since) {
                (Some((false, it)), None) if it == name => since = reply.map(|(at, _)| *at),
                (Some((true, it)), Some(from)) if it == name => {
                    // A request's later frames have no bytes of their own; all were sent at once.
                    let until = outcome.sent[number];
                    check_period(&heard, &all, |it| it.at > from && it.at < until);
                    heard.clear();
                    since = None;
                }
                _ => {}
            }
        }
        if let Some(from) = since {
            let stayed = !outcome.was_ended;
            check_period(&heard, &all, |it| stayed && it.at > from);
        }
    }

    /// Whether a reply is the confirmation of an end, and of which name; none if it is another.
    fn understand(&self, reply: &[u8]) -> Option<(bool, &[u8])> {
        let names = self.channels.iter().chain([&self.pattern]);
        names.map(|name| &name[..]).find_map(|name| {
            let is_of = |word: &str| {
                (0..=4).any(|count| reply == frame_of(word, name, count)).then_some(name)
            };
            let begin = is_of("SUBSCRIBE").or_else(|| is_of("PSUBSCRIBE"));
            let end = is_of("UNSUBSCRIBE").or_else(|| is_of("PUNSUBSCRIBE"));
            begin.map(|name| (false, name)).or(end.map(|name| (true, name)))
        })
    }
}

/// What was heard within a subscription is all that `is_due`, and nothing is left out between.
fn check_period(heard: &[&Published], all: &[&Published], is_due: impl Fn(&Published) -> bool) {
    let place = |it: &Published| all.iter().position(|one| one.text == it.text);
    let places: Vec<usize> = heard.iter().filter_map(|it| place(it)).collect();
    for pair in places.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "out of order, twice, or with a gap: {places:?}");
    }
    for (number, message) in all.iter().enumerate() {
        let is_heard = places.contains(&number);
        assert!(is_heard || !is_due(message), "{message:?} is lost: {places:?}");
    }
}

/// Which of `all` a message is, if it came for being subscribed to `name`.
fn find<'p>(message: &[u8], name: &[u8], all: &[&'p Published]) -> Option<&'p Published> {
    let is_it = |it: &&&Published| {
        let (channel, text) = (bulk(&it.channel), bulk(&it.text));
        let plain = it.channel == name
            && message == array(&[bulk(b"message"), channel.clone(), text.clone()]);
        plain || message == array(&[bulk(b"pmessage"), bulk(name), channel, text])
    };
    all.iter().find(is_it).copied()
}

fn ping() -> Exchange {
    let pong = array(&[bulk(b"pong"), bulk(b"")]);
    Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec()).or(Reply::Exactly(pong))
}

fn frame_of(word: &str, name: &[u8], count: i64) -> Vec<u8> {
    array(&[bulk(word.to_lowercase().as_bytes()), bulk(name), integer(count)])
}
