//! Every check, tripped once; and a life without fault.

use std::collections::VecDeque;

use bytes::Bytes;

use super::*;
use crate::token::Role;

/// A ring that says what it was told to say.
#[derive(Default)]
struct Script {
    /// What each wait tells of.
    waits: VecDeque<Vec<Event>>,
    /// When each wait is over; without, at 0.
    times: VecDeque<u64>,
    /// What is being sent.
    sent: Vec<Chain>,
    /// The socket that the next connect makes.
    fd: i32,
    returned: Vec<Buffer>,
    broken: bool,
}

impl Ring for Script {
    fn accept(&mut self, _: Token, _: Fd) {}

    fn connect(&mut self, _: Token, _: &Address, _: Option<Duration>) -> Result<Fd, Errno> {
        if self.fd == 0 { Err(Errno(libc::EMFILE)) } else { Ok(Fd(self.fd)) }
    }

    fn recv(&mut self, _: Token, _: Fd, _: Option<Duration>) {}

    fn send(&mut self, _: Token, _: Fd, output: Chain) {
        self.sent.push(output);
    }

    fn watch_hangup(&mut self, _: Token, _: Fd) {}

    fn cancel(&mut self, _: Token) {}

    fn shutdown(&mut self, _: Fd, _: How) {}

    fn keep_alive(&mut self, _: Fd, _: KeepAlive) {}

    fn peer(&mut self, _: Fd) -> Option<std::net::IpAddr> {
        None
    }

    fn ends(&mut self, _: Fd) -> crate::io::Ends {
        crate::io::Ends::default()
    }

    fn close(&mut self, _: Token, _: Fd) {}

    fn refuse(&mut self, _: Fd, _: &[u8]) {}

    fn give_back(&mut self, buffer: Buffer) {
        self.returned.push(buffer);
    }

    fn wait(&mut self, _: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        into.extend(self.waits.pop_front().unwrap_or_default());
        let now = Instant::from_nanos(self.times.pop_front().unwrap_or_default());
        if self.broken { Err(WaitError::CompletionLost) } else { Ok(now) }
    }
}

fn ring() -> Checked<Script> {
    Checked::from(Script::default())
}

/// The token of an operation on client `index`.
fn client(index: u32, op: OpKind) -> Token {
    Key::new(Role::Client, index, 0).token(op)
}

/// Lets the ring tell of something, and takes it.
fn tells(ring: &mut Checked<Script>, token: Token, what: What) -> Event {
    ring.inner_mut().waits.push_back(vec![Event { token, what }]);
    wait(ring).pop().expect("one event")
}

fn wait(ring: &mut Checked<Script>) -> Vec<Event> {
    let mut events = Vec::new();
    ring.wait(Wait { want: 0, window: Duration::ZERO }, &mut events).unwrap();
    events
}

fn chain(data: &[u8]) -> Chain {
    let mut chain = Chain::new();
    chain.push_copy(data);
    chain
}

fn filled(home: u16, more: bool) -> What {
    What::Received { data: Ok(Buffer::from_ring(b"bytes".to_vec(), home)), more }
}

fn end(more: bool) -> What {
    What::Received { data: Ok(Buffer::from_bytes(Bytes::new())), more }
}

fn accepted(fd: i32) -> What {
    What::Accepted { fd: Ok(Fd(fd)), more: true }
}

fn somewhere() -> Address {
    Address::Unix("/somewhere".into())
}

const RECV: Token = Key::new(Role::Client, 1, 0).token(OpKind::Recv);
const SEND: Token = Key::new(Role::Client, 1, 0).token(OpKind::Send);
const CONNECT: Token = Key::new(Role::Server, 1, 0).token(OpKind::Connect);
const CLOSE: Token = Key::new(Role::Client, 1, 0).token(OpKind::Close);
const ACCEPT: Token = Key::new(Role::Listener, 0, 0).token(OpKind::Accept);

/// A ring with a receive in flight on descriptor 5.
fn receiving() -> Checked<Script> {
    let mut ring = ring();
    ring.recv(RECV, Fd(5), None);
    ring
}

/// A ring whose connect, on descriptor 7, is not over.
fn connecting() -> Checked<Script> {
    let mut ring = ring();
    ring.inner_mut().fd = 7;
    ring.connect(CONNECT, &somewhere(), None).unwrap();
    ring
}

/// A ring that was given `data` to send; the second is what it holds.
fn sending(data: &[u8]) -> (Checked<Script>, Chain) {
    let mut ring = ring();
    ring.send(SEND, Fd(5), chain(data));
    let output = ring.inner_mut().sent.pop().unwrap();
    (ring, output)
}

fn closed() -> Checked<Script> {
    let mut ring = ring();
    ring.close(CLOSE, Fd(5));
    ring
}

#[test]
fn a_life_without_fault_is_let_pass() {
    let mut ring = ring();
    ring.accept(ACCEPT, Fd(3));
    let key = Key::new(Role::Client, 1, 0);
    for fd in [5, 6, 5] {
        tells(&mut ring, ACCEPT, accepted(fd));
        ring.recv(RECV, Fd(fd), None);
        ring.watch_hangup(key.token(OpKind::Hangup), Fd(fd));
        let event = tells(&mut ring, RECV, filled(0, true));
        let What::Received { data: Ok(buffer), .. } = event.what else { panic!("{event:?}") };
        ring.send(SEND, Fd(fd), chain(&buffer));
        ring.give_back(buffer);
        let output = ring.inner_mut().sent.pop().unwrap();
        tells(&mut ring, SEND, What::Sent { bytes: Ok(5), output });
        ring.shutdown(Fd(fd), How::Both);
        ring.cancel(key.token(OpKind::Hangup));
        tells(&mut ring, RECV, end(false));
        tells(&mut ring, key.token(OpKind::Hangup), What::HungUp(Err(Errno(libc::ECANCELED))));
        ring.close(CLOSE, Fd(fd));
        assert_eq!(ring.armed(), 1, "the accept");
    }
    tells(&mut ring, ACCEPT, accepted(6));
    ring.refuse(Fd(6), b"no");
    // The number of a connection that another worker was given, and closed.
    tells(&mut ring, ACCEPT, accepted(6));
    tells(&mut ring, ACCEPT, accepted(6));
    ring.inner_mut().fd = 6;
    ring.connect(CONNECT, &somewhere(), None).unwrap();
    tells(&mut ring, CONNECT, What::Connected(Ok(())));
    ring.recv(client(2, OpKind::Recv), Fd(6), None);
}

#[test]
fn a_connect_that_made_no_socket_is_not_in_flight() {
    let mut ring = ring();
    assert_eq!(ring.connect(CONNECT, &somewhere(), None), Err(Errno(libc::EMFILE)));
    assert_eq!(ring.armed(), 0);
    ring.connect(CONNECT, &somewhere(), None).unwrap_err();
}

#[test]
fn a_socket_whose_connect_failed_can_be_closed() {
    let mut ring = connecting();
    tells(&mut ring, CONNECT, What::Connected(Err(Errno(libc::ECONNREFUSED))));
    ring.close(Key::new(Role::Server, 1, 0).token(OpKind::Close), Fd(7));
    ring.connect(CONNECT, &somewhere(), None).unwrap();
}

#[test]
fn a_closed_number_comes_back_by_mail() {
    let mut ring = closed();
    tells(&mut ring, Key::WORKER.token(OpKind::Mail), What::Mail);
    ring.recv(RECV, Fd(5), None);
}

#[test]
fn what_is_given_back_is_overwritten() {
    let mut ring = receiving();
    let event = tells(&mut ring, RECV, filled(0, true));
    let What::Received { data: Ok(buffer), .. } = event.what else { panic!("{event:?}") };
    assert_eq!(&buffer[..], b"bytes");
    ring.give_back(buffer);
    assert_eq!(&ring.inner().returned[0][..], [crate::io::POISON; 5]);
}

#[test]
fn a_ring_that_broke_ends_with_whatever_was_lent() {
    let mut ring = receiving();
    ring.inner_mut().broken = true;
    ring.inner_mut().waits.push_back(vec![Event { token: RECV, what: filled(0, true) }]);
    let mut events = Vec::new();
    let how = Wait { want: 0, window: Duration::ZERO };
    assert_eq!(ring.wait(how, &mut events), Err(WaitError::CompletionLost));
    assert_eq!(events.len(), 1);
}

/// Names a test, what it is to say, and what leads to it.
macro_rules! trips {
    ($($name:ident: $words:literal, $act:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $words)]
        fn $name() {
            let act: fn() = $act;
            act();
        }
    )*};
}

// The caller's faults.
trips! {
    a_token_of_another_operation: "names another operation than Recv", || {
        ring().recv(SEND, Fd(5), None);
    };
    a_token_of_another_flavour: "not for a caller to use", || {
        ring().recv(RECV.with_flavour(Flavour::Deadline), Fd(5), None);
    };
    a_token_in_flight: "Client[1.0].Recv/Plain: it is in flight already, on fd 5", || {
        receiving().recv(RECV, Fd(6), None);
    };
    a_token_of_a_connect_in_flight: "it is in flight already, on fd 7", || {
        connecting().connect(CONNECT, &somewhere(), None).unwrap();
    };
    two_receives_on_a_descriptor: "fd 5 has an operation of this kind in flight", || {
        receiving().recv(client(2, OpKind::Recv), Fd(5), None);
    };
    two_sends_on_a_descriptor: "fd 5 has an operation of this kind in flight", || {
        let (mut ring, _) = sending(b"x");
        ring.send(client(2, OpKind::Send), Fd(5), chain(b"y"));
    };
    an_empty_send: "nothing to send", || ring().send(SEND, Fd(5), Chain::new());
    a_receive_on_a_socket_that_is_connecting: "fd 7 is not connected", || {
        connecting().recv(RECV, Fd(7), None);
    };
    a_send_on_a_socket_that_did_not_connect: "fd 7 is not connected", || {
        let mut ring = connecting();
        tells(&mut ring, CONNECT, What::Connected(Err(Errno(libc::ECONNREFUSED))));
        ring.send(SEND, Fd(7), chain(b"x"));
    };
    a_watch_on_a_closed_socket: "fd 5 is closed", || {
        closed().watch_hangup(client(1, OpKind::Hangup), Fd(5));
    };
    a_receive_on_a_closed_socket_a_turn_later: "fd 5 is closed", || {
        let mut ring = closed();
        tells(&mut ring, Key::WORKER.token(OpKind::Mail), What::Mail);
        wait(&mut ring);
        ring.recv(RECV, Fd(5), None);
    };
    a_second_close: "Client[1.0].Close/Plain: fd 5 is closed", || closed().close(CLOSE, Fd(5));
    a_close_after_a_refusal: "Client[1.0].Close/Plain: fd 5 is closed", || {
        let mut ring = ring();
        ring.refuse(Fd(5), b"no");
        ring.close(CLOSE, Fd(5));
    };
    a_refusal_of_a_closed_socket: "refuse: fd 5 is closed", || closed().refuse(Fd(5), b"no");
    a_shutdown_of_a_closed_socket: "shutdown: fd 5 is closed", || {
        closed().shutdown(Fd(5), How::Both);
    };
    a_close_with_something_armed: "fd 5 is closed with operations on it: [Recv, Send]", || {
        let (mut ring, _) = sending(b"x");
        ring.recv(RECV, Fd(5), None);
        ring.close(CLOSE, Fd(5));
    };
    a_close_of_a_socket_that_is_connecting: "with operations on it: [Connect]", || {
        connecting().close(CLOSE, Fd(7));
    };
    a_refusal_with_something_armed: "fd 5 is closed with operations on it: [Recv]", || {
        receiving().refuse(Fd(5), b"no");
    };
    a_close_by_another_token: "names another operation than Close", || ring().close(RECV, Fd(5));
    a_cancel_of_a_close: "not for a caller to cancel", || ring().cancel(CLOSE);
    a_cancel_of_a_cancel: "not for a caller to cancel", || {
        receiving().cancel(RECV.with_flavour(Flavour::Cancel));
    };
    a_buffer_given_back_twice: "buffer 3 is given back, and was not lent", || {
        let mut ring = receiving();
        let event = tells(&mut ring, RECV, filled(3, true));
        let What::Received { data: Ok(buffer), .. } = event.what else { panic!("{event:?}") };
        ring.give_back(buffer);
        ring.give_back(Buffer::from_ring(Vec::new(), 3));
    };
    a_wait_with_a_buffer_not_given_back: "wait: 1 buffers have not been given back", || {
        let mut ring = receiving();
        let _kept = tells(&mut ring, RECV, filled(3, true));
        wait(&mut ring);
    };
    an_end_with_a_buffer_not_given_back: "the ring ends, and 1 buffers", || {
        let _kept = tells(&mut receiving(), RECV, filled(3, true));
    };
}

// The ring's faults.
trips! {
    an_event_of_nothing: "it is not in flight", || {
        tells(&mut ring(), RECV, end(false));
    };
    an_event_after_the_last: "it is not in flight", || {
        let mut ring = receiving();
        tells(&mut ring, RECV, end(false));
        tells(&mut ring, RECV, end(false));
    };
    an_event_of_another_kind: "Recv/Plain: the ring answers it with Connected(Ok(()))", || {
        tells(&mut receiving(), RECV, What::Connected(Ok(())));
    };
    an_event_of_another_flavour: "Recv/Cancel: the ring answers it", || {
        tells(&mut receiving(), RECV.with_flavour(Flavour::Cancel), end(false));
    };
    a_tick_of_a_client: "the ring's own events are the worker's", || {
        tells(&mut ring(), client(1, OpKind::Tick), What::Tick);
    };
    a_send_of_nothing: "0 bytes sent of 4", || {
        let (mut ring, output) = sending(b"four");
        tells(&mut ring, SEND, What::Sent { bytes: Ok(0), output });
    };
    a_send_of_more_than_there_is: "5 bytes sent of 4", || {
        let (mut ring, output) = sending(b"four");
        tells(&mut ring, SEND, What::Sent { bytes: Ok(5), output });
    };
    a_send_of_more_than_one_may_take: "bytes sent of 262144", || {
        let (mut ring, output) = sending(&[7; SEND_BYTES_MAX + 1]);
        tells(&mut ring, SEND, What::Sent { bytes: Ok(SEND_BYTES_MAX + 1), output });
    };
    an_output_that_comes_back_shorter: "the output comes back changed", || {
        let (mut ring, mut output) = sending(b"four");
        output.advance(1);
        tells(&mut ring, SEND, What::Sent { bytes: Ok(1), output });
    };
    another_output_even_of_a_failed_send: "the output comes back changed", || {
        let (mut ring, _) = sending(b"four");
        let output = chain(b"rour");
        tells(&mut ring, SEND, What::Sent { bytes: Err(Errno(libc::EPIPE)), output });
    };
    a_buffer_filled_while_it_is_lent: "buffer 3 is filled while it is lent", || {
        let mut ring = receiving();
        ring.recv(client(2, OpKind::Recv), Fd(6), None);
        let event = |token| Event { token, what: filled(3, true) };
        let both = vec![event(RECV), event(client(2, OpKind::Recv))];
        ring.inner_mut().waits.push_back(both);
        wait(&mut ring);
    };
    bytes_in_a_buffer_from_elsewhere: "in a buffer that is not the ring's", || {
        let data = Ok(Buffer::from_bytes(Bytes::from_static(b"bytes")));
        tells(&mut receiving(), RECV, What::Received { data, more: true });
    };
    an_end_that_goes_on: "fd 5: the end goes on", || {
        tells(&mut receiving(), RECV, end(true));
    };
    a_failure_that_goes_on: "and yet goes on", || {
        let data = Err(Errno(libc::ENOBUFS));
        tells(&mut receiving(), RECV, What::Received { data, more: true });
    };
    a_connection_with_the_number_of_an_open_socket: "gives out fd 5, which is open", || {
        let mut ring = receiving();
        ring.accept(ACCEPT, Fd(3));
        tells(&mut ring, ACCEPT, accepted(5));
    };
    a_connect_with_the_number_of_an_open_socket: "gives out fd 7, which is open", || {
        let mut ring = connecting();
        let token = Key::new(Role::Server, 2, 0).token(OpKind::Connect);
        ring.connect(token, &somewhere(), None).unwrap();
    };
    time_that_goes_back: "time went back", || {
        let mut ring = ring();
        ring.inner_mut().times.extend([5, 4]);
        wait(&mut ring);
        wait(&mut ring);
    };
}
