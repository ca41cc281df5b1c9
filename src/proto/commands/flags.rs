//! The flags and the categories of commands, as Redis has them.
//!
//! Source: redis 8.0 `server.c` (`addReplyFlagsForCommand`), `acl.c`
//! (`ACLDefaultCommandCategories`).

/// A set of Redis's command flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(super) u32);

/// A set of Redis's ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(pub(super) u32);

pub(super) const WRITE: u32 = 1;
pub(super) const READONLY: u32 = 1 << 1;
pub(super) const DENYOOM: u32 = 1 << 2;
pub(super) const MODULE: u32 = 1 << 3;
pub(super) const ADMIN: u32 = 1 << 4;
pub(super) const PUBSUB: u32 = 1 << 5;
pub(super) const NOSCRIPT: u32 = 1 << 6;
pub(super) const BLOCKING: u32 = 1 << 7;
pub(super) const LOADING: u32 = 1 << 8;
pub(super) const STALE: u32 = 1 << 9;
pub(super) const SKIP_MONITOR: u32 = 1 << 10;
pub(super) const SKIP_SLOWLOG: u32 = 1 << 11;
pub(super) const ASKING: u32 = 1 << 12;
pub(super) const FAST: u32 = 1 << 13;
pub(super) const NO_AUTH: u32 = 1 << 14;
pub(super) const MOVABLE_KEYS: u32 = 1 << 15;
pub(super) const ALLOW_BUSY: u32 = 1 << 16;
pub(super) const NO_MULTI: u32 = 1 << 17;
pub(super) const NO_ASYNC_LOADING: u32 = 1 << 18;
pub(super) const NO_MANDATORY_KEYS: u32 = 1 << 19;

/// In the order in which Redis lists them.
const FLAG_NAMES: [(&str, u32); 20] = [
    ("write", WRITE),
    ("readonly", READONLY),
    ("denyoom", DENYOOM),
    ("module", MODULE),
    ("admin", ADMIN),
    ("pubsub", PUBSUB),
    ("noscript", NOSCRIPT),
    ("blocking", BLOCKING),
    ("loading", LOADING),
    ("stale", STALE),
    ("skip_monitor", SKIP_MONITOR),
    ("skip_slowlog", SKIP_SLOWLOG),
    ("asking", ASKING),
    ("fast", FAST),
    ("no_auth", NO_AUTH),
    ("movablekeys", MOVABLE_KEYS),
    ("allow_busy", ALLOW_BUSY),
    ("no_multi", NO_MULTI),
    ("no_async_loading", NO_ASYNC_LOADING),
    ("no_mandatory_keys", NO_MANDATORY_KEYS),
];

pub(super) const KEYSPACE: u32 = 1;
const READ_CATEGORY: u32 = 1 << 1;
const WRITE_CATEGORY: u32 = 1 << 2;
pub(super) const SET: u32 = 1 << 3;
pub(super) const SORTEDSET: u32 = 1 << 4;
pub(super) const LIST: u32 = 1 << 5;
pub(super) const HASH: u32 = 1 << 6;
pub(super) const STRING: u32 = 1 << 7;
pub(super) const BITMAP: u32 = 1 << 8;
pub(super) const HYPERLOGLOG: u32 = 1 << 9;
pub(super) const GEO: u32 = 1 << 10;
pub(super) const STREAM: u32 = 1 << 11;
const PUBSUB_CATEGORY: u32 = 1 << 12;
pub(super) const ADMINISTRATION: u32 = 1 << 13;
const FAST_CATEGORY: u32 = 1 << 14;
const SLOW: u32 = 1 << 15;
const BLOCKING_CATEGORY: u32 = 1 << 16;
pub(super) const DANGEROUS: u32 = 1 << 17;
pub(super) const CONNECTION: u32 = 1 << 18;
pub(super) const TRANSACTION: u32 = 1 << 19;
pub(super) const SCRIPTING: u32 = 1 << 20;

/// In the order in which Redis lists them.
const CATEGORY_NAMES: [(&str, u32); 21] = [
    ("keyspace", KEYSPACE),
    ("read", READ_CATEGORY),
    ("write", WRITE_CATEGORY),
    ("set", SET),
    ("sortedset", SORTEDSET),
    ("list", LIST),
    ("hash", HASH),
    ("string", STRING),
    ("bitmap", BITMAP),
    ("hyperloglog", HYPERLOGLOG),
    ("geo", GEO),
    ("stream", STREAM),
    ("pubsub", PUBSUB_CATEGORY),
    ("admin", ADMINISTRATION),
    ("fast", FAST_CATEGORY),
    ("slow", SLOW),
    ("blocking", BLOCKING_CATEGORY),
    ("dangerous", DANGEROUS),
    ("connection", CONNECTION),
    ("transaction", TRANSACTION),
    ("scripting", SCRIPTING),
];

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// As `COMMAND INFO` names them, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.into_iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(name, _)| name)
    }

    /// Whether it may change a key (`write`).
    pub fn is_write(self) -> bool {
        self.0 & WRITE != 0
    }

    /// Whether a client may say it that has not authenticated (`no_auth`).
    pub fn is_for_strangers(self) -> bool {
        self.0 & NO_AUTH != 0
    }

    /// Whether it reads keys and changes none (`readonly`).
    pub fn is_read_only(self) -> bool {
        self.0 & READONLY != 0
    }
}

impl Categories {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub fn every() -> Self {
        Self(CATEGORY_NAMES.iter().map(|(_, bit)| bit).sum())
    }

    /// The category of this name, in any case, without the `@`.
    pub fn from_name(name: &str) -> Option<Self> {
        let same = |(known, _): &&(&str, u32)| known.eq_ignore_ascii_case(name);
        CATEGORY_NAMES.iter().find(same).map(|&(_, bit)| Self(bit))
    }

    /// As `COMMAND INFO` names them, without the `@`, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CATEGORY_NAMES.into_iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(name, _)| name)
    }

    /// Whether the two have one in common.
    pub fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The categories of a command with these flags, beside those that it `has` by itself.
    /// Source: redis `acl.c`, `setImplicitACLCategories` (`server.c` in 7.0).
    pub(super) const fn implied(has: u32, flags: Flags) -> Self {
        let flags = flags.0;
        let mut all = has;
        if flags & WRITE != 0 {
            all |= WRITE_CATEGORY;
        }
        if flags & READONLY != 0 && has & SCRIPTING == 0 {
            all |= READ_CATEGORY;
        }
        if flags & ADMIN != 0 {
            all |= ADMINISTRATION | DANGEROUS;
        }
        if flags & PUBSUB != 0 {
            all |= PUBSUB_CATEGORY;
        }
        if flags & BLOCKING != 0 {
            all |= BLOCKING_CATEGORY;
        }
        Self(all | if flags & FAST != 0 { FAST_CATEGORY } else { SLOW })
    }
}
