//! A metadata log told batch by batch: what was there before, and after.

use crate::companions;
use crate::compare::CompareError;
use crate::files::{self, BatchReader, Next};
use crate::snapshots;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::Batch;
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use quorate_storage::METADATA_DIR;
use std::path::{Path, PathBuf};

/// One batch of the log, or one control record in it.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Offset of its first record.
    pub first: Offset,
    /// Offset of its last record.
    pub last: Offset,
    /// The epoch in which it was appended.
    pub epoch: Epoch,
    /// When it was appended, by the leader's clock, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What it did.
    pub what: Happened,
}

/// What a batch did.
#[derive(Clone, Debug)]
pub enum Happened {
    /// Changed metadata, or nothing visible: batches of an open metadata transaction show with its end.
    Metadata {
        /// All metadata before.
        before: Box<Image>,
        /// All metadata after.
        after: Box<Image>,
    },
    /// An epoch got its leader.
    Leader(NodeId),
    /// `kraft.version` was raised, or repeated.
    KraftVersion(i16),
    /// The voter set.
    Voters {
        /// Before, where the log says.
        before: Option<Vec<Voter>>,
        /// From here on.
        after: Vec<Voter>,
    },
    /// What can be told begins here, with a snapshot: there is no log before it.
    Beginning,
}

impl Moment {
    pub(crate) fn of(batch: &Batch, what: Happened) -> Moment {
        let header = &batch.header;
        Moment {
            first: header.base_offset,
            last: header.last_offset(),
            epoch: header.partition_leader_epoch,
            time_ms: header.max_timestamp,
            what,
        }
    }

    pub(crate) fn beginning(id: OffsetAndEpoch, time_ms: Option<i64>) -> Moment {
        let (first, epoch, time_ms) = (id.offset, id.epoch, time_ms.unwrap_or(0));
        Moment { first, last: first, epoch, time_ms, what: Happened::Beginning }
    }

    pub(crate) fn control(
        batch: &Batch,
        at: Offset,
        record: &ControlRecord,
        voters: Option<&[Voter]>,
    ) -> Option<Moment> {
        let what = match record {
            ControlRecord::LeaderChange { leader_id, .. } => Happened::Leader(*leader_id),
            ControlRecord::KRaftVersion(version) => Happened::KraftVersion(*version),
            ControlRecord::Voters(after) => {
                Happened::Voters { before: voters.map(<[Voter]>::to_vec), after: after.clone() }
            }
            _ => return None,
        };
        Some(Moment { first: at, last: at, ..Moment::of(batch, what) })
    }
}

/// Where the log in a node's directory ends by its last segment; `None` if there is none to be read.
pub fn log_end(dir: &Path) -> Option<OffsetAndEpoch> {
    let mut findings = Vec::new();
    let dir = metadata_dir(dir);
    let sorted = companions::sort(&dir, &files::list(&dir).ok()?, &mut findings);
    let (_, last) = sorted.segments.last()?;
    let mut reader = BatchReader::open(last).ok()?;
    let mut end = None;
    while let Next::Batch(batch) = reader.next() {
        let (offset, epoch) = (batch.header.end_offset(), batch.header.partition_leader_epoch);
        end = Some(OffsetAndEpoch { offset, epoch });
    }
    end
}

fn metadata_dir(dir: &Path) -> PathBuf {
    match dir.file_name() {
        Some(name) if name == METADATA_DIR => dir.to_owned(),
        _ => dir.join(METADATA_DIR),
    }
}

/// Tells the log in a node's directory, which may be in use, from its first record or oldest usable
/// snapshot on. Returns why it ended before its end, if it did: a batch that is not whole.
pub fn tell_directory(
    dir: &Path,
    tell: &mut dyn FnMut(Moment),
) -> Result<Option<String>, CompareError> {
    let unusable = |why: String| CompareError::Unusable { name: dir.display().to_string(), why };
    let metadata = metadata_dir(dir);
    let entries = files::list(&metadata).map_err(|error| unusable(error.to_string()))?;
    let mut findings = Vec::new();
    let sorted = companions::sort(&metadata, &entries, &mut findings);
    let start = sorted.segments.first().map(|(base, _)| *base);
    let start = start.ok_or_else(|| unusable("it has no log".to_owned()))?;
    let mut teller = Teller { replayer: Replayer::new(Image::empty()), at: 0, voters: None };
    if start > 0 {
        let found = sorted.snapshots.iter().find_map(|(id, path)| {
            if id.offset < start {
                return None;
            }
            let (state, image) = snapshots::scan(path, *id, &mut findings);
            Some((*id, state.last_contained_log_timestamp_ms, image?))
        });
        let (id, time_ms, image) =
            found.ok_or_else(|| unusable("it has no snapshot for its log".to_owned()))?;
        (teller.replayer, teller.at) = (Replayer::new(image), id.offset);
        tell(Moment::beginning(id, time_ms));
    }
    for (_, path) in &sorted.segments {
        let mut reader = BatchReader::open(path).map_err(|error| unusable(error.to_string()))?;
        loop {
            let broken = match reader.next() {
                Next::Batch(batch) => {
                    teller.batch(&batch, tell).map_err(&unusable)?;
                    continue;
                }
                Next::End => break,
                Next::Broken { cause, .. } => cause.to_string(),
                Next::Huge(bytes) => format!("it claims {bytes} bytes"),
                Next::Io(error) => error.to_string(),
            };
            let (at, file) = (reader.position, path.display());
            return Ok(Some(format!("the batch at byte {at} of {file} is not whole: {broken}")));
        }
    }
    Ok(None)
}

struct Teller {
    replayer: Replayer,
    /// One past what is applied.
    at: Offset,
    voters: Option<Vec<Voter>>,
}

impl Teller {
    fn batch(&mut self, batch: &Batch, tell: &mut dyn FnMut(Moment)) -> Result<(), String> {
        let end = batch.header.end_offset();
        if end <= self.at {
            return Ok(());
        }
        if batch.is_control() {
            let records = control_records(batch).map_err(|error| error.to_string())?;
            for (at, record) in records.into_iter().filter(|(at, _)| *at >= self.at) {
                if let Some(moment) = Moment::control(batch, at, &record, self.voters.as_deref()) {
                    tell(moment);
                }
                if let ControlRecord::Voters(voters) = record {
                    self.voters = Some(voters);
                }
            }
        } else {
            let before = Box::new(self.replayer.stable().clone());
            let records = batch.records().filter_map(Result::ok);
            let values = records.filter(|it| it.offset >= self.at);
            let values = values.map(|it| (it.offset, it.value.unwrap_or_default()));
            load_values(&mut self.replayer, values).map_err(|error| error.to_string())?;
            let after = Box::new(self.replayer.stable().clone());
            tell(Moment::of(batch, Happened::Metadata { before, after }));
        }
        self.at = end;
        Ok(())
    }
}
