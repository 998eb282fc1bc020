//! What every crate shares and none owns: ids, time, seeded randomness, UUIDs.
//!
//! Nothing here knows of Kafka's bytes, and nothing here reads a clock: time is always handed in.
#![forbid(unsafe_code)]

mod calendar;
mod ids;
mod prng;
mod time;
mod uuid;

pub use calendar::UtcDate;
pub use ids::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey};
pub use prng::Prng;
pub use time::{Now, Time};
pub use uuid::{ParseUuidError, Uuid};
