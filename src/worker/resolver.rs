//! Host names of servers that are looked up, and who waits for their addresses.
//!
//! ```text
//!   worker --ask--> [hosts in turn] --next--> a thread of the resolver: getaddrinfo(3) blocks
//!     ^                                                         |
//!     +--Mail::Resolved, to all who asked for the host----answer+
//! ```
//!
//! A host is asked for once at a time, however many wait for it. Who asks again, for a later use
//! of the same slot, takes its own earlier place: so there are never more places than slots for
//! server connections, which the configuration bounds.
//!
//! **Knows nothing of:** how names are looked up. The simulation answers in its own way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::token::Key;

/// What is asked, and by whom. Used by all workers and by the threads that look names up.
#[derive(Default)]
pub struct Resolver {
    state: Mutex<State>,
    /// Rung when a host has come to the queue.
    bell: Condvar,
}

/// Who is to get an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The worker.
    pub worker: usize,
    /// Its slot for a server connection.
    pub key: Key,
    /// The port to put into the address.
    pub port: u16,
}

/// A worker, and the index of a slot of its server connections.
type Place = (usize, u32);

#[derive(Default)]
struct State {
    /// Hosts that nobody has taken to look up. Each is in `hosts` too.
    queue: VecDeque<String>,
    /// Who waits for each host that is queued or being looked up.
    hosts: BTreeMap<String, BTreeSet<Place>>,
    /// What waits at each place: it is in the set of this host, and of no other.
    askers: BTreeMap<Place, (Asker, String)>,
}

impl Resolver {
    /// Has the address of `host` sent to `asker`. An earlier question of the same slot is void.
    pub fn ask(&self, asker: Asker, host: &str) {
        let place = (asker.worker, asker.key.index);
        let mut state = self.state();
        if let Some((_, earlier)) = state.askers.insert(place, (asker, host.to_owned()))
            && let Some(places) = state.hosts.get_mut(&earlier)
        {
            places.remove(&place);
        }
        if let Some(places) = state.hosts.get_mut(host) {
            places.insert(place);
            return;
        }
        state.hosts.insert(host.to_owned(), BTreeSet::from([place]));
        state.queue.push_back(host.to_owned());
        drop(state);
        self.bell.notify_one();
    }

    /// The next host to look up; `answer` is owed for it.
    pub fn try_next(&self) -> Option<String> {
        self.state().next()
    }

    /// As `try_next`; waits until there is one.
    pub fn next(&self) -> String {
        let mut state = self.state();
        loop {
            if let Some(host) = state.next() {
                return host;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the look-up of `host`. Returns who is to get `found`, each with its own port.
    pub fn answer(
        &self,
        host: &str,
        found: Option<SocketAddr>,
    ) -> Vec<(Asker, Option<SocketAddr>)> {
        let mut state = self.state();
        let places = state.hosts.remove(host).unwrap_or_default();
        let askers = places.into_iter().filter_map(|place| state.askers.remove(&place));
        let with_port = |port, mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        askers
            .map(|(asker, _)| (asker, found.map(|address| with_port(asker.port, address))))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Passes over hosts that nobody waits for any more.
    fn next(&mut self) -> Option<String> {
        loop {
            let host = self.queue.pop_front()?;
            if self.hosts.get(&host).is_some_and(|places| !places.is_empty()) {
                return Some(host);
            }
            self.hosts.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Role;

    fn asker(worker: usize, index: u32, generation: u32) -> Asker {
        Asker { worker, key: Key::new(Role::Server, index, generation), port: 6379 }
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn all_who_ask_for_a_host_get_one_answer_with_their_own_ports() {
        let resolver = Resolver::default();
        resolver.ask(asker(0, 1, 0), "a");
        resolver.ask(Asker { port: 7000, ..asker(1, 1, 0) }, "a");
        assert_eq!(resolver.try_next().as_deref(), Some("a"));
        resolver.ask(asker(0, 2, 0), "a");
        assert_eq!(resolver.try_next(), None, "it is being looked up");
        let answers = resolver.answer("a", address("10.0.0.1:0"));
        let expected = [
            (asker(0, 1, 0), address("10.0.0.1:6379")),
            (asker(0, 2, 0), address("10.0.0.1:6379")),
            (Asker { port: 7000, ..asker(1, 1, 0) }, address("10.0.0.1:7000")),
        ];
        assert_eq!(answers, expected);
        resolver.ask(asker(0, 1, 1), "a");
        assert_eq!(resolver.try_next().as_deref(), Some("a"), "and again at the next connect");
    }

    #[test]
    fn a_slots_later_question_takes_the_place_of_its_earlier_one() {
        let resolver = Resolver::default();
        for generation in 0..1000 {
            resolver.ask(asker(0, 1, generation), "slow");
        }
        assert_eq!(resolver.try_next().as_deref(), Some("slow"));
        resolver.ask(asker(0, 1, 1000), "b");
        resolver.ask(asker(0, 2, 0), "slow");
        assert_eq!(resolver.answer("slow", None), [(asker(0, 2, 0), None)]);
        assert_eq!(resolver.try_next().as_deref(), Some("b"));
        assert_eq!(resolver.answer("b", None), [(asker(0, 1, 1000), None)]);
        assert!(resolver.state().askers.is_empty());
    }

    #[test]
    fn a_host_that_nobody_waits_for_is_not_looked_up() {
        let resolver = Resolver::default();
        resolver.ask(asker(0, 1, 0), "a");
        resolver.ask(asker(0, 1, 1), "b");
        assert_eq!(resolver.try_next().as_deref(), Some("b"));
        resolver.ask(asker(0, 2, 0), "a");
        assert_eq!(resolver.try_next().as_deref(), Some("a"));
    }
}
