//! Modula: the hash modulo the sum of the weights.
//!
//! Twemproxy keeps a table in which every server stands as often as it weighs. Here it is one
//! entry per server, where its places end, so that a weight costs no memory.

use super::LiveNode;

/// The places of the servers, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// In ascending order of `end`. Never empty.
    shares: Box<[Share]>,
    /// How many places there are: the last `end`.
    places: u64,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    /// One past the server's last place.
    end: u64,
    owner: u32,
}

impl Shares {
    /// The places of at least one live node.
    pub(super) fn new(live: &[LiveNode]) -> Self {
        let mut end = 0;
        let shares = live
            .iter()
            .map(|live| {
                end += u64::from(live.node.weight);
                Share { end, owner: live.index }
            })
            .collect();
        Self { shares, places: LiveNode::total_weight(live) }
    }

    /// The index of the server that owns `value`.
    #[inline]
    pub(super) fn owner(&self, value: u32) -> u32 {
        let place = u64::from(value) % self.places;
        self.shares[self.shares.partition_point(|share| share.end <= place)].owner
    }
}
