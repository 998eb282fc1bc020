//! What the server's recovery code needs of the server's core thread.

use quorate_raft::ElectionState;
use quorate_storage::StorageError;

/// Makes promises durable before they are answered.
pub trait ElectionStore {
    /// Writes and syncs both homes of the vote.
    fn save(&mut self, state: &ElectionState) -> Result<(), StorageError>;
}
