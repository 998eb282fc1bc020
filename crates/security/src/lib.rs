//! Who is at the other end: TLS from Kafka's stores, principals from certificates, and the SASL
//! mechanisms, both sides of each. No socket in here: TLS settings become `rustls` configurations,
//! and a SASL mechanism is a state machine that takes a token and gives one.
#![forbid(unsafe_code)]

pub mod dn;
mod jaas;
mod jks;
mod jwks;
mod jwt;
pub mod principal_mapping;
pub mod sasl;
mod secret;
pub mod settings;
pub mod stores;
pub mod tls;

pub use jaas::{Jaas, JaasError};
pub use jwks::KeySet;
pub use jwt::{JwtError, JwtRules, VerifiedJwt};
pub use secret::Secret;
