//! The whole worker over the simulated ring, through a campaign of seeds. Each seed is a run of its
//! own: an even one is a world put together by chance, an odd one a scenario with a plot.
//!
//! `N` says how many seeds, `SEED` replays a single one: see docs/simulation.md.

mod author;
mod clerk;
mod ejection;
mod endings;
mod errands;
mod greetings;
mod memory;
mod names;
mod races;
mod rooms;
mod scenarios;
mod scribe;
mod scripts;
mod stateful;
mod streams;
mod subscribers;
mod swarm;
mod tally;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tally::Tally;

#[test]
fn every_seed_is_survived() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match number("SEED") {
        Some(seed) => {
            println!("seed {seed}: {}", name_of(seed));
            println!("{}", run(seed));
        }
        None => campaign(number("N").unwrap_or(SEEDS)),
    }
}

#[test]
fn a_seed_replays_to_the_last_event() {
    for seed in 0..40 {
        assert_eq!(run(seed).fingerprint, run(seed).fingerprint, "seed {seed}: {}", name_of(seed));
    }
}

/// Nor does it depend on the build. What changes a run on purpose changes these numbers, of which
/// the failure tells the new ones.
#[test]
fn every_build_replays_a_seed_alike() {
    let fingerprints = KNOWN.map(|(seed, _)| (seed, run(seed).fingerprint));
    assert_eq!(fingerprints, KNOWN);
}

fn campaign(seeds: u64) {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let guard = Guard { seed, failed: &failed };
                    tally.add(&run(seed));
                    drop(guard);
                    if (seed + 1).is_multiple_of(PROGRESS_SEEDS) {
                        println!("{} seeds", seed + 1);
                    }
                }
                total.lock().expect("no thread panics with it").add(&tally);
            });
        }
    });
    let total = total.into_inner().expect("no thread panics with it");
    println!("{total}");
    if seeds >= ENOUGH_SEEDS {
        total.assert_all_seen();
    }
}

/// Says how to see a failure again, once all else has been said.
struct Guard<'c> {
    seed: u64,
    failed: &'c AtomicBool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
            let name = name_of(self.seed);
            eprintln!("failed: {name}\nreplay it with: make sim SEED={}", self.seed);
        }
    }
}

fn run(seed: u64) -> Tally {
    match plot(seed) {
        None => swarm::run(seed),
        Some((_, scenario)) => scenario(seed),
    }
}

fn name_of(seed: u64) -> &'static str {
    plot(seed).map_or("a world put together by chance", |(name, _)| name)
}

fn plot(seed: u64) -> Option<scenarios::Scenario> {
    let scenarios = scenarios::ALL;
    (!seed.is_multiple_of(2)).then(|| scenarios[(seed / 2) as usize % scenarios.len()])
}

/// Seeds unless told otherwise: what every change is held against.
const SEEDS: u64 = 10_000;

/// With as many, every kind of fault has come up.
const ENOUGH_SEEDS: u64 = 5_000;

/// The fingerprints of some seeds: worlds put together by chance, and scenarios.
const KNOWN: [(u64, u64); 6] = [
    (2, 13_268_248_746_653_923_964),
    (4, 12_253_311_357_847_648_600),
    (12, 17_371_909_508_904_760_482),
    (7, 18_072_260_530_632_940_610),
    (9, 14_956_192_682_098_968_098),
    (25, 9_709_048_894_955_889_801),
];

/// How often a campaign says how far it is.
const PROGRESS_SEEDS: u64 = 10_000;
