//! A cluster of real processes on loopback ports, in a directory of its own: start, kill, pause, restart.
//! Whatever happens to the test, no process stays; when it fails, the ends of the logs are printed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use quorate::{
    torture::cluster::proxy::Network,
    types::{Level, NodeId},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{SOON, cli, eventually, node::NodeClient, ports};

/// Lines of each log that a failing test prints.
const LOG_TAIL: usize = 40;

/// What kind of cluster.
#[derive(Clone)]
pub struct Spec {
    /// How many members, with the ids 1, 2, ….
    pub members: u64,
    /// `--log-store`.
    pub log_store: &'static str,
    /// More flags for every `quorate serve`.
    pub flags: Vec<String>,
    /// With proxies between the members.
    pub proxied: bool,
    /// Keep the data below this directory, rather than in the cluster's own.
    pub data_root: Option<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Spec { members: 3, log_store: "wal", flags: Vec::new(), proxied: false, data_root: None }
    }
}

/// One member's process and place.
struct Member {
    peer_addr: String,
    client_addr: String,
    dir: PathBuf,
    child: Option<Child>,
}

/// A cluster. Its processes end with it.
pub struct Cluster {
    spec: Spec,
    members: BTreeMap<NodeId, Member>,
    network: Option<Network>,
    dir: TempDir,
}

impl Cluster {
    /// Three members with the default log, ready.
    pub async fn three() -> Cluster {
        Cluster::start(Spec::default()).await
    }

    /// Starts all members and waits until each answers linearizable reads.
    pub async fn start(spec: Spec) -> Cluster {
        let mut cluster = Cluster::prepare(spec).await;
        cluster.launch_all(&[]);
        cluster.wait_all_ready().await;
        if let Some(network) = &cluster.network {
            assert!(
                network.counted(&network.between_members()).carried > 0,
                "the members do not talk through the proxies"
            );
        }
        cluster
    }

    /// Chooses ports and directories; starts nothing.
    pub async fn prepare(spec: Spec) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let member = |id: NodeId| Member {
            peer_addr: ports::free_addr(),
            client_addr: ports::free_addr(),
            dir: dir.path().join(format!("node-{id}")),
            child: None,
        };
        let members: BTreeMap<_, _> = (1..=spec.members).map(|id| (id, member(id))).collect();
        let network = match spec.proxied {
            true => {
                let peers = members.iter().map(|(id, member)| (*id, member.peer_addr.clone())).collect();
                Some(Network::start(&peers, &BTreeMap::new()).await.expect("ports for proxies"))
            }
            false => None,
        };
        Cluster { spec, members, network, dir }
    }

    /// The ids of all members, dead or alive.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The ids of the members whose process was started and not ended by the test.
    pub fn alive(&self) -> Vec<NodeId> {
        self.members.iter().filter(|(_, member)| member.child.is_some()).map(|(id, _)| *id).collect()
    }

    /// The proxies; only for a cluster that has them.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster was started with proxies")
    }

    /// Where a member listens for clients.
    pub fn client_addr(&self, id: NodeId) -> &str {
        &self.members[&id].client_addr
    }

    /// Where a member listens for peers.
    pub fn peer_addr(&self, id: NodeId) -> &str {
        &self.members[&id].peer_addr
    }

    /// All client addresses, in order of ids.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.values().map(|member| member.client_addr.clone()).collect()
    }

    /// A member's data directory.
    pub fn data_dir(&self, id: NodeId) -> PathBuf {
        match &self.spec.data_root {
            Some(root) => root.join(format!("data-{id}")),
            None => self.members[&id].dir.join("data"),
        }
    }

    /// What a member has said since it was first started.
    pub fn log(&self, id: NodeId) -> String {
        fs::read_to_string(self.members[&id].dir.join("log")).unwrap_or_default()
    }

    /// The process of a member that runs.
    pub fn pid(&self, id: NodeId) -> u32 {
        self.members[&id].child.as_ref().expect("the member runs").id()
    }

    /// The most memory that a member's process had resident, in MiB.
    pub fn peak_mib(&self, id: NodeId) -> u64 {
        let pid = self.pid(id);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().split(' ').next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }

    /// A direct connection to a member.
    pub fn node(&self, id: NodeId) -> NodeClient {
        NodeClient::new(self.client_addr(id))
    }

    /// The command line, told of all members.
    pub fn cli(&self, arguments: &[&str]) -> cli::Done {
        let endpoints = self.endpoints().join(",");
        cli::run(&[&["--endpoints", &endpoints], arguments].concat())
    }

    /// The command line, told of one member.
    pub fn cli_at(&self, id: NodeId, arguments: &[&str]) -> cli::Done {
        cli::run(&[&["--endpoints", self.client_addr(id)], arguments].concat())
    }

    /// The command that starts a member, with more flags.
    pub fn serve_command(&self, id: NodeId, flags: &[&str]) -> Command {
        self.serve_command_on(&self.data_dir(id), id, flags)
    }

    /// The command that starts a member on another data directory than its own.
    pub fn serve_command_on(&self, data_dir: &Path, id: NodeId, flags: &[&str]) -> Command {
        let mut command = cli::command();
        command.args(["serve", "--id", &id.to_string(), "--log-store", self.spec.log_store]);
        command.arg("--data-dir").arg(data_dir);
        for (id, member) in &self.members {
            command.args(["--member", &format!("{id}={},{}", member.peer_addr, member.client_addr)]);
        }
        command.args(["--log-format", "json"]).args(&self.spec.flags).args(flags);
        if let Some(network) = &self.network {
            let file = self.dir.path().join(format!("detours-{id}.toml"));
            fs::write(&file, network.detours_of(id)).expect("a configuration file");
            command.arg("--config").arg(file);
        }
        command
    }

    /// Starts a member that does not run, with more flags; does not wait for it.
    pub fn launch(&mut self, id: NodeId, flags: &[&str]) {
        let mut command = self.serve_command(id, flags);
        let member = self.member(id);
        assert!(member.child.is_none(), "member {id} runs already");
        fs::create_dir_all(&member.dir).expect("the member's directory");
        let log = member.dir.join("log");
        let log = File::options().create(true).append(true).open(log).expect("the member's log");
        let errors = log.try_clone().expect("another handle of the log");
        let child = command.stdout(log).stderr(errors).spawn();
        member.child = Some(child.expect("the program starts"));
    }

    /// Starts all members that do not run.
    pub fn launch_all(&mut self, flags: &[&str]) {
        for id in self.ids() {
            if self.members[&id].child.is_none() {
                self.launch(id, flags);
            }
        }
    }

    /// Waits until a member answers a linearizable read.
    pub async fn wait_ready(&self, id: NodeId) {
        let node = self.node(id).within(Duration::from_secs(2));
        eventually(&format!("member {id} is ready"), SOON, async || {
            node.get("ready-probe", Level::Linearizable).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Waits until every member that runs answers a linearizable read.
    pub async fn wait_all_ready(&self) {
        for id in self.alive() {
            self.wait_ready(id).await;
        }
    }

    /// The leader, in the eyes of a majority of those who answer, and of itself.
    pub async fn leader(&self) -> NodeId {
        self.leader_other_than(0).await
    }

    /// As `leader`, but waits until it is not `old`.
    pub async fn leader_other_than(&self, old: NodeId) -> NodeId {
        eventually("there is a leader", SOON, async || {
            let mut votes = BTreeMap::<NodeId, usize>::new();
            for id in self.alive() {
                let node = self.node(id).within(Duration::from_secs(1));
                if let Ok(status) = node.status().await {
                    *votes.entry(status.leader_id).or_default() += 1;
                }
            }
            let majority = self.members.len() / 2 + 1;
            let elected = votes.iter().find(|(id, count)| **count >= majority && **id != 0 && **id != old);
            elected.map(|(id, _)| *id).ok_or_else(|| format!("{votes:?}"))
        })
        .await
    }

    /// Ends a member at once, as `kill -9` does.
    pub fn kill(&mut self, id: NodeId) {
        let mut child = self.member(id).child.take().expect("the member runs");
        child.kill().expect("SIGKILL");
        child.wait().expect("the member's end");
    }

    /// Asks a member to end (SIGTERM); its exit code.
    pub fn stop(&mut self, id: NodeId) -> Option<i32> {
        let mut child = self.member(id).child.take().expect("the member runs");
        signal(child.id(), Signal::TERM);
        wait(&mut child, SOON).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("member {id} did not end within {SOON:?} of SIGTERM")
        })
    }

    /// Freezes a member (SIGSTOP).
    pub fn pause(&self, id: NodeId) {
        self.signal(id, Signal::STOP);
    }

    /// Lets a paused member go on.
    pub fn resume(&self, id: NodeId) {
        self.signal(id, Signal::CONT);
    }

    fn signal(&self, id: NodeId, which: Signal) {
        signal(self.members[&id].child.as_ref().expect("the member runs").id(), which);
    }

    fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).expect("a member of this cluster")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if thread::panicking() {
            for id in self.ids() {
                let log = self.log(id);
                let lines: Vec<_> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
                eprintln!("--- the end of member {id}'s log\n{}", tail.join("\n"));
            }
        }
    }
}

/// Sends a signal to a process of ours; one that has just ended is no error.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Waits for a process; its exit code, or `None` if it goes on after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<Option<i32>> {
    let start = std::time::Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return Some(status.code());
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}
