//! KRaft as a pure state machine (KIP-595, 630, 853, 996, 1166, 1186).
//!
//! [`Raft`] sees the log as offsets and epochs; bytes only pass through it. Whoever drives it feeds
//! [`Event`]s in and executes the [`Action`]s that come out, strictly in order.
#![forbid(unsafe_code)]

mod action;
mod answers;
mod config;
mod describe;
mod epoch_rpcs;
mod event;
mod fetch;
mod follower;
mod leader;
mod log_view;
mod membership;
mod mutant;
mod outcome;
mod peers;
mod quorum;
mod raft;
mod recovery;
mod role;
mod snapshot;
mod transfer;
mod transitions;
mod view;
mod vote;
mod voter_change;
mod voter_set;

pub use action::{Action, LogBatch, LogLevel, LogRead, PeerAddress, SnapshotRead};
pub use config::{Config, ElectionState, LogSummary, Recovered};
pub use event::{Event, PeerRequest, PeerResponse, RpcFailure, RpcId, Token};
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use raft::Raft;
pub use role::Role;
pub use view::{Following, Member, QuorumView};
pub use voter_set::{Endpoint, Voter, VoterSet};
