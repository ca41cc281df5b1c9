//! The ring under the smallest worker: one that sends back what it receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::io::{Address, Chain, Errno, Event, Fd, How, Ring, Wait, What};
use crate::limits::TICK_MS;
use crate::time::Instant;
use crate::token::{Key, OpKind, Role, Token};

pub(super) const WAIT: Wait = Wait { want: 1, window: Duration::ZERO };

pub(super) fn address(port: u16) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1], port)))
}

pub(super) fn server_token(op: OpKind) -> Token {
    Key::new(Role::Server, 0, 0).token(op)
}

/// Waits until `want` finds something in an event, for at most ten seconds of virtual time.
pub(super) fn wait_for<T>(ring: &mut SimRing, mut want: impl FnMut(Event) -> Option<T>) -> T {
    let end = ring.now() + Duration::from_secs(10);
    while ring.now() < end {
        let mut events = Vec::new();
        ring.wait(WAIT, &mut events).expect("the simulated ring does not fail");
        let found: Vec<T> = events.into_iter().filter_map(&mut want).collect();
        if let Some(found) = found.into_iter().next() {
            return found;
        }
    }
    panic!("nothing came");
}

/// A worker that answers each `*1 $4 PING` with `+PONG`, whatever its pieces.
struct Echo {
    ring: SimRing,
    listener: Fd,
    accepting: bool,
    connections: BTreeMap<Key, Connection>,
    next: u32,
}

struct Connection {
    fd: Fd,
    seen: usize,
    output: Chain,
    sending: bool,
    receiving: bool,
}

impl Echo {
    fn new(mut ring: SimRing, listener: Fd) -> Self {
        ring.accept(Key::new(Role::Listener, 0, 0).token(OpKind::Accept), listener);
        Self { ring, listener, accepting: true, connections: BTreeMap::new(), next: 0 }
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        self.ring.wait(WAIT, &mut events).expect("the simulated ring does not fail");
        for Event { token, what } in events {
            match what {
                What::Accepted { fd, more } => self.on_accepted(fd, more),
                What::Received { data, more } => {
                    let Some(connection) = self.connections.get_mut(&token.key()) else {
                        unreachable!("closed only when nothing is armed")
                    };
                    connection.receiving = more;
                    match data {
                        Ok(buffer) if buffer.is_empty() => self.ring.give_back(buffer),
                        Ok(buffer) => {
                            let replies = |seen: usize| seen / PING.len();
                            let before = replies(connection.seen);
                            connection.seen += buffer.len();
                            for _ in before..replies(connection.seen) {
                                connection.output.push_copy(b"+PONG\r\n");
                            }
                            self.ring.give_back(buffer);
                            if !more {
                                connection.receiving = true;
                                self.ring.recv(token, connection.fd, None);
                            }
                        }
                        Err(Errno(libc::ENOBUFS)) => {
                            connection.receiving = true;
                            self.ring.recv(token, connection.fd, None);
                        }
                        Err(_) => {}
                    }
                    self.flush(token.key());
                }
                What::Sent { bytes, mut output } => {
                    let connection = self.connections.get_mut(&token.key()).expect("open");
                    connection.sending = false;
                    if let Ok(bytes) = bytes {
                        output.advance(bytes);
                        output.append(&mut connection.output);
                        connection.output = output;
                    } else {
                        connection.output.clear();
                    }
                    self.flush(token.key());
                }
                What::Connected(_) | What::HungUp(_) => unreachable!("not asked for"),
                What::Tick => self.accept(),
                What::Signal(_) | What::Mail => {}
            }
        }
    }

    fn on_accepted(&mut self, fd: Result<Fd, Errno>, more: bool) {
        if let Ok(fd) = fd {
            let key = Key::new(Role::Client, self.next, 0);
            self.next += 1;
            let output = Chain::new();
            let connection = Connection { fd, seen: 0, output, sending: false, receiving: true };
            self.connections.insert(key, connection);
            self.ring.recv(key.token(OpKind::Recv), fd, None);
        }
        // Without a descriptor there is nothing to be gained before the next tick.
        self.accepting = more;
        if fd.is_ok() {
            self.accept();
        }
    }

    fn accept(&mut self) {
        if !self.accepting {
            self.accepting = true;
            let token = Key::new(Role::Listener, 0, 0).token(OpKind::Accept);
            self.ring.accept(token, self.listener);
        }
    }

    fn flush(&mut self, key: Key) {
        let connection = self.connections.get_mut(&key).expect("open");
        if connection.sending {
            return;
        }
        if !connection.output.is_empty() {
            connection.sending = true;
            let output = std::mem::take(&mut connection.output);
            self.ring.send(key.token(OpKind::Send), connection.fd, output);
        } else if !connection.receiving {
            self.ring.close(key.token(OpKind::Close), connection.fd);
            self.connections.remove(&key);
        }
    }
}

pub(super) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

fn echo_run(seed: u64, faults: Faults) -> SimRing {
    let settings =
        Settings { pipe_bytes: 64, buffers: 2, buffer_bytes: 16, faults, ..Settings::default() };
    let mut ring = SimRing::new(seed, settings);
    let listener = ring.listen();
    let pings = |count| vec![Exchange::new(PING.to_vec(), b"+PONG\r\n".to_vec()); count];
    for (cut, depth) in [(Cut::Every(1), 1), (Cut::Random(20), 5), (Cut::Whole, usize::MAX)] {
        ring.add_client(ClientScript { cut, depth, ..ClientScript::new(listener, pings(20)) });
    }
    ring.add_client(ClientScript {
        leaves: Leaves::HalfClosing,
        depth: usize::MAX,
        cut: Cut::After(17),
        pause: Duration::from_millis(1),
        ..ClientScript::new(listener, pings(10))
    });
    let mut echo = Echo::new(ring, listener);
    for _ in 0..100_000 {
        if echo.ring.is_quiet() {
            return echo.ring;
        }
        echo.turn();
    }
    panic!("not finished: {:?}", echo.ring.unrest());
}

#[test]
fn an_echo_serves_every_client_without_faults() {
    let mut ring = echo_run(1, Faults::default());
    // What the clients' manners and sixteen buffers bring, no chance has brought.
    let manners =
        [Fault::NoBuffers, Fault::ClientDrips, Fault::ClientFloods, Fault::ClientHalfCloses];
    let mut others = Fault::ALL.iter().filter(|fault| !manners.contains(fault));
    assert!(others.all(|&fault| ring.faults().injected(fault) == 0));
    assert_eq!(ring.outcome(0).replies.len(), 20);
}

#[test]
fn an_echo_serves_every_client_through_harmless_faults() {
    let mut seen = [0; Fault::ALL.len()];
    for seed in 0..50 {
        let mut ring = echo_run(seed, Faults::harmless());
        for fault in Fault::ALL {
            seen[fault as usize] += ring.faults().injected(fault);
        }
    }
    for fault in [Fault::ShortReceive, Fault::ShortSend, Fault::MultishotEnds, Fault::NoBuffers] {
        assert!(seen[fault as usize] > 0, "{fault:?}");
    }
    for fault in [Fault::LateCompletion, Fault::EarlyWait, Fault::AcceptNoDescriptor] {
        assert!(seen[fault as usize] > 0, "{fault:?}");
    }
    for fault in [Fault::FewCompletions, Fault::QueueFull] {
        assert!(seen[fault as usize] > 0, "{fault:?}");
    }
}

#[test]
fn a_seed_determines_the_run() {
    let times = |seed| {
        let ring = echo_run(seed, Faults::harmless());
        let times: Vec<Instant> =
            (0..4).flat_map(|at| ring.outcome(at).replies.iter().map(|reply| reply.0)).collect();
        (times, ring.now())
    };
    assert_eq!(times(42), times(42));
    assert_ne!(times(42), times(43));
}

/// A ring with one server, and a socket that is connected to it.
fn connected(script: ServerScript) -> (SimRing, Fd) {
    connected_in(Settings::default(), script)
}

/// The same with other settings.
pub(super) fn connected_in(settings: Settings, script: ServerScript) -> (SimRing, Fd) {
    let mut ring = SimRing::new(9, settings);
    ring.add_server(address(1), script);
    let fd = ring.connect(server_token(OpKind::Connect), &address(1), None).unwrap();
    assert_eq!(wait_for(&mut ring, connect_result), Ok(()));
    (ring, fd)
}

pub(super) fn connect_result(event: Event) -> Option<Result<(), Errno>> {
    let What::Connected(result) = event.what else { return None };
    Some(result)
}

pub(super) fn hangup_result(event: Event) -> Option<Result<(), Errno>> {
    let What::HungUp(result) = event.what else { return None };
    Some(result)
}

pub(super) fn received(event: Event) -> Option<(Result<Vec<u8>, Errno>, bool)> {
    let What::Received { data, more } = event.what else { return None };
    Some((data.map(|data| data.to_vec()), more))
}

pub(super) fn sending(bytes: &[u8]) -> Chain {
    let mut output = Chain::new();
    output.push_copy(bytes);
    output
}

#[test]
fn a_deadline_ends_a_receive_on_time() {
    let (mut ring, fd) = connected(ServerScript::default());
    let start = ring.now();
    let within = Duration::from_millis(250);
    ring.recv(server_token(OpKind::Recv), fd, Some(within));
    let result = wait_for(&mut ring, received);
    assert_eq!(result, (Err(Errno(libc::ECANCELED)), false));
    assert!(ring.now() >= start + within);
    assert!(ring.now() - start < within + Duration::from_millis(1));
}

#[test]
fn a_tick_comes_each_tick_time() {
    let mut ring = SimRing::new(1, Settings::default());
    for number in 1..=10 {
        wait_for(&mut ring, |event| matches!(event.what, What::Tick).then_some(()));
        let due = Instant::from_nanos(0) + Duration::from_millis(number * TICK_MS);
        assert!(ring.now() >= due && ring.now() - due < Duration::from_millis(1));
    }
}

#[test]
fn a_connect_is_refused_or_runs_out_of_time() {
    let mut ring = SimRing::new(1, Settings::default());
    let start = Duration::ZERO;
    let vanished = ServerScript { changes: vec![(start, Change::Vanishes)], ..Default::default() };
    ring.add_server(address(1), vanished);
    let token = server_token(OpKind::Connect);
    let fd = ring.connect(token, &address(2), None).unwrap();
    assert_eq!(wait_for(&mut ring, connect_result), Err(Errno(libc::ECONNREFUSED)));
    ring.close(server_token(OpKind::Close), fd);
    let within = Duration::from_millis(500);
    let start = ring.now();
    let fd = ring.connect(token, &address(1), Some(within)).unwrap();
    assert_eq!(wait_for(&mut ring, connect_result), Err(Errno(libc::ECANCELED)));
    assert!(ring.now() >= start + within);
    ring.close(server_token(OpKind::Close), fd);
}

#[test]
fn a_server_answers_and_dies_in_a_reply() {
    let away = Duration::from_millis(10);
    let dies = vec![(2, Mischief::DiesInReply { bytes: 3, away })];
    let (mut ring, fd) = connected(ServerScript { mischief: dies, ..Default::default() });
    ring.recv(server_token(OpKind::Recv), fd, None);
    let requests = [request(&[b"SET", b"k", b"v"]), request(&[b"GET", b"k"])].concat();
    ring.send(server_token(OpKind::Send), fd, sending(&requests));
    let mut bytes = Vec::new();
    wait_for(&mut ring, |event| match received(event) {
        Some((Ok(data), _)) if !data.is_empty() => {
            bytes.extend(data);
            None
        }
        Some((_, more)) => (!more).then_some(()),
        None => None,
    });
    assert!(b"+OK\r\n$1\r".starts_with(&bytes[..]), "{bytes:?}");
    assert_eq!(ring.stored(0, b"k"), Some(&b"v"[..]));
    assert_eq!(ring.carried_out(0), 2);
}

#[test]
fn a_cancelled_watch_says_so_and_a_shutdown_of_both_sides_is_a_hangup() {
    let (mut ring, fd) = connected(ServerScript::default());
    let token = server_token(OpKind::Hangup);
    ring.watch_hangup(token, fd);
    ring.cancel(token);
    assert_eq!(wait_for(&mut ring, hangup_result), Err(Errno(libc::ECANCELED)));
    ring.watch_hangup(token, fd);
    ring.shutdown(fd, How::Both);
    assert_eq!(wait_for(&mut ring, hangup_result), Ok(()));
}

#[test]
fn signals_and_mail_arrive() {
    let mut ring = SimRing::new(1, Settings::default());
    ring.signal(15);
    ring.mail();
    let mut numbers = Vec::new();
    wait_for(&mut ring, |event| {
        if let What::Signal(number) = event.what {
            numbers.push(number);
        }
        matches!(event.what, What::Mail).then_some(())
    });
    assert_eq!(numbers, [15]);
}

#[test]
#[should_panic(expected = "in flight")]
fn a_close_with_an_armed_receive_is_caught() {
    let (mut ring, fd) = connected(ServerScript::default());
    ring.recv(server_token(OpKind::Recv), fd, None);
    ring.close(server_token(OpKind::Close), fd);
}

#[test]
#[should_panic(expected = "such an operation in flight")]
fn a_second_send_on_a_socket_is_caught() {
    let (mut ring, fd) = connected(ServerScript::default());
    ring.send(server_token(OpKind::Send), fd, sending(b"a"));
    ring.send(Key::new(Role::Server, 1, 0).token(OpKind::Send), fd, sending(b"b"));
}

#[test]
#[should_panic(expected = "is in flight already")]
fn a_token_that_is_used_twice_is_caught() {
    let (mut ring, fd) = connected(ServerScript::default());
    let mut other = || ring.connect(server_token(OpKind::Connect), &address(1), None).unwrap();
    other();
    let _ = fd;
    other();
}

#[test]
#[should_panic(expected = "is not open")]
fn a_second_close_is_caught() {
    let (mut ring, fd) = connected(ServerScript::default());
    ring.close(server_token(OpKind::Close), fd);
    ring.close(server_token(OpKind::Close), fd);
}

#[test]
#[should_panic(expected = "is not connected")]
fn a_receive_before_the_connect_is_over_is_caught() {
    let mut ring = SimRing::new(1, Settings::default());
    let fd = ring.connect(server_token(OpKind::Connect), &address(1), None).unwrap();
    ring.recv(server_token(OpKind::Recv), fd, None);
}

#[test]
#[should_panic(expected = "to half a request")]
fn a_reply_before_the_whole_request_is_caught() {
    // The client writes on before it reads, or reads first: a coin decides.
    for seed in 0..20 {
        let mut ring = SimRing::new(seed, Settings::default());
        let listener = ring.listen();
        let request = [PING, b"and more"].concat();
        let script = ClientScript::new(listener, vec![Exchange::new(request, b"+PONG\r\n".into())]);
        let pause = Duration::from_millis(1);
        ring.add_client(ClientScript { cut: Cut::After(PING.len()), pause, ..script });
        let mut echo = Echo::new(ring, listener);
        while !echo.ring.is_quiet() {
            echo.turn();
        }
    }
}

#[test]
#[should_panic(expected = "to \"*1")]
fn a_wrong_reply_is_caught() {
    let mut ring = SimRing::new(1, Settings::default());
    let listener = ring.listen();
    let exchange = Exchange::new(PING.to_vec(), b"+POND\r\n".to_vec());
    ring.add_client(ClientScript::new(listener, vec![exchange]));
    let mut echo = Echo::new(ring, listener);
    while !echo.ring.is_quiet() {
        echo.turn();
    }
}
