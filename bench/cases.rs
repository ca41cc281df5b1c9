//! The rows: what is asked, by how many clients, and what the answer has to be.

use crate::record::{Figure, Floor};

/// What one run asks for.
#[derive(Clone, Copy)]
pub struct Load {
    pub protocol: Protocol,
    pub command: Command,
    pub clients: u32,
    pub pipeline: u32,
    pub values: Values,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Protocol {
    Redis,
    Memcached,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Command {
    Get,
    Set,
    /// Of ten keys.
    Mget,
    /// Of ten keys.
    Mset,
}

/// Values of one size, and how many of them there are.
#[derive(Clone, Copy, PartialEq)]
pub struct Values {
    pub bytes: usize,
    pub keys: usize,
}

const SMALL: Values = Values { bytes: 64, keys: 100_000 };

// Few enough of the larger ones to fit a small machine.
const PAGE: Values = Values { bytes: 4 << 10, keys: 10_000 };
const LARGE: Values = Values { bytes: 64 << 10, keys: 1_000 };
const HUGE: Values = Values { bytes: 1 << 20, keys: 100 };

/// One line of the table.
pub struct Case {
    pub name: &'static str,
    pub load: Load,
    pub floors: &'static [Floor],
    /// Whether a byte pump and no proxy at all are measured beside it.
    pub with_ceiling: bool,
    pub kind: Kind,
}

/// Who is compared.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Two programs.
    Programs,
    /// One worker and two.
    Workers,
}

impl Load {
    pub const fn redis(command: Command, clients: u32, pipeline: u32, values: Values) -> Self {
        Self { protocol: Protocol::Redis, command, clients, pipeline, values }
    }

    /// GET of small values, as the sweeps have it.
    pub const fn small_get(clients: u32, pipeline: u32) -> Self {
        Self::redis(Command::Get, clients, pipeline, SMALL)
    }

    /// Requests of a first run, which warms up and shows how many a measured one needs.
    pub fn trial(&self) -> u64 {
        let keys = if matches!(self.command, Command::Mget | Command::Mset) { 10 } else { 1 };
        match self.values.bytes {
            0..0x1000 if self.clients < 4 => 4_000 * u64::from(self.pipeline),
            0..0x1000 => 20_000 * u64::from(self.pipeline.min(10)) / keys.min(3),
            0x1000..0x1_0000 => 15_000,
            0x1_0000..0x10_0000 => 4_000,
            _ => 300,
        }
    }
}

const fn floor(figure: Figure, must: f64, aim: f64) -> Floor {
    Floor { figure, must, aim: Some(aim) }
}

const fn must(figure: Figure, must: f64) -> Floor {
    Floor { figure, must, aim: None }
}

const MANY: &[Floor] =
    &[floor(Figure::Rps, 1.0, 1.15), floor(Figure::ProxyCpu, 0.5, 0.35), must(Figure::P99, 1.0)];

const MANY_COUNTED: &[Floor] = &[MANY[0], MANY[1], MANY[2], must(Figure::SystemCalls, 0.3)];

const FEW: &[Floor] =
    &[must(Figure::Rps, 1.0), floor(Figure::ProxyCpu, 0.85, 0.7), must(Figure::P99, 1.0)];

const ONE: &[Floor] = &[
    must(Figure::Rps, 1.0),
    floor(Figure::ProxyCpu, 1.0, 0.85),
    must(Figure::P99, 1.0),
    must(Figure::P50, 1.0),
];

const DEEP: &[Floor] =
    &[floor(Figure::Rps, 2.0, 2.7), floor(Figure::ProxyCpu, 0.25, 0.16), must(Figure::P99, 0.6)];

const DEEP_COUNTED: &[Floor] = &[DEEP[0], DEEP[1], DEEP[2], must(Figure::SystemCalls, 0.02)];

const DEEPEST: &[Floor] =
    &[floor(Figure::Rps, 4.0, 5.5), floor(Figure::ProxyCpu, 0.15, 0.1), must(Figure::P99, 0.35)];

const SPLIT: &[Floor] =
    &[floor(Figure::Rps, 1.0, 1.3), floor(Figure::ProxyCpu, 0.6, 0.4), must(Figure::P99, 1.0)];

const BULK: &[Floor] =
    &[floor(Figure::Rps, 1.0, 1.2), floor(Figure::ProxyCpu, 0.8, 0.6), must(Figure::P99, 1.0)];

const BULKIEST: &[Floor] =
    &[must(Figure::Rps, 1.0), floor(Figure::ProxyCpu, 1.0, 0.7), must(Figure::P99, 1.0)];

const WORKERS: &[Floor] = &[must(Figure::ProxyCpu, 1.2)];

const fn case(name: &'static str, load: Load, floors: &'static [Floor]) -> Case {
    Case { name, load, floors, with_ceiling: false, kind: Kind::Programs }
}

const fn redis(
    name: &'static str,
    (command, clients, pipeline, values): (Command, u32, u32, Values),
    floors: &'static [Floor],
) -> Case {
    case(name, Load::redis(command, clients, pipeline, values), floors)
}

const fn memcached(
    name: &'static str,
    (command, clients, pipeline): (Command, u32, u32),
    floors: &'static [Floor],
) -> Case {
    let protocol = Protocol::Memcached;
    case(name, Load { protocol, command, clients, pipeline, values: SMALL }, floors)
}

const fn with_ceiling(case: Case) -> Case {
    Case { with_ceiling: true, ..case }
}

const fn workers(case: Case) -> Case {
    Case { kind: Kind::Workers, ..case }
}

use Command::{Get, Mget, Mset, Set};

/// Every row, those with the same values next to each other.
pub const CASES: [Case; 27] = [
    with_ceiling(redis("GET 64 B, 50 clients, P=1", (Get, 50, 1, SMALL), MANY_COUNTED)),
    with_ceiling(redis("SET 64 B, 50 clients, P=1", (Set, 50, 1, SMALL), MANY)),
    with_ceiling(redis("GET 64 B, 200 clients, P=1", (Get, 200, 1, SMALL), MANY)),
    redis("SET 64 B, 200 clients, P=1", (Set, 200, 1, SMALL), MANY),
    redis("GET 64 B, 16 clients, P=1", (Get, 16, 1, SMALL), FEW),
    redis("GET 64 B, 4 clients, P=1", (Get, 4, 1, SMALL), FEW),
    with_ceiling(redis("GET 64 B, one client, P=1", (Get, 1, 1, SMALL), ONE)),
    with_ceiling(redis("GET 64 B, 50 clients, P=16", (Get, 50, 16, SMALL), DEEP_COUNTED)),
    redis("SET 64 B, 50 clients, P=16", (Set, 50, 16, SMALL), DEEP),
    with_ceiling(redis("GET 64 B, 50 clients, P=64", (Get, 50, 64, SMALL), DEEPEST)),
    redis("SET 64 B, 50 clients, P=64", (Set, 50, 64, SMALL), DEEPEST),
    redis("MGET of 10 keys, 50 clients", (Mget, 50, 1, SMALL), SPLIT),
    redis("MSET of 10 keys, 50 clients", (Mset, 50, 1, SMALL), SPLIT),
    workers(redis("two workers to one, 50 clients, P=1", (Get, 50, 1, SMALL), WORKERS)),
    workers(redis("two workers to one, 50 clients, P=16", (Get, 50, 16, SMALL), WORKERS)),
    redis("GET 4 KiB, 50 clients", (Get, 50, 1, PAGE), BULK),
    redis("SET 4 KiB, 50 clients", (Set, 50, 1, PAGE), BULK),
    with_ceiling(redis("GET 64 KiB, 50 clients", (Get, 50, 1, LARGE), BULK)),
    redis("SET 64 KiB, 50 clients", (Set, 50, 1, LARGE), BULK),
    redis("GET 1 MiB, 50 clients", (Get, 50, 1, HUGE), BULKIEST),
    redis("SET 1 MiB, 50 clients", (Set, 50, 1, HUGE), BULKIEST),
    memcached("memcached get 64 B, 50 clients, P=1", (Get, 50, 1), MANY),
    memcached("memcached set 64 B, 50 clients, P=1", (Set, 50, 1), MANY),
    memcached("memcached get 64 B, 50 clients, P=16", (Get, 50, 16), DEEP),
    memcached("memcached set 64 B, 50 clients, P=16", (Set, 50, 16), DEEP),
    memcached("memcached get 64 B, 50 clients, P=64", (Get, 50, 64), DEEPEST),
    memcached("memcached set 64 B, 50 clients, P=64", (Set, 50, 64), DEEPEST),
];

/// Steps of the sweep over clients, without a pipeline.
pub const CLIENTS: [u32; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000];

/// Steps of the sweep over the depth of pipelines, with `DEPTH_CLIENTS`.
pub const DEPTHS: [u32; 4] = [1, 4, 16, 64];

pub const DEPTH_CLIENTS: u32 = 50;
