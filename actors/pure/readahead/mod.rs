//! `Readahead`: what to fetch before a reader asks for it, per open handle.
//!
//! The first read of a handle fetches its own 128 KiB block and nothing else, so that one byte of a huge file costs one
//! small range. While reads stay sequential the window doubles up to 16 MiB, and what lies ahead is planned as several
//! ranges, so that the link decides the throughput and not its latency.
//!
//! ```text
//!   read before        this read         trigger              planned_to
//! ───────────────────┬───────────┬──────────┬─────────────────────┬──────────────► offset
//!                    └ a read that reaches ─┘◄── half a window ──►┘
//!                      the trigger doubles the window and plans up to its own end + window
//! ```
//!
//! A held read sends no message; the trigger is left in the handle, and the read that reaches it says so. Kernel reads of
//! one stream come out of order, so a read near the end of the stream counts as sequential. A forward skip within the
//! window keeps the window and what flies; any other jump begins anew.
//!
//! Plans only: what a reader waits for is fetched by the one who asks, and what is held or in flight already is left out by
//! the one who fetches. `pool` shares the budget between handles.

mod pool;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::chunking::{GRID_BYTES, align_to_grid};

pub use pool::{PoolPlan, ReadaheadPool, Shrink};

/// The window of a handle that has just been opened or has jumped.
pub const FIRST_WINDOW_BYTES: u64 = GRID_BYTES;

/// The largest window: at 100 ms a link of 1 Gbit/s holds 12 MiB.
pub const MAX_WINDOW_BYTES: u64 = 16 << 20;

/// How far from the end of the stream a read still belongs to it: eight of the kernel's largest reads, which is more than
/// it has under way for one stream.
pub const REORDER_BYTES: u64 = 1 << 20;

/// The longest range of a plan: a full window is four of them.
pub const MAX_RANGE_BYTES: u64 = 4 << 20;

/// What to do about a read, beside the read itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ranges to fetch ahead, on the grid, in order; none is longer than [`MAX_RANGE_BYTES`].
    pub ahead: Vec<Range<u64>>,
    /// What was planned before and is not expected to be read any more: fetches of it that have not begun may be dropped.
    pub abandoned: Range<u64>,
}

/// How a read stands to the stream before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Goes on, give or take the order.
    Sequential,
    /// Jumps forward, not beyond what the window would reach.
    Skip,
    /// The first, or a jump.
    Seek,
}

/// The readahead state of one handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readahead {
    size: u64,
    window: u64,
    /// The end of the stream so far.
    read_to: u64,
    /// Up to here everything has been planned, or is fetched by the reads themselves.
    planned_to: u64,
    trigger: Option<u64>,
    has_read: bool,
}

impl Readahead {
    /// The state of a handle to a content of this size that was not read yet.
    pub fn new(size: u64) -> Self {
        Self { size, window: FIRST_WINDOW_BYTES, read_to: 0, planned_to: 0, trigger: None, has_read: false }
    }

    /// A read whose end is at or beyond this offset must be told to [`read`](Self::read) although it is held; nothing when
    /// the end of the content is planned.
    pub fn trigger_offset(&self) -> Option<u64> {
        self.trigger
    }

    /// The window now.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// What is planned and not read yet.
    pub fn ahead(&self) -> Range<u64> {
        self.read_to.min(self.planned_to)..self.planned_to
    }

    /// A read of a range: what to fetch ahead, of at most `allowed` bytes.
    pub fn read(&mut self, range: Range<u64>, allowed: u64) -> Plan {
        let range = range.start.min(self.size)..range.end.min(self.size);
        if range.is_empty() {
            return Plan::default();
        }
        let own_end = align_to_grid(range.clone(), GRID_BYTES, self.size).end;
        match self.access(&range) {
            Access::Seek => {
                let abandoned = self.ahead();
                self.window = FIRST_WINDOW_BYTES;
                (self.read_to, self.planned_to, self.has_read) = (range.end, own_end, true);
                self.set_trigger();
                return Plan { ahead: Vec::new(), abandoned };
            }
            Access::Sequential => self.read_to = self.read_to.max(range.end),
            Access::Skip => self.read_to = range.end,
        }
        self.planned_to = self.planned_to.max(own_end);
        Plan { ahead: self.extend(allowed), abandoned: 0..0 }
    }

    /// What [`read`](Self::read) would plan if everything were allowed.
    pub fn wanted(&self, range: Range<u64>) -> u64 {
        let plan = self.clone().read(range, u64::MAX);
        plan.ahead.iter().map(|range| range.end - range.start).sum()
    }

    /// Another handle needs the room: the window begins anew.
    pub fn shrink(&mut self) {
        self.window = FIRST_WINDOW_BYTES;
    }

    /// Planned ranges from `offset` on will not be fetched: they are planned again when it is their turn.
    pub fn cancelled(&mut self, offset: u64) {
        self.planned_to = self.planned_to.min(offset.max(self.read_to));
        self.set_trigger();
    }

    fn access(&self, range: &Range<u64>) -> Access {
        let near = self.read_to.saturating_sub(REORDER_BYTES)..=self.read_to.saturating_add(REORDER_BYTES);
        if !self.has_read {
            Access::Seek
        } else if near.contains(&range.start) {
            Access::Sequential
        } else if range.start > self.read_to && range.start <= self.planned_to.saturating_add(self.window) {
            Access::Skip
        } else {
            Access::Seek
        }
    }

    /// Plans ahead when the stream has reached the trigger.
    fn extend(&mut self, allowed: u64) -> Vec<Range<u64>> {
        if self.trigger.is_none_or(|trigger| self.read_to < trigger) {
            // A read beyond what was planned moves the trigger with it.
            self.set_trigger();
            return Vec::new();
        }
        let window = (self.window * 2).min(MAX_WINDOW_BYTES);
        let wanted = align_to_grid(self.read_to..self.read_to.saturating_add(window), GRID_BYTES, self.size).end;
        let granted = self.planned_to.saturating_add(allowed).min(wanted);
        // Ranges end on the grid or with the content.
        let end = if granted == self.size { granted } else { granted - granted % GRID_BYTES };
        if end <= self.planned_to {
            // Nothing to be had: the next read asks again, unless there is nothing to ask for.
            self.trigger = (self.planned_to < self.size).then_some(self.read_to);
            return Vec::new();
        }
        let ranges = split(self.planned_to..end, (window / 4).clamp(GRID_BYTES, MAX_RANGE_BYTES));
        // A handle that gets a part only has not earned the larger window.
        self.window = if end == wanted { window } else { self.window };
        self.planned_to = end;
        self.set_trigger();
        ranges
    }

    fn set_trigger(&mut self) {
        let trigger = self.planned_to.saturating_sub(self.window / 2);
        self.trigger = (self.planned_to < self.size).then_some(trigger);
    }
}

/// Parts of a range, the first ones `len` long.
fn split(range: Range<u64>, len: u64) -> Vec<Range<u64>> {
    let starts = std::iter::successors(Some(range.start), |&start| start.checked_add(len));
    starts.take_while(|&start| start < range.end).map(|start| start..range.end.min(start.saturating_add(len))).collect()
}
