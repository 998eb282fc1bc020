//! What a voter must not forget: epoch, vote and leader, kept in two homes.
//!
//! The first is `quorum-state`, as Kafka writes it, version 0 (`kraft.version` 0) or 1. The second
//! is `quorate.vote` in the root of the log directory: some start scripts delete `quorum-state` on
//! every start, which is harmless only for a process that is slower to return than an election. At
//! start the larger (epoch, vote) wins. Both are durable before an answer leaves.

use crate::disk::{Disk, read_text, replace_file};
use crate::error::StorageError;
use quorate_base::{Epoch, NodeId, ReplicaKey, Uuid};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Kafka's file, in `__cluster_metadata-0`.
pub const QUORUM_STATE: &str = "quorum-state";
/// Our own, in the root of the log directory.
pub const VOTE: &str = "quorate.vote";

/// The durable part of an election.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ElectionState {
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// Leader of that epoch, once known.
    pub leader_id: Option<NodeId>,
    /// Who got this node's vote in that epoch.
    pub voted: Option<ReplicaKey>,
    /// The static voters; empty where they are dynamic. Only in files of version 0.
    pub voters: Vec<NodeId>,
    /// The node started on an empty disk and does not know yet whether it has forgotten promises: it
    /// does not vote. Only our own file holds it.
    pub recovering: bool,
}

/// Layout of `quorum-state`; it follows the finalised `kraft.version`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuorumStateVersion {
    /// `kraft.version` 0: static voters, votes without directory ids.
    V0,
    /// `kraft.version` 1 and later.
    V1,
}

/// Both homes of one directory.
#[derive(Debug)]
pub struct VoteStore {
    disk: Arc<dyn Disk>,
    quorum_state: PathBuf,
    vote: PathBuf,
}

impl VoteStore {
    /// The homes under `root` (the log directory) and `metadata_dir` (`__cluster_metadata-0`).
    pub fn new(disk: Arc<dyn Disk>, root: &Path, metadata_dir: &Path) -> VoteStore {
        VoteStore { disk, quorum_state: metadata_dir.join(QUORUM_STATE), vote: root.join(VOTE) }
    }

    /// The larger of what the two homes say; `None` if neither exists. A home that cannot be read
    /// stops the start: guessing could vote twice.
    pub fn load(&self) -> Result<Option<ElectionState>, StorageError> {
        let bad = |file: &Path, why: &str| StorageError::BadFile {
            file: file.to_owned(),
            why: format!(
                "{why}. It holds this node's vote: remove it only if the other file ({} or {}) \
                 is there and whole, or replace this node's directory",
                self.quorum_state.display(),
                self.vote.display()
            ),
        };
        let kafka = read_text(self.disk.as_ref(), &self.quorum_state)?
            .map(|text| parse_quorum_state(&text))
            .transpose()
            .map_err(|why| bad(&self.quorum_state, &why))?;
        let own = read_text(self.disk.as_ref(), &self.vote)?
            .map(|text| parse_vote(&text))
            .transpose()
            .map_err(|why| bad(&self.vote, &why))?;
        Ok(match (kafka, own) {
            (Some(kafka), Some(own)) => Some(larger(kafka, own)),
            (kafka, own) => kafka.or(own),
        })
    }

    /// Writes both homes, durably. Only after this may an answer that depends on it leave.
    pub fn save(
        &self,
        state: &ElectionState,
        version: QuorumStateVersion,
    ) -> Result<(), StorageError> {
        replace_file(self.disk.as_ref(), &self.vote, vote_text(state).as_bytes())?;
        let text = quorum_state_text(state, version);
        replace_file(self.disk.as_ref(), &self.quorum_state, text.as_bytes())
    }
}

/// The later of two states; of one epoch, what either knows. Where both know a vote in the same
/// epoch, our own file's counts: only we write it, and any vote at all forbids another.
fn larger(kafka: ElectionState, own: ElectionState) -> ElectionState {
    if kafka.epoch != own.epoch {
        let recovering = own.recovering;
        let later = if kafka.epoch > own.epoch { kafka } else { own };
        return ElectionState { recovering, ..later };
    }
    // Version 0 of Kafka's file drops the directory; ours has it.
    ElectionState {
        epoch: own.epoch,
        leader_id: own.leader_id.or(kafka.leader_id),
        voted: own.voted.or(kafka.voted),
        voters: kafka.voters,
        recovering: own.recovering,
    }
}

/// The line Kafka writes, without a line end.
pub fn quorum_state_text(state: &ElectionState, version: QuorumStateVersion) -> String {
    let leader_id = state.leader_id.unwrap_or(-1);
    let epoch = state.epoch;
    let voted_id = state.voted.map_or(-1, |voted| voted.id);
    match version {
        QuorumStateVersion::V0 => {
            let voters: Vec<_> =
                state.voters.iter().map(|id| format!("{{\"voterId\":{id}}}")).collect();
            format!(
                "{{\"clusterId\":\"\",\"leaderId\":{leader_id},\"leaderEpoch\":{epoch},\
                 \"votedId\":{voted_id},\"appliedOffset\":0,\"currentVoters\":[{}],\
                 \"data_version\":0}}",
                voters.join(",")
            )
        }
        QuorumStateVersion::V1 => {
            let directory = state.voted.and_then(|voted| voted.directory_id).unwrap_or(Uuid::ZERO);
            format!(
                "{{\"leaderId\":{leader_id},\"leaderEpoch\":{epoch},\"votedId\":{voted_id},\
                 \"votedDirectoryId\":\"{directory}\",\"data_version\":1}}"
            )
        }
    }
}

/// Reads either version.
pub fn parse_quorum_state(text: &str) -> Result<ElectionState, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON ({error})"))?;
    let version = int(&json, "data_version")?;
    let voters = match version {
        0 => match json.get("currentVoters") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => {
                list.iter().map(|voter| int(voter, "voterId")).collect::<Result<_, _>>()?
            }
            Some(_) => return Err("currentVoters is not a list".to_owned()),
        },
        1 => Vec::new(),
        _ => return Err(format!("data_version {version} is not known; a later Kafka wrote it")),
    };
    Ok(ElectionState { recovering: false, ..state(&json, voters)? })
}

fn state(json: &Value, voters: Vec<NodeId>) -> Result<ElectionState, String> {
    let epoch = int(json, "leaderEpoch")?;
    if epoch < 0 {
        return Err(format!("leaderEpoch {epoch} is negative"));
    }
    let known = |id: i32| (id >= 0).then_some(id);
    let directory = match json.get("votedDirectoryId") {
        None => Uuid::ZERO,
        Some(Value::String(text)) => text.parse::<Uuid>().map_err(|error| error.to_string())?,
        Some(_) => return Err("votedDirectoryId is not a text".to_owned()),
    };
    let directory_id = (!directory.is_zero()).then_some(directory);
    Ok(ElectionState {
        epoch,
        leader_id: known(int(json, "leaderId")?),
        voted: known(int(json, "votedId")?).map(|id| ReplicaKey { id, directory_id }),
        voters,
        recovering: json.get("recovering") == Some(&Value::Bool(true)),
    })
}

fn int(json: &Value, name: &str) -> Result<i32, String> {
    let value = json.get(name).and_then(Value::as_i64);
    value.and_then(|value| i32::try_from(value).ok()).ok_or(format!("{name} is not an int32"))
}

fn vote_text(state: &ElectionState) -> String {
    let fields = vote_fields(state);
    format!("{{{fields},\"crc\":{}}}\n", crc32c::crc32c(fields.as_bytes()))
}

fn vote_fields(state: &ElectionState) -> String {
    format!(
        "\"version\":1,\"leaderEpoch\":{},\"leaderId\":{},\"votedId\":{},\
         \"votedDirectoryId\":\"{}\"{}",
        state.epoch,
        state.leader_id.unwrap_or(-1),
        state.voted.map_or(-1, |voted| voted.id),
        state.voted.and_then(|voted| voted.directory_id).unwrap_or(Uuid::ZERO),
        if state.recovering { ",\"recovering\":true" } else { "" },
    )
}

/// Reads our own file.
pub fn parse_vote(text: &str) -> Result<ElectionState, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON ({error})"))?;
    let version = int(&json, "version")?;
    if version != 1 {
        return Err(format!("version {version} is not known; a later Quorate wrote it"));
    }
    let state = state(&json, Vec::new())?;
    let crc = crc32c::crc32c(vote_fields(&state).as_bytes());
    if json.get("crc").and_then(Value::as_u64) != Some(u64::from(crc)) {
        return Err("its checksum does not match".to_owned());
    }
    Ok(state)
}
