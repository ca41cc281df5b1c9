//! Scripts: where one without keys runs, and what is remembered for servers that lose theirs.
//!
//! A server that was restarted has no scripts, and a client that has loaded one goes on with
//! EVALSHA. So the proxy remembers the scripts that it saw, and `restoring` gives them to a server
//! before the first request on a new connection. Nothing is sent twice: what a server says it does
//! not have, `-NOSCRIPT`, goes to the client.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use sha1::{Digest, Sha1};

use crate::limits::{SCRIPTS_BYTES_MAX, SCRIPTS_MAX};
use crate::proto::Request;
use crate::proto::commands::Command;
use crate::proxy::client::Account;
use crate::proxy::dispatch;
use crate::proxy::pools::Pools;
use crate::proxy::source::Source;
use crate::token::Key;

/// The scripts of a pool, for all workers together: those that SCRIPT LOAD brought, and those that
/// only came with an EVAL. Either kind is bounded, so that a client which makes up a script for
/// every EVAL pushes out no loaded one. The oldest goes first.
#[derive(Debug, Default)]
pub struct Scripts(RwLock<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    loaded: Shelf,
    evaluated: Shelf,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The oldest first.
    scripts: VecDeque<Script>,
    /// What they are called.
    names: HashSet<Sha>,
    bytes: usize,
}

/// One script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) sha: Sha,
    pub(crate) body: Arc<[u8]>,
}

/// What a request does to the scripts of its pool.
#[derive(Debug)]
pub(crate) struct Change {
    /// Where in the request the script is that it brings.
    pub(crate) body: Range<usize>,
    /// None: it brings none, and all are forgotten.
    origin: Option<Origin>,
}

impl Change {
    /// The same with so many bytes in front of the request.
    pub(crate) fn behind(self, bytes: usize) -> Self {
        Self { body: self.body.start + bytes..self.body.end + bytes, ..self }
    }
}

/// What brought a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Load,
    Eval,
}

/// What a script is called by: the SHA-1 of its body in lower-case hexadecimal digits.
pub(crate) type Sha = [u8; 40];

impl Scripts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.read(|shelves| {
            shelves.loaded.scripts.is_empty() && shelves.evaluated.scripts.is_empty()
        })
    }

    /// All of them, each once.
    pub(crate) fn all(&self) -> Vec<Script> {
        self.read(|Shelves { loaded, evaluated }| {
            let others = evaluated.scripts.iter().filter(|script| !loaded.has(&script.sha));
            loaded.scripts.iter().chain(others).cloned().collect()
        })
    }

    /// Keeps a script.
    fn keep(&self, script: Script, origin: Origin) {
        self.write(|shelves| match origin {
            Origin::Load => shelves.loaded.put(script),
            Origin::Eval => shelves.evaluated.put(script),
        });
    }

    /// The script with this body, if it is not kept yet.
    fn unknown(&self, body: &[u8], origin: Origin) -> Option<Script> {
        // Before it is hashed: half a gigabyte would take a second.
        if body.len() > SCRIPTS_BYTES_MAX {
            return None;
        }
        let sha = sha_of(body);
        let is_known = self.read(|Shelves { loaded, evaluated }| {
            loaded.has(&sha) || (origin == Origin::Eval && evaluated.has(&sha))
        });
        (!is_known).then(|| Script { sha, body: body.into() })
    }

    /// A server says that this is no script.
    pub(crate) fn forget(&self, sha: &Sha) {
        self.write(|shelves| {
            shelves.loaded.take(sha);
            shelves.evaluated.take(sha);
        });
    }

    /// The servers are about to forget theirs.
    pub(crate) fn clear(&self) {
        self.write(|shelves| *shelves = Shelves::default());
    }

    fn read<T>(&self, look: impl FnOnce(&Shelves) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Shelves)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shelf {
    fn has(&self, sha: &Sha) -> bool {
        self.names.contains(sha)
    }

    fn put(&mut self, script: Script) {
        // Another worker may have been first.
        if !self.names.insert(script.sha) {
            return;
        }
        self.bytes += script.body.len();
        self.scripts.push_back(script);
        while self.scripts.len() > SCRIPTS_MAX || self.bytes > SCRIPTS_BYTES_MAX {
            let Some(oldest) = self.scripts.pop_front() else { break };
            self.bytes -= oldest.body.len();
            self.names.remove(&oldest.sha);
        }
    }

    fn take(&mut self, sha: &Sha) {
        if !self.names.remove(sha) {
            return;
        }
        self.scripts.retain(|script| script.sha != *sha);
        self.bytes = self.scripts.iter().map(|script| script.body.len()).sum();
    }
}

/// Handles EVAL, EVALSHA, FCALL and their like: one with keys goes where they are.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    command: &'static Command,
    request: &Request,
    source: Source<'_>,
) {
    let mut scratch = Vec::new();
    let script = source.slice(request.argument_range(1), &mut scratch);
    let brought = match command.name {
        "eval" | "eval_ro" => scripts_of(pools, account).unknown(script, Origin::Eval),
        _ => None,
    };
    if request.keys.count > 0 {
        dispatch::place(pools, account, client, command, request, source);
    } else {
        let name = match command.name {
            "eval" | "eval_ro" => sha_of(script).to_vec(),
            "evalsha" | "evalsha_ro" => script.to_ascii_lowercase(),
            _ => script.to_vec(),
        };
        let number = pools.route_by_name(account.pool, &name);
        dispatch::forward_or_fail(pools, account, client, number, request, source);
    }
    // Only now: a connection that was opened for it need not be given it beforehand.
    if let Some(script) = brought {
        scripts_of(pools, account).keep(script, Origin::Eval);
    }
}

/// Remembers what SCRIPT LOAD brings, and forgets all at SCRIPT FLUSH, as it is about to be queued
/// on every server.
pub(crate) fn note(
    pools: &Pools,
    account: &Account,
    command: &Command,
    request: &Request,
    source: &Source<'_>,
) {
    let Some(change) = change(command, request) else { return };
    let mut scratch = Vec::new();
    let body = source.slice(change.body.clone(), &mut scratch);
    learn(pools, account, &change, body);
}

/// What a request changes of the scripts that are remembered: EVAL and SCRIPT LOAD bring one, and
/// SCRIPT FLUSH forgets all.
pub(crate) fn change(command: &Command, request: &Request) -> Option<Change> {
    let (argument, origin) = match command.name {
        "eval" | "eval_ro" => (1, Some(Origin::Eval)),
        "script|load" => (2, Some(Origin::Load)),
        "script|flush" => (1, None),
        _ => return None,
    };
    Some(Change { body: request.argument_range(argument), origin })
}

/// Makes a change, whose request is about to be sent. What is no script after all is found out by
/// the first server that it is restored to.
pub(crate) fn learn(pools: &Pools, account: &Account, change: &Change, body: &[u8]) {
    let scripts = scripts_of(pools, account);
    let Some(origin) = change.origin else { return scripts.clear() };
    if let Some(script) = scripts.unknown(body, origin) {
        scripts.keep(script, origin);
    }
}

fn scripts_of<'p>(pools: &'p Pools, account: &Account) -> &'p Scripts {
    &pools.pools[account.pool as usize].setup.scripts
}

/// What Redis calls a script by. Source: redis 7.0 `eval.c`, `sha1hex`.
fn sha_of(body: &[u8]) -> Sha {
    let mut hex = [0; 40];
    for (digits, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(body)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// These, as if they had been loaded.
    pub(crate) fn loaded(bodies: &[&str]) -> Scripts {
        let scripts = Scripts::default();
        bodies.iter().for_each(|body| bring(&scripts, body.as_bytes(), Origin::Load));
        scripts
    }

    fn bring(scripts: &Scripts, body: &[u8], origin: Origin) {
        if let Some(script) = scripts.unknown(body, origin) {
            scripts.keep(script, origin);
        }
    }

    fn bodies(scripts: &Scripts) -> Vec<String> {
        let text = |script: Script| String::from_utf8(script.body.to_vec()).expect("text");
        scripts.all().into_iter().map(text).collect()
    }

    #[test]
    fn a_script_is_called_as_redis_calls_it() {
        assert_eq!(&sha_of(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(&sha_of(b""), b"da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn each_script_is_kept_once_until_a_flush() {
        let scripts = Scripts::default();
        assert!(scripts.is_empty());
        for _ in 0..2 {
            bring(&scripts, b"a", Origin::Eval);
            bring(&scripts, b"b", Origin::Load);
            bring(&scripts, b"a", Origin::Load);
        }
        assert_eq!(bodies(&scripts), ["b", "a"]);
        scripts.forget(&sha_of(b"a"));
        assert_eq!(bodies(&scripts), ["b"]);
        scripts.clear();
        assert!(scripts.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_of_its_kind() {
        let scripts = Scripts::default();
        bring(&scripts, b"loaded", Origin::Load);
        for number in 0..SCRIPTS_MAX + 3 {
            bring(&scripts, number.to_string().as_bytes(), Origin::Eval);
        }
        let kept = bodies(&scripts);
        assert_eq!(kept.len(), SCRIPTS_MAX + 1);
        assert_eq!(kept[..2], ["loaded", "3"]);
    }

    #[test]
    fn the_oldest_goes_when_they_are_too_long_together() {
        let scripts = Scripts::default();
        let body = |letter: u8, len| vec![letter; len];
        bring(&scripts, &body(b'a', SCRIPTS_BYTES_MAX / 2), Origin::Load);
        bring(&scripts, &body(b'b', SCRIPTS_BYTES_MAX / 2), Origin::Load);
        assert_eq!(scripts.all().len(), 2);
        bring(&scripts, &body(b'c', SCRIPTS_BYTES_MAX + 1), Origin::Load);
        assert_eq!(scripts.all().len(), 2);
        bring(&scripts, b"d", Origin::Load);
        let kept = scripts.all();
        assert_eq!((kept[0].body[0], kept[1].body[0], kept.len()), (b'b', b'd', 2));
    }
}
