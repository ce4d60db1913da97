//! Opening the log of a data directory. The directory says which kind of log it holds, so that a member does
//! not start on an empty log of another kind and forget what it voted.
//!
//! ```text
//! <dir>/KIND     "wal" or "sled"
//! <dir>/wal/…    segments of the write-ahead log
//! <dir>/sled/…   a sled database
//! ```

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, RaftLog, sled_store, wal};

const KIND_FILE: &str = "KIND";

/// Which implementation keeps a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A write-ahead log in segments.
    Wal,
    /// A sled database.
    Sled,
    /// Memory: nothing survives the process, nothing is written.
    Memory,
}

impl Kind {
    /// The name in the `KIND` file.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wal => "wal",
            Kind::Sled => "sled",
            Kind::Memory => "memory",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another kind of log lives there. Use that one, or give the member a new directory and a new id.
    #[error("{dir} holds a {found} log, not {asked}: the kind is fixed when the directory is created")]
    WrongKind {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: String,
        /// What was asked for.
        asked: Kind,
    },
    /// Files, but not ours.
    #[error("{dir} is not empty and has no KIND file: not a log directory, or a damaged one")]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The log is damaged, locked, or cannot be read.
    #[error("cannot open the {kind} log in {dir}: {source}")]
    Log {
        /// The kind.
        kind: Kind,
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Opens the log in `dir`, or creates it there.
pub fn open(kind: Kind, dir: &Path) -> Result<Arc<dyn RaftLog>, OpenError> {
    let log_error = |source| OpenError::Log { kind, dir: dir.to_owned(), source };
    if kind == Kind::Memory {
        return Disk::default().open_threaded().map_err(log_error);
    }
    check_kind(kind, dir)?;
    let home = dir.join(kind.name());
    create_dir(&home).map_err(log_error)?;
    let log = match kind {
        Kind::Sled => sled_store::open(&home),
        Kind::Wal | Kind::Memory => wal::open(&home, wal::SIZES),
    };
    Ok(Arc::new(log.map_err(log_error)?))
}

fn check_kind(asked: Kind, dir: &Path) -> Result<(), OpenError> {
    let log_error = |source| OpenError::Log { kind: asked, dir: dir.to_owned(), source };
    create_dir(dir).map_err(log_error)?;
    match fs::read_to_string(dir.join(KIND_FILE)) {
        Ok(found) if found.trim() == asked.name() => Ok(()),
        Ok(found) => Err(OpenError::WrongKind { dir: dir.to_owned(), found: found.trim().to_owned(), asked }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if holds_data(dir).map_err(log_error)? {
                return Err(OpenError::Foreign { dir: dir.to_owned() });
            }
            write_kind(asked, dir).map_err(log_error)
        }
        Err(error) => Err(log_error(error)),
    }
}

/// Whether there is anything but the temporary file of a `KIND` that was never finished.
fn holds_data(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        if entry?.file_name() != temporary_name().as_str() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn temporary_name() -> String {
    format!("{KIND_FILE}.new")
}

fn write_kind(kind: Kind, dir: &Path) -> io::Result<()> {
    let temporary = dir.join(temporary_name());
    fs::write(&temporary, format!("{kind}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, dir.join(KIND_FILE))?;
    sync_dir(dir)
}

/// Creates a directory so that its name survives a power cut.
fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Also one that is there already: whoever made it may have been killed before this.
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
