//! Known bugs, put back in on demand: what the simulator and the checker must catch, or they are worth
//! nothing.
//!
//! Only with the feature `mutants`, which no release has; without it `Mutant::is_on` is `false` for the
//! compiler too.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// H1: a leader that restarts leads on in its term, though it may have lost the unsynced end of its log.
    LeaderRestored,
    /// H2: a voter that restarts votes at once, though it may have promised a lease.
    VoteUnguarded,
    /// S1: a snapshot is answered before the log behind it is durable.
    SnapshotBeforeDurable,
    /// H3: entries are applied before this member's own log is durable.
    ApplyBeforeDurable,
    /// H9: a member that restarts forgets what was committed, and shows its state at once, though it showed
    /// a newer one before.
    ShownUnrecovered,
    /// A read by quorum is answered at the index that was committed before, without asking the quorum.
    ReadWithoutRound,
    /// A read joins a quorum round that began before it.
    RoundShared,
    /// A leader that was replaced has the next one end the leases that it counted down.
    ExpiredByOldLeader,
    /// The table of sessions is missing from snapshots.
    SessionsForgotten,
    /// A certificate's age is counted from its receipt.
    CertificateFromReceipt,
    /// A guard is not checked.
    GuardIgnored,
    /// Entries are acknowledged, to the leader and by it, before they are durable.
    AcknowledgedBeforeDurable,
    /// A leader answers reads at what it has applied, before the first entry of its term is committed.
    FirstCommitUnawaited,
    /// A leader trusts its lease although the machine was suspended.
    SuspensionIgnored,
    /// A leader that reaches no quorum, and keeps some member from electing another, does not ask whether it
    /// is replaced.
    QuorumUnprobed,
    /// Watches do not learn that a snapshot replaced the state.
    ReplacementUntold,
    /// A snapshot replaces a log that has all of it, and more that is not known to be committed.
    LongerLogReplaced,
    /// The end of leases that hangs for long is given up, though it may yet be committed.
    EndGivenUp,
    /// A leader answers by its lease for all of what was promised to it, as if no two clocks differed.
    LeaseWithoutMargin,
    /// A vote is given before it is durable: whoever restarts may have forgotten it.
    VoteNotPersisted,
    /// What is applied is noted in a write of its own, behind the data.
    AppliedApart,
    /// A member that restarts applies its last entry again.
    AppliedTwice,
    /// Who waits for a lock does not look whether its own place is still there.
    LockToDeadSession,
    /// A release does not compare the token.
    UnlockWithoutToken,
    /// A watch that lost its member goes on at whatever the next one is at.
    WatchGap,
    /// A watch that lost its member goes on at the last revision that it told, not behind it.
    WatchTwice,
    /// A follower answers linearizable reads by what it has, without asking the leader.
    StaleFollower,
    /// A client repeats a write that has no place in a session, though nobody knows what became of it.
    RetriedWithoutSession,
    /// Compaction removes what was superseded one revision behind the one that stays readable.
    CompactionTooFar,
    /// A leader takes a follower's question for a quorum's acknowledgement, however many members there are.
    QuestionIsQuorum,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 30] = [
        Mutant::LeaderRestored,
        Mutant::VoteUnguarded,
        Mutant::SnapshotBeforeDurable,
        Mutant::ApplyBeforeDurable,
        Mutant::ShownUnrecovered,
        Mutant::ReadWithoutRound,
        Mutant::RoundShared,
        Mutant::ExpiredByOldLeader,
        Mutant::SessionsForgotten,
        Mutant::CertificateFromReceipt,
        Mutant::GuardIgnored,
        Mutant::AcknowledgedBeforeDurable,
        Mutant::FirstCommitUnawaited,
        Mutant::SuspensionIgnored,
        Mutant::QuorumUnprobed,
        Mutant::ReplacementUntold,
        Mutant::LongerLogReplaced,
        Mutant::EndGivenUp,
        Mutant::LeaseWithoutMargin,
        Mutant::VoteNotPersisted,
        Mutant::AppliedApart,
        Mutant::AppliedTwice,
        Mutant::LockToDeadSession,
        Mutant::UnlockWithoutToken,
        Mutant::WatchGap,
        Mutant::WatchTwice,
        Mutant::StaleFollower,
        Mutant::RetriedWithoutSession,
        Mutant::CompactionTooFar,
        Mutant::QuestionIsQuorum,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::LeaderRestored => "leader-restored",
            Mutant::VoteUnguarded => "vote-unguarded",
            Mutant::SnapshotBeforeDurable => "snapshot-before-durable",
            Mutant::ApplyBeforeDurable => "apply-before-durable",
            Mutant::ShownUnrecovered => "shown-unrecovered",
            Mutant::ReadWithoutRound => "read-without-round",
            Mutant::RoundShared => "round-shared",
            Mutant::ExpiredByOldLeader => "expired-by-old-leader",
            Mutant::SessionsForgotten => "sessions-forgotten",
            Mutant::CertificateFromReceipt => "certificate-from-receipt",
            Mutant::GuardIgnored => "guard-ignored",
            Mutant::AcknowledgedBeforeDurable => "acknowledged-before-durable",
            Mutant::FirstCommitUnawaited => "first-commit-unawaited",
            Mutant::SuspensionIgnored => "suspension-ignored",
            Mutant::QuorumUnprobed => "quorum-unprobed",
            Mutant::ReplacementUntold => "replacement-untold",
            Mutant::LongerLogReplaced => "longer-log-replaced",
            Mutant::EndGivenUp => "end-given-up",
            Mutant::LeaseWithoutMargin => "lease-without-margin",
            Mutant::VoteNotPersisted => "vote-not-persisted",
            Mutant::AppliedApart => "applied-apart",
            Mutant::AppliedTwice => "applied-twice",
            Mutant::LockToDeadSession => "lock-to-dead-session",
            Mutant::UnlockWithoutToken => "unlock-without-token",
            Mutant::WatchGap => "watch-gap",
            Mutant::WatchTwice => "watch-twice",
            Mutant::StaleFollower => "stale-follower",
            Mutant::RetriedWithoutSession => "retried-without-session",
            Mutant::CompactionTooFar => "compaction-too-far",
            Mutant::QuestionIsQuorum => "question-is-quorum",
        }
    }

    /// Whether this process has the bug.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub(crate) fn is_on(self) -> bool {
        false
    }

    /// Whether this process has the bug.
    #[cfg(feature = "mutants")]
    pub(crate) fn is_on(self) -> bool {
        chosen::get() == Some(self)
    }
}

#[cfg(feature = "mutants")]
pub use self::chosen::choose;

#[cfg(feature = "mutants")]
mod chosen {
    use std::{
        env,
        sync::{Mutex, OnceLock, PoisonError},
    };

    use super::Mutant;

    static CHOSEN: OnceLock<Mutex<Option<Mutant>>> = OnceLock::new();

    fn cell() -> &'static Mutex<Option<Mutant>> {
        CHOSEN.get_or_init(|| {
            let name = env::var("QUORATE_MUTANT").unwrap_or_default();
            Mutex::new(Mutant::ALL.into_iter().find(|mutant| mutant.name() == name))
        })
    }

    pub fn get() -> Option<Mutant> {
        *cell().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one bug in, or takes it out. At first it is the one that `QUORATE_MUTANT` names.
    pub fn choose(mutant: Option<Mutant>) {
        *cell().lock().unwrap_or_else(PoisonError::into_inner) = mutant;
    }
}
