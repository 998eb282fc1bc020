//! What a controller process *is*, without the process: raft and controller put together.
//!
//! [`Node`] routes requests, turns the controller's records into batches at raft's log end, keeps the
//! newest part of the log in memory, feeds what is committed to the controller, and decides when a
//! snapshot is due. The server and the simulator drive this same value.
#![forbid(unsafe_code)]

mod action;
mod commit;
mod config;
mod event;
mod node;
mod registration;
mod tail;
mod view;

pub use action::{Action, LogAppend, LogLevel, PeerAddress};
pub use config::{NodeConfig, Recovered, SnapshotPolicy};
pub use event::{Event, RpcId, Token};
pub use node::{Node, Status};
pub use quorate_raft::RpcFailure;
pub use view::QuorumView;
