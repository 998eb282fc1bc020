//! The threads around a node: one decides, one syncs, one writes snapshots, a few answer.

pub mod clock;
pub mod core;
pub mod disk;
pub mod meter;
pub mod queue;
mod slow_events;
pub mod snapshots;
pub mod source;
pub mod writings;
