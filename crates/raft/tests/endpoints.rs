//! Where a leader is called: where it says itself, else where the voter set has it.

mod replica;

use quorate_protocol::messages::{BeginQuorumEpochResponse, EndQuorumEpochResponse};
use quorate_protocol::messages::{
    FetchSnapshotResponse, begin_quorum_epoch_response, end_quorum_epoch_response,
    fetch_snapshot_response as snapshot,
};
use replica::*;

const MOVED: (&str, u16) = ("moved", 7);
/// As the voter set has node 3.
const LISTED: (&str, u16) = ("n3", 9093);

fn leader_of(replica: &Replica) -> Option<(NodeId, &str, u16)> {
    assert_eq!(replica.raft.leader_endpoint("OTHER"), None);
    replica.raft.leader_endpoint("CONTROLLER")
}

#[test]
fn a_leader_names_its_own_listeners() {
    let second = Endpoint { name: "SECOND".into(), host: "s1".into(), port: 8 };
    let setup = Setup { more_listeners: vec![second], state: Some(epoch(4)), ..Setup::default() };
    let (mut leader, _) = setup.start();
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let actions = leader.votes_for_me(&actions);
    assert_eq!(leader.raft.role(), Role::Leader);
    let begins = sent(&actions, |r| match r {
        PeerRequest::BeginQuorumEpoch(r) => Some(r.leader_endpoints.clone()),
        _ => None,
    });
    assert_eq!(begins.len(), 2);
    for (_, _, endpoints) in begins {
        let named: Vec<_> =
            endpoints.iter().map(|e| (e.name.as_str(), e.host.as_str(), e.port)).collect();
        assert_eq!(named, [("CONTROLLER", "n1", 9093), ("SECOND", "s1", 8)]);
    }
    assert_eq!(leader.raft.leader_endpoint("SECOND"), Some((1, "s1", 8)));
}

#[test]
fn begin_quorum_epoch_tells_it() {
    for (told, known) in [(true, MOVED), (false, LISTED)] {
        let endpoint = begin::LeaderEndpoint {
            name: "CONTROLLER".into(),
            host: MOVED.0.into(),
            port: MOVED.1,
            ..Default::default()
        };
        let request = BeginQuorumEpochRequest {
            leader_endpoints: if told { vec![endpoint] } else { vec![] },
            ..begin_request(3, 5)
        };
        let mut follower = replica(epoch(4));
        follower.ask(1, PeerRequest::BeginQuorumEpoch(request));
        assert_eq!(leader_of(&follower), Some((3, known.0, known.1)));
    }
}

/// It is a leader that goes: nobody is sent to it, so where it can be called does not matter.
#[test]
fn end_quorum_epoch_names_nobody_to_call() {
    let endpoint = end::LeaderEndpoint {
        name: "CONTROLLER".into(),
        host: MOVED.0.into(),
        port: MOVED.1,
        ..Default::default()
    };
    for endpoints in [vec![endpoint], vec![]] {
        let request = EndQuorumEpochRequest {
            cluster_id: Some(CLUSTER.into()),
            topics: vec![end::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![end::PartitionData {
                    leader_id: 3,
                    leader_epoch: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            leader_endpoints: endpoints,
            ..Default::default()
        };
        let mut follower = replica(epoch(4));
        let actions = follower.ask(1, PeerRequest::EndQuorumEpoch(request));
        let AnyResponse::EndQuorumEpoch(answer) = answered(&actions) else { panic!() };
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        assert_eq!((follower.raft.epoch(), leader_of(&follower)), (5, None));
        assert!(sent_fetch(&actions).is_none());
    }
}

#[test]
fn answers_to_votes_and_fetches_tell_it() {
    for (told, known) in [(true, MOVED), (false, LISTED)] {
        let mut asking = replica(epoch(4));
        let asked = asking.until(Role::Prospective);
        let node = vote_response::NodeEndpoint {
            node_id: 3,
            host: MOVED.0.into(),
            port: MOVED.1,
            ..Default::default()
        };
        let refused = VoteResponse {
            topics: vec![vote_response::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![vote_response::PartitionData {
                    leader_id: 3,
                    leader_epoch: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: if told { vec![node] } else { vec![] },
            ..Default::default()
        };
        let result = Ok(PeerResponse::Vote(refused));
        asking.step(Event::Response { rpc: sent_votes(&asked)[0].0, result });
        assert_eq!(leader_of(&asking), Some((3, known.0, known.1)));

        let mut follower = replica(epoch(4));
        let (rpc, _) = follower.follow(2, 5);
        let node = fetch_response::NodeEndpoint {
            node_id: 3,
            host: MOVED.0.into(),
            port: MOVED.1.into(),
            ..Default::default()
        };
        let response = FetchResponse {
            responses: vec![fetch_response::FetchableTopicResponse {
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![fetch_response::PartitionData {
                    error_code: ErrorCode::FencedLeaderEpoch.code(),
                    current_leader: leader_is(3, 6),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: if told { vec![node] } else { vec![] },
            ..Default::default()
        };
        follower.step(Event::Response { rpc, result: Ok(PeerResponse::Fetch(response)) });
        assert_eq!(leader_of(&follower), Some((3, known.0, known.1)));
    }
}

#[test]
fn answers_to_snapshot_fetches_tell_it() {
    for (told, known) in [(true, MOVED), (false, LISTED)] {
        let mut follower = replica(epoch(4));
        let (rpc, _) = follower.follow(2, 5);
        let id = fetch_response::SnapshotId { end_offset: 20, epoch: 5, ..Default::default() };
        let offer = fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            snapshot_id: id,
            high_watermark: -1,
            ..Default::default()
        };
        let actions = follower.answer_fetch(rpc, offer);
        let asked = sent(&actions, |r| matches!(r, PeerRequest::FetchSnapshot(_)).then_some(()));
        let node = snapshot::NodeEndpoint {
            node_id: 3,
            host: MOVED.0.into(),
            port: MOVED.1,
            ..Default::default()
        };
        let response = FetchSnapshotResponse {
            topics: vec![snapshot::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![snapshot::PartitionSnapshot {
                    error_code: ErrorCode::FencedLeaderEpoch.code(),
                    current_leader: snapshot::LeaderIdAndEpoch {
                        leader_id: 3,
                        leader_epoch: 6,
                        ..Default::default()
                    },
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: if told { vec![node] } else { vec![] },
            ..Default::default()
        };
        let result = Ok(PeerResponse::FetchSnapshot(response));
        follower.step(Event::Response { rpc: asked[0].0, result });
        assert_eq!(leader_of(&follower), Some((3, known.0, known.1)));
    }
}

/// Who was told that this node leads, or led, and knows better: a voter, called where it is listed.
#[test]
fn answers_to_begin_and_end_name_the_leader_only() {
    for resigns in [false, true] {
        let mut leader = replica(epoch(4));
        let actions = leader.until(Role::Prospective);
        let actions = leader.votes_for_me(&actions);
        let mut actions = leader.votes_for_me(&actions);
        if resigns {
            actions = leader.step(Event::Shutdown);
        }
        let rpc = if resigns { told_end(&actions)[0].0 } else { told_begin(&actions)[0].0 };
        macro_rules! refused {
            ($api:ident, $response:ident, $parts:ident) => {
                PeerResponse::$api($response {
                    topics: vec![$parts::TopicData {
                        topic_name: TOPIC.into(),
                        partitions: vec![$parts::PartitionData {
                            error_code: ErrorCode::FencedLeaderEpoch.code(),
                            leader_id: 3,
                            leader_epoch: 6,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    node_endpoints: vec![$parts::NodeEndpoint {
                        node_id: 3,
                        host: MOVED.0.into(),
                        port: MOVED.1,
                        ..Default::default()
                    }],
                    ..Default::default()
                })
            };
        }
        let result = match resigns {
            true => refused!(EndQuorumEpoch, EndQuorumEpochResponse, end_quorum_epoch_response),
            false => {
                refused!(BeginQuorumEpoch, BeginQuorumEpochResponse, begin_quorum_epoch_response)
            }
        };
        leader.step(Event::Response { rpc, result: Ok(result) });
        assert_eq!(leader.raft.epoch(), 6);
        if !resigns {
            assert_eq!(leader_of(&leader), Some((3, LISTED.0, LISTED.1)));
        }
    }
}
