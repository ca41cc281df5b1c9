//! What one client may cost with a request that the proxy answers itself.

use super::*;
use crate::limits::CLIENT_NAME_BYTES_MAX;

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
