//! What may go wrong in a simulated run, how often, and how often it did.

use crate::sim::random::Random;

/// A kind of fault: what the ring, the servers and the clients may do to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A receive takes fewer bytes than are there.
    ShortReceive,
    /// A send is over before all its bytes are taken.
    ShortSend,
    /// A send is told of after what follows from it, such as the reply.
    SendToldLate,
    /// A multishot receive or accept ends together with a success.
    MultishotEnds,
    /// A receive finds no buffer (`ENOBUFS`), though there may be some.
    NoBuffers,
    /// A cancel ends a receive although bytes are there.
    CancelBeatsData,
    /// A receive still brings bytes although it was cancelled.
    DataBeatsCancel,
    /// A deadline ends a receive although bytes are there.
    DeadlineBeatsData,
    /// A receive still brings bytes although it is overdue.
    DataBeatsDeadline,
    /// A connect succeeds although it was cancelled or is overdue.
    ConnectBeatsCancel,
    /// A connect is answered at the very moment at which its time is over.
    ConnectTakesLong,
    /// A cancel misses its operation, which goes on as if nothing had been asked.
    CancelMissed,
    /// Something that could complete now completes later.
    LateCompletion,
    /// A wait brings only some of the completions that are there, by chance or by the limit.
    FewCompletions,
    /// The completion queue is full, by chance or by its size, and a multishot operation ends.
    QueueFull,
    /// `wait` returns early and with nothing, as after a signal.
    EarlyWait,
    /// A watch for a hangup ends by itself, without one.
    WatchEnds,
    /// An accept finds no descriptor (`EMFILE`); the connection stays in the backlog.
    AcceptNoDescriptor,
    /// An accept finds a connection that is gone already (`ECONNABORTED`), and takes it out.
    AcceptAborted,
    /// A connect finds no descriptor (`EMFILE`).
    ConnectNoDescriptor,
    /// A connect fails for what lies between: no route, no port, no answer.
    ConnectFails,
    /// A server resets a connection.
    ServerResets,
    /// A server does nothing for up to 30 ms.
    ServerPauses,
    /// A server dies with all its connections, and returns.
    ServerDies,
    /// A server dies in the middle of a reply, and returns.
    ServerDiesInReply,
    /// A server stalls: its kernel goes on for it.
    ServerStalls,
    /// A server sends a reply twice.
    ServerAnswersTwice,
    /// A server sends what is no reply.
    ServerAnswersGarbage,
    /// A server that speaks RESP3 sends a push that nobody has subscribed to.
    ServerPushes,
    /// A server shuts down its writing side instead of a reply.
    ServerHalfCloses,
    /// A server refuses a connection.
    ServerRefuses,
    /// A server neither accepts nor refuses a connection.
    ServerVanishes,
    /// A server loses its data.
    ServerEmpties,
    /// A client closes its connection with requests unanswered.
    ClientVanishes,
    /// A client resets its connection with requests unanswered.
    ClientResets,
    /// A client shuts down its writing side with requests unanswered.
    ClientHalfCloses,
    /// A client does not read.
    ClientNeverReads,
    /// A client writes a few bytes at a time.
    ClientDrips,
    /// A client writes all of its requests at once.
    ClientFloods,
}

/// How often each kind of fault happens, and how often it has happened. The default has none.
#[derive(Clone, Debug)]
pub struct Faults {
    per_mille: [u32; KINDS],
    injected: [u64; KINDS],
}

const KINDS: usize = Fault::ALL.len();

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 39] = [
        Fault::ShortReceive,
        Fault::ShortSend,
        Fault::SendToldLate,
        Fault::MultishotEnds,
        Fault::NoBuffers,
        Fault::CancelBeatsData,
        Fault::DataBeatsCancel,
        Fault::DeadlineBeatsData,
        Fault::DataBeatsDeadline,
        Fault::ConnectBeatsCancel,
        Fault::ConnectTakesLong,
        Fault::CancelMissed,
        Fault::LateCompletion,
        Fault::FewCompletions,
        Fault::QueueFull,
        Fault::EarlyWait,
        Fault::WatchEnds,
        Fault::AcceptNoDescriptor,
        Fault::AcceptAborted,
        Fault::ConnectNoDescriptor,
        Fault::ConnectFails,
        Fault::ServerResets,
        Fault::ServerPauses,
        Fault::ServerDies,
        Fault::ServerDiesInReply,
        Fault::ServerStalls,
        Fault::ServerAnswersTwice,
        Fault::ServerAnswersGarbage,
        Fault::ServerPushes,
        Fault::ServerHalfCloses,
        Fault::ServerRefuses,
        Fault::ServerVanishes,
        Fault::ServerEmpties,
        Fault::ClientVanishes,
        Fault::ClientResets,
        Fault::ClientHalfCloses,
        Fault::ClientNeverReads,
        Fault::ClientDrips,
        Fault::ClientFloods,
    ];
}

impl Default for Faults {
    fn default() -> Self {
        Self { per_mille: [0; KINDS], injected: [0; KINDS] }
    }
}

impl Faults {
    /// Everything that a correct worker hides from its clients: no request fails by it.
    pub fn harmless() -> Self {
        Self::default()
            .with(Fault::ShortReceive, 400)
            .with(Fault::ShortSend, 200)
            .with(Fault::SendToldLate, 100)
            .with(Fault::MultishotEnds, 50)
            .with(Fault::NoBuffers, 20)
            .with(Fault::DataBeatsCancel, 300)
            .with(Fault::DataBeatsDeadline, 500)
            .with(Fault::ConnectBeatsCancel, 500)
            .with(Fault::CancelMissed, 100)
            .with(Fault::LateCompletion, 100)
            .with(Fault::FewCompletions, 300)
            .with(Fault::QueueFull, 20)
            .with(Fault::EarlyWait, 20)
            .with(Fault::WatchEnds, 10)
            .with(Fault::AcceptNoDescriptor, 50)
            .with(Fault::AcceptAborted, 200)
            .with(Fault::ServerPauses, 5)
            .with(Fault::ServerPushes, 100)
    }

    /// The same with `fault` in `per_mille` of 1000 cases.
    pub fn with(mut self, fault: Fault, per_mille: u32) -> Self {
        self.per_mille[fault as usize] = per_mille;
        self
    }

    /// In how many of 1000 cases `fault` happens.
    pub fn per_mille(&self, fault: Fault) -> u32 {
        self.per_mille[fault as usize]
    }

    /// How often `fault` was injected.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.injected[fault as usize]
    }

    /// No more faults from now on; the counts stay.
    pub fn cease(&mut self) {
        self.per_mille = [0; KINDS];
    }

    /// Whether chance has `fault` happen, if there turns out to be something that it changes.
    pub(super) fn may_happen(&self, fault: Fault, random: &mut Random) -> bool {
        random.chance(self.per_mille[fault as usize])
    }

    /// Counts a fault that has happened.
    pub(super) fn count(&mut self, fault: Fault) {
        self.injected[fault as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
    }

    #[test]
    fn faults_strike_as_often_as_they_are_set_to() {
        let mut random = Random::new(3);
        let mut faults = Faults::default().with(Fault::ShortSend, 500);
        let count = (0..100).filter(|_| faults.may_happen(Fault::ShortSend, &mut random)).count();
        assert!((30..70).contains(&count), "{count}");
        assert!(!faults.may_happen(Fault::EarlyWait, &mut random));
        faults.cease();
        assert!(!faults.may_happen(Fault::ShortSend, &mut random));
        faults.count(Fault::ShortSend);
        assert_eq!(faults.injected(Fault::ShortSend), 1);
    }
}
