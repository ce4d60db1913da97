//! Where the engine's data lives: generations of it, of which one is current.
//!
//! ```text
//! state/CURRENT           names the current generation; write, fsync, rename, fsync the directory
//! state/00000003/         the current one
//! state/00000004/         one being built from a snapshot; removed at the next start unless adopted
//! state/damaged-00000002/ set aside for whoever wants to look; at most two are kept
//! ```
//!
//! A snapshot is installed into a fresh generation, which is then adopted in one step: a crash leaves either
//! the old state or the new one. The old generation stays on disk until the last reader has let go of its
//! engine. Absent: any judgement of an engine's content. Whoever finds it damaged calls
//! [`EngineHome::set_aside`].

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{Behind, Engine, EngineError, MemoryEngine, SledEngine};

/// Damaged generations kept. More would fill the disk of a member that is damaged again and again.
const DAMAGED_KEPT: usize = 2;

const CURRENT: &str = "CURRENT";
const CURRENT_NEW: &str = "CURRENT.new";
const DAMAGED_PREFIX: &str = "damaged-";

/// A generation that is not current yet.
pub struct Fresh {
    /// Its engine: empty, to be filled and flushed before it is adopted.
    pub engine: Arc<dyn Engine>,
    generation: u64,
}

/// Keeps generations of an engine. One process at a time uses one home; calls are rare and may wait for the
/// disk.
pub trait EngineHome: Send + Sync + 'static {
    /// Opens the current generation; makes an empty one if there is none. To be called once, at the start: it
    /// also removes what a crash left behind. On an error: [`EngineHome::set_aside`], and rebuild.
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError>;

    /// Makes an empty generation beside the current one. It vanishes when its engine is dropped before it is
    /// adopted.
    fn create_fresh(&self) -> Result<Fresh, EngineError>;

    /// Makes a filled generation the current one, in one step; the former one vanishes with its last user.
    fn adopt(&self, fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError>;

    /// Moves the current generation aside because it is damaged: there is no current one afterwards. Says
    /// where to.
    fn set_aside(&self) -> Result<Option<PathBuf>, EngineError>;
}

/// Generations of [`SledEngine`], each behind a queue in memory, in a directory.
pub struct DiskHome {
    directory: PathBuf,
    cache_bytes: u64,
    known: Mutex<Known>,
}

type Opened = Option<(u64, Weak<SledEngine>)>;

/// What this process has opened.
#[derive(Default)]
struct Known {
    current: Opened,
    fresh: Opened,
}

impl DiskHome {
    /// A home in `directory`, created when first used; `cache_bytes` as in [`SledEngine::open`].
    pub fn new(directory: impl Into<PathBuf>, cache_bytes: u64) -> DiskHome {
        DiskHome { directory: directory.into(), cache_bytes, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{generation:08}"))
    }

    fn open(&self, generation: u64) -> Result<Arc<SledEngine>, EngineError> {
        SledEngine::open(&self.path(generation), self.cache_bytes).map(Arc::new)
    }

    /// The generation that `CURRENT` names; `None` without such a file.
    fn read_current(&self) -> Result<Option<u64>, EngineError> {
        match fs::read(self.directory.join(CURRENT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read CURRENT", error)),
            Ok(bytes) => match String::from_utf8_lossy(&bytes).trim_end().parse() {
                Ok(generation) => Ok(Some(generation)),
                Err(_) => Err(EngineError::Damaged(format!(
                    "CURRENT does not name a generation: {}",
                    bytes.escape_ascii()
                ))),
            },
        }
    }

    fn write_current(&self, generation: u64) -> io::Result<()> {
        let new = self.directory.join(CURRENT_NEW);
        let mut file = File::create(&new)?;
        writeln!(file, "{generation:08}")?;
        file.sync_all()?;
        fs::rename(new, self.directory.join(CURRENT))?;
        sync_directory(&self.directory)
    }

    /// The numbers behind `prefix` among the directory's entries.
    fn numbers(&self, prefix: &str) -> io::Result<BTreeSet<u64>> {
        let mut numbers = BTreeSet::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    fn next_generation(&self) -> io::Result<u64> {
        let mut taken = self.numbers("")?;
        taken.append(&mut self.numbers(DAMAGED_PREFIX)?);
        Ok(taken.last().map_or(1, |last| last + 1))
    }

    fn remove_all_but(&self, current: u64) -> io::Result<()> {
        for generation in self.numbers("")?.into_iter().filter(|generation| *generation != current) {
            fs::remove_dir_all(self.path(generation))?;
        }
        Ok(())
    }

    fn damaged_path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{DAMAGED_PREFIX}{generation:08}"))
    }

    fn prune_damaged(&self) -> io::Result<()> {
        let damaged = self.numbers(DAMAGED_PREFIX)?;
        for generation in damaged.iter().rev().skip(DAMAGED_KEPT) {
            fs::remove_dir_all(self.damaged_path(*generation))?;
        }
        Ok(())
    }
}

impl EngineHome for DiskHome {
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError> {
        fs::create_dir_all(&self.directory).map_err(|error| failed("create the state's directory", error))?;
        let Some(generation) = self.read_current()? else {
            return self.adopt(self.create_fresh()?);
        };
        self.remove_all_but(generation).map_err(|error| failed("remove leftovers", error))?;
        let engine = self.open(generation)?;
        self.known().current = Some((generation, Arc::downgrade(&engine)));
        Ok(Arc::new(Behind::new(engine)?))
    }

    fn create_fresh(&self) -> Result<Fresh, EngineError> {
        let generation = self.next_generation().map_err(|error| failed("list generations", error))?;
        let engine = self.open(generation)?;
        engine.remove_when_dropped(true);
        self.known().fresh = Some((generation, Arc::downgrade(&engine)));
        Ok(Fresh { engine: Arc::new(Behind::new(engine)?), generation })
    }

    fn adopt(&self, fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError> {
        let mut known = self.known();
        let (generation, engine) = match known.fresh.take() {
            Some((generation, engine)) if generation == fresh.generation => (generation, engine),
            _ => return Err(EngineError::Damaged(format!("generation {} was superseded", fresh.generation))),
        };
        fresh.engine.flush()?;
        self.write_current(generation).map_err(|error| failed("write CURRENT", error))?;
        keep(&engine, true);
        if let Some((_, former)) = known.current.replace((generation, engine)) {
            keep(&former, false);
        }
        Ok(fresh.engine)
    }

    fn set_aside(&self) -> Result<Option<PathBuf>, EngineError> {
        let mut known = self.known();
        let wrong = |error| failed("set the damaged state aside", error);
        let mut moved = None;
        if let Ok(Some(generation)) = self.read_current()
            && self.path(generation).exists()
        {
            let to = self.damaged_path(generation);
            fs::rename(self.path(generation), &to).map_err(wrong)?;
            moved = Some(to);
        }
        match fs::remove_file(self.directory.join(CURRENT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        known.current = None;
        self.prune_damaged().and_then(|()| sync_directory(&self.directory)).map_err(wrong)?;
        Ok(moved)
    }
}

fn keep(engine: &Weak<SledEngine>, keep: bool) {
    if let Some(engine) = engine.upgrade() {
        engine.remove_when_dropped(!keep);
    }
}

fn failed(what: &str, error: io::Error) -> EngineError {
    EngineError::Io { what: what.to_owned(), error }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Generations in memory. It outlives the members that use it, as a disk does.
#[derive(Default)]
pub struct MemoryHome {
    current: Mutex<Option<Arc<dyn Engine>>>,
}

impl MemoryHome {
    /// An empty one.
    pub fn new() -> MemoryHome {
        MemoryHome::default()
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<dyn Engine>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineHome for MemoryHome {
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(self.current().get_or_insert_with(|| Arc::new(MemoryEngine::new())).clone())
    }

    fn create_fresh(&self) -> Result<Fresh, EngineError> {
        Ok(Fresh { engine: Arc::new(MemoryEngine::new()), generation: 0 })
    }

    fn adopt(&self, fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError> {
        *self.current() = Some(fresh.engine.clone());
        Ok(fresh.engine)
    }

    fn set_aside(&self) -> Result<Option<PathBuf>, EngineError> {
        *self.current() = None;
        Ok(None)
    }
}
