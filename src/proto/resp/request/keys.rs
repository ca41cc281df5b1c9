//! Which arguments of a request are keys, found while they pass.
//!
//! Most commands have them at fixed places, known with the name. For the others `look_at` says
//! which argument has to be looked at next: a number of keys, a second word of the name, a word
//! like STORE behind which a key stands. Whatever is no such word is passed over: whether it is
//! right is for the server to say, and a newer one may know more words.
//!
//! A request in which the keys cannot be found has none, and there is no server that takes it: any
//! may say what is wrong.

use crate::proto::commands::{self, Command, Keys, UNLISTED};
use crate::proto::resp::RequestParser;
use crate::proto::resp::number::Number;
use crate::proto::{BadRequest, KeySpan};

impl RequestParser {
    /// The name is whole.
    #[inline]
    pub(super) fn on_name(&mut self, name: &[u8]) -> Result<(), BadRequest> {
        match commands::lookup(name) {
            Some(command) => self.on_command(command),
            // Redis: `securityWarningCommand`. A browser was made to post to us.
            None if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") => {
                return Err(BadRequest::Http);
            }
            None => self.on_other_name(name),
        }
        Ok(())
    }

    /// A name that is not in the table: it may be one that the pool gives.
    #[cold]
    fn on_other_name(&mut self, name: &[u8]) {
        let found = self.names.as_ref().and_then(|names| names.find(name));
        if let Some(command) = found {
            self.request.renamed = command.number != UNLISTED;
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: &'static Command) {
        self.request.command = Some(command);
        let arguments = self.request.arguments;
        match command.keys {
            Keys::None => {}
            Keys::Range { first, last, step } => {
                self.set_keys(KeySpan::range(first, last, step, arguments));
                if last < -1 {
                    self.spans_wanted = arguments;
                }
            }
            Keys::Channels { last } => self.set_keys(KeySpan::range(1, last, 1, arguments)),
            Keys::Counted { at, .. } => self.look_at = u32::from(at),
            Keys::BySubcommand => self.look_at = 1,
            Keys::Streams => self.look_from(1),
            Keys::Sort => {
                self.set_keys(KeySpan::range(1, 1, 1, arguments));
                self.look_from(2);
            }
            Keys::Radius => {
                self.set_keys(KeySpan::range(1, 1, 1, arguments));
                self.look_from(5);
            }
            Keys::Migrate => {
                self.set_keys(KeySpan::range(3, 3, 1, arguments));
                self.look_from(6);
            }
        }
    }

    /// Keys may stand anywhere from here on.
    fn look_from(&mut self, index: u32) {
        self.look_at = index;
        self.spans_wanted = self.request.arguments;
    }

    /// The argument at `look_at` is whole. `word` may be empty instead of long.
    pub(super) fn on_looked_at(&mut self, index: u32, word: &[u8]) {
        self.look_at = 0;
        let Some(command) = self.request.command else { return };
        let skipped = match command.keys {
            Keys::Counted { first, also, .. } => {
                let count = Number::canonical().read(word).unwrap_or(0);
                let arguments = self.request.arguments;
                return self.set_keys(KeySpan::counted(first, count, also, arguments));
            }
            Keys::BySubcommand => {
                let found = commands::lookup_second(command, word);
                return found.into_iter().for_each(|command| self.on_command(command));
            }
            Keys::Streams => self.on_word_of_streams(index, word),
            Keys::Sort => self.on_word_of_sort(index, word),
            Keys::Radius => self.on_word_of_radius(index, word),
            Keys::Migrate => self.on_word_of_migrate(index, word),
            Keys::None | Keys::Range { .. } | Keys::Channels { .. } => None,
        };
        if let Some(skipped) = skipped {
            self.look_at = index + 1 + skipped;
        }
    }

    /// A word of XREAD or XREADGROUP. Returns how many arguments belong to it; `None`: no further
    /// word matters. Source of this and the next three: redis 7.0 `db.c`, `xreadGetKeys` and so on.
    fn on_word_of_streams(&mut self, index: u32, word: &[u8]) -> Option<u32> {
        if is(word, b"streams") {
            let left = self.request.arguments - index - 1;
            if left > 0 && left.is_multiple_of(2) {
                let first = index + 1;
                self.set_keys(KeySpan { first, count: left / 2, step: 1, also: 0 });
            }
            return None;
        }
        if is(word, b"block") {
            self.request.block_at = index + 1;
        }
        let has_value = is(word, b"block") || is(word, b"count") || is(word, b"claim");
        Some(if is(word, b"group") { 2 } else { u32::from(has_value) })
    }

    /// A word of SORT: the last STORE counts.
    fn on_word_of_sort(&mut self, index: u32, word: &[u8]) -> Option<u32> {
        let has_value = index + 1 < self.request.arguments;
        if is(word, b"store") && has_value {
            self.request.keys.also = index + 1;
            return Some(1);
        }
        if is(word, b"by") || is(word, b"get") {
            if has_value {
                self.request.patterns.push(index + 1);
            }
            return Some(1);
        }
        Some(if is(word, b"limit") { 2 } else { 0 })
    }

    /// A word of GEORADIUS or GEORADIUSBYMEMBER: the last STORE or STOREDIST counts.
    fn on_word_of_radius(&mut self, index: u32, word: &[u8]) -> Option<u32> {
        let names_a_key = is(word, b"store") || is(word, b"storedist");
        if names_a_key && index + 1 < self.request.arguments {
            self.request.keys.also = index + 1;
            return Some(1);
        }
        Some(0)
    }

    /// A word of MIGRATE, which has KEYS only if the key in its place is empty.
    fn on_word_of_migrate(&mut self, index: u32, word: &[u8]) -> Option<u32> {
        if is(word, b"keys") {
            let (first, count) = (index + 1, self.request.arguments - index - 1);
            self.request.keys = match self.request.spans[3].len {
                0 if count > 0 => KeySpan { first, count, step: 1, also: 0 },
                _ => KeySpan::NONE,
            };
            return None;
        }
        Some(if is(word, b"auth2") { 2 } else { u32::from(is(word, b"auth")) })
    }

    /// Keys are known; they and the arguments between them have spans to be recorded.
    #[inline]
    fn set_keys(&mut self, keys: KeySpan) {
        self.request.keys = keys;
        self.spans_wanted = self.spans_wanted.max(keys.first + keys.count * keys.step);
    }
}

fn is(word: &[u8], name: &[u8]) -> bool {
    word.eq_ignore_ascii_case(name)
}
