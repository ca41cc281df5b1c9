//! What a request may be answered with, as far as the first reply to it can be told from another's.
//!
//! A server that has lost count answers each request with the reply to the one before. In RESP
//! nothing shows it; the lines of memcached name what was done, and a value names its key.

/// What the next reply of a server is held against. It is small: each request that waits has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Keys that were asked for, as a set that may hold a few others: of one key its hash, of
    /// several a bit for each.
    keys: u32,
    /// How many they are; `u16::MAX` stands for any larger number too.
    count: u16,
    /// Which kind of reply it is.
    pub replies: Replies,
    /// Whether whoever waits wants to know where the elements of the reply end.
    pub elements: bool,
}

/// The kinds of replies. Each may be an error instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// Nothing is known of it: every reply of Redis.
    #[default]
    Any,
    /// Values, and a line behind them (memcached's get, gat).
    Values,
    /// The same, each value with a number that is its own (gets, gats).
    Uniques,
    /// Whether something was stored.
    Stored,
    /// Whether something was deleted.
    Deleted,
    /// A number.
    Number,
    /// Whether something was touched.
    Touched,
    /// That it was done.
    Done,
    /// A version.
    Version,
}

/// The hash of a key, byte by byte (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u32);

impl Expected {
    /// A reply of this kind, in which no key is named so far.
    pub fn new(replies: Replies) -> Self {
        Self { replies, ..Self::default() }
    }

    /// A value of this key, too, may be in it.
    pub fn add_key(&mut self, KeyHash(hash): KeyHash) {
        self.keys = match self.count {
            0 => hash,
            1 => bit(self.keys) | bit(hash),
            _ => self.keys | bit(hash),
        };
        self.count = self.count.saturating_add(1);
    }

    /// Whether a value of this key may be in it. Of a key that was not asked for, a few in a
    /// thousand million are taken for one that was, and more when several were.
    pub fn has_key(self, KeyHash(hash): KeyHash) -> bool {
        match self.count {
            0 => false,
            1 => self.keys == hash,
            _ => self.keys & bit(hash) != 0,
        }
    }

    /// Whether so many values may be in it.
    pub fn may_have(self, values: u32) -> bool {
        self.count == u16::MAX || values <= u32::from(self.count)
    }
}

impl KeyHash {
    /// Before the first byte.
    pub const START: Self = Self(0x811c_9dc5);

    /// With one more byte.
    #[inline]
    #[must_use]
    pub fn and(self, byte: u8) -> Self {
        Self((self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// One of 32 bits, by the upper ones of a hash, which are mixed best.
fn bit(hash: u32) -> u32 {
    1 << (hash >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> KeyHash {
        key.bytes().fold(KeyHash::START, KeyHash::and)
    }

    #[test]
    fn keys_that_were_asked_for_are_known_and_few_others() {
        for count in [1, 2, 7] {
            let mut expected = Expected::new(Replies::Values);
            let asked: Vec<String> = (0..count).map(|number| format!("user:{number}")).collect();
            asked.iter().for_each(|key| expected.add_key(hash(key)));
            assert!(asked.iter().all(|key| expected.has_key(hash(key))));
            assert!(expected.may_have(count) && !expected.may_have(count + 1));
            let others = (100..1100).filter(|n| expected.has_key(hash(&format!("user:{n}"))));
            let most = if count == 1 { 0 } else { 1000 * count as usize / 20 };
            let others = others.count();
            assert!(others <= most, "{others} of 1000, with {count} keys");
        }
    }

    #[test]
    fn nothing_is_expected_of_a_reply_without_keys() {
        let expected = Expected::new(Replies::Stored);
        assert!(!expected.has_key(KeyHash::START) && !expected.may_have(1));
        let mut many = Expected::new(Replies::Values);
        (0..70_000).for_each(|_| many.add_key(hash("k")));
        assert!(many.may_have(70_001), "who counts so far no more counts no further");
    }

    #[test]
    fn it_costs_a_word() {
        assert_eq!(size_of::<Expected>(), 8);
    }
}
