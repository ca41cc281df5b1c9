//! The twelve functions that turn a key into 32 bits, and the part of a key they are given.
//!
//! The values are twemproxy's on x86-64, where `char` is signed: several functions add a byte of
//! 0x80 and above as a negative number. A proxy that computed anything else would look for every
//! key on another server than the one that twemproxy put it on.
//!
//! **Knows nothing of:** servers. What a value chooses is `distribution`'s business.

mod crc;
mod fnv;
mod hsieh;
mod jenkins;
mod murmur;

use md5::{Digest, Md5};

/// One of the hash functions that a pool's `hash` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// Jenkins's one-at-a-time.
    OneAtATime,
    /// The first four bytes of the MD5 digest, little endian.
    Md5,
    /// CRC-16/XMODEM whose register is 32 bits wide and never cut to 16.
    Crc16,
    /// Bits 16 to 30 of CRC-32, as libmemcached has it: never above 0x7fff.
    Crc32,
    /// CRC-32 (ISO-HDLC), all of it.
    Crc32a,
    /// The low half of the 64-bit FNV-1.
    Fnv1_64,
    /// The low half of the 64-bit FNV-1a: twemproxy's default.
    #[default]
    Fnv1a64,
    /// The 32-bit FNV-1.
    Fnv1_32,
    /// The 32-bit FNV-1a.
    Fnv1a32,
    /// Hsieh's SuperFastHash, begun with 0.
    Hsieh,
    /// MurmurHash2, seeded by the length of the key.
    Murmur,
    /// Jenkins's lookup3, begun with 13.
    Jenkins,
}

impl HashKind {
    /// Every function, in the order of twemproxy's documentation.
    pub const ALL: [Self; 12] = [
        Self::OneAtATime,
        Self::Md5,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1_64,
        Self::Fnv1a64,
        Self::Fnv1_32,
        Self::Fnv1a32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
    ];

    /// The function that a configuration calls `name`, in exactly twemproxy's spelling.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneAtATime => "one_at_a_time",
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1_64 => "fnv1_64",
            Self::Fnv1a64 => "fnv1a_64",
            Self::Fnv1_32 => "fnv1_32",
            Self::Fnv1a32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
        }
    }

    /// The function's value for `key`, of any bytes and any length.
    ///
    /// For an empty key it is whatever the function begins with; routing does not ask, since
    /// twemproxy takes 0 there (`distribution::RoutingTable`).
    ///
    /// Source: twemproxy `src/hashkit/`.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Self::OneAtATime => jenkins::one_at_a_time(key),
            Self::Md5 => md5_words(key)[0],
            Self::Crc16 => crc::crc16(key),
            Self::Crc32 => crc::crc32(key) >> 16 & 0x7fff,
            Self::Crc32a => crc::crc32(key),
            Self::Fnv1_64 => fnv::fnv1(key, fnv::WIDE),
            Self::Fnv1a64 => fnv::fnv1a(key, fnv::WIDE),
            Self::Fnv1_32 => fnv::fnv1(key, fnv::NARROW),
            Self::Fnv1a32 => fnv::fnv1a(key, fnv::NARROW),
            Self::Hsieh => hsieh::hsieh(key),
            Self::Murmur => murmur::murmur(key),
            Self::Jenkins => jenkins::lookup3(key),
        }
    }
}

/// The two characters of a pool's `hash_tag`: keys with the same text between them share a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTag {
    /// The byte before the tag.
    pub open: u8,
    /// The byte after it; it may be the same.
    pub close: u8,
}

impl HashTag {
    /// The part of `key` that is hashed: what stands between the first `open` and the first
    /// `close` after it, or the whole key when either is missing or nothing stands between.
    ///
    /// Only the first `open` counts: `{}{a}` is hashed whole, and `{{a}}` gives `{a`.
    ///
    /// Source: twemproxy `server_pool_idx` in `src/nc_server.c`.
    #[inline]
    pub fn part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let Some(open) = memchr::memchr(self.open, key) else { return key };
        let after = &key[open + 1..];
        match memchr::memchr(self.close, after) {
            Some(length) if length > 0 => &after[..length],
            Some(_) | None => key,
        }
    }
}

/// The MD5 digest of `text` as four little-endian words.
pub(crate) fn md5_words(text: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(text).into();
    std::array::from_fn(|word| word_at(&digest, word * 4))
}

/// A byte as C's signed `char` becomes an unsigned number: from 0x80 on the upper bits are set.
#[inline]
const fn sign_extended(byte: u8) -> u32 {
    byte as i8 as u32
}

/// The little-endian word that begins at `at`, which must be at least four bytes from the end.
#[inline]
const fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apple_hashes_as_in_twemproxys_own_test() {
        let expected = [
            (HashKind::OneAtATime, 2297466611),
            (HashKind::Md5, 3195025439),
            (HashKind::Crc16, 3662830516),
            (HashKind::Crc32, 10542),
            (HashKind::Crc32a, 2838417488),
            (HashKind::Fnv1_64, 473199127),
            (HashKind::Fnv1a64, 1488911807),
            (HashKind::Fnv1_32, 67176023),
            (HashKind::Fnv1a32, 280767167),
            (HashKind::Hsieh, 3738850110),
            (HashKind::Murmur, 4142305122),
            (HashKind::Jenkins, 1442444624),
        ];
        assert_eq!(expected.map(|(kind, _)| kind), HashKind::ALL);
        for (kind, value) in expected {
            assert_eq!(kind.hash(b"apple"), value, "{}", kind.name());
        }
    }

    #[test]
    fn names_are_read_back_and_are_case_sensitive() {
        for kind in HashKind::ALL {
            assert_eq!(HashKind::from_name(kind.name()), Some(kind));
            assert_eq!(HashKind::from_name(&kind.name().to_uppercase()), None);
        }
        assert_eq!(HashKind::from_name(""), None);
        assert_eq!(HashKind::from_name("fnv1a"), None);
        assert_eq!(HashKind::default().name(), "fnv1a_64");
    }

    #[test]
    fn tag_is_between_first_open_and_first_close_after_it() {
        let braces = HashTag { open: b'{', close: b'}' };
        let cases: [(&[u8], &[u8]); 13] = [
            (b"", b""),
            (b"key", b"key"),
            (b"user:{42}:x", b"42"),
            (b"{}x", b"{}x"),
            (b"{}{a}", b"{}{a}"),
            (b"{{a}}b", b"{a"),
            (b"x{a}y{b}", b"a"),
            (b"}a{b}", b"b"),
            (b"{unclosed", b"{unclosed"),
            (b"a}b{", b"a}b{"),
            (b"{", b"{"),
            (b"{a}", b"a"),
            (b"{\x00\xff}", b"\x00\xff"),
        ];
        for (key, part) in cases {
            assert_eq!(braces.part(key), part, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn one_character_opens_and_closes_a_tag() {
        let dollars = HashTag { open: b'$', close: b'$' };
        assert_eq!(dollars.part(b"a$b$c"), b"b");
        assert_eq!(dollars.part(b"a$$b$c"), b"a$$b$c");
        assert_eq!(dollars.part(b"a$b"), b"a$b");
    }
}
