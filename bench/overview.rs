//! The plot of all rows: each ratio with its range, beside what it must be.

use crate::canvas::{Canvas, Hold, Mark};
use crate::plot;
use crate::record::{Figure, Results, Row, Verdict};

/// A column of the plot.
struct Column {
    figure: Figure,
    title: &'static str,
    better: &'static str,
    left: f64,
    low: f64,
    high: f64,
    ticks: &'static [f64],
}

/// Requests, CPU and p99 of every row.
pub fn draw(results: &Results) -> Option<String> {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.subject == "ringcracker").collect();
    let base = &rows.first()?.base;
    let title = format!("ringcracker over {base}, each row");
    let bottom = TOP + STEP * rows.len() as f64;
    let mut canvas = Canvas::new(1080.0, bottom + 92.0, &title);
    canvas.text("title", Hold::Start, (24.0, 34.0), &title);
    let columns = columns();
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + STEP * (index as f64 + 0.5);
        if index % 2 == 0 {
            let width = canvas.width() - 32.0;
            canvas.band("band", (16.0, y - STEP / 2.0), (width, STEP));
        }
        canvas.text("", Hold::Start, (24.0, y + 4.0), &row.name);
    }
    for column in &columns {
        column.draw_axis(&mut canvas, bottom);
        for (index, row) in rows.iter().enumerate() {
            column.draw_row(&mut canvas, row, TOP + STEP * (index as f64 + 0.5));
        }
    }
    legend(&mut canvas, results, bottom + 52.0);
    Some(canvas.finish())
}

fn columns() -> [Column; 3] {
    let ticks: &[f64] = &[0.1, 0.2, 0.5, 1.0, 2.0];
    let (low, high) = (0.06, 2.4);
    [
        Column {
            figure: Figure::Rps,
            title: "requests/s",
            better: "more is better →",
            left: 312.0,
            low: 0.6,
            high: 7.0,
            ticks: &[1.0, 2.0, 3.0, 4.0, 6.0],
        },
        Column {
            figure: Figure::ProxyCpu,
            title: "proxy CPU",
            better: "← less is better",
            left: 570.0,
            low,
            high,
            ticks,
        },
        Column {
            figure: Figure::P99,
            title: "latency p99",
            better: "← less is better",
            left: 828.0,
            low,
            high,
            ticks,
        },
    ]
}

impl Column {
    fn x_of(&self, ratio: f64) -> f64 {
        let share =
            (ratio.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        self.left + share * WIDTH
    }

    fn draw_axis(&self, canvas: &mut Canvas, bottom: f64) {
        canvas.text("head", Hold::Start, (self.left, TOP - 28.0), self.title);
        canvas.text("small", Hold::End, (self.left + WIDTH, TOP - 28.0), self.better);
        for &tick in self.ticks {
            let x = self.x_of(tick);
            let class = if tick == 1.0 { "even" } else { "grid" };
            canvas.line(class, (x, TOP), (x, bottom));
            canvas.text("small", Hold::Middle, (x, TOP - 8.0), &plot::shown(tick));
        }
    }

    fn draw_row(&self, canvas: &mut Canvas, row: &Row, y: f64) {
        let Some(spread) = row.ratio(self.figure) else { return };
        let verdict = row.floor(self.figure).map(|floor| {
            let bounds = [("must", Some(floor.must)), ("aim", floor.aim)];
            for (class, bound) in bounds {
                if let Some(bound) = bound {
                    let x = self.x_of(bound);
                    canvas.line(class, (x, y - 8.0), (x, y + 8.0));
                }
            }
            floor.verdict(spread.median)
        });
        let (class, mark) = look(verdict);
        canvas.line(class, (self.x_of(spread.low), y), (self.x_of(spread.high), y));
        canvas.mark(class, mark, (self.x_of(spread.median), y));
    }
}

/// The colour and the shape of a verdict.
fn look(verdict: Option<Verdict>) -> (&'static str, Mark) {
    match verdict {
        Some(Verdict::Met) => ("met", Mark::Disc),
        Some(Verdict::Even) => ("close", Mark::Diamond),
        Some(Verdict::Missed) => ("missed", Mark::Square),
        None => ("free", Mark::Disc),
    }
}

fn legend(canvas: &mut Canvas, results: &Results, y: f64) {
    let words = [
        (Verdict::Met, "met", 24.0),
        (Verdict::Even, "within 5 % of it", 76.0),
        (Verdict::Missed, "missed", 198.0),
    ];
    for (verdict, text, x) in words {
        let (class, mark) = look(Some(verdict));
        canvas.mark(class, mark, (x + 4.0, y - 4.0));
        canvas.text("", Hold::Start, (x + 14.0, y), text);
    }
    for (class, text, x) in [("must", "must", 282.0), ("aim", "aim", 340.0)] {
        canvas.line(class, (x, y - 12.0), (x, y + 4.0));
        canvas.text("", Hold::Start, (x + 8.0, y), text);
    }
    let note = format!(
        "Each point is the median ratio of {} alternated pairs of runs of {} s, the line its \
         range. {}",
        results.settings.pairs,
        results.settings.run_seconds,
        plot::machine(results)
    );
    let below = canvas.height() - 16.0;
    canvas.text("small", Hold::Start, (24.0, below), &note);
}

/// Where the first row begins.
const TOP: f64 = 104.0;

/// From row to row.
const STEP: f64 = 24.0;

/// Of a column.
const WIDTH: f64 = 228.0;
