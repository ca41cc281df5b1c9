//! Worlds that chance puts together: how large everything is, how fast, and what goes wrong. In a
//! calm one nothing may fail; in a storm requests may, for their own servers' troubles, and once
//! it is over everything is as before.

use std::time::Duration;

use ringcracker::distribution::DistributionKind;
use ringcracker::hash::{HashKind, HashTag};
use ringcracker::limits::PROBE_TIME;
use ringcracker::proto::Protocol;
use ringcracker::sim::{
    AWAY_MAX, Change, ClientScript, Cut, Ended, Exchange, Fault, Faults, Leaves, Random, Reads,
    ServerScript, Settings, Wanted, bulk, request,
};

use crate::author::Author;
use crate::clerk::Clerk;
use crate::scribe::Scribe;
use crate::tally::Tally;
use crate::world::{Ejecting, World};

pub fn run(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let storm = random.chance(600).then(|| Storm::new(&mut random));
    let dealt = random.chance(200);
    let settings = settings(&mut random, storm.as_ref(), dealt);
    let slowest = if storm.is_some() { 300 } else { 2000 };
    let mut wanted = Wanted {
        password: random.chance(200).then(|| "password".to_owned()),
        database: random.pick(&[0, 0, 0, 0, 7]),
        knows_no_hello: false,
    };
    let protocol = protocol(seed);
    if protocol == Protocol::Memcache {
        wanted = Wanted::default();
    }
    let servers = (0..random.between(1, 4))
        .map(|_| ServerScript {
            protocol,
            value_bytes_max: value_bytes_max(&settings),
            wanted: wanted.clone(),
            ..server(&mut random, &settings, slowest, storm.as_ref())
        })
        .collect();
    let mut world = World::new(seed, settings.clone(), servers);
    set_up(&mut world, storm.as_ref());
    world.dealt = dealt;
    let value_bytes = value_bytes(&mut world.random, &settings);
    let has_sink = storm.is_none()
        && protocol == Protocol::Resp
        && world.is_exact()
        && narrowest(&settings) >= 512
        && world.random.chance(200);
    let (value_bytes, reads) = match has_sink {
        true => (vec![0, 100], Reads::Always),
        false => (value_bytes, world.random.pick(&[Reads::Always, Reads::AfterWriting])),
    };
    if reads == Reads::Always && world.random.chance(400) {
        world.limits.output_soft_bytes = world.random.between(1, 20_000);
    }
    if world.random.chance(400) {
        world.limits.stream_bytes_min = world.random.pick(&[1, 50, 1000, 5000]);
    }
    for client in 0..world.random.between(1, 6) {
        add_client(&mut world, client, &value_bytes, reads, storm.as_ref());
    }
    if has_sink {
        add_never_reading(&mut world);
    }
    world.run().tally()
}

/// Every fourth world is one of memcached.
fn protocol(seed: u64) -> Protocol {
    if (seed / 2) % 4 == 3 { Protocol::Memcache } else { Protocol::Resp }
}

/// When it ends, and how long it is felt.
struct Storm {
    timeout: Option<Duration>,
    ejection: Option<Ejecting>,
    over: Duration,
}

impl Storm {
    fn new(random: &mut Random) -> Self {
        let timeout = random.chance(700).then(|| ms(random.between(300, 800) as u64));
        let ejection = random.chance(400).then(|| Ejecting {
            failure_limit: random.between(1, 3) as u32,
            retry_after: random.time_up_to(ms(900)),
            probe: random.chance(500),
        });
        Self { timeout, ejection, over: ms(random.pick(&[50, 200, 1500]) as u64) }
    }

    /// How long after a server's trouble its requests may fail: a request or a connect may have to
    /// run into its deadline, of which the tick knows last. If that ejects the last server, all
    /// are refused until it may return.
    fn grace(&self) -> Duration {
        let Some(ejection) = self.ejection else {
            return self.timeout.unwrap_or_default() + ms(300);
        };
        // The tick begins a probe, which may be one to a server that is not back.
        let probe = if ejection.probe { PROBE_TIME + ms(300) } else { Duration::ZERO };
        self.timeout.unwrap_or_default() + probe + ejection.retry_after + ms(300)
    }

    /// From when on nothing fails any more: servers have returned by then, too.
    fn settled(&self) -> Duration {
        self.over + AWAY_MAX + self.grace() + ms(100)
    }
}

fn settings(random: &mut Random, storm: Option<&Storm>, dealt: bool) -> Settings {
    let mut faults = Faults::default();
    for (fault, most) in HARMLESS {
        faults = chosen(random, faults, fault, most);
    }
    for (fault, most) in HARMFUL.into_iter().filter(|_| storm.is_some()) {
        faults = chosen(random, faults, fault, most);
    }
    let accepted_max = match storm {
        None if random.chance(200) => random.between(1, 4),
        _ => usize::MAX,
    };
    // These a worker finds out with a tick; and another worker accepts between two turns.
    let healed = [Fault::AcceptNoDescriptor, Fault::CancelMissed];
    let ticks_heal_nothing = storm.is_none()
        && !dealt
        && accepted_max == usize::MAX
        && healed.iter().all(|&fault| faults.per_mille(fault) == 0);
    Settings {
        pipe_bytes: random.pick(&[7, 64, 512, 4096, 65_536]),
        buffers: random.pick(&[1, 2, 4, 16, 64]),
        buffer_bytes: random.pick(&[3, 64, 1024, 16_384]),
        connect_time: random.pick(&[Duration::ZERO, ms(1), ms(20)]),
        calm_from: storm.map(|storm| storm.over),
        accepted_max,
        ticks_heal_nothing,
        faults,
        ..Settings::default()
    }
}

/// Half of the kinds are left out of a world, so that the others are seen without them.
fn chosen(random: &mut Random, faults: Faults, fault: Fault, most: u32) -> Faults {
    match random.chance(500) {
        true => faults.with(fault, random.between(1, most as usize) as u32),
        false => faults,
    }
}

/// The fewest bytes that anything in this world passes on at once.
fn narrowest(settings: &Settings) -> usize {
    settings.pipe_bytes.min(settings.buffer_bytes)
}

/// A server that takes up to `slowest` microseconds for a step.
fn server(
    random: &mut Random,
    settings: &Settings,
    slowest: u64,
    storm: Option<&Storm>,
) -> ServerScript {
    let latency = match narrowest(settings) {
        0..64 => Duration::from_micros(random.pick(&[0, 20])),
        _ => Duration::from_micros(random.pick(&[0, 300, slowest])),
    };
    let mut changes = Vec::new();
    if let Some(storm) = storm.filter(|_| random.chance(300)) {
        // It may have nothing to do by then: its connections end while they are idle.
        let dies = random.time_up_to(storm.over);
        changes.push((dies, Change::Dies { resets: random.chance(500) }));
        changes.push((dies + random.time_up_to(AWAY_MAX), Change::Returns));
    }
    ServerScript { latency, changes, ..ServerScript::default() }
}

fn value_bytes(random: &mut Random, settings: &Settings) -> Vec<usize> {
    match narrowest(settings) {
        0..64 => vec![0, 5],
        64..512 => vec![0, 20, 300],
        _ => random.pick(&[&[0, 20, 300][..], &[0, 3000], &[0, 100, 20_000]]).to_vec(),
    }
}

/// Bytes of a value that a memcached takes: more than any but those that are to be too large.
fn value_bytes_max(settings: &Settings) -> usize {
    match narrowest(settings) {
        0..64 => 100,
        64..512 => 1000,
        _ => 21_000,
    }
}

fn set_up(world: &mut World, storm: Option<&Storm>) {
    let random = &mut world.random;
    let hash = random.pick(&[HashKind::Fnv1a64, HashKind::Md5, HashKind::Crc16, HashKind::Murmur]);
    let kind = random.pick(&DistributionKind::ALL);
    let tag = random.chance(500).then_some(HashTag { open: b'{', close: b'}' });
    let few = |random: &mut Random| random.pick(&[1, 2, 7, 40]);
    let small = |random: &mut Random| random.pick(&[1, 300, 5000, 100_000]);
    if random.chance(300) {
        world.limits.in_flight_requests_max = few(random);
    }
    if random.chance(300) {
        world.limits.in_flight_bytes_max = small(random);
    }
    if random.chance(300) {
        world.limits.server_queue_requests_max = few(random);
    }
    if random.chance(300) {
        world.limits.server_queue_bytes_max = small(random);
    }
    world.server_connections = random.between(1, 3) as u32;
    world.preconnect = random.chance(200);
    if random.chance(100) {
        let time = random.time_up_to(ms(20));
        world.signals = vec![(time, libc::SIGHUP), (time, libc::SIGUSR1)];
    }
    world.timeout = match storm {
        Some(storm) => storm.timeout,
        None => random.chance(500).then_some(Duration::from_secs(60)),
    };
    world.ejection = storm.and_then(|storm| storm.ejection);
    world.prompt_from = storm.map(Storm::settled);
    world.over_by = storm.map_or(world.over_by, |storm| storm.settled() + Duration::from_secs(10));
    world.route_by(hash, tag, kind);
}

fn add_client(
    world: &mut World,
    client: usize,
    value_bytes: &[usize],
    reads: Reads,
    storm: Option<&Storm>,
) {
    let count = world.random.between(1, 40);
    let mut random = Random::new(world.random.bits());
    let says_hello = random.chance(300) && world.protocol == Protocol::Resp;
    let may_fail = storm.is_some();
    let mut writer = Writer::new(world, client, &mut random, value_bytes, may_fail, says_hello);
    let mut exchanges = match storm {
        None if world.is_exact() && random.chance(400) => {
            writer.exact_exchanges(client, &mut random, value_bytes, count, says_hello)
        }
        _ => writer.exchanges(world, count),
    };
    if let Some(storm) = storm {
        let step = random.time_up_to(storm.over) / count as u32;
        for (number, exchange) in exchanges.iter_mut().enumerate() {
            exchange.not_before = step * number as u32;
        }
        let last = writer.last_exchanges(world).into_iter();
        exchanges.extend(last.map(|exchange| exchange.not_before(storm.settled())));
    }
    let script = manner(world, exchanges, storm.is_some());
    // Who waits for a reply before it writes on has to read it.
    let depth = if reads == Reads::AfterWriting { usize::MAX } else { script.depth };
    world.ring.add_client(ClientScript { reads, depth, ..script });
}

/// Who writes the requests of one client.
enum Writer {
    Redis(Scribe),
    Memcached(Clerk),
}

impl Writer {
    fn new(
        world: &World,
        client: usize,
        random: &mut Random,
        value_bytes: &[usize],
        may_fail: bool,
        says_hello: bool,
    ) -> Self {
        match world.protocol {
            Protocol::Resp => {
                let scribe = Scribe::new(client, random, value_bytes, may_fail);
                Self::Redis(if says_hello { scribe.saying_hello() } else { scribe })
            }
            Protocol::Memcache => {
                Self::Memcached(Clerk::new(world, client, random, value_bytes, may_fail))
            }
        }
    }

    fn exchanges(&mut self, world: &World, count: usize) -> Vec<Exchange> {
        match self {
            Self::Redis(scribe) => scribe.exchanges(world, count),
            Self::Memcached(clerk) => clerk.exchanges(world, count),
        }
    }

    fn last_exchanges(&mut self, world: &World) -> Vec<Exchange> {
        match self {
            Self::Redis(scribe) => scribe.last_exchanges(world),
            Self::Memcached(clerk) => clerk.last_exchanges(world),
        }
    }

    /// Requests with their only right replies.
    fn exact_exchanges(
        &mut self,
        client: usize,
        random: &mut Random,
        value_bytes: &[usize],
        count: usize,
        says_hello: bool,
    ) -> Vec<Exchange> {
        match self {
            Self::Redis(_) => {
                let author = Author::new(&format!("c{client}"), random, value_bytes);
                let mut author = if says_hello { author.saying_hello() } else { author };
                author.exchanges(count)
            }
            Self::Memcached(clerk) => clerk.exact_exchanges(count),
        }
    }
}

fn manner(world: &mut World, exchanges: Vec<Exchange>, storm: bool) -> ClientScript {
    let script = world.client(exchanges);
    let random = &mut world.random;
    // One byte at a time, unless there are so many that it would take all day.
    let bytes: usize = script.exchanges.iter().map(|exchange| exchange.request.len()).sum();
    let small = 1 + bytes / 2000;
    let cuts = [Cut::Whole, Cut::Every(small), Cut::Random(30.max(4 * small)), Cut::After(9)];
    let vanishes = Leaves::Vanishing { reply_bytes: random.below(600), reset: random.chance(500) };
    let leaves = match random.below(10) {
        0 | 1 => vanishes,
        2 | 3 => Leaves::HalfClosing,
        _ => Leaves::Closing { lingers: ms(30) },
    };
    // In a storm, requests come when they come; a client that dawdles would only hide who does.
    let pause = match storm {
        true => Duration::ZERO,
        false => random.pick(&[Duration::ZERO, Duration::from_micros(500), ms(1)]),
    };
    ClientScript {
        start: random.time_up_to(ms(5)),
        depth: random.pick(&[1, 1, 3, 20, usize::MAX]),
        cut: random.pick(&cuts),
        pause,
        leaves,
        ..script
    }
}

/// A client that asks for more than the proxy keeps for it, and takes none of it.
fn add_never_reading(world: &mut World) {
    world.limits.output_soft_bytes = world.random.between(1, 20_000);
    world.limits.output_hard_bytes = 60_000;
    world.limits.output_stall = ms(500);
    // As large as the replies, so that not all of the requests can be put aside.
    let (key, value) = (vec![b'k'; 3000], vec![b'v'; 3000]);
    let mut exchanges = vec![Exchange::new(request(&[b"SET", &key, &value]), b"+OK\r\n".to_vec())];
    exchanges.extend((0..100).map(|_| Exchange::new(request(&[b"GET", &key]), bulk(&value))));
    let script = world.client(exchanges);
    let (reads, ended) = (Reads::Never, Ended::Always);
    world.ring.add_client(ClientScript { depth: usize::MAX, reads, ended, ..script });
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a correct worker hides from its clients, and how often of a thousand times at most.
const HARMLESS: [(Fault, u32); 18] = [
    (Fault::SendToldLate, 500),
    (Fault::ShortReceive, 500),
    (Fault::ShortSend, 500),
    (Fault::MultishotEnds, 300),
    (Fault::NoBuffers, 200),
    (Fault::DataBeatsCancel, 1000),
    (Fault::DataBeatsDeadline, 1000),
    (Fault::ConnectBeatsCancel, 1000),
    (Fault::CancelMissed, 200),
    (Fault::LateCompletion, 400),
    (Fault::FewCompletions, 400),
    (Fault::QueueFull, 200),
    (Fault::EarlyWait, 200),
    (Fault::WatchEnds, 200),
    (Fault::AcceptNoDescriptor, 200),
    (Fault::AcceptAborted, 200),
    (Fault::ServerPauses, 10),
    (Fault::ServerPushes, 300),
];

/// What requests may fail for.
const HARMFUL: [(Fault, u32); 12] = [
    (Fault::ConnectTakesLong, 300),
    (Fault::ConnectNoDescriptor, 300),
    (Fault::ConnectFails, 300),
    (Fault::ServerResets, 5),
    (Fault::ServerDies, 5),
    (Fault::ServerDiesInReply, 20),
    (Fault::ServerStalls, 5),
    (Fault::ServerAnswersTwice, 10),
    (Fault::ServerAnswersGarbage, 10),
    (Fault::ServerHalfCloses, 10),
    (Fault::ServerVanishes, 5),
    (Fault::ServerEmpties, 5),
];
