//! A shadow of a running quorum: its log kept and replayed, its checkpoints compared as they appear.

use crate::compare::{Comparison, compare, without_secrets};
use crate::redecide::Redecider;
use crate::replica::{last_change, load_snapshot};
use crate::{Applied, Mirror, Replica, ShadowError, Source, Step};
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_controller::ControllerConfig;
use quorate_storage::{
    BOOTSTRAP_SNAPSHOT_ID, FileDisk, SnapshotReader, StorageError, parse_snapshot_file_name,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is kept of the past. The log is kept from the oldest snapshot kept on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// So many snapshots.
    Snapshots(usize),
    /// Whatever is needed to go back so far.
    Duration(Duration),
}

/// A checkpoint that was compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// The checkpoint.
    pub id: OffsetAndEpoch,
    /// Where it was read: "the leader", or the file.
    pub origin: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Records, and which differ.
    pub comparison: Comparison,
    /// For the first difference, the last record of the log about the same: offset and record.
    pub last_change: Option<(Offset, String)>,
    /// Replaying the log from the checkpoint before to this one.
    pub replay: Duration,
    /// Loading the checkpoint as a start does.
    pub load: Duration,
}

/// A checkpoint file that is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// The checkpoint.
    pub id: OffsetAndEpoch,
    /// Where it was read.
    pub origin: String,
    /// What is wrong, with the place.
    pub why: String,
}

/// Follows, replays, compares.
pub struct Shadow {
    mirror: Mirror,
    tip: Replica,
    /// The last state known to be right; comparisons replay from here.
    base: Replica,
    redecider: Option<Redecider>,
    keep: Keep,
    done: BTreeSet<(PathBuf, OffsetAndEpoch)>,
    /// Checkpoints compared so far.
    pub compared: Vec<Compared>,
    /// Checkpoints that cannot be read.
    pub damaged: Vec<Damaged>,
    /// Everything applied since this process started, what was read again at its start included.
    pub applied: Applied,
    /// Time spent applying that.
    pub applying: Duration,
    /// Where following (re)started from a snapshot.
    pub restarts: Vec<OffsetAndEpoch>,
}

impl Shadow {
    /// Over a copy, which may hold what an earlier run left. `decide`: settings to decide again with.
    pub fn open(
        mirror: Mirror,
        decide: Option<ControllerConfig>,
        keep: Keep,
    ) -> Result<Shadow, ShadowError> {
        let base = match oldest_usable(&mirror)? {
            Some(id) => load_snapshot(mirror.snapshots(), id)?,
            None => Replica::empty(),
        };
        let mut shadow = Shadow {
            tip: base.clone(),
            base,
            redecider: decide.map(Redecider::new),
            keep,
            done: BTreeSet::new(),
            compared: Vec::new(),
            damaged: Vec::new(),
            applied: Applied::default(),
            applying: Duration::ZERO,
            restarts: Vec::new(),
            mirror,
        };
        shadow.apply()?;
        Ok(shadow)
    }

    /// The copy.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The newest state.
    pub fn tip(&self) -> &Replica {
        &self.tip
    }

    /// What deciding again came to, if asked for.
    pub fn redecided(&mut self) -> Option<&crate::redecide::Redecided> {
        self.redecider.as_mut().map(Redecider::result)
    }

    /// One exchange with the leader; what is newly committed is applied.
    pub fn step(&mut self, source: &mut Source, now_ms: i64) -> Result<Step, ShadowError> {
        let step = self.mirror.step(source, now_ms)?;
        match &step {
            Step::Idle => {}
            Step::Grown { .. } => self.apply()?,
            Step::Restarted { at, .. } => {
                self.tip = load_snapshot(self.mirror.snapshots(), *at)?;
                self.base = self.tip.clone();
                self.restarts.push(*at);
            }
        }
        Ok(step)
    }

    /// Asks the leader for its newest snapshot, fetches one that is new, and compares all that can be.
    pub fn look_at_the_leader(&mut self, source: &mut Source) -> Result<(), ShadowError> {
        if let Some(id) = source.newest_snapshot()?
            && id.offset <= self.tip.end().offset
            && !self.mirror.snapshots().list()?.contains(&id)
        {
            self.mirror.fetch_snapshot(source, id)?;
        }
        self.compare_fetched()
    }

    /// Compares snapshots in the copy that were not compared yet, then forgets old ones.
    pub fn compare_fetched(&mut self) -> Result<(), ShadowError> {
        let ids = self.mirror.snapshots().list()?;
        for id in &ids {
            let path = self.mirror.snapshots().path(*id);
            self.compare_file(*id, &path, "the leader".to_owned())?;
        }
        let compared = |id: &OffsetAndEpoch| self.compared.iter().any(|it| it.id == *id);
        if ids.len() < 2 || !ids[1..].iter().all(compared) {
            return Ok(());
        }
        let oldest = match self.keep {
            Keep::Snapshots(count) => ids.len().checked_sub(count.max(1)).map(|at| ids[at]),
            Keep::Duration(duration) => self.newest_older_than(&ids, duration)?,
        };
        if let Some(oldest) = oldest.filter(|it| *it != ids[0]) {
            self.mirror.forget_below(oldest)?;
        }
        Ok(())
    }

    /// Compares the checkpoints in a metadata directory beside (a Java node's
    /// `__cluster_metadata-0`, or copies).
    pub fn compare_directory(&mut self, dir: &Path) -> Result<(), ShadowError> {
        let entries = std::fs::read_dir(dir).map_err(|e| crate::storage_at(dir, e))?;
        let mut found: Vec<(OffsetAndEpoch, PathBuf)> = entries
            .filter_map(|entry| entry.ok().map(|it| it.path()))
            .filter_map(|path| {
                let id = parse_snapshot_file_name(path.file_name()?.to_str()?)?;
                Some((id, path))
            })
            .collect();
        found.sort_by_key(|(id, _)| (id.offset, id.epoch));
        for (id, path) in found {
            let origin = path.display().to_string();
            self.compare_file(id, &path, origin)?;
        }
        Ok(())
    }

    /// From it on everything younger can be had.
    fn newest_older_than(
        &self,
        ids: &[OffsetAndEpoch],
        age: Duration,
    ) -> Result<Option<OffsetAndEpoch>, ShadowError> {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let limit_ms = self.tip.timestamp_ms().saturating_sub(age_ms);
        for id in ids.iter().rev() {
            let reader = self.mirror.snapshots().open(*id)?;
            if reader.last_contained_log_timestamp_ms() <= limit_ms {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    fn compare_file(
        &mut self,
        id: OffsetAndEpoch,
        path: &Path,
        origin: String,
    ) -> Result<(), ShadowError> {
        let known = (path.to_owned(), id);
        let too_early = id.offset < self.base.end().offset && self.mirror.reader().log_start() > 0;
        if id == BOOTSTRAP_SNAPSHOT_ID
            || id.offset > self.tip.end().offset
            || too_early
            || self.done.contains(&known)
        {
            return Ok(());
        }
        match self.compare_at(id, path, &origin) {
            Ok(compared) => {
                self.done.insert(known);
                self.compared.push(compared);
                Ok(())
            }
            Err(ShadowError::Storage(error)) => match error {
                StorageError::Corrupt { file, position, why } if file == path => {
                    self.done.insert(known);
                    let why = format!("{} is corrupt at byte {position}: {why}", file.display());
                    self.damaged.push(Damaged { id, origin, why });
                    Ok(())
                }
                // Its owner removed it while it was read.
                StorageError::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    Ok(())
                }
                other => Err(other.into()),
            },
            Err(other) => Err(other),
        }
    }

    fn compare_at(
        &mut self,
        id: OffsetAndEpoch,
        path: &Path,
        origin: &str,
    ) -> Result<Compared, ShadowError> {
        let from =
            if id.offset < self.base.end().offset { Replica::empty() } else { self.base.clone() };
        let mut expected = from.clone();
        let start = Instant::now();
        expected.replay(self.mirror.reader(), id.offset, |_, _| ())?;
        let replay = start.elapsed();
        let mut reader = SnapshotReader::open(&FileDisk, path)?;
        let start = Instant::now();
        while reader.next_values()?.is_some() {}
        let bytes = reader.size_bytes();
        let mut reader = SnapshotReader::open(&FileDisk, path)?;
        let comparison = compare(expected.image(), Some(expected.quorum()), id, &mut reader)?;
        let load = start.elapsed();
        let key = comparison.differences.first().and_then(|it| it.record_key.as_ref());
        let last_change = match key {
            Some(key) => {
                let log_start = self.mirror.reader().log_start();
                last_change(self.mirror.reader(), log_start, id.offset, key)?
                    .map(|(offset, record)| (offset, format!("{:?}", without_secrets(record))))
            }
            None => None,
        };
        if comparison.differing == 0 && id.offset >= self.base.end().offset {
            self.base = expected;
        }
        let origin = origin.to_owned();
        Ok(Compared { id, origin, bytes, comparison, last_change, replay, load })
    }

    fn apply(&mut self) -> Result<(), ShadowError> {
        let until = self.mirror.reader().log_end();
        let redecider = &mut self.redecider;
        let start = Instant::now();
        let applied = self.tip.replay(self.mirror.reader(), until, |before, records| {
            if let Some(redecider) = redecider {
                redecider.batch(before.latest(), records);
            }
        })?;
        self.applying += start.elapsed();
        self.applied.records += applied.records;
        self.applied.batches += applied.batches;
        self.applied.bytes += applied.bytes;
        Ok(())
    }
}

/// The oldest snapshot from which the whole rest of the log can be replayed; `None` if the log goes
/// back to its first record.
fn oldest_usable(mirror: &Mirror) -> Result<Option<OffsetAndEpoch>, ShadowError> {
    let start = mirror.reader().log_start();
    if start == 0 {
        return Ok(None);
    }
    let all = mirror.snapshots().list()?;
    let oldest = all.into_iter().find(|id| id.offset >= start);
    oldest.map(Some).ok_or_else(|| {
        ShadowError::NotThere(format!(
            "the copy's log starts at offset {start} and no snapshot reaches there; remove the directory \
             and begin anew"
        ))
    })
}

/// What taking over would cost, measured on the copy: loading its newest snapshot, then replaying the
/// rest of the log, as a cold start does.
pub fn cold_start(mirror: &Mirror) -> Result<ColdStart, ShadowError> {
    let end = mirror.reader().log_end();
    let ids = mirror.snapshots().list()?;
    let newest = ids.into_iter().rfind(|id| id.offset <= end && *id != BOOTSTRAP_SNAPSHOT_ID);
    let start = Instant::now();
    let mut replica = match newest {
        Some(id) => load_snapshot(mirror.snapshots(), id)?,
        None => Replica::empty(),
    };
    let load = start.elapsed();
    let start = Instant::now();
    let replayed = replica.replay(mirror.reader(), end, |_, _| ())?;
    let replay = start.elapsed();
    Ok(ColdStart { snapshot: newest, load, replayed, replay })
}

/// See [`cold_start`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColdStart {
    /// What was loaded.
    pub snapshot: Option<OffsetAndEpoch>,
    /// How long that took.
    pub load: Duration,
    /// What was replayed after it.
    pub replayed: Applied,
    /// How long that took.
    pub replay: Duration,
}
