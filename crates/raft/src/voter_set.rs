use quorate_base::{NodeId, Offset, ReplicaKey, Uuid};
use std::collections::BTreeMap;

/// Where a listener is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// The listener's name, upper case.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// One voter as the voter set knows it (KIP-853).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// Node id and directory id; the directory is `None` in a static quorum.
    pub key: ReplicaKey,
    /// Its controller listeners.
    pub listeners: Vec<Endpoint>,
    /// The kraft.version range it supports.
    pub kraft_version_range: (u16, u16),
}

impl Voter {
    /// Its endpoint for a listener name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|e| e.name.eq_ignore_ascii_case(listener))
    }
}

/// The replicas whose majority decides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VoterSet {
    voters: BTreeMap<NodeId, Voter>,
}

impl VoterSet {
    /// A set of these voters; of two with the same id the last one stays.
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> VoterSet {
        VoterSet { voters: voters.into_iter().map(|v| (v.key.id, v)).collect() }
    }

    /// All voters, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    /// Their ids, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        self.voters.keys().copied().collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.voters.len()
    }

    /// True for the empty set, which nobody can win an election in.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// The smallest number of voters that is more than half.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The voter with this id, whatever its directory.
    pub fn get(&self, id: NodeId) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// True if this very replica is a voter. In a static quorum, which knows no directories, its id
    /// is enough.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.voters.get(&key.id).is_some_and(|voter| same_replica(voter.key, key))
    }

    /// True if it is the only voter.
    pub fn is_only(&self, key: ReplicaKey) -> bool {
        self.voters.len() == 1 && self.contains(key)
    }

    /// The set with one voter put in or replaced.
    pub fn with(&self, voter: Voter) -> VoterSet {
        let mut voters = self.voters.clone();
        voters.insert(voter.key.id, voter);
        VoterSet { voters }
    }

    /// The set without one voter.
    pub fn without(&self, id: NodeId) -> VoterSet {
        let mut voters = self.voters.clone();
        voters.remove(&id);
        VoterSet { voters }
    }

    /// True if two majorities, one of each set, always share a voter: the sets differ by one at most.
    pub fn has_overlapping_majority(&self, other: &VoterSet) -> bool {
        let not_in = |a: &VoterSet, b: &VoterSet| a.iter().filter(|v| !b.contains(v.key)).count();
        not_in(self, other) + not_in(other, self) <= 1
    }

    /// A static quorum: ids and addresses only, all on one listener.
    pub fn from_static(
        voters: &[(NodeId, String, u16)],
        listener: &str,
        kraft_version_range: (u16, u16),
    ) -> VoterSet {
        VoterSet::new(voters.iter().map(|(id, host, port)| Voter {
            key: ReplicaKey { id: *id, directory_id: None },
            listeners: vec![Endpoint {
                name: listener.to_owned(),
                host: host.clone(),
                port: *port,
            }],
            kraft_version_range,
        }))
    }
}

/// Whether a replica that names itself `asking` is `known`. If its directory is known, it has to name it:
/// who leaves it out may stand on any disk.
pub(crate) fn same_replica(known: ReplicaKey, asking: ReplicaKey) -> bool {
    known.id == asking.id
        && known.directory_id.is_none_or(|directory| asking.directory_id == Some(directory))
}

/// Kafka's zero UUID is "unknown".
pub(crate) fn known_directory(id: Uuid) -> Option<Uuid> {
    if id.is_zero() { None } else { Some(id) }
}

/// Voter sets and kraft.version levels by the offset of their control record. They count from the
/// moment they are appended, and are taken back when the log is truncated.
#[derive(Clone, Debug)]
pub(crate) struct VoterHistory {
    static_voters: VoterSet,
    sets: BTreeMap<Offset, VoterSet>,
    kraft_versions: BTreeMap<Offset, u16>,
}

/// Offset under which the bootstrap checkpoint's voter set stands.
pub(crate) const BOOTSTRAP_OFFSET: Offset = -1;

impl VoterHistory {
    pub fn new(static_voters: VoterSet) -> VoterHistory {
        VoterHistory { static_voters, sets: BTreeMap::new(), kraft_versions: BTreeMap::new() }
    }

    /// The set in force, and the offset of its record (`None` for the static set).
    pub fn last(&self) -> (&VoterSet, Option<Offset>) {
        match self.sets.last_key_value() {
            Some((offset, set)) => (set, Some(*offset)),
            None => (&self.static_voters, None),
        }
    }

    /// The set as of the records below `end`.
    pub fn at(&self, end: Offset) -> &VoterSet {
        self.sets.range(..end).next_back().map_or(&self.static_voters, |(_, set)| set)
    }

    pub fn kraft_version(&self) -> u16 {
        self.kraft_versions.last_key_value().map_or(0, |(_, level)| *level)
    }

    pub fn kraft_version_at(&self, end: Offset) -> u16 {
        self.kraft_versions.range(..end).next_back().map_or(0, |(_, level)| *level)
    }

    /// Offset of the last kraft.version or voters record.
    pub fn last_change(&self) -> Option<Offset> {
        let sets = self.sets.last_key_value().map(|(offset, _)| *offset);
        let levels = self.kraft_versions.last_key_value().map(|(offset, _)| *offset);
        sets.max(levels)
    }

    pub fn put_voters(&mut self, offset: Offset, set: VoterSet) {
        self.sets.insert(offset, set);
    }

    pub fn put_kraft_version(&mut self, offset: Offset, level: u16) {
        self.kraft_versions.insert(offset, level);
    }

    /// True if the set in force, or the last one before it that is committed at `high_watermark`, has
    /// this voter; or one between them.
    pub fn is_voter_until_committed(
        &self,
        key: ReplicaKey,
        high_watermark: Option<Offset>,
    ) -> bool {
        let mut newest_first = self.sets.iter().rev();
        let mut rest = 2;
        for (offset, set) in newest_first.by_ref() {
            if set.contains(key) {
                return true;
            }
            // Without a high watermark the last two sets count: changes come one at a time.
            rest -= 1;
            if high_watermark.is_some_and(|hw| *offset < hw) || rest == 0 {
                return false;
            }
        }
        self.static_voters.contains(key)
    }

    /// Takes back what stood at or above `end`.
    pub fn truncate(&mut self, end: Offset) {
        self.sets.retain(|offset, _| *offset < end);
        self.kraft_versions.retain(|offset, _| *offset < end);
    }

    /// Forgets what records below `start` said, except for what is still in force there.
    pub fn forget_before(&mut self, start: Offset) {
        if let Some((keep, _)) = self.sets.range(..start).next_back() {
            let keep = *keep;
            self.sets.retain(|offset, _| *offset >= keep);
        }
        if let Some((keep, _)) = self.kraft_versions.range(..start).next_back() {
            let keep = *keep;
            self.kraft_versions.retain(|offset, _| *offset >= keep);
        }
    }

    /// A snapshot replaced the log: only what it says is left.
    pub fn reset(&mut self, end: Offset, set: Option<VoterSet>, kraft_version: u16) {
        self.sets.clear();
        self.kraft_versions.clear();
        if let Some(set) = set {
            self.sets.insert(end - 1, set);
        }
        if kraft_version > 0 {
            self.kraft_versions.insert(end - 1, kraft_version);
        }
    }
}

impl From<&quorate_protocol::control::Voter> for Voter {
    fn from(voter: &quorate_protocol::control::Voter) -> Voter {
        let level = |level: i16| u16::try_from(level).unwrap_or(0);
        Voter {
            key: voter.key,
            listeners: voter
                .endpoints
                .iter()
                .map(|e| Endpoint { name: e.name.clone(), host: e.host.clone(), port: e.port })
                .collect(),
            kraft_version_range: (level(voter.min_kraft_version), level(voter.max_kraft_version)),
        }
    }
}

impl From<&Voter> for quorate_protocol::control::Voter {
    fn from(voter: &Voter) -> quorate_protocol::control::Voter {
        let level = |level: u16| i16::try_from(level).unwrap_or(i16::MAX);
        quorate_protocol::control::Voter {
            key: voter.key,
            endpoints: voter
                .listeners
                .iter()
                .map(|e| quorate_protocol::control::VoterEndpoint {
                    name: e.name.clone(),
                    host: e.host.clone(),
                    port: e.port,
                })
                .collect(),
            min_kraft_version: level(voter.kraft_version_range.0),
            max_kraft_version: level(voter.kraft_version_range.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(voters: &[(NodeId, u128)]) -> VoterSet {
        VoterSet::new(voters.iter().map(|(id, directory)| Voter {
            key: ReplicaKey { id: *id, directory_id: Some(Uuid::from_u128(*directory)) },
            listeners: Vec::new(),
            kraft_version_range: (0, 1),
        }))
    }

    #[test]
    fn majorities_overlap_while_one_voter_changes() {
        let three = set(&[(1, 1), (2, 2), (3, 3)]);
        for other in [three.clone(), set(&[(1, 1), (2, 2)]), set(&[(1, 1), (2, 2), (3, 3), (4, 4)])]
        {
            assert!(three.has_overlapping_majority(&other), "{:?}", other.ids());
            assert!(other.has_overlapping_majority(&three), "{:?}", other.ids());
        }
    }

    #[test]
    fn majorities_need_not_overlap_when_two_voters_change() {
        let three = set(&[(1, 1), (2, 2), (3, 3)]);
        for (why, other) in [
            ("one replaced", set(&[(1, 1), (2, 2), (4, 4)])),
            ("another disk under the same id", set(&[(1, 1), (2, 2), (3, 33)])),
            ("two added", set(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)])),
            ("two removed", set(&[(1, 1)])),
            ("all others", set(&[(4, 4), (5, 5), (6, 6)])),
        ] {
            assert!(!three.has_overlapping_majority(&other), "{why}");
            assert!(!other.has_overlapping_majority(&three), "{why}");
        }
    }

    #[test]
    fn history_counts_from_the_append_and_is_taken_back_by_truncation() {
        let (bootstrap, first, second) =
            (set(&[(1, 1)]), set(&[(1, 1), (2, 2)]), set(&[(1, 1), (2, 2), (3, 3)]));
        let mut history = VoterHistory::new(VoterSet::default());
        assert_eq!(history.last(), (&VoterSet::default(), None));
        history.put_voters(BOOTSTRAP_OFFSET, bootstrap.clone());
        history.put_voters(5, first.clone());
        history.put_kraft_version(5, 1);
        history.put_voters(9, second.clone());
        assert_eq!(history.last(), (&second, Some(9)));
        assert_eq!((history.at(0), history.at(5), history.at(6)), (&bootstrap, &bootstrap, &first));
        history.truncate(9);
        assert_eq!((history.last(), history.last_change()), ((&first, Some(5)), Some(5)));
        history.forget_before(7);
        assert_eq!((history.at(7), history.kraft_version_at(7)), (&first, 1), "still in force");
        history.truncate(5);
        assert_eq!(history.last(), (&VoterSet::default(), None));
        // A snapshot that ends at 20 says what it holds; one without voters leaves the static ones.
        history.reset(20, Some(second.clone()), 1);
        assert_eq!((history.last(), history.kraft_version()), ((&second, Some(19)), 1));
        history.reset(30, None, 0);
        assert_eq!((history.last(), history.kraft_version()), ((&VoterSet::default(), None), 0));
    }
}
