//! Rings of a test's size, which all tests of the program run on as well (`make test-tiny-ring`).

mod support;

use support::client::Reply;
use support::proxy::{Proxy, Start};
use support::redis::Redis;

#[test]
#[cfg(debug_assertions)]
fn every_worker_has_a_ring_of_the_size_asked_for_and_it_is_watched() {
    for (value, bytes) in [("8x4", 65536), ("8x4x512", 512)] {
        let server = Redis::start();
        let start = Start::with_pool(&[server.line()], &[]).options(&["--workers", "2"]);
        let proxy = start.environment(VARIABLE, value).start();
        let ring = format!("a ring of 8 submissions and 8 completions, 4 buffers of {bytes} bytes");
        for worker in 0..2 {
            let line = format!("worker {worker}: {ring}; its contract is watched\n");
            assert!(proxy.log().contains(&line), "{line}{}", proxy.log());
        }
        assert_eq!(proxy.client().call(&["SET", "a", "1"]), Reply::status("OK"));
    }
}

#[test]
#[cfg(debug_assertions)]
fn the_tests_run_on_rings_of_the_size_that_their_run_asks_for() {
    let value = std::env::var(VARIABLE).unwrap_or("1024x128".to_owned());
    let (submissions, rest) = value.split_once('x').expect("two numbers");
    let buffers = rest.split('x').next().expect("one number");
    let server = Redis::start();
    let log = Proxy::start(&[server.line()], &[]).log();
    let line = log.lines().find(|line| line.contains("worker 0: a ring of"));
    let line = line.unwrap_or_else(|| panic!("no ring in {log}"));
    assert!(line.contains(&format!("of {submissions} submissions")), "{line}");
    assert!(line.contains(&format!(", {buffers} buffers of")), "{line}");
}

#[test]
#[cfg(debug_assertions)]
fn a_size_that_is_not_understood_ends_the_start_with_one_line() {
    for value in ["", "8", "8x3", "large"] {
        let start = Start::with_pool(&["127.0.0.1:1:1".to_owned()], &[]);
        let mut proxy = start.environment(VARIABLE, value).spawn();
        let code = proxy.exit_code();
        let errors = proxy.errors();
        assert_eq!(code, 1, "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&format!("{VARIABLE} is {value:?}")), "{errors}");
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn a_release_build_does_not_know_the_variable() {
    let server = Redis::start();
    // What a debug build takes, and what it refuses.
    for value in ["8x4", "large"] {
        let start = Start::with_pool(&[server.line()], &[]).environment(VARIABLE, value);
        let proxy: Proxy = start.start();
        assert_eq!(proxy.client().call(&["SET", "a", "1"]), Reply::status("OK"));
        let log = proxy.log();
        assert!(log.contains("a ring of 1024 submissions") && !log.contains("watched"), "{log}");
    }
}

const VARIABLE: &str = "RINGCRACKER_TEST_RING";
