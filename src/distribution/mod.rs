//! Which server a key belongs to.
//!
//! A pool's servers stand in twemproxy's order (`server_order`), and a `RoutingTable` made of them
//! never changes: when a server is ejected or comes back, a new table takes over between two
//! requests. The choices are twemproxy's, to the last key: a proxy that chose otherwise would
//! find nothing of what the servers hold.
//!
//! ```text
//! key -- hash tag --> part -- hash function --> 32 bits -- ketama | modula --> index of a server
//!                                                  draw -- random ----------> index of a server
//! ```
//!
//! **Knows nothing of:** connections, health, time. Who is ejected is told by the caller, and so
//! is the random number.

mod ketama;
mod modula;

use std::cmp::Ordering;

use crate::hash::{HashKind, HashTag};

use ketama::Continuum;
use modula::Shares;

/// How a pool's `distribution` spreads keys over servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DistributionKind {
    /// Consistent hashing, as libketama does: twemproxy's default.
    #[default]
    Ketama,
    /// The hash modulo the sum of the weights.
    Modula,
    /// Any server, whatever the key.
    Random,
}

impl DistributionKind {
    /// Every distribution, in the order of twemproxy's documentation.
    pub const ALL: [Self; 3] = [Self::Ketama, Self::Modula, Self::Random];

    /// The distribution that a configuration calls `name`, in exactly twemproxy's spelling.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ketama => "ketama",
            Self::Modula => "modula",
            Self::Random => "random",
        }
    }
}

/// A server as a distribution sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What ketama hashes: the explicit name, or else `host:port` as the configuration writes it,
    /// `host` alone for port 11211 (as libmemcached), `/path:` for a unix socket.
    pub name: String,
    /// The server's share relative to the others', at least 1. Random ignores it.
    pub weight: u32,
}

/// Twemproxy's order of servers and of pools, by name: the shorter first, then by bytes.
///
/// Source: twemproxy `string_compare` in `src/nc_string.c`, `conf_validate_server`.
pub fn server_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// From a key to the index of its server. Immutable, and without randomness of its own.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    hash: HashKind,
    tag: Option<HashTag>,
    live: Box<[u32]>,
    choice: Choice,
    /// For each node, whether it is ejected.
    ejected: Box<[bool]>,
}

/// How an index is chosen. Every index in here is of a server that is not ejected.
#[derive(Clone, Debug)]
enum Choice {
    /// There is nobody to choose.
    Nobody,
    /// There is one server to choose: nothing is hashed.
    Only(u32),
    Ketama(Continuum),
    Modula(Shares),
    Random(Box<[u32]>),
}

impl RoutingTable {
    /// The table of `nodes` without those whose place in `ejected` is true.
    ///
    /// `nodes` must be in `server_order` by name and every name different, since the order decides
    /// where keys go; each weight is at least 1; `ejected` is as long as `nodes`. Panics
    /// otherwise: the configuration was checked before.
    ///
    /// Memory and time: under ketama 160 points per server on average, each eight bytes and one or
    /// two arcs of four, and one MD5 for four of them; else one entry per server.
    pub fn new(
        hash: HashKind,
        tag: Option<HashTag>,
        kind: DistributionKind,
        nodes: &[Node],
        ejected: &[bool],
    ) -> Self {
        assert_eq!(nodes.len(), ejected.len(), "every server is either ejected or not");
        assert!(nodes.iter().all(|node| node.weight > 0), "a weight is at least 1");
        assert!(
            nodes.is_sorted_by(|a, b| server_order(&a.name, &b.name) == Ordering::Less),
            "servers are sorted by name, and no name occurs twice"
        );
        let live: Vec<LiveNode> = nodes
            .iter()
            .zip(ejected)
            .zip(0..)
            .filter(|((_, ejected), _)| !**ejected)
            .map(|((node, _), index)| LiveNode { index, node })
            .collect();
        let choice = match (live.as_slice(), kind) {
            ([], _) => Choice::Nobody,
            ([only], _) => Choice::Only(only.index),
            (_, DistributionKind::Ketama) => Choice::Ketama(Continuum::new(&live)),
            (_, DistributionKind::Modula) => Choice::Modula(Shares::new(&live)),
            (_, DistributionKind::Random) => {
                Choice::Random(live.iter().map(|node| node.index).collect())
            }
        };
        let live = live.iter().map(|node| node.index).collect();
        Self { hash, tag, live, choice, ejected: ejected.into() }
    }

    /// Whether the server of this index is one that keys can belong to. Panics when there is no
    /// such server.
    pub fn is_live(&self, index: usize) -> bool {
        !self.ejected[index]
    }

    /// The indexes of the servers that are not ejected, ascending.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// Whether a key has a server of its own: not under random.
    pub fn is_fixed(&self) -> bool {
        !matches!(self.choice, Choice::Random(_))
    }

    /// The index in `nodes` of the server that `key` belongs to, never of an ejected one.
    ///
    /// `draw` is a random number over the whole range of `u32`; only random looks at it. A pool of
    /// one server is index 0, and nothing is hashed for it. An empty key counts as the hash value
    /// 0, whatever the function. `None`: every server is ejected (or there is none), also when
    /// the pool has only one; twemproxy answers `-ERR Connection refused` then.
    ///
    /// Source: twemproxy `server_pool_update`, `server_pool_idx` in `src/nc_server.c`.
    #[inline]
    pub fn route(&self, key: &[u8], draw: u32) -> Option<usize> {
        let index = match &self.choice {
            Choice::Nobody => return None,
            Choice::Only(index) => *index,
            Choice::Ketama(continuum) => continuum.owner(self.value(key)),
            Choice::Modula(shares) => shares.owner(self.value(key)),
            Choice::Random(live) => live[draw as usize % live.len()],
        };
        Some(index as usize)
    }

    /// The server of every key that `pattern` stands for, its first `*` being any text; the pattern
    /// is a key itself if it has none. `None`: they are on several servers, or on none.
    pub fn route_pattern(&self, pattern: &[u8], draw: u32) -> Option<usize> {
        let Some(star) = memchr::memchr(b'*', pattern) else { return self.route(pattern, draw) };
        // Only a tag that is whole before the star is that of every key.
        let before = &pattern[..star];
        let is_tagged = self.tag.is_some_and(|tag| tag.part(before).len() < before.len());
        match &self.choice {
            Choice::Only(_) => self.route(pattern, draw),
            Choice::Ketama(_) | Choice::Modula(_) if is_tagged => self.route(before, draw),
            Choice::Nobody | Choice::Random(_) | Choice::Ketama(_) | Choice::Modula(_) => None,
        }
    }

    /// The server of the keys that have this `value`, as `route` has it. None under random.
    pub fn owner(&self, value: u32) -> Option<usize> {
        let index = match &self.choice {
            Choice::Nobody | Choice::Random(_) => return None,
            Choice::Only(index) => *index,
            Choice::Ketama(continuum) => continuum.owner(value),
            Choice::Modula(shares) => shares.owner(value),
        };
        Some(index as usize)
    }

    /// What decides about a key's server: the hash of its tag, or of all of it.
    pub fn value(&self, key: &[u8]) -> u32 {
        let part = self.tag.map_or(key, |tag| tag.part(key));
        if part.is_empty() { 0 } else { self.hash.hash(part) }
    }
}

/// A node that is not ejected, with its index among all.
#[derive(Clone, Copy)]
struct LiveNode<'n> {
    index: u32,
    node: &'n Node,
}

impl LiveNode<'_> {
    /// The sum of all weights. It has room for as many of the largest weight as memory has nodes.
    fn total_weight(live: &[Self]) -> u64 {
        live.iter().map(|live| u64::from(live.node.weight)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KINDS: [DistributionKind; 3] = DistributionKind::ALL;

    fn nodes(weights: &[u32]) -> Vec<Node> {
        let node = |(place, &weight)| Node { name: format!("server{}", 100 + place), weight };
        weights.iter().enumerate().map(node).collect()
    }

    fn table(kind: DistributionKind, weights: &[u32], ejected: &[bool]) -> RoutingTable {
        RoutingTable::new(HashKind::Fnv1a64, None, kind, &nodes(weights), ejected)
    }

    /// Where each of a thousand keys goes, each with a draw of its own.
    fn choices(table: &RoutingTable) -> Vec<Option<usize>> {
        (0..1000).map(|number| table.route(format!("key:{number}").as_bytes(), number)).collect()
    }

    #[test]
    fn names_are_read_back_and_are_case_sensitive() {
        for kind in KINDS {
            assert_eq!(DistributionKind::from_name(kind.name()), Some(kind));
            assert_eq!(DistributionKind::from_name(&kind.name().to_uppercase()), None);
        }
        assert_eq!(DistributionKind::from_name("modulo"), None);
        assert_eq!(DistributionKind::default().name(), "ketama");
    }

    #[test]
    fn shorter_names_come_first_then_bytes_decide() {
        let mut names = ["b", "aa", "a", "B", "server10", "server9", "\u{e9}", "zz", ""];
        names.sort_by(|a, b| server_order(a, b));
        assert_eq!(names, ["", "B", "a", "b", "aa", "zz", "\u{e9}", "server9", "server10"]);
    }

    #[test]
    fn single_server_has_every_key() {
        for kind in KINDS {
            let table = table(kind, &[3], &[false]);
            assert!(choices(&table).iter().all(|choice| *choice == Some(0)));
            assert_eq!(table.route(b"", u32::MAX), Some(0));
        }
    }

    #[test]
    fn nobody_is_chosen_when_all_are_ejected() {
        for kind in KINDS {
            for weights in [&[][..], &[1], &[1, 2, 3]] {
                let table = table(kind, weights, &vec![true; weights.len()]);
                assert_eq!(table.route(b"key", 7), None);
                assert_eq!(table.route(b"", 0), None);
            }
        }
    }

    #[test]
    fn ejected_servers_get_nothing_and_every_other_something() {
        for kind in KINDS {
            let table = table(kind, &[1, 2, 1, 3, 1], &[true, false, false, true, false]);
            let chosen: BTreeSet<_> = choices(&table).into_iter().collect();
            assert_eq!(chosen, BTreeSet::from([Some(1), Some(2), Some(4)]), "{}", kind.name());
        }
    }

    #[test]
    fn last_live_server_has_every_key() {
        for kind in KINDS {
            let table = table(kind, &[1, 2, 3], &[true, true, false]);
            assert!(choices(&table).iter().all(|choice| *choice == Some(2)));
        }
    }

    #[test]
    fn ketama_moves_only_the_keys_of_the_ejected_server() {
        let before = choices(&table(DistributionKind::Ketama, &[1; 5], &[false; 5]));
        let ejected = [false, false, true, false, false];
        let after = choices(&table(DistributionKind::Ketama, &[1; 5], &ejected));
        for (before, after) in before.into_iter().zip(after) {
            assert!(before == after || before == Some(2), "{before:?} moved to {after:?}");
        }
    }

    #[test]
    fn modula_shrinks_by_the_weight_of_the_ejected_server() {
        let hash = |key: &[u8]| HashKind::Fnv1a64.hash(key);
        let whole = table(DistributionKind::Modula, &[1, 2, 3], &[false; 3]);
        let shrunk = table(DistributionKind::Modula, &[1, 2, 3], &[false, true, false]);
        for number in 0..100 {
            let key = format!("key:{number}").into_bytes();
            let places = [0, 1, 1, 2, 2, 2];
            assert_eq!(whole.route(&key, 0), Some(places[hash(&key) as usize % 6]));
            let places = [0, 2, 2, 2];
            assert_eq!(shrunk.route(&key, 0), Some(places[hash(&key) as usize % 4]));
        }
    }

    #[test]
    fn random_follows_the_draw_alone_and_ignores_weights() {
        let table = table(DistributionKind::Random, &[1000, 1, 1], &[false, true, false]);
        for key in [&b""[..], b"key", b"another"] {
            assert_eq!(table.route(key, 0), Some(0));
            assert_eq!(table.route(key, 1), Some(2));
            assert_eq!(table.route(key, 2), Some(0));
            assert_eq!(table.route(key, u32::MAX), Some(2));
        }
    }

    #[test]
    fn only_a_tag_before_the_star_says_where_a_pattern_leads() {
        let braces = Some(HashTag { open: b'{', close: b'}' });
        let of = |kind, ejected: &[bool]| {
            RoutingTable::new(HashKind::Fnv1a64, braces, kind, &nodes(&[1, 1, 1]), ejected)
        };
        let whole = of(DistributionKind::Ketama, &[false; 3]);
        let owner = whole.route(b"{tag}", 0);
        for pattern in ["{tag}*", "w_{tag}_*", "{tag}*{b}", "{tag}"] {
            assert_eq!(whole.route_pattern(pattern.as_bytes(), 0), owner, "{pattern}");
        }
        for pattern in ["*", "w_*", "*{tag}", "{*}", "{tag*}", "{}*", "{tag*"] {
            assert_eq!(whole.route_pattern(pattern.as_bytes(), 0), None, "{pattern}");
        }
        let only = of(DistributionKind::Modula, &[true, false, true]);
        assert_eq!(only.route_pattern(b"w_*", 0), Some(1));
        assert_eq!(of(DistributionKind::Random, &[false; 3]).route_pattern(b"{tag}*", 0), None);
    }

    #[test]
    fn tiny_share_has_no_point_and_gets_no_key() {
        let alive = [false; 3];
        let ketama = choices(&table(DistributionKind::Ketama, &[1, 1_000_000, 1], &alive));
        assert!(ketama.iter().all(|choice| *choice == Some(1)));
    }

    #[test]
    fn largest_weights_are_routed() {
        for kind in KINDS {
            let chosen: BTreeSet<_> =
                choices(&table(kind, &[u32::MAX; 3], &[false; 3])).into_iter().collect();
            // The sum is beyond what a hash can be, so modula reaches the first server alone.
            let reached = if kind == DistributionKind::Modula { 1 } else { 3 };
            assert_eq!(chosen.len(), reached, "{}", kind.name());
        }
    }

    #[test]
    fn empty_key_counts_as_hash_zero() {
        for hash in HashKind::ALL {
            let nodes = nodes(&[1, 5, 5]);
            let alive = [false; 3];
            let modula = RoutingTable::new(hash, None, DistributionKind::Modula, &nodes, &alive);
            assert_eq!(modula.route(b"", 9), Some(0), "{}", hash.name());
        }
    }

    #[test]
    fn keys_with_one_tag_share_a_server() {
        let tag = Some(HashTag { open: b'{', close: b'}' });
        for kind in [DistributionKind::Ketama, DistributionKind::Modula] {
            let nodes = nodes(&[1; 7]);
            let table = RoutingTable::new(HashKind::Murmur, tag, kind, &nodes, &[false; 7]);
            let bare = table.route(b"42", 0);
            assert_eq!(table.route(b"user:{42}:name", 0), bare);
            assert_eq!(table.route(b"{42}", 0), bare);
            assert_ne!(table.route(b"user:{41}:name", 0), bare);
        }
    }

    #[test]
    #[should_panic(expected = "sorted")]
    fn unsorted_servers_are_a_bug() {
        let mut nodes = nodes(&[1, 1]);
        nodes.reverse();
        RoutingTable::new(HashKind::Md5, None, DistributionKind::Ketama, &nodes, &[false; 2]);
    }
}
