use crate::error::{ApplyError, Contradiction};
use crate::{Image, Str};
use quorate_protocol::MetadataRecord;

/// Applies the records of a log in their order and keeps metadata transactions (KIP-868) apart: what
/// is inside an open one is visible in [`Replayer::latest`] but not in [`Replayer::stable`].
#[derive(Clone, Debug)]
pub struct Replayer {
    latest: Image,
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    name: Str,
    before: Image,
}

/// What a record meant for what may be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// The record is part of the stable image now, with those of its transaction if it ended one.
    Stable,
    /// The record is in an open transaction, or has begun one.
    InTransaction,
    /// The record aborted the open transaction: the latest image is the one of before it.
    Aborted,
}

impl Replayer {
    /// Continues from an image, outside any transaction.
    pub fn new(image: Image) -> Replayer {
        Replayer { latest: image, open: None }
    }

    /// The image with everything applied so far, an open transaction's records included.
    pub fn latest(&self) -> &Image {
        &self.latest
    }

    /// The image to publish and to write snapshots of: without the records of an open transaction.
    pub fn stable(&self) -> &Image {
        self.open.as_ref().map_or(&self.latest, |it| &it.before)
    }

    /// The name of the open transaction, if one is open.
    pub fn open_transaction(&self) -> Option<&Str> {
        self.open.as_ref().map(|it| &it.name)
    }

    /// Applies the next record. On an error nothing has changed.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<Replayed, ApplyError> {
        let contradiction = |it: Contradiction| it.in_record(record.name());
        match record {
            MetadataRecord::BeginTransaction(begin) => {
                if let Some(open) = &self.open {
                    return Err(contradiction(Contradiction::TransactionOpen(open.name.clone())));
                }
                let name = begin.name.as_ref().map(Str::from).unwrap_or_default();
                self.open = Some(Open { name, before: self.latest.clone() });
                Ok(Replayed::InTransaction)
            }
            MetadataRecord::EndTransaction(_) => {
                self.open.take().ok_or_else(|| contradiction(Contradiction::NoTransaction))?;
                Ok(Replayed::Stable)
            }
            MetadataRecord::AbortTransaction(_) => {
                let open =
                    self.open.take().ok_or_else(|| contradiction(Contradiction::NoTransaction))?;
                self.latest = open.before;
                Ok(Replayed::Aborted)
            }
            _ => {
                self.latest.apply(record)?;
                Ok(match self.open {
                    Some(_) => Replayed::InTransaction,
                    None => Replayed::Stable,
                })
            }
        }
    }
}
