//! Where io_uring is refused, the program says why, and what to do about it.
//!
//! A seccomp filter plays the refusing kernel. Filters hold for the thread that installs them, so
//! each test has a thread of its own (the harness's) to spoil.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use ringcracker::io::{Address, Chain, Errno, Fd, Ring, Wait, WaitError};
use ringcracker::limits::SEND_PIECES_MAX;
use ringcracker::ring::{CannotRun, Options, Uring, probe};
use ringcracker::sys::sockets;
use ringcracker::token::{Key, OpKind, Role};

/// Makes system call `number` fail with `errno` in this thread, for good.
fn refuse(number: libc::c_long, errno: i32) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        // The number of the system call is the first field of seccomp_data.
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, u32::try_from(number).unwrap()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: prctl(2) with these arguments takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: `program` and its four `steps` live through the call, which copies them.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_filter_that_forbids_io_uring_is_named() {
    refuse(libc::SYS_io_uring_setup, libc::EPERM);
    assert_eq!(probe(), Err(CannotRun::Seccomp));
}

#[test]
fn a_kernel_without_memory_to_lock_is_told_apart() {
    refuse(libc::SYS_io_uring_setup, libc::ENOMEM);
    let refusal = probe().unwrap_err();
    let told = matches!(refusal, CannotRun::LockedMemory { .. } | CannotRun::Memory { .. });
    assert!(told, "{refusal}");
}

#[test]
fn a_process_without_descriptors_is_told_so() {
    refuse(libc::SYS_io_uring_setup, libc::EMFILE);
    assert!(matches!(probe(), Err(CannotRun::Descriptors { limit: 1.. })));
}

#[test]
fn a_kernel_that_refuses_all_flags_is_too_old() {
    refuse(libc::SYS_io_uring_setup, libc::EINVAL);
    let line = probe().unwrap_err().to_string();
    assert!(line.starts_with("Linux 6.1 or later is needed"), "{line}");
}

#[test]
fn a_kernel_without_buffer_rings_is_too_old() {
    // Every use of io_uring_register fails. The ring's descriptor need not be registered; the
    // buffers must be.
    refuse(libc::SYS_io_uring_register, libc::EINVAL);
    let line = probe().unwrap_err().to_string();
    assert!(line.contains("buffer ring"), "{line}");
}

#[test]
fn a_filter_that_lets_rings_be_made_but_not_entered_is_named() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        std::thread::spawn(move || {
            refuse(libc::SYS_io_uring_enter, errno);
            assert_eq!(probe(), Err(CannotRun::Seccomp), "{errno}");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_denial_of_the_trial_points_to_security_modules() {
    refuse(libc::SYS_io_uring_enter, libc::EACCES);
    assert_eq!(probe(), Err(CannotRun::NotPermitted));
}

#[test]
fn a_kernel_that_cannot_do_the_trial_is_too_old() {
    refuse(libc::SYS_io_uring_enter, libc::EOPNOTSUPP);
    let line = probe().unwrap_err().to_string();
    assert!(line.starts_with("Linux 6.1 or later is needed"), "{line}");
    assert!(line.contains("multishot receive with a linked timeout failed"), "{line}");
}

#[test]
fn a_ring_that_breaks_takes_what_is_asked_and_says_so_at_the_wait() {
    let options = Options { submission_entries: 8, completion_entries: 16, ..Options::default() };
    let mut ring = Uring::new(&options).unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let nobody = Address::Unix("/nobody".into());
    refuse(libc::SYS_io_uring_enter, libc::EIO);
    // More of each than there are places for what a submission points to.
    for index in 0..100 {
        let token = |op| Key::new(Role::Client, index, 0).token(op);
        let mut output = Chain::new();
        (0..SEND_PIECES_MAX).for_each(|n| output.push_kept(Bytes::from(vec![n as u8; 2000])));
        ring.send(token(OpKind::Send), Fd(near.as_raw_fd()), output);
        ring.recv(token(OpKind::Recv), Fd(near.as_raw_fd()), Some(Duration::from_secs(1)));
        let fd = ring.connect(token(OpKind::Connect), &nobody, None).unwrap();
        sockets::close(fd);
    }
    let mut events = Vec::new();
    let waited = ring.wait(Wait { want: 1, window: Duration::ZERO }, &mut events);
    assert_eq!(waited.unwrap_err(), WaitError::Enter(Errno(libc::EIO)));
    assert!(events.is_empty(), "{events:?}");
}
