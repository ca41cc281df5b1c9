//! The tables, made of what was recorded and of nothing else.

use crate::record::{Figure, Floor, Results, Row, Side, Spread, Verdict};
use std::fmt::{self, Write as _};

/// All that is printed after a comparison.
pub fn whole(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for (name, value) in results.machine.iter().chain(&results.versions) {
        writeln!(text, "- {name}: {value}")?;
    }
    for missing in &results.missing {
        writeln!(text, "- left out: {missing}")?;
    }
    writeln!(text, "\n{}", ratios(results)?)?;
    writeln!(text, "{}", standing(results)?)?;
    writeln!(text, "{}", ceilings(results)?)?;
    write!(text, "{}", medians(results)?)?;
    Ok(text)
}

/// Each row's ratios, what they must be, and whether they are.
pub fn ratios(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(text, "| | requests/s | proxy CPU per request | p99 | must | aim |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for row in &results.rows {
        let latencies = [Figure::P50, Figure::P99]
            .into_iter()
            .filter(|&figure| figure == Figure::P99 || row.floor(figure).is_some())
            .map(|figure| {
                let name = if figure == Figure::P50 { "p50 " } else { "" };
                format!("{name}{}", cell(row, figure))
            })
            .collect::<Vec<_>>();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.name,
            cell(row, Figure::Rps),
            cell(row, Figure::ProxyCpu),
            latencies.join("; "),
            bounds(row, |floor, _| Some(floor.must.to_string())),
            bounds(row, |floor, value| {
                let reached = if floor.reaches_aim(value)? { " reached" } else { "" };
                Some(format!("{}{reached}", floor.aim?))
            }),
        )?;
    }
    let counted = results.rows.iter().filter_map(|row| {
        let (floor, spread) = (row.floor(Figure::SystemCalls)?, row.ratio(Figure::SystemCalls)?);
        Some((row, floor, spread.median))
    });
    for (row, floor, calls) in counted {
        writeln!(
            text,
            "| system calls per request, {} | {calls:.3} {} | | | <= {} | |",
            row.name,
            floor.verdict(calls).word(),
            floor.must
        )?;
    }
    Ok(text)
}

/// `1.10 (0.95-1.25) met`.
fn cell(row: &Row, figure: Figure) -> String {
    let Some(spread) = row.ratio(figure) else { return "-".to_owned() };
    let Spread { low, median, high } = spread;
    let verdict = row.floor(figure).map(|floor| match floor.verdict(median) {
        Verdict::Met => " met",
        Verdict::Even => " even",
        Verdict::Missed => " **missed**",
    });
    format!("{median:.2} ({low:.2}-{high:.2}){}", verdict.unwrap_or_default())
}

/// The row's bounds as `≥ 1, ≤ 0.5, ≤ 1`, in the order of the columns.
fn bounds(row: &Row, which: impl Fn(&Floor, f64) -> Option<String>) -> String {
    let bound = |figure: Figure| {
        let sign = if figure.more_is_better() { "≥" } else { "≤" };
        let bound = which(row.floor(figure)?, row.ratio(figure)?.median)?;
        Some(format!("{sign} {bound}"))
    };
    let figures = [Figure::Rps, Figure::ProxyCpu, Figure::P99];
    let all: Vec<String> =
        figures.into_iter().map(|figure| bound(figure).unwrap_or_else(|| "-".to_owned())).collect();
    if all.iter().all(|bound| bound == "-") { String::new() } else { all.join(", ") }
}

/// In words: how many are met, and which are not.
pub fn standing(results: &Results) -> Result<String, fmt::Error> {
    let judged: Vec<_> = results
        .rows
        .iter()
        .flat_map(|row| row.judged().into_iter().map(move |judged| (row, judged)))
        .collect();
    let with = |wanted: Verdict| {
        judged.iter().filter(move |(_, (_, _, verdict))| *verdict == wanted).map(
            |(row, (floor, spread, _))| {
                let sign = if floor.figure.more_is_better() { "≥" } else { "≤" };
                let (name, figure) = (&row.name, floor.figure.name());
                let (value, must) = (spread.median, floor.must);
                format!("{name}: {figure} {value:.2} ({sign} {must})")
            },
        )
    };
    let mut text = String::new();
    if judged.is_empty() {
        writeln!(text, "Nothing is asked of these rows.")?;
        return Ok(text);
    }
    let met = with(Verdict::Met).count();
    writeln!(text, "{met} of {} figures meet what they must be.", judged.len())?;
    for (words, verdict) in
        [("Within 5 % of it, so even", Verdict::Even), ("Missed", Verdict::Missed)]
    {
        let names: Vec<String> = with(verdict).collect();
        if !names.is_empty() {
            writeln!(text, "\n{words}:\n\n- {}", names.join("\n- "))?;
        }
    }
    Ok(text)
}

/// What is left of the machine when a proxy stands between: requests per second of each.
pub fn ceilings(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "| requests/s | no proxy | no proxy, both servers | haproxy | nutcracker | ringcracker | \
         of the ceiling |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    let names = ["no proxy", "no proxy, both servers", "haproxy", "nutcracker", "ringcracker"];
    for row in results.rows.iter().filter(|row| row.side(names[0]).is_some()) {
        let medians = names.map(|name| {
            row.side(name).and_then(|side| side.spread(Figure::Rps)).map(|spread| spread.median)
        });
        write!(text, "| {} |", row.name)?;
        for median in medians {
            write!(text, " {} |", median.map_or("-".to_owned(), |rps| format!("{rps:.0}")))?;
        }
        let ceiling = medians[..2].iter().flatten().copied().reduce(f64::max);
        let share = medians[4].zip(ceiling).map(|(ours, ceiling)| ours / ceiling * 100.0);
        writeln!(text, " {} |", share.map_or("-".to_owned(), |share| format!("{share:.0} %")))?;
    }
    Ok(text)
}

/// What the ratios are made of.
pub fn medians(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "| | | requests/s | p50 ms | p99 ms | proxy CPU us | servers' CPU us | system calls |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for row in &results.rows {
        for side in &row.sides {
            writeln!(text, "| {} | {} {}|", row.name, side.name, figures(side)?)?;
        }
    }
    let memory: Vec<String> =
        results.resident_kib.iter().map(|(name, kib)| format!("{name} {kib} KiB")).collect();
    writeln!(text, "\nResident memory after everything: {}.", memory.join(", "))?;
    Ok(text)
}

fn figures(side: &Side) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let columns = [
        (Figure::Rps, 0),
        (Figure::P50, 3),
        (Figure::P99, 3),
        (Figure::ProxyCpu, 2),
        (Figure::ServersCpu, 2),
    ];
    for (figure, digits) in columns {
        let median = side.spread(figure).map(|spread| spread.median);
        let shown = median.map_or("-".to_owned(), |median| format!("{median:.digits$}"));
        write!(text, "| {shown} ")?;
    }
    let calls = side.system_calls.map_or("-".to_owned(), |calls| format!("{calls:.3}"));
    write!(text, "| {calls} ")?;
    Ok(text)
}
