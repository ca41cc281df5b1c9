//! The ring's own faults, one by one, and what it has in common with the kernel.

use std::time::Duration;

use super::tests::{
    PING, WAIT, address, connect_result, connected_in, hangup_result, received, sending,
    server_token, wait_for,
};
use super::*;
use crate::io::{Errno, Event, Fd, How, Ring, Wait, What};
use crate::limits::TICK_MS;
use crate::token::{Key, OpKind, Role, Token};

const CANCELLED: (Result<Vec<u8>, Errno>, bool) = (Err(Errno(libc::ECANCELED)), false);
const REPLIES: &[u8] = b"+OK\r\n$10\r\nvvvvvvvvvv\r\n";
const RECV: Token = token(0, OpKind::Recv);

const fn token(server: u32, op: OpKind) -> Token {
    Key::new(Role::Server, server, 0).token(op)
}

fn with(fault: Fault, per_mille: u32) -> Settings {
    Settings { faults: Faults::default().with(fault, per_mille), ..Settings::default() }
}

fn turn(ring: &mut SimRing) -> Vec<Event> {
    let mut events = Vec::new();
    ring.wait(WAIT, &mut events).expect("the simulated ring does not fail");
    events
}

/// Has the server send `REPLIES`, and waits until they are there, unread.
fn has_sent(ring: &mut SimRing, fd: Fd) {
    let requests = [request(&[b"SET", b"k", b"vvvvvvvvvv"]), request(&[b"GET", b"k"])].concat();
    let mut output = sending(&requests);
    while !output.is_empty() {
        ring.send(token(0, OpKind::Send), fd, output);
        output = wait_for(ring, |event| {
            let What::Sent { bytes, mut output } = event.what else { return None };
            output.advance(bytes.expect("the server reads"));
            Some(output)
        });
    }
    let end = ring.now() + Duration::from_millis(50);
    while ring.now() < end {
        turn(ring);
    }
}

/// A socket with bytes to be received, on a ring with `settings`.
fn readable(settings: Settings) -> (SimRing, Fd) {
    let (mut ring, fd) = connected_in(settings, ServerScript::default());
    has_sent(&mut ring, fd);
    (ring, fd)
}

/// All that one receive brings until it is over.
fn receive_all(ring: &mut SimRing) -> (Vec<u8>, Result<Vec<u8>, Errno>) {
    let mut bytes = Vec::new();
    let end = wait_for(ring, |event| match received(event)? {
        (Ok(data), true) => {
            bytes.extend(data);
            None
        }
        (end, more) => (!more).then_some(end),
    });
    (bytes, end)
}

#[test]
fn a_cancel_comes_before_the_bytes_or_after_them() {
    let (mut ring, fd) = readable(Settings::default());
    ring.recv(RECV, fd, None);
    ring.cancel(RECV);
    assert_eq!(wait_for(&mut ring, received), CANCELLED);
    assert_eq!(ring.faults().injected(Fault::CancelBeatsData), 1);

    let (mut ring, fd) = readable(with(Fault::DataBeatsCancel, 1000));
    ring.recv(RECV, fd, None);
    ring.cancel(RECV);
    let (bytes, end) = receive_all(&mut ring);
    assert_eq!((&bytes[..], end), (REPLIES, CANCELLED.0));
    assert_eq!(ring.faults().injected(Fault::CancelBeatsData), 0);
    assert!(ring.faults().injected(Fault::DataBeatsCancel) > 0);
}

#[test]
fn a_deadline_comes_before_the_bytes_or_after_them_in_one_wait() {
    let within = Some(Duration::ZERO);
    let (mut ring, fd) = readable(Settings::default());
    ring.recv(RECV, fd, within);
    assert_eq!(wait_for(&mut ring, received), CANCELLED);
    assert_eq!(ring.faults().injected(Fault::DeadlineBeatsData), 1);
    ring.recv(RECV, fd, None);
    assert!(wait_for(&mut ring, received).0.is_ok(), "no byte was lost");

    let together = (0..20).any(|seed| {
        let (mut ring, fd) = readable(with(Fault::DataBeatsDeadline, 1000));
        ring.net.random = Random::new(seed);
        ring.recv(RECV, fd, within);
        let brought: Vec<_> = turn(&mut ring).into_iter().filter_map(received).collect();
        assert!(ring.faults().injected(Fault::DataBeatsDeadline) > 0);
        assert!(brought[0].0.is_ok());
        brought.last() == Some(&CANCELLED)
    });
    assert!(together);
}

#[test]
fn a_connect_that_was_cancelled_may_succeed_and_be_used() {
    for (per_mille, result) in [(0, Err(Errno(libc::ECANCELED))), (1000, Ok(()))] {
        let settings = with(Fault::ConnectBeatsCancel, per_mille);
        let mut ring = SimRing::new(1, Settings { connect_time: Duration::ZERO, ..settings });
        ring.add_server(address(1), ServerScript::default());
        let fd = ring.connect(server_token(OpKind::Connect), &address(1), None).unwrap();
        ring.cancel(server_token(OpKind::Connect));
        assert_eq!(wait_for(&mut ring, connect_result), result);
        assert_eq!(ring.faults().injected(Fault::ConnectBeatsCancel), u64::from(result.is_ok()));
        if result.is_ok() {
            ring.recv(RECV, fd, None);
        }
    }
}

#[test]
fn a_cancel_that_misses_changes_nothing_and_may_be_repeated() {
    let (mut ring, fd) = connected_in(with(Fault::CancelMissed, 1000), ServerScript::default());
    ring.recv(RECV, fd, None);
    ring.cancel(RECV);
    let end = ring.now() + Duration::from_secs(1);
    while ring.now() < end {
        assert!(turn(&mut ring).iter().all(|event| matches!(event.what, What::Tick)));
    }
    assert_eq!(ring.faults().injected(Fault::CancelMissed), 1);
    ring.faults().cease();
    ring.cancel(RECV);
    assert_eq!(wait_for(&mut ring, received), CANCELLED);
    ring.cancel(RECV);
    assert_eq!(ring.faults().injected(Fault::CancelMissed), 1, "there was nothing to miss");
}

#[test]
fn a_watch_may_end_by_itself_and_is_armed_again() {
    let (mut ring, fd) = connected_in(with(Fault::WatchEnds, 1000), ServerScript::default());
    ring.watch_hangup(token(0, OpKind::Hangup), fd);
    assert_eq!(wait_for(&mut ring, hangup_result), Err(Errno(libc::ECANCELED)));
    assert_eq!(ring.faults().injected(Fault::WatchEnds), 1);
    ring.watch_hangup(token(0, OpKind::Hangup), fd);
    ring.shutdown(fd, How::Both);
    assert_eq!(wait_for(&mut ring, hangup_result), Ok(()));
    assert_eq!(ring.faults().injected(Fault::WatchEnds), 1, "this one was hung up");
}

/// Accepts until `count` results are there.
fn accept(ring: &mut SimRing, listener: Fd, count: usize) -> Vec<Result<Fd, Errno>> {
    let token = Key::new(Role::Listener, 0, 0).token(OpKind::Accept);
    let mut results = Vec::new();
    ring.accept(token, listener);
    for _ in 0..1000 {
        if results.len() >= count {
            return results;
        }
        for event in turn(ring) {
            let What::Accepted { fd, more } = event.what else { continue };
            results.push(fd);
            if !more {
                ring.accept(token, listener);
            }
        }
    }
    panic!("{results:?} in 1000 turns");
}

#[test]
fn an_accept_is_aborted_for_a_client_that_is_gone_and_for_no_other() {
    let mut ring = SimRing::new(1, with(Fault::AcceptAborted, 1000));
    let listener = ring.listen();
    let pings = || vec![Exchange::new(PING.to_vec(), b"+PONG\r\n".to_vec())];
    let leaves = Leaves::Vanishing { reply_bytes: 0, reset: true };
    ring.add_client(ClientScript { leaves, ..ClientScript::new(listener, pings()) });
    let start = Duration::from_millis(TICK_MS);
    ring.add_client(ClientScript { start, ..ClientScript::new(listener, pings()) });
    turn(&mut ring);
    let results = accept(&mut ring, listener, 2);
    assert_eq!(results[0], Err(Errno(libc::ECONNABORTED)));
    assert!(results[1].is_ok());
    assert_eq!(ring.faults().injected(Fault::AcceptAborted), 1);
}

/// A ring with `count` connections to a server, all of them with a reply to be received.
fn many_readable(settings: Settings, count: u32) -> (SimRing, Vec<Fd>) {
    let mut ring = SimRing::new(5, settings);
    ring.add_server(address(1), ServerScript::default());
    let fds: Vec<Fd> = (0..count)
        .map(|index| ring.connect(token(index, OpKind::Connect), &address(1), None).unwrap())
        .collect();
    (0..count).for_each(|_| assert_eq!(wait_for_one(&mut ring, connect_result), Ok(())));
    for (index, &fd) in (0..count).zip(&fds) {
        ring.send(token(index, OpKind::Send), fd, sending(PING));
    }
    let end = ring.now() + Duration::from_millis(50);
    while ring.now() < end {
        turn(&mut ring);
    }
    (ring, fds)
}

/// As `wait_for`, of a ring that brings one completion at a time.
fn wait_for_one<T>(ring: &mut SimRing, want: impl Fn(Event) -> Option<T>) -> T {
    let settings = ring.settings.completions_max;
    ring.settings.completions_max = 1;
    let found = wait_for(ring, want);
    ring.settings.completions_max = settings;
    found
}

#[test]
fn a_wait_brings_no_more_than_its_limit_or_what_was_waited_for() {
    let settings = Settings { completions_max: 3, ..Settings::default() };
    let (mut ring, fds) = many_readable(settings, 20);
    for (index, &fd) in (0..20).zip(&fds) {
        ring.recv(token(index, OpKind::Recv), fd, None);
    }
    let before = ring.faults().injected(Fault::FewCompletions);
    assert_eq!(turn(&mut ring).len(), 3);
    assert_eq!(ring.faults().injected(Fault::FewCompletions), before + 1);
    let mut events = Vec::new();
    let how = Wait { want: 10, window: Duration::from_micros(50) };
    ring.wait(how, &mut events).expect("the simulated ring does not fail");
    assert_eq!(events.len(), 10);
}

#[test]
fn a_full_queue_ends_receives_and_loses_nothing() {
    let settings = Settings { queue_entries: 4, ..Settings::default() };
    let (mut ring, fds) = many_readable(settings, 12);
    for (index, &fd) in (0..12).zip(&fds) {
        ring.recv(token(index, OpKind::Recv), fd, None);
    }
    let mut ended = 0;
    let mut bytes = [0; 12];
    for _ in 0..10 {
        for event in turn(&mut ring) {
            let Event { token, what: What::Received { data, more } } = event else { continue };
            let data = data.expect("there are more buffers than sockets");
            bytes[token.key().index as usize] += data.len();
            ring.give_back(data);
            ended += u64::from(!more);
        }
    }
    assert_eq!(bytes, [b"+PONG\r\n".len(); 12]);
    assert!(ended > 0);
    assert_eq!(ring.faults().injected(Fault::QueueFull), ended);
}

#[test]
#[should_panic(expected = "in flight")]
fn a_close_before_the_last_event_was_delivered_is_caught() {
    let settings = with(Fault::QueueFull, 1000);
    let (mut ring, fd) = readable(Settings { queue_entries: 1, ..settings });
    ring.recv(RECV, fd, None);
    while ring.completions.late() == 0 {
        turn(&mut ring);
    }
    ring.close(token(0, OpKind::Close), fd);
}

#[test]
fn a_socket_brings_several_completions_in_order_in_one_wait() {
    let settings = Settings { buffer_bytes: 2, ..Settings::default() };
    let together = (0..20).any(|seed| {
        let (mut ring, fd) = readable(settings.clone());
        ring.net.random = Random::new(seed);
        ring.recv(RECV, fd, None);
        let brought: Vec<_> = turn(&mut ring).into_iter().filter_map(received).collect();
        let bytes: Vec<u8> = brought.iter().flat_map(|(data, _)| data.clone().unwrap()).collect();
        assert!(REPLIES.starts_with(&bytes[..]), "{bytes:?}");
        brought.len() > 1
    });
    assert!(together);
}

#[test]
fn a_close_takes_effect_with_the_next_wait() {
    let (mut ring, fd) = connected_in(Settings::default(), ServerScript::default());
    let link = ring.net.links.len() - 1;
    ring.close(token(0, OpKind::Close), fd);
    assert!(ring.net.links[link].is_ring_open(), "the peer does not see it yet");
    assert!(ring.unrest().iter().any(|line| line.contains("is open")), "{:?}", ring.unrest());
    let other = ring.connect(token(1, OpKind::Connect), &address(1), None).unwrap();
    assert_ne!(other, fd, "its number is taken");
    turn(&mut ring);
    assert!(!ring.net.links[link].is_ring_open());
    let next = ring.connect(token(2, OpKind::Connect), &address(1), None).unwrap();
    assert_eq!(next, fd, "its number is free");
}

#[test]
#[should_panic(expected = "is not open")]
fn a_descriptor_that_is_being_closed_is_not_used() {
    let (mut ring, fd) = connected_in(Settings::default(), ServerScript::default());
    ring.close(token(0, OpKind::Close), fd);
    ring.shutdown(fd, How::Write);
}

#[test]
fn a_buffer_that_was_given_back_is_filled_after_the_next_wait_began() {
    let (mut ring, fd) = readable(Settings { buffers: 1, ..Settings::default() });
    ring.recv(RECV, fd, None);
    let data = wait_for(&mut ring, |event| {
        let What::Received { data, .. } = event.what else { return None };
        data.ok()
    });
    ring.give_back(data);
    assert_eq!(ring.buffers.away(), 0);
    assert!(ring.buffers.take().is_none());
    turn(&mut ring);
    assert!(ring.buffers.take().is_some());
}

#[test]
fn a_turn_takes_longer_the_more_it_moves() {
    let time_of = |count: usize| {
        let settings = Settings { pipe_bytes: 1 << 20, ..Settings::default() };
        let (mut ring, fd) = connected_in(settings, ServerScript::default());
        let output = sending(&request(&[b"SET", b"k", &vec![b'x'; count]]));
        ring.send(token(0, OpKind::Send), fd, output);
        let sent = wait_for(&mut ring, |event| {
            let What::Sent { bytes, .. } = event.what else { return None };
            bytes.ok()
        });
        assert!(sent > count);
        let start = ring.now();
        let mut events = Vec::new();
        let at_once = Wait { want: 0, window: Duration::ZERO };
        ring.wait(at_once, &mut events).expect("the simulated ring does not fail") - start
    };
    let (little, much) = (time_of(100), time_of(240_000));
    assert!(little < Duration::from_micros(25), "{little:?}");
    assert!(much >= Duration::from_micros(40), "{much:?}");
}

#[test]
#[should_panic(expected = "turns without progress")]
fn a_worker_that_turns_without_progress_is_caught() {
    let mut ring = SimRing::new(1, Settings::default());
    let at_once = Wait { want: 0, window: Duration::ZERO };
    for _ in 0..1000 {
        ring.wait(at_once, &mut Vec::new()).expect("the simulated ring does not fail");
    }
}

#[test]
#[should_panic(expected = "nothing but ticks")]
fn a_worker_that_sleeps_while_a_client_waits_is_caught() {
    let mut ring = SimRing::new(1, Settings::default());
    let listener = ring.listen();
    let exchange = Exchange::new(PING.to_vec(), b"+PONG\r\n".to_vec());
    ring.add_client(ClientScript::new(listener, vec![exchange]));
    loop {
        turn(&mut ring);
    }
}
