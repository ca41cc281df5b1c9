//! What a server connection says before anything else: its password, its version of RESP, and then
//! its database.

use std::collections::VecDeque;

use crate::config::Secret;
use crate::io::{Buffer, Chain};
use crate::limits::{GREETING_REPLY_BYTES_MAX, HELLO_REPLY_BYTES_MAX};
use crate::proto::resp::ReplyStep;
use crate::proto::{Expected, RespVersion};
use crate::proxy::deliver::{self, Step};
use crate::proxy::gather::Elements;
use crate::proxy::resp3::{self, Said};
use crate::proxy::server::{Phase, Server};
use crate::proxy::{Proxy, Want};
use crate::time::Instant;
use crate::token::Key;

/// The greeting of one connection. A word is sent alone, and the next one, or the first request,
/// only when its reply has been read.
///
/// ```text
///   asked: false --take--> true --"+OK"--> the next word, or the greeting is over
///                           |  "-..."
///                           +-----> the connection ends; its words go to whoever waits
/// ```
///
/// twemproxy sends SELECT before AUTH and looks at neither reply (`nc_redis.c`,
/// `redis_post_connect`, `redis_add_auth`), so that a refusal ends in database 0.
pub(crate) struct Greeting {
    /// When the connection was opened; its deadline runs from here.
    since: Instant,
    /// What the server has not agreed to.
    words: VecDeque<Word>,
    /// Whether the first of `words` has been taken by a send.
    asked: bool,
}

struct Word {
    /// Its name, for the log.
    name: String,
    request: Vec<u8>,
    kind: Kind,
}

enum Kind {
    /// AUTH, with what its reply may not repeat to anybody.
    Auth(Secret),
    /// HELLO 3, whose reply is in RESP3 if the server agrees.
    Hello,
    Select,
}

/// What the server says to a word.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Agreed,
    /// To HELLO 3. Its version, if it could be understood.
    SpeaksThree(Option<u64>),
    /// It knows no RESP3.
    Unable,
    /// It has no password, so that anybody may use it.
    NeedsNone,
    Refused,
    /// It is not an answer to this.
    Doubt,
}

impl Greeting {
    /// What is said to a server with this password and database on a connection of this version;
    /// `None` when there is nothing.
    pub(crate) fn new(
        password: Option<&Secret>,
        version: RespVersion,
        database: u32,
        since: Instant,
    ) -> Option<Self> {
        let mut words = VecDeque::new();
        if let Some(password) = password {
            let request = request(&[b"AUTH", password.reveal().as_bytes()]);
            words.push_back(Word {
                name: "AUTH".to_owned(),
                request,
                kind: Kind::Auth(password.clone()),
            });
        }
        if version == RespVersion::Three {
            let request = request(&[b"HELLO", b"3"]);
            words.push_back(Word { name: "HELLO 3".to_owned(), request, kind: Kind::Hello });
        }
        if database > 0 {
            let number = database.to_string();
            let request = request(&[b"SELECT", number.as_bytes()]);
            let name = format!("SELECT {number}");
            words.push_back(Word { name, request, kind: Kind::Select });
        }
        (!words.is_empty()).then_some(Self { since, words, asked: false })
    }

    /// When it began, with the connect.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// What is to be sent now: each word once.
    pub(crate) fn take(&mut self) -> Option<Chain> {
        if self.asked {
            return None;
        }
        self.asked = true;
        let mut output = Chain::new();
        output.push_copy(&self.words.front()?.request);
        Some(output)
    }
}

impl Word {
    /// What a reply to it means; `elements` are a map's.
    fn judge(&self, reply: &[u8], elements: Elements<'_>) -> Verdict {
        match (&self.kind, reply.first()) {
            (Kind::Hello, _) => match resp3::judge(reply, elements) {
                Said::Agreed(version) => Verdict::SpeaksThree(version),
                Said::Unable => Verdict::Unable,
                Said::Refused => Verdict::Refused,
                Said::Doubt => Verdict::Doubt,
            },
            (_, Some(b'+')) => Verdict::Agreed,
            (Kind::Auth(_), Some(b'-')) if needs_none(reply) => Verdict::NeedsNone,
            (_, Some(b'-')) => Verdict::Refused,
            (_, Some(_) | None) => Verdict::Doubt,
        }
    }

    /// Bytes that its reply may have.
    fn reply_bytes_max(&self) -> u64 {
        match self.kind {
            Kind::Hello => HELLO_REPLY_BYTES_MAX,
            Kind::Auth(_) | Kind::Select => GREETING_REPLY_BYTES_MAX,
        }
    }

    /// The refusal as clients and the log may have it: a server that does not know AUTH repeats
    /// its arguments, and may cut them short.
    fn without_secret(&self, reply: Vec<u8>) -> Vec<u8> {
        let Kind::Auth(secret) = &self.kind else { return reply };
        let secret = secret.reveal().as_bytes();
        let front = &secret[..secret.len().min(SECRET_FRONT_BYTES)];
        if memchr::memmem::find(&reply, front).is_none() {
            return reply;
        }
        WITHHELD.to_vec()
    }
}

/// Reads the reply to a word in the bytes that stand at `at`. The server is in `Phase::Greeting`.
pub(crate) fn next_reply(proxy: &mut Proxy, key: Key, buffer: &mut Buffer, at: usize) -> Step {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Partial };
    let Server { greeting, parser, partial, .. } = server;
    let Some(greeting) = greeting.as_mut().filter(|greeting| greeting.asked) else {
        return Step::Doubt;
    };
    let Some(word) = greeting.words.front() else { return Step::Doubt };
    if parser.is_idle() && matches!(word.kind, Kind::Hello) {
        parser.speak(RespVersion::Three);
        let mut expected = Expected::default();
        expected.elements = true;
        parser.expect(expected);
    }
    let most = word.reply_bytes_max();
    let end = match parser.parse(&buffer[at..]) {
        ReplyStep::Partial if parser.bytes_so_far() <= most => {
            partial.push_copy(&buffer[at..]);
            return Step::Partial;
        }
        ReplyStep::Push { end } => return resp3::on_push(proxy, key, at + end),
        ReplyStep::Reply { end } if parser.reply_bytes() <= most => at + end,
        ReplyStep::Partial | ReplyStep::Reply { .. } | ReplyStep::Bad(_) => return Step::Doubt,
    };
    let mut reply = partial.to_vec();
    reply.extend_from_slice(&buffer[at..end]);
    partial.clear();
    let Some(word) = greeting.words.pop_front() else { return Step::Doubt };
    greeting.asked = false;
    let is_over = greeting.words.is_empty();
    let verdict = word.judge(&reply, Elements::of(parser));
    match verdict {
        Verdict::Doubt => return Step::Doubt,
        Verdict::Refused => {
            let reply = word.without_secret(reply);
            deliver::refuse_server(proxy, key, &word.name, &reply);
            return Step::Partial;
        }
        Verdict::Unable => {
            resp3::on_unable(proxy, key, &reply);
            return Step::Partial;
        }
        Verdict::Agreed | Verdict::SpeaksThree(_) | Verdict::NeedsNone => {}
    }
    if is_over {
        server.greeting = None;
        server.phase = Phase::Up;
    }
    server.dirty = true;
    let (pool, number) = (server.pool, server.number);
    proxy.pools.wants.push(Want::Flush(key));
    match verdict {
        Verdict::NeedsNone => {
            proxy.pools.log_server(pool, number, "has no password, and is used without");
        }
        Verdict::SpeaksThree(version) => {
            resp3::note_agreed(&mut proxy.pools, pool, number, version);
        }
        Verdict::Agreed | Verdict::Unable | Verdict::Refused | Verdict::Doubt => {}
    }
    Step::Settled { end }
}

/// Whether a server says that it has no password. twemproxy goes on then, and there is nothing
/// that could be wrong with it. Source: redis 7.0 `acl.c`, redis 5.0 `server.c` (`authCommand`).
fn needs_none(reply: &[u8]) -> bool {
    reply.starts_with(b"-ERR Client sent AUTH, but no password is set")
        || reply.starts_with(b"-ERR AUTH <password> called without any password configured")
}

fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// As much of a password as would give it away.
const SECRET_FRONT_BYTES: usize = 8;

/// Said in place of a refusal that has the password in it.
const WITHHELD: &[u8] = b"-ERR the server refuses AUTH, and its words repeat the password\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn word(password: &str) -> Word {
        let secret = Secret::new(password.to_owned());
        let mut greeting =
            Greeting::new(Some(&secret), RespVersion::Two, 0, Instant::default()).expect("AUTH");
        greeting.words.pop_front().expect("AUTH")
    }

    #[test]
    fn a_word_is_said_once_and_the_password_comes_first() {
        let secret = Secret::new("pw".to_owned());
        let mut greeting = Greeting::new(Some(&secret), RespVersion::Two, 12, Instant::default())
            .expect("two words");
        let first = greeting.take().expect("AUTH").to_vec();
        assert_eq!(first, b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n");
        assert!(greeting.take().is_none());
        assert_eq!(greeting.words[1].request, b"*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n");
        assert!(Greeting::new(None, RespVersion::Two, 0, Instant::default()).is_none());
    }

    #[test]
    fn only_a_status_is_an_agreement() {
        let verdicts = [
            (&b"+OK\r\n"[..], Verdict::Agreed),
            (b"-WRONGPASS no\r\n", Verdict::Refused),
            (b"-LOADING wait\r\n", Verdict::Refused),
            (b":1\r\n", Verdict::Doubt),
            (b"$2\r\nOK\r\n", Verdict::Doubt),
            (b"-ERR Client sent AUTH, but no password is set\r\n", Verdict::NeedsNone),
        ];
        for (reply, verdict) in verdicts {
            assert_eq!(
                word("secret").judge(reply, Elements::default()),
                verdict,
                "{}",
                reply.escape_ascii()
            );
        }
    }

    #[test]
    fn a_refusal_that_repeats_the_password_is_withheld() {
        let echo = b"-ERR unknown command 'AUTH', with args beginning with: 'a long s\r\n";
        assert_eq!(word("a long secret").without_secret(echo.to_vec()), WITHHELD);
        assert_eq!(word("another").without_secret(echo.to_vec()), echo);
    }
}
