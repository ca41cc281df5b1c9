//! Scripts: where one without keys runs, and what is remembered for servers that lose theirs.
//!
//! A server that was restarted has no scripts, and a client that has loaded one goes on with
//! EVALSHA. So the proxy remembers the scripts that it saw, and `restoring` gives them to a server
//! before the first request on a new connection. Nothing is sent twice: what a server says it does
//! not have, `-NOSCRIPT`, goes to the client.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// What they are called, the oldest first.
    names: VecDeque<Sha>,
    scripts: HashMap<Sha, Kept>,
    bytes: usize,
}

/// A script on a shelf.
#[derive(Clone, Debug)]
struct Kept {
    script: Script,
    /// Whether it is still there, for the workers that know it.
    is_there: Arc<AtomicBool>,
}

/// What one worker knows to be kept, so that an EVAL whose script came before takes no lock and
/// needs no SHA-1. It is hashed with a secret key and compared whole: no client can make others'
/// scripts collide. As bounded as a shelf, with whose scripts it shares the memory.
#[derive(Default)]
pub(crate) struct Known {
    scripts: HashMap<Arc<[u8]>, (Sha, Arc<AtomicBool>)>,
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
        self.read(|shelves| shelves.loaded.names.is_empty() && shelves.evaluated.names.is_empty())
    }

    /// All of them, each once.
    pub(crate) fn all(&self) -> Vec<Script> {
        self.read(|Shelves { loaded, evaluated }| {
            let others = evaluated.all().filter(|script| !loaded.scripts.contains_key(&script.sha));
            loaded.all().chain(others).cloned().collect()
        })
    }

    /// Keeps a script.
    fn keep(&self, script: Script, origin: Origin) -> Kept {
        self.write(|shelves| match origin {
            Origin::Load => shelves.loaded.put(script),
            Origin::Eval => shelves.evaluated.put(script),
        })
    }

    /// The script of this name, if it need not be kept any more when it comes this way.
    fn find(&self, sha: &Sha, origin: Origin) -> Option<Kept> {
        self.read(|Shelves { loaded, evaluated }| match origin {
            Origin::Load => loaded.scripts.get(sha).cloned(),
            Origin::Eval => loaded.scripts.get(sha).or_else(|| evaluated.scripts.get(sha)).cloned(),
        })
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
        self.write(|shelves| {
            shelves.loaded.clear();
            shelves.evaluated.clear();
        });
    }

    fn read<T>(&self, look: impl FnOnce(&Shelves) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Shelves) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// The oldest first.
    fn all(&self) -> impl Iterator<Item = &Script> {
        self.names.iter().filter_map(|sha| self.scripts.get(sha)).map(|kept| &kept.script)
    }

    fn put(&mut self, script: Script) -> Kept {
        // Another worker may have been first.
        if let Some(kept) = self.scripts.get(&script.sha) {
            return kept.clone();
        }
        self.bytes += script.body.len();
        self.names.push_back(script.sha);
        let kept = Kept { is_there: Arc::new(AtomicBool::new(true)), script };
        self.scripts.insert(kept.script.sha, kept.clone());
        while self.names.len() > SCRIPTS_MAX || self.bytes > SCRIPTS_BYTES_MAX {
            let Some(oldest) = self.names.pop_front() else { break };
            self.remove(&oldest);
        }
        kept
    }

    fn take(&mut self, sha: &Sha) {
        if self.scripts.contains_key(sha) {
            self.names.retain(|name| name != sha);
            self.remove(sha);
        }
    }

    fn clear(&mut self) {
        while let Some(oldest) = self.names.pop_front() {
            self.remove(&oldest);
        }
    }

    /// Removes a script whose name is taken off already, and tells the workers.
    fn remove(&mut self, sha: &Sha) {
        let Some(Kept { script, is_there }) = self.scripts.remove(sha) else { return };
        self.bytes -= script.body.len();
        is_there.store(false, Ordering::Release);
    }
}

impl Known {
    /// What the script with this body is called, if it is kept.
    fn find(&self, body: &[u8]) -> Option<Sha> {
        let (sha, is_there) = self.scripts.get(body)?;
        is_there.load(Ordering::Acquire).then_some(*sha)
    }

    fn add(&mut self, Kept { script, is_there }: Kept) {
        let len = script.body.len();
        if self.scripts.len() >= SCRIPTS_MAX || self.bytes + len > SCRIPTS_BYTES_MAX {
            self.scripts.retain(|_, (_, is_there)| is_there.load(Ordering::Acquire));
            // With both shelves full a worker can know half of them, and begins anew.
            self.bytes = self.scripts.keys().map(|body| body.len()).sum();
            if self.scripts.len() >= SCRIPTS_MAX || self.bytes + len > SCRIPTS_BYTES_MAX {
                *self = Self::default();
            }
        }
        if self.scripts.insert(script.body, (script.sha, is_there)).is_none() {
            self.bytes += len;
        }
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
    let at = request.argument_range(1);
    let is_alone = request.keys.count == 0;
    let (sha, brought) = match command.name {
        "eval" | "eval_ro" => look_up(pools, account, &source, at.clone(), is_alone),
        _ => (None, None),
    };
    if is_alone {
        let mut scratch = Vec::new();
        let name = match (sha, command.name) {
            (Some(sha), _) => sha.to_vec(),
            (None, "evalsha" | "evalsha_ro") => source.slice(at, &mut scratch).to_ascii_lowercase(),
            (None, _) => source.slice(at, &mut scratch).to_vec(),
        };
        let number = pools.route_by_name(account.pool, &name);
        dispatch::forward_or_fail(pools, account, client, number, request, source);
    } else {
        dispatch::place(pools, account, client, command, request, source);
    }
    // Only now: a connection that was opened for it need not be given it beforehand.
    if let Some(script) = brought {
        let pool = &mut pools.pools[account.pool as usize];
        pool.known.add(pool.setup.scripts.keep(script, Origin::Eval));
    }
}

/// What the script at `at` is called, if that is known or asked for, and the script if it is to be
/// kept and is not yet.
fn look_up(
    pools: &mut Pools,
    account: &Account,
    source: &Source<'_>,
    at: Range<usize>,
    wants_name: bool,
) -> (Option<Sha>, Option<Script>) {
    if at.len() > SCRIPTS_BYTES_MAX {
        // Not copied, and hashed only if need be: half a gigabyte would take a second.
        return (wants_name.then(|| sha_over(|eat| source.for_each_piece(at, eat))), None);
    }
    let mut scratch = Vec::new();
    let body = source.slice(at, &mut scratch);
    let pool = &mut pools.pools[account.pool as usize];
    if let Some(sha) = pool.known.find(body) {
        return (Some(sha), None);
    }
    let sha = sha_of(body);
    let brought = match pool.setup.scripts.find(&sha, Origin::Eval) {
        Some(kept) => {
            pool.known.add(kept);
            None
        }
        None => Some(Script { sha, body: body.into() }),
    };
    (Some(sha), brought)
}

/// Remembers what SCRIPT LOAD brings, and forgets all at SCRIPT FLUSH, as it is about to be queued
/// on every server.
pub(crate) fn note(
    pools: &mut Pools,
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
pub(crate) fn learn(pools: &mut Pools, account: &Account, change: &Change, body: &[u8]) {
    let pool = &mut pools.pools[account.pool as usize];
    let Some(origin) = change.origin else { return pool.setup.scripts.clear() };
    if body.len() > SCRIPTS_BYTES_MAX || (origin == Origin::Eval && pool.known.find(body).is_some())
    {
        return;
    }
    let sha = sha_of(body);
    let kept = pool.setup.scripts.find(&sha, origin);
    let keep = || pool.setup.scripts.keep(Script { sha, body: body.into() }, origin);
    pool.known.add(kept.unwrap_or_else(keep));
}

/// What Redis calls a script by. Source: redis 7.0 `eval.c`, `sha1hex`.
fn sha_of(body: &[u8]) -> Sha {
    sha_over(|eat| eat(body))
}

/// The same of a script in pieces, which `each` hands over in order.
fn sha_over(each: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Sha {
    let mut sha1 = Sha1::new();
    each(&mut |piece| sha1.update(piece));
    let mut hex = [0; 40];
    for (digits, byte) in hex.chunks_exact_mut(2).zip(sha1.finalize()) {
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
        let sha = sha_of(body);
        if body.len() <= SCRIPTS_BYTES_MAX && scripts.find(&sha, origin).is_none() {
            scripts.keep(Script { sha, body: body.into() }, origin);
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

    #[test]
    fn a_worker_knows_a_script_until_it_is_lost() {
        let scripts = Scripts::default();
        let keep = |body: &[u8]| {
            scripts.keep(Script { sha: sha_of(body), body: body.into() }, Origin::Eval)
        };
        let mut known = Known::default();
        assert_eq!(known.find(b"a"), None);
        for body in [b"a", b"b", b"c"] {
            known.add(keep(body));
        }
        assert_eq!(known.find(b"a"), Some(sha_of(b"a")));
        scripts.forget(&sha_of(b"a"));
        assert_eq!((known.find(b"a"), known.find(b"b")), (None, Some(sha_of(b"b"))));
        // The oldest of a full shelf.
        (0..SCRIPTS_MAX - 1).for_each(|number| _ = keep(number.to_string().as_bytes()));
        assert_eq!((known.find(b"b"), known.find(b"c")), (None, Some(sha_of(b"c"))));
        scripts.clear();
        assert_eq!(known.find(b"c"), None);
        known.add(keep(b"a"));
        assert_eq!(known.find(b"a"), Some(sha_of(b"a")));
    }

    #[test]
    fn what_a_worker_knows_has_a_limit() {
        let scripts = Scripts::default();
        let mut known = Known::default();
        for number in 0..3 * SCRIPTS_MAX {
            let body = number.to_string().into_bytes();
            let script = Script { sha: sha_of(&body), body: body.as_slice().into() };
            known.add(scripts.keep(script, Origin::Eval));
            assert!(known.scripts.len() <= SCRIPTS_MAX);
            assert_eq!(known.find(&body), Some(sha_of(&body)));
        }
        for letter in b'a'..b'f' {
            let body = vec![letter; SCRIPTS_BYTES_MAX / 2];
            let script = Script { sha: sha_of(&body), body: body.as_slice().into() };
            known.add(scripts.keep(script, Origin::Eval));
            assert!(known.bytes <= SCRIPTS_BYTES_MAX);
            assert_eq!(known.bytes, known.scripts.keys().map(|body| body.len()).sum::<usize>());
        }
    }
}
