//! Kafka's bytes, typed: messages generated from our own schema, record batches, control records, metadata records,
//! errors, feature levels.
//!
//! The messages' layout is that of Apache Kafka (Apache-2.0). Their Rust code under `generated` comes from the text
//! files under `schema`; `cargo xtask codegen` makes it, `cargo xtask verify-schema` compares the schema with
//! Kafka's own published definitions.
#![forbid(unsafe_code)]

pub mod api;
pub mod batch;
pub mod catalogue;
pub mod control;
mod error_code;
pub mod features;
#[rustfmt::skip]
mod generated;
pub mod header;
mod kstr;
mod principal;
mod record;
pub mod wire;

pub use api::{AnyRequest, AnyResponse, ApiKey, controller_listener_apis, is_forwardable};
pub use error_code::ErrorCode;
pub use generated::{messages, records};
pub use kstr::KStr;
pub use principal::Principal;
pub use record::MetadataRecord;
pub use wire::{
    ErrorCodes, Message, Reader, Struct, UnknownTags, WireError, Writer, decode_exact,
    encode_to_bytes,
};
