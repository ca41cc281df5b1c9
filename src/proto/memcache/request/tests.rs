//! Lines, good and bad, and what is made of them at every split.

use super::*;
use crate::proto::commands::{Local, Serve};

/// What a parser made of some bytes: a name and the keys of each request, or the words that it is
/// refused with; `-` in front of what wants no answer.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut parser = RequestParser::new();
    let mut seen = Vec::new();
    let mut bytes = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match parser.parse(rest) {
                Parsed::Partial => {
                    bytes.extend_from_slice(rest);
                    break;
                }
                Parsed::Nothing { end } => {
                    assert!(bytes.is_empty());
                    rest = &rest[end..];
                }
                Parsed::Request { end } => {
                    bytes.extend_from_slice(&rest[..end]);
                    seen.push(shown(parser.request(), &bytes));
                    bytes.clear();
                    rest = &rest[end..];
                }
                Parsed::Bad(fault) => {
                    seen.push(format!("{fault:?}"));
                    return seen;
                }
            }
        }
    }
    if !bytes.is_empty() {
        seen.push(format!("{} bytes", bytes.len()));
    }
    seen
}

fn shown(request: &Request, bytes: &[u8]) -> String {
    let command = request.command.expect("each request has a row");
    let silence = if matches!(request.form(), Form::Cut(_)) { "-" } else { "" };
    if let Serve::Local(Local::Line(words)) = command.serve {
        return format!("{silence}{}", words.trim_ascii_end().escape_ascii());
    }
    assert_eq!(request.len as usize, bytes.len());
    let mut text = format!("{silence}{}", command.name);
    for index in request.keys.indexes() {
        let key = &bytes[request.argument_range(index)];
        text.push_str(&format!(" {}", key.escape_ascii()));
    }
    if let Form::Cut(cut) = request.form() {
        let (start, end) = (cut.offset as usize, (cut.offset + cut.len) as usize);
        text.push_str(&format!(" cut {:?}", String::from_utf8_lossy(&bytes[start..end])));
    }
    text
}

fn expect(bytes: &[u8], expected: &[&str]) {
    assert_eq!(read(&[bytes]), expected, "{}", bytes.escape_ascii());
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single), expected, "byte by byte: {}", bytes.escape_ascii());
    if bytes.len() < 400 {
        for split in 1..bytes.len() {
            let pieces = [&bytes[..split], &bytes[split..]];
            assert_eq!(read(&pieces), expected, "{split}: {}", bytes.escape_ascii());
        }
    }
}

const FORMAT: &str = "CLIENT_ERROR bad command line format";
const CHUNK: &str = "CLIENT_ERROR bad data chunk";

#[test]
fn requests_are_found_at_every_split() {
    expect(b"get a\r\n", &["get a"]);
    expect(b" get  a   b \n", &["get a b"]);
    expect(b"gets a noreply\r\n", &["gets a noreply"]);
    expect(b"gat 60 a bb ccc\r\ngats 0 x\r\n", &["gat a bb ccc", "gats x"]);
    expect(b"gat 0\r\n", &["gat"]);
    expect(b"set a 0 0 3\r\nabc\r\n", &["set a"]);
    expect(b"set a 0 0 3\nabc\r\nget a\r\n", &["set a", "get a"]);
    expect(b"add a 4294967295 -1 0\r\n\r\n", &["add a"]);
    expect(b"replace a +1 00 03\r\n\r\n\r\r\n", &["replace a"]);
    expect(
        b"append a 0 0 12\r\n\r\ndelete x\r\n\r\nprepend b 0 0 1\r\n",
        &["append a", "17 bytes"],
    );
    expect(b"cas a 0 0 1 18446744073709551615\r\nx\r\n", &["cas a"]);
    expect(b"incr a 1\r\ndecr a x\r\ntouch a 0 foo\r\n", &["incr a", "decr a", "touch a"]);
    expect(
        b"delete a\r\ndelete a 0\r\ndelete noreply\r\n",
        &["delete a", "delete a", "delete noreply"],
    );
    expect(
        b"version x\r\nflush_all\r\nstats\r\nquit\r\n",
        &["version", "flush_all", "stats", "quit"],
    );
    expect(b"verbosity 1\r\nmn\r\n", &["OK", "MN"]);
}

#[test]
fn noreply_is_cut_out_with_its_space() {
    expect(b"set a 0 0 3 noreply\r\nabc\r\n", &["-set a cut \" noreply\""]);
    expect(b"cas a 0 0 1 2   noreply \r\nx\r\n", &["-cas a cut \"   noreply\""]);
    expect(b"set a 0 0 3 norepl\r\nabc\r\n", &["set a"]);
    expect(b"delete a noreply\r\n", &["-delete a cut \" noreply\""]);
    expect(b"incr a 1 noreply\r\n", &["-incr a cut \" noreply\""]);
    expect(b"flush_all noreply\n", &["-flush_all cut \" noreply\""]);
    expect(b"verbosity noreply\r\n", &["-CLIENT_ERROR bad command line format"]);
    expect(b"incr a noreply\r\n", &["-CLIENT_ERROR bad command line format"]);
    expect(b"set a 0 0 noreply\r\n", &["-CLIENT_ERROR bad command line format"]);
    expect(b"touch noreply\r\n", &["ERROR"]);
    for line in ["incr a noreply noreply\r\n", "delete a noreply noreply\r\n"] {
        expect(line.as_bytes(), &["-CLIENT_ERROR bad command line format"]);
    }
    expect(b"flush_all noreply noreply\r\n", &["-CLIENT_ERROR bad command line format"]);
    expect(b"delete noreply noreply\r\n", &["-delete noreply cut \" noreply\""]);
    expect(b"set a noreply\r\n", &["ERROR"]);
    expect(b"set a 0 0 3 noreply\r\nabcde", &["-CLIENT_ERROR bad data chunk"]);
}

#[test]
fn bad_lines_are_answered_as_memcached_answers_them() {
    for line in ["\r\n", "\n", " \r\n", "\r\r\n", "get\r\n", "get \r\n", "GET a\r\n", "foo\r\n"] {
        expect(line.as_bytes(), &["ERROR"]);
    }
    for line in ["delete\r\n", "delete a b c d\r\n", "incr a\r\n", "incr a 1 2 3\r\n", "gats\r\n"] {
        expect(line.as_bytes(), &["ERROR"]);
    }
    for line in ["verbosity\r\n", "verbosity a b c\r\n", "flush_all 0 1 2\r\n", "mg a\r\n"] {
        expect(line.as_bytes(), &["ERROR"]);
    }
    for line in ["verbosity x\r\n", "verbosity -1\r\n", "verbosity 1x\r\n", "verbosity x y\r\n"] {
        expect(line.as_bytes(), &[FORMAT]);
    }
    for line in ["verbosity +1\r\n", "verbosity -0\r\n", "verbosity 4294967296 x\r\n"] {
        expect(line.as_bytes(), &["OK"]);
    }
    expect(b"verbosity 1 noreply\r\nverbosity x noreply\r\n", &["-OK", &format!("-{FORMAT}")]);
    expect(format!("verbosity {}\r\n", "1".repeat(25)).as_bytes(), &[FORMAT]);
    expect(b"set a 0 0\r\nabc\r\n", &["ERROR", "ERROR"]);
    expect(b"set a 0 0 -1\r\nget a\r\n", &[FORMAT, "get a"]);
    expect(b"set a 0 0 x\r\nget a\r\n", &[FORMAT, "get a"]);
    expect(b"set a x 0 3\r\nabc\r\n", &[FORMAT, "ERROR"]);
    expect(b"set a -1 0 3\r\nabc\r\n", &[FORMAT, "ERROR"]);
    expect(b"cas a 0 0 3 x\r\nabc\r\n", &[FORMAT, "ERROR"]);
    expect(b"set a 0 0 2147483646\r\nabc\r\n", &[FORMAT, "ERROR"]);
    expect(b"set a 0 0 99999999999999999999999999\r\nmn\r\n", &[FORMAT, "MN"]);
    let long = "k".repeat(MEMCACHE_KEY_BYTES_MAX);
    expect(format!("get {long}\r\n").as_bytes(), &[&format!("get {long}")]);
    expect(format!("get a {long}k\r\nmn\r\n").as_bytes(), &[FORMAT, "MN"]);
    expect(format!("set {long}k 0 0 2\r\nmn\r\n").as_bytes(), &[FORMAT, "MN"]);
    expect(
        format!("set {long}k 0 0 2 noreply\r\nmn\r\n").as_bytes(),
        &[&format!("-{FORMAT}"), "MN"],
    );
}

#[test]
fn a_bad_chunk_costs_what_was_declared_and_no_more() {
    expect(b"set a 0 0 3\r\nabcdef\r\nmn\r\n", &[CHUNK, "ERROR", "MN"]);
    expect(b"set a 0 0 3\r\nab\r\n\r\nmn\r\n", &[CHUNK, "ERROR", "MN"]);
    expect(b"set a 0 0 3\r\nabc\r\r\nmn\r\n", &[CHUNK, "ERROR", "MN"]);
    expect(b"set a 0 0 0\r\nx\nmn\r\n", &[CHUNK, "MN"]);
}

#[test]
fn what_some_memcached_refuses_is_refused_with_its_value() {
    expect(b"set a 4294967296 0 3\r\nabc\r\nmn\r\n", &[FORMAT, "MN"]);
    expect(b"set a 0 4294967296 3\r\nabc\r\nmn\r\n", &[FORMAT, "MN"]);
    expect(b"set a\x00b 0 0 3\r\nabc\r\nmn\r\n", &[FORMAT, "MN"]);
    expect(b"set a\rb 0 0 3\r\nabc\r\nmn\r\n", &[FORMAT, "MN"]);
    for line in [&b"get a\x00b\r\n"[..], b"get a\rb\r\n", b"get a\tb\r\n", b"get a\r\r\n"] {
        expect(line, &[FORMAT]);
    }
}

#[test]
fn a_value_that_nobody_could_keep_is_skipped() {
    let len = BULK_BYTES_MAX + 1;
    let mut parser = RequestParser::new();
    let line = format!("set a 0 0 {len}\r\n");
    let Parsed::Request { end } = parser.parse(line.as_bytes()) else { panic!("refused at once") };
    assert_eq!(end, line.len());
    let refusal = parser.request().command.map(|command| command.serve);
    let words = Local::Line(b"SERVER_ERROR object too large for cache\r\n");
    assert_eq!(refusal, Some(Serve::Local(words)));
    let piece = vec![b'\n'; 1 << 20];
    let mut left = len + 2;
    while left > 0 {
        let here = piece.len().min(left as usize);
        assert_eq!(parser.parse(&piece[..here]), Parsed::Nothing { end: here });
        left -= here as u64;
    }
    assert_eq!(parser.parse(b"mn\r\n"), Parsed::Request { end: 4 });
}

#[test]
fn only_a_get_may_have_a_long_line() {
    let keys = "k ".repeat(MEMCACHE_LINE_BYTES_MAX);
    assert_eq!(read(&[format!("get {keys}\r\n").as_bytes()]), [format!("get {}", keys.trim_end())]);
    for line in [format!("gat 0 {keys}\r\n"), format!(" get {keys}\r\n"), "x".repeat(3000)] {
        expect(line.as_bytes(), &["TooBigLine"]);
    }
    let keys = "k ".repeat(MEMCACHE_GET_BYTES_MAX);
    assert_eq!(read(&[b"get ", keys.as_bytes()]), ["TooBigLine"]);
    assert_eq!(RequestParser::new().parse(&[b'x'; MEMCACHE_LINE_BYTES_MAX]), Parsed::Partial);
}

#[test]
fn other_protocols_are_closed_at_once() {
    expect(b"\x80\x00\x00\x00", &["Binary"]);
    expect(b"GET / HTTP/1.1\r\nHost: x\r\n", &["Http"]);
    expect(b"POST /x HTTP/1.1\r\n", &["Http"]);
    expect(b"POST x\r\n", &["ERROR"]);
}

/// memcached keeps these values; whoever took them for commands would run what a stranger wrote.
#[test]
fn a_value_behind_an_odd_spelling_of_a_number_is_never_a_command() {
    let (minus, zeros) = ("-0", "0".repeat(30));
    for line in ["set a N 0 9", "set a 0 N 9", "cas a 0 0 9 N"] {
        let lines = [line.replace('N', minus), line.replace('N', &format!("{zeros}1"))];
        let [taken, doubtful] = lines.map(|line| format!("{line}\r\nflush_all\r\nmn\r\n"));
        expect(taken.as_bytes(), &[&format!("{} a", &line[..3]), "MN"]);
        expect(doubtful.as_bytes(), &[FORMAT, "MN"]);
    }
    expect(b"set a 0 0 -0\r\n\r\nmn\r\n", &["set a", "MN"]);
    expect(b"cas a 0 0 9 0000000000000000000022251417540\r\nflush_all\r\nmn\r\n", &[FORMAT, "MN"]);
    let endless = format!("set a 0 0 {zeros}9\r\nflush_all\r\n");
    expect(endless.as_bytes(), &["TooBigLine"]);
    expect(b"set a 111111111111111111111111111111 0 1\r\nmn\r\n", &[FORMAT, "MN"]);
    expect(b"set a 0 0 000000000000000000000000x\r\n", &["TooBigLine"]);
}
