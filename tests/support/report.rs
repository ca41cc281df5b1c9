//! The report of the statistics port, ours or nutcracker's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::Client;
use super::proxy::Proxy;
use super::{DEADLINE, holds_within};

/// Every number of a report by its path: `alpha/one/requests`.
pub type Numbers = BTreeMap<String, i64>;

/// The report of a proxy, as text.
pub fn report(proxy: &Proxy) -> String {
    let (bytes, _) = Client::tcp(proxy.stats_port()).read_to_end();
    String::from_utf8(bytes).expect("a report is text")
}

/// The numbers of a report.
pub fn numbers(report: &str) -> Numbers {
    fn collect(prefix: &str, value: &Value, into: &mut Numbers) {
        for (name, value) in value.as_object().expect("an object") {
            let path = format!("{prefix}{name}");
            match value {
                Value::Object(_) => collect(&format!("{path}/"), value, into),
                Value::Number(number) => drop(into.insert(path, number.as_i64().expect("whole"))),
                Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
            }
        }
    }
    let mut into = Numbers::new();
    let value = serde_json::from_str(report).unwrap_or_else(|why| panic!("{why}: {report}"));
    collect("", &value, &mut into);
    into
}

/// A number of a proxy's report.
pub fn figure(proxy: &Proxy, path: &str) -> i64 {
    let report = report(proxy);
    let numbers = numbers(&report);
    *numbers.get(path).unwrap_or_else(|| panic!("{path} is not in {report}"))
}

/// Waits until a number of the report is `expected`.
pub fn wait_for(proxy: &Proxy, path: &str, expected: i64) {
    let mut last = String::new();
    let came = holds_within(DEADLINE, || {
        last = report(proxy);
        numbers(&last)[path] == expected
    });
    assert!(came, "{path} is not {expected}: {last}");
}

/// Waits until all numbers that both have are the same, but for those at the paths of
/// `differences`, which says why of each. Returns the numbers of both, theirs first.
pub fn expect_same(theirs: &Proxy, ours: &Proxy, differences: &[(&str, &str)]) -> [Numbers; 2] {
    let mut differing = Vec::new();
    let mut last = Default::default();
    let agree = holds_within(DEADLINE, || {
        let (their, our) = (numbers(&report(theirs)), numbers(&report(ours)));
        let is_known = |path: &str| differences.iter().any(|(known, _)| *known == path);
        differing = their
            .iter()
            .filter(|(path, value)| our.get(*path) != Some(value) && !is_known(path))
            .map(|(path, value)| format!("{path}: nutcracker {value}, ours {:?}", our.get(path)))
            .collect();
        last = [their, our];
        differing.is_empty()
    });
    assert!(agree, "{differing:#?}");
    last
}

/// What differs in every report.
pub const OF_THE_START: [(&str, &str); 2] = [
    ("uptime", "the two did not start in the same second"),
    ("timestamp", "they are not asked in the same second"),
];
