//! Snapshot files: written beside, made durable, then published by a rename. One file, the newest, is kept:
//! the log is purged only up to it. A file that is being sent stays readable through its open handle after it
//! was replaced.
//!
//! A damaged file is moved aside, for whoever wants to look at it: one is kept. Until a new one is published
//! the store is *wanting*, and what looks superfluous beside a snapshot is not thrown away.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tracing::error;

use crate::log::Position;

const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".unfinished";
const DAMAGED: &str = ".damaged";

/// A snapshot file, published or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
    size: u64,
}

impl SnapshotFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The last entry that it covers, by its name; `None` while it is not published.
    pub fn position(&self) -> Option<Position> {
        let name = self.path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let (index, term) = name.split_once('-')?;
        Some(Position { term: term.parse().ok()?, index: index.parse().ok()? })
    }

    fn at(path: PathBuf) -> io::Result<SnapshotFile> {
        let size = fs::metadata(&path)?.len();
        Ok(SnapshotFile { path, size })
    }
}

/// The directory of snapshot files.
pub struct SnapshotStore {
    dir: PathBuf,
    next: AtomicU64,
    wanting: AtomicBool,
}

impl SnapshotStore {
    /// Opens the directory, and removes what a crash left unfinished.
    pub fn open(dir: PathBuf) -> io::Result<SnapshotStore> {
        fs::create_dir_all(&dir)?;
        let store = SnapshotStore { dir, next: AtomicU64::new(0), wanting: AtomicBool::new(false) };
        for path in store.files(UNFINISHED)? {
            fs::remove_file(path)?;
        }
        Ok(store)
    }

    /// The newest published file.
    pub fn newest(&self) -> io::Result<Option<SnapshotFile>> {
        self.files(SUFFIX)?.into_iter().max().map(SnapshotFile::at).transpose()
    }

    /// A path for a file that is being written or received.
    pub fn unfinished(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{number}{UNFINISHED}"))
    }

    /// The finished file at `path`, not yet published.
    pub fn received(&self, path: PathBuf) -> io::Result<SnapshotFile> {
        SnapshotFile::at(path)
    }

    /// Makes a finished file durable and the newest; `at` is the last entry that it covers.
    pub fn publish(&self, file: &Path, at: Position) -> io::Result<SnapshotFile> {
        File::open(file)?.sync_all()?;
        let published = self.dir.join(format!("{:020}-{:020}{SUFFIX}", at.index, at.term));
        fs::rename(file, &published)?;
        File::open(&self.dir)?.sync_all()?;
        self.wanting.store(false, Ordering::SeqCst);
        for older in self.files(SUFFIX)? {
            if older < published {
                fs::remove_file(older)?;
            }
        }
        SnapshotFile::at(published)
    }

    /// Moves a file aside because it is damaged: `why` goes into the member's log. One that is gone was
    /// replaced or moved already.
    pub fn set_aside(&self, file: &SnapshotFile, why: &io::Error) -> io::Result<()> {
        let mut to = file.path.clone().into_os_string();
        to.push(DAMAGED);
        match fs::rename(&file.path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        self.wanting.store(self.newest()?.is_none(), Ordering::SeqCst);
        let path = Path::new(&to);
        error!(path = %path.display(), %why, "the snapshot file is damaged: moved aside, to be taken anew");
        for other in self.files(DAMAGED)?.into_iter().filter(|other| other != path) {
            fs::remove_file(other)?;
        }
        File::open(&self.dir)?.sync_all()
    }

    /// Whether the newest file was set aside, and no other has taken its place.
    pub fn wanting(&self) -> bool {
        self.wanting.load(Ordering::SeqCst)
    }

    /// Files with a suffix, in no order. Names are zero-padded, so that their order is that of their
    /// positions.
    fn files(&self, suffix: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(store: &SnapshotStore, text: &str) -> PathBuf {
        let path = store.unfinished();
        fs::write(&path, text).expect("a writable directory");
        path
    }

    #[test]
    fn the_newest_by_position_wins_and_leftovers_go() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let store = SnapshotStore::open(dir.path().join("snapshots"))?;
        assert_eq!(store.newest()?, None);
        store.publish(&write(&store, "nine"), Position { term: 3, index: 9 })?;
        let ten = store.publish(&write(&store, "ten"), Position { term: 3, index: 10 })?;
        write(&store, "half");
        let again = SnapshotStore::open(dir.path().join("snapshots"))?;
        assert_eq!(again.newest()?, Some(ten.clone()));
        assert_eq!(ten.position(), Some(Position { term: 3, index: 10 }));
        assert_eq!(fs::read_to_string(ten.path())?, "ten");
        assert_eq!(
            fs::read_dir(dir.path().join("snapshots"))?.count(),
            1,
            "older and unfinished files are gone"
        );
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_wanted_anew() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let store = SnapshotStore::open(dir.path().join("snapshots"))?;
        let why = io::Error::from(io::ErrorKind::InvalidData);
        for index in 0..3 {
            assert!(!store.wanting());
            let file = store.publish(&write(&store, "bad"), Position { term: 1, index })?;
            store.set_aside(&file, &why)?;
            assert!(store.wanting() && store.newest()?.is_none());
            assert_eq!(store.files(DAMAGED)?.len(), 1, "one is kept");
            let good = store.publish(&write(&store, "good"), Position { term: 1, index })?;
            store.set_aside(&SnapshotFile { path: "elsewhere".into(), size: 0 }, &why)?;
            assert_eq!(store.newest()?, Some(good), "what is gone changes nothing");
        }
        Ok(())
    }
}
