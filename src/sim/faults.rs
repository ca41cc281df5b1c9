//! What may go wrong in a simulated run, how often, and how often it did.

use crate::sim::random::Random;

/// A kind of fault that is injected by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A receive takes fewer bytes than are there.
    ShortReceive,
    /// A send is over before all its bytes are taken.
    ShortSend,
    /// A multishot receive or accept ends together with a success.
    MultishotEnds,
    /// A receive finds no buffer (`ENOBUFS`), though there may be some.
    NoBuffers,
    /// A cancel or a deadline ends a receive although bytes are there.
    CancelBeatsData,
    /// A receive still brings bytes although it was cancelled or is overdue.
    DataBeatsCancel,
    /// Something that could complete now completes later.
    LateCompletion,
    /// `wait` returns early and with nothing, as after a signal.
    EarlyWait,
    /// An accept finds no descriptor (`EMFILE`); the connection stays in the backlog.
    AcceptNoDescriptor,
    /// A connect finds no descriptor (`EMFILE`).
    ConnectNoDescriptor,
    /// A server resets a connection.
    ServerResets,
    /// A server does nothing for up to 30 ms.
    ServerPauses,
}

/// How often each kind of fault happens, and how often it has happened. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    per_mille: [u32; KINDS],
    injected: [u64; KINDS],
}

const KINDS: usize = Fault::ALL.len();

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 12] = [
        Fault::ShortReceive,
        Fault::ShortSend,
        Fault::MultishotEnds,
        Fault::NoBuffers,
        Fault::CancelBeatsData,
        Fault::DataBeatsCancel,
        Fault::LateCompletion,
        Fault::EarlyWait,
        Fault::AcceptNoDescriptor,
        Fault::ConnectNoDescriptor,
        Fault::ServerResets,
        Fault::ServerPauses,
    ];
}

impl Faults {
    /// Everything that a correct worker hides from its clients: no request fails by it.
    pub fn harmless() -> Self {
        Self::default()
            .with(Fault::ShortReceive, 400)
            .with(Fault::ShortSend, 200)
            .with(Fault::MultishotEnds, 50)
            .with(Fault::NoBuffers, 20)
            .with(Fault::LateCompletion, 100)
            .with(Fault::EarlyWait, 20)
            .with(Fault::AcceptNoDescriptor, 50)
            .with(Fault::ServerPauses, 5)
    }

    /// The same with `fault` in `per_mille` of 1000 cases.
    pub fn with(mut self, fault: Fault, per_mille: u32) -> Self {
        self.per_mille[fault as usize] = per_mille;
        self
    }

    /// How often `fault` was injected.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.injected[fault as usize]
    }

    /// No more faults from now on; the counts stay.
    pub fn cease(&mut self) {
        self.per_mille = [0; KINDS];
    }

    /// Whether `fault` happens now; counts it when it does.
    pub(super) fn happens(&mut self, fault: Fault, random: &mut Random) -> bool {
        let happens = random.chance(self.per_mille[fault as usize]);
        if happens {
            self.count(fault);
        }
        happens
    }

    /// Counts a fault that came about by itself.
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
    fn what_happens_is_counted() {
        let mut random = Random::new(3);
        let mut faults = Faults::default().with(Fault::ShortSend, 500);
        let happened = (0..100).filter(|_| faults.happens(Fault::ShortSend, &mut random)).count();
        assert!(happened > 0);
        assert_eq!(faults.injected(Fault::ShortSend), happened as u64);
        assert!(!faults.happens(Fault::EarlyWait, &mut random));
        faults.cease();
        assert!(!faults.happens(Fault::ShortSend, &mut random));
    }
}
