//! The ring alone, on the real kernel: what `io::Ring` promises, and what the kernel may do.
#![allow(clippy::unwrap_used)]
#![allow(clippy::wildcard_enum_match_arm)]

mod control;
mod transfer;

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ringcracker::checked::Checked;
use ringcracker::io::{Buffer, Chain, Errno, Event, Fd, Ring, Wait, What};
use ringcracker::ring::{Options, Uring};
use ringcracker::sys::clock;
use ringcracker::sys::sockets::{self, ListenOn, ListenOptions};
use ringcracker::token::{Key, OpKind, Role, Token};

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

/// Runs `scenario` with all set-up flags that this kernel takes, and with ever fewer of them.
fn on_every_rung(scenario: impl Fn(Options)) {
    for flags_forgone in 0..=3 {
        println!("{flags_forgone} flags forgone");
        scenario(Options { flags_forgone, ..small() });
    }
}

/// A ring whose contract is watched, as the scenario's own part in it is.
fn ring(options: Options) -> Checked<Uring> {
    Checked::from(bare_ring(options))
}

/// A ring for a scenario that breaks the contract on purpose.
fn bare_ring(options: Options) -> Uring {
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
fn run<R: Ring>(ring: &mut R, mut on: impl FnMut(&mut R, Event) -> bool) {
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
fn next(ring: &mut impl Ring) -> Event {
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

/// The bytes that a receive brought, whose buffer is given back; and whether it goes on.
fn taken(ring: &mut impl Ring, event: Event) -> (Vec<u8>, bool) {
    let (data, more) = received(event);
    let buffer = data.expect("bytes");
    let bytes = buffer.to_vec();
    ring.give_back(buffer);
    (bytes, more)
}

fn ticks(ring: &mut impl Ring, count: usize, mut other: impl FnMut(Event)) {
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

fn listen_any() -> (Fd, u16) {
    let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
    let fd = sockets::listen(&any, 128, ListenOptions::default()).unwrap();
    (fd, sockets::local_port(fd).unwrap())
}
