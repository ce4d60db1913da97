//! Which key next, and what is put there.

use bytes::{BufMut, Bytes, BytesMut};

use super::options::{Data, Distribution};
use crate::types::KeyRange;

/// All keys of a benchmark begin with this.
const PREFIX: &str = "bench/";

/// Exponent of the distribution, as in YCSB.
const THETA: f64 = 0.99;

/// Bytes that values are cut from, beyond their length: each begins elsewhere.
const POOL_BYTES: usize = 64 << 10;

/// Small, fast, and the same for the same seed (SplitMix64, Steele et al. 2014): no more is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Evenly below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly in 0..1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A number that tells nothing of the one it was made from, and no other number makes.
fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Ranks with probabilities in proportion to 1/k^0.99 (Gray et al., "Quickly generating billion-record
/// synthetic databases", 1994). Making it costs time in proportion to the number of ranks.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    ranks: u64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    pub fn new(ranks: u64) -> Zipf {
        let zeta = |ranks: u64| (1..=ranks).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let all = zeta(ranks);
        let eta = (1.0 - (2.0 / ranks as f64).powf(1.0 - THETA)) / (1.0 - zeta(2.min(ranks)) / all);
        Zipf { ranks, zeta: all, eta }
    }

    /// The rank for an even `fraction` of 0..1: 0 is the most wanted.
    pub fn rank(&self, fraction: f64) -> u64 {
        let share = fraction * self.zeta;
        if share < 1.0 || self.ranks == 1 {
            return 0;
        }
        if share < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let place = self.ranks as f64 * (self.eta * fraction - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (place as u64).min(self.ranks - 1)
    }
}

/// The keys and values of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    count: u64,
    zipf: Option<Zipf>,
    pool: Bytes,
    value_bytes: usize,
}

impl Keys {
    pub fn new(data: &Data) -> Keys {
        let mut random = Random::new(0x5eed);
        let mut pool = BytesMut::with_capacity(data.value_bytes + POOL_BYTES + 8);
        while pool.len() < data.value_bytes + POOL_BYTES {
            pool.put_u64(random.next());
        }
        let zipf = (data.distribution == Distribution::Zipf).then(|| Zipf::new(data.keys));
        Keys { count: data.keys, zipf, pool: pool.freeze(), value_bytes: data.value_bytes }
    }

    /// The key that somebody wants next.
    pub fn choose(&self, random: &mut Random) -> Bytes {
        match &self.zipf {
            // Wanted keys do not lie side by side.
            Some(zipf) => key(scramble(zipf.rank(random.fraction())) % self.count),
            None => key(random.below(self.count)),
        }
    }

    /// A value. Does not compress, and costs nothing to make.
    pub fn value(&self, random: &mut Random) -> Bytes {
        let start = random.below(POOL_BYTES as u64) as usize;
        self.pool.slice(start..start + self.value_bytes)
    }

    /// All of them, and no others that an earlier run has left.
    pub fn all(&self) -> KeyRange {
        let last = KeyRange::key(key(self.count - 1));
        KeyRange::interval(key(0), last.end)
    }

    /// `batch` keys from the `number`-th on, with values; begins anew after the last.
    pub fn run(&self, number: u64, batch: u64, random: &mut Random) -> Vec<(Bytes, Bytes)> {
        let numbers = (0..batch.min(self.count)).map(|step| (number + step) % self.count);
        numbers.map(|number| (key(number), self.value(random))).collect()
    }
}

/// The key with that number, of which there are fewer than 10^8: their order is that of the numbers.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("{PREFIX}{number:08}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn data(keys: u64, distribution: Distribution) -> Data {
        Data { keys, value_bytes: 16, distribution, loaded: false }
    }

    /// How often each key is chosen in `draws` draws, most wanted first.
    fn counts(keys: &Keys, draws: u32) -> Vec<u32> {
        let (mut random, mut counts) = (Random::new(1), BTreeMap::<Bytes, u32>::new());
        (0..draws).for_each(|_| *counts.entry(keys.choose(&mut random)).or_default() += 1);
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn uniform_keys_are_all_wanted_alike() {
        let counts = counts(&Keys::new(&data(100, Distribution::Uniform)), 100_000);
        assert_eq!(counts.len(), 100);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_ranks_of_zipf_have_their_probabilities() {
        let (zipf, draws) = (Zipf::new(1000), 200_000u32);
        let (mut random, mut counts) = (Random::new(1), vec![0u32; 1000]);
        (0..draws).for_each(|_| counts[zipf.rank(random.fraction()) as usize] += 1);
        let zeta: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-THETA)).sum();
        for (rank, exact) in [(0, true), (1, true), (9, false), (99, false)] {
            let expected = f64::from(draws) * f64::from(rank + 1).powf(-THETA) / zeta;
            let (found, off) = (f64::from(counts[rank as usize]), if exact { 0.05 } else { 0.35 });
            assert!((found / expected - 1.0).abs() < off, "rank {rank}: {found}, not {expected}");
        }
        assert_eq!((Zipf::new(1).rank(0.99), Zipf::new(1000).rank(0.999_999_999)), (0, 999));
    }

    #[test]
    fn zipf_wants_few_keys_often() {
        let counts = counts(&Keys::new(&data(10_000, Distribution::Zipf)), 100_000);
        let top: u32 = counts.iter().take(100).sum();
        assert!((40_000..70_000).contains(&top), "the first hundredth is wanted {top} of 100000 times");
    }

    #[test]
    fn values_have_their_size_and_a_run_begins_anew() {
        let (keys, mut random) = (Keys::new(&data(5, Distribution::Uniform)), Random::new(1));
        let run = keys.run(3, 4, &mut random);
        let names: Vec<_> = run.iter().map(|(key, _)| std::str::from_utf8(key).expect("text")).collect();
        assert_eq!(names, ["bench/00000003", "bench/00000004", "bench/00000000", "bench/00000001"]);
        assert!(run.iter().all(|(_, value)| value.len() == 16));
        assert_eq!(keys.run(0, 100, &mut random).len(), 5, "no key twice");
        assert!(
            keys.all().contains(&key(0)) && keys.all().contains(&key(4)) && !keys.all().contains(&key(5))
        );
    }
}
