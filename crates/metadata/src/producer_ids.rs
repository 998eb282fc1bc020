use quorate_protocol::MetadataRecord;
use quorate_protocol::records::ProducerIdsRecord;

/// Which producer ids are given out already. Brokers get them in blocks; the broker that got the last
/// block is in the log only: Java's snapshots do not keep it either.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerIds {
    next: Option<i64>,
}

impl ProducerIds {
    /// The first id of the next block; `None` before the first block was given out (it starts at 0).
    pub fn next_producer_id(&self) -> Option<i64> {
        self.next
    }

    pub(crate) fn apply(&mut self, record: &ProducerIdsRecord) {
        self.next = (record.next_producer_id >= 0).then_some(record.next_producer_id);
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> + use<> {
        self.next.into_iter().map(|next| producer_ids_record(Some(next)))
    }
}

pub(crate) fn producer_ids_record(next: Option<i64>) -> MetadataRecord {
    MetadataRecord::ProducerIds(ProducerIdsRecord {
        broker_id: -1,
        broker_epoch: -1,
        next_producer_id: next.unwrap_or(-1),
        ..Default::default()
    })
}
