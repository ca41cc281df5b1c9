//! How a command is served: the column of the table that the proxy decides by.

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// The server of its keys gets it as it is; without a key, any server.
    Forward,
    /// Each server gets its share, and the replies are put together.
    Split(Split),
    /// Every server of the pool gets all of it, and the replies are put together.
    Everywhere(Merge),
    /// One server after the other: the cursor says which (SCAN).
    Cursor,
    /// The proxy answers it.
    Local(Local),
    /// It begins, ends or guards a transaction of its client.
    Transaction(Transaction),
    /// It may wait at the server for as long as an argument says.
    Blocking(Timeout),
    /// It changes what its client listens to.
    Subscribe(Subscribe),
    /// The server of its keys runs a script; without a key, one that the script decides.
    Script,
    /// Its second word says which command it is; by itself it is none.
    Container,
    /// Never.
    Refused(Refusal),
}

/// What becomes of a request whose keys live on several servers, or that all of them get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It cannot be split.
    No,
    /// Each server gets its keys; the reply is an array of the values in key order (MGET).
    Collect,
    /// Each server gets its keys; the reply is the sum (DEL, UNLINK, TOUCH, EXISTS).
    Sum,
    /// Each server gets its pairs; the reply is `+OK` (MSET).
    Ok,
    /// Each server gets its keys; the reply is what was found, in key order (memcached's get).
    Values,
    /// Every server of the pool gets all of it; the reply is `OK` (memcached's flush_all).
    All,
    /// One server gets it, or all, and the client hears nothing (memcached's noreply).
    Silence,
}

/// How the replies of all servers become one. An error of any server is the reply, except in
/// `Any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// All say `+OK`, and so does the proxy (FLUSHALL).
    Ok,
    /// All say the same, and one of them is the reply (SCRIPT LOAD).
    Same,
    /// The sum of integers (DBSIZE).
    Sum,
    /// One array of all elements (KEYS).
    Concat,
    /// Element by element, 1 where all have 1 (SCRIPT EXISTS).
    And,
    /// Pairs of a name and a number: the sum of each name's numbers (PUBSUB NUMSUB).
    SumPairs,
    /// The first that is no error; the first error if all are (SCRIPT KILL).
    Any,
    /// The reply of one that has something to say: nil only if all say nil (RANDOMKEY).
    One,
}

/// What the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// PING.
    Ping,
    /// QUIT.
    Quit,
    /// AUTH.
    Auth,
    /// HELLO.
    Hello,
    /// ECHO.
    Echo,
    /// RESET.
    Reset,
    /// SELECT.
    Select,
    /// TIME.
    Time,
    /// INFO.
    Info,
    /// CLIENT and its subcommands.
    Client,
    /// COMMAND and its subcommands.
    Command,
    /// CONFIG and its subcommands.
    Config,
    /// ROLE.
    Role,
    /// LOLWUT.
    Lolwut,
    /// ACL WHOAMI.
    Acl,
    /// SLOWLOG and its subcommands.
    Slowlog,
    /// LATENCY and its subcommands.
    Latency,
    /// A fixed line.
    Line(&'static [u8]),
    /// stats, of memcached.
    Stats,
    /// quit, of memcached: without a word.
    Leave,
}

/// The commands of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
}

/// Where a command that waits has its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The argument behind the name, in seconds (BLMPOP).
    First,
    /// The last argument, in seconds (BLPOP).
    Last,
    /// The argument behind BLOCK, in milliseconds; without BLOCK it does not wait (XREAD).
    Option,
}

/// The commands of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribe {
    /// SUBSCRIBE.
    Subscribe,
    /// PSUBSCRIBE.
    Psubscribe,
    /// SSUBSCRIBE.
    Ssubscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// PUNSUBSCRIBE.
    Punsubscribe,
    /// SUNSUBSCRIBE.
    Sunsubscribe,
}

/// Why a command is never served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It changes a connection that clients share.
    Shared,
    /// It is about one server, and the proxy stands for all.
    OneServer,
    /// It is for servers that replicate.
    Replication,
    /// It is for the nodes of a Redis Cluster.
    Cluster,
    /// It is for who debugs a server.
    Debugging,
}

impl Refusal {
    /// The reason as half a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Shared => "it would change a server connection that clients share",
            Self::OneServer => "it is about one server, and a pool has many: ask the server itself",
            Self::Replication => "it is for servers that replicate",
            Self::Cluster => "a pool is no Redis Cluster",
            Self::Debugging => "it is for who debugs a server",
        }
    }
}
