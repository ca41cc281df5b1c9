//! HELLO: which version of RESP a client speaks, and who it is.

use crate::proto::RespVersion;
use crate::proxy::client::Account;
use crate::proxy::dispatch;
use crate::proxy::local::arguments::Arguments;
use crate::proxy::local::client::{NAMES, name_fault};
use crate::proxy::local::{self, Asked};
use crate::proxy::pools::Pools;
use crate::proxy::reply::Writer;
use crate::proxy::resp3;

/// What a HELLO asks for.
#[derive(Debug, PartialEq, Eq)]
struct Greeting<'w> {
    version: Option<RespVersion>,
    /// User and password.
    login: Option<(&'w [u8], &'w [u8])>,
    name: Option<&'w [u8]>,
}

/// HELLO [version [AUTH user password] [SETNAME name]].
pub(super) fn answer(mut asked: Asked<'_, '_>, words: &Arguments) {
    let greeting = match Greeting::parse(words) {
        Ok(greeting) => greeting,
        Err(reply) => return asked.say(reply.as_bytes()),
    };
    let (now, wanted) = (asked.account.version, greeting.version);
    let version = wanted.unwrap_or(now);
    if version != now {
        // Its server connections are others from here on.
        let Some(source) = dispatch::behind_barrier(asked.account, asked.source) else { return };
        asked.source = source;
    }
    if let Some((user, password)) = greeting.login {
        if !local::knows(asked.pools, asked.account.pool, user, password) {
            return asked.say(local::WRONG_PASSWORD);
        }
        asked.account.authenticated = true;
    }
    if !asked.account.authenticated {
        return asked.say(NO_AUTH);
    }
    if let Some(name) = greeting.name {
        asked.account.identity.set_name(name);
    }
    let Asked { pools, account, client, source, .. } = asked;
    if version != now {
        return resp3::agree(pools, account, client, version, describe, source);
    }
    let map = describe(pools, account);
    local::say(pools, account, &map, source);
}

/// What Redis says of itself, in the version that its client speaks. Source: redis 7.0
/// `networking.c`, `helloCommand`.
fn describe(pools: &Pools, account: &Account) -> Vec<u8> {
    let version = local::advertised_version(&pools.pools[account.pool as usize]);
    let mut map = Vec::new();
    let mut to = Writer::new(account.version, &mut map);
    to.map(7);
    to.bulk(b"server").bulk(b"redis");
    to.bulk(b"version").bulk(version.as_bytes());
    to.bulk(b"proto").integer(account.version.number());
    to.bulk(b"id").integer(account.identity.id as i64);
    to.bulk(b"mode").bulk(b"standalone");
    to.bulk(b"role").bulk(b"master");
    to.bulk(b"modules").array(0);
    map
}

impl<'w> Greeting<'w> {
    /// Errors: the reply, in Redis's words.
    fn parse(words: &'w Arguments) -> Result<Self, String> {
        let mut greeting = Self { version: None, login: None, name: None };
        if words.len() == 1 {
            return Ok(greeting);
        }
        greeting.version = Some(match words.integer(1) {
            Some(2) => RespVersion::Two,
            Some(3) => RespVersion::Three,
            Some(_) => return Err(NO_PROTOCOL.to_owned()),
            None => {
                return Err("-ERR Protocol version is not an integer or out of range\r\n".into());
            }
        });
        let mut at = 2;
        while let Some(option) = words.find(at) {
            match (words.find(at + 1), words.find(at + 2)) {
                (Some(user), Some(password)) if words.is(at, "AUTH") => {
                    greeting.login = Some((user, password));
                    at += 3;
                }
                (Some(name), _) if words.is(at, "SETNAME") => {
                    if let Some(fault) = name_fault(NAMES, name) {
                        return Err(format!("-ERR {fault}\r\n"));
                    }
                    greeting.name = Some(name);
                    at += 2;
                }
                _ => {
                    let option = String::from_utf8_lossy(option).replace(['\r', '\n'], " ");
                    return Err(format!("-ERR Syntax error in HELLO option '{option}'\r\n"));
                }
            }
        }
        Ok(greeting)
    }
}

const NO_PROTOCOL: &str = "-NOPROTO unsupported protocol version\r\n";

/// Source: redis 7.0 `networking.c`, `helloCommand`.
const NO_AUTH: &[u8] = b"-NOAUTH HELLO must be called with the client already authenticated, \
    otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and \
    select the RESP protocol version at the same time\r\n";
