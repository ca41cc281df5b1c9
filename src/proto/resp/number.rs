//! The numbers in RESP's heads: `3\r\n` behind a `*`, `$` or `:`.
//!
//! A length has exactly one spelling, that of Redis's `string2ll`: no leading zero, no plus, no
//! space, no `-0`. Two parsers that disagree about `$010` disagree about where a request ends,
//! and the bytes between are a request that one of them never saw.

/// Reads a head that is whole, plain and short: up to nine digits, CR, LF. Returns the number
/// and how many bytes it took.
///
/// `None`: whatever else it is (cut off, negative, long, wrong), `Number` finds out.
#[inline]
pub(super) fn whole_head(data: &[u8]) -> Option<(u32, usize)> {
    let mut value = u32::from(data.first()?.wrapping_sub(b'0'));
    if value > 9 {
        return None;
    }
    let mut index = 1;
    loop {
        let byte = *data.get(index)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let ended = byte == b'\r' && data.get(index + 1) == Some(&b'\n');
            return ended.then_some((value, index + 2));
        }
        if value == 0 || index == 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
        index += 1;
    }
}

/// A number that comes byte by byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    magnitude: u64,
    len: u32,
    digits: u32,
    negative: bool,
    wrong: bool,
    loose: bool,
}

impl Number {
    /// A length or a count, in its one spelling.
    pub(super) const fn canonical() -> Self {
        Self { magnitude: 0, len: 0, digits: 0, negative: false, wrong: false, loose: false }
    }

    /// The value of an integer reply. Nothing depends on its spelling, so that leading zeros and a
    /// plus pass, as they do in hiredis.
    pub(super) const fn loose() -> Self {
        Self { loose: true, ..Self::canonical() }
    }

    /// Takes the next byte before the CR.
    pub(super) fn push(&mut self, byte: u8) {
        let first = self.len == 0;
        self.len = self.len.saturating_add(1);
        match byte {
            b'-' if first => self.negative = true,
            b'+' if first && self.loose => {}
            b'0'..=b'9' => self.push_digit(byte - b'0'),
            _ => self.wrong = true,
        }
    }

    fn push_digit(&mut self, digit: u8) {
        let after_zero = self.digits > 0 && self.magnitude == 0;
        let minus_zero = self.negative && self.digits == 0 && digit == 0;
        self.digits = self.digits.saturating_add(1);
        if !self.loose && (after_zero || minus_zero) {
            self.wrong = true;
        }
        // 64 bits have 20 digits at most, leading zeros or not.
        if self.digits > 20 {
            self.wrong = true;
        }
        let next = self.magnitude.checked_mul(10).and_then(|m| m.checked_add(u64::from(digit)));
        match next {
            Some(next) => self.magnitude = next,
            None => self.wrong = true,
        }
    }

    /// Bytes taken.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it can never become a number any more.
    pub(super) const fn is_wrong(&self) -> bool {
        self.wrong
    }

    /// The number, once all of it is there. `None`: it is none, or does not fit 64 bits.
    pub(super) fn value(&self) -> Option<i64> {
        if self.wrong || self.digits == 0 {
            return None;
        }
        if self.negative {
            0i64.checked_sub_unsigned(self.magnitude)
        } else {
            i64::try_from(self.magnitude).ok()
        }
    }

    /// The number that `text` is, all of it.
    pub(super) fn read(mut self, text: &[u8]) -> Option<i64> {
        for &byte in text {
            self.push(byte);
        }
        self.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_is_a_length() {
        let read = |text: &str| Number::canonical().read(text.as_bytes());
        for value in [0, 1, 9, 10, 512 << 20, i64::MAX, -1, -5, i64::MIN] {
            assert_eq!(read(&value.to_string()), Some(value));
        }
        let wrong = [
            "",
            "-",
            "+",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1a",
            "0x1",
            "--1",
            "1-",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551617",
            "12345678901234567890123456789012",
        ];
        for text in wrong {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_integer_reply_may_have_a_plus_and_zeros() {
        let read = |text: &str| Number::loose().read(text.as_bytes());
        assert_eq!(read("+7"), Some(7));
        assert_eq!(read("-007"), Some(-7));
        assert_eq!(read("-0"), Some(0));
        for text in
            ["", "+", "-", "+-1", "x", "1.5", "9223372036854775808", "000000000000000000001"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_whole_head_agrees_with_the_slow_way() {
        for value in [0, 1, 9, 10, 99, 12_345, 999_999_999] {
            let text = format!("{value}\r\nrest");
            let len = text.len() - 4;
            assert_eq!(whole_head(text.as_bytes()), Some((value, len)));
            for cut in 0..len {
                assert_eq!(whole_head(&text.as_bytes()[..cut]), None, "{text:?} cut at {cut}");
            }
        }
        for text in ["01\r\n", "-1\r\n", "1000000000\r\n", "\r\n", "1\n", "1\r\r", "1x\r\n", "00"] {
            assert_eq!(whole_head(text.as_bytes()), None, "{text:?}");
        }
    }
}
