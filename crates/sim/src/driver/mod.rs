//! The server's glue between node and storage, without its threads.

/// The server's own file: recovery is simulated as it ships.
#[path = "../../../server/src/driver/recovery.rs"]
pub mod recovery;

pub mod core;
pub mod snapshots;
