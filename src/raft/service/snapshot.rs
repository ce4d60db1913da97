//! Receiving a snapshot: to a file beside, checked whole, then handed to Raft. The answer waits for the log.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use openraft::{async_runtime::WatchReceiver, raft::AppendEntriesRequest};
use tonic::{Status, Streaming};

use super::{LeaderHandler, RaftSide, fatal, garbled};
use crate::{
    env::blocking,
    mutant::Mutant,
    pb::internal::{self as pb, snapshot_chunk::Part},
    raft::{
        codec,
        log_store::LogStore,
        snapshots::SnapshotFile,
        state_machine::{Applier, check_snapshot},
        types::{LogId, Raft, Snapshot, SnapshotMeta, Vote},
    },
};

/// Between two chunks. The sender gives up sooner. This, and the size announced, is all that bounds a
/// transfer: the call has no deadline.
const IDLE: std::time::Duration = std::time::Duration::from_secs(20);

/// Receives one snapshot and installs it.
pub async fn receive<L: LeaderHandler>(
    side: &RaftSide<L>,
    mut chunks: Streaming<pb::SnapshotChunk>,
) -> Result<pb::SnapshotReply, Status> {
    let head = match next(&mut chunks).await? {
        Some(Part::Head(head)) => head,
        _ => return Err(Status::invalid_argument("a snapshot begins with its head")),
    };
    let size = head.size;
    let (vote, meta) = codec::snapshot_head_from_pb(head).map_err(garbled)?;
    plausible(side, &vote, &meta)?;
    let file = Unfinished(side.snapshots.unfinished());
    store(&file.0, size, &mut chunks).await?;
    let snapshot = verify(side, &file, &meta).await?;
    let (raft, log) = (side.raft.clone(), side.log.clone());
    // In a task of its own, which keeps the file: the sender may hang up (a leader that steps down does), and
    // this call then ends at once, while Raft still needs the file. To Raft a file that is gone is a fatal
    // error.
    let installing = tokio::spawn(async move {
        let _file = file;
        install(&raft, &log, vote, Snapshot { meta, snapshot }).await
    });
    installing.await.map_err(fatal)?
}

/// Refuses announcements that cannot be true, which openraft answers with a panic (hazard H8).
fn plausible<L>(side: &RaftSide<L>, vote: &Vote, meta: &SnapshotMeta) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::invalid_argument(format!("snapshot of {vote}: {why}")));
    let Some(last) = &meta.last_log_id else { return refuse("it covers nothing") };
    if !vote.committed {
        return refuse("only an elected leader sends one");
    }
    if last.committed_leader_id().term > vote.leader_id.term {
        return refuse("it covers entries of a later term");
    }
    match side.raft.metrics().borrow_watched().last_applied {
        Some(applied) if *last > applied && last.index() <= applied.index() => {
            refuse("it contradicts what is applied here")
        }
        _ => Ok(()),
    }
}

/// A file that is removed unless it was published meanwhile.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Published means renamed: then there is nothing here to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn next(chunks: &mut Streaming<pb::SnapshotChunk>) -> Result<Option<Part>, Status> {
    let chunk = tokio::time::timeout(IDLE, chunks.message()).await;
    let chunk = chunk.map_err(|_| Status::deadline_exceeded(format!("no snapshot data for {IDLE:?}")))??;
    Ok(chunk.and_then(|chunk| chunk.part))
}

/// Writes the stream to a file, which must get exactly the size that was announced.
async fn store(path: &Path, size: u64, chunks: &mut Streaming<pb::SnapshotChunk>) -> Result<(), Status> {
    let path = path.to_owned();
    let mut file = on_disk(move || File::create(path)).await?;
    let mut written = 0;
    while let Some(part) = next(chunks).await? {
        let Part::Data(data) = part else {
            return Err(Status::invalid_argument("a snapshot has one head"));
        };
        written += data.len() as u64;
        if written > size {
            return Err(Status::invalid_argument(format!("the snapshot exceeds the {size} bytes announced")));
        }
        file = on_disk(move || (&file).write_all(&data).map(|()| file)).await?;
    }
    if written < size {
        return Err(Status::data_loss(format!("the snapshot ended after {written} of {size} bytes")));
    }
    Ok(())
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| Status::unavailable(format!("cannot write the snapshot: {error}")))
}

/// Checks the whole file before Raft hears of it: Raft takes inconsistent metadata for a fatal error (hazard
/// H8).
async fn verify<L: LeaderHandler>(
    side: &RaftSide<L>,
    file: &Unfinished,
    meta: &SnapshotMeta,
) -> Result<SnapshotFile, Status> {
    let snapshot = side.snapshots.received(file.0.clone()).map_err(fatal)?;
    let (checked, expected) = (snapshot.clone(), meta.clone());
    let found = blocking(move || check_snapshot(&checked)).await.map_err(fatal)?;
    match found {
        Ok(found) if found == expected => Ok(snapshot),
        Ok(_) => Err(Status::data_loss("the snapshot file and its announcement disagree")),
        Err(error) => Err(Status::data_loss(format!("damaged snapshot: {error}"))),
    }
}

/// Installs, and answers when the log is durable. openraft may answer at once, because it has committed that
/// far in memory; the leader would then count entries that a crash here can still lose (S1).
async fn install(
    raft: &Raft<Applier>,
    log: &LogStore,
    vote: Vote,
    snapshot: Snapshot<SnapshotFile>,
) -> Result<pb::SnapshotReply, Status> {
    if let Some(last) = snapshot.meta.last_log_id
        && !Mutant::LongerLogReplaced.is_on()
        && !Mutant::SnapshotBeforeDurable.is_on()
    {
        commit_what_is_here(raft, vote, last).await?;
    }
    let response = raft.install_full_snapshot(vote, snapshot).await.map_err(fatal)?;
    if !Mutant::SnapshotBeforeDurable.is_on() {
        log.barrier().await.map_err(fatal)?;
    }
    Ok(pb::SnapshotReply { vote: Some(response.vote.into()), promise_ms: 0 })
}

/// What a snapshot covers is committed. A member whose log has it already, and more, learns that from an
/// append of nothing, and has no need to install. openraft's account of the log would go back: its own check
/// fails; without checks, the account is wrong until the next append.
async fn commit_what_is_here(raft: &Raft<Applier>, vote: Vote, last: LogId) -> Result<(), Status> {
    let nothing = AppendEntriesRequest {
        vote,
        prev_log_id: Some(last),
        entries: Vec::new(),
        leader_commit: Some(last),
    };
    // Where the log has something else there, it is cut, and the snapshot is installed.
    raft.append_entries(nothing).await.map(drop).map_err(fatal)
}
