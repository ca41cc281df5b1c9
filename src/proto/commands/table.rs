//! The command table: one line per command, and that line is all that a command needs.
//!
//! Arity and key positions are those of Redis 7.0's `COMMAND INFO` (`tests/commands.rs` holds the
//! table to a recording of it, and lists where it differs, with the reason). Commands that change
//! a connection, block it, or answer for one server only are not here: they would poison a server
//! connection that clients share.

use crate::proto::commands::{Answer, Command, Keys, Local, Split};

/// The argument behind the name.
const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
/// The two arguments behind the name.
const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
/// All arguments behind the name.
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
/// Every other argument: the others are values.
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };
/// `numkeys key [key ...]` behind the name.
const COUNTED: Keys = Keys::Counted { at: 1, first: 2, also: None };
/// `destination numkeys key [key ...]` behind the name.
const STORED: Keys = Keys::Counted { at: 2, first: 3, also: Some(1) };
/// `script numkeys [key ...]` behind the name.
const SCRIPT: Keys = Keys::Counted { at: 2, first: 3, also: None };

/// Source: redis 7.0 `cluster.c`, `server.c`.
const NO_CLUSTER: &[u8] = b"-ERR This instance has cluster support disabled\r\n";

const SHARED: &str = "it would change a server connection that clients share";
const SHARED_WRITES: &str = "clients share server connections, so it would count others' writes";
const ONE_SERVER: &str = "it is about one server, and a pool has many: ask the server itself";
const REPLICATION: &str = "it is for servers that replicate";
const DEBUGGING: &str = "it is for who debugs a server";

#[rustfmt::skip]
pub(in crate::proto) static COMMANDS: &[Command] = &[
    // Answered here.
    local("acl", -2, Local::Acl),
    local("auth", -2, Local::Auth),
    local("client", -2, Local::Client),
    local("command", -1, Local::Command),
    local("config", -2, Local::Config),
    local("echo", 2, Local::Echo),
    local("hello", -1, Local::Hello),
    local("info", -1, Local::Info),
    local("latency", -2, Local::Latency),
    local("lolwut", -1, Local::Lolwut),
    local("ping", -1, Local::Ping),
    local("quit", -1, Local::Quit),
    local("reset", 1, Local::Reset),
    local("role", 1, Local::Role),
    local("select", 2, Local::Select),
    local("slowlog", -2, Local::Slowlog),
    local("time", 1, Local::Time),

    // Answered here, and never otherwise.
    local("asking", 1, Local::Line(NO_CLUSTER)),
    local("cluster", -2, Local::Line(NO_CLUSTER)),
    local("readonly", 1, Local::Line(NO_CLUSTER)),
    local("readwrite", 1, Local::Line(NO_CLUSTER)),
    local("bgrewriteaof", 1, Local::Refused(ONE_SERVER)),
    local("bgsave", -1, Local::Refused(ONE_SERVER)),
    local("debug", -2, Local::Refused(DEBUGGING)),
    local("failover", -1, Local::Refused(REPLICATION)),
    local("lastsave", 1, Local::Refused(ONE_SERVER)),
    local("module", -2, Local::Refused(ONE_SERVER)),
    local("monitor", 1, Local::Refused(SHARED)),
    local("psync", -3, Local::Refused(REPLICATION)),
    local("replconf", -1, Local::Refused(REPLICATION)),
    local("replicaof", 3, Local::Refused(REPLICATION)),
    local("save", 1, Local::Refused(ONE_SERVER)),
    local("shutdown", -1, Local::Refused(ONE_SERVER)),
    local("slaveof", 3, Local::Refused(REPLICATION)),
    local("swapdb", 3, Local::Refused(ONE_SERVER)),
    local("sync", 1, Local::Refused(REPLICATION)),
    local("wait", 3, Local::Refused(SHARED_WRITES)),

    // Over several servers.
    split("del", -2, ALL, Split::Sum),
    split("exists", -2, ALL, Split::Sum),
    split("mget", -2, ALL, Split::Collect),
    split("mset", -3, PAIRS, Split::Ok),
    split("touch", -2, ALL, Split::Sum),
    split("unlink", -2, ALL, Split::Sum),

    // Keys of any type.
    row("copy", -3, TWO),
    row("dump", 2, ONE),
    row("expire", -3, ONE),
    row("expireat", -3, ONE),
    row("expiretime", 2, ONE),
    row("move", 3, ONE),
    row("persist", 2, ONE),
    row("pexpire", -3, ONE),
    row("pexpireat", -3, ONE),
    row("pexpiretime", 2, ONE),
    row("pttl", 2, ONE),
    row("rename", 3, TWO),
    row("renamenx", 3, TWO),
    row("restore", -4, ONE),
    row("sort", -2, ONE),
    row("sort_ro", -2, ONE),
    row("ttl", 2, ONE),
    row("type", 2, ONE),

    // Strings and bits.
    row("append", 3, ONE),
    row("bitcount", -2, ONE),
    row("bitfield", -2, ONE),
    row("bitfield_ro", -2, ONE),
    row("bitop", -4, Keys::Range { first: 2, last: -1, step: 1 }),
    row("bitpos", -3, ONE),
    row("decr", 2, ONE),
    row("decrby", 3, ONE),
    row("get", 2, ONE),
    row("getbit", 3, ONE),
    row("getdel", 2, ONE),
    row("getex", -2, ONE),
    row("getrange", 4, ONE),
    row("getset", 3, ONE),
    row("incr", 2, ONE),
    row("incrby", 3, ONE),
    row("incrbyfloat", 3, ONE),
    row("lcs", -3, TWO),
    row("msetnx", -3, PAIRS),
    row("psetex", 4, ONE),
    row("set", -3, ONE),
    row("setbit", 4, ONE),
    row("setex", 4, ONE),
    row("setnx", 3, ONE),
    row("setrange", 4, ONE),
    row("strlen", 2, ONE),
    row("substr", 4, ONE),

    // Hashes.
    row("hdel", -3, ONE),
    row("hexists", 3, ONE),
    row("hget", 3, ONE),
    row("hgetall", 2, ONE),
    row("hincrby", 4, ONE),
    row("hincrbyfloat", 4, ONE),
    row("hkeys", 2, ONE),
    row("hlen", 2, ONE),
    row("hmget", -3, ONE),
    row("hmset", -4, ONE),
    row("hrandfield", -2, ONE),
    row("hscan", -3, ONE),
    row("hset", -4, ONE),
    row("hsetnx", 4, ONE),
    row("hstrlen", 3, ONE),
    row("hvals", 2, ONE),

    // Lists.
    row("lindex", 3, ONE),
    row("linsert", 5, ONE),
    row("llen", 2, ONE),
    row("lmove", 5, TWO),
    row("lmpop", -4, COUNTED),
    row("lpop", -2, ONE),
    row("lpos", -3, ONE),
    row("lpush", -3, ONE),
    row("lpushx", -3, ONE),
    row("lrange", 4, ONE),
    row("lrem", 4, ONE),
    row("lset", 4, ONE),
    row("ltrim", 4, ONE),
    row("rpop", -2, ONE),
    row("rpoplpush", 3, TWO),
    row("rpush", -3, ONE),
    row("rpushx", -3, ONE),

    // Sets.
    row("sadd", -3, ONE),
    row("scard", 2, ONE),
    row("sdiff", -2, ALL),
    row("sdiffstore", -3, ALL),
    row("sinter", -2, ALL),
    row("sintercard", -3, COUNTED),
    row("sinterstore", -3, ALL),
    row("sismember", 3, ONE),
    row("smembers", 2, ONE),
    row("smismember", -3, ONE),
    row("smove", 4, TWO),
    row("spop", -2, ONE),
    row("srandmember", -2, ONE),
    row("srem", -3, ONE),
    row("sscan", -3, ONE),
    row("sunion", -2, ALL),
    row("sunionstore", -3, ALL),

    // Sorted sets.
    row("zadd", -4, ONE),
    row("zcard", 2, ONE),
    row("zcount", 4, ONE),
    row("zdiff", -3, COUNTED),
    row("zdiffstore", -4, STORED),
    row("zincrby", 4, ONE),
    row("zinter", -3, COUNTED),
    row("zintercard", -3, COUNTED),
    row("zinterstore", -4, STORED),
    row("zlexcount", 4, ONE),
    row("zmpop", -4, COUNTED),
    row("zmscore", -3, ONE),
    row("zpopmax", -2, ONE),
    row("zpopmin", -2, ONE),
    row("zrandmember", -2, ONE),
    row("zrange", -4, ONE),
    row("zrangebylex", -4, ONE),
    row("zrangebyscore", -4, ONE),
    row("zrangestore", -5, TWO),
    row("zrank", -3, ONE),
    row("zrem", -3, ONE),
    row("zremrangebylex", 4, ONE),
    row("zremrangebyrank", 4, ONE),
    row("zremrangebyscore", 4, ONE),
    row("zrevrange", -4, ONE),
    row("zrevrangebylex", -4, ONE),
    row("zrevrangebyscore", -4, ONE),
    row("zrevrank", -3, ONE),
    row("zscan", -3, ONE),
    row("zscore", 3, ONE),
    row("zunion", -3, COUNTED),
    row("zunionstore", -4, STORED),

    // HyperLogLog.
    row("pfadd", -2, ONE),
    row("pfcount", -2, ALL),
    row("pfmerge", -2, ALL),

    // Places.
    row("geoadd", -5, ONE),
    row("geodist", -4, ONE),
    row("geohash", -2, ONE),
    row("geopos", -2, ONE),
    row("georadius", -6, ONE),
    row("georadius_ro", -6, ONE),
    row("georadiusbymember", -5, ONE),
    row("georadiusbymember_ro", -5, ONE),
    row("geosearch", -7, ONE),
    row("geosearchstore", -8, TWO),

    // Scripts.
    row("eval", -3, SCRIPT),
    row("eval_ro", -3, SCRIPT),
    row("evalsha", -3, SCRIPT),
    row("evalsha_ro", -3, SCRIPT),
];

const fn row(name: &'static str, arity: i16, keys: Keys) -> Command {
    Command { name, arity, keys, split: Split::No, answer: Answer::Server }
}

const fn split(name: &'static str, arity: i16, keys: Keys, split: Split) -> Command {
    Command { name, arity, keys, split, answer: Answer::Server }
}

const fn local(name: &'static str, arity: i16, local: Local) -> Command {
    Command { name, arity, keys: Keys::None, split: Split::No, answer: Answer::Proxy(local) }
}
