//! The encodings under all messages: numbers, strings, arrays, tagged fields.
//!
//! Reading is total: any bytes give a value or a [`WireError`], and nothing is allocated that the bytes
//! received do not pay for. What is accepted and refused follows Kafka's own serialisers, except that text
//! must be UTF-8 (Kafka replaces what is not).

mod error;
mod reader;
mod tags;
mod writer;

pub use error::WireError;
pub use reader::Reader;
pub use tags::UnknownTags;
pub use writer::Writer;

use bytes::Bytes;
use std::ops::RangeInclusive;

/// What generated code imports.
pub(crate) mod prelude {
    pub use super::error::unsupported;
    pub use super::{
        ErrorCodes, Message, Reader, Struct, UnknownTags, WireError, Writer, decode_exact,
    };
    pub use crate::KStr;
    pub use bytes::Bytes;
    pub use quorate_base::Uuid;
    pub use std::ops::RangeInclusive;
}

/// A struct inside some message; its version is the message's.
pub trait Struct: Sized + Default + PartialEq {
    /// The fewest bytes a value takes at a version of the message.
    fn min_size(version: i16) -> usize;

    /// Reads one value. `version` must be one of the message's.
    fn read(r: &mut Reader, version: i16) -> Result<Self, WireError>;

    /// Writes the value. `version` must be one of the message's.
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), WireError>;
}

/// A whole message.
pub trait Message: Struct {
    /// Kafka's name of the message.
    const NAME: &'static str;
    /// The versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;

    /// Reads one message and leaves what follows it.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        check_version::<Self>(version)?;
        Self::read(r, version)
    }

    /// Writes the message. Fails if a set field does not exist at this version, or a field is null where it
    /// must not be; the writer then holds a partial message.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {
        check_version::<Self>(version)?;
        self.write(w, version)
    }
}

/// A struct with error codes in it, at any depth.
pub trait ErrorCodes {
    /// Appends every error code, zeros included.
    fn error_codes(&self, out: &mut Vec<i16>);
}

fn check_version<M: Message>(version: i16) -> Result<(), WireError> {
    if M::VERSIONS.contains(&version) {
        Ok(())
    } else {
        Err(WireError::UnsupportedVersion { message: M::NAME, version })
    }
}

/// Decodes a message that must take all of `bytes`.
pub fn decode_exact<M: Message>(bytes: Bytes, version: i16) -> Result<M, WireError> {
    let mut r = Reader::new(bytes);
    let message = M::decode(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

/// The message's bytes.
pub fn encode_to_bytes<M: Message>(message: &M, version: i16) -> Result<Bytes, WireError> {
    let mut w = Writer::new();
    message.encode(&mut w, version)?;
    Ok(w.into_bytes())
}

#[cfg(test)]
mod tests;
