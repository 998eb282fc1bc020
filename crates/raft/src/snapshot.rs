//! Snapshots (KIP-630): served by a leader, fetched and installed by a follower.

use crate::answers::{TOPIC, respond};
use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::{Download, RoleState};
use crate::voter_set::known_directory;
use crate::{Action, PeerRequest, PeerResponse, RpcFailure, SnapshotRead, Token, VoterSet};
use quorate_base::{OffsetAndEpoch, ReplicaKey};
use quorate_protocol::messages::{
    FetchSnapshotRequest, FetchSnapshotResponse, fetch_snapshot_request as ask,
    fetch_snapshot_response as reply,
};
use quorate_protocol::{AnyResponse, ErrorCode};

impl Raft {
    pub(crate) fn handle_fetch_snapshot(
        &mut self,
        cx: &mut Cx,
        token: Token,
        listener: &str,
        version: i16,
        request: &FetchSnapshotRequest,
    ) {
        let whole = |error: ErrorCode| {
            AnyResponse::FetchSnapshot(FetchSnapshotResponse {
                error_code: error.code(),
                ..Default::default()
            })
        };
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return respond(cx, token, whole(ErrorCode::InconsistentClusterId));
        }
        let (topic, partition) = match request.topics.as_slice() {
            [topic] => match topic.partitions.as_slice() {
                [partition] => (topic, partition),
                _ => return respond(cx, token, whole(ErrorCode::InvalidRequest)),
            },
            _ => return respond(cx, token, whole(ErrorCode::InvalidRequest)),
        };
        let id = OffsetAndEpoch {
            offset: partition.snapshot_id.end_offset,
            epoch: partition.snapshot_id.epoch,
        };
        let error = if topic.name != TOPIC || partition.partition != 0 {
            Some(ErrorCode::UnknownTopicOrPartition)
        } else if let Some(error) = self.leader_only(partition.current_leader_epoch) {
            Some(error)
        } else if !self.log.has_snapshot(id) {
            Some(ErrorCode::SnapshotNotFound)
        } else if partition.position < 0 {
            Some(ErrorCode::PositionOutOfRange)
        } else {
            None
        };
        if error.is_none() && request.replica_id >= 0 {
            let directory_id = known_directory(partition.replica_directory_id);
            self.note_contact(cx, ReplicaKey { id: request.replica_id, directory_id });
        }
        let leader = self.leader_for(listener);
        let node_endpoints = leader.endpoint.filter(|_| version >= 1).map(|(host, port)| {
            reply::NodeEndpoint { node_id: leader.id, host, port, ..Default::default() }
        });
        let answer = reply::PartitionSnapshot {
            index: partition.partition,
            error_code: error.unwrap_or(ErrorCode::None).code(),
            snapshot_id: reply::SnapshotId {
                end_offset: id.offset,
                epoch: id.epoch,
                ..Default::default()
            },
            current_leader: reply::LeaderIdAndEpoch {
                leader_id: leader.id,
                leader_epoch: leader.epoch,
                ..Default::default()
            },
            position: partition.position,
            ..Default::default()
        };
        let response = FetchSnapshotResponse {
            topics: vec![reply::TopicSnapshot {
                name: topic.name.clone(),
                partitions: vec![answer],
                ..Default::default()
            }],
            node_endpoints: node_endpoints.into_iter().collect(),
            ..Default::default()
        };
        if error.is_some() {
            return respond(cx, token, AnyResponse::FetchSnapshot(response));
        }
        let read = SnapshotRead {
            id,
            position: partition.position.unsigned_abs(),
            max_bytes: request.max_bytes.max(0).unsigned_abs().min(8 * 1024 * 1024),
        };
        cx.push(Action::RespondSnapshotChunk { token, response, read });
    }

    /// The leader named a snapshot instead of records.
    pub(crate) fn begin_download(&mut self, id: OffsetAndEpoch) {
        if let RoleState::Follower(state) = &mut self.role {
            state.download = Some(Download { id, position: 0, installing: false });
        }
    }

    pub(crate) fn snapshot_request(&self, download: Download) -> PeerRequest {
        let (replica_id, directory) = self.fetch_name(self.may_acknowledge());
        let partition = ask::PartitionSnapshot {
            partition: 0,
            current_leader_epoch: self.epoch,
            snapshot_id: ask::SnapshotId {
                end_offset: download.id.offset,
                epoch: download.id.epoch,
                ..Default::default()
            },
            position: i64::try_from(download.position).unwrap_or(i64::MAX),
            replica_directory_id: directory,
            ..Default::default()
        };
        PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            replica_id,
            max_bytes: i32::try_from(self.config.fetch_snapshot_max_bytes).unwrap_or(i32::MAX),
            topics: vec![ask::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    pub(crate) fn snapshot_chunk_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        debug_assert_eq!(call.purpose, Purpose::FetchSnapshot);
        let response = match result {
            Ok(PeerResponse::FetchSnapshot(response)) if response.error_code == 0 => response,
            other => return self.refuse_outcome(cx, call, &other),
        };
        let Some(chunk) = response.topics.first().and_then(|t| t.partitions.first()) else {
            return self.refuse_answer(cx, call, "it lacks the partition asked for");
        };
        let leader = chunk.current_leader.leader_id;
        let endpoints = self.endpoints_on_default_listener(
            response
                .node_endpoints
                .iter()
                .filter(|e| e.node_id == leader)
                .map(|e| (e.host.as_str(), e.port)),
        );
        let leader_epoch = chunk.current_leader.leader_epoch;
        // A default (0) epoch is that of an answer without a leader.
        if leader_epoch > 0 && self.learn(cx, leader_epoch, Some(leader), endpoints) {
            return;
        }
        let RoleState::Follower(state) = &mut self.role else {
            return;
        };
        let Some(download) = &mut state.download else {
            return;
        };
        let id = download.id;
        let gone = [ErrorCode::SnapshotNotFound, ErrorCode::PositionOutOfRange]
            .iter()
            .any(|e| e.code() == chunk.error_code);
        // A leader without that snapshot may also answer with an id that none has.
        let unnamed = chunk.error_code == 0
            && (chunk.snapshot_id.end_offset < 0 || chunk.snapshot_id.epoch < 0);
        if gone || unnamed {
            state.download = None;
            cx.push(Action::DiscardSnapshot { id });
            return self.peers.failed(&call.to, cx.now.time);
        }
        let fits = chunk.error_code == 0
            && chunk.snapshot_id.end_offset == id.offset
            && chunk.snapshot_id.epoch == id.epoch
            && u64::try_from(chunk.position) == Ok(download.position);
        let size = u64::try_from(chunk.size).unwrap_or(0);
        let bytes = chunk.unaligned_records.clone();
        let position = download.position;
        let end = position + bytes.len() as u64;
        if !fits || download.installing || end > size || (bytes.is_empty() && end < size) {
            if chunk.error_code != 0 {
                return self.refuse_error(cx, call, chunk.error_code);
            }
            let why = format!(
                "{} bytes at {} of {} of a snapshot were not what was asked for: {id} from {position}",
                bytes.len(),
                chunk.position,
                chunk.size
            );
            return self.refuse_answer(cx, call, &why);
        }
        state.fetch_deadline = cx.now.time + self.config.fetch_timeout;
        state.suspect_at = None;
        download.position = end;
        download.installing = end == size;
        self.peers.succeeded(&call.to);
        cx.push(Action::WriteSnapshotChunk { id, position, bytes });
        if end == size {
            self.installing = Some(id);
            cx.push(Action::InstallSnapshot { id });
        }
    }

    pub(crate) fn snapshot_installed(
        &mut self,
        cx: &mut Cx,
        id: OffsetAndEpoch,
        voters: Option<VoterSet>,
        kraft_version: u16,
    ) {
        let known = self.high_watermark.unwrap_or(0);
        assert!(id.offset >= known, "a snapshot at {id} is behind the high watermark {known}");
        assert!(!self.is_leader(), "a leader does not install snapshots");
        self.installing = None;
        self.log.reset_to(id);
        self.history.reset(id.offset, voters, kraft_version);
        if let RoleState::Follower(state) = &mut self.role {
            state.download = None;
        }
        if self.high_watermark.is_none_or(|hw| hw < id.offset) {
            self.high_watermark = Some(id.offset);
            cx.push(Action::HighWatermark { offset: id.offset });
        }
    }

    pub(crate) fn snapshot_rejected(&mut self, cx: &mut Cx, id: OffsetAndEpoch) {
        if self.installing == Some(id) {
            self.installing = None;
        }
        if let RoleState::Follower(state) = &mut self.role
            && state.download.is_some_and(|d| d.id == id)
        {
            state.download = None;
            if let Some(to) = self.known_leader().and_then(|l| self.leader_address(l)) {
                self.peers.failed(&to, cx.now.time);
            }
        }
    }
}
