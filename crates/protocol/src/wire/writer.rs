use super::reader::MAX_STRING_BYTES;
use super::{Struct, UnknownTags, WireError};
use crate::KStr;
use bytes::Bytes;
use quorate_base::Uuid;

/// Byte fields from this size on are passed on as they are instead of being copied.
const SHARED_FROM_BYTES: usize = 4096;

/// Collects the bytes of a message. Large byte fields (record data) are not copied: they become chunks of their
/// own, for a vectored write.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
    /// What comes before `buf`.
    chunks: Vec<Bytes>,
    chunks_len: usize,
    /// Depth of tagged sections: their sizes are patched in afterwards, so within them all is copied.
    in_tags: u32,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.chunks_len + self.buf.len()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one piece; copies only if a large byte field was written.
    pub fn into_bytes(self) -> Bytes {
        if self.chunks.is_empty() {
            return Bytes::from(self.buf);
        }
        let mut all = Vec::with_capacity(self.len());
        for chunk in &self.chunks {
            all.extend_from_slice(chunk);
        }
        all.extend_from_slice(&self.buf);
        Bytes::from(all)
    }

    /// All bytes in order, in the pieces they are in.
    pub fn into_chunks(mut self) -> Vec<Bytes> {
        if !self.buf.is_empty() {
            self.chunks.push(Bytes::from(self.buf));
        }
        self.chunks
    }

    /// Bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Bytes without a length, not copied if they are many.
    pub fn raw_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_FROM_BYTES || self.in_tags > 0 {
            self.raw(bytes);
            return;
        }
        if !self.buf.is_empty() {
            let before = Bytes::from(std::mem::take(&mut self.buf));
            self.chunks_len += before.len();
            self.chunks.push(before);
        }
        self.chunks_len += bytes.len();
        self.chunks.push(bytes.clone());
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.buf.push(value);
    }

    /// Kafka's bool.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// int8.
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// int16, big-endian.
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// uint16, big-endian.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// int32, big-endian.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// uint32, big-endian.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// int64, big-endian.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// float64, big-endian.
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_be_bytes());
    }

    /// 16 bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.0);
    }

    /// Unsigned varint.
    pub fn uvarint(&mut self, value: u32) {
        push_varint(&mut self.buf, u64::from(value));
    }

    /// Zigzag varint.
    pub fn varint(&mut self, value: i32) {
        self.uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// Zigzag varint of 64 bits.
    pub fn varlong(&mut self, value: i64) {
        push_varint(&mut self.buf, ((value << 1) ^ (value >> 63)) as u64);
    }

    /// A length of bytes or elements: varint of length + 1 in the flexible encoding, else an int32.
    fn length(&mut self, length: Option<usize>, flex: bool) -> Result<(), WireError> {
        let value = match length {
            None => -1,
            Some(n) => i32::try_from(n).map_err(|_| WireError::BadLength(i64::MAX))?,
        };
        if flex {
            // -1 becomes 0, and i32::MAX + 1 fits in 32 unsigned bits.
            self.uvarint(value.wrapping_add(1) as u32);
        } else {
            self.i32(value);
        }
        Ok(())
    }

    /// A string that may be null where `nullable`.
    pub fn opt_string(
        &mut self,
        value: &Option<KStr>,
        flex: bool,
        nullable: bool,
    ) -> Result<(), WireError> {
        match value {
            Some(value) => self.string(value, flex),
            None if !nullable => Err(WireError::NullNotAllowed),
            None if flex => self.length(None, true),
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    /// A string of at most 32,767 bytes.
    pub fn string(&mut self, value: &KStr, flex: bool) -> Result<(), WireError> {
        if value.len() > MAX_STRING_BYTES {
            return Err(WireError::BadLength(value.len() as i64));
        }
        if flex {
            self.length(Some(value.len()), true)?;
        } else {
            self.i16(value.len() as i16);
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    /// Bytes that may be null where `nullable`.
    pub fn opt_bytes(
        &mut self,
        value: &Option<Bytes>,
        flex: bool,
        nullable: bool,
    ) -> Result<(), WireError> {
        match value {
            Some(value) => self.bytes(value, flex),
            None if nullable => self.length(None, flex),
            None => Err(WireError::NullNotAllowed),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, value: &Bytes, flex: bool) -> Result<(), WireError> {
        self.length(Some(value.len()), flex)?;
        self.raw_shared(value);
        Ok(())
    }

    /// An array of fixed-size elements that may be null where `nullable`.
    pub fn opt_array<T: Copy>(
        &mut self,
        value: &Option<Vec<T>>,
        flex: bool,
        nullable: bool,
        element: impl FnMut(&mut Writer, T),
    ) -> Result<(), WireError> {
        match value {
            Some(value) => self.array(value, flex, element),
            None if nullable => self.length(None, flex),
            None => Err(WireError::NullNotAllowed),
        }
    }

    /// An array of fixed-size elements.
    pub fn array<T: Copy>(
        &mut self,
        value: &[T],
        flex: bool,
        mut element: impl FnMut(&mut Writer, T),
    ) -> Result<(), WireError> {
        self.length(Some(value.len()), flex)?;
        for x in value {
            element(self, *x);
        }
        Ok(())
    }

    /// An array of structs that may be null where `nullable`.
    pub fn opt_structs<T: Struct>(
        &mut self,
        value: &Option<Vec<T>>,
        flex: bool,
        nullable: bool,
        version: i16,
    ) -> Result<(), WireError> {
        match value {
            Some(value) => self.structs(value, flex, version),
            None if nullable => self.length(None, flex),
            None => Err(WireError::NullNotAllowed),
        }
    }

    /// An array of structs.
    pub fn structs<T: Struct>(
        &mut self,
        value: &[T],
        flex: bool,
        version: i16,
    ) -> Result<(), WireError> {
        self.length(Some(value.len()), flex)?;
        value.iter().try_for_each(|x| x.write(self, version))
    }

    /// An array of strings that may be null where `nullable`.
    pub fn opt_strings(
        &mut self,
        value: &Option<Vec<KStr>>,
        flex: bool,
        nullable: bool,
    ) -> Result<(), WireError> {
        match value {
            Some(value) => self.strings(value, flex),
            None if nullable => self.length(None, flex),
            None => Err(WireError::NullNotAllowed),
        }
    }

    /// An array of strings.
    pub fn strings(&mut self, value: &[KStr], flex: bool) -> Result<(), WireError> {
        self.length(Some(value.len()), flex)?;
        value.iter().try_for_each(|x| self.string(x, flex))
    }

    /// A struct that may be null where `nullable`: one byte says whether it follows.
    pub fn opt_structure<T: Struct>(
        &mut self,
        value: &Option<T>,
        nullable: bool,
        version: i16,
    ) -> Result<(), WireError> {
        match value {
            None if nullable => {
                self.i8(-1);
                Ok(())
            }
            None => Err(WireError::NullNotAllowed),
            Some(value) => {
                if nullable {
                    self.i8(1);
                }
                value.write(self, version)
            }
        }
    }

    /// A section of tagged fields: those that `known` writes, in ascending order of tag, and the unknown ones
    /// between them.
    pub fn tags(
        &mut self,
        unknown: &UnknownTags,
        known: impl FnOnce(&mut TagSection<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let start = self.buf.len();
        // Room for the count, which is known at the end.
        self.u8(0);
        self.in_tags += 1;
        let mut section = TagSection { w: self, unknown, next_tag: 0, count: 0 };
        known(&mut section)?;
        section.unknown_below(None)?;
        let count = section.count;
        self.in_tags -= 1;
        self.patch_varint(start, count);
        Ok(())
    }

    /// A section of tagged fields of which none is known.
    pub fn unknown_tags(&mut self, unknown: &UnknownTags) -> Result<(), WireError> {
        if unknown.is_empty() {
            self.u8(0);
            return Ok(());
        }
        self.tags(unknown, |_| Ok(()))
    }

    /// Puts a varint where one byte was left for it.
    fn patch_varint(&mut self, at: usize, value: u32) {
        match self.buf.get_mut(at) {
            Some(slot) if value < 0x80 => *slot = value as u8,
            _ => {
                let mut varint = Vec::with_capacity(5);
                push_varint(&mut varint, u64::from(value));
                self.buf.splice(at..=at, varint);
            }
        }
    }
}

/// The tagged fields of one struct, while being written.
pub struct TagSection<'a> {
    w: &'a mut Writer,
    unknown: &'a UnknownTags,
    /// Unknown tags below this are written.
    next_tag: u32,
    count: u32,
}

impl TagSection<'_> {
    /// Writes a known tag. Tags must come in ascending order.
    pub fn tag(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Writer) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.unknown_below(Some(tag))?;
        self.next_tag = tag + 1;
        self.put(tag, value)
    }

    fn unknown_below(&mut self, limit: Option<u32>) -> Result<(), WireError> {
        let unknown = self.unknown;
        for (tag, value) in unknown.iter().filter(|(tag, _)| self.next_tag <= *tag) {
            match limit {
                Some(limit) if tag == limit => return Err(WireError::TagConflict { tag }),
                Some(limit) if tag > limit => break,
                _ => {}
            }
            self.count += 1;
            self.w.uvarint(tag);
            self.w.uvarint(u32::try_from(value.len()).map_err(|_| WireError::BadLength(i64::MAX))?);
            self.w.raw(value);
        }
        Ok(())
    }

    fn put(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Writer) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.count += 1;
        self.w.uvarint(tag);
        let size_at = self.w.buf.len();
        // Room for the size, which is known at the end.
        self.w.u8(0);
        value(self.w)?;
        let size = self.w.buf.len() - size_at - 1;
        let size = u32::try_from(size).map_err(|_| WireError::BadLength(i64::MAX))?;
        self.w.patch_varint(size_at, size);
        Ok(())
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
