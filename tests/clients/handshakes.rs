//! Recorded beginnings of connections, replayed before a plain server and before the proxy.

use crate::expected::gaps;
use crate::frames::Wire;
use crate::matrix::{Outcome, PASSWORD, Stage};
use crate::recorded::{Need, RECORDINGS, Recording, WRONG, Write};
use crate::support::client::command;
use crate::support::fake::FakeServer;
use crate::support::proxy::Proxy;
use crate::support::show;

/// What is done with each recording.
pub const CASES: [&str; 4] = ["handshake", "password", "wrong_password", "fallback"];

/// Replays one connection: all its writes, each with all its replies, and at the end a round trip.
fn replay(port: u16, writes: &[Write]) -> Outcome {
    let mut wire = Wire::to(port);
    for write in writes {
        let bytes: Vec<u8> = write.iter().flat_map(|(words, _)| command(words)).collect();
        wire.send(&bytes).map_err(|error| error.to_string())?;
        for (words, need) in write {
            let said = words.iter().map(|word| word.escape_ascii().to_string());
            let said = said.collect::<Vec<_>>().join(" ");
            let frame = wire.frame().map_err(|error| format!("{said}: {error}"))?;
            if !need.is_met_by(&frame) {
                return Err(format!("{said}: {}", show(format!("{frame:?}").as_bytes())));
            }
            // The client gives up here, or opens another connection.
            if matches!(need, Need::Error(_)) {
                return Ok(());
            }
        }
    }
    let last = writes.last().and_then(|write| write.last());
    if last.is_some_and(|(_, need)| matches!(need, Need::Subscribed(_))) {
        return Ok(());
    }
    wire.send(&command(&["PING", "a"])).map_err(|error| error.to_string())?;
    let frame = wire.frame().map_err(|error| format!("PING: {error}"))?;
    if Need::Bytes(b"a").is_met_by(&frame) { Ok(()) } else { Err(format!("PING: {frame:?}")) }
}

/// What it says to a pool whose servers know no HELLO.
fn replay_fallback(recording: &Recording) -> Outcome {
    let old = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            connection.send(match request[0].to_ascii_uppercase().as_slice() {
                b"HELLO" => b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n",
                b"GET" => b"$-1\r\n",
                _ => b"+OK\r\n",
            });
        }
    });
    let proxy = Proxy::start(&[old.line()], &[]);
    let refused = vec![(vec![&b"HELLO"[..], b"3"], Need::FallsBack(recording.falls_back))];
    let mut writes = vec![refused];
    writes.extend((recording.in_resp2)());
    replay(proxy.port(), &writes)
}

fn replay_all(port: u16, connections: &[Vec<Write>]) -> Outcome {
    connections.iter().try_for_each(|writes| replay(port, writes))
}

fn works_as_listed(title: &str) {
    let recording = RECORDINGS.iter().find(|it| it.title == title).expect("a recording");
    let mut faults = vec![];
    for (stage, is_proxy) in [(Stage::plain(), false), (Stage::proxied(), true)] {
        let [port, guarded] = stage.ports;
        for case in CASES {
            let outcome = match case {
                "handshake" => replay_all(port, &(recording.connections)(None)),
                "password" => replay_all(guarded, &(recording.connections)(Some(PASSWORD))),
                "wrong_password" => replay_all(guarded, &(recording.connections)(Some(WRONG))),
                // An old server is only to be had behind the proxy.
                _ if is_proxy => replay_fallback(recording),
                _ => continue,
            };
            let missing = gaps(title, case).next().filter(|_| is_proxy).map(|gap| gap.missing);
            let place = if is_proxy { "the proxy" } else { "a plain server" };
            match (outcome, missing) {
                (Ok(()), None) | (Err(_), Some(_)) => {}
                (Ok(()), Some(missing)) => {
                    faults.push(format!("{case} works on {place}; listed: {missing}"));
                }
                (Err(why), None) => faults.push(format!("{case} on {place}: {why}")),
            }
        }
    }
    assert!(faults.is_empty(), "{title}:\n  {}\n", faults.join("\n  "));
}

#[test]
fn go_redis_9() {
    works_as_listed("go-redis 9");
}

#[test]
fn lettuce_7() {
    works_as_listed("lettuce 7");
}

#[test]
fn jedis_8() {
    works_as_listed("jedis 8");
}

#[test]
fn stack_exchange_redis_3() {
    works_as_listed("StackExchange.Redis 3");
}
