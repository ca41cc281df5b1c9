//! The command table against a recording of `COMMAND INFO` of redis-server 7.0.15.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ringcracker::proto::commands::{self, Command, Keys};
use serde::Deserialize;

/// A row of `tests/data/redis-7.0-commands.json`.
#[derive(Deserialize)]
struct Recorded {
    arity: i16,
    first: i64,
    last: i64,
    step: i64,
    /// Redis finds the keys by looking at the arguments.
    movable: bool,
    blocking: bool,
}

/// Where the arity differs on purpose: name, ours, why.
const ARITIES: [(&str, i16, &str); 2] = [
    ("zrank", -3, "Redis 7.2 added WITHSCORE; an older server refuses it by itself"),
    ("zrevrank", -3, "Redis 7.2 added WITHSCORE; an older server refuses it by itself"),
];

/// Commands whose keys Redis finds by looking at the arguments, and we by position only.
const FIRST_KEY_ONLY: [(&str, &str); 4] = [
    ("sort", "BY, GET and STORE name keys: the first key routes, as in twemproxy"),
    ("sort_ro", "BY and GET name keys: the first key routes"),
    ("georadius", "STORE and STOREDIST name a key: the first key routes, as in twemproxy"),
    ("georadiusbymember", "STORE and STOREDIST name a key: the first key routes, as in twemproxy"),
];

fn recorded() -> BTreeMap<String, Recorded> {
    serde_json::from_str(include_str!("data/redis-7.0-commands.json")).unwrap()
}

fn positions(command: &Command) -> (i64, i64, i64) {
    match command.keys {
        Keys::None | Keys::Counted { also: None, .. } => (0, 0, 0),
        Keys::Counted { also: Some(also), .. } => (also.into(), also.into(), 1),
        Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
    }
}

#[test]
fn arity_and_keys_are_those_of_redis() {
    let recorded = recorded();
    for command in commands::all() {
        let redis = recorded.get(command.name).expect(command.name);
        let differs = ARITIES.iter().find(|(name, ..)| *name == command.name);
        let arity = differs.map_or(redis.arity, |&(_, ours, _)| ours);
        assert_eq!(command.arity, arity, "arity of {}", command.name);
        assert_ne!(differs.map(|row| row.1), Some(redis.arity), "{} does not differ", command.name);
        assert_eq!(
            positions(command),
            (redis.first, redis.last, redis.step),
            "keys of {}",
            command.name
        );
    }
}

#[test]
fn movable_keys_are_counted_or_listed() {
    let recorded = recorded();
    for command in commands::all() {
        let counted = matches!(command.keys, Keys::Counted { .. });
        let listed = FIRST_KEY_ONLY.iter().any(|(name, _)| *name == command.name);
        assert_eq!(recorded[command.name].movable, counted || listed, "{}", command.name);
        assert!(!(counted && listed), "{}", command.name);
    }
}

#[test]
fn no_command_blocks_a_server_connection() {
    let recorded = recorded();
    for command in commands::all() {
        assert!(!recorded[command.name].blocking, "{}", command.name);
    }
}

#[test]
fn every_command_of_twemproxy_is_there() {
    let names = "\
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
    for name in names.split_ascii_whitespace() {
        assert!(commands::lookup(name.as_bytes()).is_some(), "{name}");
    }
}
