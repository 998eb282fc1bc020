//! What the HTTP listener can see. It reads channels and atomics; nothing here ever asks the core thread.

use super::health::{self, Signs};
use super::history::History;
use crate::config::address::Listener;
use crate::driver::clock::wall_ms;
use crate::driver::core::Published;
use crate::driver::meter::CoreView;
use crate::driver::queue::WaitingRequests;
use crate::metrics;
use crate::metrics::dialect::Dialect;
use crate::metrics::files::FileFacts;
use crate::metrics::process::ProcessStats;
use crate::metrics::sample::{Brokers, Sample, SnapshotFacts};
use crate::telemetry::Telemetry;
use quorate_base::{NodeId, Now, Offset, Time, Uuid};
use quorate_metadata::{Image, RecoveryState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// A hash is asked for by whoever can reach the listener: at most one in this time is computed.
const HASH_PAUSE: Duration = Duration::from_secs(1);
/// How often the metric's hash is renewed, if the image changed.
const HASH_INTERVAL: Duration = Duration::from_secs(60);
/// Hashing for the metric takes at most this share of one processor.
const HASH_SHARE: u32 = 100;
/// Rest between two looks at the log directory.
const FILES_PAUSE: Duration = Duration::from_secs(10);
/// Rest between two looks at what changed in the image.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub node_id: NodeId,
    /// The cluster's id.
    pub cluster_id: String,
    /// Its metadata directory's id.
    pub directory_id: Uuid,
    /// Its listeners as others dial them.
    pub listeners: Vec<Listener>,
    /// Whether `controller.quorum.voters` is set.
    pub has_static_voters: bool,
}

/// See the module.
pub struct Board {
    /// Who this node is.
    pub identity: Identity,
    /// What the process counts.
    pub telemetry: Arc<Telemetry>,
    /// What happened lately.
    pub history: History,
    dialects: Vec<Dialect>,
    views: watch::Receiver<Option<Arc<CoreView>>>,
    published: watch::Receiver<Published>,
    waiting: WaitingRequests,
    started_ms: i64,
    hash: Mutex<Option<Hashed>>,
    /// Offset of a snapshot seen, and when it came, in milliseconds since 1970.
    snapshot_seen: (AtomicI64, AtomicI64),
    metric_hash: (AtomicI64, AtomicU64),
    files: watch::Sender<FileFacts>,
}

#[derive(Clone, Copy)]
struct Hashed {
    offset: Offset,
    hash: u64,
    at: Time,
    took: Duration,
}

/// Where the board looks.
pub struct Windows {
    /// The node and its quorum.
    pub views: watch::Receiver<Option<Arc<CoreView>>>,
    /// The committed metadata.
    pub published: watch::Receiver<Published>,
    /// The core's queue.
    pub waiting: WaitingRequests,
}

impl Board {
    /// A board of a node that is about to start.
    pub fn new(
        identity: Identity,
        telemetry: Arc<Telemetry>,
        dialects: Vec<Dialect>,
        windows: Windows,
    ) -> Board {
        let Windows { views, published, waiting } = windows;
        Board {
            identity,
            telemetry,
            history: History::default(),
            dialects,
            views,
            published,
            waiting,
            started_ms: wall_ms(),
            hash: Mutex::new(None),
            snapshot_seen: (AtomicI64::new(0), AtomicI64::new(0)),
            metric_hash: (AtomicI64::new(-1), AtomicU64::new(0)),
            files: watch::Sender::new(FileFacts::default()),
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.telemetry.clock.now()
    }

    /// The committed metadata.
    pub fn image(&self) -> Image {
        self.published.borrow().image.clone()
    }

    /// The node as the core thread last saw it.
    pub fn view(&self) -> Option<Arc<CoreView>> {
        self.views.borrow().clone()
    }

    /// What verdicts about health are made of.
    pub fn signs<'a>(&self, view: Option<&'a CoreView>, now: Now) -> Signs<'a> {
        let heartbeat = self.telemetry.core.heartbeat();
        Signs { view, heartbeat, stopping: self.telemetry.is_stopping(), now }
    }

    /// A snapshot of this offset was in the directory at the start, and when it was written.
    pub fn found_snapshot(&self, offset: Offset, written_ms: i64) {
        self.snapshot_seen.1.store(written_ms, Relaxed);
        self.snapshot_seen.0.store(offset, Relaxed);
    }

    /// The newest snapshot, if there is one.
    pub fn snapshot(&self, view: &CoreView, now: Now) -> Option<SnapshotFacts> {
        let id = view.node.snapshot;
        if id.offset == 0 {
            return None;
        }
        // The follower below notes each new one within a second.
        let since_ms = match self.snapshot_seen.0.load(Relaxed) == id.offset {
            true => now.wall_ms - self.snapshot_seen.1.load(Relaxed),
            false => 0,
        };
        Some(SnapshotFacts { id, age_seconds: since_ms.max(0) as f64 / 1000.0 })
    }

    /// The page of metrics.
    pub fn metrics_page(&self, sample: &Sample) -> String {
        metrics::page(sample, &self.dialects).render()
    }

    /// One look at everything.
    pub fn sample(&self) -> Sample {
        let now = self.now();
        let view = self.view();
        let Published { image, offset: applied } = self.published.borrow().clone();
        let hash_offset = self.metric_hash.0.load(Relaxed);
        Sample {
            node_id: self.identity.node_id,
            now,
            uptime: self.telemetry.uptime(),
            brokers: Brokers::of(&image),
            has_static_voters: self.identity.has_static_voters,
            waiting_requests: self.waiting.count(),
            process: ProcessStats::read(),
            started_ms: self.started_ms,
            files: *self.files.borrow(),
            hash: (hash_offset >= 0).then(|| (hash_offset, self.metric_hash.1.load(Relaxed))),
            snapshot: view.as_deref().and_then(|view| self.snapshot(view, now)),
            standbys: view
                .as_deref()
                .and_then(|view| health::standbys(view, self.identity.node_id, now)),
            not_ready: health::ready(&self.signs(view.as_deref(), now)).err(),
            telemetry: self.telemetry.clone(),
            view,
            image,
            applied,
        }
    }

    /// The hash of the newest committed metadata, or one that is a second old at most. Computed away
    /// from the sockets' threads, by one caller while others wait for it.
    pub async fn hash(self: &Arc<Board>) -> Option<(Offset, u64)> {
        self.hash_at_most_every(HASH_PAUSE).await.map(|it| (it.offset, it.hash))
    }

    async fn hash_at_most_every(self: &Arc<Board>, pause: Duration) -> Option<Hashed> {
        let mut cached = self.hash.lock().await;
        let Published { image, offset } = self.published.borrow().clone();
        let clock = self.telemetry.clock;
        if let Some(hashed) = *cached
            && (hashed.offset == offset || clock.time().since(hashed.at) < pause)
        {
            return Some(hashed);
        }
        let before = clock.time();
        let work = tokio::task::spawn_blocking(move || image.content_hash());
        let hash = work.await.ok()?;
        let at = clock.time();
        let hashed = Hashed { offset, hash, at, took: at.since(before) };
        *cached = Some(hashed);
        self.metric_hash.1.store(hash, Relaxed);
        self.metric_hash.0.store(offset, Relaxed);
        Some(hashed)
    }

    /// Keeps the metric's hash fresh until the process ends.
    pub async fn keep_hashing(self: Arc<Board>) {
        let mut published = self.published.clone();
        // What is there before the first publication is no state of the cluster.
        while published.wait_for(|it| it.offset > 0).await.is_ok() {
            let took =
                self.hash_at_most_every(HASH_INTERVAL).await.map_or(Duration::ZERO, |it| it.took);
            tokio::time::sleep(HASH_INTERVAL.max(took * HASH_SHARE)).await;
        }
    }

    /// Looks at the log directory `root` until the process ends.
    pub async fn watch_files(self: Arc<Board>, root: PathBuf, metadata_dir: PathBuf) {
        loop {
            let (root, metadata_dir) = (root.clone(), metadata_dir.clone());
            let look = move || FileFacts::look(&root, &metadata_dir);
            let Ok(facts) = tokio::task::spawn_blocking(look).await else { return };
            self.files.send_replace(facts);
            tokio::time::sleep(FILES_PAUSE).await;
        }
    }

    /// Counts elections in the committed metadata, and notes new snapshots, until the process ends.
    pub async fn follow_image(self: Arc<Board>) {
        let mut published = self.published.clone();
        let mut last = published.borrow_and_update().image.clone();
        while published.changed().await.is_ok() {
            let newer = published.borrow_and_update().image.clone();
            let board = self.clone();
            // Comparing, and dropping the older image, may take long.
            let compared = tokio::task::spawn_blocking(move || {
                count_elections(&last, &newer, &board.telemetry);
                board.history.compare(&last, &newer, wall_ms());
                drop(last);
                newer
            });
            let Ok(newer) = compared.await else { return };
            last = newer;
            self.note_snapshot();
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }

    /// Notes who leads the quorum until the process ends.
    pub async fn follow_leaders(self: Arc<Board>) {
        let mut views = self.views.clone();
        let mut last = None;
        while views.changed().await.is_ok() {
            let seen = views.borrow_and_update().as_ref().map(|it| it.node.status);
            let Some(status) = seen else { continue };
            let now = (status.leader, status.epoch);
            if last == Some(now) {
                continue;
            }
            last = Some(now);
            let what = match status.leader {
                Some(leader) => format!("{leader} leads epoch {}", status.epoch),
                None => format!("nobody is known to lead epoch {}", status.epoch),
            };
            self.history.add(wall_ms(), "controller", what);
        }
    }

    fn note_snapshot(&self) {
        let Some(view) = self.view() else { return };
        let offset = view.node.snapshot.offset;
        if self.snapshot_seen.0.load(Relaxed) != offset {
            self.found_snapshot(offset, wall_ms());
        }
    }
}

/// Counts what Kafka counts: a new leader that has to recover was elected uncleanly; one that was among
/// the eligible replicas before was elected from them.
fn count_elections(older: &Image, newer: &Image, telemetry: &Telemetry) {
    for change in older.diff(newer).partitions() {
        let (Some(old), Some(new)) = (change.old, change.new) else { continue };
        let Some(leader) = new.leader() else { continue };
        if old.leader() == Some(leader) || old.isr().contains(&leader) {
            continue;
        }
        if new.leader_recovery_state() == RecoveryState::Recovering {
            telemetry.unclean_elections.increment();
        } else if old.elr().contains(&leader) {
            telemetry.elr_elections.increment();
        }
    }
}
