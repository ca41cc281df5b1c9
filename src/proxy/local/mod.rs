//! Commands that the proxy answers itself, in their turn among the forwarded ones.
//!
//! ```text
//!   request -> answer -> what it asks about    its own connection -> here, at once
//!                                              the process        -> census: a round
//! ```
//!
//! Words and shapes are those of redis 7.0, unless its doc says otherwise.

mod arguments;
mod client;
mod command;
mod config;
mod hello;
mod info;
mod lolwut;
mod memcache;

use crate::io::Chain;
use crate::limits::LOCAL_REQUEST_BYTES_MAX;
use crate::proto::commands::{Command, Local, Serve};
use crate::proto::{Request, RespVersion};
use crate::proxy::census::{Question, Round};
use crate::proxy::client::{Account, Farewell, Phase};
use crate::proxy::dispatch;
use crate::proxy::pool::Pool;
use crate::proxy::pools::Pools;
use crate::proxy::reject;
use crate::proxy::reply::Writer;
use crate::proxy::source::Source;
use crate::proxy::transaction;
use crate::token::Key;

use arguments::Arguments;

pub(crate) use info::{Sections, Subject};

/// Whether a command is for those too who have not said the pool's password.
pub(crate) fn is_for_strangers(command: Option<&Command>) -> bool {
    let serve = command.map(|command| command.serve);
    matches!(serve, Some(Serve::Local(Local::Auth | Local::Quit | Local::Hello | Local::Reset)))
}

/// A request that the proxy answers, and who asks.
pub(super) struct Asked<'a, 's> {
    pub(super) pools: &'a mut Pools,
    pub(super) account: &'a mut Account,
    pub(super) client: Key,
    pub(super) request: &'a Request,
    pub(super) source: Source<'s>,
}

/// Answers a request of a known command whose arity fits.
pub(crate) fn answer(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    what: Local,
    request: &Request,
    source: Source<'_>,
) {
    let asked = Asked { pools, account, client, request, source };
    match what {
        Local::Ping => ping(asked),
        Local::Echo => asked.repeat(1),
        Local::Auth => auth(asked),
        Local::Line(words) => asked.say(words),
        Local::Stats => memcache::stats(asked),
        Local::Leave => {
            asked.source.discard();
            asked.account.phase = Phase::Draining(Farewell::LastWords);
        }
        Local::Quit => {
            let Asked { pools, account, source, .. } = asked;
            say(pools, account, OK, source);
            account.phase = Phase::Draining(Farewell::LastWords);
        }
        Local::Time => time(asked),
        Local::Role => asked.write(|to| _ = to.array(3).bulk(b"master").integer(0).array(0)),
        Local::Lolwut => lolwut::answer(asked),
        Local::Reset => reset(asked),
        Local::Select => asked.with_words(select),
        Local::Hello => asked.with_words(hello::answer),
        Local::Client => asked.with_words(client::answer),
        Local::Command => asked.with_words(command::answer),
        Local::Config => asked.with_words(config::answer),
        Local::Info => asked.with_words(info::answer),
        Local::Acl => acl(asked),
        Local::Slowlog => asked.with_words(slowlog),
        Local::Latency => latency(asked),
    }
}

impl<'a, 's> Asked<'a, 's> {
    /// Has `answer` look at all arguments, of which there may be any number.
    fn with_words(self, answer: fn(Asked<'_, '_>, &Arguments)) {
        if self.source.len() > LOCAL_REQUEST_BYTES_MAX {
            return self.error("the arguments are too long for a command that the proxy answers");
        }
        let words = Arguments::of(self.request, &self.source);
        answer(self, &words);
    }

    /// Puts a question to all workers. Nothing more of the client is parsed until it is answered,
    /// so a client has one question under way at most.
    fn ask_around(self, question: Question) {
        let Asked { pools, account, client, source, .. } = self;
        let sequence = account.pipeline.push_waiting(source.len() as u32);
        source.discard();
        account.barrier = true;
        pools.rounds.push(Round::new(client, sequence, account, question));
    }

    /// Answers with `reply`, in the request's turn.
    pub(super) fn say(self, reply: &[u8]) {
        say(self.pools, self.account, reply, self.source);
    }

    /// Answers with what `write` writes, in the client's version of RESP.
    pub(super) fn write(self, write: impl FnOnce(&mut Writer<'_>)) {
        let version = self.account.version;
        self.write_as(version, write);
    }

    /// The same in a given version.
    pub(super) fn write_as(self, version: RespVersion, write: impl FnOnce(&mut Writer<'_>)) {
        let mut words = std::mem::take(&mut self.pools.words);
        words.clear();
        write(&mut Writer::new(version, &mut words));
        self.pools.words = words;
        dispatch::answer(self.pools, self.account, self.source);
    }

    /// Answers with `-ERR` and these words, of which a client may have said some.
    pub(super) fn error(self, words: &str) {
        let words: String =
            words.chars().map(|it| if matches!(it, '\r' | '\n') { ' ' } else { it }).collect();
        self.pools.words.clear();
        reject::error(&words, &mut self.pools.words);
        dispatch::answer(self.pools, self.account, self.source);
    }

    /// Answers that there is no such subcommand, in the words that clients look for.
    fn unknown_subcommand(self, words: &Arguments) {
        let name = String::from_utf8_lossy(&words[1][..words[1].len().min(128)]);
        let container = self.account.identity.command.to_ascii_uppercase();
        self.error(&format!("unknown subcommand '{name}'. Try {container} HELP."));
    }

    /// The command's name in the table, `client|id`. Its arity has been looked at.
    pub(super) fn name(&self) -> &'static str {
        self.account.identity.command
    }

    /// Answers with lines of help, the first of which is Redis's.
    fn help(self, container: &str, lines: &[&str]) {
        self.write(|to| {
            to.array(lines.len() + 3);
            to.status(&format!(
                "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
            ));
            for line in lines.iter().chain(&["HELP", "    Prints this help."]) {
                to.status(line);
            }
        });
    }

    /// Answers with an argument, as the bulk string that it came as.
    fn repeat(mut self, index: u32) {
        let mut reply = Chain::new();
        self.source.append_part(self.request.bulk_range(index), &mut reply);
        self.source.discard();
        self.account.pipeline.push_ready(reply, &mut self.account.output);
    }
}

/// PING [message].
fn ping(asked: Asked<'_, '_>) {
    match asked.request.arguments {
        1 => asked.say(b"+PONG\r\n"),
        2 => asked.repeat(1),
        _ => asked.error("wrong number of arguments for 'ping' command"),
    }
}

/// AUTH [user] password. A wrong one also takes back what an earlier one gave, as in twemproxy
/// (`nc_redis.c`, `redis_handle_auth_req`). The form with a user is that of redis 6 and later;
/// a pool knows `default` alone.
fn auth(asked: Asked<'_, '_>) {
    let Asked { pools, account, request, source, .. } = &asked;
    let (mut user, mut given) = (Vec::new(), Vec::new());
    let is_default =
        request.arguments == 2 || source.slice(request.argument_range(1), &mut user) == b"default";
    let mut is_known = account.authenticated;
    let words = match (&pools.pools[account.pool as usize].setup.password, request.arguments) {
        (_, 4..) => SYNTAX,
        (Some(password), last) => {
            let given = source.slice(request.argument_range(last - 1), &mut given);
            is_known = is_default && is_same(given, password.reveal().as_bytes());
            if is_known { OK } else { WRONG_PASSWORD }
        }
        (None, 2) => NO_PASSWORD,
        (None, _) if is_default => OK,
        (None, _) => WRONG_PASSWORD,
    };
    asked.account.authenticated = is_known;
    asked.say(words);
}

/// Whether these are the name and the password of somebody whom the pool knows.
fn knows(pools: &Pools, pool: u32, user: &[u8], given: &[u8]) -> bool {
    let password = &pools.pools[pool as usize].setup.password;
    let is_right = password.as_ref().is_none_or(|it| is_same(given, it.reveal().as_bytes()));
    is_right && user == b"default"
}

/// Compares as many bytes as were given, wherever the first difference is: the time tells nothing
/// of the secret but, at most, its length.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (one, other) in given.iter().zip(secret.iter().cycle()) {
        // Opaque to the optimizer, which might else stop at the first difference.
        difference = std::hint::black_box(difference | usize::from(one ^ other));
    }
    difference == 0
}

/// RESET: the connection is as new.
fn reset(asked: Asked<'_, '_>) {
    let Asked { pools, account, client, request, source } = asked;
    let changes_servers = account.private.is_some() || account.version != RespVersion::Two;
    let source = if changes_servers {
        let Some(source) = dispatch::behind_barrier(account, source) else { return };
        source
    } else {
        source
    };
    pools.unsubscribe_all(account);
    transaction::discard(pools, account);
    account.version = RespVersion::Two;
    account.authenticated = pools.pools[account.pool as usize].setup.password.is_none();
    account.identity.database = 0;
    account.identity.set_name(b"");
    Asked { pools, account, client, request, source }.say(b"+RESET\r\n");
}

/// SELECT database: 0, or the one that the pool's servers are in anyway.
fn select(asked: Asked<'_, '_>, words: &Arguments) {
    let own = asked.pools.pools[asked.account.pool as usize].setup.database;
    match words.integer(1).map(u32::try_from) {
        Some(Ok(database)) if database == 0 || database == own => {
            asked.account.identity.database = database;
            asked.say(OK);
        }
        Some(_) => asked.error("DB index is out of range"),
        None => asked.error("value is not an integer or out of range"),
    }
}

/// TIME: seconds and microseconds.
fn time(asked: Asked<'_, '_>) {
    let now = (asked.pools.process.facts.wall)();
    let (seconds, micros) = (now.as_secs().to_string(), now.subsec_micros().to_string());
    asked.write(|to| _ = to.array(2).bulk(seconds.as_bytes()).bulk(micros.as_bytes()));
}

/// ACL WHOAMI. Passwords of a pool are in its configuration.
fn acl(asked: Asked<'_, '_>) {
    asked.write(|to| _ = to.bulk(b"default"));
}

/// SLOWLOG: nothing is in it, so that who looks at it goes on.
fn slowlog(asked: Asked<'_, '_>, words: &Arguments) {
    let is_count = words.integer(2).is_some_and(|count| count >= -1);
    match (asked.name(), words.len()) {
        ("slowlog|len", _) => asked.write(|to| _ = to.integer(0)),
        ("slowlog|reset", _) => asked.say(OK),
        ("slowlog|help", _) => asked.help(
            "SLOWLOG",
            &["GET [count]", "    Empty: the servers have it.", "LEN", "    Zero.", "RESET"],
        ),
        (_, 2) => asked.write(|to| _ = to.array(0)),
        (_, 3) if is_count => asked.write(|to| _ = to.array(0)),
        (_, 3) => asked.error("count should be greater than or equal to -1"),
        (_, _) => asked
            .error("unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."),
    }
}

/// LATENCY: nothing is measured here that it tells of.
fn latency(asked: Asked<'_, '_>) {
    match asked.name() {
        "latency|reset" => asked.write(|to| _ = to.integer(0)),
        "latency|histogram" => asked.write(|to| _ = to.map(0)),
        "latency|help" => asked.help("LATENCY", &["LATEST", "    Empty: the servers have it."]),
        _ => asked.write(|to| _ = to.array(0)),
    }
}

/// Which version of Redis the clients of a pool are told: clients decide by it what they use, so
/// it is the lowest that any of its servers has told.
fn advertised_version(pool: &Pool) -> String {
    pool.setup.version.to_string()
}

/// Answers with `reply`, in the request's turn.
pub(crate) fn say(pools: &mut Pools, account: &mut Account, reply: &[u8], source: Source<'_>) {
    pools.words.clear();
    pools.words.extend_from_slice(reply);
    dispatch::answer(pools, account, source);
}

/// What a client hears that has not said the pool's password. Source: redis 7.0 `server.c`.
pub(crate) const NO_AUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";

const OK: &[u8] = b"+OK\r\n";
const SYNTAX: &[u8] = b"-ERR syntax error\r\n";
/// Source of this and the next: redis 7.0 `acl.c`.
const NO_PASSWORD: &[u8] = b"-ERR AUTH <password> called without any password configured for the \
default user. Are you sure your configuration is correct?\r\n";

const WRONG_PASSWORD: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_is_the_same() {
        assert!(is_same(b"secret", b"secret"));
        let others: [&[u8]; 7] =
            [b"", b"s", b"secre", b"secreT", b"Secret", b"secretsecret", b"secret\0"];
        for given in others {
            assert!(!is_same(given, b"secret"), "{}", given.escape_ascii());
        }
        assert!(!is_same(b"a", b""));
    }
}
