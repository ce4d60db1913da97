//! What a simulated world must govern though no value carries it: numbers drawn deep inside libraries, and
//! threads. A simulation runs on one thread, and that thread is marked; everywhere else nothing changes.

use std::cell::Cell;

use rand::random;

thread_local! {
    /// The state of the thread's generator, if it simulates.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread simulates: what it draws follows from `seed`, and [`super::blocking`] work runs
/// on it, at once. `None`: it is an ordinary thread again.
pub fn simulate(seed: Option<u64>) {
    SEED.set(seed);
}

/// Whether this thread simulates.
pub fn is_simulated() -> bool {
    SEED.get().is_some()
}

/// A random number; the next one of the seed on a thread that simulates.
pub fn draw() -> u64 {
    match SEED.get() {
        None => random(),
        Some(seed) => {
            SEED.set(Some(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
            mix(seed)
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014, figure 10).
fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
