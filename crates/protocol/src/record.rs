use crate::wire::{Reader, WireError, Writer};
use bytes::Bytes;

pub use crate::generated::record::MetadataRecord;

/// The frame around every metadata record: frame version, record type and record version, each an unsigned
/// varint, then the record's body up to the end of the value.
const FRAME_VERSION: u32 = 1;

impl MetadataRecord {
    /// Decodes the value of a data record of the metadata log; gives the record and its version.
    /// The value must end with the record, and the type must be known: Kafka refuses both otherwise.
    pub fn decode_framed(value: Bytes) -> Result<(MetadataRecord, i16), WireError> {
        let mut r = Reader::new(value);
        let frame = r.uvarint()?;
        if frame != FRAME_VERSION {
            return Err(WireError::UnknownFrame(frame));
        }
        let key = r.uvarint()?;
        let version = r.uvarint()?;
        let version = i16::try_from(version).map_err(|_| WireError::BadLength(version.into()))?;
        let record = MetadataRecord::read_body(key, &mut r, version)?;
        r.finish()?;
        Ok((record, version))
    }

    /// The value of a data record of the metadata log.
    pub fn encode_framed(&self, version: i16) -> Result<Bytes, WireError> {
        let mut w = Writer::new();
        self.write_framed(&mut w, version)?;
        Ok(w.into_bytes())
    }

    /// Appends what [`MetadataRecord::encode_framed`] gives.
    pub fn write_framed(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {
        w.uvarint(FRAME_VERSION);
        w.uvarint(self.key());
        // A negative version is refused below.
        w.uvarint(u32::from(version.unsigned_abs()));
        self.write_body(w, version)
    }
}
