//! The replicated state under openraft: applies committed entries in chunks, builds and installs snapshots.
//!
//! A chunk of entries is one atomic batch for the engine, made only when this member's own log is durable up
//! to the chunk's end: the state never runs ahead of the log on disk (hazard H3). Then readers see it, then
//! responders fire.

use std::{
    fs::{self, File},
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
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};

use super::{
    codec,
    log_store::LogStore,
    snapshots::{SnapshotFile, SnapshotStore},
    types::{EntryPayload, LogId, Response, Snapshot, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    env::blocking,
    log,
    mutant::Mutant,
    stages::Stage,
    state::{
        self, ApplyBatch, Committed, Corruption, PinnedSnapshot, Position, StateMachine, View,
        snapshot::{self, SnapshotError},
    },
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
        self.log.committed(last.log_id().index());
        if !Mutant::ApplyBeforeDurable.is_on() {
            self.log.wait_durable(last.log_id()).await?;
        }
        self.await_room().await?;
        let began = Instant::now();
        let mut batch = self.machine.begin();
        let mut answers = Vec::with_capacity(chunk.len());
        for (entry, responder) in chunk {
            let response = self.apply_entry(&mut batch, entry.log_id(), entry.payload)?;
            answers.extend(responder.map(|responder| (responder, response)));
        }
        let committed = self.machine.commit(batch).map_err(io::Error::other)?;
        let view = self.machine.reader().position();
        self.sink.committed(committed, &view);
        self.log.stages().record(Stage::Apply, began.elapsed());
        self.progress.send_replace(view);
        for (responder, response) in answers {
            responder.send(response);
        }
        Ok(())
    }

    /// Waits, off this thread, until the engine takes a batch without waiting.
    async fn await_room(&self) -> io::Result<()> {
        let engine = self.machine.engine();
        if engine.has_room() {
            return Ok(());
        }
        let made = blocking(move || engine.make_room()).await.map_err(io::Error::other)?;
        made.map_err(io::Error::other)
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
                self.applied_bytes.fetch_add(proposal.size() as u64, Ordering::Relaxed);
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

/// What a snapshot file says that it covers; reads and checks all of it. For the errors, see [`is_damage`].
pub fn check_snapshot(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    let header = snapshot::verify(BufReader::new(File::open(file.path())?)).map_err(unusable)?.header;
    meta(header.applied, header.membership)
}

/// What a snapshot file says that it covers. Says nothing about the rest of it.
pub fn read_meta(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    let header = snapshot::read_header(BufReader::new(File::open(file.path())?)).map_err(unusable)?;
    meta(header.applied, header.membership)
}

/// Sets a published file aside if `check` finds it damaged. Without the data: the caller knows that the state
/// is there, or the log from its beginning.
pub fn inspect(
    snapshots: &SnapshotStore,
    file: &SnapshotFile,
    check: fn(&SnapshotFile) -> io::Result<SnapshotMeta>,
) -> io::Result<()> {
    match check(file) {
        Err(error) if is_damage(&error) => snapshots.set_aside(file, &error),
        checked => checked.map(drop),
    }
}

/// Whether an error speaks against the bytes of a snapshot file: no attempt more will help. Any other says
/// that they could not be read just now.
pub fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// A format that this version does not know is as good as damage: the state takes its place, in one that it
/// knows.
fn unusable(error: SnapshotError) -> io::Error {
    match error {
        SnapshotError::Io(error) => error,
        SnapshotError::NotEmpty | SnapshotError::State(Corruption::Engine(_)) => io::Error::other(error),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Builds a state from a snapshot file in a generation of its own, and makes it the current one. For the
/// errors, see [`is_damage`].
pub fn load_snapshot(home: &dyn EngineHome, file: &SnapshotFile) -> io::Result<StateMachine> {
    let fresh = home.create_fresh().map_err(io::Error::other)?;
    let source = BufReader::new(File::open(file.path())?);
    let machine = StateMachine::load(fresh.engine.clone(), source).map_err(unusable)?;
    home.adopt(fresh).map_err(io::Error::other)?;
    Ok(machine)
}

fn meta(applied: Option<Position>, membership: Option<state::Membership>) -> io::Result<SnapshotMeta> {
    let last_membership = match membership {
        None => StoredMembership::default(),
        Some((at, bytes)) => {
            let undecodable = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            let membership = codec::decode_membership(bytes).map_err(undecodable)?;
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
                    bytes += proposal.size();
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
        let loaded = blocking(move || -> io::Result<StateMachine> {
            let file = snapshots.publish(snapshot.path(), last.into())?;
            load_snapshot(&*home, &file)
        });
        let former = self.machine.replace(loaded.await.map_err(io::Error::other)??);
        self.replaced();
        blocking(move || drop(former)).await.map_err(io::Error::other)?;
        info!(last = %last, "installed a snapshot");
        Ok(())
    }

    /// To openraft a snapshot that it needs and does not get is a fatal error. The state holds all that a
    /// damaged file held: another one is taken, on the spot if need be.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotFile>>> {
        if let Some(file) = self.snapshots.newest()? {
            match read_meta(&file) {
                Err(error) if is_damage(&error) => self.snapshots.set_aside(&file, &error)?,
                read => return Ok(Some(Snapshot { meta: read?, snapshot: file })),
            }
        }
        if !self.snapshots.wanting() || self.machine.applied().is_none() {
            return Ok(None);
        }
        self.get_snapshot_builder().await.build_snapshot().await.map(Some)
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
        let written = blocking(move || write_snapshot(&snapshots, &pinned, last));
        let file = written.await.map_err(io::Error::other)??;
        info!(last = %last, bytes = file.size(), "took a snapshot");
        Ok(Snapshot { meta, snapshot: file })
    }
}

/// Writes and publishes a snapshot. The state on disk reaches as far before: the log is purged up to here
/// soon after, and a member that is killed then starts from its state, without the snapshot.
///
/// What is unfinished when that fails is removed: it would take the space, for want of which it may have
/// failed.
fn write_snapshot(
    snapshots: &SnapshotStore,
    pinned: &PinnedSnapshot,
    last: LogId,
) -> io::Result<SnapshotFile> {
    let path = snapshots.unfinished();
    let write = || -> io::Result<()> {
        pinned.flush().map_err(io::Error::other)?;
        let mut out = BufWriter::new(File::create(&path)?);
        pinned.write(&mut out).map_err(io::Error::other)?;
        out.flush()
    };
    let published = write().and_then(|()| snapshots.publish(&path, last.into()));
    if published.is_err() {
        // Published means renamed: then there is nothing here to remove.
        let _ = fs::remove_file(&path);
    }
    published
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::storage::{Batch, DiskHome, Engine, EngineError, MemoryEngine, Pair};

    #[test]
    fn a_snapshot_that_fails_leaves_nothing_that_takes_space() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let snapshots = SnapshotStore::open(dir.path().to_owned()).expect("a directory");
        let mut machine = StateMachine::open(Arc::new(MemoryEngine::new())).expect("an empty state");
        let mut batch = machine.begin();
        machine.note(&mut batch, Position { term: 1, index: 0 }).expect("a blank entry");
        machine.commit(batch).expect("a commit");
        let last = LogId::new_term_index(1, 0);
        // Something in the way of its publication.
        let taken = dir.path().join(format!("{:020}-{:020}.snapshot", 0, 1));
        fs::create_dir(&taken).expect("a directory");
        write_snapshot(&snapshots, &machine.pin(), last).expect_err("a directory is in the way");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "what was in the way");

        fs::remove_dir(&taken).expect("the way is free");
        let file = write_snapshot(&snapshots, &machine.pin(), last).expect("control: a snapshot");
        assert_eq!(snapshots.newest().expect("a directory"), Some(file));
    }

    /// An engine whose disk is full.
    struct Full(MemoryEngine);

    impl Engine for Full {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
            self.0.get(key)
        }

        fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
            self.0.floor(key)
        }

        fn scan<'a>(
            &'a self,
            from: &[u8],
            to: &[u8],
        ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
            self.0.scan(from, to)
        }

        fn write(&self, batch: &Batch) -> Result<(), EngineError> {
            self.0.write(batch)
        }

        fn flush(&self) -> Result<(), EngineError> {
            Err(EngineError::Damaged("the disk is full".into()))
        }

        fn size(&self) -> u64 {
            self.0.size()
        }
    }

    #[test]
    fn no_snapshot_is_published_of_a_state_that_cannot_be_flushed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let snapshots = SnapshotStore::open(dir.path().to_owned()).expect("a directory");
        let machine = StateMachine::open(Arc::new(Full(MemoryEngine::new()))).expect("an empty state");
        let refused = write_snapshot(&snapshots, &machine.pin(), LogId::new_term_index(1, 0));
        assert!(refused.is_err_and(|error| error.to_string().contains("the disk is full")));
        assert_eq!(snapshots.newest().expect("a directory"), None);
    }

    /// What a member finds in `state` that was killed just now.
    fn applied_after_a_kill(state: &std::path::Path) -> Option<u64> {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let copied = std::process::Command::new("cp").arg("-r").arg(state).arg(copy.path()).status();
        assert!(copied.expect("cp runs").success());
        let engine = DiskHome::new(copy.path().join("state"), 8 << 20).open_current().expect("sled opens");
        StateMachine::open(engine).expect("a state").applied().map(|at| at.index)
    }

    #[test]
    fn a_member_that_is_killed_needs_no_snapshot_of_its_own() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = dir.path().join("state");
        let engine = DiskHome::new(&state, 8 << 20).open_current().expect("sled opens");
        let mut machine = StateMachine::open(engine).expect("an empty state");
        let mut batch = machine.begin();
        machine.note(&mut batch, Position { term: 1, index: 0 }).expect("a blank entry");
        machine.commit(batch).expect("a commit");
        assert_eq!(applied_after_a_kill(&state), None, "control: nothing else has flushed it");

        let snapshots = SnapshotStore::open(dir.path().join("snapshots")).expect("a directory");
        write_snapshot(&snapshots, &machine.pin(), LogId::new_term_index(1, 0)).expect("a snapshot");
        assert_eq!(applied_after_a_kill(&state), Some(0));
    }
}
