//! The command table: one line per command.

use crate::proto::commands::Command;

pub(in crate::proto) const COMMANDS: &[Command] = &[];
