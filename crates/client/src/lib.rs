//! A small blocking client over Kafka's protocol: for tests, benches and command-line tools.
//!
//! One [`Connection`] is one socket and one thread's; it negotiates versions once and then sends
//! typed requests. [`Admin`] wraps the requests an administrator needs; [`SimulatedBroker`] plays
//! the part of a broker towards a controller.
#![forbid(unsafe_code)]

mod admin;
mod connection;
mod error;
mod simulated_broker;

pub use admin::{Admin, NewTopic};
pub use connection::{Connection, Options};
pub use error::ClientError;
pub use simulated_broker::SimulatedBroker;
