//! Servers that the configuration knows by the name of their host.

mod support;

use support::client::Reply;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{pool, wait_until};

/// getaddrinfo(3) makes 127.0.0.1 of it, and nothing but that; to the proxy it is a name.
const LOOPBACK: &str = "127.1";

/// No name has a part of more than 63 bytes, so no resolver asks anybody for this one.
fn unknown() -> String {
    format!("{}.invalid", "a".repeat(64))
}

#[test]
fn a_server_is_found_by_its_name_at_every_connect() {
    let mut server = Redis::start();
    let line = format!("{LOOPBACK}:{}:1", server.port());
    let proxy = Proxy::start(&[line], &["preconnect: true"]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["SET", "key", "1"]), Reply::status("OK"));
    server.kill();
    server.restart();
    wait_until("the server is used again", || {
        client.call(&["SET", "key", "2"]) == Reply::status("OK")
    });
    assert_eq!(client.call(&["GET", "key"]), Reply::bulk("2"));
}

#[test]
fn a_host_without_an_address_fails_its_requests_and_no_others() {
    let server = Redis::start();
    let servers = [server.named("known"), format!("{}:6379:1 unknown", unknown())];
    for workers in ["1", "2"] {
        let port = Port::free();
        let listen = format!("127.0.0.1:{}", port.number());
        let lines = ["distribution: modula", "preconnect: true"];
        let config = pool("alpha", &listen, &servers, &lines);
        let proxy = Start::with_config(&config).holding(port).options(&["--workers", workers]);
        let proxy = proxy.start();
        let (mut served, mut failed) = (0, 0);
        for number in 0..40 {
            let mut client = proxy.client();
            match client.call(&["SET", &format!("key{number}"), "1"]) {
                reply if reply == Reply::status("OK") => served += 1,
                reply => {
                    assert_eq!(reply, Reply::error("ERR Host is down"));
                    assert_eq!(client.call(&["PING"]), Reply::status("PONG"));
                    failed += 1;
                }
            }
        }
        assert!(served > 0 && failed > 0, "{served} were served and {failed} failed");
        let said = format!("no address for the host {}", unknown());
        assert_eq!(proxy.log().matches(&said).count(), 1, "{}", proxy.log());
    }
}
