//! Descriptors and connections: too few of the one, very many of the other.

mod support;

use std::time::Duration;

use support::client::{Client, Reply, command};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{holds_within, wait_until};

/// Whether a client that has just connected is served, and what the proxy says to it otherwise.
fn is_served(client: &mut Client) -> Result<(), Vec<u8>> {
    let _ = client.try_send(&command(&["PING"]));
    match client.try_line() {
        Ok(line) if line == b"+PONG\r\n" => Ok(()),
        Ok(line) => Err(line),
        Err(_) => Err(vec![]),
    }
}

/// Time passes with idle clients, and the proxy uses next to none of it.
fn does_not_spin(proxy: &Proxy, idle: &mut Client) {
    let share = proxy.process().processor_share(Duration::from_millis(1200), || {
        assert!(!idle.has_news_within(Duration::from_millis(100)), "something came unasked");
    });
    assert!(share < 0.3, "it used {share:.2} of a processor for nothing");
}

/// twemproxy #7 and twemproxy #97: without a descriptor left it accepted again and again.
#[test]
fn clients_beyond_the_descriptors_are_refused_without_spinning() {
    let server = Redis::start();
    let proxy = Start::with_pool(&[server.line()], &[]).descriptors(64).start();
    let mut served = vec![];
    let mut refused = 0;
    for _ in 0..80 {
        let mut client = proxy.client();
        match is_served(&mut client) {
            Ok(()) => served.push(client),
            Err(words) => {
                let known = words.is_empty() || words == b"-ERR max number of clients reached\r\n";
                assert!(known, "refused with {}", words.escape_ascii());
                refused += 1;
            }
        }
    }
    assert!(served.len() >= 10, "only {} of 64 descriptors serve clients", served.len());
    assert!(refused >= 16, "{refused} clients were refused, {} were served", served.len());
    does_not_spin(&proxy, &mut served[0]);
    for (number, client) in served.iter_mut().enumerate() {
        let name = format!("k{number}");
        assert_eq!(client.call(&["SET", &name, &name]), Reply::status("OK"));
    }
    // Places that are given up are taken again.
    let half = served.len() / 2;
    served.truncate(half);
    let mut again = vec![];
    wait_until("as many are served again", || {
        let mut client = proxy.client();
        if is_served(&mut client).is_ok() {
            again.push(client);
        }
        again.len() == half
    });
    again[0].expect_in_step("served");
}

/// twemproxy #514: it accepted nobody any more.
#[test]
fn accepts_resume_when_descriptors_become_free() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut old: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut old {
        client.call(&["SET", "a", "1"]);
    }
    // Fewer descriptors than it counted on, as when something else in the process takes them.
    let open = proxy.process().open_descriptors();
    proxy.process().set_descriptor_limit(open as u64 + 3);
    let mut new: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    does_not_spin(&proxy, &mut old[0]);
    for client in &mut old {
        assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
    }
    drop(old);
    // Of those that knocked, each is served or sent away; then there is room for one more.
    new.retain_mut(is_served_or_sent_away);
    assert!(!new.is_empty(), "room for some was made");
    drop(new);
    let mut late = None;
    let served = holds_within(support::DEADLINE, || {
        let mut client = proxy.client();
        let served = is_served(&mut client).is_ok();
        late = Some(client);
        served
    });
    assert!(served, "nobody is accepted any more");
    assert_eq!(late.expect("served").call(&["GET", "a"]), Reply::bulk("1"));
}

/// One that is neither is dropped after a second: it waits for a descriptor, and others may leave.
fn is_served_or_sent_away(client: &mut Client) -> bool {
    let _ = client.try_send(&command(&["PING"]));
    client.has_news_within(Duration::from_secs(1))
        && client.try_line().is_ok_and(|line| line == b"+PONG\r\n")
}

#[test]
fn thousands_of_connections_come_and_go_and_leave_nothing() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let round = |number: usize| {
        let mut clients: Vec<Client> = (0..500).map(|_| proxy.client()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(&command(&["SET", &format!("k{index}"), &format!("{number}.{index}")]));
            client.send(&command(&["GET", &format!("k{index}")]));
        }
        for (index, mut client) in clients.into_iter().enumerate() {
            match index % 5 {
                0 => client.reset(),
                1 => drop(client),
                2 => {
                    client.shutdown_write();
                    client.read_to_end();
                }
                _ => {
                    assert_eq!(client.reply(), Reply::status("OK"));
                    assert_eq!(client.reply(), Reply::bulk(format!("{number}.{index}")));
                }
            }
        }
    };
    // The first round fills what is kept for reuse, and the server's connection.
    round(0);
    let mut kept = proxy.client();
    kept.expect_in_step("after the first round");
    let settled = |count: usize| {
        wait_until("the clients are gone", || proxy.process().open_descriptors() <= count);
    };
    wait_until("the first round's clients are gone", || proxy.process().open_descriptors() < 100);
    let descriptors = proxy.process().open_descriptors();
    let memory = proxy.process().resident_bytes();
    for number in 1..=5 {
        round(number);
        settled(descriptors);
    }
    let grown = proxy.process().resident_bytes().saturating_sub(memory);
    assert!(grown < 6 << 20, "memory grew by {grown} bytes over five rounds");
    kept.expect_in_step("after all rounds");
}

#[test]
fn a_thousand_idle_clients_cost_little() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    proxy.client().call(&["SET", "a", "1"]);
    let before = proxy.process().resident_bytes();
    let mut clients: Vec<Client> = (0..1000).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
    }
    let each = proxy.process().resident_bytes().saturating_sub(before) / 1000;
    assert!(each < 16 << 10, "{each} bytes for each idle client");
    does_not_spin(&proxy, &mut clients[0]);
}

#[test]
fn a_pool_has_no_more_clients_than_it_may() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &["client_connections: 2"]);
    let proxy = start.options(&["--workers", "2"]).start();
    let mut first = proxy.client();
    let mut second = proxy.client();
    wait_until("two are served", || {
        is_served(&mut first).is_ok() && is_served(&mut second).is_ok()
    });
    let mut third = proxy.client();
    assert_eq!(third.try_line().expect("words"), b"-ERR max number of clients reached\r\n");
    third.expect_end();
    drop(first);
    wait_until("there is room again", || is_served(&mut proxy.client()).is_ok());
    second.expect_in_step("still served");
}
