//! What the figures were measured on and with.

use crate::processes::first_line;
use crate::rig::Rig;
use std::collections::BTreeMap;

pub fn machine() -> BTreeMap<String, String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    named([
        ("CPU", or_unknown(field(&read("/proc/cpuinfo"), "model name"))),
        ("CPUs", cpus.to_string()),
        ("memory", or_unknown(field(&read("/proc/meminfo"), "MemTotal"))),
        ("Linux", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("date", first_line("date", &["-u", "+%F"])),
    ])
}

pub fn versions(rig: &Rig) -> BTreeMap<String, String> {
    let commit = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"];
    let mut versions = named([
        ("redis-server", first_line("redis-server", &["--version"])),
        ("redis-benchmark", first_line("redis-benchmark", &["--version"])),
        ("memcached", first_line("memcached", &["-V"])),
        ("commit", first_line("git", &commit)),
    ]);
    for proxy in [&rig.base, &rig.subject].into_iter().chain(&rig.haproxy) {
        versions.insert(proxy.name.clone(), proxy.version.clone());
    }
    versions
}

fn named<const N: usize>(lines: [(&str, String); N]) -> BTreeMap<String, String> {
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
