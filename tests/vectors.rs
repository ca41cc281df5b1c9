//! Keys go where nutcracker 0.5.0 sends them: hash values, and the choices that it made itself.
//!
//! `tests/data/record.py` made `nutcracker-tags-ports-unix.json` from the real program. Servers
//! stand in the files in the order of the configuration; the order that decides is made here.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use ringcracker::distribution::{DistributionKind, Node, RoutingTable, server_order};
use ringcracker::hash::{HashKind, HashTag};
use serde_json::Value;

#[test]
fn hash_values_are_twemproxys() {
    let values = read("hash-values.json");
    let kinds = values.as_object().unwrap();
    assert_eq!(kinds.len(), HashKind::ALL.len());
    for (name, values) in kinds {
        let kind = HashKind::from_name(name).unwrap();
        let values = values.as_object().unwrap();
        assert_eq!(values.len(), 144);
        for (key, value) in values {
            let hashed = u64::from(kind.hash(&bytes_of_hex(key)));
            assert_eq!(hashed, value.as_u64().unwrap(), "{name} of {key}");
        }
    }
}

#[test]
fn every_hash_and_distribution_chooses_as_nutcracker() {
    let file = read("hash-vectors-nutcracker-0.5.0.json");
    let keys = bytes_of_hexes(&file["keys_hex"]);
    let pools = file["pools"].as_array().unwrap();
    assert_eq!((keys.len(), pools.len()), (144, 48));
    for pool in pools {
        let servers: Vec<_> = list(&pool["servers"]).map(split_server).collect();
        let places = indexes(&pool["backend_ids"]);
        let expected: Vec<_> = indexes(&pool["backend"])
            .into_iter()
            .map(|id| places.iter().position(|place| *place == id).unwrap())
            .collect();
        let routing = Routing::new(&pool["hash"], &pool["dist"], &pool["hash_tag"], servers);
        routing.expect(&keys, &expected, pool);
    }
}

#[test]
fn tags_ports_sockets_weights_ejections_and_ties_choose_as_nutcracker() {
    let file = read("nutcracker-tags-ports-unix.json");
    let pools = file["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 127);
    for pool in pools {
        let keys = bytes_of_hexes(&file["keys_hex"][pool["keys"].as_str().unwrap()]);
        assert!(keys.len() >= 200);
        let mut ejected = list(&pool["ejected"]);
        let servers = list(&pool["servers"]).map(|server| Server {
            address: server["address"].as_str().unwrap().to_owned(),
            weight: server["weight"].as_u64().unwrap().try_into().unwrap(),
            name: server["name"].as_str().map(str::to_owned),
            ejected: ejected.next().unwrap().as_bool().unwrap(),
        });
        let (hash, distribution) = (&pool["hash"], &pool["distribution"]);
        let routing = Routing::new(hash, distribution, &pool["hash_tag"], servers.collect());
        routing.expect(&keys, &indexes(&pool["choices"]), pool);
    }
}

/// One line of a configuration's `servers`.
struct Server {
    address: String,
    weight: u32,
    name: Option<String>,
    ejected: bool,
}

impl Server {
    /// The server as ketama and the order of servers know it.
    fn node(&self) -> Node {
        let name = match (&self.name, self.address.rsplit_once(':')) {
            (Some(name), _) => name.clone(),
            (None, None) => format!("{}:", self.address),
            (None, Some((host, port))) if port.parse() == Ok(11211) => host.to_owned(),
            (None, Some(_)) => self.address.clone(),
        };
        Node { name, weight: self.weight }
    }
}

/// A pool's table, and where its servers stood before they were sorted.
struct Routing {
    table: RoutingTable,
    places: Vec<usize>,
}

impl Routing {
    fn new(hash: &Value, distribution: &Value, tag: &Value, servers: Vec<Server>) -> Self {
        let nodes: Vec<_> = servers.iter().map(Server::node).collect();
        let mut places: Vec<_> = (0..nodes.len()).collect();
        places.sort_by(|a, b| server_order(&nodes[*a].name, &nodes[*b].name));
        let nodes: Vec<_> = places.iter().map(|place| nodes[*place].clone()).collect();
        let ejected: Vec<_> = places.iter().map(|place| servers[*place].ejected).collect();
        let tag = match tag.as_str().map(str::as_bytes) {
            None | Some([]) => None,
            Some(&[open, close]) => Some(HashTag { open, close }),
            Some(other) => panic!("{other:?} is not two characters"),
        };
        let hash = HashKind::from_name(hash.as_str().unwrap()).unwrap();
        let kind = DistributionKind::from_name(distribution.as_str().unwrap()).unwrap();
        Self { table: RoutingTable::new(hash, tag, kind, &nodes, &ejected), places }
    }

    /// Fails unless each key goes to the server at the expected place in the file.
    fn expect(&self, keys: &[Vec<u8>], expected: &[usize], pool: &Value) {
        assert_eq!(keys.len(), expected.len());
        let wrong: Vec<_> = keys
            .iter()
            .zip(expected)
            .filter(|(key, expected)| {
                self.table.route(key, 0).map(|index| self.places[index]) != Some(**expected)
            })
            .map(|(key, _)| key.escape_ascii().to_string())
            .collect();
        assert!(wrong.is_empty(), "{} keys go elsewhere: {wrong:?}\n{pool}", wrong.len());
    }
}

/// `host:port:weight [name]` in parts.
fn split_server(line: &Value) -> Server {
    let line = line.as_str().unwrap();
    let (line, name) = match line.split_once(' ') {
        Some((line, name)) => (line, Some(name.to_owned())),
        None => (line, None),
    };
    let (address, weight) = line.rsplit_once(':').unwrap();
    Server { address: address.to_owned(), weight: weight.parse().unwrap(), name, ejected: false }
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list(values: &Value) -> impl Iterator<Item = &Value> {
    values.as_array().unwrap().iter()
}

fn indexes(values: &Value) -> Vec<usize> {
    list(values).map(|index| index.as_u64().unwrap().try_into().unwrap()).collect()
}

fn bytes_of_hexes(texts: &Value) -> Vec<Vec<u8>> {
    list(texts).map(|text| bytes_of_hex(text.as_str().unwrap())).collect()
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
