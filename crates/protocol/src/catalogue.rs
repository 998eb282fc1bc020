//! All messages by name: for tools that show bytes, and for tests that go over everything.

use crate::wire::{Message, Reader, WireError, Writer, decode_exact};
use bytes::Bytes;
use std::ops::RangeInclusive;

pub use crate::generated::catalogue::MESSAGES;

/// One message type.
pub struct MessageInfo {
    /// Kafka's name.
    pub name: &'static str,
    /// The versions that can be read and written.
    pub versions: RangeInclusive<i16>,
    /// Decodes exactly these bytes and encodes the result again.
    pub transcode: fn(Bytes, i16) -> Result<Bytes, WireError>,
    /// Decodes exactly these bytes and shows the result.
    pub describe: fn(Bytes, i16) -> Result<String, WireError>,
    /// The bytes of the message with all defaults.
    pub encode_default: fn(i16) -> Result<Bytes, WireError>,
    /// The fewest bytes the message takes.
    pub min_size: fn(i16) -> usize,
}

/// The message type of that name.
pub fn find(name: &str) -> Option<&'static MessageInfo> {
    let at = MESSAGES.binary_search_by(|info| info.name.cmp(name)).ok()?;
    MESSAGES.get(at)
}

pub(crate) const fn info<M: Message + std::fmt::Debug>() -> MessageInfo {
    MessageInfo {
        name: M::NAME,
        versions: M::VERSIONS,
        transcode: transcode::<M>,
        describe: describe::<M>,
        encode_default: encode_default::<M>,
        min_size: M::min_size,
    }
}

fn transcode<M: Message>(bytes: Bytes, version: i16) -> Result<Bytes, WireError> {
    let mut r = Reader::new(bytes);
    let message = M::decode(&mut r, version)?;
    r.finish()?;
    let mut w = Writer::new();
    message.encode(&mut w, version)?;
    Ok(w.into_bytes())
}

fn describe<M: Message + std::fmt::Debug>(bytes: Bytes, version: i16) -> Result<String, WireError> {
    decode_exact::<M>(bytes, version).map(|message| format!("{message:?}"))
}

fn encode_default<M: Message>(version: i16) -> Result<Bytes, WireError> {
    crate::wire::encode_to_bytes(&M::default(), version)
}
