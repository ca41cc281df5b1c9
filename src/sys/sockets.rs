//! Sockets before they are handed to a ring, and the one call that is made beside it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::io::{Errno, Fd, How, KeepAlive};

/// Where a pool listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenOn {
    /// TCP over IPv4 or IPv6. Port 0 takes a free one, which `local_port` tells.
    Inet(SocketAddr),
    /// A unix stream socket.
    Unix {
        /// Its name in the file system, at most 107 bytes.
        path: PathBuf,
        /// The permissions of that name; `None` leaves what the umask makes of them.
        mode: Option<u32>,
    },
}

/// What a listening socket may do besides listening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// `SO_REUSEPORT`: another process may listen on the same port, as for a hand-over.
    pub reuseport: bool,
    /// How connections that come in are probed, if at all.
    pub keepalive: Option<KeepAlive>,
}

/// A socket that has its address and does not listen yet: whoever connects is refused, as if there
/// were none.
#[derive(Debug)]
pub struct Bound(Socket);

/// Takes an address, to listen on it later. The socket is non-blocking and close-on-exec.
///
/// What is set on a TCP listener is inherited by the connections it accepts (tcp(7)), so
/// `TCP_NODELAY` and keep-alive cost no call per connection. A name that a socket of an
/// earlier run left behind is removed; one that somebody listens on, and a file of any other kind,
/// are not.
///
/// Errors: `EADDRINUSE` (also: a file that is no socket has the name), `EACCES`, `EADDRNOTAVAIL`,
/// `EMFILE`, and what else socket(2), bind(2), chmod(2) have.
pub fn bind(address: &ListenOn, options: ListenOptions) -> io::Result<Bound> {
    match address {
        ListenOn::Inet(address) => bind_inet(*address, options),
        ListenOn::Unix { path, mode } => bind_unix(path, *mode),
    }
    .map(Bound)
}

impl Bound {
    /// Lets clients connect; `backlog` of them may wait to be accepted (the kernel cuts it to
    /// `net.core.somaxconn`).
    ///
    /// Errors: `EADDRINUSE`: of two that were bound to one port another was faster.
    pub fn listen(self, backlog: u32) -> io::Result<Fd> {
        Ok(Fd(self.start(backlog)?.into_raw_fd()))
    }

    /// The same for a thread of its own: accepts on the socket wait.
    ///
    /// Errors: as for `listen`.
    pub fn listen_blocking(self, backlog: u32) -> io::Result<Socket> {
        let socket = self.start(backlog)?;
        socket.set_nonblocking(false)?;
        Ok(socket)
    }

    fn start(self, backlog: u32) -> io::Result<Socket> {
        self.0.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(self.0)
    }
}

/// `bind`, and `listen` at once.
///
/// Errors: theirs.
pub fn listen(address: &ListenOn, backlog: u32, options: ListenOptions) -> io::Result<Fd> {
    bind(address, options)?.listen(backlog)
}

/// Closes a descriptor that was never handed to a ring.
pub fn close(fd: Fd) {
    // SAFETY: `io::Fd` says that who opened it closes it, and the caller, who gives `fd` up here,
    // is that one: nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd.0) });
}

/// The TCP port that a socket is bound to; `None` for another kind of socket.
pub fn local_port(fd: Fd) -> Option<u16> {
    // SAFETY: the caller holds `fd` open, and the borrow ends with this function.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.0) };
    SockRef::from(&borrowed).local_addr().ok()?.as_socket().map(|address| address.port())
}

/// Makes a stream socket to connect to `address` with, non-blocking and close-on-exec; over TCP
/// with `TCP_NODELAY`, as requests are sent whole and must not wait for more.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`, `EAFNOSUPPORT`.
pub fn for_connect(address: &SockAddr) -> Result<Fd, Errno> {
    let made = new_socket(address.domain()).and_then(|socket| {
        if address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Fd(socket.into_raw_fd()))
    });
    made.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// Shuts down one or both directions of a socket; what comes of it is seen at the socket.
pub fn shutdown(fd: Fd, how: How) {
    let how = match how {
        How::Write => libc::SHUT_WR,
        How::Both => libc::SHUT_RDWR,
    };
    // ENOTCONN is what it says of a socket whose peer has gone, and all that can be expected.
    // SAFETY: shutdown(2) takes two numbers and touches no memory of ours.
    unsafe { libc::shutdown(fd.0, how) };
}

/// Has a TCP connection probed. What the kernel refuses is left as the system has it.
pub fn keep_alive(fd: Fd, how: KeepAlive) {
    // SAFETY: the caller holds `fd` open, and the borrow ends with this function.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.0) };
    if let Err(why) = SockRef::from(&borrowed).set_tcp_keepalive(&parameters(how)) {
        log::debug!("no keep-alive: {why}");
    }
}

/// The address at the other end of a connection; `None` when it is no IP connection, or is gone.
pub fn peer(fd: Fd) -> Option<IpAddr> {
    // SAFETY: the caller holds `fd` open, and the borrow ends with this function.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.0) };
    SockRef::from(&borrowed).peer_addr().ok()?.as_socket().map(|address| address.ip())
}

/// Says `words` to a connection, as far as it takes them at once, and closes it.
///
/// What the peer has sent already is not read, and then the close resets the connection and may
/// destroy the words: as with Redis, who is refused may see either.
pub fn refuse(fd: Fd, words: &[u8]) {
    // SAFETY: as in `close`, the caller gives `fd` up, and nothing else owns it.
    let socket = unsafe { Socket::from_raw_fd(fd.0) };
    // The connection is new and its send buffer empty. If it fails, the peer has gone.
    let _ = socket.send(words);
}

fn parameters(how: KeepAlive) -> TcpKeepalive {
    let mut parameters = TcpKeepalive::new();
    if let Some(idle) = how.idle {
        parameters = parameters.with_time(idle);
    }
    if let Some(interval) = how.interval {
        parameters = parameters.with_interval(interval);
    }
    if let Some(count) = how.count {
        parameters = parameters.with_retries(count);
    }
    parameters
}

fn bind_inet(address: SocketAddr, options: ListenOptions) -> io::Result<Socket> {
    let socket = new_socket(Domain::for_address(address))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuseport)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(how) = options.keepalive {
        socket.set_tcp_keepalive(&parameters(how))?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds, then sets the mode. Until `listen` follows, every connect is refused, so nobody comes
/// in through the permissions in between, and the process's umask needs no touching.
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        remove_stale(path, &address)?;
    }
    let socket = new_socket(Domain::UNIX)?;
    socket.bind(&address)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(socket)
}

/// Removes the name of a socket that nobody listens on, which a connect tells by its refusal.
/// Whatever else the connect says (a full backlog is `EAGAIN`), the name is somebody's.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    match new_socket(Domain::UNIX)?.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

fn new_socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn accept(fd: Fd) -> Socket {
        // SAFETY: the test holds `fd` open beyond the borrow.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd.0) };
        let listener = SockRef::from(&borrowed);
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap().0
    }

    #[test]
    fn accepted_connections_inherit_nodelay_and_keepalive() {
        let seconds = |count| Some(std::time::Duration::from_secs(count));
        let how = KeepAlive { idle: seconds(32_767), interval: seconds(7), count: Some(127) };
        for keepalive in [None, Some(KeepAlive::default()), Some(how)] {
            let options = ListenOptions { reuseport: false, keepalive };
            let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
            let fd = listen(&any, 16, options).unwrap();
            let port = local_port(fd).unwrap();
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let accepted = accept(fd);
            assert!(accepted.tcp_nodelay().unwrap());
            assert_eq!(accepted.keepalive().unwrap(), keepalive.is_some());
            if keepalive == Some(how) {
                assert_eq!(accepted.tcp_keepalive_time().ok(), how.idle);
                assert_eq!(accepted.tcp_keepalive_interval().ok(), how.interval);
                assert_eq!(accepted.tcp_keepalive_retries().ok(), how.count);
            }
            close(fd);
        }
    }

    #[test]
    fn a_port_in_use_is_refused_unless_both_reuse_it() {
        let options = ListenOptions { reuseport: true, keepalive: None };
        let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
        let first = listen(&any, 16, options).unwrap();
        let same = ListenOn::Inet(([127, 0, 0, 1], local_port(first).unwrap()).into());
        let error = listen(&same, 16, ListenOptions::default()).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        close(listen(&same, 16, options).unwrap());
        close(first);
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = ListenOn::Unix { path: path.clone(), mode: Some(0o640) };
        let early = bind(&address, ListenOptions::default()).map(|_| UnixStream::connect(&path));
        assert!(early.unwrap().is_err(), "nobody comes before the mode is set");
        let fd = listen(&address, 16, ListenOptions::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(local_port(fd), None);
        UnixStream::connect(&path).unwrap();
        close(fd);
    }

    #[test]
    fn a_unix_socket_that_somebody_listens_on_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = ListenOn::Unix { path: path.clone(), mode: None };
        let fd = listen(&address, 1, ListenOptions::default()).unwrap();
        // The later tries find a full backlog: one place, and one more that Linux adds.
        for _ in 0..4 {
            let error = listen(&address, 1, ListenOptions::default()).expect_err("in use");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        drop(accept(fd));
        let _client = UnixStream::connect(&path).unwrap();
        close(fd);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, b"data").unwrap();
        let address = ListenOn::Unix { path: path.clone(), mode: None };
        let error = listen(&address, 16, ListenOptions::default()).expect_err("name taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }
}
