//! The controller: decides requests over images of the metadata, and nothing else.
//!
//! A request is a pure function over a [`Draft`] (the newest image and the records decided so far);
//! [`Controller`] strings those decisions together: it batches records for the log, keeps an image for
//! every append in flight, releases answers once their records are committed, and forgets what was
//! never committed when leadership is lost. Nothing here knows of clocks, sockets, files or threads.
#![forbid(unsafe_code)]

mod activation;
mod authorize;
mod broker_defs;
pub mod cluster_view;
mod config;
mod config_defs;
mod controller;
pub mod decide;
mod dispatch;
mod draft;
mod env;
mod error_response;
mod event;
mod heartbeats;
mod mutation_quota;
mod new_partitions;
pub mod partition_change;
mod periodic;
pub mod placement;
pub mod reassignment;
mod request;
mod size;
mod story;
mod timeline;
mod topic_names;

pub use authorize::AuthorizerConfig;
pub use config::{ControllerConfig, DelegationTokenConfig, OwnRegistration};
pub use controller::Controller;
pub use dispatch::cluster_operation;
pub use draft::{Draft, MAX_RECORDS_PER_BATCH, MAX_RECORDS_PER_USER_OP, Savepoint};
pub use env::{Env, RaftView};
pub use error_response::error_response;
pub use event::{Action, Event, LogLevel};
pub use heartbeats::Heartbeats;
pub use mutation_quota::{MutationLimit, MutationQuotas};
pub use request::{EnvelopeSender, Operation, Principal, RequestContext, Resource, Token};
