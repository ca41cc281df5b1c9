//! Drives Debian's nutcracker and ringcracker in turns, and says who did better at what.
//!
//! A row is measured in pairs, one run each; what counts is the ratio within a pair, since the
//! machine's mood changes between them. System calls are counted in separate runs, as counting
//! them costs. Beside the main rows a byte pump and no proxy at all are measured: what no proxy
//! can be better than.
//!
//! ```text
//! cargo bench --bench compare -- --full                  everything, as `make bench`
//!     [--quick] [--pairs N] [--seconds S] [--row TEXT]... [--name NAME]
//! cargo bench --bench compare -- --report FILE           README and plots from a JSON
//! cargo bench --bench compare -- --profile [--row TEXT]  where the CPU goes
//! ```
//!
//! `--row` takes a part of a row's name, or `sweep over clients`, `sweep over depth`; without it
//! everything is measured. `RINGCRACKER_BIN` names another program to measure in ringcracker's
//! place, and `BASE_BIN` one in nutcracker's: an older build, or the same one twice, which shows
//! how even two equals are. Figures go to `bench/results/NAME.json`.

mod canvas;
mod cases;
mod client;
mod load;
mod machine;
mod measure;
mod memcache;
mod overview;
mod plot;
mod processes;
mod profile;
mod readme;
mod record;
mod report;
mod rig;

use record::{Over, Results, Settings};
use rig::Rig;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Whatever stops the comparison; it is printed, and nothing more is measured.
type Failure = Box<dyn std::error::Error>;

/// What to measure, and how long.
pub struct Options {
    quick: bool,
    /// Only to see where the CPU goes.
    profile: bool,
    pairs: usize,
    run: Duration,
    sweep_rounds: usize,
    sweep_run: Duration,
    /// Only rows with one of these in their name; all when there is none.
    rows: Vec<String>,
    /// Of the file of results.
    name: String,
    can_count: bool,
}

impl Options {
    /// Whether something of this name is to be measured.
    fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|text| name.contains(text.as_str()))
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; a test runner that looks for tests here finds none.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    if arguments.len() == 1 {
        println!("The comparison takes some minutes: `make bench`, or `-- --full`.");
        return Ok(());
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--report") {
        return show(arguments.get(at + 1).ok_or("--report needs a file")?);
    }
    let mut options = options(&arguments)?;
    let mut rig = Rig::start()?;
    if options.profile {
        let wanted = |case: &&cases::Case| options.wants(case.name);
        let case = cases::CASES.iter().find(wanted).ok_or("no row has such a name")?;
        return profile::run(case, &mut rig, options.run);
    }
    if let Some(why) = load::cannot_count_calls(rig.subject.id()) {
        eprintln!("perf cannot count system calls here ({why}): they are left out");
        rig.missing.push(format!("system calls: perf says {why}"));
        options.can_count = false;
    }
    let results = compare(&mut rig, &options)?;
    print!("{}", report::whole(&results)?);
    let file = format!("bench/results/{}.json", options.name);
    write(&file, &(serde_json::to_string_pretty(&results)? + "\n"))?;
    println!("All figures are in {file}.");
    println!("make bench-report JSON={file} puts them into the README.");
    Ok(())
}

/// Makes the README's figures and the plots of a file of results, without measuring.
fn show(file: &str) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::fs::canonicalize(file).or_else(|_| std::fs::canonicalize(root.join(file)))?;
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    let inside = path.strip_prefix(root.canonicalize()?)?;
    let inside = inside.to_str().ok_or("the file's name is not UTF-8")?;
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    println!("README: {inside} instead of {}", readme::source(&readme).unwrap_or("nothing"));
    let renewed = readme::renewed(&readme, inside, &results).ok_or("no marks in the README")?;
    write("README.md", &renewed)?;
    for (plot, drawn) in readme::plots(&results) {
        write(plot, &drawn)?;
    }
    print!("{}", report::standing(&results)?);
    Ok(())
}

/// Writes a file of the tree.
fn write(file: &str, text: &str) -> Result<(), Failure> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, text).map_err(|error| format!("{file}: {error}").into())
}

fn compare(rig: &mut Rig, options: &Options) -> Result<Results, Failure> {
    let mut results = Results {
        machine: machine::machine(),
        versions: machine::versions(rig),
        settings: Settings {
            pairs: options.pairs,
            run_seconds: options.run.as_secs_f64(),
            sweep_rounds: options.sweep_rounds,
            sweep_seconds: options.sweep_run.as_secs_f64(),
        },
        ..Results::default()
    };
    // Before what differs in the values' size, as then all keys are in place.
    for over in [Over::Clients, Over::Depth] {
        if options.wants(&format!("sweep over {}", measure::word(over))) {
            results.sweeps.push(measure::sweep(over, rig, options)?);
        }
    }
    for case in cases::CASES.iter().filter(|case| options.wants(case.name)) {
        if rig.has(case.load.protocol) {
            results.rows.push(measure::row(case, rig, options)?);
        }
    }
    let mut resident = BTreeMap::new();
    for proxy in [&rig.base, &rig.subject].into_iter().chain(&rig.haproxy) {
        resident.insert(proxy.name.clone(), proxy.memory_kib()?);
    }
    results.resident_kib = resident;
    results.missing.clone_from(&rig.missing);
    Ok(results)
}

fn options(arguments: &[String]) -> Result<Options, Failure> {
    let mut options = Options {
        quick: false,
        profile: false,
        pairs: 5,
        run: Duration::from_millis(2_000),
        sweep_rounds: 3,
        sweep_run: Duration::from_millis(1_000),
        rows: Vec::new(),
        name: "latest".to_owned(),
        can_count: true,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" | "--full" => {}
            "--quick" => {
                options.quick = true;
                options.pairs = 2;
                options.run = Duration::from_millis(300);
                options.sweep_rounds = 1;
                options.sweep_run = Duration::from_millis(250);
            }
            "--profile" => options.profile = true,
            "--pairs" => options.pairs = value()?.parse::<usize>()?.max(1),
            "--seconds" => options.run = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--row" => options.rows.push(value()?.clone()),
            "--name" => options.name.clone_from(value()?),
            unknown => return Err(format!("unknown argument {unknown}").into()),
        }
    }
    Ok(options)
}
