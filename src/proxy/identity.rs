//! Who a client is: what it has said of itself, and what others are told of it.

use crate::io::{Address, Ends};
use crate::proxy::client::{Account, Client, Phase};
use crate::proxy::private::Errand;
use crate::proxy::subscribe::Subscriptions;
use crate::proxy::watch::Watch;
use crate::time::Instant;

/// What is known of a client beside what it is owed.
pub(crate) struct Identity {
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) since: Instant,
    /// When its last request came.
    pub(crate) seen: Instant,
    /// The name of that command.
    pub(crate) command: &'static str,
    /// The database that it has selected.
    pub(crate) database: u32,
    /// What it has told, and what others have asked for: most clients have nothing of it.
    details: Option<Box<Details>>,
}

#[derive(Default)]
struct Details {
    name: Vec<u8>,
    library: Vec<u8>,
    library_version: Vec<u8>,
    place: Option<Place>,
}

/// Where a client's connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    fd: i32,
    /// As `127.0.0.1:50188`; of a unix socket, its path and `:0`.
    pub(crate) peer: String,
    pub(crate) local: String,
    is_unix: bool,
}

/// What CLIENT SETINFO sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Library,
    LibraryVersion,
}

impl Identity {
    pub(crate) fn new(id: u64, now: Instant) -> Self {
        Self { id, since: now, seen: now, command: "NULL", database: 0, details: None }
    }

    /// A request of it has come.
    #[inline]
    pub(crate) fn note(&mut self, now: Instant, command: &'static str) {
        self.seen = now;
        self.command = command;
    }

    /// Its name; empty: it has none.
    pub(crate) fn name(&self) -> &[u8] {
        self.details.as_ref().map_or(b"", |details| &details.name)
    }

    pub(crate) fn set_name(&mut self, name: &[u8]) {
        if !name.is_empty() || self.details.is_some() {
            self.details().name = name.to_owned();
        }
    }

    pub(crate) fn set_attribute(&mut self, what: Attribute, value: &[u8]) {
        let details = self.details();
        match what {
            Attribute::Library => details.library = value.to_owned(),
            Attribute::LibraryVersion => details.library_version = value.to_owned(),
        }
    }

    /// Where it is, once the worker has said so.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.details.as_ref()?.place.as_ref()
    }

    pub(crate) fn set_place(&mut self, fd: i32, ends: &Ends) {
        self.details().place = Some(Place::new(fd, ends));
    }

    /// Bytes on the heap.
    fn bytes(&self) -> usize {
        let Some(details) = &self.details else { return 0 };
        let Details { name, library, library_version, place } = &**details;
        let place = place.as_ref().map_or(0, |place| place.peer.len() + place.local.len());
        size_of::<Details>() + name.len() + library.len() + library_version.len() + place
    }

    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }
}

impl Place {
    fn new(fd: i32, ends: &Ends) -> Self {
        let is_unix = matches!(&ends.local, Some(Address::Unix(_)));
        let text = |end: &Option<Address>| match end {
            Some(Address::Inet(address)) => address.to_string(),
            Some(Address::Unix(path)) => format!("{}:0", path.display()),
            None => "?:0".to_owned(),
        };
        let local = text(&ends.local);
        // The other end of a unix socket has no name: Redis shows the socket's own.
        let peer = if is_unix { local.clone() } else { text(&ends.peer) };
        Self { fd, peer, local, is_unix }
    }

    /// The port that the client has connected to; 0 for a unix socket.
    pub(crate) fn port(&self) -> u16 {
        if self.is_unix {
            return 0;
        }
        self.local.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0)
    }
}

/// The line about a client in CLIENT LIST, without its end. Fields and order are those of redis
/// 7.2 (`networking.c`, `catClientInfoString`); what the proxy has nothing of is zero.
pub(crate) fn line(client: &Client, now: Instant) -> String {
    let Account { identity, output, version, .. } = &client.account;
    let nowhere = Place::default();
    let place = identity.place().unwrap_or(&nowhere);
    let details = identity.details.as_deref();
    let text = |field: fn(&Details) -> &[u8]| {
        details.map_or_else(String::new, |it| String::from_utf8_lossy(field(it)).into_owned())
    };
    let (input, owed) = (client.input.held(), client.account.owed());
    let memory = size_of::<Client>() + identity.bytes() + input + owed;
    let subscriptions = client.account.subscriptions.as_deref();
    let [channels, patterns, shards] = subscriptions.map_or([0; 3], Subscriptions::counts);
    let transaction = &client.account.transaction;
    let multi = transaction.held_count().map_or_else(|| "-1".to_owned(), |held| held.to_string());
    let (multi_bytes, watched) = (transaction.held_bytes(), transaction.watch.keys());
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={channels} \
         psub={patterns} ssub={shards} multi={multi} watch={watched} qbuf={input} qbuf-free=0 \
         argv-mem=0 multi-mem={multi_bytes} rbs=0 rbp=0 obl={} oll=0 \
         omem={owed} tot-mem={memory} events={} cmd={} user=default redir=-1 resp={} \
         lib-name={} lib-ver={}",
        identity.id,
        place.peer,
        place.local,
        place.fd,
        text(|it| &it.name),
        (now - identity.since).as_secs(),
        (now - identity.seen).as_secs(),
        flags(client, place),
        identity.database,
        output.len(),
        if client.account.due() > 0 { "rw" } else { "r" },
        identity.command,
        version.number(),
        text(|it| &it.library),
        text(|it| &it.library_version),
    )
}

/// As Redis has them, and in its order.
fn flags(client: &Client, place: &Place) -> String {
    let Account { subscriptions, transaction, errand, phase, .. } = &client.account;
    let flags: String = [
        ('P', subscriptions.as_ref().is_some_and(|all| !all.is_empty())),
        ('x', transaction.is_open()),
        ('b', matches!(errand, Errand::Wait { .. })),
        ('d', transaction.watch == Watch::Lost),
        ('c', matches!(phase, Phase::Draining(_))),
        ('U', place.is_unix),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// Whether a client may call itself, or its library, this. Source: redis `networking.c`,
/// `validateClientAttr`.
pub(crate) fn is_fit_to_print(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Protocol;

    #[test]
    fn a_line_has_what_is_known_and_stays_one_line() {
        let mut client = Client::new(0, 0, Protocol::Resp);
        client.account.identity = Identity::new(7, Instant::from_nanos(1_000_000_000));
        let identity = &mut client.account.identity;
        identity.set_name(b"me");
        identity.set_attribute(Attribute::Library, b"lib(x)");
        let peer = Some(Address::Inet("127.0.0.1:5000".parse().unwrap()));
        let local = Some(Address::Inet("[::1]:6379".parse().unwrap()));
        identity.set_place(9, &Ends { peer, local });
        identity.note(Instant::from_nanos(3_000_000_000), "get");
        assert_eq!(identity.place().unwrap().port(), 6379);
        let line = line(&client, Instant::from_nanos(4_500_000_000));
        assert!(line.starts_with(
            "id=7 addr=127.0.0.1:5000 laddr=[::1]:6379 fd=9 name=me age=3 idle=1 flags=N db=0 "
        ));
        assert!(line.contains(" cmd=get user=default redir=-1 resp=2 lib-name=lib(x) lib-ver="));
    }

    #[test]
    fn a_unix_socket_is_shown_with_its_path_at_both_ends() {
        let ends = Ends { peer: None, local: Some(Address::Unix("/tmp/s".into())) };
        let place = Place::new(3, &ends);
        assert_eq!((place.peer.as_str(), place.local.as_str()), ("/tmp/s:0", "/tmp/s:0"));
        assert_eq!((place.port(), place.is_unix), (0, true));
    }
}
