//! The addresses in `listen` and `servers`, taken apart from their end as twemproxy does.
//!
//! ```text
//!   listen    host:port                       /path [octal permissions]
//!   servers   host:port:weight [name]         /path:weight [name]
//! ```
//!
//! An IPv6 address stands bare, as in twemproxy (`::1:22121`), or in brackets (`[::1]:22121`).
//!
//! Errors are the text of a fault, without the value itself.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::fault::quoted;
use super::model::{Listen, ListenAddress, Server, ServerAddress};
use super::value::{digits, port};

/// Takes the value of `listen` apart.
pub fn listen(text: &str) -> Result<Listen, String> {
    let address = if text.starts_with('/') { listen_path(text) } else { listen_tcp(text) }?;
    Ok(Listen { text: text.to_owned(), address })
}

fn listen_tcp(text: &str) -> Result<ListenAddress, String> {
    let (host_text, port_text) = text.rsplit_once(':').ok_or_else(|| no_port(text))?;
    if host_text.is_empty() {
        return Err(format!(
            "has an invalid \"hostname:port\" format: there is no host; \
             0.0.0.0:{port_text} listens on every IPv4 address"
        ));
    }
    let host = host(host_text).map_err(|fault| match is_v6(unbracketed(text).unwrap_or(text)) {
        true => no_port(text),
        false => format!("has an invalid \"hostname:port\" format: {fault}"),
    })?;
    let port = port(port_text)
        .map_err(|fault| format!("has an invalid port in \"hostname:port\": {fault}"))?;
    Ok(ListenAddress::Tcp { host, port })
}

fn no_port(text: &str) -> String {
    format!(
        "has an invalid \"hostname:port\" format: {} has no port; \
         127.0.0.1:22121, [::1]:22121 or /path/of/a.sock would be right",
        quoted(text)
    )
}

fn listen_path(text: &str) -> Result<ListenAddress, String> {
    let (path_text, mode_text) = match text.rsplit_once(' ') {
        Some((path, mode)) => (path, Some(mode)),
        None => (text, None),
    };
    let path = path(path_text)?;
    let mode = match mode_text.map(permissions) {
        None | Some(Some(0)) => None,
        Some(Some(mode)) => Some(mode),
        Some(None) => {
            return Err(format!(
                "has an invalid file permission in \"socket_path permission\": {}; \
                 octal digits up to 0777 would be right",
                quoted(mode_text.unwrap_or_default())
            ));
        }
    };
    Ok(ListenAddress::Unix { path, mode })
}

fn permissions(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = if octal { u32::from_str_radix(text, 8).ok()? } else { return None };
    (mode <= 0o777).then_some(mode)
}

/// Takes one item of `servers` apart.
pub fn server(text: &str) -> Result<Server, String> {
    let (address_text, name) = match text.rsplit_once(' ') {
        Some((address, name)) => (address, Some(name)),
        None => (text, None),
    };
    let (rest, weight_text) =
        address_text.rsplit_once(':').ok_or_else(|| server_format(address_text))?;
    let (address, own_name) = if rest.starts_with('/') {
        // twemproxy's own name of a unix socket ends with the colon before the weight.
        (ServerAddress::Unix(path(rest)?), format!("{rest}:"))
    } else {
        server_tcp(rest, address_text)?
    };
    if name == Some("") {
        return Err(format!("{} ends with a space where a name should be", quoted(text)));
    }
    let weight = weight(weight_text, text)?;
    Ok(Server { name: name.map_or(own_name, str::to_owned), address, weight })
}

fn server_tcp(rest: &str, address_text: &str) -> Result<(ServerAddress, String), String> {
    if unbracketed(rest).is_some() {
        return Err(server_format(address_text));
    }
    let (host_text, port_text) =
        rest.rsplit_once(':').ok_or_else(|| server_format(address_text))?;
    let host = host(host_text).map_err(|fault| {
        format!("{} has an invalid {SERVER_FORMAT} format: {fault}", quoted(address_text))
    })?;
    let port = port(port_text).map_err(|fault| {
        format!("{} has an invalid port in \"hostname:port:weight\": {fault}", quoted(address_text))
    })?;
    // libmemcached left its default port out of the name, and twemproxy places points by it.
    let name = if port == 11211 { host.clone() } else { format!("{host}:{port_text}") };
    Ok((ServerAddress::Tcp { host, port }, name))
}

fn weight(weight_text: &str, text: &str) -> Result<u32, String> {
    match digits(weight_text) {
        Some(0) => Err(format!(
            "{} has a zero weight; 1 would be right, or leave the server out",
            quoted(text)
        )),
        Some(weight) if weight <= i32::MAX as u64 => Ok(weight as u32),
        Some(_) | None => Err(format!(
            "{} has an invalid weight in \"hostname:port:weight [name]\": {} is not a number \
             from 1 to {}",
            quoted(text),
            quoted(weight_text),
            i32::MAX
        )),
    }
}

fn server_format(address_text: &str) -> String {
    let has_port = address_text.contains(':') || address_text.starts_with('/');
    let (missing, right) = match has_port {
        true => ("the weight is missing", format!("{address_text}:1")),
        false => ("the port and the weight are missing", format!("{address_text}:6379:1")),
    };
    format!(
        "{} has an invalid {SERVER_FORMAT} format: {missing}; {} would be right",
        quoted(address_text),
        quoted(&right)
    )
}

/// A host without its brackets.
fn host(text: &str) -> Result<String, String> {
    let bare = unbracketed(text);
    let host = bare.unwrap_or(text);
    if host.is_empty() {
        return Err("there is no host; 127.0.0.1 is this machine".to_owned());
    }
    if host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(format!("{} is not the name of a host", quoted(text)));
    }
    if (bare.is_some() || host.contains([':', '[', ']'])) && !is_v6(host) {
        return Err(format!(
            "{} is not an IPv6 address; one stands like this: [::1]",
            quoted(text)
        ));
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(format!("a host of more than {HOST_BYTES_MAX} bytes"));
    }
    Ok(host.to_owned())
}

fn unbracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// Whether it is an IPv6 address. What follows a percent sign names an interface, and is the
/// system's business.
fn is_v6(host: &str) -> bool {
    host.split('%').next().is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.len() > PATH_BYTES_MAX {
        return Err(format!(
            "has a path of {} bytes; a unix socket can have {PATH_BYTES_MAX}",
            text.len()
        ));
    }
    Ok(PathBuf::from(text))
}

const SERVER_FORMAT: &str =
    "\"hostname:port:weight [name]\" or \"/path/unix_socket:weight [name]\"";

/// A DNS name is at most 253 bytes (RFC 1035, 255 with the lengths of its first and last label).
const HOST_BYTES_MAX: usize = 253;

/// `sun_path` has 108 bytes, and the last is zero (unix(7)).
const PATH_BYTES_MAX: usize = 107;
