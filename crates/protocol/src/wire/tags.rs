use super::WireError;
use bytes::Bytes;
use std::collections::BTreeMap;

/// The tagged fields of a struct that our schema does not know, kept so that writing gives them back.
/// Costs one pointer when there are none, as nearly always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownTags(Option<Box<Tags>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tags {
    by_tag: BTreeMap<u32, Bytes>,
}

impl UnknownTags {
    /// Keeps a tag; of equal ones the last stays.
    pub fn insert(&mut self, tag: u32, value: Bytes) {
        self.0.get_or_insert_default().by_tag.insert(tag, value);
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tags in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.0.iter().flat_map(|tags| tags.by_tag.iter().map(|(tag, value)| (*tag, value)))
    }

    /// An error if there are any: this version of the message has no place for them.
    pub fn must_be_empty(&self, _version: i16) -> Result<(), WireError> {
        match self.iter().next() {
            None => Ok(()),
            Some((tag, _)) => Err(WireError::TagConflict { tag }),
        }
    }
}
