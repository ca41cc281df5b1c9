//! What `--locate` says: where keys belong, without a server, a client or a ring.

use std::io::{self, BufRead, Write};

use crate::config::{Config, Pool};
use crate::distribution::{DistributionKind, RoutingTable};

/// Writes a line for each pool and key: the pool's name, the server's name and the key, with a tab
/// between them. A pool of `random` has `*` for its server.
///
/// `keys` has one key a line: any bytes but the newline at its end, the empty key too. The server's
/// name is the one that statistics have, and none of a pool is ejected.
///
/// Errors: the keys cannot be read, or the lines not be written.
pub fn locate(config: &Config, keys: &mut impl BufRead, into: &mut impl Write) -> io::Result<()> {
    let tables: Vec<RoutingTable> = config.pools.iter().map(table).collect();
    let mut key = Vec::new();
    while keys.read_until(b'\n', &mut key)? > 0 {
        if key.last() == Some(&b'\n') {
            key.pop();
        }
        for (pool, table) in config.pools.iter().zip(&tables) {
            write!(into, "{}\t{}\t", pool.name, owner(pool, table, &key))?;
            into.write_all(&key)?;
            into.write_all(b"\n")?;
        }
        key.clear();
    }
    into.flush()
}

fn table(pool: &Pool) -> RoutingTable {
    let nodes = pool.nodes();
    let ejected = vec![false; nodes.len()];
    RoutingTable::new(pool.hash, pool.hash_tag, pool.distribution, &nodes, &ejected)
}

fn owner<'p>(pool: &'p Pool, table: &RoutingTable, key: &[u8]) -> &'p str {
    // With one server there is no choice, whatever the distribution.
    if pool.distribution == DistributionKind::Random && pool.servers.len() > 1 {
        return ANY;
    }
    // Only a pool whose servers are all ejected chooses nobody.
    table.route(key, 0).map_or(ANY, |index| &pool.servers[index].name)
}

/// Stands for any server of the pool.
const ANY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
one: {listen: 127.0.0.1:1, servers: [127.0.0.1:2:1]}
dice: {listen: 127.0.0.1:2, distribution: random, servers: [127.0.0.1:2:1, 127.0.0.1:3:1]}
ports:
  listen: 127.0.0.1:3
  hash: crc16
  hash_tag: \"{}\"
  distribution: modula
  servers:
   - /tmp/socket:1
   - 127.0.0.1:11211:1
";

    fn located(keys: &[u8]) -> Vec<u8> {
        let config = crate::config::parse("test.yml", CONFIG).unwrap();
        let mut lines = Vec::new();
        locate(&config, &mut &*keys, &mut lines).unwrap();
        lines
    }

    #[test]
    fn every_pool_has_a_line_for_every_key() {
        // Of the two names, `127.0.0.1` is the shorter and so the first; the empty key counts as
        // 0, and crc16 of `2` is odd.
        let expected = b"one\t127.0.0.1:2\t\ndice\t*\t\nports\t127.0.0.1\t\n\
            one\t127.0.0.1:2\t2\ndice\t*\t2\nports\t/tmp/socket:\t2\n\
            one\t127.0.0.1:2\t\xff{2}\t\r\ndice\t*\t\xff{2}\t\r\n\
            ports\t/tmp/socket:\t\xff{2}\t\r\n";
        let lines = located(b"\n2\n\xff{2}\t\r");
        assert_eq!(lines.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn no_keys_are_no_lines() {
        assert_eq!(located(b""), b"");
    }

    #[test]
    fn lines_that_cannot_be_written_are_an_error() {
        let config = crate::config::parse("test.yml", CONFIG).unwrap();
        let mut full: &mut [u8] = &mut [0; 10];
        assert!(locate(&config, &mut &b"key\n"[..], &mut full).is_err());
    }
}
