//! What a client listens to, without servers.

use super::*;
use crate::io::Buffer;
use crate::token::Role;
use bytes::Bytes;

const TWO: RespVersion = RespVersion::Two;

fn key(number: u32) -> Key {
    Key::new(Role::Server, number, 0)
}

/// Connections to two servers.
fn over_two() -> Subscriptions {
    let mut all = Subscriptions::default();
    all.add_stream(0, key(0));
    all.add_stream(1, key(1));
    all
}

fn ask(all: &mut Subscriptions, what: Subscribe, names: &[(&str, Option<Place>)]) {
    let item = |&(name, at): &(&str, _)| Item { name: Some(name.as_bytes().into()), at };
    let items: Vec<Item> = names.iter().map(item).collect();
    all.shares(what, &items);
    all.begin(what, items);
}

fn hear(all: &mut Subscriptions, number: u32, text: &str, output: &mut Chain) -> Heard {
    let mut before = Chain::new();
    let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(text.as_bytes()));
    let source = Source::new(&mut before, &mut buffer, 0..text.len());
    all.on_message(key(number), source, TWO, output)
}

fn taken(output: &mut Chain) -> String {
    let text = String::from_utf8(output.to_vec()).expect("text").replace("\r\n", " ");
    output.clear();
    text
}

#[test]
fn messages_wait_behind_a_confirmation_that_waits() {
    let (mut all, mut output) = (over_two(), Chain::new());
    let names = [("a", Place::At(0)), ("b", Place::At(1)), ("c", Place::At(0))];
    ask(&mut all, Subscribe::Subscribe, &names.map(|(name, at)| (name, Some(at))));
    assert_eq!(hear(&mut all, 0, "early", &mut output), Heard::Unasked);
    let confirm = |all: &mut Subscriptions, number, name: &[u8]| {
        all.on_confirmation(key(number), Subscribe::Subscribe, name)
    };
    assert_eq!(confirm(&mut all, 0, b"c"), Heard::Unasked);
    assert_eq!(confirm(&mut all, 0, b"a"), Heard::Awaited { last: false });
    assert_eq!(all.advance(TWO, &mut output), Progress::Waits);
    assert_eq!(taken(&mut output), "*3 $9 subscribe $1 a :1 ");
    assert_eq!(hear(&mut all, 0, "*of a", &mut output), Heard::Message);
    assert_eq!(taken(&mut output), "*of a");
    assert_eq!(confirm(&mut all, 0, b"c"), Heard::Awaited { last: true });
    assert_eq!(hear(&mut all, 0, "*of c", &mut output), Heard::Message);
    assert_eq!(all.advance(TWO, &mut output), Progress::Waits);
    let held = 5 + HELD_MESSAGE_BYTES;
    assert_eq!((taken(&mut output), all.held_bytes()), (String::new(), held));
    assert_eq!(confirm(&mut all, 1, b"b"), Heard::Awaited { last: true });
    assert_eq!(all.advance(TWO, &mut output), Progress::Over);
    let rest = "*3 $9 subscribe $1 b :2 *3 $9 subscribe $1 c :3 *of c";
    assert_eq!((&taken(&mut output)[..], all.held_bytes()), (rest, 0));
    assert_eq!(confirm(&mut all, 1, b"b"), Heard::Unasked);
}

#[test]
fn a_pattern_holds_once_every_server_says_so() {
    let (mut all, mut output) = (over_two(), Chain::new());
    ask(&mut all, Subscribe::Psubscribe, &[("*", Some(Place::Everywhere))]);
    let confirm = |all: &mut Subscriptions, number| {
        all.on_confirmation(key(number), Subscribe::Psubscribe, b"*")
    };
    assert_eq!(confirm(&mut all, 1), Heard::Awaited { last: true });
    assert_eq!(hear(&mut all, 1, "*x", &mut output), Heard::Message);
    assert_eq!(all.advance(RespVersion::Three, &mut output), Progress::Waits);
    assert!(output.is_empty());
    assert_eq!(confirm(&mut all, 0), Heard::Awaited { last: true });
    assert_eq!(all.advance(RespVersion::Three, &mut output), Progress::Over);
    assert_eq!(taken(&mut output), ">3 $10 psubscribe $1 * :1 >x");
    // Both connections are needed until it ends.
    let mut closed = Vec::new();
    all.take_idle(|key| closed.push(key));
    assert_eq!(closed, []);
    let place = all.place(Subscribe::Punsubscribe, b"*");
    ask(&mut all, Subscribe::Punsubscribe, &[("*", place), ("other", None)]);
    for number in 0..2 {
        all.on_confirmation(key(number), Subscribe::Punsubscribe, b"*");
    }
    assert_eq!(all.advance(TWO, &mut output), Progress::Over);
    let ends = "*3 $12 punsubscribe $1 * :0 *3 $12 punsubscribe $5 other :0 ";
    assert_eq!(taken(&mut output), ends);
    all.take_idle(|key| closed.push(key));
    assert_eq!(closed, [key(0), key(1)]);
    assert!(all.is_over() && all.name_bytes() == 0);
}

#[test]
fn a_refusal_is_said_once_and_leaves_the_rest() {
    let (mut all, mut output) = (over_two(), Chain::new());
    let names = [("a", Place::At(0)), ("b", Place::At(1)), ("c", Place::At(0))];
    ask(&mut all, Subscribe::Subscribe, &names.map(|(name, at)| (name, Some(at))));
    let refused = all.on_refusal(key(0), b"-NOPERM no\r\n");
    assert_eq!(refused, Heard::Awaited { last: true });
    all.on_confirmation(key(1), Subscribe::Subscribe, b"b");
    assert_eq!(all.advance(TWO, &mut output), Progress::Over);
    assert_eq!(taken(&mut output), "-NOPERM no *3 $9 subscribe $1 b :1 ");
    assert_eq!(all.place(Subscribe::Subscribe, b"a"), None);
    let mut closed = Vec::new();
    all.take_idle(|key| closed.push(key));
    assert_eq!(closed, [key(0)]);
}

#[test]
fn servers_that_do_not_agree_about_a_pattern_end_it_all() {
    let (mut all, mut output) = (over_two(), Chain::new());
    ask(&mut all, Subscribe::Psubscribe, &[("*", Some(Place::Everywhere))]);
    all.on_confirmation(key(0), Subscribe::Psubscribe, b"*");
    assert!(all.on_lost(key(1), b"-ERR gone\r\n"));
    assert_eq!(all.advance(TWO, &mut output), Progress::Torn);
    assert_eq!(taken(&mut output), "-ERR gone ");
    let mut closed = Vec::new();
    all.take_all(|key| closed.push(key));
    assert_eq!(closed, [key(0)]);
}

#[test]
fn a_lost_connection_matters_to_who_listens_there() {
    let (mut all, mut output) = (over_two(), Chain::new());
    ask(&mut all, Subscribe::Ssubscribe, &[("a", Some(Place::At(0)))]);
    all.on_confirmation(key(0), Subscribe::Ssubscribe, b"a");
    assert_eq!(all.advance(TWO, &mut output), Progress::Over);
    assert!(!all.on_lost(key(0), b""));
    assert!(all.on_lost(key(9), b""), "not one of its connections");
}
