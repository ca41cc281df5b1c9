//! The names that a process has in the file system while it runs.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use log::warn;
use ringcracker::sys::file_lock;

use crate::start::StartError;
use crate::start::listen::patiently;

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// Another process runs, and has it.
    #[error("process {pid} is running and has it")]
    Taken { pid: String },
    /// It was removed while it was locked: its owner ended in that moment.
    #[error("it is removed again and again")]
    Removed,
    /// It cannot be opened, locked or written.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The file with the id of this process; removed when dropped, if it still is this process's.
///
/// ```text
///   take: lock --> write: the id --> let_go: unlock --> drop: lock again, remove
///           |                                             +-- a successor has the lock: leave it
///           +-- dropped, the start failed: what it says stays; one that says nothing is removed
/// ```
///
/// A lock says whether its owner runs: an id alone may be that of another program by now. So what
/// nutcracker or a crash left behind is written over.
pub(crate) struct PidFile(Option<Taken>);

/// A file that is locked, until it is let go.
struct Taken {
    path: PathBuf,
    file: File,
    /// What it says if it is ours; nothing until it is written.
    text: String,
}

impl PidFile {
    /// Makes `path` this process's, and leaves what it says; no path, no file. An owner that ends
    /// in these moments is waited for.
    pub(crate) fn take(path: Option<&Path>) -> Result<Self, StartError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let is_passing = |why: &PidFileError| match why {
            PidFileError::Taken { .. } | PidFileError::Removed => true,
            PidFileError::System(_) => false,
        };
        let file =
            patiently(|| open_and_lock(path), is_passing).map_err(|why| failed(path, why))?;
        Ok(Self(Some(Taken { path: path.to_path_buf(), file, text: String::new() })))
    }

    /// Writes the process id, and a newline.
    pub(crate) fn write(&mut self) -> Result<(), StartError> {
        let Some(taken) = &mut self.0 else { return Ok(()) };
        taken.write().map_err(|why| failed(&taken.path, why.into()))
    }

    /// Lets another process take the file over: this one is about to end.
    pub(crate) fn let_go(&self) {
        if let Some(taken) = &self.0 {
            file_lock::unlock(&taken.file);
        }
    }
}

fn failed(path: &Path, why: PidFileError) -> StartError {
    StartError::PidFile { path: path.display().to_string(), why }
}

impl Taken {
    fn write(&mut self) -> io::Result<()> {
        self.text = format!("{}\n", std::process::id());
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        self.file.write_all(self.text.as_bytes())
    }

    /// Whether it is for this process to remove: it is locked, still has its name, and says what
    /// this process wrote.
    fn is_ours(&mut self) -> io::Result<bool> {
        if !self.file.metadata()?.is_file() || !file_lock::try_lock(&self.file)? {
            return Ok(false);
        }
        let mut text = String::new();
        self.file.rewind()?;
        self.file.read_to_string(&mut text)?;
        Ok(text == self.text && is_at(&self.file, &self.path)?)
    }
}

/// Opens the file and locks it. A device, such as `/dev/null`, is nobody's.
fn open_and_lock(path: &Path) -> Result<File, PidFileError> {
    let mut options = OpenOptions::new();
    // Whatever the umask allows, nobody else may write which process is to be stopped.
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o644).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    if !file_lock::try_lock(&file)? {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        return Err(PidFileError::Taken { pid: pid.trim().to_owned() });
    }
    // Between the open and the lock its owner may have removed it: the lock is of no use then.
    if is_at(&file, path)? { Ok(file) } else { Err(PidFileError::Removed) }
}

/// Whether the open file is the one that has the name now.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(named) => Ok(id(&named) == id(&file.metadata()?)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let Some(taken) = &mut self.0 else { return };
        let removed = taken.is_ours().and_then(|is_ours| match is_ours {
            true => fs::remove_file(&taken.path),
            false => Ok(()),
        });
        if let Err(why) = removed {
            warn!("pid file {} cannot be removed: {why}", taken.path.display());
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
    pub(crate) fn find(path: &Path) -> Option<Self> {
        let id = id_of(path)?;
        Some(Self { path: path.to_path_buf(), id })
    }

    /// Its path, if another process has it by now: one that starts in the same moment takes a
    /// socket that does not listen yet for one that was left behind.
    pub(crate) fn lost(&self) -> Option<&Path> {
        (id_of(&self.path) != Some(self.id)).then_some(&self.path)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.lost().is_none()
            && let Err(why) = fs::remove_file(&self.path)
        {
            warn!("socket {} cannot be removed: {why}", self.path.display());
        }
    }
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().as_ref().map(id)
}

/// What tells a file from all others, as long as it exists.
fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn take(path: &Path) -> PidFile {
        PidFile::take(Some(path)).unwrap()
    }

    fn own() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn a_file_that_is_taken_says_what_it_said_until_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "1 and more").unwrap();
        drop(take(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1 and more");
        let mut taken = take(&path);
        taken.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        drop(taken);
        assert!(!path.exists());
        // One that was only made is not left behind.
        let taken = take(&path);
        assert!(path.exists());
        drop(taken);
        assert!(!path.exists());
    }

    #[test]
    fn who_lets_go_removes_it_unless_another_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut first = take(&path);
        first.write().unwrap();
        first.let_go();
        // It has not written its own yet, so what the file says is still the first's.
        let mut second = take(&path);
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        second.write().unwrap();
        second.let_go();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_lost_its_name_is_not_taken_for_the_one_that_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut first = take(&path);
        first.write().unwrap();
        fs::remove_file(&path).unwrap();
        let Some(Taken { file, .. }) = &first.0 else { panic!("it has a path") };
        assert!(!is_at(file, &path).unwrap());
        // The same words in another file are another's: it is locked by nobody else.
        fs::write(&path, own()).unwrap();
        assert!(!is_at(file, &path).unwrap());
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
    }

    #[test]
    fn a_socket_whose_name_another_took_is_lost_and_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _first = UnixListener::bind(&path).unwrap();
        let socket = SocketFile::find(&path).unwrap();
        assert_eq!(socket.lost(), None);
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        assert_eq!(socket.lost(), Some(path.as_path()));
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_device_is_written_and_stays() {
        let mut taken = take(Path::new("/dev/null"));
        let mut second = take(Path::new("/dev/null"));
        taken.write().unwrap();
        second.write().unwrap();
        drop(taken);
        assert!(Path::new("/dev/null").exists());
    }
}
