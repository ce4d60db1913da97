//! The leader's countdown: proposes the end of leases whose time has run out.
//!
//! Only a member that leads, and has applied the first entry of its term, counts. The proposal bears
//! that term and is never forwarded; apply ignores it if another has led since.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::{Inner, call::Call, leadership::Leader, write::Attempt};
use crate::{
    error::Error,
    mutant::Mutant,
    raft::{codec::CodecError, types::Proposal},
    state::{Applied, Command, Doomed, Expire, Operation},
    types::CallOptions,
};

/// Between two looks for leases that are due, and at who leads.
const LOOK: Duration = Duration::from_millis(50);

/// Between two proposals while many are due: other writes get their turn.
const PAUSE: Duration = Duration::from_millis(5);

/// Leases that one proposal ends. Many at once are ended in several steps, so that no single entry holds up
/// the writes behind it.
const LEASES_MAX: usize = 64;

/// Keys that one proposal deletes, unless a single lease has more: those go in one revision.
const KEYS_MAX: usize = 128;

/// How long the end of leases may take to be committed before another proposal follows it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts down for as long as the node runs.
pub async fn count_down(node: Arc<Inner>) {
    loop {
        match node.leads_in() {
            Some(term) if node.deadlines.term() == Some(term) => {
                let due = node.due();
                if !due.is_empty() {
                    node.end_leases(due, term).await;
                    sleep(PAUSE).await;
                    continue;
                }
            }
            Some(term) => node.begin_counting(term).await,
            None => node.deadlines.stop(),
        }
        sleep(LOOK).await;
    }
}

impl Inner {
    fn leads_in(&self) -> Option<u64> {
        matches!(self.leader(), Leader::Me).then(|| self.term())
    }

    /// Counts from the moment at which this member has applied all that was committed before its term, as a
    /// quorum confirms. Whatever another leader promised, it promised before.
    async fn begin_counting(&self, term: u64) {
        self.deadlines.stop();
        let Ok((confirmed, index)) = self.own_read_index(false).await else { return };
        let mut progress = self.progress.clone();
        let applied = progress.wait_for(|view| view.applied.is_some_and(|at| at.index >= index));
        let applied = timeout_at(Instant::now() + PATIENCE, applied).await;
        if confirmed == term && matches!(applied, Ok(Ok(_))) {
            let all = || self.state.leases(0, usize::MAX).0;
            self.deadlines.begin(term, self.env.now(), all);
            info!(term, "counting down leases");
        }
    }

    fn due(&self) -> Vec<Doomed> {
        let (mut leases, mut keys) = (0, 0);
        self.deadlines.take_due(self.env.now(), |lease| {
            keys += self.state.count_of_lease(lease, KEYS_MAX);
            leases += 1;
            leases == 1 || (leases <= LEASES_MAX && keys <= KEYS_MAX)
        })
    }

    /// Until they have ended, or this member leads no more in `term`. What was appended may be committed at
    /// any time later: until then no keep-alive of these leases may be confirmed.
    async fn end_leases(&self, leases: Vec<Doomed>, term: u64) {
        while self.leads_in() == Some(term) {
            match self.propose_end(leases.clone(), term).await {
                Ok(applied) => return debug!(outcome = ?applied.outcome, term, "leases have ended"),
                Err(Attempt::NotAppended(error)) => {
                    debug!(%error, term, "the end of leases was not proposed");
                    self.deadlines.put_back(&leases);
                    return sleep(LOOK).await;
                }
                Err(Attempt::Final(_)) if Mutant::EndGivenUp.is_on() => {
                    return self.deadlines.put_back(&leases);
                }
                Err(Attempt::Final(error)) => debug!(%error, term, "whether leases have ended is not known"),
            }
            sleep(LOOK).await;
        }
        self.deadlines.stop();
    }

    /// Ends early, with an unknown outcome, when another leads.
    async fn propose_end(&self, leases: Vec<Doomed>, term: u64) -> Result<Applied, Attempt> {
        let mut changes = self.leadership_changes();
        let options = CallOptions { timeout: Some(PATIENCE), ..CallOptions::default() };
        let call = Call::begin(options, &self.config, &self.env);
        let command = Command::from(Operation::Expire(Expire { leases, term }));
        let command = Command { request_id: call.request_id.clone(), ..command };
        if Mutant::ExpiredByOldLeader.is_on() {
            return self.propose(command, &call).await.map_err(Attempt::Final);
        }
        let invalid = |error: CodecError| Attempt::Final(Error::Invalid(error.to_string()));
        let proposed = self.propose_here(Proposal::new(&command).map_err(invalid)?, &call);
        tokio::select! {
            biased;
            applied = proposed => applied,
            () = changes.not_led_by(self.config.id) => Err(Attempt::Final(Error::NoLeader)),
        }
    }
}
