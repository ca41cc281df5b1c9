//! A server as it is, and as many as wanted behind the proxy, with the same keys.

use std::collections::{BTreeMap, BTreeSet};

use ringcracker::config;
use ringcracker::distribution::RoutingTable;
use ringcracker::proto::Parsed;
use ringcracker::proto::commands::{Command, Serve};
use ringcracker::proto::resp::RequestParser;

use crate::support::client::{Client, Reply, command};
use crate::support::process::Port;
use crate::support::proxy::{Proxy, Start};
use crate::support::redis::{REDIS_8, Redis};
use crate::support::{pool, show};
use crate::words::{self, Words, shown};

/// What is compared with what.
pub struct Setting {
    /// Of `support::redis`.
    pub program: &'static str,
    /// Behind the proxy.
    pub servers: usize,
    /// Whether all keys have one hash tag.
    pub tagged: bool,
    /// Of RESP.
    pub version: u8,
}

/// The servers and the proxy of a setting.
pub struct Rig {
    program: &'static str,
    plain: Redis,
    servers: Vec<Redis>,
    proxy: Proxy,
    routing: RoutingTable,
    tagged: bool,
    version: u8,
    clients: Option<(Client, Client)>,
    known: BTreeMap<String, bool>,
    dumped: Vec<u8>,
    functions: Vec<u8>,
}

const DATA: &str = include_str!("data.txt");

/// As the proxy has it: one database, and nothing in the log of what was slow on a busy machine.
const OPTIONS: [&str; 4] = ["--databases", "1", "--slowlog-log-slower-than", "-1"];

/// Redis 8.0.2 dies of a FUNCTION FLUSH every now and then, alone as well: a null pointer in
/// `freeClient`, below `functionsLibCtxClearCurrent`.
const DEADLY: [(&str, &str); 1] = [(REDIS_8, "function|flush")];

/// Functions and scripts are those of a server, not of the keys.
const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function{function_name='lib_get',flags={'no-writes'},\
    callback=function(keys) return redis.call('get',keys[1]) end}";
const SECOND: &str = "#!lua name=two\nredis.register_function('two_f',function() return 2 end)";
const SCRIPT: &str = "return 7";

impl Rig {
    /// Starts the servers and the proxy, and brings the keys there.
    pub fn start(setting: &Setting) -> Self {
        let redis = || Redis::start_program_with(setting.program, &OPTIONS);
        let servers: Vec<Redis> = (0..setting.servers).map(|_| redis()).collect();
        let lines: Vec<String> =
            servers.iter().enumerate().map(|(at, redis)| redis.named(&format!("s{at}"))).collect();
        let port = Port::free();
        let listen = format!("127.0.0.1:{}", port.number());
        let keys = ["hash_tag: \"{}\"", "commands: {allow: ['@all']}"];
        let text = pool("alpha", &listen, &lines, &keys);
        let routing = routing(&text);
        let proxy = Start::with_config(&text).holding(port).start();
        let mut rig = Self {
            program: setting.program,
            plain: redis(),
            servers,
            proxy,
            routing,
            tagged: setting.tagged,
            version: setting.version,
            clients: None,
            known: BTreeMap::new(),
            dumped: Vec::new(),
            functions: Vec::new(),
        };
        rig.reset();
        let mut plain = rig.plain.client();
        let mut bulk = |words: &[Vec<u8>]| {
            let reply = plain.call(words);
            let Reply::Bulk(bytes) = reply else { panic!("{}: {reply:?}", shown(words)) };
            bytes
        };
        rig.dumped = bulk(&rig.placed(&[b"dump".to_vec(), b"str".to_vec()]));
        rig.functions = bulk(&[b"function".to_vec(), b"dump".to_vec()]);
        rig
    }

    fn greet(&self, client: &mut Client) -> bool {
        client.send(&command(&["HELLO".to_owned(), self.version.to_string()]));
        !client.try_raw_reply().unwrap().starts_with(b"-")
    }

    /// Whether the servers have a command, and survive it.
    pub fn is_known(&mut self, name: &str) -> bool {
        if DEADLY.contains(&(self.program, name)) {
            return false;
        }
        let plain = &self.plain;
        let ask =
            || plain.client().call(&["COMMAND", "INFO", name]) != Reply::Array(vec![Reply::Null]);
        *self.known.entry(name.to_owned()).or_insert_with(ask)
    }

    /// Brings all servers back to where they began, and has new clients.
    pub fn reset(&mut self) {
        let library = |library| [b"FUNCTION".as_slice(), b"LOAD", b"REPLACE", library];
        // Each library by itself, as a FUNCTION FLUSH may be deadly.
        let begin: [&[&[u8]]; 6] = [
            &[b"FLUSHALL"],
            &[b"SCRIPT", b"FLUSH"],
            &library(LIBRARY.as_bytes()),
            &library(SECOND.as_bytes()),
            &[b"FUNCTION", b"DELETE", b"two"],
            &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()],
        ];
        for server in self.servers.iter().chain([&self.plain]) {
            let mut client = server.client();
            for words in begin {
                let reply = client.call(words);
                assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
            }
        }
        let mut data = words::read(DATA);
        data.retain(|words| self.is_known(std::str::from_utf8(&words[0]).unwrap()));
        let data: Vec<Words> = data.iter().map(|words| self.placed(words)).collect();
        let bytes: Vec<u8> = data.iter().flat_map(|words| command(words)).collect();
        for mut client in [self.plain.client(), self.proxy.client()] {
            client.send(&bytes);
            for words in &data {
                let reply = client.reply();
                assert!(!matches!(reply, Reply::Error(_)), "{}: {reply:?}", shown(words));
            }
        }
        self.clients = None;
    }

    /// The request with the words that stand for something, and its keys where they belong.
    fn placed(&self, words: &[Vec<u8>]) -> Words {
        let real = |word: &Vec<u8>| match word.as_slice() {
            b"DUMPED" => self.dumped.clone(),
            b"FUNCTIONS" => self.functions.clone(),
            _ => word.clone(),
        };
        let words: Words = words.iter().map(real).collect();
        if self.tagged { words::tagged(&words) } else { words }
    }

    /// The replies of the server alone and through the proxy. `None`: the proxy has refused, in
    /// the documented words and rightly, what is on several servers; the server was not asked.
    pub fn ask(&mut self, row: &Command, words: &[Vec<u8>]) -> Option<(Vec<u8>, Vec<u8>)> {
        let words = self.placed(words);
        let bytes = command(&words);
        let mut clients = self.clients.take();
        let (mut plain, mut proxied) = clients.take().unwrap_or_else(|| {
            let mut both = (self.plain.client(), self.proxy.client());
            if self.version == 3 {
                assert!(self.greet(&mut both.0) && self.greet(&mut both.1));
            }
            both
        });
        let frames = frames(row, &words);
        proxied.send(&bytes);
        if self.servers.len() == 1 {
            plain.send(&bytes);
        }
        let through = replies(&mut proxied, frames);
        let is_refused = through.starts_with(b"-CROSSSLOT");
        let is_apart = self.is_apart(&bytes);
        // Channels route like keys, but each by itself.
        let composes = matches!(row.serve, Serve::Split(_) | Serve::Subscribe(_));
        if is_refused || (is_apart && !composes) {
            assert!(is_apart, "{} is not apart: {}", shown(&words), show(&through));
            let has_words = through.windows(8).any(|part| part == b"hash tag");
            let is_error = through.starts_with(b"-");
            assert!(
                is_refused && has_words || is_error && !is_refused,
                "{} is on several servers: {}",
                shown(&words),
                show(&through)
            );
            self.clients = Some((plain, proxied));
            return None;
        }
        if self.servers.len() > 1 {
            plain.send(&bytes);
        }
        let alone = replies(&mut plain, frames);
        let is_over = alone.ends_with(END) && !matches!(row.serve, Serve::Local(_));
        assert!(!is_over, "the server alone ended at {}", shown(&words));
        // What belongs to a connection does not go on to the next request.
        if matches!(row.serve, Serve::Forward | Serve::Split(_) | Serve::Script) {
            self.clients = Some((plain, proxied));
        }
        Some((alone, through))
    }

    /// Whether the keys of a request are on more than one server.
    fn is_apart(&self, bytes: &[u8]) -> bool {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(bytes), Parsed::Request { end: bytes.len() });
        let request = parser.request();
        let key = |index| &bytes[request.argument_range(index)];
        let keys = request.keys.indexes().map(key);
        let servers: BTreeSet<_> = keys.map(|key| self.routing.route(key, 0)).collect();
        servers.len() > 1 || (self.servers.len() > 1 && !request.patterns.is_empty())
    }
}

fn routing(text: &str) -> RoutingTable {
    let config = config::parse("golden.yml", text).unwrap();
    let pool = &config.pools[0];
    let nodes = pool.nodes();
    let alive = vec![false; nodes.len()];
    RoutingTable::new(pool.hash, pool.hash_tag, pool.distribution, &nodes, &alive)
}

/// What stands for the end of a connection.
const END: &[u8] = b"(UnexpectedEof)";

/// How many replies a request has.
fn frames(row: &Command, words: &[Vec<u8>]) -> usize {
    if matches!(row.serve, Serve::Subscribe(_)) { (words.len() - 1).max(1) } else { 1 }
}

/// So many replies, or fewer if one is an error or the connection ends.
fn replies(client: &mut Client, frames: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..frames {
        match client.try_raw_reply() {
            Ok(reply) => all.extend_from_slice(&reply),
            Err(error) => all.extend_from_slice(format!("({:?})", error.kind()).as_bytes()),
        }
        if all.starts_with(b"-") || all.ends_with(b")") {
            break;
        }
    }
    all
}
