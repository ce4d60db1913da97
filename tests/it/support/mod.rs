//! What the process tests stand on: clusters of real `quorate serve` processes, proxies between them, load,
//! and waiting for conditions. No test sleeps to "let it settle": it waits for what it needs, with a
//! deadline.

pub mod cli;
pub mod cluster;
pub mod deaf;
pub mod load;
pub mod node;
pub mod ports;

use std::{
    env, fs,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};

/// How long anything may take that should be quick, on a loaded machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until `condition` gives a value; fails with `what` and the last reason when it takes longer than
/// `limit`.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(why) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A number that the environment may set, for the long runs.
pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Random choices that can be repeated: the seed is printed, and `QUORATE_SEED` sets it.
pub fn random() -> StdRng {
    let seed = setting("QUORATE_SEED", rand::random::<u64>());
    println!("QUORATE_SEED={seed} repeats the choices of this run");
    StdRng::seed_from_u64(seed)
}

/// Overwrites the middle of every file below `dir`, as a failing disk might; how many files.
pub fn damage_files_below(dir: &Path) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            damaged += damage_files_below(&path);
            continue;
        }
        let mut bytes = fs::read(&path).expect("a readable file");
        let (start, end) = (bytes.len() / 4, bytes.len() / 4 * 3);
        bytes[start..end].fill(0xa5);
        fs::write(&path, bytes).expect("a writable file");
        damaged += usize::from(start < end);
    }
    damaged
}
