//! What the configuration can say and the program cannot do yet.
//!
//! A key that is read and ignored would be a promise that nobody keeps, so it is a fault.

use super::model::{Pool, Protocol};

/// Calls `fault` with the key and a text for each setting of `pool` that has no effect yet.
pub fn check(pool: &Pool, mut fault: impl FnMut(&'static str, &'static str)) {
    if pool.protocol == Protocol::Memcache {
        fault("redis", "memcached pools are not served yet; set redis: true");
    }
}
