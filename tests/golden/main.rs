//! Every command through the proxy, and the same at a server without one: the replies are equal.
//!
//! Two servers of a kind have the same keys. Each request, right or wrong, goes to one of them as
//! it is and to the other through the proxy, and the replies are compared byte by byte, but for
//! the rows whose column `compare` says otherwise. Behind four servers, what cannot be composed is
//! refused with the documented words, and the rest is equal.
//!
//! `GOLDEN=all` sends every mutation, else some of each; `SEED=7` chooses others.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod rig;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use ringcracker::proto::commands::{self, Command, Compare, Serve};

use rig::{Rig, Setting};
use support::redis::{REDIS_7, REDIS_8, VALKEY_8};
use support::show;
use words::{Random, Words, mutants, shown};

/// Requests that are right.
const REQUESTS: &str = include_str!("requests.txt");

/// Mutations of each that are sent, unless all are.
const MUTANTS_MAX: usize = 12;

/// Requests with two mistakes that are sent for each.
const PAIRS: usize = 4;

/// Where a kind of server has words of its own, and the proxy those of Redis 8: the row, what the
/// server replies, and what the proxy does. Redis 7.0 lets no command without arguments be asked
/// for; Valkey reads a client's number as any other, and takes several.
const OWN_WORDS: [(&str, &str, &str, &str); 8] = [
    (REDIS_7, "command|getkeys", NO_ARGUMENTS, "-ERR Invalid command specified\r\n"),
    (REDIS_7, "command|getkeys", NO_ARGUMENTS, "-ERR The command has no key arguments\r\n"),
    (
        REDIS_7,
        "command|getkeys",
        NO_ARGUMENTS,
        "-ERR Invalid number of arguments specified for command\r\n",
    ),
    (VALKEY_8, "client|kill", SYNTAX, NOT_POSITIVE),
    (VALKEY_8, "client|kill", NOT_POSITIVE, SYNTAX),
    (VALKEY_8, "client|list", SYNTAX, NO_CLIENT),
    (VALKEY_8, "client|list", NOT_POSITIVE, NO_CLIENT),
    (VALKEY_8, "client|list", NOT_POSITIVE, "$0\r\n\r\n"),
];

const NO_ARGUMENTS: &str = "-ERR wrong number of arguments for 'command|getkeys' command\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";
const NOT_POSITIVE: &str = "-ERR client-id should be greater than 0\r\n";
const NO_CLIENT: &str = "-ERR Invalid client ID\r\n";

#[test]
fn replies_through_the_proxy_are_those_of_redis_7() {
    compare(&Setting { program: REDIS_7, servers: 1, tagged: false, version: 2 });
}

#[test]
fn replies_through_the_proxy_are_those_of_redis_8() {
    compare(&Setting { program: REDIS_8, servers: 1, tagged: false, version: 2 });
}

#[test]
fn replies_through_the_proxy_are_those_of_valkey_8() {
    compare(&Setting { program: VALKEY_8, servers: 1, tagged: false, version: 2 });
}

#[test]
fn replies_in_resp3_are_those_of_a_server() {
    compare(&Setting { program: REDIS_8, servers: 1, tagged: false, version: 3 });
}

#[test]
fn replies_over_four_servers_with_a_hash_tag_are_those_of_one() {
    compare(&Setting { program: REDIS_8, servers: 4, tagged: true, version: 2 });
}

#[test]
fn replies_over_four_servers_are_composed_or_refused() {
    compare(&Setting { program: REDIS_8, servers: 4, tagged: false, version: 2 });
}

#[test]
fn every_row_that_is_compared_has_a_request() {
    let requests = words::read(REQUESTS);
    let have: BTreeSet<_> =
        requests.iter().filter_map(|words| row_of(words)).map(|row| row.name).collect();
    for row in commands::all() {
        let is_compared = is_compared(row) && row.serve != Serve::Container;
        assert!(!is_compared || have.contains(row.name), "{} has no request", row.name);
    }
}

/// Whether a reply is compared at all. What is refused is told so in the proxy's words, so is a
/// word that leads to nothing else, and modules are not there.
fn is_compared(row: &Command) -> bool {
    let is_refused = |row: &Command| matches!(row.serve, Serve::Refused(_));
    let mut leads_to = commands::all()
        .iter()
        .filter(|other| other.name != row.name && other.first_word() == row.name);
    let leads_nowhere = row.serve == Serve::Container && leads_to.all(is_refused);
    let is_of_module = row.name.contains('.');
    !is_of_module && !is_refused(row) && !leads_nowhere && !matches!(row.compare, Compare::Skip(_))
}

/// The row of a request.
fn row_of(words: &[Vec<u8>]) -> Option<&'static Command> {
    let first = commands::lookup(&words[0])?;
    let second = words.get(1).and_then(|second| commands::lookup_second(first, second));
    Some(second.unwrap_or(first))
}

fn compare(setting: &Setting) {
    let mut rig = Rig::start(setting);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let is_all = std::env::var("GOLDEN").as_deref() == Ok("all");
    eprintln!("SEED={seed}");
    let mut random = Random(seed);
    let mut requests: BTreeMap<&str, Vec<Words>> = BTreeMap::new();
    for words in words::read(REQUESTS) {
        let row = row_of(&words).unwrap_or_else(|| panic!("{} has no row", shown(&words)));
        requests.entry(row.name).or_default().push(words);
    }
    let mut compared = 0;
    let mut differ: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in commands::all().iter().filter(|row| is_compared(row)) {
        if !rig.is_known(row.name) {
            continue;
        }
        for request in requests.remove(row.name).unwrap_or_else(|| bare(row)) {
            let is_patient = matches!(row.serve, Serve::Blocking(_));
            let mut all = mutants(&request, is_patient);
            if !is_all {
                all = random.some_of(all, MUTANTS_MAX);
            }
            // Two mistakes at once.
            for _ in 0..PAIRS {
                let once = &all[random.below(all.len())];
                let mut twice = mutants(once, is_patient);
                all.push(twice.swap_remove(random.below(twice.len())));
            }
            rig.reset();
            for words in std::iter::once(request).chain(all) {
                // Another word may have made another command of it.
                let Some(row) = row_of(&words) else { continue };
                if !is_compared(row) || !rig.is_known(row.name) {
                    continue;
                }
                let Some((plain, proxied)) = rig.ask(row, &words) else { continue };
                compared += 1;
                let is_own = has_own_words(setting.program, row, &plain, &proxied);
                if !is_own && !is_same(row, &plain, &proxied) {
                    let text = format!(
                        "{}\n    alone   {}\n    proxied {}",
                        shown(&words),
                        show(&plain),
                        show(&proxied)
                    );
                    differ.entry(row.name).or_default().push(text);
                    rig.reset();
                }
            }
        }
    }
    assert!(compared > 2000, "{compared} requests were compared");
    judge(&differ);
}

/// A container without a second word, and with one that is none.
fn bare(row: &Command) -> Vec<Words> {
    assert_eq!(row.serve, Serve::Container, "{}", row.name);
    let of = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    vec![of(&[row.name]), of(&[row.name, "nosuch"]), of(&[row.name, "nosuch", "a", "b"])]
}

fn judge(differ: &BTreeMap<&str, Vec<String>>) {
    let wrong: Vec<String> = differ
        .iter()
        .map(|(name, texts)| format!("{name}: {} differ, as\n  {}", texts.len(), texts[0]))
        .collect();
    assert!(wrong.is_empty(), "{} commands:\n{}", wrong.len(), wrong.join("\n"));
}

fn has_own_words(program: &str, row: &Command, plain: &[u8], proxied: &[u8]) -> bool {
    OWN_WORDS.iter().any(|&(of, name, alone, through)| {
        (of, name) == (program, row.name)
            && plain == alone.as_bytes()
            && proxied == through.as_bytes()
    })
}

fn is_same(row: &Command, plain: &[u8], proxied: &[u8]) -> bool {
    match row.compare {
        Compare::Exact => plain == proxied,
        Compare::Shape => {
            let is_error = plain.starts_with(b"-") || proxied.starts_with(b"-");
            if is_error { plain == proxied } else { shape(plain) == shape(proxied) }
        }
        Compare::Skip(_) => true,
    }
}

/// The type of a reply; of an aggregate with that of its first element, if it has one. A null is
/// one of either kind: versions of Redis differ.
fn shape(reply: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut rest = reply;
    while let Some((&kind, after)) = rest.split_first() {
        let is_null = kind == b'_' || after.starts_with(b"-1\r\n") && kind != b':';
        kinds.push(if is_null { b'_' } else { kind });
        let end = after.iter().position(|&byte| byte == b'\n').map_or(after.len(), |at| at + 1);
        if is_null || !b"*%~>".contains(&kind) || after.starts_with(b"0") {
            break;
        }
        rest = &after[end..];
    }
    kinds
}
