//! Words that may not stand in the tree, or only where somebody answers for them.

use crate::Fault;
use crate::lexer::{Source, words_in};

/// Marks of unfinished work. In two parts each, as this file is read too.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Macros that have no place in finished code.
const UNFINISHED_MACROS: [&str; 3] =
    [concat!("dbg", "!"), concat!("todo", "!"), concat!("unimplemented", "!")];

/// The rooms of `unsafe`. Tests have it for a counting allocator and for seccomp filters.
const UNSAFE_ROOMS: [&str; 3] = ["src/ring/", "src/sys/", "tests/"];

pub fn nothing_is_left_to_do(source: &Source, faults: &mut Vec<Fault>) {
    for (index, line) in source.raw.lines().enumerate() {
        for word in UNFINISHED.into_iter().chain(UNFINISHED_MACROS) {
            // A macro's name ends with its mark, whatever follows.
            let has = match word.strip_suffix('!') {
                Some(_) => line.contains(word),
                None => !words_in(line, word).is_empty(),
            };
            if has {
                faults
                    .push(Fault { line: index + 1, what: format!("`{word}`: do it, or file it") });
            }
        }
    }
}

/// Only the rooms of `unsafe` open it, and nothing else is silenced. Tests may unwrap, and what
/// several of them share is not used whole by each: neither can be seen by the lint.
pub fn lints_are_not_silenced(source: &Source, faults: &mut Vec<Fault>) {
    let is_test = source.path.starts_with("tests/");
    let may_be_unsafe = UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room));
    for word in ["allow", "expect"] {
        for at in source.words(word) {
            let before: String =
                source.code[..at].chars().rev().filter(|c| !c.is_whitespace()).take(3).collect();
            let is_attribute = before.starts_with("[#") || before.starts_with("[!#");
            let named = source.code[at + word.len()..].trim_start();
            if !is_attribute || !named.starts_with('(') {
                continue;
            }
            let lint = named[1..].split([')', ',']).next().unwrap_or("").trim();
            let is_whole = named[1 + lint.len()..].trim_start().starts_with(')');
            let is_head = before.starts_with("[!#");
            let passes = match lint {
                "unsafe_code" => may_be_unsafe && is_head,
                "dead_code" | "clippy::unwrap_used" | "clippy::wildcard_enum_match_arm" => {
                    is_test && is_head
                }
                _ => false,
            };
            if !passes || !is_whole {
                let what = format!("`{word}({lint})`: mend the cause instead");
                faults.push(Fault { line: source.line_of(at), what });
            }
        }
    }
}

pub fn unsafe_has_its_rooms(source: &Source, faults: &mut Vec<Fault>) {
    if UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
        return;
    }
    for at in source.words("unsafe") {
        let what = "`unsafe` outside ring/ and sys/".to_owned();
        faults.push(Fault { line: source.line_of(at), what });
    }
}

pub fn unsafe_says_why_it_is_sound(source: &Source, faults: &mut Vec<Fault>) {
    let lines: Vec<&str> = source.raw.lines().collect();
    for at in source.words("unsafe") {
        let next = source.code[at + "unsafe".len()..].trim_start();
        let owes_a_reason = next.starts_with('{') || words_in(next, "impl").first() == Some(&0);
        let line = source.line_of(at);
        if owes_a_reason && !has_reason_above(&lines, line - 1) {
            let what = "an `unsafe` block without `// SAFETY:` before it".to_owned();
            faults.push(Fault { line, what });
        }
    }
}

/// Looks up from line `index` (from 0) to the head of its statement, and at the comment there.
fn has_reason_above(lines: &[&str], index: usize) -> bool {
    let mut at = index;
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    while at > 0 && !is_comment(lines[at - 1]) {
        let above = lines[at - 1].trim_end();
        let is_end = above.is_empty() || above.ends_with([';', '{', '}', ',', '(']);
        if is_end {
            return false;
        }
        at -= 1;
    }
    lines[..at].iter().rev().take_while(|line| is_comment(line)).any(|l| l.contains("// SAFETY:"))
}

pub fn modules_say_what_they_are(source: &Source, faults: &mut Vec<Fault>) {
    if !source.raw.starts_with("//! ") {
        let what = "the file does not begin by saying what it is (`//! …`)".to_owned();
        faults.push(Fault { line: 1, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judged;

    #[test]
    fn unfinished_work_is_a_fault() {
        for word in UNFINISHED.into_iter().chain(UNFINISHED_MACROS) {
            let text = format!("//! A.\n// {word}(): later\n");
            assert_eq!(judged(nothing_is_left_to_do, "src/a.rs", &text).len(), 1, "{word}");
        }
        let fine = format!("{}S = \"{}XX\"", UNFINISHED[0], UNFINISHED[2]);
        assert!(judged(nothing_is_left_to_do, "src/a.rs", &fine).is_empty());
    }

    #[test]
    fn a_silenced_lint_is_a_fault() {
        let rule = lints_are_not_silenced;
        assert_eq!(judged(rule, "src/a.rs", "#[allow(dead_code)]\nfn f() {}").len(), 1);
        assert_eq!(judged(rule, "src/a.rs", "#![allow(unsafe_code)]").len(), 1);
        assert_eq!(judged(rule, "src/a.rs", "#[expect(dead_code)]\nfn f() {}").len(), 1);
        assert_eq!(judged(rule, "src/ring/a.rs", "#![allow(unsafe_code, dead_code)]").len(), 1);
        assert_eq!(judged(rule, "src/sys/a.rs", "#[allow(unsafe_code)]\nfn f() {}").len(), 1);
        assert_eq!(judged(rule, "tests/a.rs", "#![allow(clippy::all)]").len(), 1);
        assert!(judged(rule, "src/ring/a.rs", "#![allow(unsafe_code)]").is_empty());
        assert_eq!(judged(rule, "src/a.rs", "#![allow(clippy::unwrap_used)]").len(), 1);
        assert!(judged(rule, "tests/a/mod.rs", "#![allow(dead_code)]").is_empty());
        assert!(judged(rule, "tests/a.rs", "#![allow(clippy::unwrap_used)]").is_empty());
        assert!(judged(rule, "src/a.rs", "fn f() { x.expect(\"y\") }").is_empty());
    }

    #[test]
    fn unsafe_in_another_room_is_a_fault() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(judged(unsafe_has_its_rooms, "src/proxy/a.rs", text).len(), 1);
        assert_eq!(judged(unsafe_has_its_rooms, "bench/a.rs", text).len(), 1);
        assert!(judged(unsafe_has_its_rooms, "src/ring/a.rs", text).is_empty());
        assert!(judged(unsafe_has_its_rooms, "src/a.rs", "// unsafe\n").is_empty());
    }

    #[test]
    fn unsafe_without_a_reason_is_a_fault() {
        let rule = unsafe_says_why_it_is_sound;
        let bad = ["let a = 1;\nlet b = unsafe { f() };", "// Fast.\nunsafe impl Send for A {}"];
        for text in bad {
            assert_eq!(judged(rule, "src/ring/a.rs", text).len(), 1, "{text}");
        }
        let good = [
            "// SAFETY: `fd` is open, as\n// line 3 says.\nlet b = unsafe { f() };",
            "// SAFETY: it is.\nlet b =\n    unsafe { f() };",
            "// SAFETY: it is.\nunsafe impl Send for A {}",
            "/// # Safety\nunsafe fn f() {}",
        ];
        for text in good {
            assert!(judged(rule, "src/ring/a.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_module_without_a_head_is_a_fault() {
        assert_eq!(judged(modules_say_what_they_are, "src/a.rs", "use std::io;").len(), 1);
        assert!(judged(modules_say_what_they_are, "src/a.rs", "//! The program.\n").is_empty());
    }
}
