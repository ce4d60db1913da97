//! A cluster of real processes on loopback ports, with the network between them in our hands: start, kill,
//! pause, restart. No process outlives it.

mod disk;
pub mod ports;
mod process;
pub mod proxy;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use self::proxy::Network;
pub use self::{disk::SmallDisk, process::Process};
use super::{TortureError, onlooker::Onlooker};
use crate::{env::CLOCK_VARIABLE, types::NodeId};

/// How long a member may take to be ready after it was started.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The file, beside a member's data, that its clock obeys.
const CLOCK: &str = "clock";

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program whose `serve` is a member.
    pub program: PathBuf,
    /// Members, with the ids 1, 2, ….
    pub nodes: u64,
    /// Each member's log, configuration and data go here.
    pub dir: PathBuf,
    /// More flags for every `serve`.
    pub flags: Vec<String>,
    /// Give each member a disk of its own that can be filled, if that is allowed here.
    pub small_disks: bool,
}

/// One member: its process, and its places.
struct Member {
    peer_addr: String,
    listen: String,
    dir: PathBuf,
    process: Option<Process>,
    disk: Option<SmallDisk>,
}

/// A cluster. Its processes end with it.
pub struct Cluster {
    spec: Spec,
    members: BTreeMap<NodeId, Member>,
    network: Network,
    onlooker: Onlooker,
}

impl Cluster {
    /// Starts all members and waits until each is ready.
    ///
    /// # Errors
    /// If a directory, a port or a process cannot be had, or a member is not ready within a minute.
    pub async fn start(spec: Spec) -> Result<Cluster, TortureError> {
        let mut members = BTreeMap::new();
        for id in 1..=spec.nodes {
            members.insert(id, Member::prepare(&spec, id)?);
        }
        let peers = members.iter().map(|(id, member)| (*id, member.peer_addr.clone())).collect();
        let listens = members.iter().map(|(id, member)| (*id, member.listen.clone())).collect();
        let network =
            Network::start(&peers, &listens).await.map_err(TortureError::io("cannot start proxies"))?;
        let onlooker = Onlooker::new(listens)?;
        let mut cluster = Cluster { spec, members, network, onlooker };
        for id in cluster.ids() {
            cluster.launch(id)?;
        }
        for id in cluster.ids() {
            cluster.wait_ready(id).await?;
        }
        Ok(cluster)
    }

    /// The ids of all members, dead or alive.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The network between them, and before them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where clients dial: through the network.
    pub fn endpoints(&self) -> Vec<String> {
        let addr = |id: &NodeId| self.network.client_addr(*id).map(str::to_owned);
        self.members.keys().filter_map(addr).collect()
    }

    /// Where a member keeps its data.
    pub fn data_dir(&self, id: NodeId) -> PathBuf {
        self.spec.dir.join(format!("node-{id}")).join("data")
    }

    /// Puts a member's clock wrong, or right: its rate, and how far it has jumped ahead since its start.
    ///
    /// # Errors
    /// If the file that the member obeys cannot be written.
    pub fn set_clock(&self, id: NodeId, rate: f64, jumped: Duration) -> Result<(), TortureError> {
        let dir = self.spec.dir.join(format!("node-{id}"));
        let (new, text) = (dir.join("clock.new"), format!("{rate} {}\n", jumped.as_millis()));
        let set = fs::write(&new, text).and_then(|()| fs::rename(new, dir.join(CLOCK)));
        set.map_err(TortureError::io("cannot set a clock"))
    }

    /// How much a member has said since it was first started, in bytes.
    pub fn log_length(&self, id: NodeId) -> u64 {
        fs::metadata(self.log_file(id)).map_or(0, |log| log.len())
    }

    /// What a member has said behind so many bytes.
    pub fn log_behind(&self, id: NodeId, offset: u64) -> String {
        let mut text = Vec::new();
        let read = fs::File::open(self.log_file(id)).and_then(|mut log| {
            log.seek(SeekFrom::Start(offset))?;
            log.read_to_end(&mut text)
        });
        read.map_or(String::new(), |_| String::from_utf8_lossy(&text).into_owned())
    }

    fn log_file(&self, id: NodeId) -> PathBuf {
        self.spec.dir.join(format!("node-{id}")).join("log")
    }

    /// Whether a member's process runs; one that has ended by itself does not.
    pub fn is_alive(&mut self, id: NodeId) -> bool {
        let process = self.members.get_mut(&id).and_then(|member| member.process.as_mut());
        process.is_some_and(Process::is_alive)
    }

    /// Starts a member that does not run; does not wait for it.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn launch(&mut self, id: NodeId) -> Result<(), TortureError> {
        let command = self.command(id)?;
        let member = self.member(id)?;
        if member.process.as_mut().is_some_and(Process::is_alive) {
            return Ok(());
        }
        let what = format!("cannot start member {id}");
        member.process = Some(Process::start(command, &member.dir).map_err(TortureError::io(&what))?);
        Ok(())
    }

    fn command(&self, id: NodeId) -> Result<Command, TortureError> {
        let member = self.members.get(&id).ok_or_else(|| unknown(id))?;
        let detours = member.dir.join("detours.toml");
        fs::write(&detours, self.network.detours_of(id)).map_err(TortureError::io("cannot write a file"))?;
        let mut command = Command::new(&self.spec.program);
        command.args(["serve", "--id", &id.to_string(), "--listen-client", &member.listen]);
        command.arg("--data-dir").arg(self.data_dir(id)).arg("--config").arg(detours);
        for (id, member) in &self.members {
            let client = self.network.client_addr(*id).unwrap_or_default();
            command.args(["--member", &format!("{id}={},{client}", member.peer_addr)]);
        }
        command.args(["--log-format", "json"]).args(&self.spec.flags);
        command.env(CLOCK_VARIABLE, member.dir.join(CLOCK));
        Ok(command)
    }

    /// Waits until a member says that it is ready: it has applied what was committed, and knows a leader.
    ///
    /// # Errors
    /// If it does not within a minute; at once if its process ends meanwhile.
    async fn wait_ready(&mut self, id: NodeId) -> Result<(), TortureError> {
        let within = READY_WITHIN;
        let until = tokio::time::Instant::now() + within;
        loop {
            let why = match self.onlooker.status(id).await {
                Ok(status) if status.ready => return Ok(()),
                Ok(_) => "it says so".to_owned(),
                Err(error) => error.to_string(),
            };
            let ended = !self.is_alive(id);
            if ended || tokio::time::Instant::now() >= until {
                let why = if ended { "its process has ended".to_owned() } else { why };
                return Err(TortureError::NotReady { id, within, why });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends a member at once, as `kill -9` does. Whether it ran.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn kill(&mut self, id: NodeId) -> Result<bool, TortureError> {
        let Some(mut process) = self.member(id)?.process.take() else { return Ok(false) };
        process.kill().map_err(TortureError::io(&format!("cannot kill member {id}")))
    }

    /// Hands a member's process out: who has it can wait for its end without holding the cluster.
    pub fn take(&mut self, id: NodeId) -> Option<Process> {
        self.members.get_mut(&id)?.process.take()
    }

    /// The members whose process has ended though nobody ended it, and how. Each is told once.
    pub fn died(&mut self) -> Vec<(NodeId, String)> {
        let mut died = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(how) = member.process.as_mut().and_then(Process::ended) {
                member.process = None;
                died.push((*id, how));
            }
        }
        died
    }

    /// Freezes a member. Whether it is seen to stand still.
    pub async fn pause(&self, id: NodeId) -> bool {
        match self.members.get(&id).and_then(|member| member.process.as_ref()) {
            Some(process) => process.pause().await,
            None => false,
        }
    }

    /// Lets a frozen member go on.
    pub fn resume(&self, id: NodeId) {
        if let Some(process) = self.members.get(&id).and_then(|member| member.process.as_ref()) {
            process.resume();
        }
    }

    /// Who looks on, past the network.
    pub fn onlooker(&self) -> &Onlooker {
        &self.onlooker
    }

    /// A member's own disk, if it has one.
    pub fn disk(&self, id: NodeId) -> Option<&SmallDisk> {
        self.members.get(&id)?.disk.as_ref()
    }

    fn member(&mut self, id: NodeId) -> Result<&mut Member, TortureError> {
        self.members.get_mut(&id).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: NodeId) -> TortureError {
    TortureError::Invalid(format!("there is no member {id}"))
}

impl Member {
    fn prepare(spec: &Spec, id: NodeId) -> Result<Member, TortureError> {
        let dir = spec.dir.join(format!("node-{id}"));
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(TortureError::io("cannot create a member's directory"))?;
        let disk = spec.small_disks.then(|| SmallDisk::mount(&data)).flatten();
        let addr = || {
            let none = || io::Error::new(io::ErrorKind::AddrInUse, "no free port on the loopback interface");
            ports::free_addr().ok_or_else(none).map_err(TortureError::io("cannot place a member"))
        };
        Ok(Member { peer_addr: addr()?, listen: addr()?, dir, process: None, disk })
    }
}
