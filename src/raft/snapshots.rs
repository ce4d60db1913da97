//! Snapshot files: written beside, made durable, then published by a rename. One file, the newest, is kept:
//! the log is purged only up to it. A file that is being sent stays readable through its open handle after it
//! was replaced.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::log::Position;

const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".unfinished";

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
}

impl SnapshotStore {
    /// Opens the directory, and removes what a crash left unfinished.
    pub fn open(dir: PathBuf) -> io::Result<SnapshotStore> {
        fs::create_dir_all(&dir)?;
        let store = SnapshotStore { dir, next: AtomicU64::new(0) };
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
        for older in self.files(SUFFIX)? {
            if older < published {
                fs::remove_file(older)?;
            }
        }
        SnapshotFile::at(published)
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
}
