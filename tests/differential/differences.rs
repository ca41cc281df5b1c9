//! What is different on purpose: run with both programs, so that the list stays true. The reason of
//! each stands in its row of `docs/migrating-from-twemproxy.md`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::client::{Client, Reply, command};
use super::support::migration::shows_row;
use super::support::process::{Port, Process};
use super::support::proxy::proxy_binary;
use super::{Line, NUTCRACKER, World, on_tcp, streams};

/// A request whose reply, or whose way to the servers, differs.
struct Difference {
    /// Its row in the page.
    row: &'static str,
    to: Pool,
    request: fn() -> Vec<u8>,
    /// What comes back, line by line, with `closed` if the connection ends then, and what each
    /// server is sent.
    theirs: &'static str,
    ours: &'static str,
}

/// The pools, in their order. In each, server `one` holds `1:item` and `~end`, and `two` holds
/// `0:item`, `loading` and `wrong1`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pool {
    Redis,
    /// Server `two` is down.
    Half,
    Password,
    Memcached,
    /// Server `two` is down.
    HalfMemcached,
}

use Pool::{Half, HalfMemcached, Memcached, Password, Redis};

const UNKNOWN_OR_ARITY: &str = "a command it does not know, or a wrong number of arguments";
const ACROSS: &str = "`SDIFF`, `PFCOUNT`, `RPOPLPUSH`, `EVAL`, … with keys on several servers";
const SORTED: &str = "`SORT` with `BY`, `GET` or `STORE`, `GEORADIUS` with `STORE`, whose further \
                      keys may be elsewhere";
const HELLO_AND_THE_LIKE: &str = "`HELLO`, `CLIENT`, `SELECT`, `INFO` and the like";
const WRONG_PASSWORD: &str = "a wrong password, one that nobody asked for, none";
const MALFORMED: &str = "malformed requests";
const MEMCACHED_LINE: &str = "a memcached line that is wrong, or unknown, or that a server refuses";
const MEMCACHED_MORE: &str = "`gat`, `gats`, `stats`, `flush_all`, `verbosity` of memcached";

const DIFFERENCES: [Difference; 37] = [
    Difference {
        row: UNKNOWN_OR_ARITY,
        to: Redis,
        request: || [words("GET 1:item"), words("NOSUCH *")].concat(),
        theirs: "closed [one: get 1:item]",
        ours: "$8|0:1:item|-ERR unknown command 'NOSUCH', with args beginning with: '*'| \
               [one: get 1:item]",
    },
    Difference {
        row: UNKNOWN_OR_ARITY,
        to: Redis,
        request: || words("GET"),
        theirs: "closed",
        ours: "-ERR wrong number of arguments for 'get' command|",
    },
    Difference {
        row: "`PING`, `COMMAND` with an argument, `EVAL` without keys",
        to: Redis,
        request: || words("PING x"),
        theirs: "closed",
        ours: "$1|x|",
    },
    Difference {
        row: "`PING`, `COMMAND` with an argument, `EVAL` without keys",
        to: Redis,
        request: || words("EVAL x 0"),
        theirs: "closed",
        ours: "*3|:1|*2|$-1|*0|$7|2:words| [two: eval x 0]",
    },
    Difference {
        row: HELLO_AND_THE_LIKE,
        to: Redis,
        request: || words("SELECT 0"),
        theirs: "closed",
        ours: "+OK|",
    },
    Difference {
        row: HELLO_AND_THE_LIKE,
        to: Redis,
        request: || words("CLIENT GETNAME"),
        theirs: "closed",
        ours: "$-1|",
    },
    Difference {
        row: HELLO_AND_THE_LIKE,
        to: Redis,
        request: || words("HELLO 9"),
        theirs: "closed",
        ours: "-NOPROTO unsupported protocol version|",
    },
    Difference {
        row: "`MOVE`, `RENAME`, `MSETNX`, `BITOP`, … with keys on one server",
        to: Redis,
        request: || words("MOVE 1:item 1"),
        theirs: "closed",
        ours: "*3|:0|*2|$-1|*0|$7|2:words| [one: move 1:item 1]",
    },
    Difference {
        row: "`MOVE`, `RENAME`, `MSETNX`, `BITOP`, … with keys on one server",
        to: Redis,
        request: || words("RENAME 1:item 1:item"),
        theirs: "closed",
        ours: "*3|:0|*2|$-1|*0|$7|2:words| [one: rename 1:item 1:item]",
    },
    Difference {
        row: "`EXISTS` of keys on several servers",
        to: Redis,
        request: || words("EXISTS 1:item 0:item 2"),
        theirs: ":3| [one: exists 1:item 0:item 2]",
        ours: ":3| [one: exists 1:item 2] [two: exists 0:item]",
    },
    Difference {
        row: ACROSS,
        to: Redis,
        request: || words("SDIFF 1:item 0:item"),
        theirs: "*3|:0|*2|$-1|*0|$7|2:words| [one: sdiff 1:item 0:item]",
        ours: "-CROSSSLOT Keys in request don't hash to the same server: 'sdiff' needs them on \
               one, and a hash tag would keep them together|",
    },
    Difference {
        row: ACROSS,
        to: Redis,
        request: || words("EVAL x 2 1:item 0:item"),
        theirs: "*3|:0|*2|$-1|*0|$7|4:words| [one: eval x 2 1:item 0:item]",
        ours: "-CROSSSLOT Keys in request don't hash to the same server: 'eval' needs them on \
               one, and a hash tag would keep them together|",
    },
    Difference {
        row: SORTED,
        to: Redis,
        request: || words("SORT 1:item STORE 0:item"),
        theirs: "*3|:0|*2|$-1|*0|$7|3:words| [one: sort 1:item STORE 0:item]",
        ours: "-CROSSSLOT Keys in request don't hash to the same server: 'sort' needs them on \
               one, and a hash tag would keep them together|",
    },
    Difference {
        row: "`ZUNION`, `ZINTER`, `ZDIFF`",
        to: Redis,
        request: || words("ZUNION 2 0:item 0:item"),
        theirs: "*3|:0|*2|$-1|*0|$7|3:words| [one: zunion 2 0:item 0:item]",
        ours: "*3|:1|*2|$-1|*0|$7|3:words| [two: zunion 2 0:item 0:item]",
    },
    Difference {
        row: "`MGET`, `DEL`, `MSET`, … of which a server refuses its part",
        to: Redis,
        request: || words("DEL 1:item wrong1"),
        theirs: "-ERR Invalid argument| [one: del 1:item] [two: del wrong1]",
        ours: "-WRONGTYPE says server 1| [one: del 1:item] [two: del wrong1]",
    },
    Difference {
        row: "`MGET` when a server is down",
        to: Half,
        request: || words("MGET 1:item 0:item"),
        theirs: "-ERR Connection refused|closed [one: mget 1:item]",
        ours: "-ERR Connection refused| [one: mget 1:item]",
    },
    Difference {
        row: "`-LOADING`, `-BUSY`, `-OOM` of a server",
        to: Redis,
        request: || words("GET loading"),
        theirs: "-ERR Invalid argument| [two: get loading]",
        ours: "-LOADING the data set| [two: get loading]",
    },
    Difference {
        row: "`redis_auth`, `redis_db`",
        to: Password,
        request: || words("GET 1:item"),
        theirs: "$8|0:1:item| [one: select 3] [one: auth secret] [one: get 1:item]",
        ours: "$8|0:1:item| [one: auth secret] [one: select 3] [one: get 1:item]",
    },
    Difference {
        row: WRONG_PASSWORD,
        to: Password,
        request: || [words("AUTH wrong"), words("GET 1:item"), words("AUTH secret")].concat(),
        theirs: "-ERR invalid password|-NOAUTH Authentication required|+OK|",
        ours: "-WRONGPASS invalid username-password pair or user is disabled.|\
               -NOAUTH Authentication required.|+OK|",
    },
    Difference {
        row: WRONG_PASSWORD,
        to: Redis,
        request: || words("AUTH secret"),
        theirs: "-ERR Client sent AUTH, but no password is set|",
        ours: "-ERR AUTH <password> called without any password configured for the default user. \
               Are you sure your configuration is correct?|",
    },
    Difference {
        row: "`AUTH user password`",
        to: Password,
        request: || words("AUTH default secret"),
        theirs: "closed",
        ours: "+OK|",
    },
    Difference {
        row: "`QUIT`",
        to: Redis,
        request: || words("QUIT"),
        theirs: "closed",
        ours: "+OK|closed",
    },
    Difference {
        row: "inline commands, as `telnet` sends them",
        to: Redis,
        request: || b"GET 1:item\r\n".to_vec(),
        theirs: "closed",
        ours: "$8|0:1:item| [one: get 1:item]",
    },
    Difference {
        row: MALFORMED,
        to: Redis,
        request: || b"*2\r\n$3\r\nGET\r\n$06\r\n1:item\r\n".to_vec(),
        theirs: "$8|0:1:item| [one: get 1:item]",
        ours: "-ERR Protocol error: invalid bulk length|closed",
    },
    Difference {
        row: MALFORMED,
        to: Redis,
        request: || b"*2\r\n$3\r\nGET\r\n$-1\r\n".to_vec(),
        theirs: "closed",
        ours: "-ERR Protocol error: invalid bulk length|closed",
    },
    Difference {
        row: "an empty array for a request (`*0`)",
        to: Redis,
        request: || b"*0\r\n".to_vec(),
        theirs: "closed",
        ours: "",
    },
    Difference {
        row: MEMCACHED_LINE,
        to: Memcached,
        request: || b"GET 1:item\r\n".to_vec(),
        theirs: "closed",
        ours: "ERROR|",
    },
    Difference {
        row: MEMCACHED_LINE,
        to: Memcached,
        request: || b"set 1:item 0 0 2\r\nxxx\r\n".to_vec(),
        theirs: "closed",
        ours: "CLIENT_ERROR bad data chunk|ERROR|",
    },
    Difference {
        row: "a memcached `get` of several keys when a server is down",
        to: HalfMemcached,
        request: || b"get 1:item 0:item\r\n".to_vec(),
        theirs: "SERVER_ERROR Connection refused|closed [one: get 1:item]",
        ours: "SERVER_ERROR Connection refused| [one: get 1:item]",
    },
    Difference {
        row: "a memcached `get` over several servers of which some keys are missing",
        to: Memcached,
        request: || b"get nil2 0:item 1:item 2:item\r\n".to_vec(),
        theirs: "VALUE 1:item 0 8|0:1:item|VALUE 0:item 0 8|1:0:item|VALUE 2:item 0 8|0:2:item|\
                 END| [one: get nil2 1:item 2:item] [two: get 0:item]",
        ours: "VALUE 0:item 0 8|1:0:item|VALUE 1:item 0 8|0:1:item|VALUE 2:item 0 8|0:2:item|\
               END| [one: get nil2 1:item 2:item] [two: get 0:item]",
    },
    Difference {
        row: MEMCACHED_MORE,
        to: Memcached,
        request: || b"gat 0 1:item\r\n".to_vec(),
        theirs: "closed",
        ours: "VALUE 1:item 0 8|0:1:item|END| [one: gat 0 1:item]",
    },
    Difference {
        row: MEMCACHED_MORE,
        to: Memcached,
        request: || b"flush_all\r\n".to_vec(),
        theirs: "closed",
        ours: "OK| [one: flush_all] [two: flush_all]",
    },
    Difference {
        row: "`flush_all` while a server is away, or ejected",
        to: HalfMemcached,
        request: || b"flush_all\r\n".to_vec(),
        theirs: "closed",
        ours: "SERVER_ERROR two: Connection refused| [one: flush_all]",
    },
    Difference {
        row: "`noreply` with `flush_all` while a server is away",
        to: HalfMemcached,
        request: || b"flush_all noreply\r\n".to_vec(),
        theirs: "closed",
        ours: "[one: flush_all]",
    },
    Difference {
        row: MEMCACHED_MORE,
        to: Memcached,
        request: || b"verbosity 1\r\n".to_vec(),
        theirs: "closed",
        ours: "OK|",
    },
    Difference {
        row: "a negative expiry time of memcached",
        to: Memcached,
        request: || b"set 1:item 0 -1 1\r\nx\r\n".to_vec(),
        theirs: "closed",
        ours: "STORED| [one: set 1:item 0 -1 1 x]",
    },
    Difference {
        row: "a control character in a memcached key",
        to: Memcached,
        request: || b"get a\x01b\r\n".to_vec(),
        theirs: "VALUE a\\x01b 0 5|0:a\\x01b|END| [one: get a\\x01b]",
        ours: "CLIENT_ERROR bad command line format|",
    },
];

/// twemproxy: routed by the number of keys
/// twemproxy: words of a fragment lost
/// twemproxy: MOVE closes
/// twemproxy: negative expiry closes
#[test]
fn requests_differ_as_the_migration_page_has_them() {
    let (world, _dead) = world();
    for (program, is_ours) in [(Some(NUTCRACKER), false), (None, true)] {
        let _proxy = world.start(program);
        for Difference { row, to, request, theirs, ours } in &DIFFERENCES {
            shows_row(row);
            let expected = if is_ours { ours } else { theirs };
            assert_eq!(outcome(&world, *to, &request()), *expected, "{program:?}: {row}");
        }
    }
}

/// A request that is written as its words.
fn words(line: &str) -> Vec<u8> {
    command(&line.split(' ').collect::<Vec<_>>())
}

/// The pools with their servers, and the port where none listens.
fn world() -> (World, Port) {
    let mut world = World::new(|servers, _| {
        let mut line = |name| Line::named(&servers.add_tcp("127.0.0.1:0").expect("free"), 1, name);
        vec![line("one"), line("two")]
    });
    let dead = Port::free();
    let mut down = Line::named(&format!("127.0.0.1:{}", dead.number()), 1, "two");
    for to in [Redis, Half, Password, Memcached, HalfMemcached] {
        assert_eq!(world.pools.len(), to as usize);
        let before = world.config.len();
        let is_half = matches!(to, Half | HalfMemcached);
        if is_half {
            std::mem::swap(&mut world.lines[1], &mut down);
        }
        let lines: &[&str] =
            if to == Password { &["redis_auth: secret", "redis_db: 3"] } else { &[] };
        world.add_pool(on_tcp(0), lines);
        if is_half {
            std::mem::swap(&mut world.lines[1], &mut down);
        }
        if matches!(to, Memcached | HalfMemcached) {
            let pool = world.config.split_off(before).replace("redis: true", "redis: false");
            world.config.push_str(&pool);
        }
    }
    (world, dead)
}

fn outcome(world: &World, to: Pool, request: &[u8]) -> String {
    let mut client = world.client(to as usize);
    if to == Password {
        assert_eq!(client.call(&["AUTH", "secret"]), Reply::status("OK"));
    }
    let mark = match to {
        Redis | Half | Password => words("PING"),
        Memcached | HalfMemcached => b"get ~end\r\n".to_vec(),
    };
    client.send(&[request, &mark].concat());
    let mut said = read_to_mark(&mut client);
    if matches!(to, Half | HalfMemcached) && !said.ends_with("closed") {
        // nutcracker ends such a connection behind the replies to all that it had read; that this
        // cannot be sent any more is heard when reading too.
        let _ = client.try_send(&mark);
        said.push_str(&read_to_mark(&mut client));
    }
    if to == Redis {
        // What is still on its way to a server is before these.
        let mut other = world.client(to as usize);
        for key in ["1:item", "0:item"] {
            other.call(&["STRLEN", key]);
        }
    }
    for (requests, line) in world.servers.take().iter().zip(&world.lines) {
        let requests = requests.iter().map(|request| streams::text(request));
        let marks = |text: &String| text == "get ~end" || text.starts_with("strlen ");
        for text in requests.filter(|text| !marks(text)) {
            said.push_str(&format!(" [{}: {text}]", line.name));
        }
    }
    said.trim_start().to_owned()
}

/// The lines that come before the reply to the mark, or before the end.
fn read_to_mark(client: &mut Client) -> String {
    let mut said = String::new();
    loop {
        match client.try_line() {
            Ok(line) if line == b"+PONG\r\n" => return said,
            Ok(line) if line.starts_with(b"VALUE ~end ") => {
                // Its value and its `END`.
                let ends = (0..2).any(|_| client.try_line().is_err());
                return if ends { said + "closed" } else { said };
            }
            Ok(line) => said.push_str(&streams::text(&[line.trim_ascii_end().to_vec()])),
            Err(_) => return said + "closed",
        }
        said.push('|');
    }
}

/// Configurations, made of a good one by a change of its text, that one program takes and the other
/// does not: the row, what is replaced, by what, and the exit codes of `-t`, theirs and ours.
const CONFIGURATIONS: [(&str, &str, &str, i32, i32); 12] = [
    ("`listen: \"[::1]:22121\"`", "127.0.0.1:1\n", "\"[::1]:1\"\n", 1, 0),
    ("`reuseport`", "redis: true", "reuseport: true", 1, 0),
    ("lists and mappings in brackets, `---`", "alpha:", "--- # first\nalpha:", 1, 0),
    (
        "lists and mappings in brackets, `---`",
        "servers:\n   - 127.0.0.1:2:1 one\n",
        "servers: [127.0.0.1:2:1]\n",
        1,
        0,
    ),
    ("an empty item in a list of addresses", "servers:\n", "servers:\n   -\n", 1, 0),
    (
        "`white_list`, `black_list`",
        "redis: true",
        "white_list:\n   - 10.0.0.0/8\n  redis: true",
        1,
        0,
    ),
    (
        "`tcpkeepidle`, `tcpkeepintvl`, `tcpkeepcnt`",
        "redis: true",
        "tcpkeepalive: true\n  tcpkeepidle: 10",
        1,
        0,
    ),
    (
        "`server_probe`, `eject_on_oom`",
        "redis: true",
        "redis: true\n  auto_eject_hosts: true\n  server_probe: true",
        1,
        0,
    ),
    ("`commands`", "redis: true", "redis: true\n  commands:\n   deny: [KEYS]", 1, 0),
    ("numbers beyond 2147483647", "redis: true", "timeout: 99999999999", 0, 1),
    ("numbers beyond 2147483647", "2:1 one", "2:99999999999 one", 0, 1),
    ("`redis_auth: ~`", "redis: true", "redis: true\n  redis_auth: ~", 0, 1),
];

#[test]
fn configurations_differ_as_the_migration_page_has_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nutcracker.yml");
    let good = "alpha:\n  listen: 127.0.0.1:1\n  redis: true\n  servers:\n   - 127.0.0.1:2:1 one\n";
    let codes = |text: &str| {
        fs::write(&path, text).expect("writable");
        [Path::new(NUTCRACKER), &proxy_binary()].map(|program| {
            let mut command = Command::new(program);
            command.arg("-t").arg("-c").arg(&path).stdin(Stdio::null()).stderr(Stdio::null());
            Process::spawn(&mut command).exit_code()
        })
    };
    assert_eq!(codes(good), [0, 0]);
    for (row, from, to, theirs, ours) in CONFIGURATIONS {
        shows_row(row);
        let text = good.replace(from, to);
        assert_ne!(text, good, "{row}");
        assert_eq!(codes(&text), [theirs, ours], "{row}: {text}");
    }
}
