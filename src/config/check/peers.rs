//! Keys about whoever is at the other end of a connection: who may be, and whether it still is.

use super::{Keys, NO_VALUE};
use crate::config::access::{Access, Network};
use crate::config::model::ListenAddress;
use crate::config::raw::{Node, Value};
use crate::config::value;
use crate::io::KeepAlive;

impl Keys<'_, '_> {
    /// `tcpkeepalive` and what belongs to it; `None` where it is not true.
    pub(super) fn keep_alive(&mut self) -> Option<KeepAlive> {
        let is_on = self.read("tcpkeepalive", value::boolean).unwrap_or(false);
        let keep_alive = KeepAlive {
            idle: self.read("tcpkeepidle", value::keep_alive_time),
            interval: self.read("tcpkeepintvl", value::keep_alive_time),
            count: self.read("tcpkeepcnt", value::keep_alive_count),
        };
        if is_on {
            return Some(keep_alive);
        }
        for key in ["tcpkeepidle", "tcpkeepintvl", "tcpkeepcnt"] {
            if self.entries.contains_key(key) && !self.is_bad("tcpkeepalive") && !self.is_bad(key) {
                let text = "has no effect without tcpkeepalive: true".to_owned();
                self.fault(self.place_of(key), key, text);
            }
        }
        None
    }

    /// `white_list` and `black_list` of a pool that listens at `listen`.
    pub(super) fn access(&mut self, listen: Option<&ListenAddress>) -> Access {
        let access =
            Access { white: self.networks("white_list"), black: self.networks("black_list") };
        if matches!(listen, Some(ListenAddress::Unix { .. })) {
            for (key, list) in [("white_list", &access.white), ("black_list", &access.black)] {
                if !list.is_empty() {
                    let text = "has no effect on a unix socket; its permission has";
                    self.fault(self.place_of(key), key, text.to_owned());
                }
            }
        }
        access
    }

    fn networks(&mut self, key: &'static str) -> Vec<Network> {
        let Some(entry) = self.entries.get(key).copied() else { return Vec::new() };
        let items = match &entry.node.value {
            Value::List(items) => items,
            Value::Null => {
                self.bad(entry.key_place, key, NO_VALUE.to_owned());
                return Vec::new();
            }
            Value::Text(_) | Value::Mapping(_) => {
                let text = "is not a list; one with an item like \"- 10.0.0.0/8\" would be right";
                self.bad(entry.node.place, key, text.to_owned());
                return Vec::new();
            }
        };
        // Generated files hold empty items, which say nothing.
        let items = items.iter().filter(|item| item.value != Value::Null);
        items.filter_map(|item| self.network(key, item)).collect()
    }

    fn network(&mut self, key: &'static str, item: &Node) -> Option<Network> {
        let read = match &item.value {
            Value::Text(text) => Network::read(text),
            Value::Null => return None,
            Value::Mapping(_) => {
                Err("is a mapping; an IPv6 address stands in quotes: \"fd00::1\"".to_owned())
            }

            Value::List(_) => Err("is a list in a list; one address would be right".to_owned()),
        };
        read.map_err(|text| self.bad(item.place, key, text)).ok()
    }
}
