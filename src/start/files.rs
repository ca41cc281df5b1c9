//! The names that a process has in the file system while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;
use ringcracker::sys::file_lock;

use crate::start::StartError;

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// Another process runs, and has it.
    #[error("process {pid} is running and has it")]
    Taken { pid: String },
    /// It cannot be opened, locked or written.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The file with the id of this process; removed when dropped, if it still is this process's.
///
/// A lock says whether its owner runs: an id alone may be that of another program by now. So what
/// nutcracker or a crash left behind is written over.
pub(crate) struct PidFile(Option<(PathBuf, File)>);

impl PidFile {
    /// Writes the process id, and a newline, to `path`; no path, no file.
    pub(crate) fn write(path: Option<&Path>) -> Result<Self, StartError> {
        let Some(path) = path else { return Ok(Self(None)) };
        match write_to(path) {
            Ok(file) => Ok(Self(Some((path.to_path_buf(), file)))),
            Err(why) => Err(StartError::PidFile { path: path.display().to_string(), why }),
        }
    }

    /// Lets another process take the file over: this one is about to end.
    pub(crate) fn let_go(&self) {
        if let Some((_, file)) = &self.0 {
            file_lock::unlock(file);
        }
    }
}

fn write_to(path: &Path) -> Result<File, PidFileError> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if !file_lock::try_lock(&file)? {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        return Err(PidFileError::Taken { pid: pid.trim().to_owned() });
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    Ok(file)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let Some((path, _)) = &self.0 else { return };
        let is_ours = fs::read_to_string(path)
            .is_ok_and(|text| text.trim() == std::process::id().to_string());
        if is_ours && let Err(why) = fs::remove_file(path) {
            warn!("pid file {} cannot be removed: {why}", path.display());
        }
    }
}

/// The name of a unix socket that this process listens on; removed when dropped, if it still is
/// that socket's.
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    /// The name of a socket that was bound just now; none if it has gone already.
    pub(crate) fn find(path: PathBuf) -> Option<Self> {
        let id = id_of(&path)?;
        Some(Self { path, id })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id_of(&self.path) == Some(self.id)
            && let Err(why) = fs::remove_file(&self.path)
        {
            warn!("socket {} cannot be removed: {why}", self.path.display());
        }
    }
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
