//! The committed metadata of a running quorum, kept up to date from outside.

use crate::history::{Happened, Moment};
use crate::live::{LiveError, LiveLog, LiveOptions, Step};
use crate::stream::SnapshotStream;
use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::{Batch, batches};
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pause between two rounds over all addresses.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Follows a quorum's log and applies what is committed.
#[derive(Debug)]
pub struct LiveImage {
    log: LiveLog,
    replayer: Replayer,
    applied: OffsetAndEpoch,
    /// Batches that are not known to be committed yet, or lie behind [`LiveImage::stop_at`].
    pending: VecDeque<Batch>,
    base: OffsetAndEpoch,
    stop_at: Option<Offset>,
    records: u64,
    kraft_version: Option<i16>,
    voters: Option<Vec<Voter>>,
    /// What was applied, if somebody wants to know.
    moments: Option<Vec<Moment>>,
}

/// What a step brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The image is that of this snapshot.
    SnapshotLoaded(OffsetAndEpoch),
    /// The leader answered; perhaps the image moved.
    Followed,
    /// Nobody leads, or none can be reached.
    NoLeader(Vec<(String, String)>),
}

impl LiveImage {
    /// Starts from nothing.
    pub fn new(options: LiveOptions) -> LiveImage {
        LiveImage {
            log: LiveLog::new(options),
            replayer: Replayer::new(Image::empty()),
            applied: OffsetAndEpoch::default(),
            pending: VecDeque::new(),
            base: OffsetAndEpoch::default(),
            stop_at: None,
            records: 0,
            kraft_version: None,
            voters: None,
            moments: None,
        }
    }

    /// Keeps what is applied, batch by batch, for [`LiveImage::take_moments`].
    pub fn telling(mut self) -> LiveImage {
        self.moments = Some(Vec::new());
        self
    }

    /// What was applied since the last call; nothing unless it is kept.
    pub fn take_moments(&mut self) -> Vec<Moment> {
        self.moments.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Applies nothing at or above `offset`: for an image as of there.
    pub fn stopping_at(mut self, offset: Offset) -> LiveImage {
        self.stop_at = Some(offset);
        self
    }

    /// The committed metadata, without an open transaction's records.
    pub fn image(&self) -> &Image {
        self.replayer.stable()
    }

    /// Where in the log the image is.
    pub fn applied(&self) -> OffsetAndEpoch {
        self.applied
    }

    /// Where the image began: 0, or the end of the snapshot that was loaded.
    pub fn base(&self) -> OffsetAndEpoch {
        self.base
    }

    /// How many metadata records were applied.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// `kraft.version` and voter set, where the log or snapshot told them.
    pub fn voters(&self) -> (Option<i16>, Option<&[Voter]>) {
        (self.kraft_version, self.voters.as_deref())
    }

    /// The log being followed.
    pub fn log(&mut self) -> &mut LiveLog {
        &mut self.log
    }

    /// Asks once, and applies what came.
    pub fn step(&mut self) -> Result<Progress, LiveError> {
        match self.log.poll()? {
            Step::Snapshot(id) => return self.load(id),
            Step::Records(records) => self.keep(records),
            Step::Diverged(to) => self.go_back(to),
            Step::Idle => {}
            Step::NoLeader(answers) => return Ok(Progress::NoLeader(answers)),
        }
        self.apply_committed()?;
        Ok(Progress::Followed)
    }

    /// Steps until everything is applied that was committed at the first answer, or up to where it
    /// is to stop.
    pub fn catch_up(&mut self, timeout: Duration) -> Result<(), LiveError> {
        let deadline = Instant::now() + timeout;
        let mut target = self.stop_at;
        loop {
            let answers = match self.step()? {
                Progress::NoLeader(answers) => answers,
                Progress::SnapshotLoaded(_) | Progress::Followed => Vec::new(),
            };
            if target.is_none() {
                target = self.log.high_watermark();
            }
            if target.is_some_and(|target| self.applied.offset >= target) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                if answers.is_empty() {
                    let (at, target) = (self.applied.offset, target.unwrap_or_default());
                    let why = format!("only offset {at} of {target} was reached in time");
                    return Err(LiveError::OutOfReach(why));
                }
                return Err(LiveError::NoLeader { answers });
            }
            if !answers.is_empty() {
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }

    fn load(&mut self, id: OffsetAndEpoch) -> Result<Progress, LiveError> {
        if let Some(stop) = self.stop_at.filter(|stop| *stop < id.offset) {
            return Err(LiveError::OutOfReach(format!(
                "the quorum has no log below its snapshot at offset {}, so there is no image at \
                 offset {stop} any more",
                id.offset
            )));
        }
        let mut stream = SnapshotStream::new(id);
        if !self.log.fetch_snapshot(id, &mut |piece| stream.push(piece))? {
            return Ok(Progress::Followed);
        }
        let loaded = stream.finish()?;
        self.replayer = Replayer::new(loaded.image);
        self.records += loaded.records;
        self.kraft_version = loaded.kraft_version;
        self.voters = loaded.voters;
        (self.applied, self.base) = (id, id);
        self.pending.clear();
        self.log.installed(id);
        if let Some(moments) = &mut self.moments {
            moments.push(Moment::beginning(id, Some(loaded.last_contained_log_timestamp_ms)));
        }
        Ok(Progress::SnapshotLoaded(id))
    }

    fn keep(&mut self, records: Bytes) {
        // They were checked, so none is left out.
        self.pending.extend(batches(records).filter_map(Result::ok));
    }

    fn go_back(&mut self, to: OffsetAndEpoch) {
        self.pending.retain(|batch| batch.header.end_offset() <= to.offset);
        if to.offset < self.applied.offset {
            // What was committed is void: another log, restored or recovered. Start over.
            self.replayer = Replayer::new(Image::empty());
            self.applied = OffsetAndEpoch::default();
            self.base = self.applied;
            self.pending.clear();
            self.log.installed(self.applied);
        }
    }

    fn apply_committed(&mut self) -> Result<(), LiveError> {
        let committed = self.log.high_watermark().unwrap_or(0);
        let limit = self.stop_at.map_or(committed, |stop| stop.min(committed));
        while let Some(batch) = self.pending.front() {
            if batch.base_offset() >= limit || batch.header.end_offset() > committed {
                break;
            }
            let batch = batch.clone();
            let whole = batch.header.end_offset() <= limit;
            self.apply(&batch, limit)?;
            let epoch = batch.header.partition_leader_epoch;
            self.applied = OffsetAndEpoch { offset: batch.header.end_offset().min(limit), epoch };
            if !whole {
                break;
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Applies the records of a checked batch that are not applied yet and lie below `limit`.
    fn apply(&mut self, batch: &Batch, limit: Offset) -> Result<(), LiveError> {
        let from = self.applied.offset;
        if batch.is_control() {
            let records = control_records(batch).unwrap_or_default();
            for (at, record) in records.into_iter().filter(|(at, _)| (from..limit).contains(at)) {
                if let Some(moments) = &mut self.moments {
                    moments.extend(Moment::control(batch, at, &record, self.voters.as_deref()));
                }
                match record {
                    ControlRecord::KRaftVersion(version) => self.kraft_version = Some(version),
                    ControlRecord::Voters(voters) => self.voters = Some(voters),
                    _ => {}
                }
            }
            return Ok(());
        }
        let records = batch.records().filter_map(Result::ok);
        let records = records.filter(|it| (from..limit).contains(&it.offset));
        let values = records.map(|it| (it.offset, it.value.unwrap_or_default()));
        let before = self.moments.is_some().then(|| Box::new(self.replayer.stable().clone()));
        self.records += load_values(&mut self.replayer, values)?;
        if let (Some(moments), Some(before)) = (&mut self.moments, before) {
            let after = Box::new(self.replayer.stable().clone());
            moments.push(Moment::of(batch, Happened::Metadata { before, after }));
        }
        Ok(())
    }
}
