//! KIP-853: who may change the voter set, when, and what the answers are. The flows themselves are
//! in `transcripts/kip_853_*.txt`.

mod support;

use quorate_base::{NodeId, Uuid};
use quorate_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest, add_raft_voter_request,
    update_raft_voter_request,
};
use quorate_protocol::{AnyResponse, ErrorCode};
use quorate_raft::PeerRequest;
use std::time::Duration;
use support::{CLUSTER, Kind, World, directory};

fn add(id: NodeId, listener: &str) -> AddRaftVoterRequest {
    AddRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        timeout_ms: 1000,
        voter_id: id,
        voter_directory_id: directory(id),
        listeners: vec![add_raft_voter_request::Listener {
            name: listener.into(),
            host: format!("n{id}").into(),
            port: 9093,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn remove(id: NodeId) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        voter_id: id,
        voter_directory_id: directory(id),
        ..Default::default()
    }
}

fn update(id: NodeId, epoch: i32, port: u16) -> UpdateRaftVoterRequest {
    UpdateRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        current_leader_epoch: epoch,
        voter_id: id,
        voter_directory_id: directory(id),
        listeners: vec![update_raft_voter_request::Listener {
            name: "CONTROLLER".into(),
            host: format!("n{id}").into(),
            port,
            ..Default::default()
        }],
        kraft_version_feature: update_raft_voter_request::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn settled(kind: Kind, voters: &[NodeId]) -> (World, NodeId) {
    let mut world = World::new(kind, voters, 1);
    world.start_all();
    assert!(world.run_until(Duration::from_secs(20), World::is_settled));
    let leader = world.leader().expect("a leader");
    (world, leader)
}

/// Asks, waits, and gives the answer's code.
fn code(world: &mut World, at: NodeId, request: PeerRequest) -> ErrorCode {
    let number = world.request(at, 0, request);
    let done = world.run_until(Duration::from_secs(20), |w| w.client_answers.contains_key(&number));
    assert!(done, "no answer");
    let code = match world.client_answers.remove(&number) {
        Some(AnyResponse::AddRaftVoter(r)) => r.error_code,
        Some(AnyResponse::RemoveRaftVoter(r)) => r.error_code,
        Some(AnyResponse::UpdateRaftVoter(r)) => r.error_code,
        other => panic!("{other:?}"),
    };
    ErrorCode::from_code(code).expect("a known code")
}

#[test]
fn add_voter_errors() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let follower = if leader == 1 { 2 } else { 1 };
    let mut foreign = add(4, "CONTROLLER");
    foreign.cluster_id = Some("AAAAAAAAAAAAAAAAAAAAAA".into());
    let mut no_directory = add(4, "CONTROLLER");
    no_directory.voter_directory_id = Uuid::ZERO;
    for (request, error) in [
        (foreign, ErrorCode::InconsistentClusterId),
        (no_directory, ErrorCode::InvalidRequest),
        (add(-1, "CONTROLLER"), ErrorCode::InvalidRequest),
        (add(4, "OTHER"), ErrorCode::InvalidRequest),
        (add(follower, "CONTROLLER"), ErrorCode::DuplicateVoter),
        // Nobody answers there.
        (add(4, "CONTROLLER"), ErrorCode::RequestTimedOut),
    ] {
        assert_eq!(code(&mut world, leader, PeerRequest::AddRaftVoter(request)), error);
    }
    let request = PeerRequest::AddRaftVoter(add(4, "CONTROLLER"));
    assert_eq!(code(&mut world, follower, request), ErrorCode::NotLeaderOrFollower);
    assert_eq!(world.raft(leader).voters().ids(), vec![1, 2, 3]);
}

#[test]
fn a_voter_that_does_not_fetch_is_not_added() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1]);
    world.add_node(2, directory(2));
    world.start(2);
    world.cut.insert((2, 1));
    world.run(Duration::from_secs(1));
    // It answers what it is asked, but the leader never sees a fetch.
    let request = PeerRequest::AddRaftVoter(add(2, "CONTROLLER"));
    assert_eq!(code(&mut world, leader, request), ErrorCode::RequestTimedOut);
    assert_eq!(world.raft(leader).voters().ids(), vec![1]);
    world.heal();
    let request = PeerRequest::AddRaftVoter(add(2, "CONTROLLER"));
    assert_eq!(code(&mut world, leader, request), ErrorCode::None);
    assert_eq!(world.raft(leader).voters().ids(), vec![1, 2]);
}

#[test]
fn remove_voter_errors() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let mut foreign = remove(2);
    foreign.cluster_id = Some("AAAAAAAAAAAAAAAAAAAAAA".into());
    let mut other_disk = remove(2);
    other_disk.voter_directory_id = Uuid::from_u128(0xbad);
    for (request, error) in [
        (foreign, ErrorCode::InconsistentClusterId),
        (remove(-1), ErrorCode::InvalidRequest),
        (remove(9), ErrorCode::VoterNotFound),
        (other_disk, ErrorCode::VoterNotFound),
    ] {
        assert_eq!(code(&mut world, leader, PeerRequest::RemoveRaftVoter(request)), error);
    }
    let (mut alone, leader) = settled(Kind::Dynamic, &[1]);
    let request = PeerRequest::RemoveRaftVoter(remove(1));
    assert_eq!(code(&mut alone, leader, request), ErrorCode::VoterNotFound);
}

#[test]
fn voters_change_one_at_a_time() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
    others.iter().for_each(|id| world.crash(*id));
    // With two of three down the first change cannot commit: it is answered when its time is over,
    // and until then, and after, there is no other.
    let first = world.request(leader, 0, PeerRequest::RemoveRaftVoter(remove(others[0])));
    let second = PeerRequest::RemoveRaftVoter(remove(others[1]));
    assert_eq!(code(&mut world, leader, second.clone()), ErrorCode::RequestTimedOut);
    assert!(!world.client_answers.contains_key(&first));
    world.run(Duration::from_millis(2100));
    assert!(world.client_answers.contains_key(&first));
    assert_eq!(code(&mut world, leader, second), ErrorCode::RequestTimedOut);
}

#[test]
fn no_change_before_the_new_leader_has_committed() {
    let (mut world, old) = settled(Kind::Dynamic, &[1, 2, 3]);
    world.max_sync_us = 200_000;
    let before = world.last_leader;
    world.step(old, quorate_raft::Event::TransferLeader { to: None });
    assert!(world.run_until(Duration::from_secs(20), |w| w.last_leader != before));
    let leader = world.leader().expect("a leader");
    let raft = world.raft(leader);
    assert!(raft.high_watermark() < Some(raft.log_end().offset), "nothing is committed yet");
    let request = PeerRequest::RemoveRaftVoter(remove(if leader == 1 { 2 } else { 1 }));
    assert_eq!(code(&mut world, leader, request), ErrorCode::RequestTimedOut);
    assert_eq!(world.raft(leader).voters().len(), 3);
}

#[test]
fn a_static_quorum_has_its_voters_in_the_configuration() {
    let (mut world, leader) = settled(Kind::Static, &[1, 2, 3]);
    for request in
        [PeerRequest::AddRaftVoter(add(4, "CONTROLLER")), PeerRequest::RemoveRaftVoter(remove(2))]
    {
        assert_eq!(code(&mut world, leader, request), ErrorCode::UnsupportedVersion);
    }
    // Kafka 4.3 takes the report of a voter's endpoints all the same, and keeps it in mind.
    let epoch = world.raft(leader).epoch();
    let request = PeerRequest::UpdateRaftVoter(update(2, epoch, 9093));
    assert_eq!(code(&mut world, leader, request), ErrorCode::None);
}

#[test]
fn update_voter_errors_and_effect() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let follower = if leader == 1 { 2 } else { 1 };
    let epoch = world.raft(leader).epoch();
    let mut no_listener = update(follower, epoch, 9093);
    no_listener.listeners.clear();
    let mut too_new = update(follower, epoch, 9093);
    too_new.kraft_version_feature.min_supported_version = 2;
    let mut other_disk = update(follower, epoch, 9093);
    other_disk.voter_directory_id = Uuid::from_u128(0xbad);
    for (request, error) in [
        (update(follower, epoch - 1, 9093), ErrorCode::FencedLeaderEpoch),
        (update(follower, epoch + 1, 9093), ErrorCode::UnknownLeaderEpoch),
        (no_listener, ErrorCode::InvalidRequest),
        (too_new, ErrorCode::InvalidRequest),
        (other_disk, ErrorCode::VoterNotFound),
        (update(9, epoch, 9093), ErrorCode::VoterNotFound),
    ] {
        assert_eq!(code(&mut world, leader, PeerRequest::UpdateRaftVoter(request)), error);
    }
    let request = PeerRequest::UpdateRaftVoter(update(follower, epoch, 19093));
    assert_eq!(code(&mut world, follower, request.clone()), ErrorCode::NotLeaderOrFollower);
    assert_eq!(code(&mut world, leader, request), ErrorCode::None);
    let voter = world.raft(leader).voters().get(follower).expect("a voter");
    assert_eq!(voter.listeners[0].port, 19093);
}

#[test]
fn a_voter_whose_address_changed_reports_it() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let follower = if leader == 1 { 2 } else { 1 };
    world.crash(follower);
    let node = world.nodes.get_mut(&follower).expect("a node");
    let second = quorate_raft::Endpoint { name: "SECOND".into(), host: "x".into(), port: 1 };
    node.config.listeners.push(second);
    world.start(follower);
    let reported = world.run_until(Duration::from_secs(10), |w| {
        w.raft(leader).voters().get(follower).is_some_and(|v| v.listeners.len() == 2)
    });
    assert!(reported);
    assert!(world.run_until(Duration::from_secs(10), World::is_settled));
}

/// Alone, a leader needs to hear from nobody; the clock of check-quorum starts with the first other
/// voter. (Found by the simulator.)
#[test]
fn a_lone_leader_that_adds_a_voter_goes_on_leading() {
    let mut world = World::new(Kind::Dynamic, &[1], 7);
    world.add_node(2, directory(2));
    world.start_all();
    world.run(Duration::from_secs(30));
    let epoch = world.raft(1).epoch();
    world.add_voter(1, 2);
    world.run(Duration::from_secs(10));
    assert_eq!(world.raft(1).voters().ids(), [1, 2]);
    assert_eq!((world.leader(), world.raft(1).epoch()), (Some(1), epoch));
}

#[test]
fn an_added_voter_may_be_acknowledged_before_the_commit() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1]);
    world.add_node(2, directory(2));
    world.start(2);
    assert!(world.run_until(Duration::from_secs(10), |w| w.raft(2).high_watermark().is_some()));
    world.max_sync_us = 500_000;
    let mut request = add(2, "CONTROLLER");
    request.ack_when_committed = false;
    let number = world.request(leader, 1, PeerRequest::AddRaftVoter(request));
    let answered = |w: &World| w.client_answers.contains_key(&number);
    assert!(world.run_until(Duration::from_secs(10), answered));
    let raft = world.raft(leader);
    assert_eq!(raft.voters().ids(), vec![1, 2]);
    assert!(raft.high_watermark() < Some(raft.log_end().offset), "it is not committed yet");
    assert!(world.run_until(Duration::from_secs(20), World::is_settled));
}

#[test]
fn a_change_under_way_is_answered_when_the_leader_falls() {
    for adds in [true, false] {
        let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
        let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
        world.add_node(4, directory(4));
        world.start(4);
        world.run(Duration::from_secs(1));
        for other in &others {
            world.cut.insert((*other, leader));
        }
        let request = if adds {
            PeerRequest::AddRaftVoter(AddRaftVoterRequest {
                timeout_ms: 60_000,
                ..add(4, "CONTROLLER")
            })
        } else {
            PeerRequest::RemoveRaftVoter(remove(others[0]))
        };
        let number = world.request(leader, 0, request);
        let answered = |w: &World| w.client_answers.contains_key(&number);
        assert!(world.run_until(Duration::from_secs(10), answered), "adds: {adds}");
        let code = match &world.client_answers[&number] {
            AnyResponse::AddRaftVoter(r) => r.error_code,
            AnyResponse::RemoveRaftVoter(r) => r.error_code,
            other => panic!("{other:?}"),
        };
        let expected = if adds {
            // Check-quorum ends the term.
            ErrorCode::NotLeaderOrFollower
        } else {
            // Kafka gives a removal the request timeout, which is over before.
            ErrorCode::RequestTimedOut
        };
        assert_eq!(ErrorCode::from_code(code), Some(expected), "adds: {adds}");
        world.heal();
        assert!(world.run_until(Duration::from_secs(20), World::is_settled), "adds: {adds}");
    }
}

#[test]
fn an_update_waits_for_the_change_before_it() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
    for other in &others {
        world.cut.insert((*other, leader));
    }
    let epoch = world.raft(leader).epoch();
    world.request(leader, 0, PeerRequest::RemoveRaftVoter(remove(others[0])));
    let request = PeerRequest::UpdateRaftVoter(update(others[1], epoch, 19093));
    assert_eq!(code(&mut world, leader, request), ErrorCode::RequestTimedOut);
    let mut foreign = update(others[1], epoch, 19093);
    foreign.cluster_id = Some("AAAAAAAAAAAAAAAAAAAAAA".into());
    let request = PeerRequest::UpdateRaftVoter(foreign);
    assert_eq!(code(&mut world, leader, request), ErrorCode::InconsistentClusterId);
    let request = PeerRequest::AddRaftVoter(add(7, "CONTROLLER"));
    assert_eq!(code(&mut world, leader, request), ErrorCode::RequestTimedOut);
}

#[test]
fn kraft_version_is_raised_when_all_voters_have_reported_and_never_lowered() {
    let (mut world, leader) = settled(Kind::Static, &[1, 2, 3]);
    let upgrade = |world: &mut World, level: u16, validate_only: bool| {
        let token = quorate_raft::Token(0);
        world
            .step(leader, quorate_raft::Event::UpgradeKraftVersion { token, level, validate_only });
        world.trace.last().expect("an answer").1.clone()
    };
    assert!(upgrade(&mut world, 1, false).contains("has not told the leader"), "too early");
    // Followers report after one fetch timeout, at kraft.version 0 too.
    world.run(Duration::from_secs(5));
    assert!(upgrade(&mut world, 2, false).contains("InvalidUpdateVersion"), "too high");
    let end = world.raft(leader).log_end();
    upgrade(&mut world, 1, true);
    assert_eq!(world.raft(leader).log_end(), end, "only validated");
    upgrade(&mut world, 1, false);
    assert_eq!(world.raft(leader).kraft_version(), 1);
    assert!(world.run_until(Duration::from_secs(10), World::is_settled));
    let voters = world.raft(leader).voters();
    assert!(voters.iter().all(|v| v.key.directory_id == Some(directory(v.key.id))));
    assert!(upgrade(&mut world, 0, false).contains("InvalidUpdateVersion"), "never lowered");
}

#[test]
fn nothing_else_is_changed_while_a_voter_is_being_added() {
    let (mut world, leader) = settled(Kind::Dynamic, &[1, 2, 3]);
    let follower = if leader == 1 { 2 } else { 1 };
    world.add_node(4, directory(4));
    world.start(4);
    world.cut.insert((4, leader));
    world.run(Duration::from_millis(10));
    let mut slow = add(4, "CONTROLLER");
    slow.timeout_ms = 60_000;
    let number = world.request(leader, 0, PeerRequest::AddRaftVoter(slow));
    world.run(Duration::from_millis(10));
    let epoch = world.raft(leader).epoch();
    for request in [
        PeerRequest::AddRaftVoter(add(5, "CONTROLLER")),
        PeerRequest::RemoveRaftVoter(remove(follower)),
        PeerRequest::UpdateRaftVoter(update(follower, epoch, 19093)),
    ] {
        assert_eq!(code(&mut world, leader, request), ErrorCode::RequestTimedOut);
    }
    assert!(!world.client_answers.contains_key(&number), "the first one still waits");
    assert_eq!(world.raft(leader).voters().ids(), vec![1, 2, 3]);
    let request = PeerRequest::RemoveRaftVoter(remove(3));
    assert_eq!(code(&mut world, follower, request), ErrorCode::NotLeaderOrFollower);
}

#[test]
fn a_controller_does_not_join_a_static_quorum_by_itself() {
    let (mut world, leader) = settled(Kind::Static, &[1, 2]);
    world.add_node(3, directory(3));
    let node = world.nodes.get_mut(&3).expect("a node");
    node.config.auto_join = true;
    world.start(3);
    world.run(Duration::from_secs(10));
    assert_eq!(world.raft(3).leader().map(|l| l.0), Some(leader));
    assert_eq!(world.raft(leader).voters().ids(), vec![1, 2]);
}
