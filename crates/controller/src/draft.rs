use quorate_base::Offset;
use quorate_metadata::{ApplyError, Image, Replayer};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::record_version;

/// Kafka's limit of records in one append.
pub const MAX_RECORDS_PER_BATCH: usize = 10_000;

/// Kafka's limit of records that one user request may lead to; beyond it the request is refused with
/// POLICY_VIOLATION.
pub const MAX_RECORDS_PER_USER_OP: usize = MAX_RECORDS_PER_BATCH;

/// A decision in the making: the image as it will be, and the records that make it so.
#[derive(Clone)]
pub struct Draft {
    state: Replayer,
    records: Vec<(MetadataRecord, i16)>,
    base_offset: Offset,
    /// After so many records the state is kept, because an append may end there.
    keep_every: usize,
    /// Those states, each with the number of records it holds.
    kept: Vec<(usize, Replayer)>,
}

/// What a draft came to.
pub(crate) struct Finished {
    pub(crate) state: Replayer,
    pub(crate) records: Vec<(MetadataRecord, i16)>,
    kept: Vec<(usize, Replayer)>,
}

impl Finished {
    /// The state after the first `len` records, if it was kept.
    pub(crate) fn kept_at(&self, len: usize) -> Option<&Replayer> {
        self.kept.iter().find(|(at, _)| *at == len).map(|(_, state)| state)
    }
}

/// Where to return to, from [`Draft::checkpoint`].
pub struct Savepoint {
    state: Replayer,
    len: usize,
}

impl Draft {
    /// Starts from an image; `base_offset` is the offset of the first record pushed.
    pub fn new(image: Image, base_offset: Offset) -> Draft {
        Draft::resume(Replayer::new(image), base_offset, MAX_RECORDS_PER_BATCH)
    }

    /// Starts from a state that may be inside a metadata transaction.
    pub(crate) fn resume(state: Replayer, base_offset: Offset, keep_every: usize) -> Draft {
        Draft { state, records: Vec::new(), base_offset, keep_every, kept: Vec::new() }
    }

    /// The state with every record pushed so far.
    pub fn image(&self) -> &Image {
        self.state.latest()
    }

    /// True inside a metadata transaction.
    pub(crate) fn in_transaction(&self) -> bool {
        self.state.open_transaction().is_some()
    }

    /// Adds a record in the version that the image's metadata.version asks for, and applies it.
    ///
    /// # Panics
    /// If the record contradicts the image: a decision must never write what no node could replay.
    pub fn push(&mut self, record: impl Into<MetadataRecord>) {
        if let Err(error) = self.try_push(record.into()) {
            panic!("decided on a record that cannot be applied: {error}");
        }
    }

    /// As [`Draft::push`], for records that come from outside; one that contradicts the image is
    /// refused and changes nothing.
    pub(crate) fn try_push(&mut self, record: MetadataRecord) -> Result<(), ApplyError> {
        self.state.apply(&record)?;
        let version = record_version(&record, self.image().features.metadata_version());
        self.records.push((record, version));
        if self.records.len().is_multiple_of(self.keep_every) {
            self.kept.push((self.records.len(), self.state.clone()));
        }
        Ok(())
    }

    /// The offset that the next record pushed will get.
    pub fn next_offset(&self) -> Offset {
        self.base_offset + self.records.len() as Offset
    }

    /// Number of records pushed so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if nothing was decided that must be written.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records pushed so far, each with its version.
    pub fn records(&self) -> &[(MetadataRecord, i16)] {
        &self.records
    }

    /// Remembers this state, to undo a part of a decision that turns out to be refused.
    pub fn checkpoint(&self) -> Savepoint {
        Savepoint { state: self.state.clone(), len: self.records.len() }
    }

    /// Returns to an earlier state of this draft.
    pub fn rollback(&mut self, savepoint: Savepoint) {
        assert!(savepoint.len <= self.records.len(), "a savepoint lies in the past of its draft");
        self.state = savepoint.state;
        self.records.truncate(savepoint.len);
        self.kept.retain(|(at, _)| *at <= savepoint.len);
    }

    /// The end of deciding.
    pub(crate) fn finish(self) -> Finished {
        Finished { state: self.state, records: self.records, kept: self.kept }
    }
}
