//! The command table against recordings of `COMMAND` of Redis 7.0 and 8.0 and Valkey 8.1.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ringcracker::proto::commands::{self, Command, Compare, Keys, Serve};

/// Arity; the first key, the last one, and the step; flags; categories.
type Recorded = (i16, i64, i64, i64, String, String);

const REDIS_7: &str = include_str!("data/commands-redis-7.0.json");
const REDIS_8: &str = include_str!("data/commands-redis-8.0.json");
const VALKEY_8: &str = include_str!("data/commands-valkey-8.1.json");

/// Where an older server differs from the table: name, its arity, why.
const ARITIES: [(&str, i16, &str); 4] = [
    ("zrank", 3, "Redis 7.2 added WITHSCORE; an older server refuses it by itself"),
    ("zrevrank", 3, "Redis 7.2 added WITHSCORE; an older server refuses it by itself"),
    ("command|getkeys", -4, "Redis 7.2 lets a command without arguments be asked for"),
    ("command|getkeysandflags", -4, "Redis 7.2 lets a command without arguments be asked for"),
];

fn recorded(text: &str) -> BTreeMap<String, Recorded> {
    serde_json::from_str(text).unwrap()
}

fn positions(command: &Command) -> (i64, i64, i64) {
    match command.keys {
        // Redis has positions for the channels of shards, though they are no keys.
        Keys::Channels { last }
            if ["spublish", "ssubscribe", "sunsubscribe"].contains(&command.name) =>
        {
            (1, last.into(), 1)
        }
        Keys::None | Keys::BySubcommand | Keys::Streams | Keys::Channels { .. } => (0, 0, 0),
        Keys::Counted { also: None, .. } => (0, 0, 0),
        Keys::Counted { also: Some(also), .. } => (also.into(), also.into(), 1),
        Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
        Keys::Sort | Keys::Radius => (1, 1, 1),
        Keys::Migrate => (3, 3, 1),
    }
}

#[test]
fn arity_and_keys_are_those_of_each_server() {
    let mut differ: Vec<&(&str, i16, &str)> = Vec::new();
    for text in [REDIS_7, REDIS_8, VALKEY_8] {
        for (name, (arity, first, last, step, ..)) in recorded(text) {
            let command = row(&name).unwrap_or_else(|| panic!("{name} has no row"));
            assert_eq!(positions(command), (first, last, step), "keys of {name}");
            let known = ARITIES.iter().find(|known| known.0 == name && known.1 == arity);
            differ.extend(known);
            assert!(known.is_some() != (command.arity == arity), "arity of {name}: {arity}");
        }
    }
    assert_eq!(differ.len(), ARITIES.len(), "one differs no longer, or twice: {differ:?}");
}

#[test]
fn flags_and_categories_are_those_of_the_newest() {
    let mut newest = recorded(VALKEY_8);
    newest.extend(recorded(REDIS_8));
    // The commands of modules, which have a point in their name, are not recorded.
    for command in commands::all().iter().filter(|command| !command.name.contains('.')) {
        let (.., flags, categories) = &newest[command.name];
        let sorted = |names: &mut dyn Iterator<Item = &'static str>| {
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.join(" ")
        };
        // Valkey's word for the same.
        let flags = flags.replace("skip_commandlog", "skip_slowlog");
        assert_eq!(sorted(&mut command.flags.names()), flags, "flags of {}", command.name);
        // Redis 8.0 gives a module's commands no category at all, so `@write` would not hold them.
        if !flags.contains("module") {
            let ours = sorted(&mut command.categories.names());
            assert_eq!(&ours, categories, "categories of {}", command.name);
        }
    }
}

fn row(name: &str) -> Option<&'static Command> {
    commands::all().iter().find(|command| command.name == name)
}

#[test]
fn what_blocks_says_for_how_long() {
    let not_keys = ["wait", "waitaof"];
    for command in commands::all().iter().filter(|command| !not_keys.contains(&command.name)) {
        let blocks = command.flags.names().any(|flag| flag == "blocking");
        assert_eq!(blocks, matches!(command.serve, Serve::Blocking(_)), "{}", command.name);
    }
}

#[test]
fn no_more_than_fifteen_commands_are_not_compared() {
    let skips = |command: &&Command| matches!(command.compare, Compare::Skip(_));
    assert!(commands::all().iter().filter(skips).count() <= 15);
}

/// What twemproxy 0.5 takes.
const TWEMPROXY: &str = "\
    PING QUIT AUTH COMMAND LOLWUT PERSIST PTTL TTL TYPE DUMP DECR GET GETDEL INCR STRLEN \
    HGETALL HKEYS HLEN HVALS LLEN SCARD SMEMBERS ZCARD EXPIRE EXPIREAT PEXPIRE PEXPIREAT \
    MOVE APPEND DECRBY GETBIT GETSET INCRBY INCRBYFLOAT SETNX HEXISTS HGET HSTRLEN \
    LINDEX RPOPLPUSH SISMEMBER ZRANK ZREVRANK ZSCORE GETRANGE PSETEX SETBIT SETEX \
    SETRANGE HINCRBY HINCRBYFLOAT HSETNX LRANGE LREM LSET LTRIM SMOVE ZCOUNT ZLEXCOUNT \
    ZINCRBY ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE LINSERT LMOVE SORT COPY \
    BITCOUNT BITPOS BITFIELD EXISTS GETEX SET HDEL HMGET HMSET HSCAN HSET HRANDFIELD \
    LPUSH LPUSHX RPUSH RPUSHX LPOP RPOP LPOS SADD SDIFF SDIFFSTORE SINTER SINTERSTORE \
    SREM SUNION SUNIONSTORE SRANDMEMBER SSCAN SPOP SMISMEMBER PFADD PFMERGE PFCOUNT ZADD \
    ZDIFF ZDIFFSTORE ZINTER ZINTERSTORE ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE \
    ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZREM ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE \
    ZSCAN ZUNION ZUNIONSTORE GEODIST GEOPOS GEOHASH GEOADD GEORADIUS GEORADIUSBYMEMBER \
    GEOSEARCH GEOSEARCHSTORE RESTORE MGET DEL UNLINK TOUCH MSET EVAL EVALSHA";

#[test]
fn every_command_of_twemproxy_is_served() {
    for name in TWEMPROXY.split_ascii_whitespace() {
        let command = commands::lookup(name.as_bytes()).expect(name);
        let is_served = matches!(
            command.serve,
            Serve::Forward | Serve::Split(_) | Serve::Script | Serve::Local(_)
        );
        assert!(is_served, "{name} is {:?}", command.serve);
    }
}

#[test]
fn nothing_of_twemproxy_and_nothing_answered_here_is_denied() {
    for command in commands::all().iter().filter(|command| command.denied) {
        let known = TWEMPROXY.split_ascii_whitespace();
        assert!(!known.into_iter().any(|name| name.eq_ignore_ascii_case(command.name)));
        let refused = matches!(command.serve, Serve::Local(_) | Serve::Refused(_));
        assert!(!refused, "{}", command.name);
    }
}
