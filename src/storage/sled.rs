//! The engine on disk: sled 0.34.7. The only file that names sled for the state.
//!
//! **Not durable**: sled's `flush` never syncs the file. What it wrote survives the death of the process, not
//! of the machine. That is enough, because the state can be rebuilt (see the module above). Nothing is
//! flushed in the background: [`Engine::flush`] is called at checkpoints and for snapshots, off the apply
//! path. What is not flushed stays in memory (2 KiB for each batch of one small record), and a long backlog
//! takes seconds. [`super::Behind`] makes the batches few.
//!
//! sled answers some damage with a panic. Every call here turns that into an [`EngineError`], and the caller
//! stops using the engine. This needs unwinding: a profile with `panic = "abort"` takes the member down
//! instead.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use sled::{Db, IVec};

use super::{Batch, Engine, EngineError, Pair};
use crate::error::panic_text;

/// Bytes of one segment of sled's log. A page of its tree that outgrows a quarter of it goes to a file of its
/// own, rewritten whole at each change. The state's blocks are 8 KiB, and a page holds up to 17.
const SEGMENT_BYTES: usize = 2 << 20;

/// Between two looks at whether a former user has let go of the database.
const RELEASE_LOOK: Duration = Duration::from_millis(5);
/// So many looks before it is refused.
const RELEASE_LOOKS: u32 = 1000;

/// A sled database in a directory of its own.
pub struct SledEngine {
    // Before `directory`: closed before its files are removed.
    db: Db,
    directory: Directory,
}

impl SledEngine {
    /// Opens the database in `path`, or creates it. `cache_bytes` bounds sled's page cache, roughly.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<SledEngine, EngineError> {
        wait_for_release(&path.join("db"), RELEASE_LOOKS)?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        let db = guarded("open", || config.open())?;
        let directory = Directory { path: path.to_owned(), remove: AtomicBool::new(false) };
        Ok(SledEngine { db, directory })
    }

    /// Whether the directory goes when the last user of the engine is gone.
    pub(super) fn remove_when_dropped(&self, remove: bool) {
        self.directory.remove.store(remove, Ordering::SeqCst);
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(guarded("get", || self.db.get(key))?.map(shared))
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        let found = guarded("floor", || self.db.range(..=key).next_back().transpose())?;
        Ok(found.map(|(key, value)| (shared(key), shared(value))))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let mut pairs = self.db.range(from.to_vec()..to.to_vec());
        Box::new(std::iter::from_fn(move || {
            let pair = guarded("scan", || pairs.next().transpose()).transpose()?;
            Some(pair.map(|(key, value)| (shared(key), shared(value))))
        }))
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.ops() {
            match value {
                Some(value) => writes.insert(&key[..], &value[..]),
                None => writes.remove(&key[..]),
            }
        }
        guarded("write", || self.db.apply_batch(writes))
    }

    fn flush(&self) -> Result<(), EngineError> {
        guarded("flush", || self.db.flush().map(drop))
    }

    fn size(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

/// Waits until the lock on sled's file is free. sled holds it a little longer than its `Db` lives (jobs of
/// its thread pool still under way hold the file too), and takes a held one for an error like any other: a
/// sound state would be called damaged.
fn wait_for_release(path: &Path, looks: u32) -> Result<(), EngineError> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    for _ in 0..looks {
        if file.try_lock().is_ok() {
            return file.unlock().map_err(|error| EngineError::Io { what: "unlock the state".into(), error });
        }
        thread::park_timeout(RELEASE_LOOK);
    }
    let error = io::Error::new(io::ErrorKind::WouldBlock, format!("{} is in use", path.display()));
    Err(EngineError::Io { what: "open the state".into(), error })
}

/// The files of an engine, removed with it if it was replaced or never taken into use.
struct Directory {
    path: PathBuf,
    remove: AtomicBool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.remove.load(Ordering::SeqCst)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a former state is left for the next start to remove");
        }
    }
}

/// Runs a call of sled; its error or panic becomes ours.
fn guarded<T>(what: &str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(what, error)),
        Err(panic) => Err(panicked(what, panic_text(&*panic))),
    }
}

/// What an error of sled says about the data. sled makes IO errors of its own, without the operating system,
/// when a file is not what it should be.
fn failed(what: &str, error: sled::Error) -> EngineError {
    match error {
        sled::Error::Io(error) if !is_sleds_own(&error) => {
            EngineError::Io { what: format!("{what} the state"), error }
        }
        error => EngineError::Damaged(format!("sled {what}: {error}")),
    }
}

fn is_sleds_own(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, Other, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), Other | InvalidData | UnexpectedEof)
}

/// sled unwraps some of its IO errors: then the panic quotes the operating system's code.
fn panicked(what: &str, message: &str) -> EngineError {
    let code = message.split_once("Os { code: ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    match code {
        Some(code) => {
            let error = io::Error::from_raw_os_error(code);
            EngineError::Io { what: format!("{what} the state"), error }
        }
        None => EngineError::Damaged(format!("sled {what} panicked: {message}")),
    }
}

/// sled's buffer as ours, without a copy.
fn shared(bytes: IVec) -> Bytes {
    Bytes::from_owner(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_io(error: EngineError) -> bool {
        matches!(error, EngineError::Io { .. })
    }

    #[test]
    fn an_engine_whose_former_user_lets_go_late_is_neither_refused_nor_damaged() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(SledEngine::open(dir.path(), 1 << 20).expect("an engine"));
        let path = dir.path().join("db");
        wait_for_release(&path, RELEASE_LOOKS).expect("it is free");
        let former = File::open(&path).expect("sled's file");
        former.lock().expect("a lock");
        assert!(is_io(wait_for_release(&path, 2).expect_err("in use")), "that says nothing against the data");
        let letting_go = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(100));
            drop(former);
        });
        drop(SledEngine::open(dir.path(), 1 << 20).expect("it waits"));
        letting_go.join().expect("no panic");
    }

    #[test]
    fn what_the_operating_system_refuses_says_nothing_against_the_data() {
        let no_space = 28;
        let io = |error| is_io(failed("open", sled::Error::Io(error)));
        assert!(io(io::Error::from_raw_os_error(no_space)));
        assert!(io(io::Error::new(io::ErrorKind::PermissionDenied, "a copy, as sled makes them")));
        assert!(!io(io::Error::new(io::ErrorKind::UnexpectedEof, "sled read less than it had written")));
        assert!(!is_io(failed("open", sled::Error::Corruption { at: None, bt: () })));
    }

    #[test]
    fn a_panic_over_an_io_error_is_that_error() {
        fn write() -> sled::Result<()> {
            Err(io::Error::from_raw_os_error(28).into())
        }
        let refused = catch_unwind(|| write().expect("sled unwraps it"));
        let EngineError::Io { error, .. } = panicked("write", panic_text(&*refused.expect_err("a panic")))
        else {
            panic!("not taken for an IO error");
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!is_io(panicked("open", "index out of bounds")));
    }
}
