//! Who a data directory belongs to.
//!
//! A directory carries cluster id, member id, log format and a format version, and refuses to open under
//! another identity. It is locked while a process uses it. A voter whose directory was lost must not come
//! back under its old id: it would have forgotten votes and entries that others counted on (hazard "never
//! reuse a node id").

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::stores::Stores;
use crate::{
    config::{Config, LogStoreKind},
    error::Error,
    types::{ClusterId, NodeId},
};

/// The layout of the data directory that this version writes.
const FORMAT: u32 = 1;
const FILE: &str = "identity.toml";
const LOCK: &str = "LOCK";
/// What the operating system calls a full disk, in errors that went through several layers.
const NO_SPACE: &str = "No space left on device";
/// What may be in a directory that no member has used: ours from a start that was interrupted, and what file
/// systems put into their roots.
const HARMLESS: [&str; 3] = [LOCK, TEMPORARY, "lost+found"];
const TEMPORARY: &str = "identity.tmp";
/// What is in the directory once its member has begun.
const DATA: [&str; 3] = ["log", "state", "snapshots"];

/// What `identity.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    /// The cluster this directory belongs to.
    pub cluster_id: ClusterId,
    /// The member this directory belongs to.
    pub node_id: NodeId,
    log_store: LogStoreKind,
    /// Whether Raft has begun here: from then on an empty log means that the log was lost.
    pub initialized: bool,
    /// The longest promise to a leader that may still bind this member, in milliseconds: it may have been
    /// configured with longer timeouts before.
    #[serde(default)]
    pub promise_ms: u64,
}

impl Identity {
    /// A founding member's identity, before Raft has begun.
    pub fn founding(config: &Config, cluster_id: ClusterId) -> Identity {
        Identity {
            format: FORMAT,
            cluster_id,
            node_id: config.id,
            log_store: config.log_store,
            initialized: false,
            promise_ms: config.promise().as_millis() as u64,
        }
    }

    fn check(&self, config: &Config, path: &Path) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Invalid(format!("data directory {}: {text}", path.display())));
        if self.format != FORMAT {
            return refuse(format!("it has format {}, this version reads {FORMAT}", self.format));
        }
        if self.node_id != config.id {
            return refuse(format!("it belongs to member {}, not to member {}", self.node_id, config.id));
        }
        if self.log_store != config.log_store {
            return refuse(
                format!("its log store is {:?}, not {:?}", self.log_store, config.log_store).to_lowercase(),
            );
        }
        Ok(())
    }
}

/// A data directory, locked for this process until dropped.
pub struct DataDir {
    path: PathBuf,
    stores: Arc<dyn Stores>,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// If it cannot be created, written or locked; each says what to do.
    pub fn open(config: &Config, stores: Arc<dyn Stores>) -> Result<DataDir, Error> {
        let path = config.data_dir.clone();
        let fail =
            |what: &str, error: io::Error| Error::Invalid(format!("{what} {}: {error}", path.display()));
        fs::create_dir_all(&path).map_err(|e| fail("cannot create data directory", e))?;
        refuse_foreign(&path)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|e| fail("cannot write to data directory", e))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::Invalid(format!("data directory {} is in use by another process", path.display()))
        })?;
        Ok(DataDir { path, stores, _lock: lock })
    }

    /// A subdirectory or file.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity, if there is one; refuses one that does not fit the configuration.
    pub fn identity(&self, config: &Config) -> Result<Option<Identity>, Error> {
        let path = self.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.refuse_strangers().map(|()| None);
            }
            Err(error) => return Err(Error::Invalid(format!("cannot read {}: {error}", path.display()))),
        };
        let identity: Identity = toml::from_str(&text)
            .map_err(|error| Error::Invalid(format!("{} is damaged: {}", path.display(), error.message())))?;
        identity.check(config, &self.path)?;
        Ok(Some(identity))
    }

    /// A directory without identity must hold no data: its identity file was lost.
    fn refuse_strangers(&self) -> Result<(), Error> {
        match DATA.iter().find(|name| self.join(name).exists()) {
            None => Ok(()),
            Some(name) => Err(Error::Invalid(format!(
                "data directory {} has a {name} but no {FILE}: restore the file, or leave this member away \
                 (docs/runbook.md, \"Wiped voter\")",
                self.path.display()
            ))),
        }
    }

    /// Writes the identity durably.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        let text =
            toml::to_string(identity).map_err(|e| Error::Invalid(format!("cannot encode {FILE}: {e}")))?;
        let write = || -> io::Result<()> {
            let temporary = self.join(TEMPORARY);
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, self.join(FILE))?;
            File::open(&self.path)?.sync_all()
        };
        let fail = |error| format!("cannot write {}: {error}", self.join(FILE).display());
        write().map_err(|error| Error::Invalid(self.explain(fail(error))))
    }

    /// Why a member here cannot go on. Of a full disk, it says what to do.
    pub fn explain(&self, why: String) -> String {
        match why.contains(NO_SPACE) {
            true => format!("disk full under {}: make space, then start again ({why})", self.path.display()),
            false => why,
        }
    }

    /// Free bytes on its disk, for processes without privileges.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.stores.free_bytes(&self.path)
    }
}

/// A directory without identity or data, but with the files of others, is not ours to fill.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    if DATA.iter().chain(&[FILE]).any(|name| path.join(name).exists()) {
        return Ok(());
    }
    let fail =
        |error: io::Error| Error::Invalid(format!("cannot read data directory {}: {error}", path.display()));
    for entry in fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if !HARMLESS.iter().any(|known| name == **known) {
            return Err(Error::Invalid(format!(
                "data directory {} is not empty and not a quorate data directory: it holds {}",
                path.display(),
                name.display()
            )));
        }
    }
    Ok(())
}
