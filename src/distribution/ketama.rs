//! Ketama: servers own arcs of a circle of 32-bit values, and a key belongs to the owner of the
//! arc that its hash lies on.
//!
//! Each server puts points on the circle, in number proportional to its weight; a point owns the
//! arc that ends at it, so when a server leaves, only its own keys move.
//!
//! ```text
//!        point of b                point of a           point of b
//!            v                         v                    v
//!  0 --------+-------------------------+--------------------+--------- 2^32 and round to 0
//!  |<-- b -->|<---------- a ---------->|<------- b -------->|<-- b, the first point's -->|
//! ```

use std::io::Write;

use crate::hash;

use super::LiveNode;

/// Points that a server of average weight puts on the circle.
const POINTS_PER_SERVER: u16 = 160;

/// Points that come out of one MD5 digest: 16 bytes are four values.
const POINTS_PER_DIGEST: u16 = 4;

/// Bytes of `name-number` that are hashed; twemproxy cuts off the rest (`KETAMA_MAX_HOSTLEN` less
/// the terminating zero). It does so behind a host of 255 bytes, a port and a number.
const LABEL_BYTES_MAX: usize = 272;

/// The circle.
///
/// A look-up goes through a table of equal arcs, about one for each point: the first bits of a
/// value name its arc, and the search starts at the first point that lies in it or behind it.
/// Points are digests and so spread evenly: the search takes a step or two, where halving the
/// whole circle takes a step that the processor cannot foresee for each doubling.
#[derive(Clone, Debug)]
pub(super) struct Continuum {
    /// In ascending order of `value`, each value once, and the last value is the largest there is:
    /// so every search ends.
    points: Box<[Point]>,
    /// For each arc, the place of the first point at or after its beginning.
    starts: Box<[u32]>,
    /// How far a value is shifted to give the number of its arc.
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    value: u32,
    owner: u32,
}

impl Continuum {
    /// The circle of at least one live node.
    ///
    /// Where two servers' points fall together, the server that comes first has it: twemproxy
    /// sorts with `qsort`, which is a merge sort in glibc and so keeps equal points in the order
    /// they were made.
    pub(super) fn new(live: &[LiveNode]) -> Self {
        let total_weight = LiveNode::total_weight(live);
        let mut points = Vec::with_capacity(live.len() * usize::from(POINTS_PER_SERVER));
        for LiveNode { index, node } in live {
            for number in 0..digests(node.weight, total_weight, live.len()) {
                let values = hash::md5_words(&label(&node.name, number));
                points.extend(values.map(|value| Point { value, owner: *index }));
            }
        }
        points.sort_by_key(|point| point.value);
        points.dedup_by_key(|point| point.value);
        Self::of(points)
    }

    /// The circle of `points`, which are in ascending order and each of a value of its own.
    fn of(mut points: Vec<Point>) -> Self {
        assert!(!points.is_empty(), "a server with the largest weight has at least one point");
        // What lies behind the last point is the first one's.
        if points[points.len() - 1].value < u32::MAX {
            points.push(Point { value: u32::MAX, owner: points[0].owner });
        }
        // At least two points and so two arcs, but for a circle that is a single point.
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let shift = u32::BITS - bits;
        let start = |arc: u32| points.partition_point(|point| point.value < arc << shift) as u32;
        let starts = (0..1 << bits).map(start).collect();
        Self { points: points.into_boxed_slice(), starts, shift }
    }

    /// The index of the server that owns `value`: that of the first point at or after it.
    #[inline]
    pub(super) fn owner(&self, value: u32) -> u32 {
        let mut place = self.starts[(value >> self.shift) as usize] as usize;
        while self.points[place].value < value {
            place += 1;
        }
        self.points[place].owner
    }
}

/// How many digests a server of `weight` makes points of: 40 for the average weight, and none for
/// less than a fortieth of it.
///
/// The steps and their widths are twemproxy's (`ketama_update`): single precision, but for the
/// last addition. Exact arithmetic gives another number for some weights, and so other owners.
fn digests(weight: u32, total_weight: u64, live: usize) -> u32 {
    let share = weight as f32 / total_weight as f32;
    let points = share * f32::from(POINTS_PER_SERVER) / f32::from(POINTS_PER_DIGEST);
    (f64::from(points * live as f32) + 1e-10) as f32 as u32
}

/// What is hashed for the digest `number` of a server: `name-number`.
fn label(name: &str, number: u32) -> Vec<u8> {
    let mut label = Vec::with_capacity(name.len() + 11);
    label.extend_from_slice(name.as_bytes());
    write!(label, "-{number}").expect("a Vec takes every byte");
    label.truncate(LABEL_BYTES_MAX);
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_those_of_twemproxys_own_test() {
        let values = hash::md5_words(&label("server1", 8));
        assert_eq!((values[0], values[3]), (3853726576, 2667054752));
    }

    #[test]
    fn point_owns_what_ends_at_it_and_the_first_owns_the_rest() {
        let point = |(value, owner)| Point { value, owner };
        let points = [(10, 1), (20, 0), (u32::MAX - 1, 2)].map(point);
        let continuum = Continuum::of(points.to_vec());
        let owners = [(0, 1), (10, 1), (11, 0), (20, 0), (21, 2), (u32::MAX - 1, 2), (u32::MAX, 1)];
        for (value, owner) in owners {
            assert_eq!(continuum.owner(value), owner, "{value}");
        }
    }

    /// Around every point and every arc's beginning, the table gives what a search of all gives.
    #[test]
    fn arcs_change_no_choice() {
        let mut seed = 1_u32;
        let mut draw = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        for count in [1, 2, 3, 4, 5, 40, 159, 160, 320, 1600] {
            // Spread evenly, all in one arc at either end, and the largest value itself.
            let spread: Vec<u32> = (0..count).map(|_| draw()).collect();
            let low: Vec<u32> = (0..count).collect();
            let high: Vec<u32> = (0..count).map(|number| u32::MAX - number).collect();
            for mut values in [spread, low, high] {
                values.sort_unstable();
                values.dedup();
                let point = |(&value, owner)| Point { value, owner };
                let points: Vec<Point> = values.iter().zip(0..).map(point).collect();
                let continuum = Continuum::of(points.clone());
                let begins = (0..continuum.starts.len() as u32).map(|arc| arc << continuum.shift);
                let edges = values.into_iter().chain(begins).chain([0, u32::MAX]);
                for value in
                    edges.flat_map(|edge| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)])
                {
                    let place = points.partition_point(|point| point.value < value);
                    let owner = points.get(place).unwrap_or(&points[0]).owner;
                    assert_eq!(continuum.owner(value), owner, "{value} of {count} points");
                }
            }
        }
    }

    #[test]
    fn shares_are_computed_in_single_precision() {
        assert_eq!(digests(1, 4, 4), 40);
        // Exactly 40, 8, 24 and 8: the quotient in single precision lies just below.
        assert_eq!(digests(1, 25, 25), 39);
        assert_eq!(digests(1, 25, 5), 7);
        assert_eq!(digests(3, 25, 5), 23);
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        assert_eq!(digests(u32::MAX, 2 * u64::from(u32::MAX), 2), 40);
        assert_eq!(digests(1, 2 * u64::from(u32::MAX), 2), 0);
    }

    #[test]
    fn long_names_are_cut_where_twemproxy_cuts() {
        let name = "n".repeat(300);
        assert_eq!(label(&name, 0), name.as_bytes()[..272]);
        assert_eq!(label(&name[..270], 12), format!("{}-1", &name[..270]).as_bytes());
    }
}
