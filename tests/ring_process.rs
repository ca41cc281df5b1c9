//! What a ring shares with its whole process: signals, and the table of descriptors.
//!
//! This is a program of its own, without the test harness: signals must be blocked in every
//! thread, and no other test may own descriptors meanwhile.
#![allow(clippy::unwrap_used)]
#![allow(clippy::wildcard_enum_match_arm)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use ringcracker::io::{Fd, Ring, Wait, What};
use ringcracker::ring::{Options, Uring};
use ringcracker::sys::{clock, signals, sockets};

fn main() {
    // nextest asks for a list first, and for the ignored tests by themselves.
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    if asked("--list") {
        if !asked("--ignored") {
            println!("signals_and_registered_index: test");
        }
        return;
    }
    signals_arrive_through_the_ring();
    enters_go_by_the_registered_index();
    println!("ring_process: 2 passed");
}

/// Another process sends a signal; a ring in another thread than the main one tells of it.
fn signals_arrive_through_the_ring() {
    let fd = signals::block_and_watch(&[libc::SIGTERM, libc::SIGHUP]).unwrap();
    signals::ignore_pipe();
    let worker = std::thread::spawn(move || {
        let mut ring = Uring::new(&Options { signals: Some(fd), ..Options::default() }).unwrap();
        let mut seen = Vec::new();
        for signal in ["HUP", "TERM", "HUP"] {
            kill_from_outside(signal);
            let before = seen.len();
            wait_until(&mut ring, |what| {
                if let What::Signal(signal) = what {
                    seen.push(*signal);
                }
                seen.len() > before
            });
        }
        seen
    });
    assert_eq!(worker.join().unwrap(), [libc::SIGHUP, libc::SIGTERM, libc::SIGHUP]);
    sockets::close(fd);
}

/// With the ring's descriptor closed, an enter by descriptor fails with `EBADF`.
fn enters_go_by_the_registered_index() {
    let before = descriptors();
    let mut ring = Uring::new(&Options::default()).unwrap();
    assert!(ring.is_ring_registered());
    let opened: Vec<i32> = descriptors().into_iter().filter(|fd| !before.contains(fd)).collect();
    let [own] = opened[..] else { panic!("a ring has one descriptor, not {opened:?}") };
    sockets::close(Fd(own));
    wait_until(&mut ring, |what| matches!(what, What::Tick));
    // Its drop would close a descriptor that is closed already.
    std::mem::forget(ring);
}

fn wait_until(ring: &mut Uring, mut done: impl FnMut(&What) -> bool) {
    let until = clock::now() + Duration::from_secs(20);
    let mut events = Vec::new();
    loop {
        let now = ring.wait(Wait { want: 1, window: Duration::ZERO }, &mut events).unwrap();
        if events.drain(..).any(|event| done(&event.what)) {
            return;
        }
        assert!(now < until, "it did not happen");
    }
}

fn kill_from_outside(signal: &str) {
    let command = format!("kill -{signal} {}", std::process::id());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}

/// The descriptors of this process; the one that reads the directory closes meanwhile.
fn descriptors() -> Vec<i32> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let named: Vec<_> = open.map(|entry| entry.unwrap().path()).collect();
    let still = named.iter().filter(|path| fs::read_link(path).is_ok());
    still.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}
