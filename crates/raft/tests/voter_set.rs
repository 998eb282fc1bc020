//! The voter set by itself: who is in it, and where.

mod replica;

use quorate_raft::{Voter, VoterSet};
use replica::*;

fn three() -> VoterSet {
    VoterSet::new([1, 2, 3].map(voter))
}

#[test]
fn voters_are_found_by_id_and_listener() {
    let set = three();
    assert_eq!((set.ids(), set.len(), set.majority()), (vec![1, 2, 3], 3, 2));
    let second = set.get(2).expect("a voter");
    assert_eq!(
        second.endpoint("controller").map(|e| (e.host.as_str(), e.port)),
        Some(("n2", 9093))
    );
    assert_eq!(second.endpoint("MISSING"), None);
    assert_eq!(set.get(4), None);
    assert!(VoterSet::default().is_empty() && VoterSet::new([]).is_empty());
}

#[test]
fn a_voter_is_put_in_taken_out_or_replaced() {
    let four = three().with(voter(4));
    assert_eq!(four.ids(), [1, 2, 3, 4]);
    assert_eq!(four.without(4), three());
    assert_eq!(three().without(4), three(), "who is not there");
    let moved = Voter { listeners: vec![], kraft_version_range: (1, 1), ..voter(3) };
    let set = three().with(moved.clone());
    assert_eq!((set.len(), set.get(3)), (3, Some(&moved)));
}

#[test]
fn a_voter_is_an_id_on_a_disk_where_that_is_known() {
    let other = |id| ReplicaKey { id, directory_id: Some(Uuid::from_u128(7)) };
    let nameless = |id| ReplicaKey { id, directory_id: None };
    let set = three();
    assert!(set.contains(key(1)));
    let swapped = ReplicaKey { id: 2, ..key(1) };
    for stranger in [other(1), nameless(1), swapped, key(4), nameless(4)] {
        assert!(!set.contains(stranger), "{stranger}");
    }
    let fixed = VoterSet::from_static(&[(1, "n1".into(), 9093)], "CONTROLLER", (0, 1));
    for known in [nameless(1), key(1), other(1)] {
        assert!(fixed.contains(known), "{known}");
    }
    assert!(!fixed.contains(key(4)) && !fixed.contains(nameless(4)));
}

#[test]
fn the_only_voter_is_alone_and_on_its_disk() {
    let alone = VoterSet::new([voter(1)]);
    assert!(alone.is_only(key(1)));
    for stranger in [
        ReplicaKey { id: 1, directory_id: Some(Uuid::from_u128(7)) },
        ReplicaKey { id: 1, directory_id: None },
        ReplicaKey { id: 4, ..key(1) },
    ] {
        assert!(!alone.is_only(stranger), "{stranger}");
    }
    let two = VoterSet::new([voter(1), voter(2)]);
    assert!(!two.is_only(key(1)) && !two.is_only(key(2)));
}
