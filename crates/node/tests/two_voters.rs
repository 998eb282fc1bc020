//! One of two voters, with the other one played by hand.

#![allow(dead_code)]

mod harness;

use harness::config;
use quorate_base::{Now, Offset, OffsetAndEpoch, Time, Uuid};
use quorate_controller::RequestContext;
use quorate_node::{Action, Event, Node, NodeConfig, Recovered, Token};
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::{
    AlterClientQuotasRequest, FetchRequest, VoteResponse, vote_response,
};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode};
use quorate_raft::ElectionState;
use std::time::Duration;

/// Voter 1, and what voter 2 has of its log.
struct Pair {
    node: Node,
    now: Now,
    next_token: Token,
    /// All that voter 1 did in the last step.
    actions: Vec<Action>,
}

impl Pair {
    /// Voter 1 leads, everything is committed, and it decides requests.
    fn active(config: NodeConfig) -> Pair {
        let now = Now { time: Time::ZERO, wall_ms: 1_800_000_000_000 };
        let mut recovered = Recovered::nothing();
        recovered.raft.quorum_state = Some(ElectionState::default());
        let mut actions = Vec::new();
        let node = Node::new(config, recovered, now, &mut actions);
        let mut pair = Pair { node, now, next_token: 1, actions };
        while !pair.node.raft().is_leader() {
            pair.answer_votes();
            if !pair.node.raft().is_leader() {
                let (at, _) = pair.node.next_timeout().expect("a voter without a leader stands");
                pair.pass(at.since(pair.now.time));
                pair.step(Event::Timeout);
            }
        }
        while !pair.node.is_active() || pair.node.status().applied < pair.log_end() {
            pair.sync();
            pair.fetch_all();
        }
        pair
    }

    fn pass(&mut self, by: Duration) {
        self.now.time = self.now.time + by;
        self.now.wall_ms += i64::try_from(by.as_millis()).expect("short");
    }

    fn step(&mut self, event: Event) {
        self.actions.clear();
        self.node.step(self.now, event, &mut self.actions);
    }

    fn log_end(&self) -> Offset {
        self.node.status().log_end
    }

    /// Voter 2 grants whatever it is asked for.
    fn answer_votes(&mut self) {
        let asked = self.actions.iter().find_map(|action| match action {
            Action::Send { rpc, request: AnyRequest::Vote(_), .. } => Some(*rpc),
            _ => None,
        });
        let Some(rpc) = asked else { return };
        let partition = vote_response::PartitionData {
            leader_id: -1,
            leader_epoch: self.node.status().epoch,
            vote_granted: true,
            ..Default::default()
        };
        let response = VoteResponse {
            topics: vec![vote_response::TopicData {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.step(Event::PeerAnswered { rpc, result: Ok(AnyResponse::Vote(response)) });
        self.answer_votes();
    }

    fn sync(&mut self) {
        let end = self.node.raft().log_end();
        self.step(Event::Persisted { end });
    }

    /// Voter 2 has all of the log.
    fn fetch_all(&mut self) {
        let OffsetAndEpoch { offset, epoch } = self.node.raft().log_end();
        let partition = FetchPartition {
            current_leader_epoch: self.node.status().epoch,
            fetch_offset: offset,
            last_fetched_epoch: epoch,
            high_watermark: -1,
            ..Default::default()
        };
        self.ask(
            17,
            AnyRequest::Fetch(FetchRequest {
                cluster_id: Some(harness::CLUSTER.into()),
                replica_state: ReplicaState { replica_id: 2, ..Default::default() },
                max_bytes: 1 << 20,
                topics: vec![FetchTopic {
                    topic_id: Uuid::METADATA_TOPIC,
                    partitions: vec![partition],
                    ..Default::default()
                }],
                ..Default::default()
            }),
        );
    }

    fn ask(&mut self, api_version: i16, request: AnyRequest) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        let context = RequestContext::internal(api_version);
        self.step(Event::Request { token, context, request });
        token
    }

    fn appends(&self) -> usize {
        self.actions.iter().filter(|action| matches!(action, Action::AppendLog(_))).count()
    }

    fn response(&self, wanted: Token) -> Option<&AnyResponse> {
        self.actions.iter().find_map(|action| match action {
            Action::Respond { token, response } if *token == wanted => Some(response),
            _ => None,
        })
    }
}

/// Two voters, and appends of two records at most.
fn two_voters() -> NodeConfig {
    let mut config = config();
    let address = |id: i32| (id, "127.0.0.1".to_owned(), 9092 + u16::try_from(id).unwrap_or(0));
    config.raft.static_voters = Some(vec![address(1), address(2)]);
    config.controller.max_records_per_batch = 2;
    config
}

/// One record for each user.
fn quotas(users: &[&str]) -> AnyRequest {
    let entry = |user: &&str| EntryData {
        entity: vec![EntityData {
            entity_type: "user".into(),
            entity_name: Some((*user).into()),
            ..Default::default()
        }],
        ops: vec![OpData { key: "producer_byte_rate".into(), value: 1.0, ..Default::default() }],
        ..Default::default()
    };
    AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
        entries: users.iter().map(entry).collect(),
        ..Default::default()
    })
}

#[test]
fn a_decision_of_several_batches_is_appended_whole_and_answered_when_all_is_committed() {
    let mut pair = Pair::active(two_voters());
    let end = pair.log_end();
    let token = pair.ask(1, quotas(&["a", "b", "c", "d", "e"]));
    assert_eq!((pair.appends(), pair.log_end()), (3, end + 5));
    pair.sync();
    assert!(pair.response(token).is_none(), "one of two voters has it");
    pair.fetch_all();
    assert!(pair.response(token).is_some());
}

#[test]
fn what_is_left_of_a_decision_is_dropped_when_raft_resigns_within_its_first_append() {
    let mut pair = Pair::active(two_voters());
    // A process that was stopped for a while: nothing told raft yet that voter 2 is out of touch, and a
    // request is first in the queue.
    pair.pass(Duration::from_secs(20));
    let end = pair.log_end();
    let token = pair.ask(1, quotas(&["a", "b", "c", "d", "e"]));
    let status = pair.node.status();
    assert_eq!((status.role, status.active), ("resigned", false));
    assert_eq!((pair.appends(), status.log_end), (1, end + 2), "one append, then no more");
    let Some(AnyResponse::AlterClientQuotas(response)) = pair.response(token) else {
        panic!("the client is told at once: {:?}", pair.actions)
    };
    let not_controller = ErrorCode::NotController.code();
    assert!(response.entries.iter().all(|entry| entry.error_code == not_controller));
    // What was appended may yet be committed; nothing of it is in the image before that.
    assert_eq!(status.applied, end);
}
