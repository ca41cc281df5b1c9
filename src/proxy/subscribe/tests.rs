//! Subscribers and their servers, event by event.

use std::sync::Arc;

use bytes::Bytes;

use crate::distribution::{DistributionKind, Node, RoutingTable};
use crate::hash::HashKind;
use crate::io::{Address, Buffer, Destination, Errno};
use crate::limits::{HELD_MESSAGE_BYTES, Limits};
use crate::proto::RespVersion;
use crate::proxy::{PoolSetup, Proxy, Quota, Want};
use crate::time::Instant;
use crate::token::Key;

/// A proxy before two servers, with so many private connections, and a client of it.
fn proxy(private: u32, limits: Limits) -> (Proxy, Key, Arc<Quota>) {
    let names = ["127.0.0.1:1", "127.0.0.1:2"];
    let nodes = names.map(|name| Node { name: name.to_owned(), weight: 1 });
    let address = Destination::Address(Address::Unix("/nowhere".into()));
    let (hash, kind) = (HashKind::default(), DistributionKind::Modula);
    let routing = RoutingTable::new(hash, None, kind, &nodes, &[false, false]);
    let servers = names.map(|name| (name.to_owned(), address.clone())).to_vec();
    let mut setup = PoolSetup::new("alpha", Arc::new(routing), servers);
    setup.private = Arc::new(Quota::new(private));
    let quota = Arc::clone(&setup.private);
    let mut proxy = Proxy::new(vec![setup], limits, 1);
    let client = proxy.on_accept(0);
    (proxy, client, quota)
}

fn receive(proxy: &mut Proxy, key: Key, bytes: &[u8]) {
    let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(bytes));
    proxy.on_received(Instant::default(), key, &mut buffer);
}

fn output(proxy: &mut Proxy, key: Key) -> String {
    let bytes = proxy.take_output(key).map(|output| output.to_vec()).unwrap_or_default();
    String::from_utf8(bytes).expect("text").replace("\r\n", " ")
}

/// The connections that the proxy wants and that it wants no more; the former are made.
fn connect(proxy: &mut Proxy) -> (Vec<Key>, Vec<Key>) {
    let (mut wants, mut opened, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    proxy.take_wants(&mut wants);
    for want in wants {
        match want {
            Want::Connect { key, .. } => opened.push(key),
            Want::Close(key) => closed.push(key),
            Want::Resolve(_)
            | Want::Flush(_)
            | Want::Read(_)
            | Want::Pause(_)
            | Want::Farewell(_) => {}
        }
    }
    for &key in &opened {
        proxy.on_connected(Instant::default(), key, Ok(()));
    }
    (opened, closed)
}

/// The confirmation of one name.
fn confirmation(word: &str, name: &str) -> Vec<u8> {
    format!("*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:1\r\n", word.len(), name.len()).into_bytes()
}

#[test]
fn more_connections_than_the_pool_has_are_refused_and_given_back() {
    let (mut proxy, client, quota) = proxy(1, Limits::default());
    receive(&mut proxy, client, b"PSUBSCRIBE *\r\n");
    let refusal = "-ERR max number of private connections reached ";
    assert_eq!(output(&mut proxy, client), refusal);
    let (opened, closed) = connect(&mut proxy);
    assert_eq!((opened.len(), quota.used()), (1, 0));
    assert_eq!(opened, closed);
    receive(&mut proxy, client, b"SUBSCRIBE a\r\n");
    let (opened, _) = connect(&mut proxy);
    assert_eq!((opened.len(), quota.used()), (1, 1));
    proxy.on_error(Instant::default(), client, Errno(libc::ECONNRESET));
    let (_, closed) = connect(&mut proxy);
    assert!(closed.contains(&opened[0]));
    assert_eq!(quota.used(), 0);
}

#[test]
fn a_client_of_resp3_gets_pushes_and_everything_else() {
    let (mut proxy, client, _) = proxy(2, Limits::default());
    let account = &mut proxy.clients.find_mut(client).expect("a client").account;
    account.version = RespVersion::Three;
    receive(&mut proxy, client, b"SUBSCRIBE a\r\nPING\r\n");
    let server = connect(&mut proxy).0[0];
    assert_eq!(output(&mut proxy, server), "*2 $9 subscribe $1 a ");
    receive(&mut proxy, server, &confirmation("subscribe", "a"));
    proxy.run_ready(Instant::default());
    assert_eq!(output(&mut proxy, client), ">3 $9 subscribe $1 a :1 +PONG ");
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
    for cut in 1..message.len() {
        receive(&mut proxy, server, &message[..cut]);
        assert_eq!(output(&mut proxy, client), "", "half a message");
        receive(&mut proxy, server, &message[cut..]);
        assert_eq!(output(&mut proxy, client), ">3 $7 message $1 a $2 hi ");
    }
    receive(&mut proxy, client, b"UNSUBSCRIBE\r\n");
    // The PING went to the server as well.
    assert_eq!(output(&mut proxy, server), "*1 $4 PING *2 $11 unsubscribe $1 a ");
    receive(&mut proxy, server, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    receive(&mut proxy, server, &confirmation("unsubscribe", "a"));
    assert_eq!(output(&mut proxy, client), ">3 $11 unsubscribe $1 a :0 ");
    assert_eq!(connect(&mut proxy).1, [server]);
}

#[test]
fn what_is_held_behind_a_confirmation_has_a_limit() {
    let limits = Limits { output_soft_bytes: 50, output_hard_bytes: 400, ..Limits::default() };
    let (mut proxy, client, _) = proxy(2, limits);
    receive(&mut proxy, client, b"PSUBSCRIBE *\r\n");
    let servers = connect(&mut proxy).0;
    servers.iter().for_each(|&server| drop(proxy.take_output(server)));
    receive(&mut proxy, servers[0], &confirmation("psubscribe", "*"));
    let message = b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nhi\r\n";
    for _ in 0..400 / (message.len() + HELD_MESSAGE_BYTES) {
        receive(&mut proxy, servers[0], message);
        assert_eq!(connect(&mut proxy).1, []);
    }
    receive(&mut proxy, servers[0], message);
    let closed = connect(&mut proxy).1;
    assert!(closed.contains(&client) && closed.len() == 3, "{closed:?}");
    assert_eq!(proxy.counters().clients_over_output, 1);
}

#[test]
fn who_ends_its_side_has_its_confirmations_and_no_messages() {
    let (mut proxy, client, _) = proxy(2, Limits::default());
    receive(&mut proxy, client, b"SUBSCRIBE a\r\n");
    let server = connect(&mut proxy).0[0];
    drop(proxy.take_output(server));
    proxy.on_end(Instant::default(), client);
    assert_eq!(connect(&mut proxy).1, []);
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
    let both = [&confirmation("subscribe", "a")[..], message].concat();
    receive(&mut proxy, server, &both);
    assert_eq!(output(&mut proxy, client), "*3 $9 subscribe $1 a :1 ");
    proxy.on_sent(Instant::default(), client, confirmation("subscribe", "a").len());
    assert_eq!(connect(&mut proxy).1, [server, client]);
}
