//! Looks at a metadata log from outside: in a directory that any Kafka from 3.3 on (or Quorate)
//! left behind, or in a running quorum. Nothing that is looked at is changed, but by
//! [`recover::execute`].
#![forbid(unsafe_code)]

mod advice;
mod companions;
mod compare;
mod files;
mod finding;
pub mod history;
mod live;
mod live_image;
mod log;
pub mod recover;
mod report;
mod snapshots;
mod stream;
mod survey;
mod vote;
mod voters;

pub use advice::Text;
pub use compare::{CompareError, Difference, Source, differences, load_pair};
pub use finding::{BatchFile, Finding, Kind, Place, Severity};
pub use live::{LiveError, LiveLog, LiveOptions, Step};
pub use live_image::{LiveImage, Progress};
pub use log::{ImageAt, LeaderAt, LogState, SegmentState};
pub use snapshots::SnapshotState;
pub use stream::{LoadedSnapshot, SnapshotStream};
pub use survey::{RootState, Survey, SurveyOptions, survey};
pub use vote::VoteState;
pub use voters::{VotersAt, voter_ids};
