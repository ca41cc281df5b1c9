//! The configuration file.

use ringcracker::config::{self, Config, Faults};

use super::memory::peak_of;

/// A file is taken, or each of its faults has a place in it; no password is in what is said of
/// either; nobody has less than it takes to serve; and memory is bounded by the text.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (result, peak) = peak_of(|| config::parse("file.yml", text));
    let most = (256 << 10) + 400 * text.len();
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", text.len());
    match &result {
        Ok(config) => is_complete(config, text),
        Err(faults) => are_in_place(faults, text),
    }
    let said = match &result {
        Ok(config) => format!("{config:?}"),
        Err(faults) => format!("{faults} {faults:?}"),
    };
    for secret in secrets(text) {
        assert!(!said.contains(secret), "it says the password {secret:?}: {said}");
    }
}

fn is_complete(config: &Config, text: &str) {
    assert!(!config.pools.is_empty());
    for pool in &config.pools {
        assert!(!pool.name.is_empty() && !pool.servers.is_empty());
        assert!(pool.server_connections >= 1 && pool.client_connections != Some(0));
        assert!(pool.servers.iter().all(|server| server.weight >= 1));
        assert!(
            pool.servers.iter().map(|server| u64::from(server.weight)).sum::<u64>()
                <= u64::from(u32::MAX)
        );
        assert_eq!(pool.nodes().len(), pool.servers.len());
    }
    let again = config::parse("file.yml", text).expect("it was taken before");
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

fn are_in_place(faults: &Faults, text: &str) {
    let said = faults.to_string();
    assert!(!said.is_empty(), "refused without a word");
    // YAML ends a line with each of these.
    let is_break = |&c: &char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let lines = text.chars().filter(is_break).count() + 1;
    for line in said.lines().filter_map(|line| line.strip_prefix("file.yml:")) {
        let number: usize = line.split(':').next().unwrap().parse().expect("the number of a line");
        assert!((1..=lines + 1).contains(&number), "line {number} of {lines}: {said}");
    }
}

/// The passwords of a text, as far as they are plain words that stand nowhere else in it.
fn secrets(text: &str) -> impl Iterator<Item = &str> {
    let values = text.lines().filter_map(|line| line.trim_start().strip_prefix("redis_auth: "));
    let words = values.map(str::trim).filter(|word| word.len() >= 8);
    words.filter(|word| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && text.matches(word).count() == 1
    })
}
