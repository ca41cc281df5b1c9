//! As much of Rust's grammar as the rules need: which bytes are code, and which paths it names.

/// A file, as it is and with everything that is not code blanked out.
pub struct Source {
    /// From the root of the tree, with `/`.
    pub path: String,
    /// The text as it stands.
    pub raw: String,
    /// The same text, where comments and what literals hold are spaces; lines stay where they are.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), raw: text.to_owned(), code: blanked(text) }
    }

    /// The line, from 1, that byte `at` of `code` stands on.
    pub fn line_of(&self, at: usize) -> usize {
        1 + self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Where `word` stands in `code` with no letter, digit or underscore around it.
    pub fn words(&self, word: &str) -> Vec<usize> {
        words_in(&self.code, word)
    }

    /// Every path of the code that begins with `first`, groups resolved: `use a::{b, c::d}` gives
    /// `a::b` and `a::c::d`. Each with the place where it begins.
    pub fn paths(&self, first: &str) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for at in self.words(first) {
            let mut found = Vec::new();
            expand(&self.code[at..], "", &mut found);
            paths.extend(found.into_iter().map(|path| (at, path)));
        }
        paths
    }
}

/// Where `word` stands in `text` with no letter, digit or underscore around it.
pub fn words_in(text: &str, word: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let is_part = |at: Option<&u8>| at.is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_');
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| !(at > 0 && is_part(bytes.get(at - 1))))
        .filter(|&at| !is_part(bytes.get(at + word.len())))
        .collect()
}

/// Reads one use tree at the head of `text`, and returns the bytes it took.
fn expand(text: &str, prefix: &str, into: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    let mut at = skip_space(text, 0);
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            return at + expand_group(rest, &path, into);
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
        let end = end.unwrap_or(rest.len());
        if !path.is_empty() && end > 0 {
            path += "::";
        }
        path += &rest[..end];
        at += end;
        let next = skip_space(text, at);
        if !text[next..].starts_with("::") {
            into.push(path);
            return at;
        }
        at = skip_space(text, next + 2);
    }
}

/// Reads `{tree, tree}` at the head of `text`, and returns the bytes it took.
fn expand_group(text: &str, prefix: &str, into: &mut Vec<String>) -> usize {
    let mut at = 1;
    loop {
        at = skip_space(text, at);
        match text.as_bytes().get(at) {
            None => return text.len(),
            Some(b'}') => return at + 1,
            Some(_) => {}
        }
        at += expand(&text[at..], prefix, into);
        // What may follow a tree, as `as name`, ends at the next comma or brace.
        at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
        if text[at..].starts_with(',') {
            at += 1;
        }
    }
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    at + (rest.len() - rest.trim_start().len())
}

/// `text` with comments and the insides of literals as spaces, newlines kept.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_or_comment(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("whole characters were replaced")
}

/// Where what begins at `at` ends, if it is a comment or a literal.
fn literal_or_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        return Some(at + length);
    }
    if rest.starts_with(b"/*") {
        return Some(at + block_comment(rest));
    }
    if rest[0] == b'"' {
        return Some(at + quoted(rest));
    }
    if rest[0] == b'\'' {
        return character(rest).map(|length| at + length);
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest[0] == b'r' && (!in_word || (bytes[at - 1] == b'b' || bytes[at - 1] == b'c')) {
        return raw_string(rest).map(|length| at + length);
    }
    None
}

/// The length of the block comment that `rest` begins with; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the string that `rest` begins with.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of the character that `rest` begins with; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|&byte| byte == b'\'')?;
        return Some(end + 4);
    }
    // A character has up to four bytes, and a lifetime is not closed.
    let first = *rest.get(1)?;
    let width = if first < 0x80 { 1 } else { first.leading_ones() as usize };
    (rest.get(1 + width) == Some(&b'\'')).then_some(2 + width)
}

/// The length of the raw string that `rest` begins with, if it is one.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = 2 + hashes;
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| body + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::{Source, blanked};

    #[test]
    fn only_code_is_left() {
        let text = "a /* b /* c */ \n d */ e // f\n\"g\\\"h\" 'i' '\\'' 'x: r#\"j\"# br\"k\" l";
        let left: Vec<String> = blanked(text).split_whitespace().map(str::to_owned).collect();
        assert_eq!(left, ["a", "e", "'x:", "b", "l"]);
        assert_eq!(blanked(text).lines().count(), text.lines().count());
    }

    #[test]
    fn groups_are_resolved() {
        let text = "use crate::{a, b::{C as D, self}, e::*};\nlet x = crate :: f::g();";
        let source = Source::new("src/x.rs", text);
        let paths: Vec<String> = source.paths("crate").into_iter().map(|(_, path)| path).collect();
        let wanted = ["crate::a", "crate::b::C", "crate::b::self", "crate::e::*", "crate::f::g"];
        assert_eq!(paths, wanted);
    }

    #[test]
    fn a_word_is_whole() {
        let source = Source::new("src/x.rs", "unsafe_code; unsafe {}\n// unsafe\nmy_unsafe");
        assert_eq!(source.words("unsafe").len(), 1);
        assert_eq!(source.line_of(source.words("my_unsafe")[0]), 3);
    }
}
