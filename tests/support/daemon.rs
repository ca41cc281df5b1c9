//! A process that nobody waits for.

use std::fs;
use std::path::Path;

use super::process::signal;

/// A daemon, known by its pid file. Dropping it kills it.
pub struct Daemon {
    id: u32,
}

impl Daemon {
    /// The one whose id is in `pid_file`; none if there is no such file, or nothing in it.
    pub fn named_in(pid_file: &Path) -> Option<Self> {
        let text = fs::read_to_string(pid_file).ok()?;
        Some(Self { id: text.trim().parse().ok()? })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The words of `/proc/<id>/stat` from the state on, as long as there is one.
    pub fn stat(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id)).ok()?;
        let after_name = text.rsplit(") ").next()?;
        Some(after_name.split(' ').map(str::to_owned).collect())
    }

    /// Whether it runs; one that has ended may wait for somebody to ask how.
    pub fn runs(&self) -> bool {
        self.stat().is_some_and(|words| words[0] != "Z")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.runs() {
            signal(self.id, libc::SIGKILL);
        }
    }
}
