//! The commands of the modules that Redis 8 comes with, as far as they name their keys: searching
//! an index (FT), and the queries over all time series, would have to ask every server.
//!
//! Debian's Redis has none of these modules, so these rows alone are not held to a server. Their
//! source: RedisJSON `redis_json/src/lib.rs`, and the commands' own pages. A module says by itself
//! how many arguments it takes, so the arity is open.

use super::*;

#[rustfmt::skip]
pub(super) const ROWS: &[Command] = &[
    // Documents.
    module("json.arrappend", ONE, WRITE | DENYOOM),
    module("json.arrindex", ONE, READONLY),
    module("json.arrinsert", ONE, WRITE | DENYOOM),
    module("json.arrlen", ONE, READONLY),
    module("json.arrpop", ONE, WRITE),
    module("json.arrtrim", ONE, WRITE),
    module("json.clear", ONE, WRITE),
    module("json.debug", SECOND, READONLY),
    module("json.del", ONE, WRITE),
    module("json.forget", ONE, WRITE),
    module("json.get", ONE, READONLY),
    module("json.merge", ONE, WRITE | DENYOOM),
    module("json.mget", TIMED, READONLY),
    module("json.mset", TRIPLES, WRITE | DENYOOM),
    module("json.numincrby", ONE, WRITE),
    module("json.nummultby", ONE, WRITE),
    module("json.numpowby", ONE, WRITE),
    module("json.objkeys", ONE, READONLY),
    module("json.objlen", ONE, READONLY),
    module("json.resp", ONE, READONLY),
    module("json.set", ONE, WRITE | DENYOOM),
    module("json.strappend", ONE, WRITE | DENYOOM),
    module("json.strlen", ONE, READONLY),
    module("json.toggle", ONE, WRITE | DENYOOM),
    module("json.type", ONE, READONLY),

    // Bloom filters.
    module("bf.add", ONE, WRITE | DENYOOM),
    module("bf.card", ONE, READONLY),
    module("bf.exists", ONE, READONLY),
    module("bf.info", ONE, READONLY),
    module("bf.insert", ONE, WRITE | DENYOOM),
    module("bf.loadchunk", ONE, WRITE | DENYOOM),
    module("bf.madd", ONE, WRITE | DENYOOM),
    module("bf.mexists", ONE, READONLY),
    module("bf.reserve", ONE, WRITE | DENYOOM),
    module("bf.scandump", ONE, READONLY),

    // Cuckoo filters.
    module("cf.add", ONE, WRITE | DENYOOM),
    module("cf.addnx", ONE, WRITE | DENYOOM),
    module("cf.count", ONE, READONLY),
    module("cf.del", ONE, WRITE),
    module("cf.exists", ONE, READONLY),
    module("cf.info", ONE, READONLY),
    module("cf.insert", ONE, WRITE | DENYOOM),
    module("cf.insertnx", ONE, WRITE | DENYOOM),
    module("cf.loadchunk", ONE, WRITE | DENYOOM),
    module("cf.mexists", ONE, READONLY),
    module("cf.reserve", ONE, WRITE | DENYOOM),
    module("cf.scandump", ONE, READONLY),

    // Count-min sketches.
    module("cms.incrby", ONE, WRITE | DENYOOM),
    module("cms.info", ONE, READONLY),
    module("cms.initbydim", ONE, WRITE | DENYOOM),
    module("cms.initbyprob", ONE, WRITE | DENYOOM),
    module("cms.merge", STORED, WRITE | DENYOOM),
    module("cms.query", ONE, READONLY),

    // Most frequent elements.
    module("topk.add", ONE, WRITE | DENYOOM),
    module("topk.count", ONE, READONLY),
    module("topk.incrby", ONE, WRITE | DENYOOM),
    module("topk.info", ONE, READONLY),
    module("topk.list", ONE, READONLY),
    module("topk.query", ONE, READONLY),
    module("topk.reserve", ONE, WRITE | DENYOOM),

    // Distributions of values.
    module("tdigest.add", ONE, WRITE | DENYOOM),
    module("tdigest.byrank", ONE, READONLY),
    module("tdigest.byrevrank", ONE, READONLY),
    module("tdigest.cdf", ONE, READONLY),
    module("tdigest.create", ONE, WRITE | DENYOOM),
    module("tdigest.info", ONE, READONLY),
    module("tdigest.max", ONE, READONLY),
    module("tdigest.merge", STORED, WRITE | DENYOOM),
    module("tdigest.min", ONE, READONLY),
    module("tdigest.quantile", ONE, READONLY),
    module("tdigest.rank", ONE, READONLY),
    module("tdigest.reset", ONE, WRITE | DENYOOM),
    module("tdigest.revrank", ONE, READONLY),
    module("tdigest.trimmed_mean", ONE, READONLY),

    // Time series.
    module("ts.add", ONE, WRITE | DENYOOM),
    module("ts.alter", ONE, WRITE),
    module("ts.create", ONE, WRITE | DENYOOM),
    module("ts.createrule", TWO, WRITE | DENYOOM),
    module("ts.decrby", ONE, WRITE | DENYOOM),
    module("ts.del", ONE, WRITE),
    module("ts.deleterule", TWO, WRITE),
    module("ts.get", ONE, READONLY),
    module("ts.incrby", ONE, WRITE | DENYOOM),
    module("ts.info", ONE, READONLY),
    module("ts.madd", TRIPLES, WRITE | DENYOOM),
    module("ts.range", ONE, READONLY),
    module("ts.revrange", ONE, READONLY),
];

/// Every third argument: the others are a path and a value, or a time and a value.
const TRIPLES: Keys = Keys::Range { first: 1, last: -1, step: 3 };

const fn module(name: &'static str, keys: Keys, flags: u32) -> Command {
    row(name, -1, keys, MODULE | flags, 0)
}
