//! The decisions, one subject a file: `fn(env, draft, context, request) -> response`.
//!
//! A decision reads `draft.image()`, pushes the records that carry it out, and returns the answer that
//! is sent once those records are committed. It never appends, waits or reads a clock.

pub mod acls;
pub mod api_versions;
pub mod broker_changes;
pub mod brokers;
pub mod config_checks;
pub mod configs;
pub mod controllers;
pub mod describe_configs;
pub mod directories;
pub mod effective_configs;
pub mod elections;
pub mod features;
pub mod isr;
mod names;
pub mod partitions;
pub mod producers;
pub mod quotas;
pub mod reassign;
pub mod refusal;
pub mod scram;
pub mod tokens;
pub mod topics;
