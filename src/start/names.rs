//! The threads that look up names of servers, so that no worker waits for a name server.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use log::{info, warn};
use ringcracker::limits::LOOKUPS_MAX;
use ringcracker::sys::names;
use ringcracker::worker::Shared;

/// Starts them. They end with the process: a look-up cannot be called off.
///
/// Errors: there can be no more threads.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let unknown = Arc::new(Mutex::new(HashSet::new()));
    for number in 0..LOOKUPS_MAX {
        let (shared, unknown) = (Arc::clone(shared), Arc::clone(&unknown));
        let thread = std::thread::Builder::new().name(format!("names-{number}"));
        thread.spawn(move || {
            loop {
                look_up_next(&shared, &unknown);
            }
        })?;
    }
    Ok(())
}

/// Looks one host up, and says so in the log when it has lost its address, or has one again.
fn look_up_next(shared: &Shared, unknown: &Mutex<HashSet<String>>) {
    let host = shared.resolver().next();
    let found = names::look_up(&host);
    let mut unknown = unknown.lock().unwrap_or_else(PoisonError::into_inner);
    match &found {
        Ok(address) if unknown.remove(&host) => info!("host {host} is {} now", address.ip()),
        Ok(_) => {}
        Err(why) if unknown.insert(host.clone()) => warn!("no address for the host {host}: {why}"),
        Err(_) => {}
    }
    drop(unknown);
    shared.on_looked_up(&host, found.ok());
}
