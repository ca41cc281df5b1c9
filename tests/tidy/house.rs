//! The floors: a file uses only what stands below it, and a few neighbours.

use crate::Fault;
use crate::lexer::Source;

/// Which rooms stand on which floor, as the picture in `docs/design.md` has them.
const FLOORS: [&[&str]; 6] = [
    &["io", "sys", "token", "limits", "time", "logging"],
    &["proto", "hash", "distribution"],
    &["ring", "checked", "config", "stats", "sim"],
    &["proxy"],
    &["worker", "admin", "control"],
    &["main", "start", "cli"],
];

/// Who may use a room of the same floor. A test below proves that there is no circle.
const NEIGHBOURS: [(&str, &str); 12] = [
    ("io", "token"),
    ("io", "time"),
    ("io", "limits"),
    ("sys", "io"),
    ("sys", "time"),
    ("sys", "limits"),
    ("distribution", "hash"),
    ("admin", "worker"),
    ("control", "worker"),
    ("main", "start"),
    ("main", "cli"),
    ("start", "cli"),
];

/// What the proxy may not name: it is given events and a time, and knows no kernel and no clock.
const IMPURE: [&str; 7] = [
    "crate::ring",
    "crate::sim",
    "crate::sys",
    "std::net",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The room that a file under `src/` belongs to: its folder, or its name.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    Some(inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(room, _)| room))
}

/// True when `path` is `prefix` or something inside it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

pub fn arrows_never_climb(source: &Source, faults: &mut Vec<Fault>) {
    let Some(room) = room_of(&source.path) else { return };
    if room == "lib" {
        return;
    }
    let Some(floor) = floor_of(room) else {
        faults.push(Fault { line: 1, what: format!("room `{room}` stands on no floor") });
        return;
    };
    for (at, path) in inner_paths(source) {
        let Some(target) = path.split("::").nth(1) else { continue };
        if target == room {
            continue;
        }
        let what = match floor_of(target) {
            None => format!("`{path}` names a room that stands on no floor"),
            Some(other) if other > floor => {
                format!("`{path}` climbs from floor {floor} to floor {other}")
            }
            Some(other) if other == floor && !NEIGHBOURS.contains(&(room, target)) => {
                format!("`{path}` goes to a neighbour that `{room}` may not use")
            }
            Some(_) => continue,
        };
        faults.push(Fault { line: source.line_of(at), what });
    }
}

pub fn the_proxy_is_pure(source: &Source, faults: &mut Vec<Fault>) {
    if room_of(&source.path) != Some("proxy") {
        return;
    }
    for (at, path) in inner_paths(source).into_iter().chain(source.paths("std")) {
        if IMPURE.iter().any(|banned| is_within(&path, banned)) {
            let what = format!("`{path}`: the proxy is given events and a time");
            faults.push(Fault { line: source.line_of(at), what });
        }
    }
    for word in ["SystemTime", "TcpStream", "TcpListener", "UnixStream"] {
        for at in source.words(word) {
            let what = format!("`{word}`: the proxy is given events and a time");
            faults.push(Fault { line: source.line_of(at), what });
        }
    }
    for at in source.words("Instant") {
        if source.code[at..].starts_with("Instant::now") {
            let what = "`Instant::now`: the proxy is given the time".to_owned();
            faults.push(Fault { line: source.line_of(at), what });
        }
    }
}

/// Two steps up would hide from the rules around it where a path leads.
pub fn paths_are_written_from_the_root(source: &Source, faults: &mut Vec<Fault>) {
    if !source.path.starts_with("src/") {
        return;
    }
    for (at, path) in source.paths("super") {
        if path.split("::").filter(|part| *part == "super").count() > 1 {
            let what = format!("`{path}`: write it from `crate::`, where its room can be seen");
            faults.push(Fault { line: source.line_of(at), what });
        }
    }
}

/// Every path of the file that leads into the crate, written from `crate::`. In the tests at the
/// file's foot `super` is the file itself, and leads nowhere else.
fn inner_paths(source: &Source) -> Vec<(usize, String)> {
    let mut paths = source.paths("crate");
    let bin = source.paths("ringcracker").into_iter();
    paths.extend(bin.map(|(at, path)| (at, path.replacen("ringcracker", "crate", 1))));
    let parent = parent_of(&source.path);
    for (at, path) in source.paths("super") {
        if at < tests_begin(source) {
            paths.push((at, path.replacen("super", &parent, 1)));
        }
    }
    paths
}

/// The module that `super` is in a file: `crate::proto` in `src/proto/resp.rs`.
fn parent_of(path: &str) -> String {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let parent = module.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("crate/{parent}").trim_end_matches('/').replace('/', "::")
}

fn tests_begin(source: &Source) -> usize {
    source.code.find("#[cfg(test)]").unwrap_or(source.code.len())
}

/// The two lowest floors are layered inside their rooms too: `proto::resp` may use
/// `proto::commands` or the other way round, but not both. Returns the arrows of a circle.
pub fn circles_within_low_rooms(sources: &[Source]) -> Vec<(String, String)> {
    let mut arrows = Vec::new();
    for source in sources {
        let Some(from) = part_of(&source.path) else { continue };
        // The tests at a file's foot may use whatever helps them.
        let end = tests_begin(source);
        let room = room_of(&source.path).expect("a part belongs to a room");
        for (at, path) in inner_paths(source) {
            let mut names = path.split("::").skip(1);
            if at < end && names.next() == Some(room) {
                arrows.extend(names.next().map(|to| (from.clone(), format!("{room}::{to}"))));
            }
        }
    }
    arrows.retain(|(from, to)| from != to);
    arrows.sort();
    arrows.dedup();
    let borrowed: Vec<_> = arrows.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    circle_of(&borrowed).into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// `proto::resp` for `src/proto/resp.rs` and all that is under `src/proto/resp/`, on the two
/// lowest floors; the room's own `mod.rs` gathers its parts and is none.
fn part_of(path: &str) -> Option<String> {
    let room = room_of(path).filter(|room| floor_of(room).is_some_and(|floor| floor < 2))?;
    let inside = path.strip_prefix("src/")?.strip_prefix(room)?.strip_prefix('/')?;
    let part = inside.split('/').next()?.trim_end_matches(".rs");
    (part != "mod").then(|| format!("{room}::{part}"))
}

/// Takes away, again and again, the arrows that nothing leads to or that lead nowhere: what stays
/// are circles, and ways between circles.
fn circle_of<'a>(arrows: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut left = arrows.to_vec();
    loop {
        let all = left.clone();
        left.retain(|(_, to)| all.iter().any(|(from, _)| from == to));
        left.retain(|(from, _)| all.iter().any(|(_, to)| from == to));
        if left.len() == all.len() {
            return left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judged;

    #[test]
    fn a_climbing_arrow_is_a_fault() {
        let text = "use crate::{limits, worker::Worker};\nfn f() { crate::ring::open() }\n";
        let faults = judged(arrows_never_climb, "src/proto/resp.rs", text);
        let climbs = [
            "1: `crate::worker::Worker` climbs from floor 1 to floor 4",
            "2: `crate::ring::open` climbs from floor 1 to floor 2",
        ];
        assert_eq!(faults, climbs);
        assert!(judged(arrows_never_climb, "src/worker/turn.rs", text)[..].is_empty());
    }

    #[test]
    fn an_arrow_of_the_program_is_seen_too() {
        let text = "use ringcracker::worker;\nmod cli;\nuse ringcracker::attic;\n";
        let faults = judged(arrows_never_climb, "src/main.rs", text);
        assert_eq!(faults, ["3: `crate::attic` names a room that stands on no floor"]);
    }

    #[test]
    fn a_neighbour_is_used_in_one_direction() {
        let back = judged(arrows_never_climb, "src/hash/mod.rs", "use crate::distribution::Ring;");
        assert_eq!(back.len(), 1, "{back:?}");
        let forth = judged(arrows_never_climb, "src/distribution/mod.rs", "use crate::hash::Hash;");
        assert!(forth.is_empty(), "{forth:?}");
    }

    #[test]
    fn a_room_without_a_floor_is_a_fault() {
        assert_eq!(judged(arrows_never_climb, "src/attic/mod.rs", "").len(), 1);
        assert_eq!(judged(arrows_never_climb, "src/proto/mod.rs", "use crate::attic;").len(), 1);
    }

    #[test]
    fn words_in_comments_are_no_arrows() {
        let text = "//! See [`crate::worker`].\nconst A: &str = \"crate::worker\";\n";
        assert!(judged(arrows_never_climb, "src/token.rs", text).is_empty());
    }

    #[test]
    fn an_impure_proxy_is_a_fault() {
        let samples = [
            "use crate::ring::Uring;",
            "use crate::{sim::SimRing, time};",
            "fn f() { crate::sys::clock(); }",
            "use std::{net::IpAddr, mem};",
            "fn f() { let t = Instant::now(); }",
            "use std::time::{Duration, SystemTime};",
            "fn f() { std::thread::sleep(d); }",
        ];
        for sample in samples {
            assert!(!judged(the_proxy_is_pure, "src/proxy/client.rs", sample).is_empty());
            assert!(judged(the_proxy_is_pure, "src/worker/turn.rs", sample).is_empty());
        }
        let good = "use crate::time::Instant;\nfn f(now: Instant) {}\nuse std::time::Duration;";
        assert!(judged(the_proxy_is_pure, "src/proxy/client.rs", good).is_empty());
    }

    #[test]
    fn a_hidden_path_is_a_fault() {
        let rule = paths_are_written_from_the_root;
        assert_eq!(judged(rule, "src/proto/resp.rs", "use super::super::worker;").len(), 1);
        assert!(judged(rule, "src/proto/resp.rs", "use super::table;").is_empty());
    }

    #[test]
    fn super_is_followed() {
        let rule = arrows_never_climb;
        assert_eq!(judged(rule, "src/proto/mod.rs", "use super::worker::Worker;").len(), 1);
        assert_eq!(judged(rule, "src/token.rs", "pub use super::worker;").len(), 1);
        assert!(judged(rule, "src/proto/resp.rs", "use super::worker;").is_empty());
        assert!(judged(rule, "src/proto/resp/mod.rs", "use super::worker;").is_empty());
        let tests = "pub(super) fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert!(judged(rule, "src/token.rs", tests).is_empty());
    }

    #[test]
    fn the_neighbours_stand_on_one_floor_and_form_no_circle() {
        for (from, to) in NEIGHBOURS {
            assert_eq!(floor_of(from), floor_of(to), "{from} -> {to}");
        }
        assert!(circle_of(&NEIGHBOURS).is_empty());
        let circle = [("a", "b"), ("b", "a")];
        assert_eq!(circle_of(&[("a", "b"), ("b", "a"), ("c", "a")]), circle);
        assert!(circle_of(&[("a", "b"), ("a", "c"), ("b", "c")]).is_empty());
    }

    #[test]
    fn a_circle_within_a_room_is_a_fault() {
        let resp = || {
            let text = "use crate::proto::{Row, table::Name};";
            Source::new("src/proto/resp/reply.rs", text)
        };
        let back = Source::new("src/proto/table.rs", "use super::resp::Head;");
        let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let both = [arrow("proto::resp", "proto::table"), arrow("proto::table", "proto::resp")];
        assert_eq!(circles_within_low_rooms(&[resp(), back]), both);

        let test = "#[cfg(test)]\nmod tests {\n    use crate::proto::resp::Head;\n}";
        let fine = Source::new("src/proto/table.rs", test);
        assert!(circles_within_low_rooms(&[resp(), fine]).is_empty());
    }
}
