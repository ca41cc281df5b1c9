//! What the README says about speed is what was measured: its tables and plots are made anew of
//! the committed figures, and have to be the same.

#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

#[path = "../bench/canvas.rs"]
mod canvas;
#[path = "../bench/overview.rs"]
mod overview;
#[path = "../bench/plot.rs"]
mod plot;
#[path = "../bench/readme.rs"]
mod readme;
#[path = "../bench/record.rs"]
mod record;
#[path = "../bench/report.rs"]
mod report;

use record::{Figure, Floor, Results, Row, Run, Side, Spread, Verdict};
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_readme_and_its_plots_are_what_was_measured() {
    let text = read("README.md");
    let file = readme::source(&text).expect("the README says where its figures come from");
    let results: Results = serde_json::from_str(&read(file)).expect("figures");
    let remedy = format!("make bench-report JSON={file}");
    let renewed = readme::renewed(&text, file, &results).expect("marks");
    assert!(renewed == text, "the README has other figures than {file}: {remedy}");
    let plots = readme::plots(&results);
    assert_eq!(plots.len(), 3, "{file} has not all that the plots show");
    for (plot, drawn) in plots {
        assert!(read(plot) == drawn, "{plot} shows other figures than {file}: {remedy}");
        assert!(text.contains(plot), "the README does not show {plot}");
    }
}

fn floor(figure: Figure, must: f64, aim: f64) -> Floor {
    Floor { figure, must, aim: Some(aim) }
}

fn run(rps: f64, cpu: f64) -> Run {
    Run { rps, p50_ms: 0.1, p99_ms: 0.2, proxy_cpu_us: Some(cpu), servers_cpu_us: 1.0 }
}

fn side(name: &str, runs: &[(f64, f64)]) -> Side {
    let runs = runs.iter().map(|(rps, cpu)| run(*rps, *cpu)).collect();
    Side { name: name.to_owned(), runs, system_calls: Some(0.25) }
}

/// Three pairs, whose ratios are not those of the medians.
fn row() -> Row {
    Row {
        name: "GET".to_owned(),
        base: "nutcracker".to_owned(),
        subject: "ringcracker".to_owned(),
        floors: vec![
            floor(Figure::Rps, 1.0, 1.5),
            floor(Figure::ProxyCpu, 0.5, 0.4),
            Floor { figure: Figure::SystemCalls, must: 0.2, aim: None },
        ],
        sides: vec![
            side("nutcracker", &[(100.0, 10.0), (200.0, 10.0), (400.0, 10.0)]),
            side("ringcracker", &[(200.0, 5.2), (220.0, 5.2), (200.0, 5.2)]),
        ],
    }
}

#[test]
fn a_ratio_is_taken_within_each_pair() {
    let ratio = row().ratio(Figure::Rps);
    assert_eq!(ratio, Some(Spread { low: 0.5, median: 1.1, high: 2.0 }));
}

#[test]
fn the_median_of_an_even_number_is_between_the_middle_two() {
    let spread = Spread::of(vec![4.0, 1.0, 2.0, 8.0]);
    assert_eq!(spread, Some(Spread { low: 1.0, median: 3.0, high: 8.0 }));
    assert_eq!(Spread::of(Vec::new()), None);
}

#[test]
fn a_verdict_is_even_up_to_five_hundredths_beyond_and_then_missed() {
    let at_least = floor(Figure::Rps, 2.0, 2.7);
    for (value, verdict) in [
        (2.0, Verdict::Met),
        (1.999, Verdict::Even),
        (1.9, Verdict::Even),
        (1.899, Verdict::Missed),
    ] {
        assert_eq!(at_least.verdict(value), verdict, "{value}");
    }
    let at_most = floor(Figure::ProxyCpu, 0.5, 0.35);
    for (value, verdict) in [
        (0.5, Verdict::Met),
        (0.501, Verdict::Even),
        (0.525, Verdict::Even),
        (0.526, Verdict::Missed),
    ] {
        assert_eq!(at_most.verdict(value), verdict, "{value}");
    }
    assert_eq!(at_least.reaches_aim(2.7), Some(true));
    assert_eq!(at_most.reaches_aim(0.36), Some(false));
}

#[test]
fn what_is_missed_is_said_by_name() {
    let results = Results { rows: vec![row()], ..Results::default() };
    let standing = report::standing(&results).unwrap();
    assert!(standing.contains("1 of 3 figures meet"), "{standing}");
    assert!(standing.contains("so even:\n\n- GET: proxy CPU 0.52 (≤ 0.5)"), "{standing}");
    assert!(
        standing.contains("Missed:\n\n- GET: system calls per request 0.25 (≤ 0.2)"),
        "{standing}"
    );
    let table = report::ratios(&results).unwrap();
    assert!(table.contains("| GET | 1.10 (0.50-2.00) met | 0.52 (0.52-0.52) even |"), "{table}");
}

#[test]
fn another_base_is_not_judged() {
    let results = Results { rows: vec![Row { floors: Vec::new(), ..row() }], ..Results::default() };
    assert!(report::standing(&results).unwrap().contains("Nothing is asked"));
    assert!(report::ratios(&results).unwrap().contains("| 1.10 (0.50-2.00) |"));
}

#[test]
fn versions_are_found_in_what_programs_say() {
    for (line, number) in [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1", "7.0.15"),
        ("This is nutcracker-0.5.0", "0.5.0"),
        ("HAProxy version 2.6.12-1+deb12u2 2025/04/16", "2.6.12"),
        ("memcached 1.6.18", "1.6.18"),
        ("", ""),
    ] {
        assert_eq!(plot::number_in(line), number, "{line}");
    }
}

#[test]
fn a_picture_has_no_bare_signs_in_its_texts() {
    let results = Results { rows: vec![row()], ..Results::default() };
    for (_, drawn) in readme::plots(&results) {
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
