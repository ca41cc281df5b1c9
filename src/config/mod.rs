//! The configuration: twemproxy's `nutcracker.yml`, checked, with all of its faults at once.
//!
//! ```text
//!   text --outline--> shape and places ---.
//!     `----raw------> values as written --+--check--> Config, or Faults
//!                                              value    one key
//!                                              address  listen, servers
//!                                              access   white_list, black_list
//!                                              commands which commands clients may say
//! ```
//!
//! What twemproxy reads is read the same. Quotes, lists in brackets and a leading `---` are
//! accepted beyond it; numbers that wrap there, and keys that are there twice, are faults here.
//!
//! **Knows nothing of:** sockets, workers, the command line.

mod access;
mod address;
mod check;
mod commands;
mod fault;
mod model;
mod outline;
mod raw;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use access::{Access, Network};
pub use commands::{CommandRules, Modules, Which};
pub use fault::{Fault, Faults, Place};
pub use model::{
    Config, Listen, ListenAddress, Pool, Protocol, ResolveError, Secret, Server, ServerAddress,
};

use crate::limits::CONFIG_BYTES_MAX;
use outline::Outline;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Faulty(#[from] Faults),
}

/// Reads and checks a file.
///
/// Errors: it cannot be read, or it has faults; those are all there.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let file_name = path.display().to_string();
    let bytes =
        read(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        let text = format!("is larger than the {CONFIG_BYTES_MAX} bytes that a file may have");
        return Err(Faults::new(&file_name, vec![Fault::of_file(Place::START, text)]).into());
    }
    let text = str::from_utf8(&bytes).map_err(|error| {
        let fault = Fault::of_file(place_after(&bytes[..error.valid_up_to()]), "is not UTF-8 text");
        Faults::new(&file_name, vec![fault])
    })?;
    Ok(parse(&file_name, text)?)
}

/// Checks the text of a file. `file_name` is for the faults.
///
/// Errors: every fault there is, or only the first when the text is not YAML.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Faults> {
    let faults = |list| Faults::new(file_name, list);
    // An editor's byte order mark is no part of the text, and has no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find(is_refused) {
        let text_before = &text.as_bytes()[..at];
        let fault =
            Fault::of_file(place_after(text_before), "is a control character, which is no text");
        return Err(faults(vec![fault]));
    }
    let outline = Outline::read(text).map_err(|fault| faults(vec![fault]))?;
    let no_pools = || faults(vec![Fault::of_file(Place::START, check::NO_POOLS)]);
    let outline = outline.ok_or_else(no_pools)?;
    let root = raw::read(text, &outline).map_err(|fault| faults(vec![fault]))?;
    match check::pools(&root) {
        (pools, list) if list.is_empty() => Ok(Config { pools }),
        (_, list) => Err(faults(list)),
    }
}

/// Reads one byte more than a file may have, and no more: it might be `/dev/zero`.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// YAML has no control characters but these. libyaml says so too, but not in which line.
fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
}

/// The place behind a text.
fn place_after(text: &[u8]) -> Place {
    let text = String::from_utf8_lossy(text);
    let line = text.split('\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place { line, col: last.chars().count() + 1 }
}
