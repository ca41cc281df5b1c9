//! The table: ratios first, then what they are made of.

use crate::load::Measured;
use crate::{Failure, Outcome, Row, Side, processes};
use std::fmt::Write as _;
use std::path::Path;

/// At this ratio of requests per second the two are called even.
const EVEN_RPS: f64 = 0.95;

/// What the figures were measured on.
pub struct Machine {
    lines: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn read(sides: &[Side; 2]) -> Result<Self, Failure> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let root = env!("CARGO_MANIFEST_DIR");
        let commit = ["-C", root, "describe", "--always", "--dirty"];
        let lines = vec![
            ("CPU", model.unwrap_or("unknown").to_owned()),
            ("CPUs", std::thread::available_parallelism()?.to_string()),
            ("Linux", kernel.trim().to_owned()),
            ("redis-server", processes::first_line("redis-server", &["--version"])),
            ("redis-benchmark", processes::first_line("redis-benchmark", &["--version"])),
            (sides[0].name, sides[0].version.clone()),
            (sides[1].name, sides[1].version.clone()),
            ("commit", processes::first_line("git", &commit)),
            ("date", processes::first_line("date", &["-u", "+%F"])),
        ];
        Ok(Self { lines })
    }
}

/// A figure that the report shows: its name and unit, and where it is in a run.
struct Figure {
    name: &'static str,
    of: fn(&Measured) -> f64,
}

const FIGURES: [Figure; 5] = [
    Figure { name: "rps", of: |run| run.rps },
    Figure { name: "p50 ms", of: |run| run.p50_ms },
    Figure { name: "p99 ms", of: |run| run.p99_ms },
    Figure { name: "proxy CPU us/request", of: |run| run.cpu_us },
    Figure { name: "servers' CPU us/request", of: |run| run.servers_cpu_us },
];

const RPS: usize = 0;
const CPU: usize = 3;

impl Outcome<'_> {
    /// Ringcracker's figure over nutcracker's, pair by pair, in order of size.
    fn ratios(&self, figure: &Figure) -> Vec<f64> {
        let ratio = |[theirs, ours]: &[Measured; 2]| (figure.of)(ours) / (figure.of)(theirs);
        sorted(self.pairs.iter().map(ratio).collect())
    }

    fn medians(&self, side: usize, figure: &Figure) -> f64 {
        median(&sorted(self.pairs.iter().map(|pair| (figure.of)(&pair[side])).collect()))
    }

    /// How the row stands against its bar, and whether it missed it.
    fn verdict(&self) -> (String, bool) {
        let Row { bar_rps, bar_cpu, .. } = *self.row;
        let mut words = Vec::new();
        if bar_rps {
            words.push(match median(&self.ratios(&FIGURES[RPS])) {
                ratio if ratio >= 1.0 => "rps held",
                ratio if ratio >= EVEN_RPS => "rps even",
                _ => "**rps MISSED**",
            });
        }
        if bar_cpu {
            let holds = median(&self.ratios(&FIGURES[CPU])) <= 1.0;
            words.push(if holds { "CPU held" } else { "**CPU MISSED**" });
        }
        let missed = words.iter().any(|word| word.contains("MISSED"));
        (if words.is_empty() { "reported".to_owned() } else { words.join(", ") }, missed)
    }
}

/// What one pair showed, for those who watch.
pub fn pair_line(pair: &[Measured; 2]) -> String {
    let [theirs, ours] = pair;
    format!(
        "nutcracker {:.0}/s {:.2} us, ringcracker {:.0}/s {:.2} us",
        theirs.rps, theirs.cpu_us, ours.rps, ours.cpu_us
    )
}

/// Prints the report, and writes it to `bench/results/` with all figures as JSON beside it.
pub fn write(machine: &Machine, outcomes: &[Outcome], memory: [u64; 2]) -> Result<(), Failure> {
    let text = markdown(machine, outcomes, memory)?;
    print!("{text}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("latest.md"), text)?;
    std::fs::write(folder.join("latest.json"), json(machine, outcomes, memory).to_string() + "\n")?;
    Ok(())
}

fn markdown(machine: &Machine, outcomes: &[Outcome], memory: [u64; 2]) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, value) in &machine.lines {
        writeln!(text, "- {name}: {value}")?;
    }
    let pairs = outcomes.first().map_or(0, |outcome| outcome.pairs.len());
    writeln!(text, "\nRatios, ringcracker / nutcracker: the median of {pairs} alternated pairs,")?;
    writeln!(
        text,
        "and the lowest and highest. Above 1 is better for rps, below 1 for the rest.\n"
    )?;
    writeln!(text, "| | rps | p50 | p99 | proxy CPU | servers' CPU | system calls | bar |")?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for outcome in outcomes {
        write!(text, "| {} |", outcome.row.name)?;
        for figure in &FIGURES {
            let ratios = outcome.ratios(figure);
            let [low, high] = [ratios[0], ratios[ratios.len() - 1]];
            write!(text, " {:.2} ({low:.2}-{high:.2}) |", median(&ratios))?;
        }
        let calls = match outcome.calls {
            [Some(theirs), Some(ours)] => format!("{:.3}", ours / theirs),
            _ => "-".to_owned(),
        };
        writeln!(text, " {calls} | {} |", outcome.verdict().0)?;
    }
    writeln!(text, "\nMedians. CPU is user and system time of all threads, per request.\n")?;
    writeln!(
        text,
        "| | proxy | rps | p50 ms | p99 ms | proxy CPU us | servers' CPU us | system calls |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for outcome in outcomes {
        for (side, name) in ["nutcracker", "ringcracker"].into_iter().enumerate() {
            let [rps, p50, p99, cpu, servers] =
                [0, 1, 2, 3, 4].map(|index| outcome.medians(side, &FIGURES[index]));
            let calls = outcome.calls[side].map_or("-".to_owned(), |calls| format!("{calls:.3}"));
            write!(text, "| {} | {name} | {rps:.0} | {p50:.3} | {p99:.3} ", outcome.row.name)?;
            writeln!(text, "| {cpu:.2} | {servers:.2} | {calls} |")?;
        }
    }
    let [theirs, ours] = memory;
    writeln!(
        text,
        "\nResident memory after all runs: nutcracker {theirs} KiB, ringcracker {ours} KiB."
    )?;
    let missed = outcomes.iter().filter(|outcome| outcome.verdict().1).count();
    writeln!(text, "Rows that missed their bar: {missed}.")?;
    Ok(text)
}

fn json(machine: &Machine, outcomes: &[Outcome], memory: [u64; 2]) -> serde_json::Value {
    let machine: serde_json::Map<String, serde_json::Value> =
        machine.lines.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect();
    let rows: Vec<serde_json::Value> = outcomes
        .iter()
        .map(|outcome| {
            let (verdict, missed) = outcome.verdict();
            let mut row = serde_json::json!({
                "row": outcome.row.name,
                "bar": verdict,
                "missed": missed,
                "system_calls_per_request": outcome.calls,
            });
            for figure in &FIGURES {
                let runs = |side: usize| -> Vec<f64> {
                    outcome.pairs.iter().map(|pair| (figure.of)(&pair[side])).collect()
                };
                row[figure.name] = serde_json::json!({
                    "ratio": median(&outcome.ratios(figure)),
                    "nutcracker": runs(0),
                    "ringcracker": runs(1),
                });
            }
            row
        })
        .collect();
    serde_json::json!({
        "machine": machine,
        "rows": rows,
        "resident_kib": {"nutcracker": memory[0], "ringcracker": memory[1]},
    })
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The middle of sorted numbers, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}
