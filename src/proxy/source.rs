//! The bytes of one whole request or reply, wherever they are.

use std::cell::Cell;
use std::ops::Range;

use crate::io::{Buffer, Chain, Mark};

/// One message: what came in earlier buffers, and then a part of the buffer at hand.
///
/// ```text
///   before (usually empty)     buffer
///   [..................]       [ other messages |■■■■ range ■■■■| other messages ]
///   offset 0                                     offset before.len()
/// ```
pub(crate) struct Source<'a> {
    before: &'a mut Chain,
    buffer: &'a mut Buffer,
    range: Range<usize>,
    /// Where in `before` the last part was: keys are looked at in ascending order.
    mark: Cell<Mark>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(before: &'a mut Chain, buffer: &'a mut Buffer, range: Range<usize>) -> Self {
        debug_assert!(range.end <= buffer.len());
        Self { before, buffer, range, mark: Cell::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.range.len()
    }

    /// The bytes at `part`, copied to `scratch` only if they lie in more than one place.
    #[inline]
    pub(crate) fn slice<'s>(&'s self, part: Range<usize>, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        let split = self.before.len();
        if part.start >= split {
            let start = self.range.start + part.start - split;
            return &self.buffer[start..start + part.len()];
        }
        scratch.clear();
        let mut mark = self.mark.get();
        self.before.copy_range(part.start..part.end.min(split), scratch, &mut mark);
        self.mark.set(mark);
        if part.end > split {
            scratch.extend_from_slice(&self.buffer[self.range.start..][..part.end - split]);
        }
        scratch
    }

    /// Hands the bytes at `part` over where they lie, piece by piece.
    pub(crate) fn for_each_piece(&self, part: Range<usize>, act: &mut dyn FnMut(&[u8])) {
        let split = self.before.len();
        if part.start < split {
            let mut mark = self.mark.get();
            self.before.visit(part.start..part.end.min(split), &mut mark, &mut *act);
            self.mark.set(mark);
        }
        if part.end > split {
            let start = self.range.start + part.start.saturating_sub(split);
            act(&self.buffer[start..self.range.start + part.end - split]);
        }
    }

    /// Puts the bytes at `part` at the end of `into`, large pieces by reference.
    pub(crate) fn append_part(&mut self, part: Range<usize>, into: &mut Chain) {
        let split = self.before.len();
        if part.start < split {
            into.append_range(self.before, part.start..part.end.min(split), self.mark.get_mut());
        }
        if part.end > split {
            let start = self.range.start + part.start.saturating_sub(split);
            let end = self.range.start + part.end - split;
            into.push_buffer(self.buffer, start..end);
        }
    }

    /// Moves all of it to the end of `into`.
    #[inline]
    pub(crate) fn move_to(self, into: &mut Chain) {
        if !self.before.is_empty() {
            into.append(self.before);
        }
        into.push_buffer(self.buffer, self.range);
    }

    /// Copies all of it to the end of `into`.
    pub(crate) fn copy_to(self, into: &mut Vec<u8>) {
        if !self.before.is_empty() {
            self.before.copy_range(0..self.before.len(), into, &mut Mark::default());
            self.before.clear();
        }
        into.extend_from_slice(&self.buffer[self.range]);
    }

    /// Leaves all of it where its first part is.
    pub(crate) fn park(self) {
        self.before.push_buffer(self.buffer, self.range);
    }

    /// Forgets it.
    pub(crate) fn discard(self) {
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEEP_BYTES_MIN;
    use bytes::Bytes;

    #[test]
    fn a_message_reads_the_same_wherever_it_is_split() {
        let message: Vec<u8> = (0..KEEP_BYTES_MIN + 40).map(|i| (i % 251) as u8).collect();
        for split in [0, 1, 20, KEEP_BYTES_MIN, message.len() - 1] {
            for part in [0..5, 15..25, 0..message.len(), message.len() - 9..message.len()] {
                let mut before = Chain::new();
                before.push_copy(&message[..split]);
                let tail = [b"xx", &message[split..], b"yy"].concat();
                let mut buffer = Buffer::from_bytes(Bytes::from(tail));
                let range = 2..2 + message.len() - split;
                let mut source = Source::new(&mut before, &mut buffer, range);
                let mut scratch = Vec::new();
                assert_eq!(source.slice(part.clone(), &mut scratch), &message[part.clone()]);
                let mut pieces = Vec::new();
                source.for_each_piece(part.clone(), &mut |it| pieces.extend_from_slice(it));
                assert_eq!(pieces, &message[part.clone()]);
                let mut into = Chain::new();
                source.append_part(part.clone(), &mut into);
                assert_eq!(into.to_vec(), &message[part]);
                let mut all = Chain::new();
                source.move_to(&mut all);
                assert_eq!(all.to_vec(), message);
                assert!(before.is_empty());
            }
        }
    }
}
