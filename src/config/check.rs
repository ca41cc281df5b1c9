//! From the document to pools: every key by its rule, all faults collected.
//!
//! ```text
//!   root mapping          pool name -> mapping                 several pools, each name once
//!     pool mapping        key -> text, or list of texts        known keys, each once
//! ```
//!
//! A value that is wrong is reported and its default goes on, so that the rest is checked too.

mod commands;
mod peers;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::address;
use super::fault::{Fault, Place, quoted, shown};
use super::model::{Listen, ListenAddress, Pool, Protocol, Secret, Server};
use super::raw::{Entry, Node, Value};
use super::value;
use crate::distribution::server_order;
use crate::limits::{POOL_WEIGHT_MAX, PRIVATE_CONNECTIONS_MAX};

/// Makes pools of the document, sorted; and the faults, in any order. With faults the pools are of
/// no use.
pub fn pools(root: &Node) -> (Vec<Pool>, Vec<Fault>) {
    let mut checker = Checker::default();
    match &root.value {
        Value::Mapping(entries) if !entries.is_empty() => checker.pools(entries),
        Value::Mapping(_) | Value::Null | Value::Text(_) | Value::List(_) => {
            checker.faults.push(Fault::of_file(root.place, NO_POOLS));
        }
    }
    checker.pools.sort_by(|a, b| server_order(&a.name, &b.name));
    (checker.pools, checker.faults)
}

/// What is wrong with a file that has nothing in it.
pub const NO_POOLS: &str =
    "has no pools; a pool is a name and a colon, with its keys indented below";

#[derive(Default)]
struct Checker {
    pools: Vec<Pool>,
    faults: Vec<Fault>,
    /// Who listens where, without permissions, and the place that says so.
    listeners: HashMap<ListenAddress, (String, Place)>,
}

impl Checker {
    fn pools(&mut self, entries: &[Entry]) {
        let mut firsts: HashMap<&str, Place> = HashMap::new();
        for entry in entries {
            let name = subject(&entry.key);
            let mut fault = |place, text: String| {
                self.faults.push(Fault { place, subject: name.clone(), text });
            };
            if let Some(first) = firsts.get(entry.key.as_str()) {
                let text = format!("is a duplicate; line {} has a pool of this name", first.line);
                fault(entry.key_place, text);
            } else {
                firsts.insert(&entry.key, entry.key_place);
            }
            if entry.key.is_empty() || entry.key.contains(char::is_control) {
                fault(entry.key_place, "is not a name for a pool; plain letters are".to_owned());
            }
            match &entry.node.value {
                Value::Mapping(keys) => {
                    let mut keys = Keys::new(&entry.key, entry.key_place, keys, &mut self.faults);
                    let (pool, listen_place) = keys.pool();
                    self.listens(&pool, listen_place);
                    self.pools.push(pool);
                }
                Value::Null => {
                    fault(entry.key_place, format!("has no keys; {NEEDED}"));
                }
                Value::Text(_) | Value::List(_) => {
                    fault(entry.node.place, format!("is not a pool; {NEEDED}"));
                }
            }
        }
    }

    /// Notes where a pool listens, and compares it with the others.
    fn listens(&mut self, pool: &Pool, place: Option<Place>) {
        let Some(place) = place else { return };
        let mut address = pool.listen.address.clone();
        // Two permissions of one path make no second socket of it.
        if let ListenAddress::Unix { mode, .. } = &mut address {
            *mode = None;
        }
        match self.listeners.get(&address) {
            None => _ = self.listeners.insert(address, (pool.name.clone(), place)),
            Some((other, other_place)) => self.faults.push(Fault {
                place,
                subject: format!("{}.listen", subject(&pool.name)),
                text: format!(
                    "has the same listen address as the pool {} in line {}",
                    quoted(other),
                    other_place.line
                ),
            }),
        }
    }
}

/// The keys of one pool.
struct Keys<'d, 'f> {
    pool: &'d str,
    place: Place,
    entries: HashMap<&'static str, &'d Entry>,
    /// Keys whose values are reported already.
    bad: Vec<&'static str>,
    faults: &'f mut Vec<Fault>,
}

impl<'d, 'f> Keys<'d, 'f> {
    fn new(pool: &'d str, place: Place, from: &'d [Entry], faults: &'f mut Vec<Fault>) -> Self {
        let mut keys = Keys { pool, place, entries: HashMap::new(), bad: Vec::new(), faults };
        let mut unknown: HashSet<&str> = HashSet::new();
        for entry in from {
            let Some(known) = KEYS.iter().find(|known| **known == entry.key) else {
                if unknown.insert(&entry.key) {
                    keys.unknown(entry);
                }
                continue;
            };
            match keys.entries.get(known) {
                None => _ = keys.entries.insert(known, entry),
                Some(first) => {
                    let text =
                        format!("is a duplicate of line {}; leave one out", first.key_place.line);
                    keys.fault(entry.key_place, known, text);
                }
            }
        }
        keys
    }

    fn unknown(&mut self, entry: &Entry) {
        let text = if UPREDIS_KEYS.contains(&entry.key.as_str()) {
            "is a key of upredis-proxy that is not supported yet; leave it out".to_owned()
        } else {
            match value::nearest(&entry.key, KEYS.into_iter()) {
                Some(key) => format!("is unknown (would {key} be right?)"),
                None => format!("is unknown; the keys are {}", KEYS.join(", ")),
            }
        };
        self.fault(entry.key_place, &shown(&entry.key), text);
    }

    fn fault(&mut self, place: Place, key: &str, text: String) {
        let subject = format!("{}.{key}", subject(self.pool));
        self.faults.push(Fault { place, subject, text });
    }

    fn bad(&mut self, place: Place, key: &'static str, text: String) {
        self.bad.push(key);
        self.fault(place, key, text);
    }

    /// The whole pool, and where `listen` is if it is right.
    fn pool(&mut self) -> (Pool, Option<Place>) {
        let listen = self.read("listen", address::listen);
        if !self.entries.contains_key("listen") {
            let text = "\"listen:\" is missing; host:port or /path/of/a.sock would be right";
            self.bad(self.place, "listen", text.to_owned());
        }
        let listen_place = listen.as_ref().and_then(|_| self.entries.get("listen"));
        let listen_place = listen_place.map(|entry| entry.node.place);
        let access = self.access(listen.as_ref().map(|listen| &listen.address));
        let redis = self.read("redis", value::boolean).unwrap_or(false);
        let protocol = if redis { Protocol::Redis } else { Protocol::Memcache };
        let pool = Pool {
            name: self.pool.to_owned(),
            listen: listen.unwrap_or_else(nowhere),
            hash: self.read("hash", value::hash).unwrap_or_default(),
            hash_tag: self.read("hash_tag", value::hash_tag),
            distribution: self.read("distribution", value::distribution).unwrap_or_default(),
            timeout: self.read("timeout", value::timeout).flatten(),
            backlog: self.read("backlog", value::number).unwrap_or(BACKLOG),
            client_connections: self
                .read("client_connections", value::number)
                .filter(|&connections| connections > 0),
            protocol,
            access,
            tcpkeepalive: self.keep_alive(),
            reuseport: self.read("reuseport", value::boolean).unwrap_or(false),
            redis_auth: self.read("redis_auth", |text| Ok(Secret::new(text.to_owned()))),
            redis_db: self.read("redis_db", value::number).unwrap_or(0),
            preconnect: self.read("preconnect", value::boolean).unwrap_or(false),
            auto_eject_hosts: self.read("auto_eject_hosts", value::boolean).unwrap_or(false),
            server_connections: self.read("server_connections", value::positive).unwrap_or(1),
            server_retry_timeout: self
                .read("server_retry_timeout", value::milliseconds)
                .unwrap_or(Duration::from_millis(SERVER_RETRY_TIMEOUT_MS)),
            server_failure_limit: self
                .read("server_failure_limit", value::number)
                .unwrap_or(SERVER_FAILURE_LIMIT),
            server_probe: self.read("server_probe", value::boolean).unwrap_or(false),
            private_connections: self
                .read("private_connections", value::number)
                .unwrap_or(PRIVATE_CONNECTIONS_MAX),
            commands: self.commands(protocol),
            eject_on_oom: self.read("eject_on_oom", value::boolean).unwrap_or(false),
            servers: self.servers(),
        };
        self.relations(&pool);
        (pool, listen_place)
    }

    /// The value of a key; `None` when it is not there, or is wrong and reported.
    fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let entry = *self.entries.get(key)?;
        let place = entry.node.place;
        let read = match &entry.node.value {
            Value::Text(text) if text.is_empty() => Err(NO_VALUE.to_owned()),
            Value::Text(text) if key != "redis_auth" && text.contains(char::is_control) => {
                Err(format!("{} has a control character in it", quoted(text)))
            }
            Value::Text(text) => parse(text),
            Value::Null => {
                self.bad(entry.key_place, key, NO_VALUE.to_owned());
                return None;
            }
            Value::Mapping(_) => {
                Err("is a mapping; a value with braces or a colon and a space in \
                                      it stands in quotes: \"{}\""
                    .to_owned())
            }
            Value::List(_) => Err("is a list; one value would be right".to_owned()),
        };
        read.map_err(|text| self.bad(place, key, text)).ok()
    }

    fn servers(&mut self) -> Vec<Server> {
        let Some(entry) = self.entries.get("servers").copied() else {
            self.fault(self.place, "servers", format!("has no servers; {ONE_SERVER}"));
            return Vec::new();
        };
        let items = match &entry.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            Value::Text(_) | Value::Mapping(_) => {
                self.fault(entry.node.place, "servers", format!("is not a list; {ONE_SERVER}"));
                return Vec::new();
            }
        };
        // Generated files hold empty items, which say nothing.
        let items = || items.iter().filter(|item| item.value != Value::Null);
        if items().next().is_none() {
            self.fault(entry.key_place, "servers", format!("has no servers; {ONE_SERVER}"));
        }
        let mut servers: Vec<Server> = Vec::new();
        let mut firsts: HashMap<String, Place> = HashMap::new();
        for item in items() {
            let Some(server) = self.server(item) else { continue };
            if let Some(first) = firsts.get(&server.name) {
                let text = format!(
                    "has servers with the same name {}: the other is in line {}",
                    quoted(&server.name),
                    first.line
                );
                self.fault(item.place, "servers", text);
                continue;
            }
            firsts.insert(server.name.clone(), item.place);
            servers.push(server);
        }
        servers.sort_by(|a, b| server_order(&a.name, &b.name));
        servers
    }

    fn server(&mut self, item: &Node) -> Option<Server> {
        let read = match &item.value {
            Value::Text(text) if text.contains(char::is_control) => {
                Err(format!("{} has a control character in it", quoted(text)))
            }
            Value::Text(text) => address::server(text),
            Value::Null => return None,
            Value::Mapping(_) => {
                Err("is a mapping; no space may follow a colon here: \"127.0.0.1:6379:1\""
                    .to_owned())
            }
            Value::List(_) => Err("is a list in a list; one server would be right".to_owned()),
        };
        read.map_err(|text| self.fault(item.place, "servers", text)).ok()
    }

    /// What no key can be wrong about alone.
    fn relations(&mut self, pool: &Pool) {
        let weight: u64 = pool.servers.iter().map(|server| u64::from(server.weight)).sum();
        if weight > POOL_WEIGHT_MAX {
            let text = format!(
                "have weights that add up to {weight}; {POOL_WEIGHT_MAX} at most would be right"
            );
            self.fault(self.place_of("servers"), "servers", text);
        }
        if pool.redis_auth.is_some() && pool.protocol != Protocol::Redis && !self.is_bad("redis") {
            let text = "is only valid for a redis pool; set redis: true".to_owned();
            self.fault(self.place_of("redis_auth"), "redis_auth", text);
        }
        self.without_effect(pool);
    }

    /// Keys of ours that this pool would not heed. twemproxy's own are taken as it takes them.
    fn without_effect(&mut self, pool: &Pool) {
        let is_redis = pool.protocol == Protocol::Redis || self.is_bad("redis");
        for (key, is_there) in [
            ("eject_on_oom", pool.eject_on_oom),
            ("private_connections", self.entries.contains_key("private_connections")),
        ] {
            if is_there && !is_redis {
                let text = "is only valid for a redis pool; set redis: true".to_owned();
                self.fault(self.place_of(key), key, text);
            }
        }
        let ejects = pool.auto_eject_hosts || self.is_bad("auto_eject_hosts");
        for (key, is_there) in
            [("eject_on_oom", pool.eject_on_oom), ("server_probe", pool.server_probe)]
        {
            if is_there && !ejects {
                let text = "has no effect on its own; set auto_eject_hosts: true".to_owned();
                self.fault(self.place_of(key), key, text);
            }
        }
    }

    fn is_bad(&self, key: &str) -> bool {
        self.bad.contains(&key)
    }

    /// Where the value of a key is, or the pool when the key is not there.
    fn place_of(&self, key: &str) -> Place {
        self.entries.get(key).map_or(self.place, |entry| entry.node.place)
    }
}

/// How a pool stands in front of a fault.
fn subject(pool: &str) -> String {
    if pool.is_empty() { quoted(pool) } else { shown(pool) }
}

/// Stands for a `listen` that is reported as wrong.
fn nowhere() -> Listen {
    let address = ListenAddress::Tcp { host: String::new(), port: 0 };
    Listen { text: String::new(), address }
}

const NEEDED: &str = "it needs listen: and servers: at least";
const NO_VALUE: &str = "has no value; leave the key out, or give it one";
const ONE_SERVER: &str = "a list with an item like \"- 127.0.0.1:6379:1\" would be right";

/// twemproxy's defaults (`nc_conf.h`).
const BACKLOG: u32 = 512;
const SERVER_RETRY_TIMEOUT_MS: u64 = 30_000;
const SERVER_FAILURE_LIMIT: u32 = 2;

/// twemproxy's keys (`conf_commands` in `nc_conf.c`); then ours.
const KEYS: [&str; 27] = [
    "listen",
    "hash",
    "hash_tag",
    "distribution",
    "timeout",
    "backlog",
    "client_connections",
    "redis",
    "tcpkeepalive",
    "reuseport",
    "redis_auth",
    "redis_db",
    "preconnect",
    "auto_eject_hosts",
    "server_connections",
    "server_retry_timeout",
    "server_failure_limit",
    "eject_on_oom",
    "server_probe",
    "private_connections",
    "commands",
    "servers",
    "tcpkeepidle",
    "tcpkeepintvl",
    "tcpkeepcnt",
    "white_list",
    "black_list",
];

/// Keys of a descendant of twemproxy, whose files may be tried here.
const UPREDIS_KEYS: [&str; 3] = ["sentinels", "redis_auth_s", "dbpms"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::outline::Outline;
    use crate::config::raw;

    #[test]
    fn values_of_keys_without_effect_yet_are_in_the_model() {
        let text = "a: {redis: true, redis_auth: 1e3, redis_db: 3, auto_eject_hosts: true}";
        let outline = Outline::read(text).unwrap().unwrap();
        let (pools, _) = pools(&raw::read(text, &outline).unwrap());
        assert_eq!(pools[0].redis_auth, Some(Secret::new("1e3".to_owned())));
        assert_eq!((pools[0].redis_db, pools[0].auto_eject_hosts), (3, true));
    }
}
