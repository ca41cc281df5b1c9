//! Requests as words: read from a text, and made wrong in many ways.

/// A request, argument by argument.
pub type Words = Vec<Vec<u8>>;

/// Keys that mean something, or nothing, in the texts.
const KEYS: [&str; 19] = [
    "str", "str2", "num", "list", "list2", "ints", "ints2", "hash", "zset", "zset2", "stream",
    "hll", "hll2", "geo", "vectors", "absent", "other", "third", "s*",
];

/// What takes the place of a right argument.
const WRONG: [&str; 10] =
    ["absent", "str", "list", "abc", "-1", "1.5", "99999999999999999999", "", "*", "0"];

/// The requests of a text, a line each.
pub fn read(text: &str) -> Vec<Words> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(line).collect()
}

fn line(line: &str) -> Words {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a quote that ends"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.replace("\\n", "\n").into_bytes());
        rest = after.trim_start();
    }
    words
}

/// The same with every key in one hash tag, so that all of them are on one server.
pub fn tagged(words: &[Vec<u8>]) -> Words {
    let tag = |word: &Vec<u8>| {
        let is_key = KEYS.iter().any(|key| key.as_bytes() == word);
        if is_key { [b"{t}", word.as_slice()].concat() } else { word.clone() }
    };
    words[..1].iter().cloned().chain(words[1..].iter().map(tag)).collect()
}

/// The request with an argument left out, replaced, or added. `is_patient`: a 0 among them would
/// wait for ever.
pub fn mutants(words: &[Vec<u8>], is_patient: bool) -> Vec<Words> {
    let mut all = Vec::new();
    for at in 1..words.len() {
        let mut without = words.to_vec();
        without.remove(at);
        all.push(without);
        for wrong in WRONG.into_iter().filter(|wrong| !is_patient || *wrong != "0") {
            let mut replaced = words.to_vec();
            replaced[at] = wrong.into();
            all.push(replaced);
        }
    }
    for more in ["extra", "-1", "absent"] {
        let mut longer = words.to_vec();
        longer.push(more.into());
        all.push(longer);
    }
    let mut upper = words.to_vec();
    upper[0].make_ascii_uppercase();
    all.push(upper);
    all
}

/// Numbers that repeat with their seed.
pub struct Random(pub u64);

impl Random {
    /// One below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// As many of `all` as there may be, in any order.
    pub fn some_of<T>(&mut self, mut all: Vec<T>, most: usize) -> Vec<T> {
        while all.len() > most {
            let at = self.below(all.len());
            all.swap_remove(at);
        }
        all
    }
}

/// A request as a message shows it.
pub fn shown(words: &[Vec<u8>]) -> String {
    let shown: Vec<_> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
    shown.join(" ")
}
