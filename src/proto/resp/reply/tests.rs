//! Where replies end, in both versions.

use super::*;

fn whole(data: &[u8]) -> ReplyParser {
    let mut parser = ReplyParser::new();
    parser.record_elements(true);
    assert_eq!(parser.parse(data), ReplyStep::Reply { end: data.len() });
    assert_eq!((parser.first_byte(), parser.len()), (data[0], data.len() as u64));
    parser
}

#[test]
fn elements_of_the_outer_array_are_recorded() {
    let parser = whole(b"*4\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n*0\r\n+OK\r\n");
    assert_eq!(parser.elements_start(), 4);
    assert_eq!(parser.elements(), [11, 16, 28, 33]);
    assert_eq!(whole(b"*0\r\n").elements(), []);
    assert_eq!(whole(b"*-1\r\n").elements(), []);
    assert_eq!(whole(b"$1\r\na\r\n").elements(), []);
}

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let mut parser = whole(b"*1\r\n:1\r\n");
    parser.record_elements(false);
    assert_eq!(parser.parse(b"*1\r\n:1\r\n"), ReplyStep::Reply { end: 8 });
    assert_eq!(parser.elements(), []);
}

#[test]
fn arrays_nest_up_to_a_limit() {
    let deepest = [b"*1\r\n".repeat(REPLY_DEPTH_MAX), b":1\r\n".to_vec()].concat();
    assert_eq!(whole(&deepest).elements().len(), 1);
    let mut parser = ReplyParser::new();
    assert_eq!(
        parser.parse(&b"*1\r\n".repeat(REPLY_DEPTH_MAX + 1)),
        ReplyStep::Bad(BadReply::Depth)
    );
    assert_eq!(parser.parse(b"+OK\r\n"), ReplyStep::Bad(BadReply::Depth));
}

#[test]
fn a_size_is_no_fault() {
    let mut parser = ReplyParser::new();
    assert_eq!(parser.parse(b"*2\r\n$9223372036854775807\r\nabc"), ReplyStep::Partial);
    let mut parser = ReplyParser::new();
    for _ in 0..100 {
        assert_eq!(parser.parse(b"-"), ReplyStep::Partial);
        assert_eq!(parser.parse(&[b'x'; 100_000]), ReplyStep::Partial);
        assert_eq!(parser.parse(b"\r\n"), ReplyStep::Reply { end: 2 });
    }
}

#[test]
fn nothing_is_allocated_for_a_count() {
    let mut parser = ReplyParser::new();
    parser.record_elements(true);
    assert_eq!(parser.parse(b"*999999999999\r\n:1\r\n"), ReplyStep::Partial);
    assert!(parser.elements.capacity() < 100);
    assert_eq!(parser.bytes_so_far(), 19);
}

#[test]
fn integers_are_read() {
    assert_eq!(integer(b":12\r\n"), Some(12));
    assert_eq!(integer(b":-9223372036854775808\r\n"), Some(i64::MIN));
    for reply in [b"+12\r\n".as_slice(), b":\r\n", b":1", b":x\r\n", b""] {
        assert_eq!(integer(reply), None);
    }
}

fn three() -> ReplyParser {
    let mut parser = ReplyParser::new();
    parser.speak(RespVersion::Three);
    parser
}

#[test]
fn what_resp3_has_is_no_type_of_resp2() {
    for kind in *b"_#,(!=%~>|" {
        let mut parser = ReplyParser::new();
        assert_eq!(parser.parse(&[kind, b'1']), ReplyStep::Bad(BadReply::Type(kind)));
        let mut parser = ReplyParser::new();
        let inside = [b"*1\r\n", &[kind][..], b"1\r\n"].concat();
        assert_eq!(parser.parse(&inside), ReplyStep::Bad(BadReply::Type(kind)));
    }
}

#[test]
fn pairs_and_members_are_recorded() {
    let mut parser = three();
    parser.record_elements(true);
    let map = b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n_\r\n";
    assert_eq!(parser.parse(map), ReplyStep::Reply { end: map.len() });
    assert_eq!((parser.first_byte(), parser.elements_start()), (b'%', 4));
    assert_eq!(parser.elements(), [8, 12, 16, 23]);
    let set = b"~2\r\n#t\r\n,1.5\r\n";
    assert_eq!(parser.parse(set), ReplyStep::Reply { end: set.len() });
    assert_eq!(parser.elements(), [8, 14]);
}

#[test]
fn attributes_belong_to_what_follows_them() {
    let reply = b"|1\r\n+ttl\r\n*2\r\n:1\r\n:2\r\n|0\r\n*2\r\n|1\r\n+a\r\n+b\r\n$1\r\nx\r\n_\r\n";
    for cut in 0..reply.len() {
        let mut parser = three();
        parser.record_elements(true);
        assert_eq!(parser.parse(&reply[..cut]), ReplyStep::Partial);
        assert_eq!(parser.is_idle(), cut == 0);
        let end = reply.len() - cut;
        assert_eq!(parser.parse(&reply[cut..]), ReplyStep::Reply { end }, "{cut}");
        assert_eq!((parser.first_byte(), parser.start(), parser.elements_start()), (b'*', 26, 30));
        assert_eq!(parser.elements(), [49, 52]);
    }
    assert_eq!(three().parse(b"|1\r\n+a\r\n+b\r\n"), ReplyStep::Partial, "of nothing");
}

#[test]
fn a_push_is_no_reply_and_comes_between_two() {
    let push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
    let stream = [&push[..], b"+OK\r\n", push].concat();
    let mut parser = three();
    parser.record_elements(true);
    assert_eq!(parser.parse(&stream), ReplyStep::Push { end: push.len() });
    assert_eq!(parser.parse(&stream[push.len()..]), ReplyStep::Reply { end: 5 });
    assert_eq!(parser.elements(), []);
    assert_eq!(parser.parse(push), ReplyStep::Push { end: push.len() });
    assert_eq!(three().parse(b"*1\r\n>1\r\n"), ReplyStep::Bad(BadReply::Type(b'>')));
}

#[test]
fn all_that_has_elements_nests_up_to_the_limit() {
    for head in [&b"~1\r\n"[..], b"|1\r\n", b"%1\r\n"] {
        let deepest = head.repeat(REPLY_DEPTH_MAX);
        assert_eq!(three().parse(&deepest), ReplyStep::Partial);
        let deeper = [&deepest, head].concat();
        assert_eq!(three().parse(&deeper), ReplyStep::Bad(BadReply::Depth));
    }
}

#[test]
fn a_count_of_pairs_does_not_wrap() {
    for head in [&b"%4611686018427387904\r\n"[..], b"|9223372036854775807\r\n"] {
        assert_eq!(three().parse(head), ReplyStep::Bad(BadReply::Length));
    }
    assert_eq!(three().parse(b"%4611686018427387903\r\n"), ReplyStep::Partial);
    assert_eq!(three().parse(b"*9223372036854775807\r\n"), ReplyStep::Partial);
}
