//! The plots: what happens with more clients and with deeper pipelines.

use crate::canvas::{Canvas, Hold, Mark};
use crate::record::{Figure, Over, Results, Spread, Sweep};

/// One plot of a figure over the steps of a sweep.
struct Panel<'s> {
    sweep: &'s Sweep,
    figure: Figure,
    title: &'static str,
    /// What a figure is divided by to be shown.
    unit: f64,
    /// Left, top, right and bottom of the field.
    field: [f64; 4],
    y: Scale,
}

/// From a value to a place, in steps of equal ratio or of equal size.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

/// Three plots next to each other, of requests, CPU and latency.
pub fn sweep(results: &Results, over: Over) -> Option<String> {
    let sweep = results.sweeps.iter().find(|sweep| sweep.over == over)?;
    let (title, axis) = match over {
        Over::Clients => ("GET of 64 bytes, by the number of clients, P = 1", "clients"),
        Over::Depth => ("GET of 64 bytes, 50 clients, by the depth of pipelines", "depth"),
    };
    let mut canvas = Canvas::new(1080.0, 430.0, title);
    canvas.text("title", Hold::Start, (24.0, 34.0), title);
    legend(&mut canvas, results, sweep);
    let panels = [
        (Figure::Rps, "thousand requests per second", 1e3),
        (Figure::ProxyCpu, "proxy CPU per request, µs", 1.0),
        (Figure::P99, "latency p99, ms", 1.0),
    ];
    for (index, (figure, title, unit)) in panels.into_iter().enumerate() {
        let left = 66.0 + 350.0 * index as f64;
        let field = [left, 112.0, left + 282.0, 356.0];
        let Some(y) = Scale::over(sweep, figure, unit) else { continue };
        let panel = Panel { sweep, figure, title, unit, field, y };
        panel.draw(&mut canvas, axis);
    }
    let Results { settings, .. } = results;
    let note = format!(
        "Points are medians of {} alternated runs of {} s; bars span the lowest and the \
         highest. {}",
        settings.sweep_rounds,
        settings.sweep_seconds,
        machine(results)
    );
    canvas.text("small", Hold::Start, (24.0, 412.0), &note);
    Some(canvas.finish())
}

/// The machine in a few words.
pub fn machine(results: &Results) -> String {
    let of = |name: &str| results.machine.get(name).map_or("?", String::as_str);
    format!("{} x {}, Linux {}.", of("CPUs"), of("CPU"), of("Linux"))
}

fn legend(canvas: &mut Canvas, results: &Results, sweep: &Sweep) {
    let names = sweep.points.first().map_or(Vec::new(), |point| names_of(&point.sides));
    let mut x = 26.0;
    for (name, look) in names {
        canvas.path(&format!("l{look}"), &[(x, 60.0), (x + 26.0, 60.0)]);
        canvas.mark(&format!("m{look}"), MARKS[look], (x + 13.0, 60.0));
        let version = if name == "no proxy" { "redis-server" } else { name };
        let number = number_in(results.versions.get(version).map_or("", String::as_str));
        let text = match name {
            "no proxy" => format!("no proxy (one redis-server {number})"),
            "haproxy" => format!("haproxy {number} in TCP mode, one thread"),
            name => format!("{name} {number}"),
        };
        canvas.text("", Hold::Start, (x + 34.0, 64.0), &text);
        x += 34.0 + 7.0 * text.len() as f64 + 26.0;
    }
}

/// The first number with a point in a version's line.
pub fn number_in(line: &str) -> String {
    let is_number = |word: &&str| {
        let mut digits = word.trim_start_matches(['v', '-']).split('.');
        let starts = digits.next().is_some_and(|first| first.parse::<u32>().is_ok());
        starts && digits.next().is_some()
    };
    let words = line.split([' ', '=']).flat_map(|word| word.split('-'));
    words.clone().find(is_number).map(|word| word.trim_start_matches('v')).unwrap_or("").to_owned()
}

/// Sides with their colours; those that are no proxy come last.
fn names_of(sides: &[crate::record::Side]) -> Vec<(&str, usize)> {
    let look = |name: &str| match name {
        "ringcracker" => 0,
        "haproxy" => 2,
        "no proxy" => 3,
        _ => 1,
    };
    let mut names: Vec<_> =
        sides.iter().map(|side| (side.name.as_str(), look(&side.name))).collect();
    names.sort_by_key(|(_, look)| *look);
    names
}

impl Scale {
    /// One that holds all values of a figure.
    fn over(sweep: &Sweep, figure: Figure, unit: f64) -> Option<Self> {
        let sides = sweep.points.iter().flat_map(|point| &point.sides);
        let spreads: Vec<Spread> = sides.filter_map(|side| side.spread(figure)).collect();
        let low = spreads.iter().map(|spread| spread.low / unit).reduce(f64::min)?;
        let high = spreads.iter().map(|spread| spread.high / unit).reduce(f64::max)?;
        let is_log = high / low > 15.0;
        if is_log {
            return Some(Self { low: low / 1.15, high: high * 1.15, is_log });
        }
        let step = step_of(high);
        Some(Self { low: 0.0, high: (high / step).ceil() * step, is_log })
    }

    /// Where a value is, from 0 to 1.
    fn at(self, value: f64) -> f64 {
        if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round values to write at the axis.
    fn ticks(self) -> Vec<f64> {
        if self.is_log {
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            let within = |value: &f64| (self.low..=self.high).contains(value);
            let all =
                (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
            return all.filter(within).collect();
        }
        let step = step_of(self.high);
        (0..).map(|n| f64::from(n) * step).take_while(|value| *value <= self.high * 1.001).collect()
    }
}

/// A round step that makes four to eight of `high`.
fn step_of(high: f64) -> f64 {
    let power = 10f64.powf((high / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power);
    steps.into_iter().rfind(|step| high / step >= 4.0).unwrap_or(power)
}

impl Panel<'_> {
    fn draw(&self, canvas: &mut Canvas, axis: &str) {
        let [left, top, right, bottom] = self.field;
        canvas.text("head", Hold::Start, (left, top - 14.0), self.title);
        if self.y.is_log {
            canvas.text("small", Hold::End, (right, top - 14.0), "log scale");
        }
        for value in self.y.ticks() {
            let y = self.y_of(value);
            canvas.line("grid", (left, y), (right, y));
            canvas.text("small", Hold::End, (left - 7.0, y + 4.0), &shown(value));
        }
        canvas.line("axis", (left, bottom), (right, bottom));
        let count = self.sweep.points.len();
        for (index, point) in self.sweep.points.iter().enumerate() {
            let x = self.x_of(index, count);
            canvas.line("axis", (x, bottom), (x, bottom + 4.0));
            canvas.text("small", Hold::Middle, (x, bottom + 17.0), &point.at.to_string());
        }
        let middle = f64::midpoint(left, right);
        canvas.text("small", Hold::Middle, (middle, bottom + 33.0), axis);
        let names = self.sweep.points.first().map_or(Vec::new(), |point| names_of(&point.sides));
        // The one that it is about is drawn last, above the others.
        for (name, look) in names.into_iter().rev() {
            self.draw_side(canvas, name, look);
        }
    }

    fn draw_side(&self, canvas: &mut Canvas, name: &str, look: usize) {
        let count = self.sweep.points.len();
        let spreads = self.sweep.points.iter().enumerate().filter_map(|(index, point)| {
            let side = point.sides.iter().find(|side| side.name == name)?;
            Some((self.x_of(index, count), side.spread(self.figure)?))
        });
        let spreads: Vec<(f64, Spread)> = spreads.collect();
        let line: Vec<_> =
            spreads.iter().map(|(x, spread)| (*x, self.y_of(spread.median / self.unit))).collect();
        if line.is_empty() {
            return;
        }
        let class = format!("l{look}");
        canvas.path(&class, &line);
        for (x, spread) in &spreads {
            let range = (self.y_of(spread.low / self.unit), self.y_of(spread.high / self.unit));
            canvas.whisker(&class, *x, range);
        }
        for point in line {
            canvas.mark(&format!("m{look}"), MARKS[look], point);
        }
    }

    /// Steps are ratios, so they stand at equal distances.
    fn x_of(&self, index: usize, count: usize) -> f64 {
        let [left, _, right, _] = self.field;
        let inset = 14.0;
        let share = if count > 1 { index as f64 / (count - 1) as f64 } else { 0.5 };
        left + inset + share * (right - left - 2.0 * inset)
    }

    fn y_of(&self, value: f64) -> f64 {
        let [_, top, _, bottom] = self.field;
        bottom - self.y.at(value) * (bottom - top)
    }
}

/// A number with as many digits as it needs.
pub fn shown(value: f64) -> String {
    if value >= 1_000.0 && value % 1_000.0 == 0.0 {
        return format!("{},000", value / 1_000.0);
    }
    // Ticks are round; what is left behind is an error of the last bit.
    format!("{}", (value * 1e6).round() / 1e6)
}

/// Of ringcracker, what it is compared with, haproxy, and no proxy.
const MARKS: [Mark; 4] = [Mark::Disc, Mark::Square, Mark::Triangle, Mark::Diamond];
