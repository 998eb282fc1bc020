//! KIP-853 at its edges: who is not made a voter, what only leaders know, and which voter set counts.

mod support;

use quorate_base::NodeId;
use quorate_protocol::messages::{AddRaftVoterRequest, add_raft_voter_request};
use quorate_protocol::{AnyResponse, ErrorCode};
use quorate_raft::{PeerRequest, PeerResponse};
use std::time::Duration;
use support::{CLUSTER, Kind, World, directory};

fn settled(kind: Kind, voters: &[NodeId]) -> (World, NodeId) {
    let mut world = World::new(kind, voters, 1);
    world.start_all();
    assert!(world.run_until(Duration::from_secs(20), World::is_settled));
    let leader = world.leader().expect("a leader");
    (world, leader)
}

fn add(id: NodeId, timeout_ms: i32) -> PeerRequest {
    PeerRequest::AddRaftVoter(AddRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        timeout_ms,
        voter_id: id,
        voter_directory_id: directory(id),
        listeners: vec![add_raft_voter_request::Listener {
            name: "CONTROLLER".into(),
            host: format!("n{id}").into(),
            port: 9093,
            ..Default::default()
        }],
        ..Default::default()
    })
}

#[test]
fn a_node_that_lacks_the_finalised_kraft_version_is_not_added() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    world.add_node(4, directory(4));
    world.nodes.get_mut(&4).expect("a node").config.kraft_version_range = (0, 0);
    world.start(4);
    world.run(Duration::from_secs(1));
    let number = world.request(leader, 1, add(4, 5000));
    let answered = |w: &World| w.client_answers.contains_key(&number);
    assert!(world.run_until(Duration::from_secs(1), answered), "at once, not after the timeout");
    let Some(AnyResponse::AddRaftVoter(answer)) = world.client_answers.remove(&number) else {
        panic!("another answer")
    };
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    let why = answer.error_message.expect("a reason").to_string();
    assert!(why.contains("does not support kraft.version 1"), "{why}");
    assert_eq!(world.raft(leader).voters().ids(), [1, 2, 3]);
}

#[test]
fn an_observer_without_the_controller_role_never_joins() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    world.add_node(4, directory(4));
    let config = &mut world.nodes.get_mut(&4).expect("a node").config;
    (config.auto_join, config.is_controller) = (true, false);
    world.start(4);
    world.run(Duration::from_secs(30));
    assert_eq!(world.raft(4).leader().map(|l| l.0), Some(leader), "it observes");
    assert_eq!(world.raft(leader).voters().ids(), [1, 2, 3]);
    // The same node as a controller does.
    world.crash(4);
    world.nodes.get_mut(&4).expect("a node").config.is_controller = true;
    world.start(4);
    world.run(Duration::from_secs(30));
    assert_eq!(world.raft(leader).voters().ids(), [1, 2, 3, 4]);
}

#[test]
fn what_only_a_leader_knows_is_told_by_leaders_only() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    world.add_node(4, directory(4));
    world.start(4);
    world.run(Duration::from_secs(1));
    let follower = if leader == 1 { 2 } else { 1 };
    let view = world.raft(leader).view();
    assert_eq!((view.voter_change, view.voters.len()), (Some(false), 3));
    assert_eq!(view.observers.iter().map(|m| m.key.id).collect::<Vec<_>>(), [4]);
    let view = world.raft(follower).view();
    assert_eq!((view.voter_change, view.voters.len()), (None, 3));
    let others = view.voters.iter().filter(|m| m.key.id != follower);
    assert!(view.observers.is_empty() && others.into_iter().all(|m| m.log_end.is_none()));
    // A change under way, which ends with the leadership.
    for other in (1..=4).filter(|id| *id != leader) {
        world.cut.insert((other, leader));
    }
    world.add_node(5, directory(5));
    world.request(leader, 1, add(5, 60_000));
    assert_eq!(world.raft(leader).view().voter_change, Some(true));
    let lost = |w: &World| !w.raft(leader).is_leader();
    assert!(world.run_until(Duration::from_secs(10), lost));
    let view = world.raft(leader).view();
    assert_eq!((view.voter_change, view.observers.len()), (None, 0), "forgotten");
}

#[test]
fn the_bootstrap_checkpoint_outweighs_static_voters() {
    let mut world = World::new(Kind::Dynamic, &[1, 2, 3], 1);
    for node in world.nodes.values_mut() {
        // Left over in the properties from before the upgrade, and wrong by now.
        let voter = |id: NodeId| (id, format!("n{id}"), 9093);
        node.config.static_voters = Some(vec![voter(7), voter(8)]);
    }
    world.start_all();
    assert!(world.run_until(Duration::from_secs(20), World::is_settled));
    for id in 1..=3 {
        assert_eq!(
            (world.raft(id).voters().ids(), world.raft(id).kraft_version()),
            (vec![1, 2, 3], 1)
        );
    }
}

#[test]
fn the_answer_to_an_update_tells_of_a_newer_epoch() {
    use quorate_protocol::messages::{UpdateRaftVoterResponse, update_raft_voter_response};
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let follower = if leader == 1 { 2 } else { 1 };
    let third = 6 - leader - follower;
    let epoch = world.raft(leader).epoch();
    world.crash(follower);
    world.nodes.get_mut(&follower).expect("a node").config.listeners[0].port = 19093;
    world.start(follower);
    let moved = UpdateRaftVoterResponse {
        error_code: ErrorCode::NotLeaderOrFollower.code(),
        current_leader: update_raft_voter_response::CurrentLeader {
            leader_id: third,
            leader_epoch: epoch + 1,
            host: format!("n{third}").into(),
            port: 9093,
            ..Default::default()
        },
        ..Default::default()
    };
    world.instead_of_update = Some(PeerResponse::UpdateRaftVoter(moved));
    let learned = |w: &World| w.raft(follower).epoch() == epoch + 1;
    assert!(world.run_until(Duration::from_secs(10), learned));
    assert_eq!(world.raft(follower).leader(), Some((third, epoch + 1)));
}

#[test]
fn check_quorum_counts_by_the_voter_set_in_force() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2]);
    let other = 3 - leader;
    world.add_node(3, directory(3));
    world.start(3);
    world.run(Duration::from_secs(1));
    world.add_voter(leader, 3);
    world.run(Duration::from_secs(1));
    assert_eq!(world.raft(leader).voters().ids(), [1, 2, 3]);
    // Of three, one that fetches besides the leader is enough.
    world.cut.extend([(other, leader), (leader, other)]);
    world.run(Duration::from_secs(10));
    assert_eq!(world.leader(), Some(leader));
    world.remove_voter(leader, other);
    world.run(Duration::from_secs(1));
    assert_eq!(world.raft(leader).voters().len(), 2);
    // The removed one fetches again, and counts no more.
    world.heal();
    world.cut.insert((3, leader));
    world.run(Duration::from_secs(10));
    assert!(!world.raft(leader).is_leader(), "no majority of the two is in touch");
}
