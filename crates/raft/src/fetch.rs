//! Fetch as a leader serves it (KIP-595, KIP-630), to voters and observers.

use crate::answers::{TOPIC, respond};
use crate::log_view::Position;
use crate::raft::{Cx, Raft};
use crate::voter_set::known_directory;
use crate::{Action, LogRead, Token};
use quorate_base::{Offset, ReplicaKey, Time, Uuid};
use quorate_protocol::messages::fetch_request::FetchPartition;
use quorate_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
    SnapshotId,
};
use quorate_protocol::messages::{FetchRequest, FetchResponse};
use quorate_protocol::{AnyResponse, ErrorCode};
use std::time::Duration;

/// No answer carries more than this, whatever was asked for: Kafka's largest batch.
const MAX_BYTES: i32 = 8 * 1024 * 1024;
/// No fetch is parked for longer than this, whatever was asked for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A fetch that waits for something to happen.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    asked: Asked,
    pub deadline: Time,
}

/// What matters of a fetch request.
#[derive(Clone, Debug)]
struct Asked {
    listener: String,
    version: i16,
    replica: Option<ReplicaKey>,
    epoch: i32,
    offset: Offset,
    last_epoch: i32,
    high_watermark: Offset,
    max_bytes: i32,
}

enum Decision {
    Refuse(ErrorCode),
    Snapshot(quorate_base::OffsetAndEpoch),
    Diverging(quorate_base::OffsetAndEpoch),
    Records,
    Nothing,
}

impl Raft {
    pub(crate) fn handle_fetch(
        &mut self,
        cx: &mut Cx,
        token: Token,
        listener: String,
        version: i16,
        request: FetchRequest,
    ) {
        let whole = |error: ErrorCode| {
            AnyResponse::Fetch(FetchResponse { error_code: error.code(), ..Default::default() })
        };
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return respond(cx, token, whole(ErrorCode::InconsistentClusterId));
        }
        // Below version 13 topics have names instead of ids; Kafka's raft layer refuses that too.
        let Some(partition) = only_partition(&request) else {
            return respond(cx, token, whole(ErrorCode::InvalidRequest));
        };
        let id = match request.replica_state.replica_id {
            id if id >= 0 => id,
            _ => request.replica_id,
        };
        let directory_id = known_directory(partition.replica_directory_id);
        let asked = Asked {
            listener,
            version,
            replica: (id >= 0).then_some(ReplicaKey { id, directory_id }),
            epoch: partition.current_leader_epoch,
            offset: partition.fetch_offset,
            last_epoch: partition.last_fetched_epoch,
            high_watermark: partition.high_watermark,
            max_bytes: request.max_bytes.clamp(0, MAX_BYTES),
        };
        let malformed = request.max_wait_ms < 0
            || asked.offset < 0
            || asked.last_epoch < 0
            || asked.epoch < 0
            || asked.last_epoch > asked.epoch;
        if malformed {
            return self.answer_fetch(
                cx,
                token,
                &asked,
                Decision::Refuse(ErrorCode::InvalidRequest),
            );
        }
        let mut decision = self.decide_fetch(&asked);
        if let Some(replica) = asked.replica {
            match decision {
                Decision::Records | Decision::Nothing => {
                    self.note_fetch(cx, replica, asked.offset);
                    // That may have moved the high watermark, or ended this leader's term.
                    decision = self.decide_fetch(&asked);
                }
                Decision::Snapshot(_) | Decision::Diverging(_) => self.note_contact(cx, replica),
                Decision::Refuse(_) => {}
            }
        }
        let known = self.high_watermark_for_answers().unwrap_or(-1);
        let wait = request.max_wait_ms > 0 && asked.high_watermark >= known;
        if wait && matches!(decision, Decision::Nothing) {
            let wait = Duration::from_millis(request.max_wait_ms.unsigned_abs().into());
            let deadline = cx.now.time + wait.min(MAX_WAIT);
            self.parked.insert(token, Parked { asked, deadline });
        } else {
            self.answer_fetch(cx, token, &asked, decision);
        }
    }

    fn decide_fetch(&self, asked: &Asked) -> Decision {
        if let Some(error) = self.leader_only(asked.epoch) {
            return Decision::Refuse(error);
        }
        match self.log.judge(asked.offset, asked.last_epoch) {
            Position::Snapshot(id) => Decision::Snapshot(id),
            Position::Diverging(at) => Decision::Diverging(at),
            Position::Valid if asked.offset < self.log.end().offset => Decision::Records,
            Position::Valid => Decision::Nothing,
        }
    }

    fn answer_fetch(&mut self, cx: &mut Cx, token: Token, asked: &Asked, decision: Decision) {
        let leader = self.leader_for(&asked.listener);
        let mut partition = PartitionData {
            partition_index: 0,
            high_watermark: self.high_watermark_for_answers().unwrap_or(-1),
            log_start_offset: self.log.start(),
            last_stable_offset: -1,
            current_leader: LeaderIdAndEpoch {
                leader_id: leader.id,
                leader_epoch: leader.epoch,
                ..Default::default()
            },
            // Empty, not null: some clients choke on null.
            records: Some(bytes::Bytes::new()),
            ..Default::default()
        };
        let mut read = None;
        match decision {
            Decision::Refuse(error) => {
                partition.error_code = error.code();
                partition.high_watermark = -1;
            }
            Decision::Snapshot(id) => {
                partition.snapshot_id =
                    SnapshotId { end_offset: id.offset, epoch: id.epoch, ..Default::default() };
            }
            Decision::Diverging(at) => {
                partition.diverging_epoch =
                    EpochEndOffset { epoch: at.epoch, end_offset: at.offset, ..Default::default() };
            }
            Decision::Records => {
                read = Some(LogRead {
                    from: asked.offset,
                    max_bytes: asked.max_bytes.unsigned_abs(),
                    end: self.log.end().offset,
                });
            }
            Decision::Nothing => {}
        }
        let node_endpoints = leader.endpoint.filter(|_| asked.version >= 16).map(|(host, port)| {
            NodeEndpoint { node_id: leader.id, host, port: i32::from(port), ..Default::default() }
        });
        let response = FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic: TOPIC.into(),
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![partition],
                ..Default::default()
            }],
            node_endpoints: node_endpoints.into_iter().collect(),
            ..Default::default()
        };
        match read {
            Some(read) => cx.push(Action::RespondFetch { token, response, read }),
            None => respond(cx, token, AnyResponse::Fetch(response)),
        }
    }

    /// Decides again and answers, whatever the decision: nobody is parked twice.
    fn wake(&mut self, cx: &mut Cx, tokens: Vec<Token>) {
        for token in tokens {
            if let Some(parked) = self.parked.remove(&token) {
                let decision = self.decide_fetch(&parked.asked);
                self.answer_fetch(cx, token, &parked.asked, decision);
            }
        }
    }

    /// Records were appended. Voters get them now, as commits wait for them; observers are woken
    /// when the records are committed, and so get both in one answer.
    pub(crate) fn wake_voters(&mut self, cx: &mut Cx) {
        let end = self.log.end().offset;
        let voters = self.voters();
        let is_behind = |p: &Parked| {
            p.asked.offset < end && p.asked.replica.is_some_and(|key| voters.contains(key))
        };
        let tokens =
            self.parked.iter().filter(|(_, p)| is_behind(p)).map(|(token, _)| *token).collect();
        self.wake(cx, tokens);
    }

    pub(crate) fn wake_all(&mut self, cx: &mut Cx) {
        let tokens = self.parked.keys().copied().collect();
        self.wake(cx, tokens);
    }

    pub(crate) fn answer_overdue_fetches(&mut self, cx: &mut Cx) {
        let overdue = |p: &Parked| p.deadline <= cx.now.time;
        let tokens =
            self.parked.iter().filter(|(_, p)| overdue(p)).map(|(token, _)| *token).collect();
        self.wake(cx, tokens);
    }

    /// Leadership is lost: those who wait shall look for the new leader.
    pub(crate) fn answer_all_parked_not_leader(&mut self, cx: &mut Cx) {
        for (token, parked) in std::mem::take(&mut self.parked) {
            let refusal = Decision::Refuse(ErrorCode::NotLeaderOrFollower);
            self.answer_fetch(cx, token, &parked.asked, refusal);
        }
    }

    pub(crate) fn cancel(&mut self, token: Token) {
        self.parked.remove(&token);
        self.cancel_voter_change(token);
    }
}

fn only_partition(request: &FetchRequest) -> Option<&FetchPartition> {
    match request.topics.as_slice() {
        [topic] if topic.topic_id == Uuid::METADATA_TOPIC => match topic.partitions.as_slice() {
            [partition] if partition.partition == 0 => Some(partition),
            _ => None,
        },
        _ => None,
    }
}
