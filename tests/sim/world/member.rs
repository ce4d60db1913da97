//! One member: what of it outlives a crash, and one life of it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use quorate::{
    Config, Error, Node,
    config::MemberAddr,
    env::Env,
    log::{Completion, LogState, Position, RaftLog, Record, Stats, Vote},
    server,
    types::MemberRole,
};
use tokio::sync::Notify;

use super::{
    SimClock, SimNet, World,
    disk::{Flip, Loss, Lost, SimDisk, SimStores},
};

/// Between two looks at a member from outside.
const LOOK: Duration = Duration::from_millis(40);

/// How long a member may go on when its disk has failed.
const FAIL_STOP: Duration = Duration::from_millis(500);

/// Between two comparisons of states.
const HASH_EVERY: u32 = 12;

/// A leap of a host's timers is made in steps of so much, so that what they lead to can happen in between.
const LEAP: Duration = Duration::from_millis(50);
const LEAP_LOOK: Duration = Duration::from_millis(4);

/// A member.
pub struct Member {
    pub id: u64,
    pub disk: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
    nodes: u64,
    /// Its timings: of every second seed those of a cluster that is spread wide.
    wide: bool,
    dir: PathBuf,
    world: OnceLock<Weak<World>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lives: u32,
    node: Option<Node>,
    log: Option<Arc<dyn RaftLog>>,
    /// The highest index that this life told to be committed: the next one tells all that its log holds
    /// again.
    told: Option<u64>,
    term: u64,
    leave: Arc<Notify>,
    hand_over: Arc<Notify>,
    /// It has refused to start, for good reasons.
    refuses: bool,
    leap: Duration,
    promise: Option<Duration>,
}

impl Member {
    pub fn new(id: u64, nodes: u64, seed: u64, dir: &Path) -> Arc<Member> {
        Arc::new(Member {
            id,
            disk: Arc::new(SimDisk::new(seed ^ (id << 32))),
            clock: Arc::default(),
            nodes,
            wide: seed.is_multiple_of(2),
            dir: dir.join(id.to_string()),
            world: OnceLock::new(),
            state: Mutex::default(),
        })
    }

    /// Belongs to `world` from now on.
    pub fn enter(&self, world: &Arc<World>) {
        let _ = self.world.set(Arc::downgrade(world));
    }

    fn world(&self) -> Option<Arc<World>> {
        self.world.get()?.upgrade()
    }

    /// The name of its host.
    pub fn name(&self) -> String {
        format!("n{}", self.id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running node, once it has started.
    pub fn node(&self) -> Option<Node> {
        self.state().node.clone()
    }

    /// Asks it to end in order.
    pub fn leave(&self) {
        self.state().leave.notify_one();
    }

    /// Asks it to hand leadership over, if it leads.
    pub fn hand_over(&self) {
        self.state().hand_over.notify_one();
    }

    /// Flips a bit on its disk while it is down. False: there was nothing to flip it in.
    pub fn flip(&self, what: Flip) -> bool {
        self.disk.flip(what, &self.dir)
    }

    /// Whether it is gone for good: what is left on its disk is no ground to start on.
    pub fn is_gone(&self) -> bool {
        self.state().refuses && self.disk.is_flipped()
    }

    /// Its timers leap ahead by `by`, in steps, as if another machine's had stood still.
    pub fn leap(&self, by: Duration) {
        self.state().leap += by;
    }

    /// What it promises its leader, from its next start on; `None`: the default.
    pub fn promises(&self, promise: Option<Duration>) {
        self.state().promise = promise;
    }

    /// Power fails: to be called just before its host is crashed. Gives what of the log was lost.
    pub fn crash(&self, loss: Loss) -> Lost {
        let mut state = self.state();
        (state.node, state.log) = (None, None);
        drop(state);
        self.disk.crash(loss)
    }

    /// Its configuration: thresholds are tiny, so that snapshots and purges happen all the time.
    fn config(&self) -> Config {
        let addr = |id: u64| MemberAddr { peer: format!("n{id}:7501"), client: client_addr(id) };
        let default = self.timings();
        Config {
            id: self.id,
            data_dir: self.dir.clone(),
            members: (1..=self.nodes).map(|id| (id, addr(id))).collect(),
            snapshot_log_bytes: 4 << 10,
            log_entries_kept: 8,
            free_bytes_min: 1,
            certificate_interval: Duration::from_millis(400),
            election_timeout_max: self.state().promise.unwrap_or(default.election_timeout_max),
            ..default
        }
    }

    fn timings(&self) -> Config {
        let default = Config::default();
        if !self.wide {
            return default;
        }
        Config {
            heartbeat: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            ..default
        }
    }

    fn saw_commit(&self, log: &dyn RaftLog, upto: Position) {
        let Some(world) = self.world() else { return };
        let known = {
            let mut state = self.state();
            let known = state.told;
            if known > Some(upto.index) {
                world
                    .trace
                    .violation(format!("monotonic: n{} commits {} after {known:?}", self.id, upto.index));
            }
            state.told = known.max(Some(upto.index));
            known
        };
        world.ledger.committed(&world, (self.id, log), known, upto);
    }
}

/// Where clients reach a member.
pub fn client_addr(id: u64) -> String {
    format!("n{id}:7401")
}

/// One life of a member.
pub async fn host(member: Arc<Member>) -> turmoil::Result {
    let Some(world) = member.world() else { return Ok(()) };
    let leave = {
        let mut state = member.state();
        state.lives += 1;
        world.trace.event(&member.name(), format!("starts, life {}", state.lives));
        (state.leave, state.hand_over, state.told) = (Arc::default(), Arc::default(), None);
        state.leave.clone()
    };
    let rebuilt = member.disk.home().set_aside_count();
    tokio::spawn(member.disk.clone().run());
    tokio::spawn(leap(member.clone()));
    let (watching, env) =
        (member.clone(), Env::new(member.clock.clone(), Arc::new(SimNet), Arc::new(quorate::env::draw)));
    let watch = move |log: Arc<dyn RaftLog>| -> Arc<dyn RaftLog> {
        let watched = Arc::new(WatchedLog { log, member: watching.clone() });
        watching.state().log = Some(watched.clone());
        watched
    };
    let stores = Arc::new(SimStores { disk: member.disk.clone(), watch });
    let node = match Node::start_on(stores, env.clone(), member.config()).await {
        Ok(node) => node,
        Err(error) => {
            does_not_start(&world, &member, &error);
            return Ok(());
        }
    };
    if member.disk.home().set_aside_count() > rebuilt {
        world.cover("state rebuilt");
    }
    {
        let mut state = member.state();
        (state.node, state.refuses) = (Some(node.clone()), false);
    }
    let observing = tokio::spawn(observe(member.clone(), node.clone()));
    tokio::spawn(transfer(member.clone(), node.clone()));
    let listening = env.net().listen(client_addr(member.id)).await?;
    tokio::select! {
        served = server::serve_clients(node.clone(), listening.incoming, std::future::pending()) => served?,
        why = node.failed() => has_failed(&world, &member, &why),
        () = leave.notified() => {
            world.trace.event(&member.name(), "is asked to end");
            let ended = node.shutdown().await;
            world.trace.event(&member.name(), format!("has ended: {ended:?}"));
        }
    }
    observing.abort();
    member.state().node = None;
    Ok(())
}

/// Only on a disk that is not well.
fn does_not_start(world: &World, member: &Member, error: &Error) {
    // The directory's name is different in every process.
    let what = format!("does not start: {error}").replace(&*member.dir.to_string_lossy(), "its directory");
    match member.disk.is_unwell() {
        true => {
            member.state().refuses = true;
            world.cover("start refused");
            world.trace.event(&member.name(), what);
        }
        false => world.trace.violation(format!("n{} {what}", member.id)),
    }
}

/// Only when its disk has.
fn has_failed(world: &World, member: &Member, why: &str) {
    let what = format!("has failed: {why}").replace(&*member.dir.to_string_lossy(), "its directory");
    match member.disk.is_broken() {
        true => {
            world.cover("fail-stop");
            world.trace.event(&member.name(), what);
        }
        false => world.trace.violation(format!("n{} {what}", member.id)),
    }
}

/// Hands leadership over, when it is asked to and leads.
async fn transfer(member: Arc<Member>, node: Node) {
    let hand_over = member.state().hand_over.clone();
    while let Some(world) = member.world() {
        hand_over.notified().await;
        match node.transfer_leadership().await {
            Err(Error::NotLeader { .. }) => {}
            done => {
                world.cover(if done.is_ok() { "transfer ok" } else { "transfer failed" });
                world.trace.event(&member.name(), format!("has handed leadership over: {done:?}"));
            }
        }
    }
}

/// Lets a host's timers leap ahead, when they are told to.
async fn leap(member: Arc<Member>) {
    loop {
        tokio::time::sleep(LEAP_LOOK).await;
        let step = {
            let mut state = member.state();
            let step = state.leap.min(LEAP);
            state.leap -= step;
            step
        };
        if !step.is_zero() {
            tokio::time::advance(step).await;
        }
    }
}

/// Looks at a member all the time.
async fn observe(member: Arc<Member>, node: Node) {
    let (mut seen, mut looks) = (None, 0);
    let (mut commit, mut applied) = (0, 0);
    while let Some(world) = member.world() {
        tokio::time::sleep(LOOK).await;
        let status = node.status().await;
        let now = (status.role, status.header.term, status.leader_id);
        if seen.replace(now) != Some(now) {
            let leader = status.leader_id.map_or("nobody".to_owned(), |id| format!("n{id}"));
            let what = format!("{:?} in term {}, led by {leader}", status.role, status.header.term);
            world.trace.event(&member.name(), what);
            let log = member.state().log.clone();
            if let (MemberRole::Leader, Some(log)) = (status.role, log)
                && status.leader_id == Some(member.id)
            {
                world.ledger.leads(member.id, status.header.term, &*log);
            }
        }
        if member.disk.refused().is_some_and(|since| super::now() > since + FAIL_STOP) {
            world.trace.violation(format!("fail-stop: n{} goes on though its disk has failed", member.id));
        }
        let term = std::mem::replace(&mut member.state().term, status.header.term);
        let went_back = [
            ("term", status.header.term < term),
            ("commit", status.commit_index < commit),
            ("applied", status.header.applied_index < applied),
        ];
        for (what, _) in went_back.into_iter().filter(|(_, went_back)| *went_back) {
            world.trace.violation(format!("monotonic: the {what} of n{} went back", member.id));
        }
        (commit, applied) = (status.commit_index, status.header.applied_index);
        looks += 1;
        if looks % HASH_EVERY == 0 {
            compare(&world, member.id, &node).await;
        }
    }
}

/// Compares a member's state with what others had at the same place, which it gives.
pub async fn compare(world: &World, id: u64, node: &Node) -> Option<u64> {
    let state = node.state_hash(0).await.ok()?;
    let hash = format!("{:032x} {:032x}", state.hash, state.leases_hash);
    world.ledger.state(id, state.header.applied_index, hash);
    Some(state.header.applied_index)
}

/// A member's log, which tells what is committed.
struct WatchedLog {
    log: Arc<dyn RaftLog>,
    member: Arc<Member>,
}

impl RaftLog for WatchedLog {
    fn state(&self) -> LogState {
        self.log.state()
    }

    fn append(&self, records: Vec<Record>, done: Completion) -> std::io::Result<()> {
        self.member.disk.log_is_used();
        self.log.append(records, done)
    }

    /// Who notes that a quorum has voted for it, leads: however short, no leader is missed.
    fn save_vote(&self, vote: Vote, done: Completion) -> std::io::Result<()> {
        if let Some(world) = self.member.world()
            && vote.committed
            && vote.node_id == self.member.id
        {
            world.ledger.leads(self.member.id, vote.term, &*self.log);
        }
        self.member.disk.log_is_used();
        self.log.save_vote(vote, done)
    }

    fn save_committed(&self, at: Position) -> std::io::Result<()> {
        self.member.saw_commit(&*self.log, at);
        self.log.save_committed(at)
    }

    fn truncate_after(&self, last: Option<Position>) -> std::io::Result<()> {
        self.log.truncate_after(last)
    }

    fn purge(&self, upto: Position) -> std::io::Result<()> {
        if let Some(world) = self.member.world() {
            let beyond = self.log.state().last.is_none_or(|last| last.index < upto.index);
            world.cover(if beyond { "snapshot installed" } else { "log purged" });
            let what =
                format!("purges its log up to {}{}", upto.index, if beyond { ", all of it" } else { "" });
            world.trace.event(&self.member.name(), what);
        }
        self.log.purge(upto)
    }

    fn sync(&self, done: Completion) -> std::io::Result<()> {
        self.log.sync(done)
    }

    fn read(&self, range: std::ops::Range<u64>, bytes_max: usize) -> std::io::Result<Vec<Record>> {
        self.log.read(range, bytes_max)
    }

    fn size(&self) -> u64 {
        self.log.size()
    }

    fn stats(&self) -> Stats {
        self.log.stats()
    }

    fn close(&self) -> std::io::Result<()> {
        self.log.close()
    }
}
