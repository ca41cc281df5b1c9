//! Patterns as Redis has them: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a byte that is itself.

/// Whether all of `text` fits `pattern`, letters in any case.
///
/// Source of the rules: redis `util.c`, `stringmatchlen`. A `*` is tried again from where it last
/// stood only, so the time is at most the product of the two lengths.
pub(crate) fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, here));
            at += 1;
        } else if let Some(next) = one(&pattern[at..], text[here]) {
            at += next;
            here += 1;
        } else if let Some((behind, from)) = star {
            star = Some((behind, from + 1));
            at = behind;
            here = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// How many bytes of `pattern` stand for one byte, if `byte` is what they stand for.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let is = |wanted: u8| wanted.eq_ignore_ascii_case(&byte);
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte),
        [b'\\', wanted, ..] => is(wanted).then_some(2),
        [wanted, ..] => is(wanted).then_some(1),
    }
}

/// The same for `[...]`, which may lack its end.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    let is_negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(is_negated);
    let mut found = false;
    while let Some(&first) = pattern.get(at) {
        match (first, pattern.get(at + 1), pattern.get(at + 2)) {
            (b'\\', Some(wanted), _) => {
                found |= wanted.to_ascii_lowercase() == byte;
                at += 2;
            }
            (b']', ..) => {
                at += 1;
                break;
            }
            (low, Some(b'-'), Some(&high)) => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            (wanted, ..) => {
                found |= wanted.to_ascii_lowercase() == byte;
                at += 1;
            }
        }
    }
    (found != is_negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches_ignoring_case;

    #[test]
    fn a_pattern_fits_as_in_redis() {
        let fits =
            |pattern: &str, text: &str| matches_ignoring_case(pattern.as_bytes(), text.as_bytes());
        for (pattern, text) in [
            ("*", ""),
            ("", ""),
            ("save", "SAVE"),
            ("*max*", "proto-max-bulk-len"),
            ("a*b*c", "axxbxbyc"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hAllo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("h\\*llo", "h*llo"),
            ("h[\\]]llo", "h]llo"),
            ("h[a", "ha"),
            ("**a**", "a"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("sav", "save"),
            ("h[^e]llo", "hello"),
            ("h\\*llo", "hello"),
            ("a*b", "abc"),
            ("[", "["),
            ("\\", "a"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = b"a*".repeat(2000);
        assert!(!matches_ignoring_case(&[&pattern[..], b"b"].concat(), &[b'a'; 4000]));
    }
}
