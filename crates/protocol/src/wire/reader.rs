use super::{Struct, UnknownTags, WireError};
use crate::KStr;
use bytes::Bytes;
use quorate_base::Uuid;

/// Text longer than this is refused, as Kafka refuses it.
pub(super) const MAX_STRING_BYTES: usize = 0x7fff;

/// No array reserves more than this ahead of its elements; longer ones grow as elements arrive.
const MAX_RESERVED_BYTES: usize = 64 * 1024;

/// Reads values off the front of a frame. Strings and byte fields are slices of the frame. After an error the
/// position is unspecified: the frame is of no more use.
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    /// End of what may be read: the frame's, or that of the tagged field being read. `at <= end <= frame.len()`.
    end: usize,
}

impl Reader {
    /// A reader at the start of `frame`.
    pub fn new(frame: Bytes) -> Reader {
        let end = frame.len();
        Reader { frame, at: 0, end }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The rest, as a slice of the frame.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    /// An error unless everything was read.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn advance(&mut self, n: usize) -> Result<usize, WireError> {
        let remaining = self.remaining();
        if n > remaining {
            return Err(WireError::Truncated { needed: n, remaining });
        }
        let start = self.at;
        self.at += n;
        Ok(start)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let start = self.advance(N)?;
        let slice = self.frame.get(start..).and_then(|s| s.first_chunk::<N>());
        slice.copied().ok_or(WireError::Truncated { needed: N, remaining: 0 })
    }

    /// The next `n` bytes as a slice of the frame.
    pub fn slice(&mut self, n: usize) -> Result<Bytes, WireError> {
        let start = self.advance(n)?;
        if n == 0 {
            // An empty value need not keep the frame alive.
            return Ok(Bytes::new());
        }
        Ok(self.frame.slice(start..start + n))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.fixed::<1>().map(|[b]| b)
    }

    /// Kafka's bool: any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        self.u8().map(|b| b != 0)
    }

    /// int8.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// int16, big-endian.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// uint16, big-endian.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// int32, big-endian.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// uint32, big-endian.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// int64, big-endian.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// float64, big-endian.
    pub fn f64(&mut self) -> Result<f64, WireError> {
        self.fixed().map(f64::from_be_bytes)
    }

    /// 16 bytes.
    pub fn uuid(&mut self) -> Result<Uuid, WireError> {
        self.fixed().map(Uuid)
    }

    /// Unsigned varint of at most 32 bits and 5 bytes.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let value = self.varint_bits(5)?;
        u32::try_from(value).map_err(|_| WireError::BadVarint)
    }

    /// Zigzag varint of at most 32 bits and 5 bytes.
    pub fn varint(&mut self) -> Result<i32, WireError> {
        let raw = self.uvarint()?;
        Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    /// Zigzag varint of at most 64 bits and 10 bytes.
    pub fn varlong(&mut self) -> Result<i64, WireError> {
        let raw = self.varint_bits(10)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    fn varint_bits(&mut self, max_bytes: u32) -> Result<u64, WireError> {
        let mut value = 0u64;
        for i in 0..max_bytes {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * i);
            if shifted >> (7 * i) != bits {
                return Err(WireError::BadVarint);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::BadVarint)
    }

    /// A length in the flexible encoding (varint of length + 1), or else `fallback`'s; `None` is null.
    fn length(
        &mut self,
        flex: bool,
        fallback: impl FnOnce(&mut Reader) -> Result<i64, WireError>,
    ) -> Result<Option<usize>, WireError> {
        let length = if flex { i64::from(self.uvarint()?) - 1 } else { fallback(self)? };
        match usize::try_from(length) {
            Ok(length) if length <= i32::MAX as usize => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            _ => Err(WireError::BadLength(length)),
        }
    }

    /// A string that may be null where `nullable`.
    pub fn opt_string(&mut self, flex: bool, nullable: bool) -> Result<Option<KStr>, WireError> {
        let Some(length) = self.length(flex, |r| r.i16().map(i64::from))? else {
            return if nullable { Ok(None) } else { Err(WireError::NullNotAllowed) };
        };
        if length > MAX_STRING_BYTES {
            return Err(WireError::BadLength(length as i64));
        }
        let bytes = self.slice(length)?;
        KStr::from_utf8(bytes).map(Some).map_err(|_| WireError::BadUtf8)
    }

    /// A string.
    pub fn string(&mut self, flex: bool) -> Result<KStr, WireError> {
        self.opt_string(flex, false).map(Option::unwrap_or_default)
    }

    /// Bytes that may be null where `nullable`.
    pub fn opt_bytes(&mut self, flex: bool, nullable: bool) -> Result<Option<Bytes>, WireError> {
        match self.length(flex, |r| r.i32().map(i64::from))? {
            Some(length) => self.slice(length).map(Some),
            None if nullable => Ok(None),
            None => Err(WireError::NullNotAllowed),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, flex: bool) -> Result<Bytes, WireError> {
        self.opt_bytes(flex, false).map(Option::unwrap_or_default)
    }

    /// An array that may be null where `nullable`. `min_size` is the fewest bytes an element takes: a count that
    /// the bytes left cannot hold is refused before anything is allocated.
    pub fn opt_array<T>(
        &mut self,
        flex: bool,
        nullable: bool,
        min_size: usize,
        mut element: impl FnMut(&mut Reader) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = self.length(flex, |r| r.i32().map(i64::from))? else {
            return if nullable { Ok(None) } else { Err(WireError::NullNotAllowed) };
        };
        if count.saturating_mul(min_size.max(1)) > self.remaining() {
            return Err(WireError::BadLength(count as i64));
        }
        let reserved = MAX_RESERVED_BYTES / size_of::<T>().max(1);
        let mut out = Vec::with_capacity(count.min(reserved.max(1)));
        for _ in 0..count {
            out.push(element(self)?);
        }
        Ok(Some(out))
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        flex: bool,
        min_size: usize,
        element: impl FnMut(&mut Reader) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        self.opt_array(flex, false, min_size, element).map(Option::unwrap_or_default)
    }

    /// An array of structs that may be null where `nullable`.
    pub fn opt_structs<T: Struct>(
        &mut self,
        flex: bool,
        nullable: bool,
        version: i16,
    ) -> Result<Option<Vec<T>>, WireError> {
        self.opt_array(flex, nullable, T::min_size(version), |r| T::read(r, version))
    }

    /// An array of structs.
    pub fn structs<T: Struct>(&mut self, flex: bool, version: i16) -> Result<Vec<T>, WireError> {
        self.opt_structs(flex, false, version).map(Option::unwrap_or_default)
    }

    /// An array of strings that may be null where `nullable`.
    pub fn opt_strings(
        &mut self,
        flex: bool,
        nullable: bool,
    ) -> Result<Option<Vec<KStr>>, WireError> {
        self.opt_array(flex, nullable, if flex { 1 } else { 2 }, |r| r.string(flex))
    }

    /// An array of strings.
    pub fn strings(&mut self, flex: bool) -> Result<Vec<KStr>, WireError> {
        self.opt_strings(flex, false).map(Option::unwrap_or_default)
    }

    /// A struct that may be null: one byte says whether it follows.
    pub fn opt_structure<T: Struct>(
        &mut self,
        nullable: bool,
        version: i16,
    ) -> Result<Option<T>, WireError> {
        if !nullable {
            return T::read(self, version).map(Some);
        }
        if self.i8()? < 0 { Ok(None) } else { T::read(self, version).map(Some) }
    }

    /// A section of tagged fields. `field` reads the value of a tag it knows and says whether it did.
    pub fn tags(
        &mut self,
        unknown: &mut UnknownTags,
        mut field: impl FnMut(&mut Reader, u32) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let count = self.uvarint()?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let remaining = self.remaining();
            if size > remaining {
                return Err(WireError::Truncated { needed: size, remaining });
            }
            let outer = std::mem::replace(&mut self.end, self.at + size);
            if field(self, tag)? {
                match self.remaining() {
                    0 => {}
                    left => return Err(WireError::TagNotDrained(left)),
                }
            } else {
                unknown.insert(tag, self.slice(size)?);
            }
            self.end = outer;
        }
        Ok(())
    }

    /// A section of tagged fields of which none is known.
    pub fn unknown_tags(&mut self, unknown: &mut UnknownTags) -> Result<(), WireError> {
        self.tags(unknown, |_, _| Ok(false))
    }
}
