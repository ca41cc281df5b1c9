//! What the configuration can say and the program cannot do yet.
//!
//! A key that is read and ignored would be a promise that nobody keeps, so it is a fault.

use super::model::Pool;

/// Calls `fault` with the key and a text for each setting of `pool` that has no effect yet.
pub fn check(pool: &Pool, mut fault: impl FnMut(&'static str, &'static str)) {
    if pool.redis_auth.is_some() {
        fault("redis_auth", "is not supported yet; leave it out");
    }
    if pool.redis_db > 0 {
        fault("redis_db", "is not supported yet; leave it out, or write 0");
    }
    if pool.auto_eject_hosts {
        fault("auto_eject_hosts", "is not supported yet; leave it out, or write false");
    }
}
