//! What a configuration file may say, what it means, and what is said when it is wrong.
//!
//! A file in `tests/data/config` stands beside its expected faults: `a.yml` has `a.txt`. Run with
//! `UPDATE_EXPECTED=1` to write those anew, and read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringcracker::config::{
    self, Config, ConfigError, ListenAddress, Pool, Protocol, ServerAddress,
};
use ringcracker::distribution::DistributionKind;
use ringcracker::hash::{HashKind, HashTag};
use ringcracker::io::{Address, Destination, KeepAlive};

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: &str) -> Config {
    config::load(&at_root(path)).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> String {
    match config::parse("f.yml", text) {
        Ok(config) => panic!("no fault in {text:?}: {config:?}"),
        Err(faults) => faults.to_string(),
    }
}

/// The one pool of `keys`, each on a line of its own, with what every pool needs.
fn pool(keys: &str) -> Pool {
    let keys = format!("redis: true\nlisten: 127.0.0.1:1\nservers: [a:1:1]\n{keys}");
    pool_of(&keys)
}

fn pool_of(keys: &str) -> Pool {
    let text: String = keys.lines().map(|key| format!("  {key}\n")).collect();
    match config::parse("f.yml", &format!("a:\n{text}")) {
        Ok(mut config) => config.pools.remove(0),
        Err(faults) => panic!("{faults}"),
    }
}

/// The fault of one key, without its place.
fn key_fault(key: &str) -> String {
    let text = format!("a:\n  redis: true\n  listen: h:1\n  servers: [a:1:1]\n  {key}\n");
    let faults = faults(&text);
    assert_eq!(faults.lines().count(), 1, "{faults}");
    assert!(faults.starts_with("f.yml:5:"), "{faults}");
    faults.splitn(4, ':').nth(3).expect("four parts").trim_start().to_owned()
}

fn server_names(servers: &[&str]) -> Vec<String> {
    let items: String = servers.iter().map(|server| format!("- {server}\n")).collect();
    let pool = pool_of(&format!("redis: true\nlisten: h:1\nservers:\n{items}"));
    pool.servers.into_iter().map(|server| server.name).collect()
}

#[test]
fn every_faulty_file_has_its_expected_faults() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(at_root("tests/data/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let found = match config::parse(name, &text) {
            Ok(config) => panic!("no fault in {name}: {config:?}"),
            Err(faults) => format!("{faults}\n"),
        };
        let expected = path.with_extension("txt");
        if update {
            fs::write(expected, found).unwrap();
        } else {
            assert_eq!(found, fs::read_to_string(expected).unwrap(), "{name}");
        }
    }
}

/// Files as the documents of twemproxy and upredis-proxy have them. Only what a pool needs that is
/// not served yet may be said against them.
#[test]
fn the_documented_files_are_read() {
    let pools = [
        ("readme", vec!["beta", "alpha", "delta", "gamma", "omega"]),
        ("leaf", vec!["leaf"]),
        ("root", vec!["root"]),
        ("all_keys", vec!["redis", "memcached"]),
        ("ours", vec!["alpha"]),
        ("upredis", vec!["alpha"]),
    ];
    for (name, expected) in pools {
        let config = load(&format!("tests/data/documented/{name}.yml"));
        let names: Vec<_> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, expected, "{name}");
    }
}

#[test]
fn empty_items_of_every_list_are_skipped() {
    let config = load("tests/data/documented/upredis.yml");
    let [pool] = &config.pools[..] else { panic!("{config:?}") };
    assert_eq!(pool.servers.len(), 2);
    assert!(pool.access.is_open());
    let config = load("tests/data/documented/ours.yml");
    let access = &config.pools[0].access;
    assert_eq!((access.white.len(), access.black.len()), (4, 1));
}

#[test]
fn commands_are_allowed_denied_and_renamed() {
    use ringcracker::config::{CommandRules, Modules, Which};
    let pool = pool(
        "commands:\n  allow: [FlushAll, ~, script flush]\n  deny: ['@dangerous', script]\n  \
         rename: {Config: '', flushdb: Wipe}\n  modules: first_key",
    );
    let row = |name: &str| ringcracker::proto::commands::lookup(name.as_bytes()).unwrap();
    let read = |text: &str| Which::read(text).unwrap();
    let rename = vec![(row("config"), None), (row("flushdb"), Some("wipe".to_owned()))];
    assert_eq!(
        pool.commands,
        CommandRules {
            allow: vec![read("flushall"), read("script|flush")],
            deny: vec![read("@dangerous"), read("script")],
            rename,
            modules: Modules::FirstKey,
        }
    );
    assert_eq!(self::pool("").commands, CommandRules::default());
}

#[test]
fn the_example_is_read() {
    let config = load("conf/nutcracker.yml");
    let [pool] = &config.pools[..] else { panic!("{config:?}") };
    assert_eq!(pool.name, "alpha");
    assert_eq!(pool.listen.text, "127.0.0.1:22121");
    let Ok(Address::Inet(listen)) = pool.listen.resolve() else { panic!("{pool:?}") };
    assert_eq!(listen.to_string(), "127.0.0.1:22121");
    assert_eq!((pool.hash, pool.distribution), (HashKind::Fnv1a64, DistributionKind::Ketama));
    assert_eq!(pool.timeout, Some(Duration::from_millis(400)));
    assert_eq!(pool.protocol, Protocol::Redis);
    let nodes: Vec<_> = pool.nodes().into_iter().map(|node| (node.name, node.weight)).collect();
    assert_eq!(nodes, [("127.0.0.1:6379".to_owned(), 1), ("127.0.0.1:6380".to_owned(), 1)]);
}

#[test]
fn the_example_of_several_pools_is_read() {
    let config = load("conf/sharded.yml");
    let names: Vec<_> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["local", "archive", "counters", "shopping"]);
    let [local, archive, _, shopping] = &config.pools[..] else { panic!("{names:?}") };

    let path = PathBuf::from("/tmp/ringcracker.sock");
    assert_eq!(local.listen.address, ListenAddress::Unix { path, mode: Some(0o660) });
    assert_eq!(local.servers[0].address, ServerAddress::Unix("/tmp/redis.sock".into()));
    let unix = Destination::Address(Address::Unix("/tmp/redis.sock".into()));
    assert_eq!(local.servers[0].destination(), unix);

    let hosts: Vec<_> = archive.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(hosts, ["::1:6379", "::1:6380"]);
    let v6 = Destination::Address(Address::Inet("[::1]:6380".parse().unwrap()));
    assert_eq!(archive.servers[1].destination(), v6);

    assert_eq!(shopping.hash_tag, Some(HashTag { open: b'{', close: b'}' }));
    assert_eq!((shopping.hash, shopping.server_connections), (HashKind::Murmur, 2));
    assert!(shopping.preconnect);
    let weights: Vec<_> = shopping.nodes().into_iter().map(|n| (n.name, n.weight)).collect();
    assert_eq!(weights[1], ("shard-b".to_owned(), 2));
}

#[test]
fn what_is_left_out_has_twemproxys_default() {
    let pool = pool("");
    assert_eq!((pool.hash, pool.distribution), (HashKind::Fnv1a64, DistributionKind::Ketama));
    assert_eq!((pool.hash_tag, pool.timeout, pool.client_connections), (None, None, None));
    assert_eq!((pool.backlog, pool.server_connections), (512, 1));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(30));
    assert_eq!(pool.server_failure_limit, 2);
    assert_eq!((pool.redis_auth, pool.redis_db), (None, 0));
    assert!(
        pool.tcpkeepalive.is_none()
            && pool.access.is_open()
            && !pool.reuseport
            && !pool.preconnect
            && !pool.auto_eject_hosts
    );
}

#[test]
fn every_key_reaches_the_pool() {
    for kind in HashKind::ALL {
        assert_eq!(pool(&format!("hash: {}", kind.name())).hash, kind);
    }
    for kind in DistributionKind::ALL {
        assert_eq!(pool(&format!("distribution: {}", kind.name())).distribution, kind);
    }
    assert_eq!(pool("hash_tag: $$").hash_tag, Some(HashTag { open: b'$', close: b'$' }));
    assert_eq!(pool("timeout: 1").timeout, Some(Duration::from_millis(1)));
    assert_eq!(pool("timeout: 0").timeout, None);
    assert_eq!(pool("timeout: 0400").timeout, Some(Duration::from_millis(400)));
    assert_eq!(pool("timeout: \"400\"").timeout, Some(Duration::from_millis(400)));
    assert_eq!(pool("backlog: 2147483647").backlog, i32::MAX as u32);
    assert_eq!(pool("client_connections: 7").client_connections, Some(7));
    assert_eq!(pool("client_connections: 0").client_connections, None);
    assert_eq!(pool("server_connections: 3").server_connections, 3);
    assert_eq!(pool("private_connections: 5").private_connections, 5);
    assert_eq!(pool("private_connections: 0").private_connections, 0);
    assert_eq!(pool("server_connections: 3").private_connections, 1024);
    assert_eq!(pool("server_retry_timeout: 5").server_retry_timeout, Duration::from_millis(5));
    assert_eq!(pool("server_failure_limit: 9").server_failure_limit, 9);
    assert_eq!(pool("tcpkeepalive: true").tcpkeepalive, Some(KeepAlive::default()));
    assert_eq!(pool("tcpkeepalive: false").tcpkeepalive, None);
    let probed = pool("tcpkeepalive: true\ntcpkeepidle: 32767\ntcpkeepintvl: 1\ntcpkeepcnt: 127");
    let seconds = |count| Some(Duration::from_secs(count));
    let expected = KeepAlive { idle: seconds(32_767), interval: seconds(1), count: Some(127) };
    assert_eq!(probed.tcpkeepalive, Some(expected));
    assert!(pool("reuseport: true").reuseport);
    assert!(pool("preconnect: true").preconnect);
    assert!(!pool("auto_eject_hosts: false").auto_eject_hosts);
    assert_eq!(pool("redis_db: 0").redis_db, 0);
}

/// twemproxy: numbers wrap
#[test]
fn numbers_do_not_wrap() {
    let out = "is out of range: from 0 to 2147483647 would be right";
    for number in ["2147483648", "4294967296", "99999999999", "99999999999999999999999"] {
        assert_eq!(key_fault(&format!("backlog: {number}")), format!("a.backlog: {number} {out}"));
    }
    for word in ["-1", "+1", "1.5", "1e3", "0x10", "1_000", "1 0", "ten"] {
        let fault = key_fault(&format!("backlog: {word}"));
        assert!(fault.starts_with(&format!("a.backlog: \"{word}\" is not a number")), "{fault}");
    }
    assert_eq!(
        key_fault("server_connections: 0"),
        "a.server_connections: cannot be 0; 1 would be right"
    );
}

#[test]
fn a_unit_is_answered_with_its_milliseconds() {
    let meant = |text| key_fault(&format!("timeout: {text}"));
    let is_not = "is not a number of milliseconds";
    assert_eq!(meant("400ms"), format!("a.timeout: \"400ms\" {is_not} (would 400 be right?)"));
    assert_eq!(meant("4s"), format!("a.timeout: \"4s\" {is_not} (would 4000 be right?)"));
    assert!(meant("4 days").contains("digits alone"));
    assert!(meant("99999999999999999999s").contains("digits alone"));
    assert!(meant("-1").contains("leave timeout out, or write 0, to wait for ever"));
}

#[test]
fn a_listener_is_taken_apart_from_its_end() {
    let listen = |text: &str| {
        pool_of(&format!("redis: true\nservers: [a:1:1]\nlisten: {text}")).listen.address
    };
    let tcp = |host: &str, port| ListenAddress::Tcp { host: host.to_owned(), port };
    assert_eq!(listen("127.0.0.1:22121"), tcp("127.0.0.1", 22121));
    assert_eq!(listen("redis-1.example:65535"), tcp("redis-1.example", 65535));
    assert_eq!(listen("::1:41001"), tcp("::1", 41001));
    assert_eq!(listen("'[::1]:41001'"), tcp("::1", 41001));
    let unix = |path: &str, mode| ListenAddress::Unix { path: path.into(), mode };
    assert_eq!(listen("/tmp/a"), unix("/tmp/a", None));
    assert_eq!(listen("/tmp/a b 0777"), unix("/tmp/a b", Some(0o777)));
    assert_eq!(listen("/tmp/a 0"), unix("/tmp/a", None));
    let longest = format!("/{}", "a".repeat(106));
    assert_eq!(listen(&longest), unix(&longest, None));
}

#[test]
fn servers_are_named_and_sorted_as_twemproxy_does() {
    let own = ["h:6380:1", "h:6379:1", "g:11211:1", "/s:1"];
    assert_eq!(server_names(&own), ["g", "/s:", "h:6379", "h:6380"]);
    assert_eq!(server_names(&["h:1:1 bb", "h:2:1 c", "h:3:1 aa"]), ["c", "aa", "bb"]);
    assert_eq!(server_names(&["'[::1]:6379:1'", "::1:06380:1"]), ["::1:6379", "::1:06380"]);
}

#[test]
fn empty_items_in_a_list_say_nothing() {
    let pool = pool_of("redis: true\nlisten: h:1\nservers:\n-\n- a:1:1\n- ~\n- null");
    assert_eq!(pool.servers.len(), 1);
    let text = "a:\n  redis: true\n  listen: h:1\n  servers:\n    -\n";
    assert!(faults(text).starts_with("f.yml:4:3: a.servers: has no servers; "), "{}", faults(text));
}

#[test]
fn what_yaml_offers_beyond_twemproxy_is_read() {
    let flow = "---\n{\"a\": {listen: 'h:1', redis: true, servers: [\"b:1:1 x\"]}}\n...\n";
    assert_eq!(config::parse("f.yml", flow).unwrap().pools[0].servers[0].name, "x");
    let unix = "a:\n  listen: h:1\n  redis: true\n  servers:\n  - b:1:1\n  - c:1:1\n";
    let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
    for text in [unix, &windows] {
        assert_eq!(config::parse("f.yml", text).unwrap().pools[0].servers.len(), 2);
    }
    assert_eq!(
        faults(&windows.replace("redis", "reddis")).lines().next(),
        Some("f.yml:3:3: a.reddis: is unknown (would redis be right?)")
    );
}

#[test]
fn a_password_is_never_shown() {
    for password in ["12345", "1e3", "0x1f", "TRUE", "'a #b'", "'*a'"] {
        let keys = "  listen: h:1\n  redis: false\n  servers: [b:1:1]\n";
        let text = format!("a:\n{keys}  redis_auth: {password}\n  x: 1\n");
        let faults = faults(&text);
        assert!(faults.contains(":5:15: a.redis_auth: is only valid for a redis pool"), "{faults}");
        assert!(!faults.contains(password.trim_matches('\'')), "{faults}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = config::load(Path::new("/no/such/file.yml")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot read the configuration file /no/such/file.yml: "), "{text}");
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(matches!(config::load(Path::new("/")), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn endless_and_binary_files_are_faults() {
    let text = config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(text, "/dev/zero:1:1: is larger than the 1048576 bytes that a file may have");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.yml");
    fs::write(&path, b"a:\n  b\xc3\xa4\xff: 1\n").unwrap();
    let text = config::load(&path).unwrap_err().to_string();
    assert_eq!(text, format!("{}:2:5: is not UTF-8 text", path.display()));
}

/// Fails when the text is accepted, or takes long enough to be more than linear. The limit is
/// generous, as tests are built without optimisation.
fn is_refused_in_bounded_time(what: &str, text: &str) -> String {
    let start = Instant::now();
    let faults = faults(text);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{what}: {took:?}");
    faults
}

#[test]
fn a_megabyte_of_nesting_is_refused_early() {
    let deep = |piece: &str| piece.repeat(1_000_000 / piece.len());
    for piece in ["[", "{", "- ", "? ", "{a: ", "[{", "[[], ", "{{}: "] {
        let text = deep(piece);
        is_refused_in_bounded_time(piece, &text);
        is_refused_in_bounded_time(piece, &format!("a: {text}"));
    }
    let steps: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(is_refused_in_bounded_time("steps", &steps).contains("nests too deep"));
}

#[test]
fn much_of_anything_is_refused_in_bounded_time() {
    let pieces = [
        ":",
        "a: ",
        "a:\n",
        "- a\n",
        "\"",
        "'",
        "|\n",
        ">\n ",
        "#",
        "&a ",
        "*a ",
        "!a ",
        "!!",
        "%",
        "%a\n",
        "---\n",
        "...\n",
        "\t",
        " ",
        "\n",
        "\r",
        "\\",
        "\"\\x",
        "`",
        "@",
        ", ",
        "]",
        "}",
        "? a\n",
        "<<: \n",
        "\u{feff}",
        "\u{0}",
        "\u{7}",
        "\u{85}",
        "\u{2028}",
        "é",
        "a",
        "1",
        "~ ",
        "a:\n  b: c\n",
        "a: {b: c}\n",
        "k: [a, b]\n",
    ];
    for piece in pieces {
        is_refused_in_bounded_time(piece, &piece.repeat(300_000 / piece.len()));
    }
}

#[test]
fn lines_that_unfold_to_gigabytes_are_refused() {
    let mut bomb = "l0: &l0 [lol, lol]\n".to_owned();
    for level in 1..64 {
        bomb += &format!("l{level}: &l{level} [*l{0}, *l{0}]\n", level - 1);
    }
    let faults = is_refused_in_bounded_time("bomb", &bomb);
    assert!(faults.starts_with("f.yml:1:5: is a YAML anchor or alias"), "{faults}");
}

#[test]
fn noise_never_panics() {
    let seed: u64 = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::process::id().into(),
    };
    println!("SEED={seed}");
    let mut state = seed.wrapping_mul(2) | 1;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let example = fs::read_to_string(at_root("conf/sharded.yml")).unwrap();
    let example: Vec<char> = example.chars().collect();
    let marks: Vec<char> = "[]{}:,-?&*!|>'\"%@`#~ \t\r\n\0\u{feff}é\u{85}a0".chars().collect();
    for _ in 0..3_000 {
        let soup: String = (0..draw(60)).map(|_| marks[draw(marks.len())]).collect();
        let _ = config::parse("soup", &soup);
    }
    for _ in 0..1_500 {
        let mut bent = example.clone();
        for _ in 0..=draw(4) {
            let at = draw(bent.len());
            match draw(3) {
                0 => bent[at] = marks[draw(marks.len())],
                1 => _ = bent.remove(at),
                _ => bent.insert(at, marks[draw(marks.len())]),
            }
        }
        let _ = config::parse("bent", &bent.into_iter().collect::<String>());
    }
}
