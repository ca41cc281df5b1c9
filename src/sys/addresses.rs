//! Where the two ends of a connection are.

use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef};

use crate::io::{Address, Ends, Fd};

/// The addresses of a connection's ends; what the kernel does not know is left out.
pub fn ends(fd: Fd) -> Ends {
    // SAFETY: the caller holds `fd` open, and the borrow ends with this function.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.0) };
    let socket = SockRef::from(&borrowed);
    let known = |address: std::io::Result<SockAddr>| known(&address.ok()?);
    Ends { peer: known(socket.peer_addr()), local: known(socket.local_addr()) }
}

fn known(address: &SockAddr) -> Option<Address> {
    if let Some(inet) = address.as_socket() {
        return Some(Address::Inet(inet));
    }
    address.as_pathname().map(|path| Address::Unix(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn both_ends_of_a_tcp_connection_have_an_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let (socket, from) = listener.accept().unwrap();
        let found = ends(Fd(socket.as_raw_fd()));
        assert_eq!(found.peer, Some(Address::Inet(from)));
        assert_eq!(found.local, Some(Address::Inet(at)));
        assert_eq!(client.local_addr().unwrap(), from);
    }

    #[test]
    fn a_unix_socket_has_a_path_at_our_end_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let found = ends(Fd(socket.as_raw_fd()));
        assert_eq!(found, Ends { peer: None, local: Some(Address::Unix(path)) });
    }

    #[test]
    fn what_is_no_socket_has_no_ends() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(ends(Fd(file.as_raw_fd())), Ends::default());
    }
}
