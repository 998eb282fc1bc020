//! The same requests to Kafka's controller and to ours, and a comparison of all that comes of them:
//! answers, records in the metadata log, the image that these records make.
//!
//! [`Pair`] runs one controller of each kind, formatted alike. A seed is a series of operations
//! ([`generate`]); each is made from the seed, the operation's number and the metadata as it stands,
//! for each side by its own ids. Ids, epochs and times are mapped before answers are compared
//! ([`compare`]); what may differ has its reason in `docs/differences.md`.
#![forbid(unsafe_code)]

pub mod compare;
pub mod generate;
mod lag;
mod log;
mod pair;
mod reset;
mod rules;
mod run;
mod side;

pub use pair::{Difference, Pair};
pub use run::{Options, Outcome, run};
pub use side::Side;
