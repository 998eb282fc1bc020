//! What every driver of a node does around it on its disk, without the driver's threads: reading an open
//! directory, the disk thread's and the snapshot thread's jobs, and completing answers with bytes
//! from disk. The server gives each its thread; the simulator calls the same code.
#![forbid(unsafe_code)]

mod answers;
mod log;
mod recover;
mod snapshots;
mod votes;

pub use answers::{Fill, LogSource, fill, read_log, read_snapshot};
pub use log::{Retained, append, cut, retain, sync};
pub use recover::recover;
pub use snapshots::{InstallError, LoadedSnapshot, SnapshotDesk, SnapshotJob, load_snapshot};
pub use votes::{ElectionStore, Votes};
