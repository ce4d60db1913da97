//! Configurations that a search has been in.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// The rows that have taken effect. Of those that must, nearly all before some point have and nearly none
/// after: only the words between are compared and kept.
#[derive(Debug)]
pub struct Taken {
    words: Vec<u64>,
    /// All words before this one are full.
    base: usize,
    /// All words from this one on are empty.
    top: usize,
    hash: u64,
}

impl Taken {
    /// None of `count` rows.
    pub fn new(count: usize) -> Self {
        Taken { words: vec![0; count / 64 + 1], base: 0, top: 0, hash: 0 }
    }

    /// Whether the row has.
    pub fn has(&self, row: usize) -> bool {
        self.words[row / 64] & (1 << (row % 64)) != 0
    }

    /// The row has, or has no longer.
    pub fn flip(&mut self, row: usize) {
        let word = row / 64;
        self.words[word] ^= 1 << (row % 64);
        self.hash ^= mix(row as u64 + 1);
        self.base = self.base.min(word);
        self.top = self.top.max(word + 1);
        while self.words.get(self.base) == Some(&u64::MAX) {
            self.base += 1;
        }
        while self.top > self.base && self.words[self.top - 1] == 0 {
            self.top -= 1;
        }
    }

    fn window(&self) -> &[u64] {
        &self.words[self.base..self.top.max(self.base)]
    }
}

/// Spreads the bits (the finalizer of splitmix64: Steele, Lea & Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Keys of the map are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A set of configurations: what has been taken, what may have been, and the value.
#[derive(Default)]
pub struct Seen {
    first: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
    entries: Vec<Entry>,
    words: Vec<u64>,
}

struct Entry {
    /// The next one with the same hash, plus 1; 0: none.
    next: u32,
    len: u32,
    start: u64,
}

/// Bytes of an entry besides its words: itself, and its share of a map that is half full.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * (size_of::<(u64, u32)>() + 1);

impl Seen {
    /// Adds a configuration; whether it is new.
    pub fn insert(&mut self, taken: &Taken, open: &Taken, value: u32) -> bool {
        let hash = taken.hash ^ open.hash.rotate_left(32) ^ mix(!u64::from(value));
        let head = [
            u64::from(value) << 32 | taken.base as u64,
            (open.base as u64) << 32 | open.window().len() as u64,
        ];
        let parts = || head.iter().chain(taken.window()).chain(open.window());
        let known = self.first.get(&hash).copied().unwrap_or(0);
        let mut at = known;
        while let Some(entry) = self.entries.get((at as usize).wrapping_sub(1)) {
            let words = &self.words[entry.start as usize..][..entry.len as usize];
            if words.iter().eq(parts()) {
                return false;
            }
            at = entry.next;
        }
        let start = self.words.len();
        self.words.extend(head.iter().chain(taken.window()).chain(open.window()));
        let len = (self.words.len() - start) as u32;
        self.entries.push(Entry { next: known, len, start: start as u64 });
        self.first.insert(hash, self.entries.len() as u32);
        true
    }

    /// Roughly how much it holds.
    pub fn bytes(&self) -> u64 {
        (self.words.capacity() * 8 + self.entries.capacity() * ENTRY_BYTES) as u64
    }
}
