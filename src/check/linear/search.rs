//! Looks for an order of one key's rows that respects real time and explains every answer.
//!
//! The search of Wing & Gong (1993) over a doubly linked list of calls and returns, with configurations
//! remembered as Lowe (2017) does. Three things are added. A row that changes nothing and can take effect
//! does so at once: any order in which it comes later stays one if it comes now. Of open rows that are
//! alike, the one that was called first is taken first. And a value is not left while an answer that shows
//! it is still to come, and nothing else can bring it back.

use std::{collections::HashMap, time::Instant};

use super::{
    row::{ABSENT, Make, Need, Row, Val, Values},
    seen::{Seen, Taken},
};

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until when.
    pub deadline: Instant,
    /// How many bytes of configurations it may keep.
    pub bytes_max: u64,
}

/// What a search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is an order.
    Linear,
    /// There is none, and not for what had returned when this row did, either.
    Stuck(usize),
    /// It ended before it knew.
    Unknown(&'static str),
}

/// Steps between looks at the clock.
const STEPS_PER_LOOK: u32 = 1 << 12;

/// Searches from an initial value on. The rows are in order of call.
pub fn search<'a>(rows: &[Row<'a>], values: &mut Values<'a>, initial: Val, limits: Limits) -> Answer {
    let mut search = Search::new(rows, values, limits);
    search.value = initial;
    search.run()
}

/// One end of the list, and what has no neighbour.
const END: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    row: u32,
    is_return: bool,
}

/// A row that was taken.
struct Frame {
    row: u32,
    /// The value before.
    value: Val,
    /// Whether nothing else needs to be tried instead.
    forced: bool,
}

struct Search<'a, 'b> {
    rows: &'b [Row<'a>],
    values: &'b mut Values<'a>,
    limits: Limits,
    links: Vec<Link>,
    head: u32,
    /// Per row, its call and its return in the list.
    ends: Vec<(u32, u32)>,
    /// Per row, its bit among those that must, or that may be taken.
    bits: Vec<usize>,
    balance: Balance,
    /// Per open row, the one before it that is alike.
    twins: Vec<Option<u32>>,
    taken: Taken,
    open: Taken,
    seen: Seen,
    stack: Vec<Frame>,
    value: Val,
    /// How many that must be taken are left.
    left: usize,
    /// The last return that could not be passed.
    furthest: u32,
    steps: u32,
}

impl<'a, 'b> Search<'a, 'b> {
    fn new(rows: &'b [Row<'a>], values: &'b mut Values<'a>, limits: Limits) -> Self {
        let (mut must, mut may) = (0, 0);
        let mut count = |row: &Row<'_>| {
            let counter = if row.is_open() { &mut may } else { &mut must };
            *counter += 1;
            *counter - 1
        };
        let bits = rows.iter().map(&mut count).collect();
        let (links, ends) = link(rows);
        Search {
            rows,
            values,
            limits,
            head: if links.is_empty() { END } else { 0 },
            links,
            ends,
            bits,
            balance: Balance::new(rows),
            twins: twins(rows),
            taken: Taken::new(must),
            open: Taken::new(may),
            seen: Seen::default(),
            stack: vec![],
            value: ABSENT,
            left: must,
            furthest: 0,
            steps: 0,
        }
    }

    fn run(mut self) -> Answer {
        let mut from = None;
        loop {
            if from.is_none() {
                self.take_pure();
                if self.left == 0 {
                    return Answer::Linear;
                }
            }
            if let Some(why) = self.limit() {
                return Answer::Unknown(why);
            }
            from = match self.advance(from.unwrap_or(self.head)) {
                true => None,
                false => match self.back() {
                    Some(next) => Some(next),
                    None => return Answer::Stuck(self.links[self.furthest as usize].row as usize),
                },
            };
        }
    }

    fn limit(&mut self) -> Option<&'static str> {
        self.steps += 1;
        if self.seen.bytes() > self.limits.bytes_max {
            return Some("the memory cap was reached");
        }
        let late = self.steps.is_multiple_of(STEPS_PER_LOOK) && Instant::now() >= self.limits.deadline;
        late.then_some("the deadline was reached")
    }

    /// Takes all rows that change nothing and can be taken.
    fn take_pure(&mut self) {
        let mut at = self.head;
        while let Some(link) = self.links.get(at as usize).copied()
            && !link.is_return
        {
            at = link.after;
            let row = &self.rows[link.row as usize];
            if row.is_pure() && row.need.holds(self.value) {
                self.take(link.row, self.value, true);
                let (_, ret) = self.ends[link.row as usize];
                if at == ret {
                    at = self.links[ret as usize].after;
                }
            }
        }
    }

    /// Takes the first row from `at` on that leads to something new.
    fn advance(&mut self, mut at: u32) -> bool {
        while let Some(link) = self.links.get(at as usize).copied() {
            if link.is_return {
                self.furthest = self.furthest.max(at);
                return false;
            }
            at = link.after;
            let row = &self.rows[link.row as usize];
            let twin = self.twins[link.row as usize];
            if row.is_pure() || twin.is_some_and(|twin| !self.open.has(self.bits[twin as usize])) {
                continue;
            }
            let Some(value) = self.values.step(self.value, row) else { continue };
            if value != self.value && self.balance.strands(self.value, row) {
                continue;
            }
            self.flip(link.row);
            let is_new = self.seen.insert(&self.taken, &self.open, value);
            self.flip(link.row);
            if is_new {
                self.take(link.row, value, false);
                return true;
            }
        }
        false
    }

    fn flip(&mut self, row: u32) {
        let bits = if self.rows[row as usize].is_open() { &mut self.open } else { &mut self.taken };
        bits.flip(self.bits[row as usize]);
    }

    fn take(&mut self, row: u32, value: Val, forced: bool) {
        self.flip(row);
        self.balance.add(&self.rows[row as usize], -1);
        self.stack.push(Frame { row, value: self.value, forced });
        self.value = value;
        let (call, ret) = self.ends[row as usize];
        self.unlink(call);
        if ret != END {
            self.left -= 1;
            self.unlink(ret);
        }
    }

    /// Undoes the last row that something else can be tried for; where to go on.
    fn back(&mut self) -> Option<u32> {
        loop {
            let Frame { row, value, forced } = self.stack.pop()?;
            let (call, ret) = self.ends[row as usize];
            if ret != END {
                self.left += 1;
                self.relink(ret);
            }
            self.relink(call);
            self.flip(row);
            self.balance.add(&self.rows[row as usize], 1);
            self.value = value;
            if !forced {
                return Some(self.links[call as usize].after);
            }
        }
    }

    fn unlink(&mut self, at: u32) {
        let Link { before, after, .. } = self.links[at as usize];
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = after,
            None => self.head = after,
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = before;
        }
    }

    /// Undoes the last `unlink` that is not undone.
    fn relink(&mut self, at: u32) {
        let Link { before, after, .. } = self.links[at as usize];
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = at,
            None => self.head = at,
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = at;
        }
    }
}

/// Per value, what is still to come: answers that show it, and rows that can make it.
struct Balance {
    wanted: Vec<i64>,
    makers: Vec<i64>,
    /// Whether what a row makes is known beforehand: not if it adds to a list.
    is_known: bool,
}

impl Balance {
    fn new(rows: &[Row<'_>]) -> Self {
        let is_known = rows.iter().all(|row| !matches!(row.make, Make::Append(_)));
        let mut balance = Balance { wanted: vec![], makers: vec![], is_known };
        rows.iter().for_each(|row| balance.add(row, 1));
        balance
    }

    fn add(&mut self, row: &Row<'_>, count: i64) {
        let add = |of: &mut Vec<i64>, value: Val| {
            let at = value as usize;
            if of.len() <= at {
                of.resize(at + 1, 0);
            }
            of[at] += count;
        };
        if !row.is_open() {
            row.need.values(&mut |value| add(&mut self.wanted, value));
        }
        if let Make::Set(value) = row.make {
            add(&mut self.makers, value);
        }
    }

    /// Whether an answer could not be explained any more if the row replaced the value.
    fn strands(&self, value: Val, row: &Row<'_>) -> bool {
        let mut own = 0;
        row.need.values(&mut |needed| own += i64::from(needed == value && !row.is_open()));
        let of = |counts: &[i64]| counts.get(value as usize).copied().unwrap_or(0);
        self.is_known && of(&self.makers) == 0 && of(&self.wanted) > own
    }
}

/// Calls and returns in order of time; at one instant calls come first, since intervals are closed.
fn link(rows: &[Row<'_>]) -> (Vec<Link>, Vec<(u32, u32)>) {
    let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * rows.len());
    for (at, row) in (0..).zip(rows) {
        events.push((row.call, false, at));
        if !row.is_open() {
            events.push((row.ret, true, at));
        }
    }
    events.sort_unstable();
    let mut ends = vec![(END, END); rows.len()];
    let count = events.len() as u32;
    let links = (0..).zip(events).map(|(at, (_, is_return, row))| {
        let end = &mut ends[row as usize];
        *(if is_return { &mut end.1 } else { &mut end.0 }) = at;
        let before = if at == 0 { END } else { at - 1 };
        let after = if at + 1 == count { END } else { at + 1 };
        Link { before, after, row, is_return }
    });
    (links.collect(), ends)
}

fn twins(rows: &[Row<'_>]) -> Vec<Option<u32>> {
    let mut last: HashMap<(&Need, &Make<'_>), u32> = HashMap::new();
    let twin = |(at, row)| {
        let row: &Row<'_> = row;
        row.is_open().then(|| last.insert((&row.need, &row.make), at)).flatten()
    };
    (0..).zip(rows).map(twin).collect()
}
