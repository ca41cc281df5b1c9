//! The values of single keys. Errors are the text of a fault: what is wrong, what would be right.

use std::time::Duration;

use super::fault::{quoted, shown};
use crate::distribution::DistributionKind;
use crate::hash::{HashKind, HashTag};

/// Digits only, as in twemproxy: no sign, no space, no unit. `None` when it is anything else or
/// does not fit.
pub fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

/// A number from 0 to 2147483647: twemproxy's are 32 bits with a sign, and wrap; ours do not.
pub fn number(text: &str) -> Result<u32, String> {
    match digits(text) {
        Some(number) if number <= NUMBER_MAX => Ok(number as u32),
        Some(_) | None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{} is out of range: from 0 to {NUMBER_MAX} would be right", shown(text)))
        }
        Some(_) | None => Err(format!(
            "{} is not a number: digits alone, from 0 to {NUMBER_MAX}, would be right",
            quoted(text)
        )),
    }
}

/// As `number`, and not 0.
pub fn positive(text: &str) -> Result<u32, String> {
    match number(text)? {
        0 => Err("cannot be 0; 1 would be right".to_owned()),
        number => Ok(number),
    }
}

/// A number of milliseconds.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" => Some(1),
        "s" | "sec" => Some(1_000),
        "m" | "min" => Some(60_000),
        _ => None,
    };
    let meant = factor.and_then(|factor| digits(count)?.checked_mul(factor));
    match meant {
        Some(meant) if meant <= NUMBER_MAX => Err(format!(
            "{} is not a number of milliseconds (would {meant} be right?)",
            quoted(text)
        )),
        Some(_) | None => number(text).map(|ms| Duration::from_millis(ms.into())),
    }
}

/// Seconds between probes of a connection.
pub fn keep_alive_time(text: &str) -> Result<Duration, String> {
    let meant = text.strip_suffix('s').and_then(|count| keep_alive(count, KEEP_ALIVE_S_MAX));
    match (keep_alive(text, KEEP_ALIVE_S_MAX), meant) {
        (Some(seconds), _) => Ok(Duration::from_secs(seconds.into())),
        (None, Some(meant)) => {
            Err(format!("{} is not a number of seconds (would {meant} be right?)", quoted(text)))
        }
        (None, None) => {
            Err(format!("{} is not a number of seconds from 1 to {KEEP_ALIVE_S_MAX}", quoted(text)))
        }
    }
}

/// How many probes go unanswered before a connection is given up.
pub fn keep_alive_count(text: &str) -> Result<u32, String> {
    keep_alive(text, KEEP_ALIVE_COUNT_MAX)
        .ok_or_else(|| format!("{} is not a number from 1 to {KEEP_ALIVE_COUNT_MAX}", quoted(text)))
}

fn keep_alive(text: &str, max: u32) -> Option<u32> {
    let number = digits(text)?;
    (1..=u64::from(max)).contains(&number).then_some(number as u32)
}

/// How long to wait. Nothing is for ever, and so is 0 (`nc_message.c`).
pub fn timeout(text: &str) -> Result<Option<Duration>, String> {
    if text.starts_with('-') {
        return Err(format!(
            "{} is not a number; leave timeout out, or write 0, to wait for ever",
            quoted(text)
        ));
    }
    milliseconds(text).map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
}

/// `true` or `false`, in these words only.
pub fn boolean(text: &str) -> Result<bool, String> {
    let meant = match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => " (would true be right?)",
        "false" | "no" | "off" | "n" | "0" => " (would false be right?)",
        _ => "",
    };
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{} is not \"true\" or \"false\"{meant}", quoted(text))),
    }
}

/// The name of a hash function.
pub fn hash(text: &str) -> Result<HashKind, String> {
    let names = || HashKind::ALL.iter().map(|kind| kind.name());
    HashKind::from_name(text).ok_or_else(|| match text {
        "java_hashcode" => format!("{} {UPREDIS_WORD}", quoted(text)),
        _ => format!("{} is not a valid hash; {}", quoted(text), choice(text, names())),
    })
}

/// The name of a distribution.
pub fn distribution(text: &str) -> Result<DistributionKind, String> {
    let names = || DistributionKind::ALL.iter().map(|kind| kind.name());
    DistributionKind::from_name(text).ok_or_else(|| match text {
        "jump" => format!("{} {UPREDIS_WORD}", quoted(text)),
        _ => format!("{} is not a valid distribution; {}", quoted(text), choice(text, names())),
    })
}

/// Two bytes.
pub fn hash_tag(text: &str) -> Result<HashTag, String> {
    match *text.as_bytes() {
        [open, close] => Ok(HashTag { open, close }),
        _ => Err(format!(
            "{} is not a valid hash tag string with two characters; \"{{}}\" would be right",
            quoted(text)
        )),
    }
}

/// From 1 to 65535.
pub fn port(text: &str) -> Result<u16, String> {
    match digits(text).map(u16::try_from) {
        Some(Ok(port)) if port > 0 => Ok(port),
        Some(_) | None => Err(format!("{} is not a number from 1 to 65535", quoted(text))),
    }
}

fn choice<'n>(text: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(text, names.clone()) {
        Some(name) => format!("would {name} be right?"),
        None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// The name that `text` may have been meant to be, if one is near.
pub fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if text.len() > NEAREST_BYTES_MAX {
        return None;
    }
    let text = text.to_ascii_lowercase().replace('-', "_");
    let edits_max = (text.len() / 2).min(3);
    let near = names.map(|name| (edits(text.as_bytes(), name.as_bytes()), name)).min();
    near.filter(|&(edits, _)| edits <= edits_max).map(|(_, name)| name)
}

/// How many bytes have to be put in or taken out to make one the other. A changed byte is two
/// edits, as what people forget is more often a letter than it is another one.
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if a == b { diagonal } else { above.min(row[j]) + 1 };
            diagonal = above;
        }
    }
    row[other.len()]
}

/// A word that a file of twemproxy's descendant may have: another one would move its keys.
const UPREDIS_WORD: &str =
    "is of upredis-proxy and not supported yet; any other would share the keys out differently";

/// twemproxy's `int`.
const NUMBER_MAX: u64 = i32::MAX as u64;

/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL` and `MAX_TCP_KEEPCNT` (Linux, `include/net/tcp.h`).
const KEEP_ALIVE_S_MAX: u32 = 32_767;
const KEEP_ALIVE_COUNT_MAX: u32 = 127;

/// No key or name is longer than half of this.
const NEAREST_BYTES_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, other, count) in
            [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("abc", "ac", 1), ("abc", "axc", 2)]
        {
            assert_eq!(edits(one.as_bytes(), other.as_bytes()), count, "{one} {other}");
            assert_eq!(edits(other.as_bytes(), one.as_bytes()), count, "{other} {one}");
        }
    }

    #[test]
    fn a_forgotten_letter_is_nearer_than_another_one() {
        let names = ["fnv1_64", "fnv1a_64", "murmur"];
        assert_eq!(nearest("fnv1a64", names.into_iter()), Some("fnv1a_64"));
        assert_eq!(nearest("murmer", names.into_iter()), Some("murmur"));
        assert_eq!(nearest("sha1", names.into_iter()), None);
        assert_eq!(nearest("", names.into_iter()), None);
    }
}
