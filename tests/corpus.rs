//! Requests and replies, good and bad: however the bytes are cut, the parsers say the same; and
//! what they say is what redis-server says, or what a naive parser finds.

#![allow(clippy::unwrap_used)]

mod naive;

use naive::{Random, Seen};
use ringcracker::limits::INLINE_BYTES_MAX;
use ringcracker::proto::resp::{BadReply, ReplyParser, ReplyStep, RequestParser};
use ringcracker::proto::{BadRequest, Parsed, RespVersion, commands};

/// What the request parser says about bytes that come in these pieces.
fn requests(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = RequestParser::new();
    let mut seen = Vec::new();
    let mut request = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let read = match parser.parse(rest) {
                Parsed::Partial => rest.len(),
                Parsed::Request { end } | Parsed::Nothing { end } => end,
                Parsed::Bad(fault) => {
                    assert_eq!(parser.parse(rest), Parsed::Bad(fault), "a fault is for good");
                    seen.push(Seen::BadRequest(fault));
                    return seen;
                }
            };
            request.extend_from_slice(&rest[..read]);
            rest = &rest[read..];
            assert_eq!(parser.is_idle(), parser.bytes_so_far() == 0);
            if !parser.is_idle() {
                assert_eq!(parser.bytes_so_far(), request.len() as u64);
                continue;
            }
            seen.push(described(&parser, &request));
            request.clear();
        }
    }
    seen.push(Seen::Unfinished(request.len()));
    seen
}

/// The request that the parser found, or nothing; `raw` is what it read for it.
fn described(parser: &RequestParser, raw: &[u8]) -> Seen {
    let request = parser.request();
    if naive::is_nothing(raw) {
        return Seen::Nothing(raw.len());
    }
    let bytes = request.rewritten().unwrap_or(raw);
    assert_eq!(request.rewritten().is_some(), raw[0] != b'*');
    assert_eq!(request.len as usize, bytes.len());
    let recorded = request.spans.len() as u32;
    let arguments: Vec<_> =
        (0..recorded).map(|index| bytes[request.argument_range(index)].to_vec()).collect();
    if recorded == request.arguments {
        assert_eq!(naive::list(&arguments), bytes, "one spelling only");
    }
    let keys =
        request.keys.indexes().map(|index| bytes[request.argument_range(index)].to_vec()).collect();
    for (index, argument) in (0..).zip(&arguments) {
        let bulk = &bytes[request.bulk_range(index)];
        assert_eq!(naive::list(std::slice::from_ref(argument))[4..], *bulk);
    }
    Seen::Request { arguments, count: request.arguments, command: request.command, keys }
}

/// What the reply parser says about bytes that come in these pieces.
fn replies(pieces: &[&[u8]]) -> Vec<Seen> {
    replies_in(RespVersion::Two, pieces)
}

/// The same, of a server that speaks RESP3.
fn replies3(pieces: &[&[u8]]) -> Vec<Seen> {
    replies_in(RespVersion::Three, pieces)
}

fn replies_in(version: RespVersion, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = ReplyParser::new();
    parser.speak(version);
    parser.record_elements(true);
    let mut seen = Vec::new();
    let mut before = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match parser.parse(rest) {
                ReplyStep::Partial => {
                    before += rest.len();
                    assert_eq!((parser.bytes_so_far(), parser.is_idle()), (before as u64, false));
                    break;
                }
                ReplyStep::Reply { end } => {
                    assert_eq!(parser.len(), (before + end) as u64);
                    assert!(parser.is_idle());
                    let start = parser.elements_start() as usize;
                    let elements = parser.elements().iter().map(|&end| end as usize).collect();
                    let first = parser.first_byte();
                    seen.push(Seen::Reply { first, len: before + end, start, elements });
                    before = 0;
                    rest = &rest[end..];
                }
                ReplyStep::Push { end } => {
                    assert_eq!(parser.len(), (before + end) as u64);
                    seen.push(Seen::Push(before + end));
                    before = 0;
                    rest = &rest[end..];
                }
                ReplyStep::Bad(fault) => {
                    assert_eq!(parser.parse(rest), ReplyStep::Bad(fault), "a fault is for good");
                    seen.push(Seen::BadReply(fault));
                    return seen;
                }
            }
        }
    }
    seen.push(Seen::Unfinished(before));
    seen
}

/// Cuts at every byte, and everywhere, and asks for the same answer as for the whole.
fn cut_everywhere(parse: fn(&[&[u8]]) -> Vec<Seen>, bytes: &[u8]) -> Vec<Seen> {
    let whole = parse(&[bytes]);
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(parse(&[left, right]), whole, "{} cut at {cut}", bytes.escape_ascii());
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(parse(&single), whole, "{} byte by byte", bytes.escape_ascii());
    whole
}

fn list(text: &str) -> Vec<u8> {
    let arguments: Vec<_> = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    naive::list(&arguments)
}

/// A request of each command, with as few arguments as it takes.
fn one_of_each() -> Vec<Vec<u8>> {
    let request = |command: &commands::Command| {
        let name = command.name.to_ascii_uppercase();
        let mut words: Vec<_> = name.split('|').map(str::to_owned).collect();
        for index in words.len() as u16..command.arity.unsigned_abs() {
            let counted =
                matches!(command.keys, commands::Keys::Counted { at, .. } if at as u16 == index);
            words.push(if counted { "1".into() } else { format!("argument{index}") });
        }
        list(&words.join(" "))
    };
    commands::all().iter().map(request).collect()
}

/// twemproxy: byte by byte
#[test]
fn every_command_survives_every_cut() {
    for bytes in one_of_each() {
        let seen = cut_everywhere(requests, &bytes);
        assert_eq!(seen, naive::requests(&bytes), "{}", bytes.escape_ascii());
        let Seen::Request { command: Some(command), count, .. } = &seen[0] else {
            panic!("{} is {seen:?}", bytes.escape_ascii());
        };
        assert!(command.arity_fits(*count), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_pipeline_of_everything_survives_every_cut() {
    let mut bytes: Vec<u8> = one_of_each().into_iter().step_by(5).flatten().collect();
    for text in ["*0\r\n", "PING\r\n", "\r\n", "*-1\r\n", " set k 'a b'\n", "EVAL x 2 a b c\r\n"] {
        bytes.extend(text.as_bytes());
        bytes.extend(list("MGET a bb  ccc"));
        bytes.extend(list("zunionstore d 2 a b weights 1 2"));
    }
    let binary: Vec<u8> = (0..=255).collect();
    bytes.extend(naive::list(&[b"SET".to_vec(), b"\r\n$5\r\n*1\r\n".to_vec(), binary]));
    let seen = cut_everywhere(requests, &bytes);
    assert_eq!(seen, naive::requests(&bytes));
    assert_eq!(seen.len(), commands::all().len().div_ceil(5) + 6 * 3 + 1 + 1);
}

/// Where we refuse what Redis takes, or say it earlier or more precisely.
const STRICTER: [(&str, BadRequest); 16] = [
    ("*1048577\\r\\n", BadRequest::InvalidCount),
    ("*1000000000\\r\\n", BadRequest::InvalidCount),
    ("*1\\n$4\\nPING\\n", BadRequest::InvalidCount),
    ("*1\\r\\n\\x00\\r\\n", BadRequest::ExpectedBulk(0)),
    ("*1\\rX$4\\r\\nPING\\r\\n", BadRequest::HeadEnd),
    ("*1\\r\\r\\n$4\\r\\nPING\\r\\n", BadRequest::HeadEnd),
    ("*1\\r\\n$4\\rXPING\\r\\n", BadRequest::HeadEnd),
    ("*1\\r\\n$4\\r\\nPINGXX", BadRequest::BulkEnd),
    ("*1\\r\\n$4\\r\\nPING\\rX", BadRequest::BulkEnd),
    ("*1\\r\\n$4\\r\\nPING\\n\\n", BadRequest::BulkEnd),
    ("*1\\r\\n$3\\r\\nPING\\r\\n", BadRequest::BulkEnd),
    ("*1\\r\\n$5\\r\\nPING\\r\\n\\r", BadRequest::BulkEnd),
    ("PING\\x00\\r\\n", BadRequest::InlineZero),
    ("\\x00\\r\\n", BadRequest::InlineZero),
    ("\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\r\\n", BadRequest::InlineZero),
    ("\\x80\\x01\\x00\\x03\\r\\n", BadRequest::InlineZero),
];

#[test]
fn faults_are_those_of_redis_in_its_words() {
    let recording = include_str!("data/redis-7.0-protocol.txt");
    let mut stricter = 0;
    let rows = recording.lines().filter(|line| !line.starts_with('#'));
    for row in rows {
        let mut columns = row.split('\t');
        let (escaped, fate, reply) =
            (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap());
        let bytes = naive::unescape(escaped);
        let seen = cut_everywhere(requests, &bytes);
        assert_eq!(seen, naive::requests(&bytes), "{escaped}");
        // A good request before it is answered first, and nothing behind it is looked at.
        let around = [&list("GET k"), &bytes[..], &list("GET k")].concat();
        let ours = match &seen[..] {
            [.., Seen::BadRequest(fault)] => {
                assert_eq!(requests(&[&around])[1..], seen[..], "{escaped}");
                *fault
            }
            _ => {
                let answered = seen.iter().any(|seen| matches!(seen, Seen::Request { .. }));
                assert_eq!((fate, answered), ("open", !reply.is_empty()), "{escaped}");
                continue;
            }
        };
        let words = ours.words().map_or(Vec::new(), |words| [b"-ERR ", &*words, b"\r\n"].concat());
        let same = fate == "closed" && words == naive::unescape(reply);
        match STRICTER.iter().find(|(bytes, _)| *bytes == escaped) {
            Some((_, fault)) => {
                assert_eq!((ours, same), (*fault, false), "{escaped}");
                stricter += 1;
            }
            None => assert!(same, "{escaped} is {:?}, not {reply}", words.escape_ascii()),
        }
    }
    assert_eq!(stricter, STRICTER.len());
}

#[test]
fn a_line_that_does_not_end_is_refused() {
    let last = |bytes: &[u8]| {
        let (left, right) = bytes.split_at(bytes.len() / 3);
        let whole = requests(&[bytes]);
        assert_eq!(requests(&[left, right]), whole);
        assert_eq!(requests(&bytes.chunks(1000).collect::<Vec<_>>()), whole);
        whole.last().unwrap().clone()
    };
    let line = |head: &str, len: usize| [head.as_bytes(), &vec![b'1'; len - 1]].concat();
    for (head, fault) in [
        ("*", BadRequest::TooBigCountString),
        ("*1\r\n$", BadRequest::TooBigLengthString),
        ("x", BadRequest::TooBigInline),
    ] {
        let fits = line(head, INLINE_BYTES_MAX);
        assert_eq!(last(&fits), Seen::Unfinished(fits.len()), "{head:?}");
        assert_eq!(last(&line(head, INLINE_BYTES_MAX + 1)), Seen::BadRequest(fault), "{head:?}");
        assert_eq!(last(&line(head, 4 << 20)), Seen::BadRequest(fault), "{head:?}");
    }
    let fits = [line("x", INLINE_BYTES_MAX), b"\n".to_vec()].concat();
    assert_eq!(last(&fits), Seen::Unfinished(0));
}

/// twemproxy: byte by byte
#[test]
fn good_replies_survive_every_cut() {
    let replies_good = [
        "+OK\r\n",
        "+\r\n",
        "-ERR unknown\r\n",
        "-CUSTOMERR\r\n",
        "+a\nb\r\n",
        ":0\r\n",
        ":-1\r\n",
        ":+12\r\n",
        ":9223372036854775807\r\n",
        ":-9223372036854775808\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "$6\r\nfoobar\r\n",
        "$4\r\n\r\n\r\n\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*1\r\n*-1\r\n",
        "*3\r\n$1\r\na\r\n$-1\r\n:3\r\n",
        "*2\r\n*2\r\n+a\r\n-b\r\n*0\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n",
        "*2\r\n*1\r\n*0\r\n:1\r\n",
        "$12\r\n012345678901\r\n",
    ];
    for reply in replies_good {
        let seen = cut_everywhere(replies, reply.as_bytes());
        assert_eq!(seen, naive::reply::replies(reply.as_bytes()), "{reply:?}");
        assert_eq!(seen.len(), 2, "{reply:?}");
    }
    let pipeline = replies_good.concat();
    let seen = cut_everywhere(replies, pipeline.as_bytes());
    assert_eq!(seen, naive::reply::replies(pipeline.as_bytes()));
    assert_eq!(seen.len(), replies_good.len() + 1);
}

#[test]
fn bad_replies_are_bad_at_every_cut() {
    let cases = [
        ("*\r\n", BadReply::Length),
        (":x\r\n", BadReply::Integer),
        (":\r\n", BadReply::Integer),
        (":9223372036854775808\r\n", BadReply::Integer),
        (":1\n", BadReply::Integer),
        ("$6\r\nfoobarr\r\n", BadReply::End),
        ("$6\r\nfoobar\n\n", BadReply::End),
        ("$0\r\nx\r\n", BadReply::End),
        ("$0\n", BadReply::Length),
        ("$-2\r\n", BadReply::Length),
        ("*-2\r\n", BadReply::Length),
        ("$01\r\nx\r\n", BadReply::Length),
        ("$+1\r\nx\r\n", BadReply::Length),
        ("$-0\r\n", BadReply::Length),
        ("$1\rxx\r\n", BadReply::End),
        ("+OK\rx", BadReply::End),
        ("$18446744073709551617\r\n", BadReply::Length),
        ("*1\r\n_\r\n", BadReply::Type(b'_')),
        ("_\r\n", BadReply::Type(b'_')),
        ("%1\r\n", BadReply::Type(b'%')),
        (">1\r\n", BadReply::Type(b'>')),
        ("\r\n", BadReply::Type(b'\r')),
        ("\0", BadReply::Type(0)),
    ];
    for (bytes, fault) in cases {
        let bytes = ["+OK\r\n", bytes].concat();
        let seen = cut_everywhere(replies, bytes.as_bytes());
        assert_eq!(seen[1], Seen::BadReply(fault), "{bytes:?}");
        assert_eq!(seen, naive::reply::replies(bytes.as_bytes()), "{bytes:?}");
    }
    assert_eq!(replies(&[b"*2\r\n*1\r\n$3\r\nab"]), [Seen::Unfinished(14)]);
}

#[test]
fn replies_of_resp3_survive_every_cut() {
    let replies_good = [
        "_\r\n",
        "#t\r\n",
        "#f\r\n",
        ",1.5\r\n",
        ",nan\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "!9\r\nERR no\r\nx\r\n",
        "=8\r\ntxt:a\r\nb\r\n",
        "%0\r\n",
        "~0\r\n",
        "%2\r\n+a\r\n:1\r\n$1\r\nb\r\n%1\r\n_\r\n~2\r\n#t\r\n,1\r\n",
        "*3\r\n_\r\n$1\r\na\r\n(1\r\n",
        "|1\r\n+key\r\n%1\r\n+a\r\n,0.5\r\n*2\r\n:1\r\n|1\r\n+ttl\r\n:9\r\n:2\r\n",
        "|0\r\n|0\r\n+OK\r\n",
        "$-1\r\n",
        "*-1\r\n",
    ];
    for reply in replies_good {
        let seen = cut_everywhere(replies3, reply.as_bytes());
        assert_eq!(seen, naive::reply::replies3(reply.as_bytes()), "{reply:?}");
        assert_eq!(seen.len(), 2, "{reply:?}");
        assert!(matches!(seen[0], Seen::Reply { .. }), "{reply:?}");
    }
    let push = ">3\r\n+message\r\n$1\r\nc\r\n*1\r\n_\r\n";
    let pipeline = replies_good.join(push);
    let seen = cut_everywhere(replies3, pipeline.as_bytes());
    assert_eq!(seen, naive::reply::replies3(pipeline.as_bytes()));
    assert_eq!(seen.iter().filter(|one| **one == Seen::Push(push.len())).count(), 15);
}

#[test]
fn bad_replies_of_resp3_are_bad_at_every_cut() {
    let cases = [
        ("_x\r\n", BadReply::End),
        ("_\rx", BadReply::End),
        ("#x\r\n", BadReply::Boolean),
        ("#tt\r\n", BadReply::End),
        (",1.5\rx", BadReply::End),
        ("!-1\r\n", BadReply::Length),
        ("=-1\r\n", BadReply::Length),
        ("%-1\r\n", BadReply::Length),
        ("~-1\r\n", BadReply::Length),
        (">-1\r\n", BadReply::Length),
        ("|-1\r\n", BadReply::Length),
        ("$?\r\n", BadReply::Length),
        ("*?\r\n", BadReply::Length),
        ("%01\r\n", BadReply::Length),
        ("!3\r\nabcd\r\n", BadReply::End),
        ("*1\r\n>1\r\n+a\r\n", BadReply::Type(b'>')),
        ("|1\r\n>1\r\n", BadReply::Type(b'>')),
        (".\r\n", BadReply::Type(b'.')),
        (";1\r\nx\r\n", BadReply::Type(b';')),
    ];
    for (bytes, fault) in cases {
        let bytes = ["+OK\r\n", bytes].concat();
        let seen = cut_everywhere(replies3, bytes.as_bytes());
        assert_eq!(seen[1], Seen::BadReply(fault), "{bytes:?}");
        assert_eq!(seen, naive::reply::replies3(bytes.as_bytes()), "{bytes:?}");
    }
}

/// Random pipelines, cut at random, half of them with a few bytes changed.
fn random(
    parse: fn(&[&[u8]]) -> Vec<Seen>,
    reference: fn(&[u8]) -> Vec<Seen>,
    one: fn(&mut Random, &mut Vec<u8>),
) {
    for seed in 1..=3000 {
        let mut random = Random::new(seed);
        let mut bytes = Vec::new();
        for _ in 0..random.below(8) {
            one(&mut random, &mut bytes);
        }
        if random.below(2) == 0 && !bytes.is_empty() {
            for _ in 0..=random.below(2) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
        }
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let longest = 1 << random.below(8);
            let len = 1 + random.below(rest.len().min(longest));
            pieces.push(&rest[..len]);
            rest = &rest[len..];
        }
        let expected = reference(&bytes);
        let shown = bytes.escape_ascii();
        assert_eq!(parse(&[&bytes]), expected, "seed {seed}, whole: {shown}");
        assert_eq!(parse(&pieces), expected, "seed {seed}, in pieces: {shown}");
    }
}

#[test]
fn random_pipelines_of_requests_agree_with_the_naive_parser() {
    random(requests, naive::requests, naive::random_request);
}

#[test]
fn random_pipelines_of_replies_agree_with_the_naive_parser() {
    random(replies, naive::reply::replies, |random, into| naive::random_reply(random, into, 0));
}

#[test]
fn random_pipelines_of_replies_of_resp3_agree_with_the_naive_parser() {
    random(replies3, naive::reply::replies3, |random, into| naive::random_reply3(random, into, 0));
}
