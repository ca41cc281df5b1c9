//! What one client may cost with a request that the proxy answers itself.

use super::*;
use crate::limits::{
    CLIENT_NAME_BYTES_MAX, COMMAND_NAMES_MAX, LOCAL_REQUEST_BYTES_MAX, PATTERN_BYTES_MAX,
    PATTERNS_MAX, WORDS_BYTES_KEPT,
};

/// A request in RESP form.
fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    bytes.into_bytes()
}

/// The reply to a request that no server is asked for.
fn reply(proxy: &mut Proxy, client: Key, words: &[&str]) -> String {
    receive(proxy, client, &request(words));
    proxy.run_ready(at(1));
    while let Some(mut round) = proxy.take_round() {
        proxy.visit(at(1), &mut round);
        proxy.end_round(at(1), round);
    }
    let output = proxy.take_output(client).map(|output| output.to_vec()).unwrap_or_default();
    proxy.on_sent(at(1), client, output.len());
    String::from_utf8(output).expect("text")
}

#[test]
fn a_name_has_256_bytes_at_most_and_a_longer_one_changes_nothing() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    let (fits, long) = ("n".repeat(CLIENT_NAME_BYTES_MAX), "x".repeat(CLIENT_NAME_BYTES_MAX + 1));
    for (words, what) in [
        (&["CLIENT", "SETNAME"][..], "Client names"),
        (&["CLIENT", "SETINFO", "LIB-NAME"], "lib-name"),
        (&["CLIENT", "SETINFO", "LIB-VER"], "lib-ver"),
        (&["HELLO", "2", "SETNAME"], "Client names"),
    ] {
        let said = reply(&mut proxy, client, &[words, &[&long]].concat());
        assert_eq!(said, format!("-ERR {what} cannot be longer than 256 bytes.\r\n"));
        let said = reply(&mut proxy, client, &[words, &[&fits]].concat());
        assert!(!said.starts_with('-'), "{words:?}: {said}");
    }
    let info = reply(&mut proxy, client, &["CLIENT", "INFO"]);
    assert!(info.contains(&format!(" name={fits} ")), "{info}");
    assert!(info.contains(&format!(" lib-name={fits} lib-ver={fits}\n")), "{info}");
    assert!(!info.contains('x'.to_string().repeat(9).as_str()));
}

#[test]
fn what_is_answered_here_is_short() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    let pattern = |bytes: usize| format!("[{}]", "g".repeat(bytes - 2));
    let (fits, long) = (pattern(PATTERN_BYTES_MAX), pattern(PATTERN_BYTES_MAX + 1));
    let filter = ["COMMAND", "LIST", "FILTERBY", "PATTERN"];
    assert_eq!(reply(&mut proxy, client, &[&filter[..], &[fits.as_str()]].concat()), "*0\r\n");
    assert_eq!(
        reply(&mut proxy, client, &[&filter[..], &[long.as_str()]].concat()),
        "-ERR the pattern is too long\r\n"
    );
    let refusal = "-ERR the patterns are too many or too long\r\n";
    assert_eq!(reply(&mut proxy, client, &["CONFIG", "GET", &fits]), "*0\r\n");
    assert_eq!(reply(&mut proxy, client, &["CONFIG", "GET", &long]), refusal);
    let many = |first: &[&'static str], count: usize| [first, &vec!["x"; count]].concat();
    assert_eq!(reply(&mut proxy, client, &many(&["CONFIG", "GET"], PATTERNS_MAX)), "*0\r\n");
    assert_eq!(reply(&mut proxy, client, &many(&["CONFIG", "GET"], PATTERNS_MAX + 1)), refusal);
    for what in ["INFO", "DOCS"] {
        let said = reply(&mut proxy, client, &many(&["COMMAND", what], COMMAND_NAMES_MAX));
        assert!(!said.starts_with('-'), "{said}");
        let said = reply(&mut proxy, client, &many(&["COMMAND", what], COMMAND_NAMES_MAX + 1));
        assert_eq!(said, "-ERR the names are more than there are commands\r\n");
    }
    let long = "x".repeat(LOCAL_REQUEST_BYTES_MAX);
    assert_eq!(
        reply(&mut proxy, client, &["COMMAND", "GETKEYS", "GET", &long]),
        "-ERR the arguments are too long for a command that the proxy answers\r\n"
    );
}

#[test]
fn there_are_fewer_commands_than_may_be_asked_for() {
    assert!(crate::proto::commands::all().len() <= COMMAND_NAMES_MAX);
}

#[test]
fn a_long_reply_leaves_no_memory_behind() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    let names = ["CLIENT"; COMMAND_NAMES_MAX];
    let said = reply(&mut proxy, client, &[&["COMMAND", "INFO"][..], &names[..]].concat());
    assert!(said.len() > WORDS_BYTES_KEPT, "{}", said.len());
    assert!(proxy.pools.words.capacity() <= WORDS_BYTES_KEPT);
}

#[test]
fn clients_are_found_by_ids_in_any_order() {
    let mut proxy = proxy(Limits::default());
    let [first, _, third] = [0; 3].map(|_| proxy.on_accept(0));
    let [low, high] = [first, third].map(|client| {
        let said = reply(&mut proxy, client, &["CLIENT", "ID"]);
        said.trim_start_matches(':').trim_end().to_owned()
    });
    let list = reply(&mut proxy, first, &["CLIENT", "LIST", "ID", &high, "0", &low, &high]);
    let found: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("id=")).collect();
    let found: Vec<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(found, [&low, &high]);
}
