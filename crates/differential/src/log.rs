//! The committed metadata log of a controller, read as an observer reads it.

use bytes::Bytes;
use quorate_base::Uuid;
use quorate_client::Connection;
use quorate_interop::{Failure, Outcome};
use quorate_protocol::batch::batches;
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use quorate_protocol::{AnyRequest, AnyResponse, KStr, MetadataRecord};

const FETCH_BYTES_MAX: i32 = 8 * 1024 * 1024;

/// Reads on from where it stands.
#[derive(Debug, Default)]
pub struct LogReader {
    /// One past the last record read.
    pub end: i64,
    epoch: i32,
    /// Of the leader; a fetch that does not name it is refused.
    leader_epoch: i32,
}

/// A record of the metadata log and where it stands.
pub type Located = (i64, MetadataRecord, i16);

impl LogReader {
    /// From the beginning, from the leader of that epoch.
    pub fn new(leader_epoch: i32) -> LogReader {
        LogReader { leader_epoch, ..LogReader::default() }
    }

    /// Everything committed that was not read yet; waits so long if there is nothing.
    pub fn read(&mut self, connection: &mut Connection, wait_ms: i32) -> Outcome<Vec<Located>> {
        let mut found = Vec::new();
        let mut wait_ms = wait_ms;
        while let Some(bytes) = self.fetch(connection, wait_ms)? {
            wait_ms = 0;
            for batch in batches(bytes) {
                let batch = batch.map_err(|e| Failure(e.to_string()))?;
                let fetched = self.end;
                self.end = batch.last_offset() + 1;
                self.epoch = batch.header.partition_leader_epoch;
                if batch.is_control() {
                    continue;
                }
                for record in batch.records() {
                    let record = record.map_err(|e| Failure(e.to_string()))?;
                    if record.offset < fetched {
                        continue;
                    }
                    let value = record.value.ok_or_else(|| Failure::new("an empty record"))?;
                    let (decoded, version) = MetadataRecord::decode_framed(value)
                        .map_err(|e| Failure(format!("offset {}: {e}", record.offset)))?;
                    found.push((record.offset, decoded, version));
                }
            }
        }
        Ok(found)
    }

    fn fetch(&self, connection: &mut Connection, wait_ms: i32) -> Outcome<Option<Bytes>> {
        let request = FetchRequest {
            max_wait_ms: wait_ms,
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![FetchTopic {
                topic: KStr::from("__cluster_metadata"),
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: self.leader_epoch,
                    fetch_offset: self.end,
                    last_fetched_epoch: self.epoch,
                    partition_max_bytes: FETCH_BYTES_MAX,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let AnyResponse::Fetch(answer) = connection.send(&AnyRequest::Fetch(request))? else {
            return Err(Failure::new("a fetch was answered by another message"));
        };
        let partition = answer.responses.into_iter().flat_map(|it| it.partitions).next();
        let partition =
            partition.ok_or_else(|| Failure(format!("fetch: error {}", answer.error_code)))?;
        if partition.error_code != 0 || partition.diverging_epoch.end_offset >= 0 {
            return Err(Failure(format!("fetch from {}: {partition:?}", self.end)));
        }
        Ok(partition.records.filter(|it| !it.is_empty()))
    }
}
