//! What a comparison has found, as its JSON has it. Everything that is printed or drawn is made
//! from this alone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that one comparison has measured.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Results {
    pub machine: BTreeMap<String, String>,
    pub versions: BTreeMap<String, String>,
    pub settings: Settings,
    /// What was left out, and why.
    pub missing: Vec<String>,
    pub rows: Vec<Row>,
    pub sweeps: Vec<Sweep>,
    /// Resident memory after everything.
    pub resident_kib: BTreeMap<String, u64>,
}

/// How long it was measured.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Settings {
    pub pairs: usize,
    pub run_seconds: f64,
    pub sweep_rounds: usize,
    pub sweep_seconds: f64,
}

/// One line of the table.
#[derive(Clone, Deserialize, Serialize)]
pub struct Row {
    pub name: String,
    /// The sides whose ratio counts.
    pub base: String,
    pub subject: String,
    pub floors: Vec<Floor>,
    pub sides: Vec<Side>,
}

/// What a figure has to be.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Floor {
    pub figure: Figure,
    pub must: f64,
    pub aim: Option<f64>,
}

/// One program's runs under one load.
#[derive(Clone, Deserialize, Serialize)]
pub struct Side {
    pub name: String,
    pub runs: Vec<Run>,
    /// Per request, from a run of its own; `None` where nobody counted.
    pub system_calls: Option<f64>,
}

/// What one run showed.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
pub struct Run {
    pub rps: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Microseconds of the proxy's CPU per request; `None` without a proxy.
    pub proxy_cpu_us: Option<f64>,
    /// Microseconds of CPU per request, of all servers together.
    pub servers_cpu_us: f64,
}

/// The same load with ever more of one thing.
#[derive(Clone, Deserialize, Serialize)]
pub struct Sweep {
    pub over: Over,
    pub points: Vec<Point>,
}

/// What a sweep varies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    Clients,
    Depth,
}

/// One step of a sweep.
#[derive(Clone, Deserialize, Serialize)]
pub struct Point {
    pub at: u32,
    pub sides: Vec<Side>,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    Rps,
    P50,
    P99,
    ProxyCpu,
    ServersCpu,
    /// Per request, of the subject alone: no ratio.
    SystemCalls,
}

impl Figure {
    /// Its value in a run, where a run has it.
    pub fn of(self, run: &Run) -> Option<f64> {
        match self {
            Self::Rps => Some(run.rps),
            Self::P50 => Some(run.p50_ms),
            Self::P99 => Some(run.p99_ms),
            Self::ProxyCpu => run.proxy_cpu_us,
            Self::ServersCpu => Some(run.servers_cpu_us),
            Self::SystemCalls => None,
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        match self {
            Self::Rps => true,
            Self::P50 | Self::P99 | Self::ProxyCpu | Self::ServersCpu | Self::SystemCalls => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Rps => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::ProxyCpu => "proxy CPU",
            Self::ServersCpu => "servers' CPU",
            Self::SystemCalls => "system calls per request",
        }
    }
}

/// How a figure stands against what it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Met,
    /// On the wrong side, by no more than the figures move from run to run.
    Even,
    Missed,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Even => "even",
            Self::Missed => "missed",
        }
    }
}

/// A median with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// `None` when there is nothing to take it of.
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let (low, high) = (*numbers.first()?, *numbers.last()?);
        let median = if numbers.len() % 2 == 1 {
            numbers[middle]
        } else {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        };
        Some(Self { low, median, high })
    }
}

impl Floor {
    /// How `value` stands against what it must be.
    pub fn verdict(&self, value: f64) -> Verdict {
        let more_is_better = self.figure.more_is_better();
        let holds = |bound: f64| if more_is_better { value >= bound } else { value <= bound };
        let allowance = if more_is_better { 1.0 - EVEN } else { 1.0 + EVEN };
        if holds(self.must) {
            Verdict::Met
        } else if holds(self.must * allowance) {
            Verdict::Even
        } else {
            Verdict::Missed
        }
    }

    /// Whether `value` is where it is meant to be one day; `None` when nothing more is asked.
    pub fn reaches_aim(&self, value: f64) -> Option<bool> {
        let aim = self.aim?;
        Some(if self.figure.more_is_better() { value >= aim } else { value <= aim })
    }
}

impl Side {
    pub fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| figure.of(run)).collect())
    }
}

impl Row {
    pub fn side(&self, name: &str) -> Option<&Side> {
        self.sides.iter().find(|side| side.name == name)
    }

    /// The subject's figure over the base's, pair by pair. System calls are the subject's own.
    pub fn ratio(&self, figure: Figure) -> Option<Spread> {
        let (base, subject) = (self.side(&self.base)?, self.side(&self.subject)?);
        if figure == Figure::SystemCalls {
            return Spread::of(subject.system_calls.into_iter().collect());
        }
        let pairs = base.runs.iter().zip(&subject.runs);
        let ratio = |(base, subject)| Some(figure.of(subject)? / figure.of(base)?);
        Spread::of(pairs.filter_map(ratio).collect())
    }

    pub fn floor(&self, figure: Figure) -> Option<&Floor> {
        self.floors.iter().find(|floor| floor.figure == figure)
    }

    /// Every figure that something is asked of, with its value and how it stands.
    pub fn judged(&self) -> Vec<(Floor, Spread, Verdict)> {
        let judge = |floor: &Floor| {
            let spread = self.ratio(floor.figure)?;
            Some((*floor, spread, floor.verdict(spread.median)))
        };
        self.floors.iter().filter_map(judge).collect()
    }
}

/// So much on the wrong side of a floor counts as even.
const EVEN: f64 = 0.05;
