use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A string that is a slice of the frame it came in: no copy on decoding, cheap to clone.
///
/// It keeps the whole frame alive; what outlives the request should be made independent with
/// [`KStr::detached`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KStr(Bytes);

impl KStr {
    /// A string from program text.
    pub const fn from_static(text: &'static str) -> KStr {
        KStr(Bytes::from_static(text.as_bytes()))
    }

    /// The bytes as a string, if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<KStr, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(KStr(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Every constructor checked the bytes. Checking again keeps unsafe code out; the strings are short.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy that does not keep the frame alive.
    pub fn detached(&self) -> KStr {
        KStr(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for KStr {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for KStr {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// Bytes of UTF-8 order as the text does, so maps keyed by `KStr` can be asked with a `&str`.
impl Borrow<str> for KStr {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Hash for KStr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `Borrow<str>` demands; the hash of the bytes would be another.
        self.as_str().hash(state);
    }
}

impl From<&str> for KStr {
    fn from(text: &str) -> KStr {
        KStr(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for KStr {
    fn from(text: &String) -> KStr {
        KStr::from(text.as_str())
    }
}

impl From<String> for KStr {
    fn from(text: String) -> KStr {
        KStr(Bytes::from(text))
    }
}

impl From<&KStr> for KStr {
    fn from(text: &KStr) -> KStr {
        text.clone()
    }
}

impl From<KStr> for String {
    fn from(text: KStr) -> String {
        text.as_str().to_string()
    }
}

impl fmt::Display for KStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for KStr {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for KStr {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for KStr {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<KStr> for str {
    fn eq(&self, other: &KStr) -> bool {
        other == self
    }
}

impl PartialEq<KStr> for &str {
    fn eq(&self, other: &KStr) -> bool {
        other == self
    }
}
