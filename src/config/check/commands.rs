//! The key `commands` of a pool: a mapping of its own.

use super::{Keys, NO_VALUE};
use crate::config::commands::{CommandRules, Modules, Which, named};
use crate::config::fault::{quoted, shown};
use crate::config::model::Protocol;
use crate::config::raw::{Entry, Node, Value};
use crate::config::value;
use crate::proto::commands::{self, NAME_BYTES_MAX};

impl Keys<'_, '_> {
    /// `commands` of a pool.
    pub(super) fn commands(&mut self, protocol: Protocol) -> CommandRules {
        let mut rules = CommandRules::default();
        let Some(entry) = self.entries.get("commands").copied() else { return rules };
        if protocol != Protocol::Redis && !self.is_bad("redis") {
            let text = "is only valid for a redis pool; set redis: true".to_owned();
            self.bad(entry.node.place, "commands", text);
        }
        let Value::Mapping(entries) = &entry.node.value else {
            let text = "is not a mapping; one like {allow: [flushall]} would be right";
            let is_null = entry.node.value == Value::Null;
            let text = if is_null { NO_VALUE } else { text };
            self.bad(entry.node.place, "commands", text.to_owned());
            return rules;
        };
        let mut firsts: Vec<&Entry> = Vec::new();
        for entry in entries {
            if let Some(first) = firsts.iter().find(|first| first.key == entry.key) {
                let line = first.key_place.line;
                let text = format!("has {} in line {line} already", quoted(&entry.key));
                self.bad(entry.key_place, "commands", text);
                continue;
            }
            firsts.push(entry);
            match entry.key.as_str() {
                "allow" => rules.allow = self.list("commands.allow", entry, allowed),
                "deny" => rules.deny = self.list("commands.deny", entry, Which::read),
                "rename" => self.renames(entry, &mut rules),
                "modules" => rules.modules = self.modules(entry),
                other => {
                    let known = ["allow", "deny", "rename", "modules"];
                    let text = match value::nearest(other, known.into_iter()) {
                        Some(key) => format!("is unknown (would {key} be right?)"),
                        None => format!("is unknown; the keys are {}", known.join(", ")),
                    };
                    self.fault(entry.key_place, &format!("commands.{}", shown(other)), text);
                }
            }
        }
        let modules = firsts.iter().find(|first| first.key == "modules");
        if let Some(entry) = modules
            && rules.modules == Modules::FirstKey
            && rules.deny.contains(&Which::All)
        {
            let text =
                "first_key is at odds with @all in deny, which means commands of modules too";
            self.bad(entry.node.place, "commands.modules", text.to_owned());
        }
        rules
    }

    fn list(
        &mut self,
        key: &'static str,
        entry: &Entry,
        read: fn(&str) -> Result<Which, String>,
    ) -> Vec<Which> {
        let Value::List(items) = &entry.node.value else {
            let text = "is not a list; one like [flushall, \"@dangerous\"] would be right";
            self.bad(entry.node.place, key, text.to_owned());
            return Vec::new();
        };
        // Generated files hold empty items, which say nothing.
        let items = items.iter().filter(|item| item.value != Value::Null);
        let mut list = Vec::new();
        for item in items {
            match self.text(key, item).map(read) {
                Some(Ok(which)) => list.push(which),
                Some(Err(text)) => self.bad(item.place, key, text),
                None => {}
            }
        }
        list
    }

    fn renames(&mut self, entry: &Entry, rules: &mut CommandRules) {
        let key = "commands.rename";
        let Value::Mapping(entries) = &entry.node.value else {
            let text = "is not a mapping; one like {flushall: wipe} would be right";
            return self.bad(entry.node.place, key, text.to_owned());
        };
        for entry in entries {
            let command = match named(&entry.key) {
                Ok(command) if command.name.contains('|') => Err(format!(
                    "{} is of two words; the first, {}, can be renamed with all that it leads",
                    quoted(&entry.key),
                    command.first_word()
                )),
                Ok(command) if rules.rename.iter().any(|(known, _)| *known == command) => {
                    Err(format!("{} is renamed already", quoted(&entry.key)))
                }
                found => found,
            };
            let command = command.map_err(|text| self.bad(entry.key_place, key, text));
            let Some(text) = self.text(key, &entry.node) else { continue };
            let name = text.to_ascii_lowercase();
            if let Err(text) = may_be_a_name(&name, rules) {
                self.bad(entry.node.place, key, text);
            } else if let Ok(command) = command {
                rules.rename.push((command, Some(name).filter(|name| !name.is_empty())));
            }
        }
    }

    fn modules(&mut self, entry: &Entry) -> Modules {
        let key = "commands.modules";
        match self.text(key, &entry.node) {
            Some("first_key") => Modules::FirstKey,
            Some("refuse") => Modules::Refused,
            Some(other) => {
                let text = format!("{} is neither first_key nor refuse", quoted(other));
                self.bad(entry.node.place, key, text);
                Modules::Refused
            }
            None => Modules::Refused,
        }
    }

    /// The text of a value that is no list and no mapping.
    fn text<'n>(&mut self, key: &'static str, node: &'n Node) -> Option<&'n str> {
        let text = match &node.value {
            Value::Text(text) => return Some(text),
            Value::Null => NO_VALUE,
            Value::Mapping(_) | Value::List(_) => "is a list or a mapping; a word would be right",
        };
        self.bad(node.place, key, text.to_owned());
        None
    }
}

/// An entry of `allow`.
fn allowed(text: &str) -> Result<Which, String> {
    let which = Which::read(text)?;
    match which.refusal() {
        None => Ok(which),
        Some(why) => Err(format!("{} cannot be allowed: {why}", quoted(text))),
    }
}

/// Whether a command can have this as its new name, which is in lower case.
fn may_be_a_name(name: &str, rules: &CommandRules) -> Result<(), String> {
    let shown = quoted(name);
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{shown} is too long; {NAME_BYTES_MAX} bytes would be right"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{shown} is no name; letters, digits and signs would be right"));
    }
    if commands::lookup(name.as_bytes()).is_some() {
        return Err(format!("{shown} is another command"));
    }
    if rules.rename.iter().any(|(_, known)| known.as_deref() == Some(name)) {
        return Err(format!("{shown} is the new name of another command too"));
    }
    Ok(())
}
