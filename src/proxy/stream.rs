//! Replies that stream: large ones go on their way before their last byte has come.
//!
//! ```text
//!   server:   [....128 KiB....][....128 KiB....][....128 KiB....][..]  the reply's end
//!                     |                |                |         |
//!   partial:   gathers, then goes      |                |         +-> settle
//!                     v                v                v
//!   output:    $393300 ...        still one reply, and nothing else may come between
//! ```
//!
//! So a large value needs no memory of its size, and its client need not wait for all of it. The
//! price: once a part is out, only the rest may follow. If it never comes, no error can be told,
//! and the client is closed, which is how it learns that what it has is not all.
//!
//! The server connection is not held up by a client that does not read: it is others' too. What
//! comes for such a client counts as unread output, with its limits; when it is closed for them,
//! or goes, the rest of the reply is read and thrown away.

use log::debug;

use crate::io::Buffer;
use crate::proxy::Proxy;
use crate::proxy::client::Client;
use crate::proxy::deliver;
use crate::proxy::server::{Server, WHOLE, Waiter};
use crate::token::Key;

/// Whether the reply that is being read may be passed on before its end.
///
/// It has to be the only reply to the request at the head of its client's pipeline, and nothing
/// else may come between: to who listens, messages do.
pub(crate) fn may_stream(server: &Server, client: &Client, waiter: &Waiter) -> bool {
    waiter.fragment == WHOLE
        && server.parser.may_stream()
        && client.account.subscriptions.is_none()
        && client.account.pipeline.may_stream(waiter.sequence)
}

/// Passes on what has come of a reply, the bytes from `at` on too: as far as it is sure to answer
/// the request.
pub(crate) fn pass_on(proxy: &mut Proxy, key: Key, waiter: Waiter, buffer: &mut Buffer, at: usize) {
    let Proxy { pools, clients, .. } = proxy;
    let Some(client) = deliver::waiting_client(clients, &waiter) else { return };
    let account = &mut client.account;
    let was_due = account.due_before_stream();
    pools.lend(&mut account.output);
    let Some(server) = pools.servers.find_mut(key) else { return };
    let Server { partial, parser, tally, .. } = server;
    let unsure = parser.unsure_bytes();
    let count = partial.len() + buffer.len() - at - unsure;
    if count == 0 {
        return partial.push_buffer(buffer, at..buffer.len());
    }
    if unsure == 0 {
        account.output.append(partial);
        account.output.push_buffer(buffer, at..buffer.len());
    } else {
        partial.push_buffer(buffer, at..buffer.len());
        partial.move_front(count, &mut account.output);
    }
    tally.response_bytes += count as u64;
    account.pipeline.stream(count);
    pools.counters.replies_streamed += 1;
    proxy.after_replies(waiter.client(), was_due);
}

/// The rest of a reply will not come, of which its client has a part.
pub(crate) fn cut(proxy: &mut Proxy, client: Key) {
    let Some(account) = proxy.clients.find(client).map(|client| &client.account) else { return };
    let bytes = account.pipeline.streamed_bytes();
    debug!("client {} is closed after {bytes} bytes of a reply without an end", client.index);
    proxy.pools.count_failed_request(account.pool);
    proxy.pools.counters.clients_cut_off += 1;
    proxy.drop_client(client);
}
