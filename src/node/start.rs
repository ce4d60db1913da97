//! Start: identity, recovery, founding, Raft, and the tasks that keep a node going.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::{async_runtime::WatchReceiver, errors::InitializeError, errors::RaftError};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    Inner, Node,
    admission::Admission,
    certificate::Certificates,
    committed::Sink,
    deadlines::Deadlines,
    founding::Founding,
    identity::DataDir,
    lease::SuspensionGuard,
    peers::{Asked, NodeHandler},
    recover::{Ground, recover},
    rounds::{Arrivals, Rounds},
    stores::{Disks, Stores},
};
use crate::{
    config::Config,
    env::{Env, blocking},
    error::Error,
    mutant::Mutant,
    raft::{
        links::Links,
        log_store::LogStore,
        network::Network,
        promises::Promises,
        service::{PeerService, RaftSide, Strangers},
        settings::settings,
        state_machine::Applier,
        types::{Peer, Raft},
    },
    types::NodeId,
    watch::Hub,
};

impl Node {
    /// Recovers the data directory, founds or joins the cluster, and listens for peers. Waits until the
    /// cluster is founded, which takes all founding members: start them concurrently.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration, directory, disk or address that cannot be used: it says why.
    pub async fn start(config: Config) -> Result<Node, Error> {
        Node::start_in(Env::real(), config).await
    }

    /// The same, in a world of its own.
    pub async fn start_in(env: Env, config: Config) -> Result<Node, Error> {
        Node::start_on(Arc::new(Disks), env, config).await
    }

    /// The same, on stores of its own. Identity and snapshot files are in the data directory all the same.
    pub async fn start_on(stores: Arc<dyn Stores>, env: Env, config: Config) -> Result<Node, Error> {
        config.validate()?;
        let dir = Arc::new(DataDir::open(&config, stores.clone())?);
        let founding = Arc::new(Founding::open(&config, dir.clone())?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let side = Arc::new(OnceLock::new());
        let addr = config.peer_listener();
        let listening = env.net().listen(addr.clone()).await;
        let listening =
            listening.map_err(|e| Error::Invalid(format!("cannot listen for peers on {addr}: {e}")))?;
        let service = PeerService {
            me: config.id,
            cluster_id: founding.cluster_id(),
            env: env.clone(),
            founding: founding.clone(),
            side: side.clone(),
            strangers: Strangers::default(),
            stop: stop.clone(),
        };
        tasks.spawn(service.serve(listening.incoming));
        let started = Starting { stores, env, config, dir, founding, stop: stop.clone(), tasks };
        let node = started.raft(&side).await;
        if node.is_err() {
            stop.cancel();
        }
        node
    }
}

/// What exists before Raft does.
struct Starting {
    stores: Arc<dyn Stores>,
    env: Env,
    config: Config,
    dir: Arc<DataDir>,
    founding: Arc<Founding>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Starting {
    async fn raft(self, side: &OnceLock<RaftSide<NodeHandler>>) -> Result<Node, Error> {
        let cluster_id = self.founding.settle(&self.env).await?;
        let ground = self.recover().await?;
        let pristine = ground.log.state().vote.is_none();
        let recovered_to = ground.log.state().last.map(|at| at.index);
        let log = LogStore::new(ground.log, self.config.entry_cache_bytes).beside(ground.snapshots.clone());
        let detours = self.config.peer_dial.clone();
        let links = Arc::new(Links::new(self.config.id, cluster_id, self.env.net(), detours));
        let (state, compactor) = (ground.machine.reader(), ground.machine.compactor());
        let deadlines = Arc::new(Deadlines::default());
        let watches = Hub::new(state.clone(), self.config.limits.watches_max);
        let sink = Sink { env: self.env.clone(), deadlines: deadlines.clone(), watches: watches.clone() };
        let durable = (log.clone(), ground.snapshots.clone());
        let applier = Applier::new(ground.machine, ground.home, durable, Box::new(sink));
        let (progress, applied_bytes) = (applier.progress(), applier.applied_bytes());
        // Else a member that restarts often would never have applied enough for a snapshot.
        applied_bytes.fetch_add(ground.unsnapshotted, Ordering::Relaxed);
        let promises = Arc::new(Promises::new(self.config.promise()));
        let network = Network {
            links: links.clone(),
            me: self.config.id,
            snapshots: ground.snapshots.clone(),
            promises: promises.clone(),
            append_timeout: self.config.election_timeout_max,
        };
        // Written down before Raft can promise anything.
        let guard = self.vote_guard(pristine, self.founding.promise()?);
        let raft = self.begin_raft(guard, network, (log.clone(), applier)).await?;
        let ((rounds, arrivals), (lease_rounds, lease_arrivals)) = (Rounds::new(), Rounds::new());
        let suspension = SuspensionGuard::new(self.config.promise(), self.env.clock().suspended());
        let free = self.dir.free_bytes().unwrap_or(u64::MAX);
        let inner = Arc::new(Inner {
            admission: Admission::new(&self.config.limits),
            deadlines,
            watches,
            started: self.env.now(),
            contact: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            free: AtomicU64::new(free),
            certificates: Certificates::default(),
            ready: watch::Sender::new(false),
            failed: watch::Sender::new(None),
            config: self.config,
            env: self.env,
            cluster_id,
            dir: self.dir,
            raft,
            state,
            compactor,
            log,
            snapshots: ground.snapshots,
            links,
            rounds,
            lease_rounds,
            asked: Asked::default(),
            promises,
            suspension,
            progress,
            applied_bytes,
            recovered_to,
            stop: self.stop,
            tasks: self.tasks,
        });
        inner.open_to_peers(side, guard);
        inner.begin(&self.founding).await?;
        inner.spawn_tasks([arrivals, lease_arrivals], self.founding, guard);
        info!(id = inner.config.id, cluster_id, "member has started");
        Ok(Node { inner })
    }

    /// How long this member votes for nobody. Whoever never voted and never followed has promised nothing.
    fn vote_guard(&self, pristine: bool, promised: Duration) -> Duration {
        match pristine || self.config.members.len() == 1 || Mutant::VoteUnguarded.is_on() {
            true => Duration::ZERO,
            false => self.config.vote_guard(promised),
        }
    }

    /// Guarded from Raft's first tick on: it holds no lease over this member's own vote either.
    async fn begin_raft(
        &self,
        guard: Duration,
        network: Network,
        (log, applier): (LogStore, Applier),
    ) -> Result<Raft<Applier>, Error> {
        let settings = openraft::Config { enable_elect: guard.is_zero(), ..settings(&self.config)? };
        let raft = Raft::new(self.config.id, Arc::new(settings), network, log, applier);
        let raft = raft.await.map_err(|fatal| Error::Invalid(format!("raft: {fatal}")))?;
        if let Err(error) = self.check_addresses(&raft).await {
            // It has done nothing yet; how it ends is no news beside the error.
            let _ = raft.shutdown().await;
            return Err(error);
        }
        Ok(raft)
    }

    /// A member whose own addresses are not those that its cluster knows would not be reached, or is a second
    /// process under one id. Raft has read what the state and the log know.
    async fn check_addresses(&self, raft: &Raft<Applier>) -> Result<(), Error> {
        let id = self.config.id;
        let known = raft.with_raft_state(move |state| {
            state.membership_state.effective().membership().get_node(&id).cloned()
        });
        let known = known.await.map_err(|fatal| Error::Invalid(format!("raft: {fatal}")))?;
        let text = |peer: &Peer| format!("{},{}", peer.peer_addr, peer.client_addr);
        match (known, self.founding.members().get(&id)) {
            (Some(known), Some(own)) if known != *own => Err(Error::Invalid(format!(
                "member {id} is configured with the addresses {}, but its cluster knows it at {}: addresses \
                 cannot change yet (docs/runbook.md, \"Changed address\")",
                text(own),
                text(&known)
            ))),
            _ => Ok(()),
        }
    }

    async fn recover(&self) -> Result<Ground, Error> {
        let (stores, config, dir) = (self.stores.clone(), self.config.clone(), self.dir.clone());
        let identity = self.founding.identity();
        let identity = identity.ok_or_else(|| Error::NotReady("it has no identity".to_owned()))?;
        let ground = blocking(move || recover(&*stores, &config, &dir, &identity));
        ground.await.map_err(|panic| Error::Invalid(format!("recovery failed: {panic}")))?
    }
}

impl Inner {
    /// From here on the peers' calls reach Raft.
    fn open_to_peers(self: &Arc<Self>, side: &OnceLock<RaftSide<NodeHandler>>, guard: Duration) {
        let node = Arc::downgrade(self);
        let touched = node.clone();
        side.get_or_init(|| RaftSide {
            raft: self.raft.clone(),
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            promise: self.config.promise(),
            vote_guard_until: self.env.now() + guard,
            leader_contact: Box::new(move || {
                if let Some(node) = touched.upgrade() {
                    node.heard_from_leader();
                }
            }),
            leader: NodeHandler(node),
        });
    }

    /// The founder of a new cluster begins Raft; everybody else is reached by it.
    async fn begin(&self, founding: &Founding) -> Result<(), Error> {
        let begun = founding.identity().is_some_and(|identity| identity.initialized);
        if begun || !founding.is_founder() {
            return Ok(());
        }
        match self.raft.initialize(founding.members()).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => founding.initialized(),
            Err(error) => Err(Error::Invalid(self.dir.explain(format!("cannot begin raft: {error}")))),
        }
    }

    /// `arrivals`: for rounds of heartbeats, and for looks at the lease.
    fn spawn_tasks(self: &Arc<Self>, arrivals: [Arrivals; 2], founding: Arc<Founding>, guard: Duration) {
        for (arrivals, by_lease) in arrivals.into_iter().zip([false, true]) {
            let node = self.clone();
            let confirm = move |request_id: String| {
                let node = node.clone();
                async move { node.read_index(by_lease, &request_id).await }
            };
            self.spawn(arrivals.serve(self.env.clone(), confirm));
        }
        self.spawn(hold_elections(self.clone(), founding.clone(), guard));
        self.spawn(note_beginning(self.clone(), founding));
        self.spawn(watch_for_failure(self.clone()));
        self.spawn(note_leaders(self.clone()));
        self.spawn(become_ready(self.clone()));
        self.spawn(bring_to_watches(self.clone()));
        self.spawn_countdown();
        self.spawn_housekeeping();
    }

    /// Runs a task until the node stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// Campaigns again when the promises of former runs have run out (H2), and forgets them.
async fn hold_elections(node: Arc<Inner>, founding: Arc<Founding>, guard: Duration) {
    if !guard.is_zero() {
        sleep(guard).await;
        node.raft.runtime_config().elect(true);
    }
    if let Err(error) = founding.former_promises_end() {
        // The next start waits for longer than it would have to.
        warn!(%error, "cannot note that promises of former runs have ended");
    }
}

/// Writes down that Raft has begun here, so that an empty log is known for a lost one.
async fn note_beginning(node: Arc<Inner>, founding: Arc<Founding>) {
    let mut metrics = node.raft.server_metrics();
    while metrics.borrow_watched().vote.leader_id.term == 0 {
        if metrics.changed().await.is_err() {
            return;
        }
    }
    if let Err(error) = founding.initialized() {
        node.fail(error.to_string());
    }
}

/// A history that cannot be read means a broken state.
async fn bring_to_watches(node: Arc<Inner>) {
    if let Err(error) = node.watches.dispatch().await {
        node.fail(error.to_string());
    }
}

/// One line for each change of the leader that this member knows.
async fn note_leaders(node: Arc<Inner>) {
    let mut metrics = node.raft.server_metrics();
    let mut known = None;
    loop {
        let leader = node.leader_id();
        if leader != known {
            known = leader;
            let (term, leader) = (node.term(), leader.map_or("none".to_owned(), |id| id.to_string()));
            info!(leader, term, "the leader has changed");
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Raft stops when its storage fails; then this member stops too.
async fn watch_for_failure(node: Arc<Inner>) {
    let mut metrics = node.raft.metrics();
    loop {
        let running = metrics.borrow_watched().running_state.clone();
        if let Err(fatal) = running {
            return node.fail(fatal.to_string());
        }
        if metrics.changed().await.is_err() {
            return node.fail("raft has ended".to_owned());
        }
    }
}

/// Ready once a quorum has confirmed a position and this member has applied it (H9).
async fn become_ready(node: Arc<Inner>) {
    loop {
        if let Ok(round) = node.rounds.join("").await {
            let mut progress = node.progress.clone();
            let applied = progress.wait_for(|view| view.applied.is_some_and(|at| at.index >= round.index));
            if applied.await.is_err() {
                return;
            }
            node.certificates.add(node.proof_of(&round), round.index);
            node.ready.send_replace(true);
            info!(index = round.index, "member is ready");
            return;
        }
        sleep(node.config.heartbeat).await;
    }
}

impl Config {
    /// Where this member listens for peers: `listen_peer`, or as `members` says.
    fn peer_listener(&self) -> String {
        let published = |id: &NodeId| self.members.get(id).map(|addr| addr.peer.clone()).unwrap_or_default();
        if self.listen_peer.is_empty() { published(&self.id) } else { self.listen_peer.clone() }
    }
}
