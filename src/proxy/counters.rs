//! What a worker has seen and done.

use std::fmt;

/// What happened so far, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients let in.
    pub clients: u64,
    /// Clients refused, as there were too many.
    pub clients_refused: u64,
    /// Clients closed without a word, as the lists of their pool do not allow their addresses.
    pub clients_denied: u64,
    /// Requests understood, answered here or not.
    pub requests: u64,
    /// Fragments of requests over several servers.
    pub fragments: u64,
    /// Replies of servers, also those that nobody waited for any more.
    pub replies: u64,
    /// Replies that were swallowed: their client had gone, or was owed only the last of a
    /// transaction's.
    pub replies_swallowed: u64,
    /// Pieces of replies that were passed on before the end of their reply.
    pub replies_streamed: u64,
    /// Clients closed in the middle of a reply, as its server failed.
    pub clients_cut_off: u64,
    /// Requests answered with an error because their server failed.
    pub requests_failed: u64,
    /// Clients that broke the protocol.
    pub protocol_errors: u64,
    /// Server connections that failed, for any reason.
    pub server_failures: u64,
    /// Of those: for a connect, a greeting or a request that was overdue.
    pub server_timeouts: u64,
    /// Of those: for a byte out of place.
    pub server_bad_replies: u64,
    /// Pushes of servers that nobody had subscribed to.
    pub server_pushes_dropped: u64,
    /// Times that a client was not read because of a limit.
    pub clients_paused: u64,
    /// Times that a client was held back by a server's full queue.
    pub clients_blocked: u64,
    /// Clients closed for more unread replies than `output_hard_bytes`.
    pub clients_over_output: u64,
    /// Clients closed for taking nothing during `output_stall`.
    pub clients_stalled: u64,
    /// Messages of channels that came for clients.
    pub messages: u64,
    /// Clients closed as what they listened to was lost or went elsewhere.
    pub subscribers_closed: u64,
    /// Requests refused as their pool had as many private connections as it may.
    pub private_refused: u64,
    /// Probes of ejected servers that did not come back, which are no failures of connections.
    pub probes_failed: u64,
}

impl Counters {
    /// All of them, with their names.
    pub const fn named(&self) -> [(&'static str, u64); 23] {
        [
            ("clients", self.clients),
            ("clients refused", self.clients_refused),
            ("clients denied", self.clients_denied),
            ("requests", self.requests),
            ("fragments", self.fragments),
            ("replies", self.replies),
            ("replies swallowed", self.replies_swallowed),
            ("replies streamed", self.replies_streamed),
            ("clients cut off", self.clients_cut_off),
            ("requests failed", self.requests_failed),
            ("protocol errors", self.protocol_errors),
            ("server failures", self.server_failures),
            ("server timeouts", self.server_timeouts),
            ("server bad replies", self.server_bad_replies),
            ("server pushes dropped", self.server_pushes_dropped),
            ("clients paused", self.clients_paused),
            ("clients blocked", self.clients_blocked),
            ("clients over output", self.clients_over_output),
            ("clients stalled", self.clients_stalled),
            ("messages", self.messages),
            ("subscribers closed", self.subscribers_closed),
            ("private connections refused", self.private_refused),
            ("probes failed", self.probes_failed),
        ]
    }
}

/// What is not zero, for the log.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.named().into_iter().filter(|&(_, count)| count > 0) {
            write!(f, "{separator}{count} {name}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_shown() {
        assert_eq!(Counters::default().to_string(), "nothing");
        let counters = Counters { requests: 3, clients: 1, ..Counters::default() };
        assert_eq!(counters.to_string(), "1 clients, 3 requests");
    }
}
