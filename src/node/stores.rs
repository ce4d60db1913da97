//! Where a member keeps its log and its state: on its disk, but for a simulator, which gives it disks that
//! stall and lose what was not synced.

use std::{io, path::Path, sync::Arc};

use crate::{
    config::{Config, LogStoreKind},
    log::{self, OpenError, RaftLog},
    storage::{DiskHome, EngineHome},
};

/// Opens a member's stores. Blocking.
pub trait Stores: Send + Sync + 'static {
    /// The Raft log in `dir`.
    fn log(&self, config: &Config, dir: &Path) -> Result<Arc<dyn RaftLog>, OpenError>;

    /// The home of the state's engine in `dir`.
    fn home(&self, config: &Config, dir: &Path) -> Arc<dyn EngineHome>;

    /// Free bytes on the disk of `dir`, for processes without privileges.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Files, as the configuration says.
pub struct Disks;

impl Stores for Disks {
    fn log(&self, config: &Config, dir: &Path) -> Result<Arc<dyn RaftLog>, OpenError> {
        let kind = match config.log_store {
            LogStoreKind::Wal => log::Kind::Wal,
            LogStoreKind::Sled => log::Kind::Sled,
            LogStoreKind::Memory => log::Kind::Memory,
        };
        log::open(kind, dir)
    }

    fn home(&self, config: &Config, dir: &Path) -> Arc<dyn EngineHome> {
        Arc::new(DiskHome::new(dir, config.engine_cache_bytes))
    }
}
