//! How large a thing may be, so that each can be read in one go.

use crate::Fault;
use crate::lexer::Source;

/// Lines of a file.
const FILE_LINES_MAX: usize = 600;

/// Lines of a file of thin wrappers over system calls.
const SYS_FILE_LINES_MAX: usize = 300;

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Characters of a line.
const LINE_CHARS_MAX: usize = 100;

pub fn files_are_short(source: &Source, faults: &mut Vec<Fault>) {
    let lines = source.raw.lines().count();
    let is_sys = source.path.starts_with("src/sys/");
    let max = if is_sys { SYS_FILE_LINES_MAX } else { FILE_LINES_MAX };
    if lines > max {
        faults
            .push(Fault { line: lines, what: format!("{lines} lines, at most {max} are allowed") });
    }
}

pub fn functions_are_short(source: &Source, faults: &mut Vec<Fault>) {
    for at in source.words("fn") {
        let Some(end) = end_of_function(&source.code, at) else { continue };
        let line = source.line_of(at);
        let lines = source.line_of(end) - line + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("a function of {lines} lines, at most {FUNCTION_LINES_MAX} allowed");
            faults.push(Fault { line, what });
        }
    }
}

/// Where the body of the `fn` at `at` closes; `None` for a declaration or a function type.
fn end_of_function(code: &str, at: usize) -> Option<usize> {
    let mut parens = 0_usize;
    let mut braces = 0_usize;
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => parens += 1,
            // A function type ends with what it stands in.
            b')' | b']' if parens == 0 => return None,
            b')' | b']' => parens -= 1,
            b'{' => braces += 1,
            b'}' if braces == 0 => return None,
            b'}' => braces -= 1,
            b';' | b',' | b'=' if parens == 0 && braces == 0 => {
                // Inside angle brackets or a where clause a comma or equals sign goes on.
                let is_over = *byte == b';' || is_function_type(&code[at..]);
                if is_over {
                    return None;
                }
            }
            _ => {}
        }
        if *byte == b'}' && braces == 0 && parens == 0 {
            return Some(at + offset);
        }
    }
    None
}

/// `fn(…)` without a name is a type.
fn is_function_type(text: &str) -> bool {
    text[2..].trim_start().starts_with('(')
}

pub fn lines_are_short(source: &Source, faults: &mut Vec<Fault>) {
    for (index, line) in source.raw.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            let what = format!("{chars} characters, at most {LINE_CHARS_MAX} are allowed");
            faults.push(Fault { line: index + 1, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judged;

    #[test]
    fn a_long_file_is_a_fault() {
        let lines = |count: usize| "//\n".repeat(count);
        assert!(judged(files_are_short, "src/proxy/a.rs", &lines(600)).is_empty());
        assert_eq!(judged(files_are_short, "src/proxy/a.rs", &lines(601)).len(), 1);
        assert!(judged(files_are_short, "src/sys/a.rs", &lines(300)).is_empty());
        assert_eq!(judged(files_are_short, "src/sys/a.rs", &lines(301)).len(), 1);
    }

    #[test]
    fn a_long_function_is_a_fault() {
        let function = |lines: usize| {
            let body = "    f();\n".repeat(lines - 4);
            let head = "type F = fn(u8) -> u8;\nfn long<T>(a: [u8; 2], b: T)\nwhere\n";
            format!("{head}    T: A<B = u8>, {{\n{body}}}\nfn g() {{}}\n")
        };
        assert!(judged(functions_are_short, "src/a.rs", &function(70)).is_empty());
        let faults = judged(functions_are_short, "src/a.rs", &function(71));
        assert_eq!(faults, ["2: a function of 71 lines, at most 70 allowed"]);
    }

    #[test]
    fn a_declaration_has_no_body() {
        let mut text = "trait T {\n    fn f(&self, g: fn(u8)) -> u8;\n}\n".to_owned();
        text += &"const A: u8 = { 1 };\n".repeat(100);
        assert!(judged(functions_are_short, "src/a.rs", &text).is_empty());
    }

    #[test]
    fn a_long_line_is_a_fault() {
        let line = |chars: usize| "é".repeat(chars);
        assert!(judged(lines_are_short, "src/a.rs", &line(100)).is_empty());
        assert_eq!(judged(lines_are_short, "src/a.rs", &line(101)).len(), 1);
    }
}
