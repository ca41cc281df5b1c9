//! What `-D` says of the statistics: nutcracker's names, in its order.

/// The text, with a newline at its end.
pub fn text() -> String {
    format!("pool stats:\n{}\nserver stats:\n{}", lines(&POOL), lines(&SERVER))
}

fn lines(rows: &[(&str, &str)]) -> String {
    rows.iter().map(|(name, what)| format!("  {name:<18}  \"{what}\"\n")).collect()
}

const POOL: [(&str, &str); 6] = [
    ("client_eof", "clients that ended their connection"),
    ("client_err", "client connections that failed"),
    ("client_connections", "clients connected now"),
    ("server_ejects", "times that a server was ejected"),
    ("forward_error", "requests answered with an error of the proxy's"),
    ("fragments", "parts of requests over several servers"),
];

const SERVER: [(&str, &str); 13] = [
    ("server_eof", "connections ended by the server"),
    ("server_err", "server connections that failed"),
    ("server_timedout", "server connections ended for an overdue connect or reply"),
    ("server_connections", "connections to the server now"),
    ("server_ejected_at", "when it was last ejected, in microseconds since 1970"),
    ("requests", "requests sent"),
    ("request_bytes", "bytes of requests sent"),
    ("responses", "replies received"),
    ("response_bytes", "bytes of replies received"),
    ("in_queue", "requests that wait to be sent"),
    ("in_queue_bytes", "bytes of requests that wait to be sent"),
    ("out_queue", "requests that wait for a reply"),
    ("out_queue_bytes", "bytes of requests that wait for a reply"),
];
