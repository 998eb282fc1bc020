//! Looks at a metadata log from outside: in a directory that any Kafka from 3.3 on (or Quorate)
//! left behind, or in a running quorum. Nothing that is looked at is changed.
#![forbid(unsafe_code)]

mod live;
mod live_image;
mod stream;

pub use live::{LiveError, LiveLog, LiveOptions, Step};
pub use live_image::{LiveImage, Progress};
pub use stream::{LoadedSnapshot, SnapshotStream};
