//! Bytes in and out: nothing lost, nothing changed, whatever is too small.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use ringcracker::io::{Chain, Errno, Fd, How, Ring, What};
use ringcracker::limits::{SEND_BYTES_MAX, SEND_PIECES_MAX};
use ringcracker::ring::Options;
use ringcracker::sys::sockets;
use ringcracker::token::{Key, OpKind, Role};
use socket2::SockRef;

use super::{
    PATIENCE, bare_ring, chain, client, fd_of, listen_any, next, on_every_rung, received, ring,
    run, tcp_pair,
};

#[test]
fn everything_sent_by_many_clients_is_echoed() {
    on_every_rung(|small| {
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
            echo(&mut ring(small), listener, CLIENTS);
        });
        sockets::close(listener);
    });
}

#[test]
fn the_smallest_queues_lose_nothing() {
    on_every_rung(|small| {
        // 16 completions for 40 receives, each with data, and 40 sends, all asked for between two
        // waits through a submission queue of 8.
        let options = Options { submission_entries: 8, completion_entries: 16, ..small };
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
    });
}

#[test]
fn gathered_sends_survive_a_small_submission_queue() {
    on_every_rung(|small| {
        // 20 sends of 33 pieces each: more iovecs than there are places between two enters.
        let mut ring = ring(Options { submission_entries: 8, completion_entries: 64, ..small });
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
    });
}

#[test]
fn a_large_mixed_chain_arrives_whole_through_a_small_socket_buffer() {
    on_every_rung(|small| {
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
        let mut ring = ring(small);
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
    });
}

#[test]
fn a_failed_send_gives_the_chain_back() {
    on_every_rung(|small| {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let mut ring = ring(small);
        ring.send(client(5, OpKind::Send), fd_of(&near), chain(b"nobody hears"));
        let event = next(&mut ring);
        let What::Sent { bytes, output } = event.what else { panic!("{event:?}") };
        assert_eq!(bytes, Err(Errno(libc::EPIPE)));
        assert_eq!(output.to_vec(), b"nobody hears");
    });
}

#[test]
fn running_out_of_buffers_ends_the_receive_and_loses_nothing() {
    on_every_rung(|small| {
        // Buffers are held over waits, for the kernel to run out of them.
        let mut ring = bare_ring(Options { buffers: 2, buffer_bytes: 64, ..small });
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
    });
}

#[test]
fn buffers_given_back_are_there_for_a_receive_that_is_submitted_early() {
    on_every_rung(|small| {
        // Buffers are held over waits, for the kernel to run out of them.
        let mut ring =
            bare_ring(Options { submission_entries: 8, buffers: 2, buffer_bytes: 64, ..small });
        let (near, far) = UnixStream::pair().unwrap();
        (&far).write_all(&[7; 64 * 3]).unwrap();
        let (token, fd) = (client(0, OpKind::Recv), fd_of(&near));
        ring.recv(token, fd, None);
        let mut held = Vec::new();
        run(&mut ring, |_, event| {
            let (data, more) = received(event);
            held.extend(data);
            !more
        });
        assert_eq!(held.len(), 2, "the receive ended for want of a buffer");
        held.drain(..).for_each(|buffer| ring.give_back(buffer));
        ring.recv(token, fd, None);
        // More than fits the queue: the receive goes to the kernel before the next wait.
        (1..20).for_each(|index| ring.cancel(client(index, OpKind::Recv)));
        let (data, more) = received(next(&mut ring));
        assert_eq!(&data.unwrap()[..], [7; 64]);
        assert!(more);
    });
}

#[test]
fn kept_pieces_neither_change_nor_starve_the_ring() {
    on_every_rung(|small| {
        let mut ring = ring(Options { buffers: 2, buffer_bytes: 64, ..small });
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
    });
}

#[test]
fn the_end_of_the_stream_is_an_empty_buffer() {
    on_every_rung(|small| {
        let mut ring = ring(small);
        let (near, far) = tcp_pair();
        drop(far);
        ring.recv(client(0, OpKind::Recv), fd_of(&near), Some(PATIENCE));
        let (data, more) = received(next(&mut ring));
        let data = data.unwrap();
        assert!(data.is_empty() && !more);
        ring.give_back(data);
    });
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
fn echo(ring: &mut impl Ring, listener: Fd, count: u32) {
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
