//! One look at everything, so that the numbers of a page belong together.

use super::files::FileFacts;
use super::process::ProcessStats;
use crate::driver::meter::CoreView;
use crate::http::health::{self, Standby};
use crate::telemetry::Telemetry;
use quorate_base::{NodeId, Now, Offset, OffsetAndEpoch};
use quorate_metadata::{Broker, Image};
use std::sync::Arc;
use std::time::Duration;

/// What the rows of the table take their values from.
pub struct Sample {
    /// This node's id.
    pub node_id: NodeId,
    /// When the sample was taken.
    pub now: Now,
    /// Time since the process's clock started.
    pub uptime: Duration,
    /// What the process counts.
    pub telemetry: Arc<Telemetry>,
    /// The node as the core thread last saw it; nothing while the process starts.
    pub view: Option<Arc<CoreView>>,
    /// The committed metadata.
    pub image: Image,
    /// One past the last record in it.
    pub applied: Offset,
    /// Brokers by what they are doing.
    pub brokers: Brokers,
    /// Whether `controller.quorum.voters` is set.
    pub has_static_voters: bool,
    /// Requests that wait for the core thread.
    pub waiting_requests: usize,
    /// What the system says.
    pub process: ProcessStats,
    /// What the log directory says.
    pub files: FileFacts,
    /// When the process started, in milliseconds since 1970.
    pub started_ms: i64,
    /// The newest content hash, with its offset.
    pub hash: Option<(Offset, u64)>,
    /// The newest snapshot as far as this process knows it.
    pub snapshot: Option<SnapshotFacts>,
    /// On the leader: who is in step, and what may stop.
    pub standbys: Option<Vec<Standby>>,
    /// Why this node is not ready; nothing if it is.
    pub not_ready: Option<String>,
}

/// A snapshot in the directory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: OffsetAndEpoch,
    /// Age of what is in it, in seconds.
    pub age_seconds: f64,
}

/// Brokers by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// Registered and not fenced.
    pub active: usize,
    /// Fenced.
    pub fenced: usize,
    /// Shutting down in an orderly way.
    pub in_controlled_shutdown: usize,
}

impl Brokers {
    /// Counts them.
    pub fn of(image: &Image) -> Brokers {
        let mut brokers = Brokers::default();
        for broker in image.cluster.brokers() {
            if broker.fenced {
                brokers.fenced += 1;
            } else {
                brokers.active += 1;
            }
            brokers.in_controlled_shutdown += usize::from(broker.in_controlled_shutdown);
        }
        brokers
    }
}

/// A broker's state as Kafka numbers it.
pub fn registration_state(broker: &Broker) -> f64 {
    if broker.fenced {
        10.0
    } else if broker.in_controlled_shutdown {
        20.0
    } else {
        30.0
    }
}

impl Sample {
    /// Whether this node decides requests.
    pub fn is_active(&self) -> bool {
        self.view.as_ref().is_some_and(|it| it.node.status.active)
    }

    /// One past the newest record in this node's state: on the active controller the newest at all.
    pub fn applied_end(&self) -> Offset {
        let newest = self.view.as_ref().map_or(0, |view| match view.node.status.active {
            true => view.node.status.log_end,
            false => view.node.status.applied,
        });
        newest.max(self.applied)
    }

    /// Milliseconds since the newest applied record was written.
    pub fn applied_lag_ms(&self) -> Option<f64> {
        let timestamp = self.view.as_ref()?.node.applied_timestamp_ms;
        (timestamp > 0).then(|| (self.now.wall_ms - timestamp).max(0) as f64)
    }

    /// How many of the caught-up voters could fail before the quorum is lost; on the leader.
    pub fn spare_voters(&self) -> Option<i64> {
        let standbys = self.standbys.as_ref()?;
        Some(health::spare(standbys))
    }
}
