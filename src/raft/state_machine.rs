//! The replicated state under openraft: applies committed entries in chunks, builds and installs snapshots.
//!
//! A chunk of entries is one atomic write of the engine, made only when this member's own log is durable up
//! to the chunk's end: the state never runs ahead of the log on disk (hazard H3). Then readers see it, then
//! responders fire.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend,
    entry::RaftEntry,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
};
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{debug, info};

use super::{
    codec,
    log_store::LogStore,
    snapshots::{SnapshotFile, SnapshotStore},
    types::{EntryPayload, LogId, Response, Snapshot, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    log,
    state::{self, ApplyBatch, Committed, PinnedSnapshot, Position, StateMachine, View, snapshot},
    storage::EngineHome,
};

/// Entries applied by one write of the engine. More would keep readers and responders waiting.
const CHUNK_ENTRIES_MAX: usize = 512;
/// Bytes of commands applied by one write of the engine.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The state machine that openraft drives.
pub struct Applier {
    machine: StateMachine,
    home: Arc<dyn EngineHome>,
    log: LogStore,
    snapshots: Arc<SnapshotStore>,
    progress: watch::Sender<View>,
    applied_bytes: Arc<AtomicU64>,
    sink: Box<dyn CommitSink>,
}

/// Is told what each commit made visible, in order. On the apply path: it must be short, and must not wait.
pub trait CommitSink: Send + Sync + 'static {
    /// A chunk of entries was committed; `view` is where the state stands now.
    fn committed(&self, committed: Committed, view: &View);

    /// The whole state was replaced by a snapshot's.
    fn replaced(&self, view: &View);
}

/// Nobody is told.
impl CommitSink for () {
    fn committed(&self, _: Committed, _: &View) {}

    fn replaced(&self, _: &View) {}
}

type Chunk = Vec<EntryResponder<TypeConfig>>;

impl Applier {
    /// Over a recovered machine, with the log and snapshots behind it. `applied_bytes` counts the bytes
    /// of applied commands, for whoever decides on snapshots.
    pub fn new(
        machine: StateMachine,
        home: Arc<dyn EngineHome>,
        (log, snapshots): (LogStore, Arc<SnapshotStore>),
        sink: Box<dyn CommitSink>,
    ) -> Applier {
        let progress = watch::Sender::new(machine.reader().position());
        Applier { machine, home, log, snapshots, progress, applied_bytes: Arc::default(), sink }
    }

    /// What has been applied, as it moves.
    pub fn progress(&self) -> watch::Receiver<View> {
        self.progress.subscribe()
    }

    /// Bytes of commands applied since the start.
    pub fn applied_bytes(&self) -> Arc<AtomicU64> {
        self.applied_bytes.clone()
    }

    async fn apply_chunk(&mut self, chunk: Chunk) -> io::Result<()> {
        let Some((last, _)) = chunk.last() else { return Ok(()) };
        self.log.wait_durable(last.log_id()).await?;
        let mut batch = self.machine.begin();
        let mut answers = Vec::with_capacity(chunk.len());
        for (entry, responder) in chunk {
            let response = self.apply_entry(&mut batch, entry.log_id(), entry.payload)?;
            answers.extend(responder.map(|responder| (responder, response)));
        }
        let committed = self.machine.commit(batch).map_err(io::Error::other)?;
        let view = self.machine.reader().position();
        self.sink.committed(committed, &view);
        self.progress.send_replace(view);
        for (responder, response) in answers {
            responder.send(response);
        }
        Ok(())
    }

    fn apply_entry(
        &mut self,
        batch: &mut ApplyBatch,
        id: LogId,
        payload: EntryPayload,
    ) -> io::Result<Response> {
        let at = position(id);
        match payload {
            EntryPayload::Blank => self.machine.note(batch, at).map_err(io::Error::other)?,
            EntryPayload::Membership(membership) => {
                let bytes = codec::encode_membership(&membership);
                self.machine.set_membership(batch, at, bytes).map_err(io::Error::other)?;
            }
            EntryPayload::Normal(proposal) => {
                let command = proposal.command();
                debug!(request_id = %command.request_id, index = at.index, "applying");
                self.applied_bytes.fetch_add(proposal.encoded().len() as u64, Ordering::Relaxed);
                let applied = self.machine.apply(batch, at, command).map_err(io::Error::other)?;
                return Ok(Response::Applied(applied));
            }
        }
        Ok(Response::Internal)
    }

    fn replaced(&self) {
        let view = self.machine.reader().position();
        self.sink.replaced(&view);
        self.progress.send_replace(view);
    }
}

fn position(id: LogId) -> Position {
    let at = log::Position::from(id);
    Position { term: at.term, index: at.index }
}

fn log_id(at: Position) -> LogId {
    LogId::new_term_index(at.term, at.index)
}

/// What a snapshot file says that it covers; reads and checks all of it.
pub fn check_snapshot(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    let summary = snapshot::verify(BufReader::new(File::open(file.path())?)).map_err(io::Error::other)?;
    meta(summary.header.applied, summary.header.membership)
}

/// Builds a state from a snapshot file in a generation of its own, and makes it the current one.
pub fn load_snapshot(home: &dyn EngineHome, file: &SnapshotFile) -> Result<StateMachine, String> {
    let fresh = home.create_fresh().map_err(|e| e.to_string())?;
    let source = BufReader::new(File::open(file.path()).map_err(|e| e.to_string())?);
    let machine = StateMachine::load(fresh.engine.clone(), source).map_err(|e| e.to_string())?;
    home.adopt(fresh).map_err(|e| e.to_string())?;
    Ok(machine)
}

fn meta(applied: Option<Position>, membership: Option<state::Membership>) -> io::Result<SnapshotMeta> {
    let last_membership = match membership {
        None => StoredMembership::default(),
        Some((at, bytes)) => {
            let membership = codec::decode_membership(bytes).map_err(io::Error::other)?;
            StoredMembership::new(Some(log_id(at)), membership)
        }
    };
    Ok(SnapshotMeta { last_log_id: applied.map(log_id), last_membership })
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let known = meta(self.machine.applied(), self.machine.membership())?;
        Ok((known.last_log_id, known.last_membership))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(CHUNK_ENTRIES_MAX);
        while let Some(ready) = chunks.next().await {
            let mut chunk = Chunk::new();
            let mut bytes = 0;
            for item in ready {
                let item = item?;
                if let EntryPayload::Normal(proposal) = &item.0.payload {
                    bytes += proposal.encoded().len();
                }
                chunk.push(item);
                if bytes >= CHUNK_BYTES_MAX {
                    self.apply_chunk(std::mem::take(&mut chunk)).await?;
                    bytes = 0;
                }
            }
            self.apply_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { pinned: Some(self.machine.pin()), snapshots: self.snapshots.clone() }
    }

    /// The file is published first: from then on the state can be rebuilt from it, whatever happens to the
    /// rest. But before that, a conflicting tail must be off the log on disk: after a crash, the state would
    /// be ahead of a log that contradicts it, and neither could be trusted.
    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let Some(last) = meta.last_log_id else { return Ok(()) };
        self.log.barrier().await?;
        let (snapshots, home) = (self.snapshots.clone(), self.home.clone());
        let loaded = spawn_blocking(move || -> io::Result<StateMachine> {
            let file = snapshots.publish(snapshot.path(), last.into())?;
            load_snapshot(&*home, &file).map_err(io::Error::other)
        });
        self.machine.replace(loaded.await.map_err(io::Error::other)??);
        self.replaced();
        info!(last = %last, "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotFile>>> {
        let Some(file) = self.snapshots.newest()? else { return Ok(None) };
        let header =
            snapshot::read_header(BufReader::new(File::open(file.path())?)).map_err(io::Error::other)?;
        Ok(Some(Snapshot { meta: meta(header.applied, header.membership)?, snapshot: file }))
    }
}

/// Writes a snapshot of a pinned state while writes go on.
pub struct SnapshotBuilder {
    pinned: Option<PinnedSnapshot>,
    snapshots: Arc<SnapshotStore>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<SnapshotFile>> {
        let pinned = self.pinned.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let header = pinned.header();
        let meta = meta(header.applied, header.membership.clone())?;
        let last = meta.last_log_id.ok_or_else(|| io::Error::other("there is nothing to snapshot yet"))?;
        let snapshots = self.snapshots.clone();
        let written = spawn_blocking(move || write_snapshot(&snapshots, &pinned, last));
        let file = written.await.map_err(io::Error::other)??;
        info!(last = %last, bytes = file.size(), "took a snapshot");
        Ok(Snapshot { meta, snapshot: file })
    }
}

fn write_snapshot(
    snapshots: &SnapshotStore,
    pinned: &PinnedSnapshot,
    last: LogId,
) -> io::Result<SnapshotFile> {
    let path = snapshots.unfinished();
    let mut out = BufWriter::new(File::create(&path)?);
    pinned.write(&mut out).map_err(io::Error::other)?;
    out.flush()?;
    snapshots.publish(&path, last.into())
}
