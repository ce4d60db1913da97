//! What clients do. Each takes a turn, carries an operation out, and writes down what came of it.

mod lock;
mod piped;
mod points;
mod scan;
mod watch;

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use tokio::time::sleep;

pub(super) use self::watch::Watches;
use super::{
    BenchError,
    keys::{Keys, Random},
    options::{Options, Workload},
    pace::{Pace, Window},
    recorder::Recorder,
    threads::Threads,
    wire::{Failed, Wire},
};

/// A client whose operation failed pauses for so long: where nothing answers, failing must not become the
/// load.
const PAUSE: Duration = Duration::from_millis(10);

/// One operation in so many of the mixed workload is a put.
const MIXED_PUTS: u64 = 10;

/// What all clients of a run share.
pub(super) struct Shared {
    pub options: Options,
    pub window: Window,
    pub pace: Pace,
    pub recorder: Recorder,
    keys: Keys,
    /// The next key of a bulk load.
    next: AtomicU64,
    /// When the lock was last let go of; nobody has got it since.
    released: Mutex<Option<Instant>>,
}

impl Shared {
    /// Whether the next operation of a workload of single keys is a get.
    fn is_get(&self, random: &mut Random) -> bool {
        match self.options.workload {
            Workload::Get => true,
            Workload::Mixed => random.below(MIXED_PUTS) > 0,
            _ => false,
        }
    }

    /// Of a run whose time begins now.
    pub fn beginning_now(options: Options, keys: Keys) -> Shared {
        let window = Window::beginning_now(options.load.warmup, options.load.duration);
        Shared {
            window,
            pace: Pace::new(window, options.load.rate),
            recorder: Recorder::new(window),
            keys,
            options,
            next: AtomicU64::new(0),
            released: Mutex::new(None),
        }
    }

    /// Writes down what came of an operation that began then.
    async fn done(&self, client: usize, began: Instant, result: Result<(), Failed>) {
        self.recorder.record(client, began, result);
        if result.is_err() {
            sleep(PAUSE).await;
        }
    }
}

/// What a workload needs before its time begins: that watches have begun.
///
/// # Errors
/// They have not.
pub(super) async fn prepare(
    options: &Options,
    wires: &[Wire],
    threads: &Threads,
) -> Result<Watches, BenchError> {
    match options.workload {
        Workload::Watch => watch::open(options, wires, threads).await,
        _ => Ok(Watches::default()),
    }
}

/// Lets all clients work, client `i` on connection `i` modulo their number. They end by themselves.
pub(super) fn start(shared: &Arc<Shared>, wires: &[Wire], (watches, threads): (Watches, &mut Threads)) {
    if shared.options.workload == Workload::Watch {
        return watch::start(shared, wires, (watches, threads));
    }
    let pipings: Vec<_> = wires.iter().filter_map(Wire::piping).collect();
    if shared.options.is_piped() && !pipings.is_empty() {
        let (all, streams) = (shared.options.load.clients as usize, pipings.len());
        for (number, piping) in pipings.into_iter().enumerate() {
            let places = all / streams + usize::from(number < all % streams);
            threads.spawn(number, piped::client(shared.clone(), piping, (number, places)));
        }
        return;
    }
    for (number, wire) in wires.iter().cycle().take(shared.options.load.clients as usize).enumerate() {
        let (shared, wire, connection) = (shared.clone(), wire.clone(), number % wires.len());
        match shared.options.workload {
            Workload::Scan => threads.spawn(connection, scan::client(shared, wire, number)),
            Workload::Lock => threads.spawn(connection, lock::client(shared, wire, number)),
            _ => threads.spawn(connection, points::client(shared, wire, number)),
        };
    }
}

/// Random numbers of a client's own.
fn random(client: usize) -> Random {
    Random::new((client as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95))
}
