//! The process around the core: configuration, sockets, threads, disk, signals.
//!
//! Everything here acts; every decision is made in `quorate-node`.
#![forbid(unsafe_code)]

pub mod audit;
pub mod config;
pub mod driver;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod net;
mod node_config;
pub mod random;
pub mod run;
pub mod telemetry;
