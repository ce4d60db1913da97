//! The files: each of a fixed size, full of zeros before it is written to. What is there already can be
//! written over and synced without a change to the file system's own records, which a file that grows needs
//! for every sync (`docs/performance.md`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::frame::SECTOR;
use crate::log::{damaged, open::sync_dir};

/// Zeros are written, and synced, so many at a time: what waits behind them at the device waits briefly.
const STEP_BYTES: usize = 1 << 20;

/// How large segments are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The first one; each is twice the one before,
    pub first: usize,
    /// up to here.
    pub max: usize,
}

impl Sizes {
    /// The size of the segment behind one of `size`, which shall hold a frame of `needed` bytes.
    pub fn behind(self, size: usize, needed: usize) -> usize {
        (size * 2).clamp(self.first, self.max).max(needed.next_multiple_of(SECTOR))
    }
}

/// One file.
#[derive(Debug)]
pub struct Segment {
    /// Its place among the others.
    pub number: u64,
    /// Bytes that frames take.
    pub used: usize,
    /// Bytes of the file.
    pub size: usize,
    pub file: Arc<File>,
    path: PathBuf,
}

impl Segment {
    /// A file of zeros, whose name and size survive a power cut.
    pub fn create(dir: &Path, number: u64, size: usize) -> io::Result<Segment> {
        let path = dir.join(name(number));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        fill(&file, size).and_then(|()| sync_dir(dir)).inspect_err(|_| {
            // Where there is no space for it, it shall not take what there is. It holds nothing.
            let _ = fs::remove_file(&path);
        })?;
        Ok(Segment { number, used: 0, size, file: Arc::new(file), path })
    }

    /// One that is there, of which nothing is known to be taken.
    pub fn open(dir: &Path, number: u64) -> io::Result<Segment> {
        let path = dir.join(name(number));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let too_large = |_| damaged(format!("{} is too large", path.display()));
        let size = usize::try_from(file.metadata()?.len()).map_err(too_large)?;
        Ok(Segment { number, used: 0, size, file: Arc::new(file), path })
    }

    /// Its bytes, all of them.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Bytes for further frames.
    pub fn room(&self) -> usize {
        self.size.saturating_sub(self.used)
    }

    /// Appends frames.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frames, self.used as u64)?;
        self.used += frames.len();
        Ok(())
    }

    /// Waits until everything is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes what is there already.
    pub fn overwrite(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at as u64)
    }

    /// Makes everything behind the frames zero.
    pub fn clear_tail(&self) -> io::Result<()> {
        self.file.write_all_at(&vec![0; self.room()], self.used as u64)
    }

    /// Removes the file, for good: a segment that came back after a power cut, but not the one behind it,
    /// would look as if that were missing. Readers that have it open finish.
    pub fn remove(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_dir(dir),
        }
    }

    /// The name of the file, for errors.
    pub fn name(&self) -> String {
        name(self.number)
    }
}

fn fill(mut file: &File, size: usize) -> io::Result<()> {
    let zeros = vec![0; STEP_BYTES.min(size)];
    let mut left = size;
    while left > 0 {
        let step = left.min(zeros.len());
        file.write_all(&zeros[..step])?;
        file.sync_data()?;
        left -= step;
    }
    file.sync_all()
}

fn name(number: u64) -> String {
    format!("{number:020}.{EXTENSION}")
}

const EXTENSION: &str = "log";

/// The numbers of the segments in `dir`, which must follow each other.
///
/// # Errors
/// `InvalidData`: one is missing, or there is something else but `ignored`.
pub fn numbers(dir: &Path, ignored: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let found = entry?.file_name();
        let number =
            found.to_str().and_then(|found| found.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok());
        match number {
            Some(number) => numbers.push(number),
            None if found == ignored => {}
            None => {
                let text = format!("{} is not a file of this log (of another version?)", found.display());
                return Err(damaged(text));
            }
        }
    }
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        Some(pair) => Err(damaged(format!("a segment is missing: {}", name(pair[0] + 1)))),
        None => Ok(numbers),
    }
}
