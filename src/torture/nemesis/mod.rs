//! What goes wrong: a plan drawn from a seed, or written down, and its execution on a cluster of real
//! processes. Faults overlap.
//!
//! Each fault says whether it *landed*: whether the process was seen to be gone or to stand still, bytes were
//! held up, the disk refused. A run whose faults hit nothing proves nothing.

mod damage;
mod links;
mod plan;
mod processes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::plan::Victim;
pub use self::plan::{Plan, Planned, Script};
use super::{cluster::Cluster, recorder::Recorder};
use crate::{
    check::history::{Fault, FaultKind},
    types::NodeId,
};

/// A kind of fault, as it is chosen on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process is killed, and started again.
    Kill,
    /// All are.
    KillAll,
    /// A process is asked to end, and started again.
    Restart,
    /// Each is, one after the other.
    RollingRestart,
    /// A process stands still for a while.
    Pause,
    /// Nothing passes between groups: the leader alone, two halves, or the ends of a ring.
    Partition,
    /// Nothing passes in one direction.
    OneWay,
    /// Messages take longer.
    Slow,
    /// Connections are lost now and then.
    Drop,
    /// All connections of a member are ended at once.
    Reset,
    /// Clients do not reach a member.
    Client,
    /// A clock runs at another rate, within the bound that leases allow for.
    Clock,
    /// The same, far beyond the bound: what rests on clocks is void meanwhile.
    ClockBeyond,
    /// The disk is full.
    DiskFull,
    /// Files of a member that is down are damaged.
    Corrupt,
    /// Old revisions are compacted away.
    Compact,
}

impl Kind {
    /// All that may overlap without breaking a promise's assumption: what `all` means.
    pub const ALL: [Kind; 15] = [
        Kind::Kill,
        Kind::KillAll,
        Kind::Restart,
        Kind::RollingRestart,
        Kind::Pause,
        Kind::Partition,
        Kind::OneWay,
        Kind::Slow,
        Kind::Drop,
        Kind::Reset,
        Kind::Client,
        Kind::Clock,
        Kind::DiskFull,
        Kind::Corrupt,
        Kind::Compact,
    ];

    /// The name on the command line: that of the history, but for the one that goes beyond the bound.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ClockBeyond => "clock-beyond",
            kind => kind.of_history().name(),
        }
    }

    /// The kind in a history.
    fn of_history(self) -> FaultKind {
        match self {
            Kind::Kill => FaultKind::Kill,
            Kind::KillAll => FaultKind::KillAll,
            Kind::Restart => FaultKind::Restart,
            Kind::RollingRestart => FaultKind::RollingRestart,
            Kind::Pause => FaultKind::Pause,
            Kind::Partition => FaultKind::Partition,
            Kind::OneWay => FaultKind::OneWay,
            Kind::Slow => FaultKind::Slow,
            Kind::Drop => FaultKind::Drop,
            Kind::Reset => FaultKind::Reset,
            Kind::Client => FaultKind::Client,
            Kind::Clock | Kind::ClockBeyond => FaultKind::Clock,
            Kind::DiskFull => FaultKind::DiskFull,
            Kind::Corrupt => FaultKind::Corrupt,
            Kind::Compact => FaultKind::Compact,
        }
    }

    /// Whether it takes members away, or may: then not more of them at a time than a quorum can miss.
    fn takes_a_member(self) -> bool {
        matches!(
            self,
            Kind::Kill | Kind::Restart | Kind::Pause | Kind::DiskFull | Kind::Corrupt | Kind::ClockBeyond
        )
    }

    /// Whether it is done to a clock, which obeys one at a time.
    fn puts_a_clock_wrong(self) -> bool {
        matches!(self, Kind::Clock | Kind::ClockBeyond)
    }

    /// Whether nothing else may be wrong with members meanwhile.
    fn takes_all_members(self) -> bool {
        matches!(self, Kind::KillAll | Kind::RollingRestart)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let mut all = Kind::ALL.into_iter().chain([Kind::ClockBeyond]);
        all.find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            format!("{text:?} is no nemesis: all, none, {names}, clock-beyond")
        })
    }
}

/// A cluster that several faults work on at a time.
pub type Shared = Arc<tokio::sync::Mutex<Cluster>>;

/// What faults work on.
#[derive(Clone)]
pub struct Stage {
    pub cluster: Shared,
    pub recorder: Arc<Recorder>,
    /// Cancelled when everything is to be healed.
    pub heal: CancellationToken,
    /// Members of which something is wrong, and what.
    busy: Arc<Mutex<Busy>>,
    nodes: usize,
}

/// What is wrong with whom.
#[derive(Default)]
struct Busy {
    members: BTreeMap<NodeId, Kind>,
    /// Whose clock is wrong: that may be on top of something else.
    clocks: BTreeSet<NodeId>,
    /// How far the clocks of members have jumped.
    jumped: BTreeMap<NodeId, Duration>,
}

/// What a fault did.
pub struct Struck {
    /// In words.
    what: String,
    nodes: Vec<NodeId>,
    landed: bool,
    breaks: Option<String>,
}

impl Stage {
    pub fn new(cluster: Shared, recorder: Arc<Recorder>, heal: CancellationToken, nodes: usize) -> Stage {
        Stage { cluster, recorder, heal, busy: Arc::default(), nodes }
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays a plan, until its end or until everything is to be healed; what was begun is ended in any case.
    pub async fn play(&self, plan: Plan) {
        let mut faults = JoinSet::new();
        for (at, planned) in plan.entries {
            let wait = at.saturating_sub(self.recorder.elapsed());
            if self.heal.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
            let stage = self.clone();
            faults.spawn(async move { stage.happen(planned).await });
        }
        while let Some(ended) = faults.join_next().await {
            if let Err(error) = ended {
                self.recorder.trouble(format!("a fault broke: {error}"));
            }
        }
    }

    /// One fault from its beginning to its end, and its row in the history. What finds no member to strike is
    /// left out.
    async fn happen(&self, planned: Planned) {
        let Some(nodes) = self.claim(&planned).await else { return };
        let from = self.recorder.now();
        let struck = match planned.kind {
            Kind::Kill | Kind::KillAll => self.kill(&planned, &nodes).await,
            Kind::Restart | Kind::RollingRestart => self.restart(&nodes).await,
            Kind::Pause => self.pause(&planned, &nodes).await,
            Kind::Clock | Kind::ClockBeyond => self.clock(&planned, &nodes).await,
            Kind::DiskFull => self.fill_disk(&planned, &nodes).await,
            Kind::Corrupt => self.corrupt(&planned, &nodes).await,
            Kind::Compact => self.compact().await,
            _ => self.disturb(&planned, &nodes).await,
        };
        self.release(planned.kind, &nodes);
        let Struck { what, nodes, landed, breaks } = struck;
        let kind = planned.kind.of_history();
        let to = Some(self.recorder.now());
        self.recorder.fault(Fault { kind, what, nodes, from, to, landed, breaks });
    }

    /// The members that a fault strikes, which are its own until it ends. `None`: it must not happen now.
    async fn claim(&self, planned: &Planned) -> Option<Vec<NodeId>> {
        let onlooker = self.cluster.lock().await.onlooker().clone();
        let leader = onlooker.leader().await.map(|(leader, _)| leader);
        let mut busy = self.busy();
        if planned.kind.takes_all_members() {
            let all: Vec<NodeId> = (1..=self.nodes as u64).collect();
            let free = busy.members.is_empty();
            busy.members.extend(all.iter().filter(|_| free).map(|id| (*id, planned.kind)));
            return free.then_some(all);
        }
        let victim = planned.victim.resolve(leader, self.nodes as u64)?;
        if planned.kind.puts_a_clock_wrong() && busy.clocks.contains(&victim) {
            return None;
        }
        if planned.kind.takes_a_member() {
            let room = busy.members.len() < (self.nodes - 1) / 2;
            if !room || busy.members.contains_key(&victim) {
                return None;
            }
            busy.members.insert(victim, planned.kind);
        }
        if planned.kind.puts_a_clock_wrong() {
            busy.clocks.insert(victim);
        }
        Some(vec![victim])
    }

    fn release(&self, kind: Kind, nodes: &[NodeId]) {
        let mut busy = self.busy();
        if kind.takes_a_member() || kind.takes_all_members() {
            busy.members.retain(|id, _| !nodes.contains(id));
        }
        if kind.puts_a_clock_wrong() {
            busy.clocks.retain(|id| !nodes.contains(id));
        }
    }

    /// How far a member's clock has jumped in all, if it jumps once more.
    fn jump(&self, id: NodeId, by: Duration) -> Duration {
        let mut busy = self.busy();
        let jumped = busy.jumped.entry(id).or_default();
        *jumped += by;
        *jumped
    }

    /// Looks for members that have ended though nobody ended them, until it is cancelled. A full or a damaged
    /// disk may end one.
    pub async fn look_for_deaths(&self) {
        loop {
            let died = self.cluster.lock().await.died();
            for (id, how) in died {
                let expected = matches!(self.busy().members.get(&id), Some(Kind::DiskFull | Kind::Corrupt));
                if !expected {
                    self.recorder.death(format!("member {id} ended by itself, {how}: see node-{id}/log"));
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends whatever is wrong, once no fault goes on any more.
    pub async fn put_right(&self) {
        let nodes = {
            let cluster = self.cluster.lock().await;
            cluster.network().heal();
            for id in cluster.ids() {
                cluster.resume(id);
            }
            cluster.ids()
        };
        self.start(&nodes).await;
    }

    /// Lets time pass with something wrong.
    async fn endure(&self, time: Duration) {
        self.heal.run_until_cancelled(sleep(time)).await;
    }
}
