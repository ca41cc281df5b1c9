//! Which libraries there are, and what they cannot do through the proxy yet.

use crate::matrix::{Library, Script};

/// All libraries. The versions are those of the files that `install.sh` reads.
pub const LIBRARIES: [Library; 10] = [
    Library {
        name: "redis-py",
        version: "5.3.1",
        script: Script::Python("redis-py-5"),
        without: &[],
    },
    Library {
        name: "redis-py",
        version: "6.4.0",
        script: Script::Python("redis-py-6"),
        without: &[],
    },
    Library {
        name: "redis-py",
        version: "8.1.0",
        script: Script::Python("redis-py-8"),
        without: &[],
    },
    Library {
        name: "ioredis",
        version: "5.11.1",
        script: Script::Node("ioredis.cjs", "ioredis-5"),
        without: &["resp3"],
    },
    Library {
        name: "ioredis",
        version: "6.0.0",
        script: Script::Node("ioredis.cjs", "ioredis-6"),
        without: &[],
    },
    Library {
        name: "node-redis",
        version: "4.7.1",
        script: Script::Node("node_redis.cjs", "node-redis-4"),
        without: &["resp3"],
    },
    Library {
        name: "node-redis",
        version: "5.12.1",
        script: Script::Node("node_redis.cjs", "node-redis-5"),
        without: &[],
    },
    Library {
        name: "node-redis",
        version: "6.3.1",
        script: Script::Node("node_redis.cjs", "node-redis-6"),
        without: &[],
    },
    Library { name: "redis-rs", version: "1.8.1", script: Script::Rust, without: &[] },
    // The one of the system's packages, of whichever version.
    Library { name: "phpredis", version: "", script: Script::Php, without: &["resp3"] },
];

/// Cases that fail through the proxy for one reason. A case may stand in several, and fails until
/// the last of them is gone.
pub struct Gap {
    /// Titles of libraries; none means all of them.
    pub libraries: &'static [&'static str],
    /// Names of cases.
    pub cases: &'static [&'static str],
    /// What is missing, as the README has it.
    pub missing: &'static str,
}

const ALL: &[&str] = &[];

/// What fails today. A case that stands here and passes is a fault too: then its row goes.
pub const GAPS: &[Gap] = &[
    Gap {
        libraries: &["redis-py 8", "node-redis 6"],
        cases: &["password", "wrong_password", "user_and_password"],
        missing: "`HELLO`",
    },
    Gap {
        libraries: &["redis-py 5", "redis-py 6", "redis-rs 1", "redis-py 8", "node-redis 6"],
        cases: &["resp3"],
        missing: "`HELLO`",
    },
    Gap { libraries: &["node-redis 5"], cases: &["resp3"], missing: "`HELLO`" },
    Gap { libraries: &["ioredis 6"], cases: &["resp3"], missing: "`HELLO`" },
    Gap {
        libraries: &["ioredis 5", "ioredis 6"],
        cases: &[
            "connect",
            "set_get",
            "mget",
            "pipeline",
            "binary",
            "large",
            "password",
            "wrong_password",
            "user_and_password",
            "resp2",
            "transaction",
            "watch",
            "blocking_pop",
            "blocking_pop_times_out",
        ],
        missing: "`INFO`",
    },
    Gap {
        libraries: &["ioredis 5", "node-redis 4", "node-redis 5", "phpredis"],
        cases: &["wrong_password", "user_and_password"],
        missing: "Redis's words for a wrong password",
    },
    Gap {
        libraries: &["go-redis 9", "lettuce 7", "jedis 8", "StackExchange.Redis 3"],
        cases: &["handshake", "password"],
        missing: "`HELLO`",
    },
    Gap {
        libraries: &["go-redis 9", "lettuce 7", "jedis 8"],
        cases: &["wrong_password"],
        missing: "`HELLO`",
    },
    Gap {
        libraries: &["StackExchange.Redis 3"],
        cases: &["wrong_password"],
        missing: "Redis's words for a wrong password",
    },
    Gap {
        libraries: &["StackExchange.Redis 3"],
        cases: &["handshake", "password", "fallback"],
        missing: "`CLIENT`",
    },
    Gap {
        libraries: &["StackExchange.Redis 3"],
        cases: &["handshake", "password", "fallback"],
        missing: "`INFO`",
    },
    Gap {
        libraries: &["StackExchange.Redis 3"],
        cases: &["handshake", "password"],
        missing: "`SUBSCRIBE`, `PSUBSCRIBE`",
    },
    Gap {
        libraries: ALL,
        cases: &["subscribe", "psubscribe"],
        missing: "`SUBSCRIBE`, `PSUBSCRIBE`",
    },
    Gap { libraries: ALL, cases: &["scan"], missing: "`SCAN`" },
];

/// The rows in which a case of a library stands.
pub fn gaps<'a>(title: &'a str, case: &'a str) -> impl Iterator<Item = &'static Gap> + 'a {
    GAPS.iter().filter(move |gap| {
        gap.cases.contains(&case) && (gap.libraries.is_empty() || gap.libraries.contains(&title))
    })
}
