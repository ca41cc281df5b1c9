//! What `make` does about programs that are missing.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

/// Runs the installer as user nobody: it must not get further than to say what it would do.
fn install(words: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.arg("-s").args(words).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        command.uid(65534);
    }
    let mut child = command.spawn().unwrap();
    // From standard input, as nobody may not read the folder of the project.
    child.stdin.take().unwrap().write_all(include_bytes!("tools/install.sh")).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn without_root_the_command_is_printed_and_nothing_is_done() {
    let output = install(&["sh=dash", "no-such-program=a-package", "nor-this=a-package"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let command = "\n+ apt-get install --yes --no-install-recommends a-package\n";
    assert!(said.contains(command), "{said}");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.starts_with("This needs root"), "{complaint}");
}

#[test]
fn nothing_is_said_where_nothing_is_missing() {
    let output = install(&["sh=dash", "cat=coreutils"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
}
