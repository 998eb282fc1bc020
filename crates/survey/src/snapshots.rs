//! One snapshot file, read from header to footer.

use crate::files::{BatchReader, Next};
use crate::finding::{BatchFile, Finding, Kind, Place};
use crate::voters::{self, KRAFT_VERSION_MAX};
use quorate_base::OffsetAndEpoch;
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::Batch;
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use std::path::{Path, PathBuf};

/// What a snapshot file holds.
#[derive(Clone, Debug)]
pub struct SnapshotState {
    /// Its id, of the file's name; `0-0` for `bootstrap.checkpoint`.
    pub id: OffsetAndEpoch,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Metadata records in them.
    pub records: u64,
    /// Timestamp of the last record contained, milliseconds since the Unix epoch.
    pub last_contained_log_timestamp_ms: Option<i64>,
    /// `kraft.version`, where recorded.
    pub kraft_version: Option<i16>,
    /// Voters, where recorded.
    pub voters: Option<Vec<Voter>>,
    /// From header to footer without a problem, and every record applies.
    pub is_whole: bool,
}

/// Reads the file; the image only of a whole one.
pub(crate) fn scan(
    path: &Path,
    id: OffsetAndEpoch,
    findings: &mut Vec<Finding>,
) -> (SnapshotState, Option<Image>) {
    let mut scan = Scan {
        state: SnapshotState {
            id,
            path: path.to_owned(),
            bytes: 0,
            batches: 0,
            records: 0,
            last_contained_log_timestamp_ms: None,
            kraft_version: None,
            voters: None,
            is_whole: false,
        },
        replayer: Replayer::new(Image::empty()),
        due: 0,
        footer_seen: false,
        failed: false,
        epoch_told: false,
        findings,
    };
    scan.run();
    let is_whole = scan.footer_seen && !scan.failed;
    let image = is_whole.then(|| scan.replayer.stable().clone());
    (SnapshotState { is_whole, ..scan.state }, image)
}

struct Scan<'a> {
    state: SnapshotState,
    replayer: Replayer,
    due: i64,
    footer_seen: bool,
    failed: bool,
    epoch_told: bool,
    findings: &'a mut Vec<Finding>,
}

impl Scan<'_> {
    fn run(&mut self) {
        let mut reader = match BatchReader::open(&self.state.path) {
            Ok(reader) => reader,
            Err(error) => {
                return self.fail(self.whole(), Kind::Unreadable { why: error.to_string() });
            }
        };
        self.state.bytes = reader.size;
        if reader.size == 0 {
            return self.fail(self.whole(), Kind::EmptySnapshot);
        }
        loop {
            let position = reader.position;
            let place = Place::at(&self.state.path, position);
            match reader.next() {
                Next::Batch(batch) => {
                    if self.footer_seen {
                        return self.fail(place, Kind::BehindFooter);
                    }
                    if self.state.batches == 0 && !starts_with_header(&batch) {
                        return self.fail(place, Kind::NoSnapshotHeader);
                    }
                    if !self.batch(&batch) {
                        return;
                    }
                }
                Next::End if self.footer_seen => break,
                Next::End => return self.fail(place, Kind::NoSnapshotFooter),
                Next::Broken { cause, .. } => {
                    if self.state.batches == 0 && position == 0 && reader.size < 61 {
                        return self.fail(place, Kind::NoSnapshotHeader);
                    }
                    let followed_by = reader.find_batch_behind(self.due).ok().flatten();
                    let file = BatchFile::Snapshot;
                    return self.fail(place, Kind::BrokenBatch { file, cause, followed_by });
                }
                Next::Huge(bytes) => return self.fail(place, Kind::HugeBatch { bytes }),
                Next::Io(error) => {
                    return self.fail(place, Kind::Unreadable { why: error.to_string() });
                }
            }
        }
        let version = self.state.kraft_version.unwrap_or(0);
        if version >= 1 && self.state.voters.is_none() {
            self.note(self.whole(), Kind::SnapshotWithoutVoters);
        }
        if version > KRAFT_VERSION_MAX {
            self.note(self.whole(), Kind::UnknownKraftVersion { version });
        }
        if let Some(voters) = self.state.voters.clone() {
            voters::check(&voters, &self.whole(), self.findings);
        }
    }

    /// False: reading on makes no sense.
    fn batch(&mut self, batch: &Batch) -> bool {
        let place = Place::at(&self.state.path, batch.position).offset(batch.base_offset());
        if batch.base_offset() != self.due {
            let (found, due) = (batch.base_offset(), self.due);
            let file = BatchFile::Snapshot;
            self.fail(place, Kind::WrongOffset { file, found, due });
            return false;
        }
        let found = batch.header.partition_leader_epoch;
        if found != self.state.id.epoch && !self.epoch_told {
            self.epoch_told = true;
            self.note(place.clone(), Kind::SnapshotBatchEpoch { found, name: self.state.id.epoch });
        }
        self.due = batch.header.end_offset();
        self.state.batches += 1;
        if batch.is_control() {
            match control_records(batch) {
                Ok(records) => records.into_iter().for_each(|(_, it)| self.control(it, &place)),
                Err(error) => self.fail(place, Kind::BadControlRecord { why: error.to_string() }),
            }
            return true;
        }
        let records = batch.records().filter_map(Result::ok);
        let values = records.map(|it| (it.offset, it.value.unwrap_or_default()));
        match load_values(&mut self.replayer, values) {
            Ok(count) => self.state.records += count,
            Err(error) if !self.failed => {
                let file = BatchFile::Snapshot;
                self.fail(place, Kind::BadRecord { error, file });
            }
            Err(_) => {}
        }
        true
    }

    fn control(&mut self, record: ControlRecord, place: &Place) {
        match record {
            ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                self.state.last_contained_log_timestamp_ms = Some(last_contained_log_timestamp_ms);
            }
            ControlRecord::SnapshotFooter => self.footer_seen = true,
            ControlRecord::KRaftVersion(version) => self.state.kraft_version = Some(version),
            ControlRecord::Voters(voters) => self.state.voters = Some(voters),
            ControlRecord::LeaderChange { .. } => {
                let (name, file) = ("LeaderChange", BatchFile::Snapshot);
                self.fail(place.clone(), Kind::MisplacedControlRecord { name, file });
            }
            ControlRecord::Unknown { kind, .. } => {
                self.note(place.clone(), Kind::UnknownControlRecord { kind });
            }
        }
    }

    fn whole(&self) -> Place {
        Place::of(&self.state.path)
    }

    fn note(&mut self, place: Place, kind: Kind) {
        self.findings.push(Finding { place, kind });
    }

    fn fail(&mut self, place: Place, kind: Kind) {
        self.failed = true;
        self.note(place, kind);
    }
}

fn starts_with_header(batch: &Batch) -> bool {
    batch.is_control()
        && control_records(batch).is_ok_and(|records| {
            matches!(records.first(), Some((_, ControlRecord::SnapshotHeader { .. })))
        })
}
