//! Beside a running quorum: a copy of its log that follows for ever, the image made from it, and what can be
//! asked of both. Is the image what Java's checkpoints say, record by record ([`compare`])? Would our rules
//! have decided as was decided ([`redecide`])? What would a change do ([`what_if`])? What does a restored
//! cluster look like ([`restore`])?
#![forbid(unsafe_code)]

pub mod compare;
mod error;
mod follow;
mod mirror;
mod record_key;
pub mod redecide;
mod replica;
pub mod restore;

mod source;
pub mod what_if;

pub use error::ShadowError;
pub(crate) use error::storage_at;
pub use follow::{ColdStart, Compared, Damaged, Keep, Shadow, cold_start};
pub use mirror::{Mirror, Step, mirrored_cluster};
pub use record_key::RecordKey;
pub use replica::{Applied, Replica, load_snapshot};
pub use source::{Fetched, Leader, Source};
