//! Names of hosts. The one call here that may take its time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The first address that the system's resolver gives for a host, with port 0. Blocks while it
/// asks: some seconds, when a name server does not answer (resolv.conf(5), `timeout`).
///
/// Errors: the name is not known, or the resolver cannot be asked.
pub fn look_up(host: &str) -> io::Result<SocketAddr> {
    let first = (host, 0).to_socket_addrs()?.next();
    first.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_address_is_its_own_answer() {
        for (host, expected) in [("127.0.0.1", "127.0.0.1:0"), ("::1", "[::1]:0")] {
            assert_eq!(
                look_up(host).map(|address| address.to_string()).ok(),
                Some(expected.into())
            );
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_not_known() {
        assert!(look_up("no such host").is_err());
    }
}
