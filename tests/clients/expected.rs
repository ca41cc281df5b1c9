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

/// What fails today: nothing. A case that stands here and passes is a fault too: then its row goes.
pub const GAPS: &[Gap] = &[];

/// The rows in which a case of a library stands.
pub fn gaps<'a>(title: &'a str, case: &'a str) -> impl Iterator<Item = &'static Gap> + 'a {
    GAPS.iter().filter(move |gap| {
        gap.cases.contains(&case) && (gap.libraries.is_empty() || gap.libraries.contains(&title))
    })
}
