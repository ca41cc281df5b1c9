//! Where the CPU goes under one row's load: `perf record` on the proxy, kernel and program, as a
//! list of functions and as a tree of who calls whom.

use crate::Failure;
use crate::cases::Case;
use crate::load::Length;
use crate::processes;
use crate::rig::Rig;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Records while the load of `case` is on ringcracker, and prints what was seen.
pub fn run(case: &Case, rig: &mut Rig, time: Duration) -> Result<(), Failure> {
    rig.fill(case.load.protocol, case.load.values)?;
    let target = rig.subject.target(case.load.protocol);
    let servers = rig.servers(case.load.protocol);
    let rate = case.load.run(&target, Length::Requests(case.load.trial()), servers)?.rps;
    let data = Path::new(processes::SCRATCH).join("profile.data");
    let mut recorder = processes::bound("perf");
    recorder.args(["record", "-q", "-F", "1999", "-g", "-p", &rig.subject.id().to_string()]);
    recorder.arg("-o").arg(&data).args(["--", "cat"]);
    recorder.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut recorder =
        recorder.spawn().map_err(|error| format!("there is no profile without perf: {error}"))?;
    let measured = case.load.run(&target, Length::Time(time, rate), servers);
    // Its command ends with its input, and perf with its command.
    drop(recorder.stdin.take());
    let recorded = recorder.wait_with_output()?;
    let measured = measured?;
    if !recorded.status.success() {
        let words = String::from_utf8_lossy(&recorded.stderr).into_owned();
        return Err(format!("perf cannot record here:\n{words}").into());
    }
    let cpu = measured.proxy_cpu_us.unwrap_or_default();
    println!("{}: {:.0} requests/s, {cpu:.2} us of CPU each\n", case.name, measured.rps);
    let stacks = stacks(&perf("script", &data, &["-F", "ip,sym,period"])?);
    let total: u64 = stacks.values().sum();
    if total == 0 {
        return Err("perf has seen nothing of the proxy".into());
    }
    println!("{}", functions(&stacks, total)?);
    println!("{}", tree(&stacks, total)?);
    let folded = Path::new(processes::SCRATCH).join("profile.folded");
    let lines = stacks.iter().map(|(stack, count)| format!("{} {count}\n", stack.join(";")));
    std::fs::write(&folded, lines.collect::<String>())?;
    println!("Stacks, for a flame graph: {}", folded.display());
    println!("All that perf has: perf report -i {}", data.display());
    Ok(())
}

/// What a command of perf prints about a recording.
fn perf(what: &str, data: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("perf").arg(what).arg("-i").arg(data).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Stacks from the outermost function inward, each with the time that was seen in it.
type Stacks = BTreeMap<Vec<String>, u64>;

/// `perf script` prints a line with the period, then the functions from the innermost outward,
/// then an empty line.
fn stacks(text: &str) -> Stacks {
    let mut stacks = Stacks::new();
    for sample in text.split("\n\n") {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let Some(period) = lines.next().and_then(|line| line.trim().parse::<u64>().ok()) else {
            continue;
        };
        let mut stack: Vec<String> = lines.map(function).collect();
        stack.reverse();
        *stacks.entry(stack).or_default() += period;
    }
    stacks
}

/// The function of a line, without its address and without the hash behind it.
fn function(line: &str) -> String {
    let name = line.trim().split_once(' ').map_or("?", |(_, name)| name);
    let is_hash = |hash: &&str| hash.len() == 17 && hash.starts_with('h');
    match name.rsplit_once("::") {
        Some((path, hash)) if is_hash(&hash) => path.to_owned(),
        _ => name.to_owned(),
    }
}

/// The functions that most of the time is spent in, with those that they call and without.
fn functions(stacks: &Stacks, total: u64) -> Result<String, Failure> {
    let mut own: BTreeMap<&str, u64> = BTreeMap::new();
    let mut whole: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, count) in stacks {
        if let Some(last) = stack.last() {
            *own.entry(last).or_default() += count;
        }
        let mut seen: Vec<&str> = stack.iter().map(String::as_str).collect();
        seen.sort_unstable();
        seen.dedup();
        for name in seen {
            *whole.entry(name).or_default() += count;
        }
    }
    let mut by_time: Vec<(&str, u64)> = own.into_iter().collect();
    by_time.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut text = "  own %   with all it calls\n".to_owned();
    for (name, count) in by_time.into_iter().take(FUNCTIONS_SHOWN) {
        let share = |count: u64| count as f64 * 100.0 / total as f64;
        writeln!(text, "{:>7.1} {:>7.1}   {name}", share(count), share(whole[name]))?;
    }
    Ok(text)
}

/// Who calls whom, as far as it is worth a line.
fn tree(stacks: &Stacks, total: u64) -> Result<String, Failure> {
    let mut text = "Who calls whom, in % of all:\n".to_owned();
    let all: Vec<(&[String], u64)> =
        stacks.iter().map(|(stack, count)| (stack.as_slice(), *count)).collect();
    branch(&mut text, &all, 0, total)?;
    Ok(text)
}

fn branch(
    text: &mut String,
    stacks: &[(&[String], u64)],
    depth: usize,
    total: u64,
) -> Result<(), Failure> {
    let mut children: BTreeMap<&str, Vec<(&[String], u64)>> = BTreeMap::new();
    for (stack, count) in stacks {
        if let Some((first, rest)) = stack.split_first() {
            children.entry(first).or_default().push((rest, *count));
        }
    }
    let sum = |stacks: &[(&[String], u64)]| stacks.iter().map(|(_, count)| count).sum::<u64>();
    let mut children: Vec<_> = children.into_iter().collect();
    children.sort_by_key(|(_, stacks)| std::cmp::Reverse(sum(stacks)));
    for (name, stacks) in children {
        let share = sum(&stacks) as f64 * 100.0 / total as f64;
        if share < PERCENT_SHOWN_MIN || depth > DEPTH_SHOWN {
            continue;
        }
        writeln!(text, "{}{share:.1} {name}", "  ".repeat(depth))?;
        branch(text, &stacks, depth + 1, total)?;
    }
    Ok(())
}

const FUNCTIONS_SHOWN: usize = 30;

/// Below this share a branch is not worth a line.
const PERCENT_SHOWN_MIN: f64 = 1.0;

/// Steps of the tree.
const DEPTH_SHOWN: usize = 24;
