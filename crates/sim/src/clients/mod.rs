//! Those who use the quorum: brokers and administrators, as models.

mod admin;
mod broker;
mod oracle;
mod replica;

pub use admin::Admin;
pub use broker::Broker;
