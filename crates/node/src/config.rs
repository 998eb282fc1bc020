use quorate_base::OffsetAndEpoch;
use quorate_controller::ControllerConfig;
use quorate_metadata::Image;
use std::time::Duration;

/// The static side of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Raft's part.
    pub raft: quorate_raft::Config,
    /// The controller's part.
    pub controller: ControllerConfig,
    /// When snapshots are written.
    pub snapshots: SnapshotPolicy,
    /// About how much of the log's end is kept in memory.
    pub tail_max_bytes: usize,
}

/// When a snapshot is due: whichever comes first, and only if there is something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotPolicy {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub max_bytes_between: u64,
    /// `metadata.log.max.snapshot.interval.ms`; zero turns snapshots by time off.
    pub max_interval: Duration,
}

impl Default for SnapshotPolicy {
    /// Kafka's defaults: 20 MiB, one hour.
    fn default() -> Self {
        SnapshotPolicy {
            max_bytes_between: 20 * 1024 * 1024,
            max_interval: Duration::from_secs(3600),
        }
    }
}

/// What the disk said at start, beside what raft needs to know.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Raft's part.
    pub raft: quorate_raft::Recovered,
    /// The newest snapshot's state; [`Image::empty`] if there is none.
    pub image: Image,
    /// The newest snapshot's id; zero if there is none.
    pub image_id: OffsetAndEpoch,
    /// `LastContainedLogTimestamp` of that snapshot.
    pub image_timestamp_ms: i64,
    /// Bytes of log after that snapshot: what counts towards the next one.
    pub log_bytes_since_image: u64,
}

impl Recovered {
    /// An empty disk.
    pub fn nothing() -> Recovered {
        Recovered {
            raft: quorate_raft::Recovered::default(),
            image: Image::empty(),
            image_id: OffsetAndEpoch::default(),
            image_timestamp_ms: 0,
            log_bytes_since_image: 0,
        }
    }
}
