//! The story of a run: a hash over all of it, and its last lines for whoever has to read it.

use quorate_base::{NodeId, Time};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines are kept.
const LINES: usize = 400;

/// The legend of a trace's lines.
pub const COLUMNS: &str = "\
time      simulated seconds since the run began
who       controller c1.., broker b101.., admin a201.., or the nemesis (--)
role      leader* is an active one; follower, candidate, prospective, resigned, unattached, observer
ep/ld     epoch and the leader known in it (- if none)
log       first offset..end offset, s: synced up to here
hw/ap     high watermark, and the end of what is in the committed image
what      the event that led here";

/// The trace of a run. Clones share it, so that it outlives a run that panics.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    hash: u64,
    events: u64,
    lines: VecDeque<String>,
    echo: bool,
}

impl Default for Inner {
    fn default() -> Inner {
        let lines = VecDeque::new();
        Inner { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines, echo: false }
    }
}

impl Trace {
    /// A trace that also writes each line to standard error as it comes.
    pub fn echoing() -> Trace {
        let trace = Trace::default();
        trace.inner().echo = true;
        trace
    }

    /// Takes a number into the hash.
    pub fn mix(&self, number: u64) {
        let mut inner = self.inner();
        inner.hash = (inner.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    /// Counts an event.
    pub fn event(&self) {
        self.inner().events += 1;
    }

    /// Adds a line.
    pub fn line(&self, time: Time, who: &str, what: &str) {
        let seconds = time.as_nanos() as f64 / 1e9;
        let line = format!("{seconds:>11.6} {who:>4} {what}");
        let mut inner = self.inner();
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            inner.hash = (inner.hash ^ u64::from_le_bytes(word))
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(29);
        }
        if inner.echo {
            eprintln!("{line}");
        }
        if inner.lines.len() == LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.inner().hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.inner().events
    }

    /// The last lines.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let inner = self.inner();
        let skip = inner.lines.len().saturating_sub(count);
        inner.lines.iter().skip(skip).cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As in the trace's second column.
pub fn who(id: NodeId) -> String {
    match id {
        201.. => format!("a{id}"),
        101.. => format!("b{id}"),
        _ => format!("c{id}"),
    }
}
