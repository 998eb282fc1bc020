//! A harness that runs real Apache Kafka against our built binary.
//!
//! A [`Cluster`] is one controller, ours or Kafka's own, and brokers of one Kafka version, all on
//! loopback in a folder of their own. Everything a test starts ends with the test, even when the
//! test process itself is killed. The same tests run with `Controller::Java`: Kafka is the oracle.
//!
//! Jars are looked up in the cache that `cargo xtask fetch-kafka` fills; nothing is downloaded here.
#![forbid(unsafe_code)]

mod binary;
mod cluster;
mod dumps;
mod failure;
mod guide;
mod hand_over;
mod image_hash;
mod kafka;
mod leader_loss;
mod ledger;
mod log_scan;
mod netns;
mod node;
mod ports;
mod process;
mod quorum;
mod quorum_traffic;
mod quorum_view;
mod setup;
mod simulated;
mod takeover;
mod takeover_load;
mod tools;
mod view;
mod wait;
mod workdir;

pub use binary::quorate_binary;
pub use cluster::{Cluster, ClusterBuilder, Controller, STOP_DEADLINE};
pub use failure::{Failure, Outcome};
pub use guide::run_guide;
pub use image_hash::{ImageHash, http_get};
pub use kafka::{KafkaVersion, Tool};
pub use leader_loss::{Loss, Losses, drill_rounds};
pub use ledger::Ledger;
pub use log_scan::scan_log;
pub use netns::Net;
pub use node::{Node, Place};
pub use ports::free_port;
pub use process::{Process, remove_when_killed};
pub use quorum::{Quorum, QuorumBuilder};
pub use quorum_traffic::{Creates, FollowingBrokers, each_exactly_once, none_twice};
pub use quorum_view::{CommonLog, EpochWatch};
pub use rustix::process::Signal;
pub use simulated::SimulatedBrokers;
pub use takeover::{Road, Summary, Takeover, runbook};
pub use takeover_load::{Counts, Pauses};
pub use tools::{RunningTool, ToolOutput};
pub use view::{PartitionView, TopicView};
pub use wait::{DEADLINE, wait_for};
pub use workdir::WorkDir;
