//! Both homes of the vote, as raft speaks of it.

use quorate_raft::ElectionState;
use quorate_storage::{QuorumStateVersion, StorageError, VoteStore};

/// Makes promises durable before they are answered.
pub trait ElectionStore: Send {
    /// Writes and syncs both homes of the vote.
    fn save(&mut self, state: &ElectionState) -> Result<(), StorageError>;
}

/// The vote files of an open directory.
#[derive(Debug)]
pub struct Votes(pub VoteStore);

impl ElectionStore for Votes {
    fn save(&mut self, state: &ElectionState) -> Result<(), StorageError> {
        let version = match state.data_version {
            0 => QuorumStateVersion::V0,
            _ => QuorumStateVersion::V1,
        };
        let state = quorate_storage::ElectionState {
            epoch: state.epoch,
            leader_id: state.leader,
            voted: state.voted,
            voters: state.voters.clone(),
            recovering: state.recovering,
        };
        self.0.save(&state, version)
    }
}

/// What was promised before; nothing on a new directory.
pub(crate) fn promise(election: &quorate_storage::ElectionState) -> Option<ElectionState> {
    if *election == quorate_storage::ElectionState::default() {
        return None;
    }
    let data_version = u16::from(election.voters.is_empty());
    Some(ElectionState {
        epoch: election.epoch,
        leader: election.leader_id,
        voted: election.voted,
        voters: election.voters.clone(),
        data_version,
        recovering: election.recovering,
    })
}
