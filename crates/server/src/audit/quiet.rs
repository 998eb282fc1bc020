//! Denials can be caused by anybody, at any rate: of those alike, a few are written down in a window
//! of time, and the rest are counted.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

/// What makes denials alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alike {
    /// Who was denied.
    pub principal: String,
    /// From which address.
    pub address: String,
    /// In which API.
    pub api: &'static str,
}

/// Denials that were not written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suppressed {
    /// Of these; `None`: of more kinds than are told apart.
    pub of: Option<Alike>,
    /// How many.
    pub count: u64,
}

/// Counts denials of the window.
#[derive(Debug, Default)]
pub struct Quiet {
    started: Option<Instant>,
    written: BTreeMap<Alike, u64>,
    suppressed: BTreeMap<Alike, u64>,
    others_suppressed: u64,
}

impl Quiet {
    /// Denials alike that are written down in a window.
    pub const EACH: u64 = 20;
    /// Kinds of denials that are told apart in a window.
    pub const KINDS: usize = 256;
    /// Length of a window.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// Whether one more is to be written down.
    pub fn admits(&mut self, alike: &Alike, now: Instant) -> bool {
        self.started.get_or_insert(now);
        let kinds = self.written.len();
        match self.written.get_mut(alike) {
            Some(count) if *count < Self::EACH => *count += 1,
            Some(_) => {
                *self.suppressed.entry(alike.clone()).or_default() += 1;
                return false;
            }
            None if kinds < Self::KINDS => {
                self.written.insert(alike.clone(), 1);
            }
            None => {
                self.others_suppressed += 1;
                return false;
            }
        }
        true
    }

    /// Ends the window if it is over, with what was not written down in it.
    pub fn end_window(&mut self, now: Instant) -> Vec<Suppressed> {
        let over = self.started.is_some_and(|it| now.duration_since(it) >= Self::WINDOW);
        if !over {
            return Vec::new();
        }
        let ended = mem::take(self);
        let mut all: Vec<Suppressed> = ended
            .suppressed
            .into_iter()
            .map(|(alike, count)| Suppressed { of: Some(alike), count })
            .collect();
        if ended.others_suppressed > 0 {
            all.push(Suppressed { of: None, count: ended.others_suppressed });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(principal: &str) -> Alike {
        let (principal, address) = (principal.to_owned(), "10.0.0.1".to_owned());
        Alike { principal, address, api: "CreateTopics" }
    }

    #[test]
    fn a_flood_of_denials_is_counted_and_others_are_still_written() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| quiet.admits(&alike("User:flood"), start)).count();
        assert_eq!(written, 20);
        assert!(quiet.admits(&alike("User:other"), start));
        assert_eq!(quiet.end_window(start), []);
        let over = start + Quiet::WINDOW;
        let expected = Suppressed { of: Some(alike("User:flood")), count: 980 };
        assert_eq!(quiet.end_window(over), [expected]);
        assert!(quiet.admits(&alike("User:flood"), over));
        assert_eq!(quiet.end_window(over + Quiet::WINDOW), []);
    }

    #[test]
    fn made_up_names_do_not_take_memory_without_end() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        let written = (0..10_000).filter(|n| quiet.admits(&alike(&format!("User:{n}")), start));
        assert_eq!(written.count(), Quiet::KINDS);
        let told = quiet.end_window(start + Quiet::WINDOW);
        assert_eq!(told, [Suppressed { of: None, count: 10_000 - 256 }]);
    }
}
