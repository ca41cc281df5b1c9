//! Runs in turns, so that a machine that slows down slows everybody.

use crate::cases::{self, Case, Kind, Load};
use crate::load::Length;
use crate::record::{Figure, Over, Point, Row, Run, Side, Sweep};
use crate::rig::{self, Rig, Target};
use crate::{Failure, Options};
use std::time::Duration;

/// Measures one row.
pub fn row(case: &Case, rig: &mut Rig, options: &Options) -> Result<Row, Failure> {
    eprintln!("{}", case.name);
    rig.fill(case.load.protocol, case.load.values)?;
    let protocol = case.load.protocol;
    let is_counted = case.floors.iter().any(|floor| floor.figure == Figure::SystemCalls);
    let count = options.can_count && (is_counted || !options.quick);
    let mut floors = case.floors.to_vec();
    let (pair, sides) = match case.kind {
        Kind::Programs => {
            let mut targets = rig.programs(protocol);
            let pair = [targets[0].name.clone(), targets[1].name.clone()];
            if case.with_ceiling
                && (!options.quick || case.load.clients == 1 || case.load.pipeline == 16)
            {
                targets.extend(rig.ceilings(case.load.clients));
            }
            if pair[0] != rig::NUTCRACKER {
                floors.clear();
            }
            let rounds = Rounds { count, rounds: options.pairs, time: options.run };
            (pair, rounds.run(&case.load, &targets, rig)?)
        }
        Kind::Workers => {
            rig.start_twins()?;
            let targets = rig.workers(protocol);
            let pair = [targets[0].name.clone(), targets[1].name.clone()];
            let rounds = Rounds { count: false, rounds: options.pairs, time: options.run };
            (pair, rounds.run(&case.load, &targets, rig)?)
        }
    };
    let [base, subject] = pair;
    Ok(Row { name: case.name.to_owned(), base, subject, floors, sides })
}

/// Measures the same load with ever more of one thing.
pub fn sweep(over: Over, rig: &mut Rig, options: &Options) -> Result<Sweep, Failure> {
    let (steps, every): (&[u32], usize) = match over {
        // A first look takes every other step.
        Over::Clients => (&cases::CLIENTS, if options.quick { 3 } else { 1 }),
        Over::Depth => (&cases::DEPTHS, 1),
    };
    let mut points = Vec::new();
    for &at in steps.iter().step_by(every) {
        let load = match over {
            Over::Clients => Load::small_get(at, 1),
            Over::Depth => Load::small_get(cases::DEPTH_CLIENTS, at),
        };
        eprintln!("sweep over {}: {at}", word(over));
        rig.fill(load.protocol, load.values)?;
        let mut targets = rig.programs(load.protocol);
        // One server alone is the plainest floor, and both of them would halve the clients.
        targets.extend(rig.ceilings(1));
        let (rounds, time) = (options.sweep_rounds, options.sweep_run);
        let sides = Rounds { count: false, rounds, time }.run(&load, &targets, rig)?;
        points.push(Point { at, sides });
    }
    Ok(Sweep { over, points })
}

/// What a sweep is called on the command line.
pub fn word(over: Over) -> &'static str {
    match over {
        Over::Clients => "clients",
        Over::Depth => "depth",
    }
}

/// How often, and how long each time.
struct Rounds {
    count: bool,
    rounds: usize,
    time: Duration,
}

impl Rounds {
    fn run(&self, load: &Load, targets: &[Target], rig: &Rig) -> Result<Vec<Side>, Failure> {
        let servers = rig.servers(load.protocol);
        let mut rates = Vec::new();
        for target in targets {
            rates.push(load.run(target, Length::Requests(load.trial()), servers)?.rps);
        }
        let mut runs = vec![Vec::new(); targets.len()];
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..targets.len()).collect();
            // Who goes first changes, so that what slows down over a round slows both down.
            if round % 2 == 1 {
                order.reverse();
            }
            for which in order {
                let length = Length::Time(self.time, rates[which]);
                runs[which].push(load.run(&targets[which], length, servers)?);
            }
            eprintln!("  {}", round_line(targets, &runs));
        }
        let mut sides = Vec::new();
        for ((target, runs), rate) in targets.iter().zip(runs).zip(rates) {
            let length = Length::Time(self.time / 3, rate);
            let id = target.process.filter(|_| self.count).map(crate::processes::Process::id);
            let system_calls = id.map(|id| load.system_calls(target, length, id)).transpose()?;
            sides.push(Side { name: target.name.clone(), runs, system_calls });
        }
        Ok(sides)
    }
}

/// What the last round showed, for those who watch.
fn round_line(targets: &[Target], runs: &[Vec<Run>]) -> String {
    let side = |(target, runs): (&Target, &Vec<Run>)| {
        let run = runs.last()?;
        let cpu = run.proxy_cpu_us.map_or(String::new(), |cpu| format!(" {cpu:.2} us"));
        Some(format!("{} {:.0}/s{cpu} p99 {:.2} ms", target.name, run.rps, run.p99_ms))
    };
    targets.iter().zip(runs).filter_map(side).collect::<Vec<_>>().join("; ")
}
