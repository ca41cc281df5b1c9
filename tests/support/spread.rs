//! Where keys belong, as Debian's nutcracker 0.5.0 put them.

/// The names of servers that the tables below are of, all of weight 1.
pub const NAMES: [&str; 3] = ["one", "two", "three"];

/// For each key `0:item` to `99:item`, which of the servers `one` and `two` holds it under
/// fnv1a_64 and ketama: `1` or `2`. Recorded from nutcracker 0.5.0.
pub const OVER_TWO: &str = "\
    21122122221222121122122211111212211112222221212122\
    12221122221221122122221222211121221122212211211212";

/// The same with the servers `one`, `two` and `three`.
pub const OVER_THREE: &str = "\
    33332123331332131122322213131212213332322221213322\
    13333133221223132123221223211123223122332231213213";

/// The keys that a table gives to its server `number`, counted from 1, lowest first.
pub fn keys_of(table: &str, number: u8) -> Vec<String> {
    let of_server = |(_, digit): &(usize, u8)| *digit == b'0' + number;
    table.bytes().enumerate().filter(of_server).map(|(index, _)| key(index)).collect()
}

/// The key that the tables have at `index`.
pub fn key(index: usize) -> String {
    format!("{index}:item")
}
