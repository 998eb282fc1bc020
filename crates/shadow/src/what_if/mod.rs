//! What a change would do: the decisions that a controller would make, on a copy of the image.

mod controllers;
mod decommission;
mod fence;
mod upgrade;

pub use controllers::{StopController, VoterLag, stop_controller};
pub use decommission::{Decommission, Move, Unplaceable, brokers_named, decommission};
pub use fence::{Fence, fence};
pub use upgrade::{Blocker, Upgrade, upgrade};

use quorate_base::NodeId;
use quorate_metadata::Image;
use std::fmt;

/// A question that cannot be answered as it was put.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misasked(pub String);

/// A partition by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Named {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

fn named(image: &Image, key: (quorate_base::Uuid, i32)) -> Named {
    let topic = image.topics.by_id(key.0).map(|it| it.name.to_string()).unwrap_or_default();
    Named { topic, partition: key.1 }
}

/// All of these must be registered brokers.
fn check_registered(image: &Image, brokers: &[NodeId]) -> Result<(), Misasked> {
    let unknown: Vec<NodeId> =
        brokers.iter().copied().filter(|id| image.cluster.broker(*id).is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: Vec<NodeId> = image.cluster.brokers().map(|it| it.id).collect();
    Err(Misasked(format!("no broker is registered as {unknown:?}; there are {known:?}")))
}
