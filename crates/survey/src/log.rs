//! The segments of a log, read through in order and applied, with the snapshots between them.

use crate::files::{BatchReader, Next};
use crate::finding::{BatchFile, Finding, Kind, Place};
use crate::snapshots::{self, SnapshotState};
use crate::voters::{self, KRAFT_VERSION_MAX, VotersAt, voter_ids};
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::{Batch, BatchErrorKind};
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use quorate_storage::{BOOTSTRAP_SNAPSHOT_ID, EpochStart};
use std::path::PathBuf;

/// What a segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentState {
    /// Of the file's name.
    pub base_offset: Offset,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Bytes of whole batches that continue the log.
    pub whole_bytes: u64,
    /// How many these are.
    pub batches: u64,
    /// One past the last record of them.
    pub end_offset: Offset,
}

/// The leader of an epoch, by its own record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAt {
    /// Offset of the record.
    pub offset: Offset,
    /// The epoch.
    pub epoch: Epoch,
    /// The leader.
    pub leader_id: NodeId,
    /// The voters as it knew them.
    pub voters: Vec<NodeId>,
}

/// The metadata at an offset.
#[derive(Clone, Debug)]
pub struct ImageAt {
    /// All metadata.
    pub image: Image,
    /// Where in the log it is.
    pub at: OffsetAndEpoch,
    /// Where it began: 0, or the end of a snapshot.
    pub base: OffsetAndEpoch,
    /// Metadata records applied since.
    pub records: u64,
}

/// Everything read from segments and snapshots.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    /// The segments, by offset; those behind damage are there by size only.
    pub segments: Vec<SegmentState>,
    /// The snapshots, by offset.
    pub snapshots: Vec<SnapshotState>,
    /// Epochs that begin in the log.
    pub epochs: Vec<EpochStart>,
    /// First offset of the log.
    pub start: Offset,
    /// Where the whole log ends, and the epoch of its last record; of the newest whole snapshot
    /// where that reaches further.
    pub end: OffsetAndEpoch,
    /// Timestamp of the last batch, milliseconds since the Unix epoch.
    pub last_timestamp_ms: Option<i64>,
    /// The last LeaderChange.
    pub leader: Option<LeaderAt>,
    /// `kraft.version` at the end.
    pub kraft_version: i16,
    /// The voter set at the end, of a dynamic quorum.
    pub voters: Option<VotersAt>,
    /// The best image that can be made.
    pub image: Option<ImageAt>,
    /// Where reading stopped for damage: the segment, and the byte in it.
    pub damaged: Option<(PathBuf, u64)>,
}

/// Reads segments (base offset and path, ascending) and snapshots (id and path, ascending).
/// `stop_at`: the image is to be as of that offset; reading goes on behind it.
pub(crate) fn scan(
    segments: &[(Offset, PathBuf)],
    snapshots: &[(OffsetAndEpoch, PathBuf)],
    stop_at: Option<Offset>,
    findings: &mut Vec<Finding>,
) -> LogState {
    let start = segments.first().map_or(0, |(base, _)| *base);
    let mut scan = Scan {
        state: LogState { start, ..LogState::default() },
        replay: (start == 0).then(|| Replay::new(Image::empty(), OffsetAndEpoch::default())),
        stop_at,
        snapshots: snapshots.iter().cloned().collect(),
        last_epoch: None,
        batch_ends: OffsetAndEpoch::default(),
        findings,
    };
    scan.run(segments);
    scan.state
}

struct Replay {
    replayer: Replayer,
    base: OffsetAndEpoch,
    at: OffsetAndEpoch,
    records: u64,
}

impl Replay {
    fn new(image: Image, base: OffsetAndEpoch) -> Replay {
        Replay { replayer: Replayer::new(image), base, at: base, records: 0 }
    }
}

struct Scan<'a> {
    state: LogState,
    /// `None`: there is nothing to apply the next records to.
    replay: Option<Replay>,
    stop_at: Option<Offset>,
    /// Those not read yet.
    snapshots: std::collections::VecDeque<(OffsetAndEpoch, PathBuf)>,
    last_epoch: Option<Epoch>,
    /// End of the batch read last.
    batch_ends: OffsetAndEpoch,
    findings: &'a mut Vec<Finding>,
}

impl Scan<'_> {
    fn run(&mut self, segments: &[(Offset, PathBuf)]) {
        let start = self.state.start;
        self.batch_ends.offset = start;
        // Those that end below the log are of no use to it, the first voter set excepted.
        while let Some((id, path)) = self.snapshots.pop_front_if(|(id, _)| id.offset < start) {
            self.read_snapshot(id, &path);
        }
        self.check_start(segments);
        self.pass_snapshots();
        let mut due = start;
        for (i, (base, path)) in segments.iter().enumerate() {
            if *base != due {
                let (place, found) = (Place::of(path).offset(*base), *base);
                let kind = if found > due {
                    Kind::SegmentGap { due, found }
                } else {
                    Kind::SegmentOverlap { due, found }
                };
                self.note(place, kind);
                self.give_up(&segments[i..]);
                break;
            }
            let is_last = i + 1 == segments.len();
            let whole = self.segment(*base, path, is_last);
            due = self.batch_ends.offset.max(*base);
            if !whole {
                self.give_up(&segments[i + 1..]);
                break;
            }
        }
        self.finish();
    }

    fn check_start(&mut self, segments: &[(Offset, PathBuf)]) {
        let start = self.state.start;
        let Some((_, path)) = segments.first() else { return };
        let newest = self.state.snapshots.last().map(|it| it.id);
        if start == 0 || !self.snapshots.is_empty() {
            return;
        }
        let kind = match newest.filter(|id| *id != BOOTSTRAP_SNAPSHOT_ID) {
            None => Kind::StartWithoutSnapshot { start },
            Some(snapshot) => Kind::StartAboveSnapshot { start, snapshot },
        };
        self.note(Place::of(path).offset(start), kind);
    }

    /// False: the log cannot be read behind it.
    fn segment(&mut self, base: Offset, path: &PathBuf, is_last: bool) -> bool {
        let mut state = SegmentState {
            base_offset: base,
            path: path.clone(),
            bytes: 0,
            whole_bytes: 0,
            batches: 0,
            end_offset: base,
        };
        let mut reader = match BatchReader::open(path) {
            Ok(reader) => reader,
            Err(error) => {
                self.note(Place::of(path), Kind::Unreadable { why: error.to_string() });
                self.state.damaged = Some((path.clone(), 0));
                self.state.segments.push(state);
                return false;
            }
        };
        state.bytes = reader.size;
        let mut whole = true;
        if reader.size == 0 && !is_last {
            self.note(Place::of(path).offset(base), Kind::EmptySegment);
        }
        loop {
            let due = state.end_offset;
            let place = Place::at(path, reader.position).offset(due);
            let kind = match reader.next() {
                Next::End => break,
                Next::Batch(batch) => match self.misplaced(&batch, due, state.batches == 0) {
                    Some(kind) => kind,
                    None => {
                        self.batch(&batch, path);
                        state.batches += 1;
                        state.end_offset = batch.header.end_offset();
                        state.whole_bytes = reader.position;
                        continue;
                    }
                },
                Next::Huge(bytes) => Kind::HugeBatch { bytes },
                Next::Io(error) => Kind::Unreadable { why: error.to_string() },
                Next::Broken { cause, unwritten } => {
                    let followed_by = reader.find_batch_behind(due).ok().flatten();
                    let cut = unwritten || matches!(cause, BatchErrorKind::Truncated { .. });
                    if is_last && followed_by.is_none() && cut {
                        let bytes = reader.size - reader.position;
                        Kind::TornTail { bytes, cause }
                    } else {
                        Kind::BrokenBatch { file: BatchFile::Segment, cause, followed_by }
                    }
                }
            };
            let torn = matches!(kind, Kind::TornTail { .. });
            self.note(place, kind);
            self.state.damaged = Some((path.clone(), state.whole_bytes));
            if !torn {
                whole = false;
            }
            break;
        }
        self.state.segments.push(state);
        whole
    }

    fn misplaced(&self, batch: &Batch, due: Offset, first: bool) -> Option<Kind> {
        let found = batch.base_offset();
        let epoch = batch.header.partition_leader_epoch;
        if found != due && first {
            return Some(Kind::WrongFirstOffset { found, name: due });
        }
        if found != due {
            return Some(Kind::WrongOffset { file: BatchFile::Segment, found, due });
        }
        if epoch < 0 {
            return Some(Kind::NegativeEpoch { epoch });
        }
        let from = self.last_epoch.filter(|last| epoch < *last)?;
        Some(Kind::EpochGoesDown { from, to: epoch })
    }

    fn batch(&mut self, batch: &Batch, path: &PathBuf) {
        let epoch = batch.header.partition_leader_epoch;
        let place = Place::at(path, batch.position).offset(batch.base_offset());
        let controls = if batch.is_control() {
            match control_records(batch) {
                Ok(records) => records,
                Err(error) => {
                    let why = error.to_string();
                    self.note(place.clone(), Kind::BadControlRecord { why });
                    Vec::new()
                }
            }
        } else {
            Vec::new()
        };
        if self.last_epoch != Some(epoch) {
            let led = matches!(controls.first(), Some((_, ControlRecord::LeaderChange { .. })));
            // Where the log was cut at its start, the epoch may have begun before.
            if !led && (self.last_epoch.is_some() || self.state.start == 0) {
                self.note(place.clone(), Kind::EpochWithoutLeader { epoch });
            }
            let start_offset = batch.base_offset();
            self.state.epochs.push(EpochStart { epoch, start_offset });
            self.last_epoch = Some(epoch);
        }
        for (offset, record) in controls {
            self.control(offset, record, epoch, &place.clone().offset(offset));
        }
        self.apply(batch, &place);
        self.state.last_timestamp_ms = Some(batch.header.max_timestamp);
        self.batch_ends = OffsetAndEpoch { offset: batch.header.end_offset(), epoch };
        self.pass_snapshots();
    }

    fn control(&mut self, offset: Offset, record: ControlRecord, epoch: Epoch, place: &Place) {
        match record {
            ControlRecord::LeaderChange { leader_id, voters, .. } => {
                self.state.leader = Some(LeaderAt { offset, epoch, leader_id, voters });
            }
            ControlRecord::KRaftVersion(version) => {
                if version > KRAFT_VERSION_MAX {
                    self.note(place.clone(), Kind::UnknownKraftVersion { version });
                }
                self.state.kraft_version = version;
            }
            ControlRecord::Voters(new) => {
                voters::check(&new, place, self.findings);
                if let Some(old) = &self.state.voters
                    && !voters::is_one_step(&old.voters, &new)
                {
                    let old = voter_ids(&old.voters);
                    self.note(place.clone(), Kind::VotersReplaced { old, new: voter_ids(&new) });
                }
                self.state.voters = Some(VotersAt { offset: Some(offset), voters: new });
            }
            ControlRecord::SnapshotHeader { .. } | ControlRecord::SnapshotFooter => {
                let (name, file) = (record.name(), BatchFile::Segment);
                self.note(place.clone(), Kind::MisplacedControlRecord { name, file });
            }
            ControlRecord::Unknown { kind, .. } => {
                self.note(place.clone(), Kind::UnknownControlRecord { kind });
            }
        }
    }

    fn apply(&mut self, batch: &Batch, place: &Place) {
        let stop = self.stop_at.unwrap_or(Offset::MAX);
        let Some(replay) = &mut self.replay else { return };
        if batch.header.end_offset() <= replay.at.offset || replay.at.offset >= stop {
            return;
        }
        if !batch.is_control() {
            let from = replay.at.offset;
            let records = batch.records().filter_map(Result::ok);
            let records = records.filter(|it| (from..stop).contains(&it.offset));
            let values = records.map(|it| (it.offset, it.value.unwrap_or_default()));
            match load_values(&mut replay.replayer, values) {
                Ok(count) => replay.records += count,
                Err(error) => {
                    let file = BatchFile::Segment;
                    self.replay = None;
                    self.note(place.clone(), Kind::BadRecord { error, file });
                    return;
                }
            }
        }
        let offset = batch.header.end_offset().min(stop);
        replay.at = OffsetAndEpoch { offset, epoch: batch.header.partition_leader_epoch };
    }

    /// Reads the snapshots that end where the log was read to, and compares.
    fn pass_snapshots(&mut self) {
        let here = self.batch_ends;
        while let Some((id, path)) = self.snapshots.pop_front_if(|(id, _)| id.offset <= here.offset)
        {
            let Some((state, image)) = self.read_snapshot(id, &path) else { continue };
            let place = Place::of(&path).offset(id.offset);
            if id == BOOTSTRAP_SNAPSHOT_ID {
                continue;
            }
            let epoch = self.epoch_before(id.offset);
            if let Some(log) = epoch.filter(|log| *log != id.epoch) {
                self.note(place, Kind::SnapshotOtherHistory { snapshot: id, log });
                continue;
            }
            if id.offset < here.offset {
                self.note(place, Kind::SnapshotInsideBatch { snapshot: id });
                continue;
            }
            self.compare(id, &state, image, place);
        }
    }

    fn compare(&mut self, id: OffsetAndEpoch, state: &SnapshotState, image: Image, place: Place) {
        let is_wanted = self.stop_at.is_none_or(|stop| id.offset <= stop);
        let difference = match &self.replay {
            Some(replay) if replay.at.offset == id.offset => {
                let difference = replay.replayer.stable().diff(&image);
                let first = difference.to_records().next().map(|(first, _)| first.name());
                first.map(|first| (difference.to_records().take(1000).count(), first))
            }
            // The log's own start, or damage before it.
            None if is_wanted => {
                self.replay = Some(Replay::new(image, id));
                None
            }
            _ => None,
        };
        if let Some((records, first)) = difference {
            let first = first.to_owned();
            self.note(place.clone(), Kind::SnapshotDisagrees { records, first });
        }
        let Some(of_snapshot) = &state.voters else { return };
        match &self.state.voters {
            Some(of_log) if id.offset > self.state.start || of_log.offset.is_some() => {
                let (snapshot, log) = (voter_ids(of_snapshot), voter_ids(&of_log.voters));
                if snapshot != log {
                    self.note(place, Kind::SnapshotOtherVoters { snapshot, log });
                }
            }
            _ => self.take_voters(state.kraft_version, of_snapshot.clone()),
        }
    }

    fn take_voters(&mut self, kraft_version: Option<i16>, voters: Vec<Voter>) {
        self.state.kraft_version = kraft_version.unwrap_or(0);
        self.state.voters = Some(VotersAt { offset: None, voters });
    }

    /// Reads it and keeps what it says; `None` if it is not whole.
    fn read_snapshot(
        &mut self,
        id: OffsetAndEpoch,
        path: &PathBuf,
    ) -> Option<(SnapshotState, Image)> {
        let (state, image) = snapshots::scan(path, id, self.findings);
        if let Some(other) = self.state.snapshots.last().filter(|it| it.id.offset == id.offset) {
            let other = other.id;
            self.note(Place::of(path), Kind::SnapshotTwice { other });
        }
        if id == BOOTSTRAP_SNAPSHOT_ID
            && let Some(voters) = &state.voters
        {
            self.take_voters(state.kraft_version, voters.clone());
        }
        self.state.snapshots.push(state.clone());
        Some((state, image?))
    }

    fn epoch_before(&self, offset: Offset) -> Option<Epoch> {
        let before = self.state.epochs.iter().rev().find(|it| it.start_offset < offset);
        before.map(|it| it.epoch)
    }

    fn give_up(&mut self, rest: &[(Offset, PathBuf)]) {
        let mut bytes = 0;
        for (base_offset, path) in rest {
            let size = std::fs::metadata(path).map_or(0, |it| it.len());
            bytes += size;
            self.state.segments.push(SegmentState {
                base_offset: *base_offset,
                path: path.clone(),
                bytes: size,
                whole_bytes: 0,
                batches: 0,
                end_offset: *base_offset,
            });
        }
        if let Some((_, path)) = rest.first() {
            self.state.damaged.get_or_insert_with(|| (path.clone(), 0));
            self.note(Place::of(path), Kind::Unreachable { segments: rest.len(), bytes });
        }
    }

    /// Snapshots behind the log's end, and the image.
    fn finish(&mut self) {
        let log_end = self.batch_ends;
        let mut end = OffsetAndEpoch { epoch: self.last_epoch.unwrap_or(0), ..log_end };
        while let Some((id, path)) = self.snapshots.pop_front() {
            let Some((state, image)) = self.read_snapshot(id, &path) else { continue };
            let place = Place::of(&path).offset(id.offset);
            self.note(place, Kind::SnapshotAheadOfLog { snapshot: id, log_end: end });
            if id > end {
                end = id;
                if let Some(voters) = state.voters {
                    self.take_voters(state.kraft_version, voters);
                }
            }
            if self.stop_at.is_none_or(|stop| id.offset <= stop) {
                self.replay = Some(Replay::new(image, id));
            }
        }
        // An empty log behind a snapshot is of the snapshot's epoch.
        if let Some(newest) = self.state.snapshots.iter().rfind(|it| it.is_whole)
            && newest.id.offset == end.offset
        {
            end.epoch = end.epoch.max(newest.id.epoch);
        }
        self.state.end = end;
        let Some(replay) = &self.replay else { return };
        let image = replay.replayer.stable().clone();
        let place =
            self.state.segments.last().map_or_else(Place::default, |it| Place::of(&it.path));
        let mut found = Vec::new();
        if let Some(name) = replay.replayer.open_transaction().filter(|_| self.stop_at.is_none()) {
            found.push(Kind::OpenTransaction { name: name.to_string() });
        }
        if replay.records > 0 && !image.features.has_metadata_version() {
            found.push(Kind::NoMetadataVersion);
        }
        let (at, base, records) = (replay.at, replay.base, replay.records);
        self.state.image = Some(ImageAt { image, at, base, records });
        for kind in found {
            self.note(place.clone(), kind);
        }
    }

    fn note(&mut self, place: Place, kind: Kind) {
        self.findings.push(Finding { place, kind });
    }
}
