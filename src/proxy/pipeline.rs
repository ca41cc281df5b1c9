//! The order of one client's replies.

use std::collections::VecDeque;

use crate::io::Chain;
use crate::proxy::gather::{Elements, Gather};
use crate::proxy::source::Source;

/// A client's requests that are not fully answered, oldest first. A request gets its place when
/// it is understood, and that fixes the order of replies once and for all.
///
/// ```text
///   sequence:  base       base+1      base+2      base+3
///              Waiting    Early       Gather      Ready
///              ^ head: its reply goes straight to the client's output,
///                and then whatever behind it is complete follows
/// ```
///
/// A large reply of the head streams: what has come of it is in the output before its end is known.
/// Only its rest may follow, and nothing of ours in its place.
///
/// Small replies that came too early lie together in `early`, so that two servers which answer
/// in turns cost no allocation; large ones and gathers have a chain of their own.
#[derive(Default)]
pub(crate) struct Pipeline {
    base: u32,
    slots: VecDeque<Slot>,
    early: Vec<u8>,
    /// How many slots refer to `early`; at none it starts anew.
    early_slots: u32,
    in_flight_bytes: usize,
    /// Bytes of replies that wait for their turn.
    held_bytes: usize,
}

struct Slot {
    state: State,
    /// Bytes of the request, and of what all servers keep of it if they all got it, for the limit
    /// on what is in flight.
    request_bytes: u32,
}

enum State {
    Waiting,
    /// At the head only: so many bytes of its reply are in the output.
    Streaming {
        bytes: usize,
    },
    Early {
        offset: u32,
        len: u32,
    },
    Ready(Box<Chain>),
    Gather(Box<Gather>),
}

/// What settled a slot that waits for one reply, or one of a gather's.
pub(crate) enum Part {
    /// The slot waits for one reply.
    Whole,
    /// The slot waits for several; this is the one of that number.
    Fragment(u32),
}

impl Pipeline {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of requests that are not fully answered.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Bytes of replies that came before their turn.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// A place for a request that waits for one reply. Returns its sequence number.
    #[inline]
    pub(crate) fn push_waiting(&mut self, request_bytes: u32) -> u32 {
        self.push(State::Waiting, request_bytes)
    }

    /// A place for a request that waits for several replies.
    pub(crate) fn push_gather(&mut self, gather: Gather, request_bytes: u32) -> u32 {
        self.push(State::Gather(Box::new(gather)), request_bytes)
    }

    /// A request that is answered on the spot, when it is its turn.
    pub(crate) fn push_answered(&mut self, reply: &[u8], output: &mut Chain) {
        if self.slots.is_empty() {
            output.push_copy(reply);
            self.base = self.base.wrapping_add(1);
            return;
        }
        let state = self.hold_copy(reply);
        self.push(state, 0);
    }

    /// As `push_answered`, for a reply that may be large.
    pub(crate) fn push_ready(&mut self, mut reply: Chain, output: &mut Chain) {
        if self.slots.is_empty() {
            output.append(&mut reply);
            self.base = self.base.wrapping_add(1);
            return;
        }
        self.held_bytes += reply.len();
        self.push(State::Ready(Box::new(reply)), 0);
    }

    /// Puts a reply in its place; it and what is complete behind it goes to `output` when it is
    /// at the head. `elements` are an array's, for a gather that asked for them.
    ///
    /// A sequence number that is not in flight is a bug.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        sequence: u32,
        part: Part,
        source: Source<'_>,
        elements: Elements<'_>,
        output: &mut Chain,
    ) {
        let place = self.place(sequence);
        if let Part::Fragment(fragment) = part {
            self.held_bytes += source.len();
            self.gather(place).fill(fragment, source, elements);
            self.finish_gather(place, output);
            return;
        }
        if place == 0 {
            source.move_to(output);
            self.pop();
            self.release(output);
        } else {
            self.slots[place].state = self.hold(source);
        }
    }

    /// Whether the reply to a request may stream: it is the one reply to the request at the head.
    pub(crate) fn may_stream(&self, sequence: u32) -> bool {
        let head = self.slots.front().map(|slot| &slot.state);
        sequence == self.base && matches!(head, Some(State::Waiting | State::Streaming { .. }))
    }

    /// Whether a part of the reply to a request has gone out.
    pub(crate) fn is_streaming(&self, sequence: u32) -> bool {
        sequence == self.base && self.streamed_bytes() > 0
    }

    /// Bytes of the head's reply that have gone out before its end.
    #[inline]
    pub(crate) fn streamed_bytes(&self) -> usize {
        match self.slots.front().map(|slot| &slot.state) {
            Some(State::Streaming { bytes }) => *bytes,
            Some(State::Waiting | State::Early { .. } | State::Ready(_) | State::Gather(_))
            | None => 0,
        }
    }

    /// `count` bytes of the head's reply go out, which may stream.
    pub(crate) fn stream(&mut self, count: usize) {
        let bytes = self.streamed_bytes() + count;
        if let Some(head) = self.slots.front_mut() {
            head.state = State::Streaming { bytes };
        }
    }

    /// As `settle`, with an error of ours in place of a reply. `reply` is a whole one. Returns
    /// whether it is the first for its request.
    pub(crate) fn settle_error(
        &mut self,
        sequence: u32,
        part: Part,
        reply: &[u8],
        output: &mut Chain,
    ) -> bool {
        assert!(!self.is_streaming(sequence), "an error would be a part of the reply");
        let place = self.place(sequence);
        if let Part::Fragment(fragment) = part {
            self.held_bytes += reply.len();
            let is_first = self.gather(place).fail(fragment, reply);
            self.finish_gather(place, output);
            return is_first;
        }
        if place == 0 {
            output.push_copy(reply);
            self.pop();
            self.release(output);
        } else {
            self.slots[place].state = self.hold_copy(reply);
        }
        true
    }

    /// Ends the request at the head without a reply: it has had its reply in other ways. What is
    /// complete behind it goes to `output`.
    pub(crate) fn finish_head(&mut self, output: &mut Chain) {
        debug_assert!(matches!(self.slots.front().map(|slot| &slot.state), Some(State::Waiting)));
        self.pop();
        self.release(output);
    }

    /// Forgets everything and gives its memory up.
    pub(crate) fn clear(&mut self) {
        *self = Self { base: self.base.wrapping_add(self.slots.len() as u32), ..Self::default() };
    }

    fn place(&self, sequence: u32) -> usize {
        let place = sequence.wrapping_sub(self.base) as usize;
        assert!(place < self.slots.len(), "sequence {sequence} is not in flight");
        place
    }

    fn gather(&mut self, place: usize) -> &mut Gather {
        match &mut self.slots[place].state {
            State::Gather(gather) => gather,
            State::Waiting | State::Streaming { .. } | State::Early { .. } | State::Ready(_) => {
                panic!("a fragment for a slot that is not a gather")
            }
        }
    }

    fn push(&mut self, state: State, request_bytes: u32) -> u32 {
        let sequence = self.base.wrapping_add(self.slots.len() as u32);
        self.in_flight_bytes += request_bytes as usize;
        self.slots.push_back(Slot { state, request_bytes });
        sequence
    }

    fn pop(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.in_flight_bytes -= slot.request_bytes as usize;
            self.base = self.base.wrapping_add(1);
        }
        if self.slots.is_empty() && self.slots.capacity() > IDLE_SLOTS_MAX {
            self.slots = VecDeque::new();
            self.early = Vec::new();
        }
    }

    /// Sends what is complete at the head on its way.
    fn release(&mut self, output: &mut Chain) {
        while let Some(head) = self.slots.front_mut() {
            match &mut head.state {
                State::Waiting | State::Streaming { .. } | State::Gather(_) => return,
                State::Early { offset, len } => {
                    let (offset, len) = (*offset as usize, *len as usize);
                    output.push_copy(&self.early[offset..offset + len]);
                    self.held_bytes -= len;
                    self.early_slots -= 1;
                    if self.early_slots == 0 {
                        self.early.clear();
                    }
                }
                State::Ready(reply) => {
                    self.held_bytes -= reply.len();
                    output.append(reply);
                }
            }
            self.pop();
        }
    }

    fn hold(&mut self, source: Source<'_>) -> State {
        if source.len() <= EARLY_REPLY_BYTES_MAX && self.early.len() <= EARLY_BYTES_MAX {
            let offset = self.early.len() as u32;
            let len = source.len() as u32;
            source.copy_to(&mut self.early);
            self.held_bytes += len as usize;
            self.early_slots += 1;
            return State::Early { offset, len };
        }
        let mut reply = Box::new(Chain::new());
        source.move_to(&mut reply);
        self.held_bytes += reply.len();
        State::Ready(reply)
    }

    fn hold_copy(&mut self, reply: &[u8]) -> State {
        self.held_bytes += reply.len();
        if self.early.len() <= EARLY_BYTES_MAX {
            let offset = self.early.len() as u32;
            self.early.extend_from_slice(reply);
            self.early_slots += 1;
            return State::Early { offset, len: reply.len() as u32 };
        }
        let mut chain = Box::new(Chain::new());
        chain.push_copy(reply);
        State::Ready(chain)
    }

    fn finish_gather(&mut self, place: usize, output: &mut Chain) {
        let State::Gather(gather) = &mut self.slots[place].state else { return };
        if !gather.is_complete() {
            return;
        }
        self.held_bytes -= gather.held_bytes();
        if place == 0 {
            gather.compose(output);
            self.pop();
            self.release(output);
        } else {
            let mut reply = Box::new(Chain::new());
            gather.compose(&mut reply);
            self.held_bytes += reply.len();
            self.slots[place].state = State::Ready(reply);
        }
    }
}

/// Slots that an idle client may keep memory for.
const IDLE_SLOTS_MAX: usize = 32;
/// A reply of at most this many bytes is copied together with others that came early.
const EARLY_REPLY_BYTES_MAX: usize = 4 << 10;
/// Where the shared memory of early replies stops taking more: a slot that stays at the head for
/// long keeps it from starting anew.
const EARLY_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Buffer;
    use bytes::Bytes;

    fn settle(pipeline: &mut Pipeline, sequence: u32, reply: &[u8], output: &mut Chain) {
        let mut before = Chain::new();
        let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(reply));
        let source = Source::new(&mut before, &mut buffer, 0..reply.len());
        pipeline.settle(sequence, Part::Whole, source, Elements::default(), output);
    }

    #[test]
    fn reply_waits_for_earlier_request() {
        let mut pipeline = Pipeline::default();
        let mut output = Chain::new();
        let first = pipeline.push_waiting(10);
        let second = pipeline.push_waiting(20);
        pipeline.push_answered(b"+PONG\r\n", &mut output);
        settle(&mut pipeline, second, b"+2\r\n", &mut output);
        assert!(output.is_empty());
        assert_eq!(pipeline.in_flight_bytes(), 30);
        assert_eq!(pipeline.held_bytes(), 11);
        settle(&mut pipeline, first, b"+1\r\n", &mut output);
        assert_eq!(output.to_vec(), b"+1\r\n+2\r\n+PONG\r\n");
        assert!(pipeline.is_empty());
        assert_eq!((pipeline.in_flight_bytes(), pipeline.held_bytes()), (0, 0));
    }

    #[test]
    fn replies_in_any_order_leave_in_request_order() {
        for seed in 1..200u64 {
            let mut pipeline = Pipeline { base: u32::MAX - 3, ..Pipeline::default() };
            let mut output = Chain::new();
            let mut waiting: Vec<u32> = (0..40).map(|_| pipeline.push_waiting(1)).collect();
            let mut state = seed;
            while !waiting.is_empty() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let sequence = waiting.swap_remove((state >> 33) as usize % waiting.len());
                let number = sequence.wrapping_sub(u32::MAX - 3);
                // Every third is too large to lie with the early ones.
                let width = if number.is_multiple_of(3) { EARLY_REPLY_BYTES_MAX + 1 } else { 1 };
                settle(&mut pipeline, sequence, &vec![number as u8; width], &mut output);
            }
            let mut seen = output.to_vec();
            seen.dedup();
            assert_eq!(seen, (0..40).collect::<Vec<u8>>(), "seed {seed}");
            assert_eq!(pipeline.held_bytes(), 0);
        }
    }

    #[test]
    fn errors_keep_their_place_too() {
        let mut pipeline = Pipeline::default();
        let mut output = Chain::new();
        let first = pipeline.push_waiting(1);
        let second = pipeline.push_waiting(1);
        pipeline.settle_error(second, Part::Whole, b"-ERR b\r\n", &mut output);
        pipeline.settle_error(first, Part::Whole, b"-ERR a\r\n", &mut output);
        assert_eq!(output.to_vec(), b"-ERR a\r\n-ERR b\r\n");
    }
}
