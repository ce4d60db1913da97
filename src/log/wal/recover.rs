//! Reading the segments when a log is opened, and telling a write that a crash cut short from damage.
//!
//! Everything but the newest group was synced before anything was written behind it. So a frame that is not
//! what was written is **torn**, and cut off with all behind it, only if
//! - nothing of a later group is behind it, in this segment or in a later one; and
//! - at least one of its sectors is all zeros, as it was before: a device writes sectors whole.
//!
//! Everything else is damage, and an error: an acknowledged entry may have been in it. (Alagappan et al.,
//! "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018, section 3.3, on why this must not be
//! guessed.) Not told apart: damage to the last group in a frame that holds a whole sector of zeros of its
//! own, such as part of a value, or whose sector was lost. Not detected: newest segments that somebody
//! deleted. The state machine then is ahead of the log, which the node notices.

use std::{collections::VecDeque, io, path::Path};

use bytes::Bytes;

use super::{
    LOCK_FILE,
    frame::{self, HEAD_BYTES, Head, Piece, SECTOR},
    places::{Place, Places},
    segment::{self, Segment},
};
use crate::log::{LogState, Record, damaged};

/// What the segments hold.
#[derive(Debug, Default)]
pub struct Recovered {
    pub state: LogState,
    pub places: Places,
    /// Oldest first; the last one is written to.
    pub segments: VecDeque<Segment>,
    /// The number of the next frame.
    pub next: u64,
    /// The number of the first frame of the newest group.
    group: u64,
    /// The newest segment from that group on.
    tail: Tail,
}

/// The end of the newest segment.
#[derive(Debug, Default)]
struct Tail {
    /// Where its last group begins.
    start: usize,
    /// What is there.
    bytes: Bytes,
}

/// Reads all of them; then makes zeros again of what is torn, and removes segments that were prepared but
/// never used.
///
/// # Errors
/// `InvalidData`: damage. Nothing was changed then.
pub fn recover(dir: &Path) -> io::Result<Recovered> {
    let mut recovered = Recovered::default();
    let numbers = segment::numbers(dir, LOCK_FILE)?;
    let mut segments =
        numbers.iter().map(|number| Segment::open(dir, *number)).collect::<io::Result<VecDeque<_>>>()?;
    let mut unused = take_unused(&mut segments)?;
    while let Some(mut segment) = segments.pop_front() {
        segment.used = recovered.take_segment(&segment, segment.read()?.into(), segments.is_empty())?;
        match segment.used {
            0 => unused.push(segment),
            _ => recovered.segments.push_back(segment),
        }
    }
    // Before older ones go, their successor's beginning is on disk.
    if recovered.segments.is_empty() && numbers.first().is_some_and(|oldest| *oldest != FIRST) {
        return Err(damaged("the oldest segment is empty".into()));
    }
    recovered.check_whole()?;
    recovered.settle()?;
    // The newest first: never a gap, wherever this is cut short.
    for segment in unused {
        segment.remove(dir)?;
    }
    Ok(recovered)
}

/// The newest segments as far as they hold nothing but zeros, the newest first.
fn take_unused(segments: &mut VecDeque<Segment>) -> io::Result<Vec<Segment>> {
    let mut unused = Vec::new();
    while let Some(newest) = segments.pop_back() {
        if written(&newest.read()?) > 0 {
            segments.push_back(newest);
            break;
        }
        unused.push(newest);
    }
    Ok(unused)
}

/// Where the zeros begin that go on to the end.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

impl Recovered {
    /// Takes in a segment. Gives the bytes that its frames take.
    fn take_segment(&mut self, segment: &Segment, bytes: Bytes, is_newest: bool) -> io::Result<usize> {
        let written = written(&bytes);
        let (mut used, mut group) = (0, 0);
        while used < written {
            let rest = bytes.slice(used..);
            let Some((head, body)) = self.whole_frame(&rest, used == 0) else {
                if is_newest && self.is_torn(&rest) {
                    let segment = segment.name();
                    tracing::warn!(segment, at = used, "a write that a crash cut short is cut off");
                    break;
                }
                return Err(damaged(format!("{} is damaged at byte {used}", segment.name())));
            };
            self.take_frame(segment, used, body)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", segment.name())))?;
            if head.group == head.number {
                group = used;
            }
            (self.next, self.group) = (head.number + 1, head.group);
            used += head.size();
        }
        if used == 0 && !is_newest {
            return Err(damaged(format!("{} is empty, and a later one is not", segment.name())));
        }
        if used > 0 {
            self.tail = Tail { start: group, bytes: bytes.slice(group..used) };
        }
        Ok(used)
    }

    /// Makes what was read durable: a process that was killed may not have synced it. It is written once
    /// more, as are the zeros behind it: after a sync that failed, the kernel may hold for written what is
    /// not, and would have nothing to do for another sync (Rebello et al., 2020).
    fn settle(&self) -> io::Result<()> {
        let Some(newest) = self.segments.back() else { return Ok(()) };
        newest.overwrite(self.tail.start, &self.tail.bytes)?;
        newest.clear_tail()?;
        newest.sync()
    }

    /// The frame that `rest` begins with, if it is the expected one, as it was written. The oldest segment
    /// that is left says itself where its numbers begin.
    fn whole_frame(&self, rest: &Bytes, begins_segment: bool) -> Option<(Head, Bytes)> {
        let head = Head::read(rest)?;
        let is_oldest = begins_segment && self.segments.is_empty();
        let body =
            (head.size() <= rest.len()).then(|| rest.slice(HEAD_BYTES..HEAD_BYTES + head.length as usize))?;
        let has_its_number = head.number == self.next || is_oldest;
        let has_its_group = head.group == head.number || (head.group == self.group && !begins_segment);
        (has_its_number && has_its_group && head.fits(&body)).then_some((head, body))
    }

    /// Whether what `rest` begins with is a write that was cut short.
    fn is_torn(&self, rest: &[u8]) -> bool {
        let head = Head::read(rest).filter(|head| head.number == self.next);
        // Without a head that can be read, the first sector is what is known to be the frame's.
        let extent = head.map_or(SECTOR, |head| head.size()).min(rest.len());
        let is_missing = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
        // A value may look like a head; one that claims to be far away is none of ours.
        let near = self.next + (rest.len() / SECTOR) as u64;
        let later = rest[extent..].chunks(SECTOR).filter_map(Head::read);
        let mut later = later.filter(|head| head.number > self.next && head.number <= near);
        !later.any(|head| head.group > self.next) && rest[..extent].chunks(SECTOR).any(is_missing)
    }

    fn take_frame(&mut self, segment: &Segment, offset: usize, body: Bytes) -> io::Result<()> {
        let length = body.len();
        let mut entries: Option<(u64, u64)> = None;
        for (at, piece) in frame::read(body)?.into_iter().enumerate() {
            if matches!(piece, Piece::Begin(..)) != (at == 0 && offset == 0) {
                return Err(damaged("a segment does not begin where its file does".into()));
            }
            match piece {
                Piece::Begin(number, state) => self.begin(segment, number, state)?,
                Piece::Entry(Record { at, .. }) => {
                    entries = Some((entries.map_or(at.index, |(first, _)| first), at.index));
                    self.state.last = Some(at);
                }
                Piece::Op(op) => {
                    self.places.apply(&op);
                    self.state.apply(&op);
                }
            }
        }
        if let Some((first, last)) = entries {
            let file = segment.file.clone();
            self.places.push(Place { first, last, segment: segment.number, file, offset, length });
        }
        Ok(())
    }

    /// The oldest segment says what the log was; every other one must agree with what was read by then.
    fn begin(&mut self, segment: &Segment, number: u64, state: LogState) -> io::Result<()> {
        let is_first = self.segments.is_empty();
        if number != segment.number || !(is_first || state == self.state) {
            return Err(damaged("a segment is not in its place".into()));
        }
        self.state = state;
        Ok(())
    }

    /// Checks that no entry is missing.
    fn check_whole(&self) -> io::Result<()> {
        let LogState { purged, last, .. } = self.state;
        if self.state.is_empty() {
            return Ok(());
        }
        let bounds = self.places.bounds()?;
        // Of a log whose first segment is there nothing was removed.
        let has_all = self.segments.front().is_some_and(|oldest| oldest.number == FIRST);
        let begins = |first: u64| has_all || purged.is_some_and(|at| first <= at.index.saturating_add(1));
        let ends = |end: u64| last.is_some_and(|last| last.index == end);
        if !bounds.is_some_and(|(first, end)| begins(first) && ends(end)) {
            let expected = purged.map_or(0, |purged| purged.index + 1);
            let last = last.map_or(0, |last| last.index);
            return Err(damaged(format!(
                "entries {expected} to {last} are not all there: a segment is missing"
            )));
        }
        Ok(())
    }
}

/// The number of a log's first segment.
pub const FIRST: u64 = 1;
