//! Cluster metadata as one value: the [`Image`], what every metadata record does to it, the difference
//! of two images, and the records that rebuild one (a snapshot).
//!
//! An image is persistent: a clone copies a few pointers and shares everything else, so the controller
//! keeps one for each append in flight and readers keep one as long as they like. Dropping the last
//! clone of a large image takes time: not on a thread that must answer.
#![forbid(unsafe_code)]

mod acls;
mod client_quotas;
mod cluster;
mod configs;
mod delegation_tokens;
mod diff;
mod error;
mod features;
mod image;
mod load;
mod partition;
pub mod pmap;
mod producer_ids;
mod replayer;
mod scram;
mod text;
mod topics;

pub use acls::{Acls, StandardAcl};
pub use client_quotas::{ClientQuotas, QuotaEntity};
pub use cluster::{Broker, Cluster, ControllerRegistration, Listener};
pub use configs::{ConfigResource, ConfigResourceKind, Configs, may_hold_secret};
pub use delegation_tokens::{DelegationToken, DelegationTokens};
pub use diff::ImageDiff;
pub use error::{ApplyError, Contradiction};
pub use features::Features;
pub use image::Image;
pub use load::{LoadError, load_values};
pub use partition::{Partition, PartitionState, RecoveryState};
pub use pmap::Change;
pub use producer_ids::ProducerIds;
pub use replayer::{Replayed, Replayer};
pub use scram::{Scram, ScramCredential, ScramMechanism};
pub use text::Str;
pub use topics::{Topic, Topics};
