//! What the README says about speed, and the plots it shows: made of one committed JSON.

use crate::plot::{self, number_in};
use crate::record::{Over, Results};
use crate::{overview, report};
use std::fmt::{self, Write as _};

/// The README with what stands between the marks made anew of `results`, which are in `file`.
/// `None` when it has no marks.
pub fn renewed(readme: &str, file: &str, results: &Results) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let section = section(results).ok()?;
    Some(format!("{before}{BEGIN}{file} -->\n{section}{END}{after}"))
}

/// Which file the README's figures are said to come from.
pub fn source(readme: &str) -> Option<&str> {
    readme.split_once(BEGIN)?.1.split_once(" -->").map(|(file, _)| file)
}

/// Every plot there is something to draw for: its file, from the root of the tree, and its text.
pub fn plots(results: &Results) -> Vec<(&'static str, String)> {
    let drawn = [
        (OVERVIEW, overview::draw(results)),
        (CLIENTS, plot::sweep(results, Over::Clients)),
        (DEPTH, plot::sweep(results, Over::Depth)),
    ];
    drawn.into_iter().filter_map(|(file, text)| Some((file, text?))).collect()
}

fn section(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(text, "{}\n", setting(results))?;
    let drawn = plots(results);
    let show = |text: &mut String, about: &str, file: &str| {
        let has = drawn.iter().any(|(plot, _)| *plot == file);
        if has { writeln!(text, "![{about}]({file})\n") } else { Ok(()) }
    };
    show(&mut text, "ratios of every row, beside what they must be", OVERVIEW)?;
    writeln!(
        text,
        "Each cell is ringcracker's figure over nutcracker's: the median of {} alternated pairs, \
         with the lowest and\nthe highest. CPU is user and system time per request; a row within \
         5 % of what it must be is even.\n",
        results.settings.pairs
    )?;
    writeln!(text, "{}", report::ratios(results)?)?;
    writeln!(text, "{}", report::standing(results)?)?;
    writeln!(
        text,
        "Clients, servers and proxy share the CPUs, so that no proxy at all is the ceiling of \
         requests per\nsecond. haproxy only moves bytes, one thread, each client on a connection \
         of its own.\n"
    )?;
    writeln!(text, "{}", report::ceilings(results)?)?;
    show(&mut text, "requests, CPU and p99 by the number of clients", CLIENTS)?;
    show(&mut text, "requests, CPU and p99 by the depth of pipelines", DEPTH)?;
    writeln!(text, "<details><summary>medians of all</summary>\n")?;
    writeln!(text, "{}\n</details>", report::medians(results)?)?;
    for missing in &results.missing {
        writeln!(text, "\nLeft out: {missing}.")?;
    }
    Ok(text)
}

/// On what, with what and when it was measured.
fn setting(results: &Results) -> String {
    let version = |name: &str| number_in(results.versions.get(name).map_or("", String::as_str));
    let machine = |name: &str| results.machine.get(name).map_or("?", String::as_str);
    format!(
        "One run on {} CPUs ({}), Linux {}, of {}: redis-server {}, memcached {}, nutcracker {}, \
         haproxy {},\nringcracker at {}; one worker, nothing pinned, clients and servers on the \
         same CPUs.",
        machine("CPUs"),
        machine("CPU"),
        machine("Linux"),
        machine("date"),
        version("redis-server"),
        version("memcached"),
        version("nutcracker"),
        version("haproxy"),
        results.versions.get("commit").map_or("?", String::as_str),
    )
}

const BEGIN: &str = "<!-- speed: made of ";
const END: &str = "<!-- end of speed -->";

const OVERVIEW: &str = "docs/speed/overview.svg";
const CLIENTS: &str = "docs/speed/clients.svg";
const DEPTH: &str = "docs/speed/depth.svg";
