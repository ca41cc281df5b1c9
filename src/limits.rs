//! Every number that bounds something, with its unit and its reason.
//!
//! What an operator may need to change is also a field of `Limits`, which a worker is given; the
//! simulator gives small ones. The rest are constants, with their relations asserted below.

use std::time::Duration;

/// Bytes of one bulk string, as Redis's `proto-max-bulk-len`.
pub const BULK_BYTES_MAX: u64 = 512 << 20;

/// Arguments of one request, as Redis before 7 (`networking.c`, 1024*1024). Nothing is reserved
/// by a declared count: memory is used as bytes arrive.
pub const ARGUMENTS_MAX: u64 = 1 << 20;

/// Arguments of a request, and bytes of each, from a client that has not said its pool's password:
/// enough to say it (`networking.c` of redis 7.0, after CVE-2021-32675). Together they are less
/// than the 1 MiB of all its bytes that Redis keeps of such a client.
pub const STRANGER_ARGUMENTS_MAX: u64 = 10;

/// As above, of each argument.
pub const STRANGER_BULK_BYTES_MAX: u64 = 16 << 10;

/// Bytes of replies that such a client has not taken; beyond, it is not parsed. Redis has a fixed
/// buffer of as many for each client, and closes a stranger that needs more (CVE-2025-21605).
pub const STRANGER_OUTPUT_BYTES_MAX: usize = 16 << 10;

/// Bytes of one whole request, as Redis's `client-query-buffer-limit`. Offsets in a request are
/// 32 bits wide.
pub const REQUEST_BYTES_MAX: u64 = 1 << 30;

/// Bytes of an inline request, and of a head that has not ended, as Redis's
/// `PROTO_INLINE_MAX_SIZE`.
pub const INLINE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a memcached key (`KEY_MAX_LENGTH` of memcached 1.6).
pub const MEMCACHE_KEY_BYTES_MAX: usize = 250;

/// Bytes of a line of the memcached protocol: memcached closes a connection that sends more than
/// 2048 without an end, unless they are a multi-get.
pub const MEMCACHE_LINE_BYTES_MAX: usize = 2048;

/// Bytes of the line of a get or gets: four thousand of the longest keys. memcached has no limit.
pub const MEMCACHE_GET_BYTES_MAX: usize = 1 << 20;

/// Bytes of a client that may not be parsed yet, beyond which it is not read any more. Stopping
/// and starting a receive costs two submissions, so it is not done for less.
pub const STASH_BYTES_MAX: usize = 64 << 10;

/// Emptied chains that a worker keeps for the next output, of `SPARE_CHAIN_BYTES_MAX` each.
pub const SPARE_CHAINS_MAX: usize = 64;

/// Bytes of a request whose arguments the proxy itself looks at, all together: they are copied, and
/// nobody else of the worker is served meanwhile. The longest that makes sense lists some thousand
/// clients.
pub const LOCAL_REQUEST_BYTES_MAX: usize = 64 << 10;

/// Names in one COMMAND INFO or DOCS, more than there are. What is told of a command of many
/// subcommands is some hundred times as long as its name.
pub const COMMAND_NAMES_MAX: usize = 512;

/// Bytes of a pattern that the proxy itself looks at: the time that it takes is its length times
/// that of all names.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Patterns in one CONFIG GET, more than there are values.
pub const PATTERNS_MAX: usize = 32;

/// Bytes that a worker keeps for the next reply of its own.
pub const WORDS_BYTES_KEPT: usize = 64 << 10;

/// Bytes of a client's name, of its library's and of that one's version. They are kept as long as
/// the client is there, and CLIENT LIST tells them of all clients at once.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Private connections that a worker keeps for each pool when no client has them.
pub const PRIVATE_KEPT_MAX: usize = 16;

/// How long it keeps each of them. A burst of transactions needs no connect for each; a server's
/// `maxclients` is for others too.
pub const PRIVATE_KEPT_TIME: Duration = Duration::from_secs(30);

/// Private connections of a pool, all workers together, unless the configuration says otherwise.
pub const PRIVATE_CONNECTIONS_MAX: u32 = 1024;

/// Keys of a client that waits, watches or has requests held, whose places are known. With more of
/// them any change of the pool's live servers counts as one of theirs.
pub const ANCHORED_KEYS_MAX: usize = 256;

/// Scripts of a pool that are remembered for servers that lose them: so many that were loaded, and
/// as many again that only came with EVAL. Redis itself keeps 500 of the latter from 7.4 on
/// (`LRU_LIST_LENGTH` of `eval.c`).
pub const SCRIPTS_MAX: usize = 512;

/// Bytes of those scripts, for either kind.
pub const SCRIPTS_BYTES_MAX: usize = 4 << 20;

/// Scripts that a server is asked for in one SCRIPT EXISTS: the reply has five bytes for each.
pub const SCRIPTS_ASKED_MAX: usize = 128;

/// Bytes of the names that one client listens to, with `SUBSCRIPTION_BYTES` for each.
pub const SUBSCRIPTIONS_BYTES_MAX: usize = 64 << 20;

/// Bytes that keeping a name takes besides its own.
pub const SUBSCRIPTION_BYTES: usize = 64;

/// Bytes that a message which waits for its turn takes besides its own: a chain in a box, the
/// rounded allocation behind it, and a place in a queue that may be half empty. Without them short
/// messages would hold four times what is counted.
pub const HELD_MESSAGE_BYTES: usize = 128;

/// Free bytes that the heap may keep for what comes next.
pub const FREE_BYTES_MAX: usize = 16 << 20;

/// How deep arrays nest in a reply. A script's reply is at most 7,996 deep (Redis 7.0, measured:
/// beyond, "reached lua stack limit"); a limit below would let one client's script end a
/// connection that others share.
pub const REPLY_DEPTH_MAX: usize = 16 << 10;

/// Bytes of one whole reply: room for a largest bulk string in an array with others. Beyond, the
/// client that asked for it gets an error; the rest of the reply is read and thrown away, or ends a
/// connection that no other client uses.
pub const REPLY_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a reply that come together before they are passed on to a client whose turn it is,
/// ahead of the reply's end. A smaller reply is whole when its client gets the first byte, and can
/// still be answered with an error in its place.
pub const STREAM_BYTES_MIN: usize = 128 << 10;

/// Bytes of a server's reply to AUTH or SELECT. Redis quotes 128 bytes at most of what it does not
/// understand; nothing else in these replies has a length.
pub const GREETING_REPLY_BYTES_MAX: u64 = 1 << 10;

/// Bytes of a server's reply to HELLO: it lists the server's modules, some hundred bytes each, with
/// their arguments.
pub const HELLO_REPLY_BYTES_MAX: u64 = 64 << 10;

/// Bytes that one send hands to the kernel. With `MSG_WAITALL` nothing is reported before the
/// end, and progress must be seen.
pub const SEND_BYTES_MAX: usize = 256 << 10;

/// Pieces of a chain in one send; the rest follows with the next.
pub const SEND_PIECES_MAX: usize = 32;

/// Bytes of one receive buffer: in `docs/ring.md` stands what other sizes did to large values. A
/// small request touches one page of it.
pub const RECV_BUFFER_BYTES: usize = 64 << 10;

/// Receive buffers of one worker, a power of two. Each is given back within the turn, so this
/// bounds one turn's receives, not the number of connections.
pub const RECV_BUFFERS: u16 = 128;

/// A received piece of at least this many bytes, and of half its buffer, is kept by reference; a
/// smaller one is copied. Relaying 64 KiB gained nothing from kept pieces of 4 KiB.
pub const KEEP_BYTES_MIN: usize = 8 << 10;

/// Bytes that are copied together in a chain before a new chunk begins.
pub const CHAIN_CHUNK_BYTES: usize = 64 << 10;

/// An emptied chain with more memory than this gives it up.
pub const SPARE_CHAIN_BYTES_MAX: usize = 64 << 10;

/// Submission queue entries of one ring: the operations that can be asked for between two enters
/// without an enter in between.
pub const SUBMISSION_ENTRIES: u32 = 1024;

/// Completion queue entries of one ring: more than the buffers and the sends of a turn, as a
/// multishot operation ends when its completion finds no room.
pub const COMPLETION_ENTRIES: u32 = 8192;

/// How long a turn may wait for a fuller one, unless the command line says otherwise. With 50 and
/// with 200 clients a worker's CPU per request fell the more the longer it was, up to here; beyond,
/// 50 clients had fewer requests per second (Linux 6.18, two CPUs for all).
pub const GATHER_TIME: Duration = Duration::from_micros(150);

/// What the command line may say: as long as a whole round trip in a slow network.
pub const GATHER_TIME_MAX: Duration = Duration::from_millis(10);

/// Milliseconds between two ticks, the net under the linked timeouts.
pub const TICK_MS: u64 = 100;

/// Requests of one client that are handled before the next client has its turn.
pub const REQUESTS_PER_TURN: u32 = 512;

/// Descriptors that are neither clients' nor servers': rings, log, eventfds, standard streams.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// Bytes that a closing client may still send before it is closed all the same.
pub const LAST_WORDS_BYTES_MAX: u64 = 64 << 10;

/// How long a closing client may still send.
pub const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// How long a server may take to answer a probe, in a pool without a `timeout`.
pub const PROBE_TIME: Duration = Duration::from_secs(1);

/// Bytes of a configuration file: some twenty thousand servers.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What the weights of a pool's servers may add up to: a hash has 32 bits, so shares beyond would
/// get no key. twemproxy's sum wraps there.
pub const POOL_WEIGHT_MAX: u64 = u32::MAX as u64;

/// Threads that look up names of hosts. Each waits for one answer at a time, so that many names
/// can be without an answer at once, and only then others wait for them.
pub const LOOKUPS_MAX: usize = 4;

/// Readers of the statistics that are answered at the same time, a thread for each.
pub const STATS_READERS_MAX: usize = 4;

/// Readers that wait for that in the kernel's queue; those beyond it try to connect again.
pub const STATS_WAITING_MAX: u32 = 128;

/// How long a reader of the statistics may take over them.
pub const STATS_WRITE_TIME: Duration = Duration::from_secs(2);

/// How long it may take to end its side after that. It loses nothing then: only who sends on and
/// on, or holds on, comes to the end of it.
pub const STATS_LINGER: Duration = Duration::from_millis(500);

/// Bytes that it may send; they are thrown away.
pub const STATS_LINGER_BYTES_MAX: usize = 64 << 10;

/// Workers of one process, which is more than any machine this was tried on has processors.
pub const WORKERS_MAX: usize = 1024;

/// What a worker holds its clients and servers to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests of one client that are waiting for replies; beyond, it is not parsed, and not read
    /// once `STASH_BYTES_MAX` have come.
    pub in_flight_requests_max: usize,
    /// Bytes of those requests, and of what each server keeps of one that all get; beyond, the
    /// same.
    pub in_flight_bytes_max: usize,
    /// Bytes of replies that a client has not taken; beyond, the same, and a clock starts.
    pub output_soft_bytes: usize,
    /// How long a client beyond `output_soft_bytes` may take nothing at all; then it is closed.
    pub output_stall: Duration,
    /// Bytes of replies that a client has not taken; beyond, it is closed, unless it is one reply.
    pub output_hard_bytes: usize,
    /// Requests waiting on one server connection; once there are as many, the next waits with its
    /// client.
    pub server_queue_requests_max: usize,
    /// Bytes not yet sent on one server connection; likewise, so one request may exceed it.
    pub server_queue_bytes_max: usize,
    /// Requests that a client may hold for EXEC; one more is refused, and EXEC with it.
    pub transaction_requests_max: usize,
    /// Bytes of those; likewise once there are as many, so one request may exceed it.
    pub transaction_bytes_max: usize,
    /// Bytes of one whole reply, `REPLY_BYTES_MAX`; of one that streams, those that its client has
    /// not taken.
    pub reply_bytes_max: u64,
    /// Bytes of a reply that are passed on together before its end, `STREAM_BYTES_MIN`.
    pub stream_bytes_min: usize,
    /// Clients of the whole process, all pools and workers together.
    pub clients_max: usize,
    /// How long a turn may wait for a fuller one, where clients queue; zero: never.
    pub gather_time: Duration,
    /// Receive buffers of the worker's ring, at least 1. Of the receives that found none, half as
    /// many are armed again in a turn.
    pub recv_buffers: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_requests_max: 1024,
            in_flight_bytes_max: 16 << 20,
            output_soft_bytes: 64 << 20,
            output_stall: Duration::from_secs(20),
            output_hard_bytes: 256 << 20,
            server_queue_requests_max: 64 << 10,
            server_queue_bytes_max: 64 << 20,
            transaction_requests_max: 64 << 10,
            transaction_bytes_max: 64 << 20,
            reply_bytes_max: REPLY_BYTES_MAX,
            stream_bytes_min: STREAM_BYTES_MIN,
            clients_max: 1 << 20,
            gather_time: GATHER_TIME,
            recv_buffers: RECV_BUFFERS,
        }
    }
}

const _: () = {
    assert!(RECV_BUFFERS.is_power_of_two());
    assert!(KEEP_BYTES_MIN <= RECV_BUFFER_BYTES);
    assert!(CHAIN_CHUNK_BYTES <= SEND_BYTES_MAX);
    // Then a line of memcached that is held back is all that is left behind.
    assert!(MEMCACHE_LINE_BYTES_MAX < STREAM_BYTES_MIN);
    assert!(COMPLETION_ENTRIES >= 2 * (RECV_BUFFERS as u32 + SUBMISSION_ENTRIES));
    assert!(BULK_BYTES_MAX < REQUEST_BYTES_MAX && REQUEST_BYTES_MAX <= u32::MAX as u64);
    assert!(STRANGER_ARGUMENTS_MAX * (STRANGER_BULK_BYTES_MAX + 16) < 1 << 20);
    assert!(SCRIPTS_ASKED_MAX as u64 * 5 < GREETING_REPLY_BYTES_MAX);
    assert!(BULK_BYTES_MAX < REPLY_BYTES_MAX && REPLY_BYTES_MAX <= u32::MAX as u64);
};
