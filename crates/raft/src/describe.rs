//! DescribeQuorum (KIP-595, KIP-836, KIP-853).

use crate::Token;
use crate::answers::{TOPIC, respond};
use crate::leader::{LeaderState, Progress};
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use quorate_base::Uuid;
use quorate_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use quorate_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use quorate_protocol::{AnyResponse, ErrorCode};

impl Raft {
    pub(crate) fn handle_describe(
        &mut self,
        cx: &mut Cx,
        token: Token,
        version: i16,
        request: &DescribeQuorumRequest,
    ) {
        let is_ours = match request.topics.as_slice() {
            [topic] => {
                topic.topic_name == TOPIC
                    && topic.partitions.len() == 1
                    && topic.partitions.iter().all(|p| p.partition_index == 0)
            }
            _ => false,
        };
        let response = match &self.role {
            _ if !is_ours => refuse_partitions(request, ErrorCode::UnknownTopicOrPartition),
            RoleState::Leader(state) => self.describe(cx, version, state),
            // At the partition, as Kafka has it: a broker that gets it in an envelope looks for the
            // leader, and tools print it.
            _ => refuse_partitions(request, ErrorCode::NotLeaderOrFollower),
        };
        respond(cx, token, AnyResponse::DescribeQuorum(response));
    }

    fn describe(&self, cx: &Cx, version: i16, state: &LeaderState) -> DescribeQuorumResponse {
        let me = self.config.node_id;
        let directory =
            |id: Option<Uuid>| if version >= 2 { id.unwrap_or_default() } else { Uuid::ZERO };
        let own = |directory_id: Option<Uuid>| ReplicaState {
            replica_id: me,
            replica_directory_id: directory(directory_id),
            log_end_offset: self.log.end().offset,
            last_fetch_timestamp: cx.now.wall_ms,
            last_caught_up_timestamp: cx.now.wall_ms,
            ..Default::default()
        };
        let other = |p: &Progress, directory_id: Option<Uuid>| ReplicaState {
            replica_id: p.key.id,
            replica_directory_id: directory(directory_id),
            log_end_offset: p.end.unwrap_or(-1),
            last_fetch_timestamp: p.last_fetch_ms,
            last_caught_up_timestamp: p.last_caught_up_ms,
            ..Default::default()
        };
        let is_voter = self.is_voter();
        // As the voter set has them: a static one knows no directories, whatever fetches said.
        let current_voters = self.voters().iter().filter_map(|voter| {
            let directory_id = voter.key.directory_id;
            if voter.key.id == me && is_voter {
                Some(own(directory_id))
            } else {
                state.voters.get(&voter.key.id).map(|progress| other(progress, directory_id))
            }
        });
        let mut observers: Vec<ReplicaState> =
            state.observers.values().map(|it| other(it, it.key.directory_id)).collect();
        if !is_voter {
            // A leader that removed itself leads until that is committed.
            observers.push(own(Some(self.config.directory_id)));
        }
        let nodes = self.voters().iter().filter(|_| version >= 2).map(|voter| {
            let listeners =
                if voter.key.id == me { &self.config.listeners } else { &voter.listeners };
            Node {
                node_id: voter.key.id,
                listeners: listeners
                    .iter()
                    .map(|e| Listener {
                        name: e.name.as_str().into(),
                        host: e.host.as_str().into(),
                        port: e.port,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        });
        let partition = PartitionData {
            partition_index: 0,
            leader_id: me,
            leader_epoch: self.epoch,
            high_watermark: self.high_watermark_for_answers().unwrap_or(-1),
            current_voters: current_voters.collect(),
            observers,
            ..Default::default()
        };
        DescribeQuorumResponse {
            topics: vec![TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            nodes: nodes.collect(),
            ..Default::default()
        }
    }
}

fn refuse_partitions(request: &DescribeQuorumRequest, error: ErrorCode) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|p| PartitionData {
                partition_index: p.partition_index,
                error_code: error.code(),
                error_message: Some(error.message().into()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}
