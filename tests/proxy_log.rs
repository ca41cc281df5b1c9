//! The log: its level by signals, and what happens when it cannot be written.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::process::needs_root;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use tempfile::TempDir;

/// Sends a signal and waits until the log tells of it `times` times in all.
fn signal_and_see(proxy: &Proxy, number: i32, line: &str, times: usize) {
    proxy.process().signal(number);
    support::wait_until(line, || proxy.log().matches(line).count() == times);
}

#[test]
fn ttin_and_ttou_change_the_level_up_to_its_ends() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let proxy = start.options(&["-v", "4"]).start_silently();
    for level in [3, 2, 1, 0] {
        signal_and_see(&proxy, libc::SIGTTOU, &format!("down log level to {level}"), 1);
    }
    signal_and_see(&proxy, libc::SIGTTOU, "down log level to 0", 2);
    proxy.client().send(b"*x\r\n");
    proxy.client().expect_in_step("the bad client was heard");
    for level in 1..=11 {
        signal_and_see(&proxy, libc::SIGTTIN, &format!("up log level to {level}\n"), 1);
    }
    signal_and_see(&proxy, libc::SIGTTIN, "up log level to 11", 2);
    assert!(!proxy.log().contains("a client is closed"), "at 0 there are no warnings");
    support::wait_until("the bad client is logged", || {
        proxy.client().send(b"*x\r\n");
        proxy.log().contains("a client is closed")
    });
}

#[test]
fn user_signals_are_logged_and_a_broken_pipe_is_ignored() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    signal_and_see(&proxy, libc::SIGUSR1, "signal 10 (SIGUSR1) received", 1);
    signal_and_see(&proxy, libc::SIGUSR2, "signal 12 (SIGUSR2) received", 1);
    proxy.process().signal(libc::SIGPIPE);
    proxy.client().expect_in_step("it goes on");
}

#[test]
fn a_flag_without_effect_is_said() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let proxy = start.options(&["-m", "512", "word"]).start();
    support::wait_until("the log tells", || {
        let log = proxy.log();
        log.contains("-m has no effect") && log.contains("ignored on the command line: word")
    });
}

#[test]
fn a_log_is_rotated_under_load() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    for number in 0..20 {
        let rotated = proxy.log_path().with_extension(number.to_string());
        fs::rename(proxy.log_path(), &rotated).expect("renamed");
        proxy.process().signal(libc::SIGHUP);
        support::wait_until("the log is there again", || {
            client.expect_in_step("served meanwhile");
            proxy.log_path().exists()
        });
        proxy.process().signal(libc::SIGUSR1);
        support::wait_until("the new one is written", || {
            proxy.log().contains("signal 10 (SIGUSR1) received")
        });
        let old = fs::read_to_string(rotated).expect("readable");
        assert!(old.contains("reopening log file"), "{old}");
    }
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let mut proxy = start.options(&["-o", "/dev/full"]).start_silently();
    for number in [libc::SIGUSR1, libc::SIGTTIN, libc::SIGHUP] {
        proxy.process().signal(number);
        proxy.client().expect_in_step("served");
    }
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
}

/// A file system of 64 KiB, mounted until it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory.path());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(directory));
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "tmpfs cannot be mounted");
        eprintln!("skipped, tmpfs cannot be mounted here");
        None
    }

    /// Takes all the room there is. Returns the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut filler = fs::File::create(&path).expect("a file");
        while filler.write(&[b'x'; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // If it fails, the directory stays as well, and that is seen.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn lines_lost_to_a_full_disk_are_counted_once_there_is_room() {
    if !needs_root("a file system of 64 KiB") {
        return;
    }
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Redis::start();
    let log = disk.0.path().join("log");
    let start = Start::with_pool(&[server.line()], &[]);
    let proxy = start.options(&["-o", log.to_str().expect("text")]).start_silently();
    let text = || fs::read_to_string(&log).unwrap_or_default();
    support::wait_until("it has begun", || text().contains("started on pid"));
    let filler = disk.fill();
    // What is left of the log's last page takes some lines more.
    let mut sent = 0;
    support::wait_until("the disk is full", || {
        let before = text().len();
        proxy.process().signal(libc::SIGUSR1);
        proxy.client().expect_in_step("served");
        sent += 1;
        sent > 200 && text().len() == before
    });
    fs::remove_file(filler).expect("it is there");
    support::wait_until("the loss is told", || text().contains(" log lines lost\n"));
    proxy.process().signal(libc::SIGUSR2);
    support::wait_until("lines are whole again", || {
        text().lines().any(|line| line.ends_with("[INFO] signal 12 (SIGUSR2) received"))
    });
}

/// Makes a pipe with a name, as small as pipes are, and opens it for reading.
fn small_pipe(path: &Path) -> fs::File {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
    // For writing as well, or the open would wait for the writer.
    let pipe = OpenOptions::new().read(true).write(true).open(path).expect("a pipe");
    support::process::shrink_pipe(&pipe);
    pipe
}

#[test]
fn a_stuck_pipe_costs_log_lines_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let pipe = small_pipe(&path);
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let mut proxy = start.options(&["-o", path.to_str().expect("text")]).start_silently();
    let mut client = proxy.client();
    // Nobody reads: the pipe is full after some 80 lines, and the queue after 1,024 more. Each
    // round is at least one line, since a signal is heard before the next reply.
    for _ in 0..1500 {
        for number in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGTTIN, libc::SIGTTOU] {
            proxy.process().signal(number);
        }
        client.expect_in_step("served");
    }
    let mut lines = BufReader::new(pipe).lines();
    let lost = lines.find_map(|line| {
        line.expect("text").strip_suffix(" log lines lost").map(|count| count.parse::<u64>())
    });
    assert!(lost.expect("it is told").expect("a number") > 0);
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn a_log_is_opened_anew_though_its_queue_was_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let pipe = small_pipe(&path);
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let mut proxy = start.options(&["-o", path.to_str().expect("text")]).start_silently();
    let mut client = proxy.client();
    for _ in 0..1500 {
        proxy.process().signal(libc::SIGUSR1);
        client.expect_in_step("served");
    }
    fs::rename(&path, directory.path().join("rotated")).expect("renamed");
    proxy.process().signal(libc::SIGHUP);
    client.expect_in_step("the signal is heard");
    // What is read at once makes room for the line that the writer holds.
    let mut reader = BufReader::new(pipe);
    assert!(!reader.fill_buf().expect("lines").is_empty());
    support::wait_until("the new file is there", || path.exists());
    support::wait_until("the loss is told", || {
        fs::read_to_string(&path).expect("readable").contains(" log lines lost\n")
    });
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn a_stuck_pipe_does_not_keep_the_process_from_ending() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let _pipe = small_pipe(&path);
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]);
    let mut proxy = start.options(&["-o", path.to_str().expect("text")]).start_silently();
    let mut client = proxy.client();
    for _ in 0..200 {
        proxy.process().signal(libc::SIGUSR1);
        client.expect_in_step("served");
    }
    drop(client);
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
}
