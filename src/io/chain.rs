//! A chain of byte pieces: what waits to be sent, or to be understood.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::io::Buffer;
use crate::limits::{CHAIN_CHUNK_BYTES, KEEP_BYTES_MIN, SPARE_CHAIN_BYTES_MAX};

/// Bytes in order, in pieces. Small pieces are copied together, large ones are kept by reference.
///
/// ```text
///   front                                             back
///   [kept 16384][copied 25][kept 16384] ... [tail: start..]
///    `segments`, counted references           `tail`, still growing
/// ```
///
/// A chain without segments is one contiguous slice: that is the case to be fast in.
///
/// Invariants: `len` is the sum of the segments and of `tail[start..]`; no segment is empty.
#[derive(Default)]
pub struct Chain {
    segments: VecDeque<Bytes>,
    tail: Vec<u8>,
    start: usize,
    len: usize,
}

impl Chain {
    /// An empty chain. It owns no memory yet.
    pub const fn new() -> Self {
        Self { segments: VecDeque::new(), tail: Vec::new(), start: 0, len: 0 }
    }

    /// How many bytes are in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `data` to the end. A chunk never grows beyond `CHAIN_CHUNK_BYTES`, so that a large
    /// value never grows by doubling.
    #[inline]
    pub fn push_copy(&mut self, data: &[u8]) {
        if self.tail.len() + data.len() <= CHAIN_CHUNK_BYTES {
            self.tail.extend_from_slice(data);
            self.len += data.len();
        } else {
            self.push_copy_in_chunks(data);
        }
    }

    /// Puts a counted reference at the end.
    pub fn push_kept(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.seal();
        self.len += piece.len();
        self.segments.push_back(piece);
    }

    /// Puts a part of a receive buffer at the end: kept when it is large, copied when small.
    ///
    /// What is kept holds the whole buffer, so it is half of it at least: memory is at most twice
    /// what is counted.
    #[inline]
    pub fn push_buffer(&mut self, buffer: &mut Buffer, range: Range<usize>) {
        if range.len() >= KEEP_BYTES_MIN.max(buffer.capacity() / 2) {
            self.push_kept(buffer.keep(range));
        } else {
            self.push_copy(&buffer[range]);
        }
    }

    /// Puts all of `other` at the end, and leaves it empty. What is a piece stays one, so that no
    /// byte of a large message is copied twice; only a small tail is copied.
    pub fn append(&mut self, other: &mut Chain) {
        while let Some(piece) = other.segments.pop_front() {
            self.push_kept(piece);
        }
        let rest = other.tail.len() - other.start;
        if rest >= KEEP_BYTES_MIN {
            other.seal();
            if let Some(piece) = other.segments.pop_front() {
                self.push_kept(piece);
            }
        } else if rest > 0 {
            self.push_copy(&other.tail[other.start..]);
        }
        other.clear();
    }

    /// Puts a copy of a range of `other` at the end; large pieces are shared instead of copied.
    /// `mark` is where to look first; ranges that ascend need one for all of them.
    ///
    /// What is shared is half of the piece that it is a part of, and that one half of its buffer at
    /// least: memory is at most four times what is counted.
    ///
    /// Panics when `range` is not within `other`.
    pub fn append_range(&mut self, other: &Chain, range: Range<usize>, mark: &mut Mark) {
        other.for_each_piece(range, mark, |piece| match piece {
            Piece::Kept(bytes, part) if part.len() >= KEEP_BYTES_MIN.max(bytes.len() / 2) => {
                self.push_kept(bytes.slice(part));
            }
            Piece::Kept(bytes, part) => self.push_copy(&bytes[part]),
            Piece::Copied(data) => self.push_copy(data),
        });
    }

    /// Moves `count` bytes from the front of this chain to the end of `into`.
    ///
    /// Panics when there are not as many.
    pub fn move_front(&mut self, count: usize, into: &mut Chain) {
        let mut left = count;
        while left > 0 {
            match self.segments.front_mut() {
                Some(front) => {
                    let piece = front.split_to(left.min(front.len()));
                    left -= piece.len();
                    into.push_piece(piece);
                    if front.is_empty() {
                        self.segments.pop_front();
                    }
                }
                None => {
                    into.push_copy(&self.tail[self.start..][..left]);
                    self.start += left;
                    left = 0;
                }
            }
        }
        self.len -= count;
        if self.len == 0 {
            self.clear();
        }
    }

    /// Copies a range to `into`. `mark` is as for `append_range`.
    ///
    /// Panics when `range` is not within the chain.
    pub fn copy_range(&self, range: Range<usize>, into: &mut Vec<u8>, mark: &mut Mark) {
        self.for_each_piece(range, mark, |piece| match piece {
            Piece::Kept(bytes, part) => into.extend_from_slice(&bytes[part]),
            Piece::Copied(data) => into.extend_from_slice(data),
        });
    }

    /// Takes `count` bytes off the front.
    ///
    /// Panics when there are not as many.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "advance by {count} in a chain of {}", self.len);
        self.len -= count;
        let mut count = count;
        while let Some(front) = self.segments.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
        self.start += count;
        if self.len == 0 {
            self.clear();
        }
    }

    /// Takes the first piece out.
    pub fn pop_piece(&mut self) -> Option<Bytes> {
        if self.segments.is_empty() {
            self.seal();
        }
        let piece = self.segments.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    /// Puts a piece in front of everything.
    pub fn push_front(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.segments.push_front(piece);
        }
    }

    /// Empties the chain. A small tail keeps its memory for the next use.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.tail.clear();
        if self.tail.capacity() > SPARE_CHAIN_BYTES_MAX {
            self.tail = Vec::new();
        }
        self.start = 0;
        self.len = 0;
    }

    /// The pieces, front to back; none is empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let tail = &self.tail[self.start..];
        let tail = (!tail.is_empty()).then_some(tail);
        self.segments.iter().map(|piece| &piece[..]).chain(tail)
    }

    /// All of it, copied together. For tests and for messages, not for the request path.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        self.slices().for_each(|piece| all.extend_from_slice(piece));
        all
    }

    /// Bytes of memory that the tail holds, used or not.
    pub fn tail_capacity(&self) -> usize {
        self.tail.capacity()
    }

    fn push_piece(&mut self, piece: Bytes) {
        if piece.len() >= KEEP_BYTES_MIN {
            self.push_kept(piece);
        } else {
            self.push_copy(&piece);
        }
    }

    fn push_copy_in_chunks(&mut self, data: &[u8]) {
        for chunk in data.chunks(CHAIN_CHUNK_BYTES) {
            if self.tail.len() + chunk.len() > CHAIN_CHUNK_BYTES {
                self.seal();
            }
            self.tail.extend_from_slice(chunk);
            self.len += chunk.len();
        }
    }

    /// Turns the tail into a segment, so that something else can follow it.
    fn seal(&mut self) {
        let mut piece = Bytes::from(std::mem::take(&mut self.tail));
        piece.advance(self.start);
        self.start = 0;
        if !piece.is_empty() {
            self.segments.push_back(piece);
        }
    }

    /// Hands over the bytes at `range` where they lie, piece by piece.
    pub fn visit(&self, range: Range<usize>, mark: &mut Mark, mut act: impl FnMut(&[u8])) {
        self.for_each_piece(range, mark, |piece| match piece {
            Piece::Kept(bytes, part) => act(&bytes[part]),
            Piece::Copied(bytes) => act(bytes),
        });
    }

    fn for_each_piece<'a>(
        &'a self,
        range: Range<usize>,
        mark: &mut Mark,
        mut act: impl FnMut(Piece<'a>),
    ) {
        assert!(range.start <= range.end && range.end <= self.len, "range beyond the chain");
        if range.start < mark.offset {
            *mark = Mark::default();
        }
        let mut skip = range.start - mark.offset;
        let mut left = range.len();
        while left > 0
            && let Some(bytes) = self.segments.get(mark.segment)
        {
            if skip < bytes.len() {
                let end = bytes.len().min(skip + left);
                act(Piece::Kept(bytes, skip..end));
                left -= end - skip;
                skip = end;
            }
            if skip >= bytes.len() {
                skip -= bytes.len();
                mark.segment += 1;
                mark.offset += bytes.len();
            }
        }
        if left > 0 {
            act(Piece::Copied(&self.tail[self.start + skip..][..left]));
        }
    }
}

/// A place in a chain that does not change meanwhile: where a search for a later one begins. A
/// request of a million keys is looked at a million times, and not from its front each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    segment: usize,
    /// Where that segment begins.
    offset: usize,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({} bytes in {} pieces)", self.len, self.slices().count())
    }
}

enum Piece<'a> {
    Kept(&'a Bytes, Range<usize>),
    Copied(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> (Chain, Vec<u8>) {
        let large: Vec<u8> = (0..KEEP_BYTES_MIN + 5).map(|i| i as u8).collect();
        let mut chain = Chain::new();
        chain.push_copy(b"head");
        chain.push_kept(Bytes::from(large.clone()));
        chain.push_copy(b"tail");
        let expected = [&b"head"[..], &large, b"tail"].concat();
        (chain, expected)
    }

    #[test]
    fn pieces_come_out_in_order() {
        let (chain, expected) = mixed();
        assert_eq!(chain.len(), expected.len());
        assert_eq!(chain.to_vec(), expected);
        assert_eq!(chain.slices().count(), 3);
    }

    #[test]
    fn any_advance_leaves_the_rest() {
        let (_, expected) = mixed();
        for count in [0, 1, 3, 4, 5, expected.len() - 4, expected.len() - 1, expected.len()] {
            let (mut chain, _) = mixed();
            chain.advance(count);
            assert_eq!(chain.to_vec(), expected[count..], "advance by {count}");
            chain.push_copy(b"more");
            assert_eq!(chain.len(), expected.len() - count + 4);
        }
    }

    #[test]
    fn any_range_can_be_taken() {
        let (chain, expected) = mixed();
        for start in [0, 2, 4, 9, expected.len() - 5] {
            for end in [start, start + 1, start + 5, expected.len()] {
                let mut copied = Vec::new();
                chain.copy_range(start..end, &mut copied, &mut Mark::default());
                assert_eq!(copied, expected[start..end]);
                let mut other = Chain::new();
                other.append_range(&chain, start..end, &mut Mark::default());
                assert_eq!(other.to_vec(), expected[start..end]);
            }
        }
    }

    #[test]
    fn one_mark_serves_ranges_in_any_order() {
        let (mut chain, mut expected) = mixed();
        let (mut more, again) = mixed();
        chain.append(&mut more);
        expected.extend(again);
        let mut mark = Mark::default();
        let mut starts: Vec<usize> = (0..expected.len() - 7).step_by(11).collect();
        starts.extend([0, expected.len() - 7, 5]);
        for start in starts {
            let mut copied = Vec::new();
            chain.copy_range(start..start + 7, &mut copied, &mut mark);
            assert_eq!(copied, expected[start..start + 7], "at {start}");
        }
    }

    #[test]
    fn pieces_can_be_taken_and_put_back_in_front() {
        let (mut chain, expected) = mixed();
        chain.advance(1);
        let mut seen = Vec::new();
        while let Some(mut piece) = chain.pop_piece() {
            seen.extend_from_slice(&piece.split_to(1));
            chain.push_front(piece);
        }
        assert_eq!(seen, expected[1..]);
        assert_eq!(chain.len(), 0);
    }

    #[test]
    fn move_front_cuts_anywhere() {
        let (_, expected) = mixed();
        for count in [0, 1, 4, 5, KEEP_BYTES_MIN, expected.len() - 2, expected.len()] {
            let (mut chain, _) = mixed();
            let mut front = Chain::new();
            chain.move_front(count, &mut front);
            assert_eq!(front.to_vec(), expected[..count]);
            assert_eq!(chain.to_vec(), expected[count..]);
        }
    }

    #[test]
    fn append_moves_everything_and_empties_the_other() {
        let (mut first, expected) = mixed();
        let (mut second, _) = mixed();
        second.advance(2);
        first.append(&mut second);
        assert_eq!(first.to_vec(), [&expected[..], &expected[2..]].concat());
        assert!(second.is_empty());
    }

    #[test]
    fn a_large_copy_is_cut_in_chunks() {
        let mut chain = Chain::new();
        let data = vec![7; CHAIN_CHUNK_BYTES * 3 + 1];
        chain.push_copy(b"x");
        chain.push_copy(&data);
        assert_eq!(chain.len(), data.len() + 1);
        assert!(chain.slices().all(|piece| piece.len() <= CHAIN_CHUNK_BYTES));
    }

    #[test]
    fn a_partly_sent_tail_can_be_sealed() {
        let mut chain = Chain::new();
        chain.push_copy(b"abcdef");
        chain.advance(2);
        chain.push_kept(Bytes::from_static(b"XYZ"));
        assert_eq!(chain.to_vec(), b"cdefXYZ");
        chain.advance(5);
        assert_eq!(chain.to_vec(), b"YZ");
    }
}
