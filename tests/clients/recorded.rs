//! What clients of the JVM, .NET and Go say first, with their defaults, and what they need to hear.
//!
//! Taken from their sources: go-redis v9.22 `redis.go` (`initConn`), lettuce 7 `RedisHandshake`,
//! jedis 8 `Connection`, StackExchange.Redis 3.1 `ServerEndPoint` (`HandshakeAsync`).

use crate::frames::Frame;

/// A request, in words, and what its reply must be.
pub type Exchange = (Vec<&'static [u8]>, Need);

/// Requests that are sent in one write.
pub type Write = Vec<Exchange>;

/// What a client needs of a reply.
#[derive(Clone, Copy)]
pub enum Need {
    /// The map of HELLO, with this protocol.
    Hello(i64),
    /// `OK`
    Ok,
    /// `OK`, or, of servers that are too old, an error that says `unknown`: jedis closes at others.
    OkOrUnknown,
    /// An error. A promise would be worse.
    Refusal,
    /// An error that begins so.
    Error(&'static str),
    /// An error that makes the client go on in RESP2.
    FallsBack(fn(&str) -> bool),
    /// A number above 0.
    Number,
    /// These bytes.
    Bytes(&'static [u8]),
    /// A text with these lines in it, each up to its value or whole.
    Lines(&'static [&'static str]),
    /// Nothing.
    Null,
    /// Any frame: it is not looked at.
    Any,
    /// That the first channel of this client is subscribed.
    Subscribed(&'static [u8]),
}

impl Need {
    /// Whether `frame` is what is needed.
    pub fn is_met_by(self, frame: &Frame) -> bool {
        let text = |wanted: &[u8]| *frame == Frame::Text(wanted.to_vec());
        match (self, frame) {
            (Self::Hello(protocol), _) => is_hello(frame, protocol),
            (Self::Ok | Self::OkOrUnknown, Frame::Text(_)) => text(b"OK"),
            (Self::OkOrUnknown, Frame::Error(why)) => why.to_lowercase().contains("unknown"),
            (Self::Refusal, Frame::Error(_)) | (Self::Any, _) => true,
            (Self::Error(begin), Frame::Error(why)) => why.starts_with(begin),
            (Self::FallsBack(does), Frame::Error(why)) => does(why),
            (Self::Number, Frame::Integer(number)) => *number > 0,
            (Self::Bytes(wanted), _) => text(wanted),
            (Self::Null, _) => *frame == Frame::Null,
            (Self::Lines(wanted), Frame::Text(bytes)) => {
                let said = String::from_utf8_lossy(bytes);
                wanted.iter().all(|begin| said.split("\r\n").any(|line| line.starts_with(begin)))
            }
            (Self::Subscribed(channel), Frame::Push(items) | Frame::Array(items)) => {
                let words = [&b"subscribe"[..], channel].map(|word| Frame::Text(word.to_vec()));
                items.starts_with(&words) && items[2..] == [Frame::Integer(1)]
            }
            _ => false,
        }
    }
}

/// Every field that one of the clients reads, with the type that it must have.
fn is_hello(frame: &Frame, protocol: i64) -> bool {
    let is_map = matches!(frame, Frame::Map(_)) == (protocol == 3);
    let is_text = |name| matches!(frame.field(name), Some(Frame::Text(text)) if !text.is_empty());
    is_map
        && frame.field("proto") == Some(&Frame::Integer(protocol))
        && matches!(frame.field("id"), Some(Frame::Integer(id)) if *id > 0)
        && matches!(frame.field("modules"), Some(Frame::Array(_)))
        && frame.field("mode") == Some(&Frame::Text(b"standalone".to_vec()))
        && frame.field("role") == Some(&Frame::Text(b"master".to_vec()))
        && is_text("server")
        && is_text("version")
}

/// A client whose library is not run here.
pub struct Recording {
    /// As its users call it, with its first number.
    pub title: &'static str,
    /// The version that was read.
    pub version: &'static str,
    /// What it says on each of its connections; `None` where no password is set.
    pub connections: fn(Option<&'static str>) -> Vec<Vec<Write>>,
    /// When the words for a refused HELLO 3 let it go on in RESP2.
    pub falls_back: fn(&str) -> bool,
    /// What it says then.
    pub in_resp2: fn() -> Vec<Write>,
}

/// A request that is written as words with spaces between.
fn say(line: &'static str, need: Need) -> Exchange {
    (line.split(' ').map(str::as_bytes).collect(), need)
}

/// HELLO 3, with `AUTH` and the user behind it where there is a password.
fn hello(line: &'static str, password: Option<&'static str>) -> Write {
    let mut exchange = say(line, Need::Hello(3));
    if let Some(password) = password {
        let auth: &[u8] = if line.starts_with('h') { b"auth" } else { b"AUTH" };
        exchange.0.extend([auth, b"default", password.as_bytes()]);
        if password == WRONG {
            exchange.1 = Need::Error("WRONGPASS");
        }
    }
    vec![exchange]
}

/// A password that no server has.
pub const WRONG: &str = "wrong";

pub const RECORDINGS: [Recording; 4] = [
    Recording {
        title: "go-redis 9",
        version: "9.22.0",
        connections: |password| {
            let notify = "client maint_notifications on moving-endpoint-type internal-ip";
            let mut writes = vec![hello("hello 3", password), vec![say(notify, Need::Refusal)]];
            writes.push(GO_REDIS_INFO.map(|line| say(line, Need::OkOrUnknown)).to_vec());
            vec![writes]
        },
        falls_back: |_| true,
        in_resp2: || vec![GO_REDIS_INFO.map(|line| say(line, Need::Any)).to_vec()],
    },
    Recording {
        title: "lettuce 7",
        version: "7.8.0",
        connections: |password| {
            let notify = "CLIENT MAINT_NOTIFICATIONS on moving-endpoint-type internal-ip";
            let mut writes = vec![hello("HELLO 3", password)];
            writes.push(LETTUCE_INFO.map(|line| say(line, Need::OkOrUnknown)).to_vec());
            writes.push(vec![say(notify, Need::Refusal)]);
            vec![writes]
        },
        falls_back: |why| {
            (why.starts_with("ERR") && why.contains("unknown")) || why.starts_with("NOPROTO")
        },
        in_resp2: || {
            let ping = vec![say("PING", Need::Bytes(b"PONG"))];
            vec![ping, LETTUCE_INFO.map(|line| say(line, Need::Any)).to_vec()]
        },
    },
    Recording {
        title: "jedis 8",
        version: "8.0.0",
        connections: |password| {
            let info = JEDIS_INFO.map(|line| say(line, Need::OkOrUnknown)).to_vec();
            vec![vec![hello("HELLO 3", password), info]]
        },
        falls_back: |why| why.contains("unknown command") || why.starts_with("NOPROTO"),
        in_resp2: || vec![JEDIS_INFO.map(|line| say(line, Need::OkOrUnknown)).to_vec()],
    },
    Recording {
        title: "StackExchange.Redis 3",
        version: "3.1.31",
        connections: stack_exchange,
        falls_back: |_| true,
        in_resp2: || {
            let mut write = stack_exchange_names();
            write.extend(stack_exchange_questions());
            vec![write]
        },
    },
];

const GO_REDIS_INFO: [&str; 2] =
    ["client setinfo lib-name go-redis(,go1.24.1)", "client setinfo lib-ver 9.22.0"];
const LETTUCE_INFO: [&str; 2] =
    ["CLIENT SETINFO lib-name Lettuce", "CLIENT SETINFO lib-ver 7.8.0.RELEASE/2f0f3c1"];
const JEDIS_INFO: [&str; 2] = ["CLIENT SETINFO LIB-NAME jedis", "CLIENT SETINFO LIB-VER 8.0.0"];

/// Sixteen bytes of a random identity: the tracer.
const TRACER: &[u8] = b"\x8f\r\n\x00\xff$4Vx\x9a\xbc\xde\xf0*1\n";

const CONFIGURATION_CHANNEL: &[u8] = b"__Booksleeve_MasterChanged";

/// Each of its two connections says all that it has to say in one write.
fn stack_exchange(password: Option<&'static str>) -> Vec<Vec<Write>> {
    let mut begin = vec![];
    if let Some(password) = password {
        let is_wrong = password == WRONG;
        let need = if is_wrong { Need::Error("WRONGPASS") } else { Need::Ok };
        begin.push((vec![&b"AUTH"[..], b"default", password.as_bytes()], need));
        if is_wrong {
            return vec![vec![begin]];
        }
    }
    begin.push(say("HELLO 3", Need::Hello(3)));
    begin.extend(stack_exchange_names());
    let (mut interactive, mut subscription) = (begin.clone(), begin);
    interactive.extend(stack_exchange_questions());
    subscription.push(tracer());
    let subscribe = vec![&b"SUBSCRIBE"[..], CONFIGURATION_CHANNEL];
    subscription.push((subscribe, Need::Subscribed(CONFIGURATION_CHANNEL)));
    vec![vec![interactive], vec![subscription]]
}

fn stack_exchange_names() -> Write {
    vec![
        say("CLIENT SETNAME app-1(SE.Redis-v3.1.31)", Need::Ok),
        say("CLIENT SETINFO lib-name SE.Redis", Need::OkOrUnknown),
        say("CLIENT SETINFO lib-ver 3.1.31", Need::OkOrUnknown),
    ]
}

fn stack_exchange_questions() -> Write {
    vec![
        say("CLIENT ID", Need::Number),
        say("CONFIG GET timeout", Need::Any),
        say("CONFIG GET replica-read-only", Need::Any),
        say("CONFIG GET databases", Need::Any),
        say("SENTINEL MASTERS", Need::Refusal),
        say("INFO replication", Need::Lines(&["role:master"])),
        say("INFO server", Need::Lines(&["redis_version:", "redis_mode:standalone"])),
        say("CLUSTER NODES", Need::Refusal),
        say("GET __Booksleeve_TieBreak", Need::Null),
        tracer(),
    ]
}

fn tracer() -> Exchange {
    (vec![b"ECHO", TRACER], Need::Bytes(TRACER))
}
