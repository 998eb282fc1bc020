//! The deterministic simulator: whole quorums of the [`quorate_node::Node`] that ships, over the storage
//! code that ships, in one thread, with simulated clock, network and disks. Everything comes from one
//! seed; the same seed gives the same run.
//!
//! A run has two phases. In the first, faults: crashes between any two actions and within disk
//! operations, lost and torn writes, partitions, slow and lost messages, pauses, clock jumps, changes of
//! the voter set, snapshots. Then everything heals, and within bounded time everybody must be answered.
//! [`invariants`] are checked after every event of both.
#![forbid(unsafe_code)]

pub mod clients;
mod disk;
pub mod invariants;
mod mutant;
pub mod nemesis;
mod options;
mod run;
mod trace;
mod world;

pub use mutant::Mutant;
pub use options::{Options, Voters};
pub use run::{Failure, Outcome, run};
pub use trace::COLUMNS;
