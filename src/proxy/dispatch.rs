//! What becomes of one request: answered here, forwarded, split, or refused.

use bytes::Bytes;

use crate::io::{Buffer, Chain, Errno};
use crate::limits::WORDS_BYTES_KEPT;
use crate::proto::commands::{Command, Keys, Refusal, Serve, Split};
use crate::proto::{Form, Request};
use crate::proxy::client::Account;
use crate::proxy::policy::Verdict;
use crate::proxy::pools::Pools;
use crate::proxy::source::Source;
use crate::proxy::{
    blocking, broadcast, fragment, local, policy, reject, renamed, scan, scripts, silent,
    subscribe, transaction,
};
use crate::token::Key;

/// Handles one whole request of a client. `source` is its bytes as they came.
#[inline]
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    let rewritten = match request.form() {
        Form::AsItCame => return decide(pools, account, client, request, source),
        Form::Cut(cut) => return silent::dispatch(pools, account, client, request, cut, source),
        Form::Rewritten => request.rewritten().unwrap_or_default(),
    };
    // An inline request is rare: its RESP form goes the same way as if it had come so.
    let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(rewritten));
    let mut before = Chain::new();
    source.discard();
    let source = Source::new(&mut before, &mut buffer, 0..rewritten.len());
    decide(pools, account, client, request, source);
}

fn decide(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    if request.renamed {
        return renamed::dispatch(pools, account, client, request, source);
    }
    serve(pools, account, client, request, source);
}

/// Handles a request whose bytes have the command's real name.
pub(crate) fn serve(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    account.barrier = false;
    if !account.authenticated && !local::is_for_strangers(request.command) {
        return local::say(pools, account, local::NO_AUTH, source);
    }
    let verdict = policy::judge(pools, account, request);
    if let Some(command) = request.command.filter(|_| verdict != Verdict::Served) {
        return policy::refuse(pools, account, command, request, verdict, source);
    }
    let Some(command) = request.command.filter(|command| is_served(command, request)) else {
        return refuse(pools, account, request, source);
    };
    if !command.arity_fits(request.arguments) {
        pools.words.clear();
        reject::wrong_arity(command, &mut pools.words);
        transaction::on_refused(pools, account, request);
        return answer(pools, account, source);
    }
    account.identity.note(pools.now, command.name);
    if account.subscriptions.is_some() && subscribe::is_in_the_way(pools, account, command) {
        return subscribe::answer(pools, account, command, request, source);
    }
    if transaction::is_for_later(account, command) {
        return transaction::hold(pools, account, command, request, source);
    }
    carry_out(pools, account, client, command, request, source);
}

fn carry_out(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    command: &'static Command,
    request: &Request,
    source: Source<'_>,
) {
    match command.serve {
        Serve::Local(what) => local::answer(pools, account, client, what, request, source),
        Serve::Everywhere(merge) => {
            broadcast::everywhere(pools, account, client, (command, merge), request, source);
        }
        Serve::Cursor => scan::dispatch(pools, account, client, request, source),
        Serve::Script => scripts::dispatch(pools, account, client, command, request, source),
        Serve::Subscribe(what) => {
            subscribe::dispatch(pools, account, client, what, request, source);
        }
        Serve::Transaction(what) => {
            transaction::dispatch(pools, account, client, what, request, source);
        }
        Serve::Blocking(timeout) if request.timeout_at().is_some() => {
            blocking::dispatch(pools, account, client, timeout, request, source);
        }
        Serve::Forward
        | Serve::Split(_)
        | Serve::Blocking(_)
        | Serve::Container
        | Serve::Refused(_) => place(pools, account, client, command, request, source),
    }
}

/// Whether the proxy serves a request of this command.
fn is_served(command: &Command, request: &Request) -> bool {
    match command.serve {
        // With a second word it would have found another row.
        Serve::Forward | Serve::Container if command.keys == Keys::BySubcommand => {
            request.arguments == 1
        }
        Serve::Forward | Serve::Split(_) | Serve::Script | Serve::Container => true,
        Serve::Local(_) | Serve::Everywhere(_) | Serve::Cursor => true,
        Serve::Transaction(_) | Serve::Blocking(_) | Serve::Subscribe(_) => true,
        Serve::Refused(_) => false,
    }
}

/// Answers a request that is not served: a command of two words in Redis's words for an unknown
/// second one, which clients that can do without look for, another with the reason.
pub(crate) fn refuse(
    pools: &mut Pools,
    account: &mut Account,
    request: &Request,
    source: Source<'_>,
) {
    let first = request.command.map(Command::first_word);
    let is_pair = request
        .command
        .is_some_and(|command| command.keys == Keys::BySubcommand || command.name.contains('|'));
    pools.words.clear();
    match (first.filter(|_| is_pair && request.arguments > 1), request.command) {
        (_, Some(Command { serve: Serve::Refused(Refusal::Cluster), .. })) => {
            reject::error(NO_CLUSTER, &mut pools.words);
        }
        (Some(first), _) => reject::unknown_second(first, request, &source, &mut pools.words),
        (None, Some(Command { name, serve: Serve::Refused(why), .. })) => {
            reject::unsupported(name, why.reason(), &mut pools.words);
        }
        (None, _) => reject::unknown(request, &source, &mut pools.words),
    }
    transaction::on_refused(pools, account, request);
    answer(pools, account, source);
}

/// Finds the server or servers of a request's keys.
pub(crate) fn place(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    command: &'static Command,
    request: &Request,
    source: Source<'_>,
) {
    let keys = request.keys;
    if keys.count == 1 && keys.also == 0 && request.patterns.is_empty() {
        let number = pools.route(account.pool, &source, request.argument_range(keys.first));
        return forward_or_fail(pools, account, client, number, request, source);
    }
    if command.split() == Split::All {
        return broadcast::broadcast(pools, account, client, request, None, source);
    }
    if keys.count == 0 {
        let number = pools.route_keyless(account.pool);
        return forward_or_fail(pools, account, client, number, request, source);
    }
    let mut routes = std::mem::take(&mut pools.routes);
    routes.clear();
    let mut all_live = true;
    for index in keys.indexes() {
        match pools.route(account.pool, &source, request.argument_range(index)) {
            Some(number) => routes.push(number),
            None => all_live = false,
        }
    }
    let first = routes.first().copied().filter(|_| all_live);
    let is_one = routes.iter().all(|&number| Some(number) == first)
        && pools.has_patterns(account.pool, request, &source, first);
    if first.is_none() || is_one {
        forward_or_fail(pools, account, client, first, request, source);
    } else if command.split() == Split::No {
        pools.words.clear();
        reject::cross_server(command, &mut pools.words);
        answer(pools, account, source);
    } else {
        fragment::scatter(pools, account, client, command, request, &routes, source);
    }
    pools.routes = routes;
}

/// Sends a request whole to a server, or says that there is none.
pub(crate) fn forward_or_fail(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    number: Option<u32>,
    request: &Request,
    source: Source<'_>,
) {
    match number {
        Some(number) => pools.forward(account, client, number, request.expected, source),
        None => {
            pools.count_failed_request(account.pool);
            let protocol = pools.protocol(account.pool);
            pools.words.clear();
            reject::failure(protocol, Some(Errno(libc::ECONNREFUSED)), &mut pools.words);
            answer(pools, account, source);
        }
    }
}

/// Holds a request back until every earlier one of its client is answered: it changes which server
/// connections the client uses. None: it is left with the client, and is dispatched again then.
pub(crate) fn behind_barrier<'s>(account: &mut Account, source: Source<'s>) -> Option<Source<'s>> {
    if account.pipeline.is_empty() {
        return Some(source);
    }
    source.park();
    account.parked = true;
    account.barrier = true;
    None
}

/// Answers with `pools.words`, in the request's turn.
pub(crate) fn answer(pools: &mut Pools, account: &mut Account, source: Source<'_>) {
    source.discard();
    pools.lend(&mut account.output);
    account.pipeline.push_answered(&pools.words, &mut account.output);
    if pools.words.capacity() > WORDS_BYTES_KEPT {
        pools.words = Vec::new();
    }
}

/// What a server says that is none of a cluster.
const NO_CLUSTER: &str = "This instance has cluster support disabled";
