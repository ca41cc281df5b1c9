//! CLIENT: the connection itself, and those of others.

use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::proxy::census::{Filter, Kind, Question};
use crate::proxy::identity::{Attribute, is_fit_to_print};
use crate::proxy::local::arguments::Arguments;
use crate::proxy::local::{Asked, OK};

/// CLIENT subcommand [argument ...]. What is not for a connection that shares its servers with
/// others (REPLY, TRACKING, PAUSE and the like) is unknown: clients take that well, and a yes that
/// is not kept they would not.
pub(super) fn answer(asked: Asked<'_, '_>, words: &Arguments) {
    match SUBCOMMANDS.iter().find(|row| row.0 == asked.name()) {
        Some((_, subcommand)) => subcommand(asked, words),
        None => asked.unknown_subcommand(words),
    }
}

type Subcommand = fn(Asked<'_, '_>, &Arguments);

/// The name in the table, and what answers it.
const SUBCOMMANDS: [(&str, Subcommand); 12] = [
    ("client|setinfo", set_info),
    ("client|setname", set_name),
    ("client|getname", name),
    ("client|id", id),
    ("client|info", |asked, _| asked.ask_around(Question::Own)),
    ("client|list", list),
    ("client|kill", kill),
    ("client|no-evict", on_or_off),
    ("client|no-touch", on_or_off),
    ("client|getredir", |asked, _| asked.write(|to| _ = to.integer(-1))),
    ("client|trackinginfo", tracking),
    ("client|help", |asked, _| asked.help("CLIENT", &HELP)),
];

/// CLIENT SETINFO LIB-NAME|LIB-VER value.
fn set_info(asked: Asked<'_, '_>, words: &Arguments) {
    let (what, name) = if words.is(2, "LIB-NAME") {
        (Attribute::Library, "lib-name")
    } else if words.is(2, "LIB-VER") {
        (Attribute::LibraryVersion, "lib-ver")
    } else {
        let option = String::from_utf8_lossy(&words[2]);
        return asked.error(&format!("Unrecognized option '{option}'"));
    };
    if let Some(fault) = name_fault(name, &words[3]) {
        return asked.error(&fault);
    }
    asked.account.identity.set_attribute(what, &words[3]);
    asked.say(OK);
}

/// CLIENT SETNAME name; an empty one takes it away.
fn set_name(asked: Asked<'_, '_>, words: &Arguments) {
    if let Some(fault) = name_fault(NAMES, &words[2]) {
        return asked.error(&fault);
    }
    asked.account.identity.set_name(&words[2]);
    asked.say(OK);
}

/// CLIENT GETNAME.
fn name(asked: Asked<'_, '_>, _: &Arguments) {
    let name = asked.account.identity.name().to_owned();
    asked.write(|to| _ = if name.is_empty() { to.null() } else { to.bulk(&name) });
}

/// CLIENT ID.
fn id(asked: Asked<'_, '_>, _: &Arguments) {
    let id = asked.account.identity.id as i64;
    asked.write(|to| _ = to.integer(id));
}

/// CLIENT NO-EVICT and NO-TOUCH: the proxy evicts nobody, and touches no key for its own sake.
fn on_or_off(asked: Asked<'_, '_>, words: &Arguments) {
    if words.is(2, "ON") || words.is(2, "OFF") {
        asked.say(OK);
    } else {
        asked.error("syntax error");
    }
}

/// CLIENT TRACKINGINFO: it cannot be switched on.
fn tracking(asked: Asked<'_, '_>, _: &Arguments) {
    asked.write(|to| {
        to.map(3).bulk(b"flags").set(1).bulk(b"off");
        to.bulk(b"redirect").integer(-1).bulk(b"prefixes").array(0);
    });
}

/// CLIENT LIST [TYPE type | ID id [id ...]].
fn list(asked: Asked<'_, '_>, words: &Arguments) {
    let mut filter = Filter::default();
    if words.len() == 4 && words.is(2, "TYPE") {
        match Kind::from_name(&words[3]) {
            Some(kind) => filter.kind = Some(kind),
            None => return asked.error(&unknown_kind(&words[3])),
        }
    } else if words.len() > 3 && words.is(2, "ID") {
        for index in 3..words.len() {
            match words.integer(index) {
                Some(id) => filter.ids.push(u64::try_from(id).unwrap_or(0)),
                None => return asked.error("Invalid client ID"),
            }
        }
        filter.ids.sort_unstable();
    } else if words.len() != 2 {
        return asked.error("syntax error");
    }
    asked.ask_around(Question::List(filter));
}

/// CLIENT KILL address, or CLIENT KILL option value [option value ...].
fn kill(asked: Asked<'_, '_>, words: &Arguments) {
    if words.len() == 3 {
        let address = String::from_utf8_lossy(&words[2]).into_owned();
        let filter = Filter { peer: Some(address), ..Filter::default() };
        return asked.ask_around(Question::Kill { filter, says_how_many: false });
    }
    match kill_filter(words, asked.account.identity.id) {
        Ok(filter) => asked.ask_around(Question::Kill { filter, says_how_many: true }),
        Err(why) => asked.error(&why),
    }
}

/// Errors: what the client is told, in Redis's words.
fn kill_filter(words: &Arguments, own_id: u64) -> Result<Filter, String> {
    let mut filter = Filter { spares: Some(own_id), ..Filter::default() };
    for at in (2..words.len()).step_by(2) {
        let value = words.find(at + 1).ok_or("syntax error")?;
        let text = || String::from_utf8_lossy(value).into_owned();
        if words.is(at, "ID") {
            let id = words.integer(at + 1).filter(|&id| id > 0);
            filter.ids = vec![id.ok_or("client-id should be greater than 0")? as u64];
        } else if words.is(at, "TYPE") {
            filter.kind = Some(Kind::from_name(value).ok_or_else(|| unknown_kind(value))?);
        } else if words.is(at, "ADDR") {
            filter.peer = Some(text());
        } else if words.is(at, "LADDR") {
            filter.local = Some(text());
        } else if words.is(at, "USER") {
            if value != b"default" {
                return Err(format!("No such user '{}'", text()));
            }
        } else if words.is(at, "MAXAGE") {
            let age = words.integer(at + 1).ok_or("maxage is not an integer or out of range")?;
            let age = u64::try_from(age).ok().filter(|&age| age > 0);
            filter.age_s_min = Some(age.ok_or("maxage should be greater than 0")?);
        } else if words.is(at, "SKIPME") && words.is(at + 1, "YES") {
            filter.spares = Some(own_id);
        } else if words.is(at, "SKIPME") && words.is(at + 1, "NO") {
            filter.spares = None;
        } else {
            return Err("syntax error".to_owned());
        }
    }
    Ok(filter)
}

fn unknown_kind(name: &[u8]) -> String {
    format!("Unknown client type '{}'", String::from_utf8_lossy(name))
}

/// Why a client may not call itself, or its library, this. Redis has no limit of the length.
pub(super) fn name_fault(what: &str, name: &[u8]) -> Option<String> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Some(format!("{what} cannot be longer than {CLIENT_NAME_BYTES_MAX} bytes."));
    }
    let fault = "cannot contain spaces, newlines or special characters.";
    (!is_fit_to_print(name)).then(|| format!("{what} {fault}"))
}

/// What Redis calls the names of clients in its errors.
pub(super) const NAMES: &str = "Client names";

const HELP: [&str; 22] = [
    "GETNAME",
    "    The name of this connection.",
    "GETREDIR",
    "    -1: there is no tracking here.",
    "ID",
    "    The number of this connection, which no other one of the process gets.",
    "INFO",
    "    This connection, as in LIST.",
    "KILL <ip:port>",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Closes clients of this pool. Options: ADDR, LADDR, ID, TYPE, USER, MAXAGE, SKIPME.",
    "LIST [TYPE <type> | ID <id> [<id> ...]]",
    "    The clients of this pool, on all workers.",
    "NO-EVICT (ON|OFF)",
    "NO-TOUCH (ON|OFF)",
    "    Without effect: the proxy evicts no clients.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Says which library this is.",
    "SETNAME <name>",
    "    Gives this connection a name.",
    "TRACKINGINFO",
    "    Off, always.",
];
