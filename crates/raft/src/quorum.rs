//! The arithmetic of majorities.

use quorate_base::Offset;

/// The largest offset that more than half of the voters have reached; `None` stands for a voter of
/// whom nothing is known. `None` if no majority is known.
pub(crate) fn majority_offset(mut ends: Vec<Option<Offset>>) -> Option<Offset> {
    ends.sort_unstable_by(|a, b| b.cmp(a));
    ends.get(ends.len() / 2).copied().flatten()
}

/// The outcome of counting votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tally {
    Won,
    Lost,
    Open,
}

/// Judges an election among `voters` voters.
pub(crate) fn tally(voters: usize, granted: usize, rejected: usize) -> Tally {
    let majority = voters / 2 + 1;
    if voters > 0 && granted >= majority {
        Tally::Won
    } else if rejected > voters.saturating_sub(majority) {
        Tally::Lost
    } else {
        Tally::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majority_offsets() {
        assert_eq!(majority_offset(vec![]), None);
        assert_eq!(majority_offset(vec![Some(7)]), Some(7));
        assert_eq!(majority_offset(vec![Some(7), Some(3)]), Some(3));
        assert_eq!(majority_offset(vec![Some(7), None]), None);
        assert_eq!(majority_offset(vec![None, Some(9), Some(3)]), Some(3));
        assert_eq!(majority_offset(vec![Some(1), Some(9), Some(3), Some(5)]), Some(3));
        assert_eq!(majority_offset(vec![Some(1), Some(9), Some(3), Some(5), Some(4)]), Some(4));
    }

    #[test]
    fn tallies() {
        assert_eq!(tally(1, 1, 0), Tally::Won);
        assert_eq!(tally(2, 1, 0), Tally::Open);
        assert_eq!(tally(2, 1, 1), Tally::Lost);
        assert_eq!(tally(3, 2, 1), Tally::Won);
        assert_eq!(tally(3, 1, 1), Tally::Open);
        assert_eq!(tally(3, 1, 2), Tally::Lost);
        assert_eq!(tally(4, 2, 1), Tally::Open);
        assert_eq!(tally(4, 2, 2), Tally::Lost);
        assert_eq!(tally(0, 0, 0), Tally::Open);
    }
}
