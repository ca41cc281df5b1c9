//! Who is let in.

use crate::proto::Protocol;
use crate::proxy::reject;

/// How many clients there are, and may be.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// Clients of all pools and workers.
    pub clients: usize,
    /// How many the process's descriptors allow.
    pub clients_max: usize,
    /// Clients of this pool, on all workers.
    pub pool_clients: usize,
    /// What the pool speaks.
    pub protocol: Protocol,
    /// The pool's `client_connections`, if it has one.
    pub pool_clients_max: Option<u32>,
}

impl Occupancy {
    /// Whether one more may come in.
    ///
    /// Errors: what it is to be told, in Redis's or memcached's words.
    pub fn admit(self) -> Result<(), &'static [u8]> {
        let pool_is_full =
            self.pool_clients_max.is_some_and(|max| self.pool_clients >= max as usize);
        if self.clients >= self.clients_max || pool_is_full {
            return Err(reject::too_many_clients(self.protocol));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::reject::TOO_MANY_CLIENTS;

    #[test]
    fn the_last_place_is_given_and_the_next_client_refused() {
        let at = |clients, pool_clients| Occupancy {
            clients,
            clients_max: 10,
            pool_clients,
            protocol: Protocol::Resp,
            pool_clients_max: Some(3),
        };
        assert!(at(9, 2).admit().is_ok());
        assert_eq!(at(10, 0).admit(), Err(TOO_MANY_CLIENTS));
        assert_eq!(at(3, 3).admit(), Err(TOO_MANY_CLIENTS));
        let memcache = Occupancy { protocol: Protocol::Memcache, ..at(3, 3) };
        assert_eq!(memcache.admit(), Err(&b"ERROR Too many open connections\r\n"[..]));
        assert!(Occupancy { pool_clients_max: None, ..at(3, 9) }.admit().is_ok());
    }
}
