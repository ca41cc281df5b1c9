//! What is not bytes: deadlines, cancels, connects, hangups, ticks, windows, the end.

use std::io::{Read, Seek, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringcracker::io::{Address, Errno, Event, Fd, How, Ring, Wait, WaitError, What};
use ringcracker::limits::SEND_BYTES_MAX;
use ringcracker::ring::Options;
use ringcracker::sys::clock;
use ringcracker::sys::event::Event as Bell;
use ringcracker::sys::sockets::{self, ListenOn, ListenOptions};
use ringcracker::token::{Key, OpKind, Role};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    ONE, PATIENCE, chain, client, fd_of, listen_any, next, on_every_rung, received, ring, run,
    small, taken, tcp_pair, ticks,
};

#[test]
fn silence_until_the_deadline_ends_the_receive_and_no_data_is_lost() {
    on_every_rung(|small| {
        let mut ring = ring(small);
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
        let late = next(&mut ring);
        assert_eq!(taken(&mut ring, late), (b"late".to_vec(), true));
    });
}

#[test]
fn a_deadline_stops_its_own_receive_only() {
    on_every_rung(|small| {
        let mut ring = ring(small);
        let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        ring.recv(client(0, OpKind::Recv), fd_of(&pairs[0].0), None);
        ring.recv(client(1, OpKind::Recv), fd_of(&pairs[1].0), Some(Duration::from_millis(5)));
        let event = next(&mut ring);
        assert_eq!(event.token, client(1, OpKind::Recv));
        assert!(matches!(received(event), (Err(Errno(libc::ECANCELED)), false)));
        (&pairs[0].1).write_all(b"alive").unwrap();
        let alive = next(&mut ring);
        assert_eq!(taken(&mut ring, alive), (b"alive".to_vec(), true));
    });
}

#[test]
fn a_cancelled_receive_ends_and_its_socket_can_be_closed() {
    on_every_rung(|small| {
        let mut ring = ring(small);
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
    });
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
    on_every_rung(|small| {
        let period = Duration::from_millis(10);
        let mut ring = ring(Options { tick: Some(period), ..small });
        let start = clock::now();
        ticks(&mut ring, 4, |event| panic!("{event:?}"));
        assert!(clock::now() - start >= period * 4);
    });
}

#[test]
fn a_bell_rung_by_another_thread_is_mail() {
    on_every_rung(|small| {
        let bell = Bell::new().unwrap();
        let mut ring = ring(Options { mail: Some(bell.fd()), ..small });
        for _ in 0..3 {
            std::thread::scope(|scope| {
                scope.spawn(|| bell.ring());
                let event = next(&mut ring);
                assert!(matches!(event.what, What::Mail), "{event:?}");
            });
        }
    });
}

#[test]
fn mail_that_cannot_be_read_ends_the_ring() {
    let mut short = tempfile::tempfile().unwrap();
    short.write_all(b"4 of").unwrap();
    short.rewind().unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    for (fd, errno) in [(fd_of(&short), libc::EIO), (fd_of(&writer), libc::EBADF)] {
        let mut ring = ring(Options { mail: Some(fd), ..small() });
        let until = clock::now() + PATIENCE;
        let error = loop {
            match ring.wait(ONE, &mut Vec::new()) {
                Ok(now) => assert!(now < until, "it goes on"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, WaitError::Read(Errno(errno)));
    }
}

#[test]
fn a_reset_is_a_hangup_and_a_half_close_is_not() {
    on_every_rung(|small| {
        let mut ring = ring(small);
        let (far, near) = tcp_pair();
        ring.watch_hangup(client(0, OpKind::Hangup), fd_of(&near));
        (&far).write_all(b"unread").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        ticks(&mut ring, 3, |event| panic!("{event:?}"));
        reset(far);
        let event = next(&mut ring);
        assert_eq!(event.token, client(0, OpKind::Hangup));
        assert!(matches!(event.what, What::HungUp(Ok(()))), "{event:?}");
    });
}

#[test]
fn a_cancelled_watch_says_so() {
    on_every_rung(|small| {
        let mut ring = ring(small);
        let (_far, near) = tcp_pair();
        let token = client(0, OpKind::Hangup);
        ring.watch_hangup(token, fd_of(&near));
        ring.cancel(token);
        let event = next(&mut ring);
        assert!(matches!(event.what, What::HungUp(Err(Errno(libc::ECANCELED)))), "{event:?}");
    });
}

#[test]
fn shutdown_of_both_directions_ends_the_receive() {
    on_every_rung(|small| {
        let mut ring = ring(small);
        let (near, _far) = tcp_pair();
        ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
        ring.wait(Wait { want: 0, ..ONE }, &mut Vec::new()).unwrap();
        ring.shutdown(fd_of(&near), How::Both);
        let (data, more) = received(next(&mut ring));
        assert!(data.unwrap().is_empty() && !more);
    });
}

#[test]
fn a_wait_that_wants_nothing_does_not_sleep_but_takes_what_is_there() {
    on_every_rung(|small| {
        let mut ring = ring(Options { tick: None, ..small });
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
        taken(&mut ring, events.remove(0));
    });
}

#[test]
fn a_window_gathers_and_does_not_hold_back() {
    on_every_rung(|small| {
        let mut ring = ring(Options { tick: None, ..small });
        let (near, far) = UnixStream::pair().unwrap();
        ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
        let mut events = Vec::new();
        let long = Duration::from_secs(600);
        // As many as wanted: at once, or the test would not end.
        (&far).write_all(b"x").unwrap();
        ring.send(client(0, OpKind::Send), fd_of(&near), chain(b"y"));
        let mut seen = 0;
        while seen < 2 {
            ring.wait(Wait { want: 2 - seen, window: long }, &mut events).unwrap();
            for event in events.drain(..) {
                seen += 1;
                if let What::Received { data, .. } = event.what {
                    ring.give_back(data.unwrap());
                }
            }
        }
        // Fewer than wanted: after the window, and not before.
        let window = Duration::from_millis(20);
        (&far).write_all(b"z").unwrap();
        let before = clock::now();
        let after = ring.wait(Wait { want: 8, window }, &mut events).unwrap();
        assert_eq!(events.len(), 1);
        taken(&mut ring, events.remove(0));
        assert!(after - before >= window, "{:?}", after - before);
        assert!(after - before < Duration::from_millis(900), "{:?}", after - before);
    });
}

#[test]
fn a_window_that_gathers_nothing_sleeps_on_for_the_first() {
    on_every_rung(|small| {
        let period = Duration::from_millis(100);
        let mut ring = ring(Options { tick: Some(period), ..small });
        let mut events = Vec::new();
        let before = clock::now();
        let after = ring.wait(Wait { want: 8, window: period / 20 }, &mut events).unwrap();
        assert!(matches!(events[..], [Event { what: What::Tick, .. }]), "{events:?}");
        assert!(after - before >= period);
    });
}

#[test]
fn a_ring_is_dropped_however_fast_it_ticks() {
    for round in 0..200_u64 {
        let mut ring =
            ring(Options { tick: Some(Duration::from_micros(50 + round * 7 % 100)), ..small() });
        let mut events = Vec::new();
        while events.is_empty() {
            ring.wait(ONE, &mut events).unwrap();
        }
    }
}

#[test]
fn a_ring_dropped_with_work_in_flight_lets_go_of_it() {
    on_every_rung(|small| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = tcp_pair();
        let (full, _stuck) = tcp_pair();
        let big = vec![1; SEND_BYTES_MAX];
        let bell = Bell::new().unwrap();
        let mut ring = ring(Options { mail: Some(bell.fd()), ..small });
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
    });
}

#[test]
fn each_of_many_rings_in_turn_is_registered() {
    // A thread has 16 places for registered rings: one that is not freed is missed by the 17th.
    for _ in 0..40 {
        assert!(ring(small()).inner().is_ring_registered());
    }
}

#[test]
#[should_panic(expected = "in flight already")]
fn asking_twice_is_a_bug() {
    let mut ring = ring(small());
    let (near, _far) = UnixStream::pair().unwrap();
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
    ring.recv(client(0, OpKind::Recv), fd_of(&near), None);
}

fn reset(socket: TcpStream) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}
