//! Where the entries are: in which frame of which segment. Plain data.

use std::{collections::VecDeque, fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use super::frame::{self, HEAD_BYTES, Head, Piece};
use crate::log::{Op, Record, damaged};

/// Places that are looked up at once.
const AT_ONCE: usize = 64;

/// A frame that holds entries.
#[derive(Clone, Debug)]
pub struct Place {
    /// The index of its first entry.
    pub first: u64,
    /// Of the last one that still counts.
    pub last: u64,
    /// The segment's number,
    pub segment: u64,
    /// and its file.
    pub file: Arc<File>,
    /// Where the frame begins,
    pub offset: usize,
    /// and how long its body is.
    pub length: usize,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub struct Places {
    places: VecDeque<Place>,
}

impl Places {
    /// Adds a frame behind the others.
    pub fn push(&mut self, place: Place) {
        self.places.push_back(place);
    }

    /// Takes in what removes entries.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Truncate(last) => {
                let next = last.map_or(0, |last| last.index + 1);
                while self.places.pop_back_if(|place| place.first >= next).is_some() {}
                if let Some(place) = self.places.back_mut() {
                    place.last = place.last.min(next.saturating_sub(1));
                }
            }
            Op::Purge(upto) => while self.places.pop_front_if(|place| place.last <= upto.index).is_some() {},
            Op::Append(_) | Op::Vote(_) | Op::Committed(_) => {}
        }
    }

    /// The oldest frame.
    pub fn first(&self) -> Option<&Place> {
        self.places.front()
    }

    /// The first and the last index; `None` if there is no entry.
    ///
    /// # Errors
    /// `InvalidData`: entries in between are missing.
    pub fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        for (one, next) in self.places.iter().zip(self.places.iter().skip(1)) {
            if one.last.checked_add(1) != Some(next.first) {
                return Err(damaged(format!(
                    "entries {} to {} are missing",
                    one.last.saturating_add(1),
                    next.first
                )));
            }
        }
        let (first, last) = (self.places.front(), self.places.back());
        Ok(first.zip(last).map(|(first, last)| (first.first, last.last)))
    }

    /// The first frames that hold entries of `range`, some of them.
    pub fn of(&self, range: &Range<u64>) -> Vec<Place> {
        let start = self.places.partition_point(|place| place.last < range.start);
        let found = self.places.range(start..).take_while(|place| place.first < range.end);
        found.take(AT_ONCE).cloned().collect()
    }
}

impl Place {
    /// The entries of this frame that count and are in `range`.
    ///
    /// # Errors
    /// `InvalidData`: the frame is not what was written.
    pub fn read(&self, range: &Range<u64>) -> io::Result<Vec<Record>> {
        let mut bytes = vec![0; HEAD_BYTES + self.length];
        self.file.read_exact_at(&mut bytes, self.offset as u64)?;
        let head = Head::read(&bytes);
        let body = bytes::Bytes::from(bytes).slice(HEAD_BYTES..);
        if !head.is_some_and(|head| head.fits(&body)) {
            return Err(damaged(format!("entries {} to {} are damaged", self.first, self.last)));
        }
        let counts = |record: &Record| range.contains(&record.at.index) && record.at.index <= self.last;
        let entry = |piece| match piece {
            Piece::Entry(record) => Some(record).filter(counts),
            _ => None,
        };
        Ok(frame::read(body)?.into_iter().filter_map(entry).collect())
    }
}
