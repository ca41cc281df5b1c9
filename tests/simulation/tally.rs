//! What runs have seen: every kind of fault, or the campaign has proved nothing about it.

use std::fmt;

use ringcracker::sim::Fault;

/// The sum over some runs.
#[derive(Clone, Debug)]
pub struct Tally {
    pub runs: u64,
    /// Faults of each kind, as `Fault::ALL`.
    pub injected: [u64; Fault::ALL.len()],
    pub replies: u64,
    /// Replies that were errors of the proxy's own for a server's trouble.
    pub failures: u64,
    /// How often a client was not read for a while.
    pub pauses: u64,
    /// Times that a server was ejected.
    pub ejects: u64,
    /// Clients that were not let in.
    pub refused: u64,
    /// Parts of replies that were passed on before the reply's end.
    pub streamed: u64,
    /// Clients that were closed for the rest.
    pub cut_off: u64,
    /// Runs in which no request failed.
    /// Runs in which nothing was allowed to fail.
    pub calm_runs: u64,
    /// A sum over everything that happened, in order.
    pub fingerprint: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            runs: 0,
            injected: [0; Fault::ALL.len()],
            replies: 0,
            failures: 0,
            pauses: 0,
            ejects: 0,
            refused: 0,
            streamed: 0,
            cut_off: 0,
            calm_runs: 0,
            fingerprint: 0,
        }
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.replies += other.replies;
        self.failures += other.failures;
        self.pauses += other.pauses;
        self.ejects += other.ejects;
        self.refused += other.refused;
        self.streamed += other.streamed;
        self.cut_off += other.cut_off;
        self.calm_runs += other.calm_runs;
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        self.injected.iter_mut().zip(other.injected).for_each(|(sum, count)| *sum += count);
    }

    /// Panics when a campaign has left something out.
    pub fn assert_all_seen(&self) {
        let kinds = Fault::ALL.iter().zip(self.injected);
        let missing: Vec<_> = kinds.filter(|&(_, count)| count == 0).collect();
        assert!(missing.is_empty(), "never injected: {missing:?}");
        assert!(self.failures > 0, "no request has failed");
        assert!(self.pauses > 0, "no client was paused");
        assert!(self.ejects > 0, "no server was ejected");
        assert!(self.refused > 0, "every client was let in");
        assert!(self.streamed > 0, "no reply has streamed");
        assert!(self.cut_off > 0, "no server has failed in a reply that streamed");
        assert!(self.calm_runs > 0, "no run was without failures");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {} of them without a failure; {} replies, {} of them failures; \
             {} ejections; {} pieces of replies streamed, {} clients were cut off; injected:",
            self.runs,
            self.calm_runs,
            self.replies,
            self.failures,
            self.ejects,
            self.streamed,
            self.cut_off
        )?;
        for (kind, count) in Fault::ALL.iter().zip(self.injected) {
            writeln!(f, "{count:>12}  {kind:?}")?;
        }
        Ok(())
    }
}
