//! The ring alone, on the real kernel: what `io::Ring` promises, and what the kernel may do.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use ringcracker::io::{Address, Buffer, Chain, Errno, Event, Fd, How, Ring, Wait, What};
use ringcracker::limits::{SEND_BYTES_MAX, SEND_PIECES_MAX};
use ringcracker::ring::{Options, Uring};
use ringcracker::sys::clock;
use ringcracker::sys::event::Event as Bell;
use ringcracker::sys::sockets::{self, ListenOn, ListenOptions};
use ringcracker::token::{Key, OpKind, Role, Token};
use socket2::{Domain, SockRef, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(20);
const ONE: Wait = Wait { want: 1, window: Duration::ZERO };

/// Sizes for a test, with a tick so that a wait that should not sleep for ever does not.
fn small() -> Options {
    Options {
        submission_entries: 64,
        completion_entries: 256,
        buffers: 64,
        buffer_bytes: 4096,
        tick: Some(Duration::from_millis(20)),
        ..Options::default()
    }
}

fn ring(options: Options) -> Uring {
    Uring::new(&options).expect("a ring")
}

fn client(index: u32, op: OpKind) -> Token {
    Key::new(Role::Client, index, 0).token(op)
}

fn fd_of(socket: &impl AsRawFd) -> Fd {
    Fd(socket.as_raw_fd())
}

fn chain(data: &[u8]) -> Chain {
    let mut chain = Chain::new();
    chain.push_copy(data);
    chain
}

/// Waits, and hands each event but ticks to `on`, until that returns true.
fn run(ring: &mut Uring, mut on: impl FnMut(&mut Uring, Event) -> bool) {
    let until = clock::now() + PATIENCE;
    let mut events = Vec::new();
    loop {
        let now = ring.wait(ONE, &mut events).expect("the ring goes on");
        for event in events.drain(..) {
            let tick = matches!(event.what, What::Tick);
            if !tick && on(ring, event) {
                return;
            }
        }
        assert!(now < until, "it did not happen within {PATIENCE:?}");
    }
}

/// The next event that is not a tick.
fn next(ring: &mut Uring) -> Event {
    let mut next = None;
    run(ring, |_, event| {
        assert!(next.is_none(), "one event was expected, and then came {event:?}");
        next = Some(event);
        true
    });
    next.unwrap()
}

fn received(event: Event) -> (Result<Buffer, Errno>, bool) {
    match event.what {
        What::Received { data, more } => (data, more),
        other => panic!("{other:?} is no receive"),
    }
}

fn ticks(ring: &mut Uring, count: usize, mut other: impl FnMut(Event)) {
    let (mut seen, mut events) = (0, Vec::new());
    while seen < count {
        ring.wait(ONE, &mut events).unwrap();
        for event in events.drain(..) {
            match event.what {
                What::Tick => seen += 1,
                _ => other(event),
            }
        }
    }
}

/// A connected pair of TCP sockets over loopback: (client, accepted).
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn reset(socket: TcpStream) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// One echoed connection: what waits to go back, and whether a send is under way.
#[derive(Default)]
struct Echo {
    fd: i32,
    pending: Chain,
    sending: bool,
    ended: bool,
}

/// Echoes until `count` connections came and went.
fn echo(ring: &mut Uring, listener: Fd, count: u32) {
    let accept = Key::new(Role::Listener, 0, 0).token(OpKind::Accept);
    ring.accept(accept, listener);
    let mut echoes: HashMap<u32, Echo> = HashMap::new();
    let (mut come, mut gone) = (0, 0);
    run(ring, |ring, event| {
        let index = event.token.key().index;
        match event.what {
            What::Accepted { fd, more } => {
                assert!(more, "the accept goes on");
                let fd = fd.unwrap();
                echoes.insert(come, Echo { fd: fd.0, ..Echo::default() });
                ring.recv(client(come, OpKind::Recv), fd, Some(PATIENCE));
                come += 1;
                return false;
            }
            What::Received { data, more } => {
                let echo = echoes.get_mut(&index).unwrap();
                match data {
                    Ok(mut buffer) => {
                        let len = buffer.len();
                        echo.ended |= len == 0;
                        echo.pending.push_buffer(&mut buffer, 0..len);
                        ring.give_back(buffer);
                    }
                    Err(errno) => assert_eq!(errno, Errno(libc::ENOBUFS)),
                }
                if !more && !echo.ended {
                    ring.recv(client(index, OpKind::Recv), Fd(echo.fd), Some(PATIENCE));
                }
            }
            What::Sent { bytes, mut output } => {
                let echo = echoes.get_mut(&index).unwrap();
                output.advance(bytes.unwrap());
                output.append(&mut echo.pending);
                echo.pending = output;
                echo.sending = false;
            }
            other => panic!("{other:?} was not asked for"),
        }
        let echo = echoes.get_mut(&index).unwrap();
        if !echo.sending && !echo.pending.is_empty() {
            echo.sending = true;
            let output = std::mem::take(&mut echo.pending);
            ring.send(client(index, OpKind::Send), Fd(echo.fd), output);
        } else if !echo.sending && echo.ended {
            ring.close(client(index, OpKind::Close), Fd(echo.fd));
            gone += 1;
        }
        gone == count
    });
    // The closes are on their way with the next wait.
    ring.cancel(accept);
    let last = next(ring);
    assert!(matches!(last.what, What::Accepted { fd: Err(Errno(libc::ECANCELED)), more: false }));
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251 + seed) as u8).collect()
}

fn listen_any() -> (Fd, u16) {
    let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
    let fd = sockets::listen(&any, 128, ListenOptions::default()).unwrap();
    (fd, sockets::local_port(fd).unwrap())
}

#[test]
fn everything_sent_by_many_clients_is_echoed() {
    const CLIENTS: u32 = 8;
    const SIZES: [usize; 7] = [1, 30, 4095, 4096, 4097, 70_000, 300_000];
    let (listener, port) = listen_any();
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS as usize {
            scope.spawn(move || {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let mut reader = socket.try_clone().unwrap();
                let expected: Vec<u8> =
                    SIZES.iter().cycle().take(35).flat_map(|len| pattern(*len, seed)).collect();
                let copy = expected.clone();
                let writer = std::thread::spawn(move || {
                    let mut rest = &copy[..];
                    for len in SIZES.iter().cycle().take(35) {
                        socket.write_all(&rest[..*len]).unwrap();
                        rest = &rest[*len..];
                    }
                    socket.shutdown(Shutdown::Write).unwrap();
                });
                let mut echoed = Vec::new();
                reader.read_to_end(&mut echoed).unwrap();
                assert!(echoed == expected, "client {seed} got other bytes than it sent");
                writer.join().unwrap();
            });
        }
        echo(&mut ring(small()), listener, CLIENTS);
    });
    sockets::close(listener);
}

#[test]
fn the_smallest_queues_lose_nothing() {
    // 16 completions for 40 receives, each with data, and 40 sends, all asked for between two
    // waits through a submission queue of 8.
    let options = Options { submission_entries: 8, completion_entries: 16, ..small() };
    let mut ring = ring(options);
    let pairs: Vec<_> = (0..40).map(|_| UnixStream::pair().unwrap()).collect();
    for (index, (near, far)) in (0..).zip(&pairs) {
        (&*far).write_all(&pattern(100, index as usize)).unwrap();
        ring.recv(client(index, OpKind::Recv), fd_of(near), Some(PATIENCE));
        ring.send(client(index, OpKind::Send), fd_of(near), chain(&[index as u8; 10]));
    }
    let (mut data, mut sends) = (HashMap::new(), 0);
    run(&mut ring, |ring, event| {
        let index = event.token.key().index;
        match event.what {
            What::Received { data: Ok(buffer), more } => {
                assert!(data.insert(index, buffer.to_vec()).is_none());
                ring.give_back(buffer);
                if !more {
                    let near = fd_of(&pairs[index as usize].0);
                    ring.recv(client(index, OpKind::Recv), near, Some(PATIENCE));
                }
            }
            What::Sent { bytes: Ok(10), output } => {
                assert_eq!(output.to_vec(), [index as u8; 10]);
                sends += 1;
            }
            other => panic!("{other:?}"),
        }
        data.len() == 40 && sends == 40
    });
    for (index, (_, far)) in (0..).zip(&pairs) {
        assert_eq!(data[&index], pattern(100, index as usize));
        let mut got = [0; 10];
        (&*far).read_exact(&mut got).unwrap();
        assert_eq!(got, [index as u8; 10]);
    }
}

#[test]
fn gathered_sends_survive_a_small_submission_queue() {
    // 20 sends of 33 pieces each: more iovecs than there are places between two enters.
    let mut ring = ring(Options { submission_entries: 8, completion_entries: 64, ..small() });
    let pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
    let piece = |index: u32, n: usize| vec![(index as usize * 7 + n) as u8; 10];
    for (index, (near, _)) in (0..).zip(&pairs) {
        let mut output = Chain::new();
        (0..=SEND_PIECES_MAX).for_each(|n| output.push_kept(Bytes::from(piece(index, n))));
        ring.send(client(index, OpKind::Send), fd_of(near), output);
    }
    let mut sent = 0;
    run(&mut ring, |_, event| {
        let What::Sent { bytes, output } = event.what else { panic!("{event:?}") };
        assert_eq!(bytes, Ok(SEND_PIECES_MAX * 10));
        assert_eq!(output.len(), (SEND_PIECES_MAX + 1) * 10);
        sent += 1;
        sent == 20
    });
    for (index, (_, far)) in (0..).zip(&pairs) {
        let mut got = vec![0; SEND_PIECES_MAX * 10];
        (&*far).read_exact(&mut got).unwrap();
        let expected: Vec<u8> = (0..SEND_PIECES_MAX).flat_map(|n| piece(index, n)).collect();
        assert_eq!(got, expected);
    }
}

#[test]
fn a_large_mixed_chain_arrives_whole_through_a_small_socket_buffer() {
    let mut output = Chain::new();
    for n in 0..100 {
        output.push_copy(&pattern(37 + n, n));
        output.push_kept(Bytes::from(pattern(16 << 10 | n, n)));
        output.push_kept(Bytes::from(pattern(n, n + 1)));
        if n % 30 == 0 {
            output.push_kept(Bytes::from(pattern(SEND_BYTES_MAX + 3, n)));
        }
    }
    let expected = output.to_vec();
    assert!(expected.len() > 2 << 20);
    let (reader, writer) = tcp_pair();
    SockRef::from(&writer).set_send_buffer_size(4096).unwrap();
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        (&reader).read_to_end(&mut got).unwrap();
        got
    });
    let mut ring = ring(small());
    let (token, fd) = (client(0, OpKind::Send), fd_of(&writer));
    ring.send(token, fd, output);
    run(&mut ring, |ring, event| {
        let What::Sent { bytes, mut output } = event.what else { panic!("{event:?}") };
        let bytes = bytes.unwrap();
        assert!((1..=SEND_BYTES_MAX).contains(&bytes));
        output.advance(bytes);
        if output.is_empty() {
            ring.shutdown(fd, How::Write);
            return true;
        }
        ring.send(token, fd, output);
        false
    });
    assert!(reading.join().unwrap() == expected);
}

#[test]
fn a_failed_send_gives_the_chain_back() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let mut ring = ring(small());
    ring.send(client(5, OpKind::Send), fd_of(&near), chain(b"nobody hears"));
    let event = next(&mut ring);
    let What::Sent { bytes, output } = event.what else { panic!("{event:?}") };
    assert_eq!(bytes, Err(Errno(libc::EPIPE)));
    assert_eq!(output.to_vec(), b"nobody hears");
}

#[test]
fn running_out_of_buffers_ends_the_receive_and_loses_nothing() {
    let mut ring = ring(Options { buffers: 2, buffer_bytes: 64, ..small() });
    let (near, far) = UnixStream::pair().unwrap();
    let data = pattern(64 * 5 + 3, 9);
    (&far).write_all(&data).unwrap();
    let (token, fd) = (client(0, OpKind::Recv), fd_of(&near));
    ring.recv(token, fd, Some(PATIENCE));
    let (mut got, mut held, mut dry) = (Vec::new(), Vec::new(), 0);
    run(&mut ring, |ring, event| {
        match received(event) {
            (Ok(buffer), more) => {
                assert!(more);
                got.extend_from_slice(&buffer);
                held.push(buffer);
                assert!(held.len() <= 2, "there are no more buffers");
            }
            (Err(errno), more) => {
                assert_eq!((errno, more), (Errno(libc::ENOBUFS), false));
                assert_eq!(held.len(), 2, "it was not out of buffers");
                dry += 1;
                held.drain(..).for_each(|buffer| ring.give_back(buffer));
                ring.recv(token, fd, Some(PATIENCE));
            }
        }
        got.len() == data.len()
    });
    assert_eq!(got, data);
    assert!(dry >= 2, "{dry}");
}

#[test]
fn kept_pieces_neither_change_nor_starve_the_ring() {
    let mut ring = ring(Options { buffers: 2, buffer_bytes: 64, ..small() });
    let (near, far) = UnixStream::pair().unwrap();
    let data = pattern(64 * 20, 3);
    (&far).write_all(&data).unwrap();
    let (token, fd) = (client(0, OpKind::Recv), fd_of(&near));
    ring.recv(token, fd, None);
    let mut kept: Vec<Bytes> = Vec::new();
    run(&mut ring, |ring, event| {
        let (buffer, more) = received(event);
        if let Ok(mut buffer) = buffer {
            kept.push(buffer.keep(0..buffer.len()));
            ring.give_back(buffer);
        }
        if !more {
            ring.recv(token, fd, None);
        }
        kept.iter().map(Bytes::len).sum::<usize>() == data.len()
    });
    assert_eq!(kept.concat(), data, "a kept piece was written over");
}

#[test]
fn silence_until_the_deadline_ends_the_receive_and_no_data_is_lost() {
    let mut ring = ring(small());
    let (near, far) = tcp_pair();
    let (token, fd) = (client(0, OpKind::Recv), fd_of(&near));
    let within = Duration::from_millis(60);
    let armed = clock::now();
    ring.recv(token, fd, Some(within));
    ring.send(client(1, OpKind::Send), fd_of(&far), chain(b"early"));
    let mut early = Vec::new();
    run(&mut ring, |ring, event| {
        if let What::Sent { .. } = event.what {
            return false;
        }
        match received(event) {
            (Ok(buffer), true) => {
                early.extend_from_slice(&buffer);
                ring.give_back(buffer);
                false
            }
            (data, more) => {
                assert!(matches!(data, Err(Errno(libc::ECANCELED))) && !more, "{data:?}");
                true
            }
        }
    });
    assert_eq!(early, b"early");
    assert!(clock::now() - armed >= within, "the deadline came early");
    (&far).write_all(b"late").unwrap();
    ring.recv(token, fd, Some(PATIENCE));
    let (data, more) = received(next(&mut ring));
    assert_eq!(&data.unwrap()[..], b"late");
    assert!(more);
}

#[test]
fn a_deadline_stops_its_own_receive_only() {
    let mut ring = ring(small());
    let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
    ring.recv(client(0, OpKind::Recv), fd_of(&pairs[0].0), None);
    ring.recv(client(1, OpKind::Recv), fd_of(&pairs[1].0), Some(Duration::from_millis(5)));
    let event = next(&mut ring);
    assert_eq!(event.token, client(1, OpKind::Recv));
    assert!(matches!(received(event), (Err(Errno(libc::ECANCELED)), false)));
    (&pairs[0].1).write_all(b"alive").unwrap();
    let (data, more) = received(next(&mut ring));
    assert!(&data.unwrap()[..] == b"alive" && more);
}

#[test]
fn a_cancelled_receive_ends_and_its_socket_can_be_closed() {
    let mut ring = ring(small());
    let (near, mut far) = UnixStream::pair().unwrap();
    let fd = Fd(near.into_raw_fd());
    let token = client(0, OpKind::Recv);
    ring.recv(token, fd, Some(PATIENCE));
    ring.wait(Wait { want: 0, ..ONE }, &mut Vec::new()).unwrap();
    ring.cancel(token);
    assert!(matches!(received(next(&mut ring)), (Err(Errno(libc::ECANCELED)), false)));
    // Nothing is there to cancel any more, which is no event.
    ring.cancel(token);
    ring.close(client(0, OpKind::Close), fd);
    ticks(&mut ring, 1, |event| panic!("{event:?}"));
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the end of the stream, and nothing else");
}

#[test]
fn the_end_of_the_stream_is_an_empty_buffer() {
    let mut ring = ring(small());
    let (near, far) = tcp_pair();
    drop(far);
    ring.recv(client(0, OpKind::Recv), fd_of(&near), Some(PATIENCE));
    let (data, more) = received(next(&mut ring));
    let data = data.unwrap();
    assert!(data.is_empty() && !more);
    ring.give_back(data);
}

#[test]
fn connects_come_true_or_say_why_not() {
    let mut ring = ring(small());
    let (listener, port) = listen_any();
    let there = Address::Inet(([127, 0, 0, 1], port).into());
    let token = client(0, OpKind::Connect);
    let fd = ring.connect(token, &there, Some(PATIENCE)).unwrap();
    assert!(matches!(next(&mut ring).what, What::Connected(Ok(()))));
    ring.close(client(0, OpKind::Close), fd);
    sockets::close(listener);

    ring.connect(token, &there, Some(PATIENCE)).unwrap();
    let event = next(&mut ring);
    assert!(matches!(event.what, What::Connected(Err(Errno(libc::ECONNREFUSED)))), "{event:?}");

    let dir = tempfile::tempdir().unwrap();
    let nowhere = Address::Unix(dir.path().join("nobody"));
    ring.connect(token, &nowhere, None).unwrap();
    let event = next(&mut ring);
    assert!(matches!(event.what, What::Connected(Err(Errno(libc::ENOENT)))), "{event:?}");

    let long = Address::Unix(dir.path().join("x".repeat(120)));
    assert_eq!(ring.connect(token, &long, None), Err(Errno(libc::ENAMETOOLONG)));
}

#[test]
fn a_connect_that_hangs_ends_at_its_deadline() {
    let mut ring = ring(small());
    let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
    let listener = sockets::listen(&any, 1, ListenOptions::default()).unwrap();
    let address =
        std::net::SocketAddr::from(([127, 0, 0, 1], sockets::local_port(listener).unwrap()));
    // A full backlog drops what else knocks.
    let _waiting: Vec<Socket> = (0..8).map(|_| knock(Domain::IPV4, &address.into())).collect();
    let within = Duration::from_millis(50);
    let before = clock::now();
    let token = client(0, OpKind::Connect);
    ring.connect(token, &Address::Inet(address), Some(within)).unwrap();
    let event = next(&mut ring);
    assert!(matches!(event.what, What::Connected(Err(Errno(libc::ECANCELED)))), "{event:?}");
    assert!(clock::now() - before >= within);
    sockets::close(listener);
}

#[test]
fn a_connect_to_a_busy_unix_socket_fails_at_once() {
    let mut ring = ring(small());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busy");
    let on = ListenOn::Unix { path: path.clone(), mode: None };
    let listener = sockets::listen(&on, 1, ListenOptions::default()).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    let _waiting: Vec<Socket> = (0..8).map(|_| knock(Domain::UNIX, &address)).collect();
    let token = client(0, OpKind::Connect);
    ring.connect(token, &Address::Unix(path), Some(PATIENCE)).unwrap();
    let event = next(&mut ring);
    assert!(matches!(event.what, What::Connected(Err(Errno(libc::EAGAIN)))), "{event:?}");
    sockets::close(listener);
}

/// Begins a connect and does not wait for it.
fn knock(domain: Domain, address: &socket2::SockAddr) -> Socket {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None).unwrap();
    if let Err(error) = socket.connect(address) {
        let passing = [Some(libc::EINPROGRESS), Some(libc::EAGAIN)];
        assert!(passing.contains(&error.raw_os_error()), "{error}");
    }
    socket
}

#[test]
fn ticks_come_at_their_period() {
    let period = Duration::from_millis(10);
    let mut ring = ring(Options { tick: Some(period), ..small() });
    let start = clock::now();
    ticks(&mut ring, 4, |event| panic!("{event:?}"));
    assert!(clock::now() - start >= period * 4);
}

#[test]
fn a_bell_rung_by_another_thread_is_mail() {
    let bell = Bell::new().unwrap();
    let mut ring = ring(Options { mail: Some(bell.fd()), ..small() });
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| bell.ring());
            let event = next(&mut ring);
            assert!(matches!(event.what, What::Mail), "{event:?}");
        });
    }
}

#[test]
fn a_reset_is_a_hangup_and_a_half_close_is_not() {
    let mut ring = ring(small());
    let (far, near) = tcp_pair();
    ring.watch_hangup(client(0, OpKind::Hangup), fd_of(&near));
    (&far).write_all(b"unread").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    ticks(&mut ring, 3, |event| panic!("{event:?}"));
    reset(far);
    let event = next(&mut ring);
    assert_eq!(event.token, client(0, OpKind::Hangup));
    assert!(matches!(event.what, What::HungUp(Ok(()))), "{event:?}");
}

#[test]
fn a_cancelled_watch_says_so() {
    let mut ring = ring(small());
    let (_far, near) = tcp_pair();
    let token = client(0, OpKind::Hangup);
    ring.watch_hangup(token, fd_of(&near));
    ring.cancel(token);
    let event = next(&mut ring);
    assert!(matches!(event.what, What::HungUp(Err(Errno(libc::ECANCELED)))), "{event:?}");
}

#[test]
fn shutdown_of_both_directions_ends_the_receive() {
    let mut ring = ring(small());
    let (near, _far) = tcp_pair();
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
    ring.wait(Wait { want: 0, ..ONE }, &mut Vec::new()).unwrap();
    ring.shutdown(fd_of(&near), How::Both);
    let (data, more) = received(next(&mut ring));
    assert!(data.unwrap().is_empty() && !more);
}

#[test]
fn a_wait_that_wants_nothing_does_not_sleep_but_takes_what_is_there() {
    let mut ring = ring(Options { tick: None, ..small() });
    let (near, far) = UnixStream::pair().unwrap();
    let nothing = Wait { want: 0, window: Duration::ZERO };
    let mut events = Vec::new();
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
    ring.wait(nothing, &mut events).unwrap();
    assert!(events.is_empty());
    (&far).write_all(b"x").unwrap();
    // The write queued the receive's work for this thread; only an enter of ours can run it.
    ring.wait(nothing, &mut events).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_window_gathers_and_does_not_hold_back() {
    let mut ring = ring(Options { tick: None, ..small() });
    if !ring.features().min_wait {
        return;
    }
    let (near, far) = UnixStream::pair().unwrap();
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
    let mut events = Vec::new();
    let long = Duration::from_secs(600);
    // As many as wanted: at once, or the test would not end.
    (&far).write_all(b"x").unwrap();
    ring.send(client(0, OpKind::Send), fd_of(&near), chain(b"y"));
    while events.len() < 2 {
        ring.wait(Wait { want: 2 - events.len() as u32, window: long }, &mut events).unwrap();
    }
    events.clear();
    // Fewer than wanted: after the window, and not before.
    let window = Duration::from_millis(20);
    (&far).write_all(b"z").unwrap();
    let before = clock::now();
    let after = ring.wait(Wait { want: 8, window }, &mut events).unwrap();
    assert_eq!(events.len(), 1);
    assert!(after - before >= window, "{:?}", after - before);
    assert!(after - before < Duration::from_millis(900), "{:?}", after - before);
}

#[test]
fn a_window_that_gathers_nothing_sleeps_on_for_the_first() {
    let period = Duration::from_millis(100);
    let mut ring = ring(Options { tick: Some(period), ..small() });
    let mut events = Vec::new();
    let before = clock::now();
    let after = ring.wait(Wait { want: 8, window: period / 20 }, &mut events).unwrap();
    assert!(matches!(events[..], [Event { what: What::Tick, .. }]), "{events:?}");
    assert!(after - before >= period);
}

#[test]
fn a_ring_dropped_with_work_in_flight_lets_go_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (near, far) = tcp_pair();
    let (full, _stuck) = tcp_pair();
    let big = vec![1; SEND_BYTES_MAX];
    let bell = Bell::new().unwrap();
    let mut ring = ring(Options { mail: Some(bell.fd()), ..small() });
    ring.accept(Key::new(Role::Listener, 0, 0).token(OpKind::Accept), fd_of(&listener));
    ring.recv(client(0, OpKind::Recv), fd_of(&near), Some(PATIENCE));
    ring.watch_hangup(client(0, OpKind::Hangup), fd_of(&near));
    // Sends until the socket takes no more, so that one is in flight for good.
    let token = client(1, OpKind::Send);
    ring.send(token, fd_of(&full), chain(&big));
    let mut events = Vec::new();
    let mut quiet = 0;
    while quiet < 2 {
        ring.wait(ONE, &mut events).unwrap();
        for event in events.drain(..) {
            match event.what {
                What::Sent { output, .. } => {
                    quiet = 0;
                    ring.send(token, fd_of(&full), output);
                }
                What::Tick => quiet += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    let before = clock::now();
    drop(ring);
    assert!(clock::now() - before < Duration::from_millis(900), "the drain was given up");
    // Nobody else reads or accepts any more.
    (&far).write_all(b"mine").unwrap();
    let mut got = [0; 4];
    (&near).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"mine");
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
}

#[test]
fn each_of_many_rings_in_turn_is_registered() {
    // A thread has 16 places for registered rings: one that is not freed is missed by the 17th.
    for _ in 0..40 {
        assert!(ring(small()).is_ring_registered());
    }
}

#[test]
#[should_panic(expected = "in flight already")]
#[cfg(debug_assertions)]
fn asking_twice_is_a_bug() {
    let mut ring = ring(small());
    let (near, _far) = UnixStream::pair().unwrap();
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
}
