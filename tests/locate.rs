//! `--locate` names the servers that nutcracker 0.5.0 chose, as they were recorded, and ends with
//! an error where it cannot.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use support::pool;
use support::process::Process;
use support::proxy::proxy_binary;

/// A folder with a configuration, and with what the program says.
struct Place(TempDir);

impl Place {
    fn with_config(config: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        fs::write(place.path("nutcracker.yml"), config).expect("writable");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program with `keys` on its standard input. Returns its exit code.
    fn locate(&self, keys: &[u8], word: &str) -> i32 {
        fs::write(self.path("stdin"), keys).expect("writable");
        let file = |name| File::create(self.path(name)).expect("writable");
        let mut command = Command::new(proxy_binary());
        command.args(["-c", "nutcracker.yml", "--locate", word]).current_dir(self.0.path());
        command.stdin(File::open(self.path("stdin")).expect("it was made"));
        command.stdout(file("stdout")).stderr(file("stderr"));
        Process::spawn(&mut command).exit_code()
    }

    fn said(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it was made")
    }
}

#[test]
fn recorded_choices_of_nutcracker_are_named() {
    let path = "tests/data/nutcracker-tags-ports-unix.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let file: Value = serde_json::from_slice(&fs::read(path).expect("it is there")).expect("JSON");
    let is_whole = |pool: &&Value| list(&pool["ejected"]).iter().all(|out| out == false);
    let pools: Vec<&Value> = list(&file["pools"]).iter().filter(is_whole).collect();
    assert_eq!(pools.len(), 123);
    for (kind, keys) in file["keys_hex"].as_object().expect("an object") {
        let keys: Vec<Vec<u8>> = list(keys).iter().map(|key| bytes_of_hex(text(key))).collect();
        let pools = || pools.iter().filter(|pool| pool["keys"] == kind.as_str()).zip(0..);
        let config: String = pools().map(|(pool, number)| config_of(pool, number)).collect();
        let place = Place::with_config(&config);
        // A key is a line.
        let keys = || keys.iter().enumerate().filter(|(_, key)| !key.contains(&b'\n'));
        assert!(keys().count() >= 200);
        let stdin: Vec<u8> = keys().flat_map(|(_, key)| [key, &b"\n"[..]].concat()).collect();
        assert_eq!(place.locate(&stdin, "-"), 0);
        let mut expected = Vec::new();
        for (index, key) in keys() {
            for (pool, number) in pools() {
                let choice = pool["choices"][index].as_u64().expect("an index") as usize;
                let name = name_of(&pool["servers"][choice]);
                expected.push([format!("pool{number:03}\t{name}\t").as_bytes(), key].concat());
            }
        }
        let said = place.said("stdout");
        let mut lines = said.split(|byte| *byte == b'\n');
        for expected in &expected {
            let line = lines.next().expect("a line");
            assert_eq!(line.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
        assert_eq!(lines.collect::<Vec<_>>(), [b""], "more than {} lines", expected.len());
    }
}

#[test]
fn keys_that_cannot_be_read_or_said_are_an_error() {
    let place = Place::with_config(&pool("alpha", "127.0.0.1:1", &["host:1:1".to_owned()], &[]));
    assert_eq!(place.locate(b"", "absent"), 1);
    let errors = String::from_utf8(place.said("stderr")).expect("text");
    assert_eq!(errors, "ringcracker: keys 'absent': No such file or directory (os error 2)\n");
    assert_eq!(place.locate(b"", "stdin"), 0);
    assert_eq!(place.said("stderr"), b"");

    let full = File::options().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new(proxy_binary());
    command
        .arg("-c")
        .arg(place.path("nutcracker.yml"))
        .arg("--locate")
        .arg(place.path("nutcracker.yml"));
    command.stdout(full).stderr(Stdio::null());
    assert_eq!(Process::spawn(&mut command).exit_code(), 1);
}

fn config_of(recorded: &Value, number: usize) -> String {
    let servers = list(&recorded["servers"]).iter().map(|server| {
        let name = server["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{}:{}{name}", text(&server["address"]), server["weight"])
    });
    let mut lines = vec![
        format!("hash: {}", text(&recorded["hash"])),
        format!("distribution: {}", text(&recorded["distribution"])),
    ];
    lines.extend(recorded["hash_tag"].as_str().map(|tag| format!("hash_tag: \"{tag}\"")));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let listen = format!("127.0.0.1:{}", 1 + number);
    pool(&format!("pool{number:03}"), &listen, &servers.collect::<Vec<_>>(), &lines)
}

/// The name that stands for a server.
fn name_of(server: &Value) -> String {
    let address = text(&server["address"]);
    match (server["name"].as_str(), address.rsplit_once(':')) {
        (Some(name), _) => name.to_owned(),
        // Some write it with a zero in front.
        (None, Some((host, port))) if port.parse() == Ok(11211) => host.to_owned(),
        (None, Some(_)) => address.to_owned(),
        (None, None) => format!("{address}:"),
    }
}

fn list(values: &Value) -> &[Value] {
    values.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
