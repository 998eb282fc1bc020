//! `quorate server`: from a properties file to an exit code.

use crate::audit::Audit;
use crate::config::address::Listener;
use crate::config::{ConfigError, ServerConfig};
use crate::driver::clock::{Clock, wall_ms};
use crate::driver::core::{self, CoreTools, Published, exit};
use crate::driver::disk::DiskThread;
use crate::driver::queue::{CoreQueue, Standing, core_queue};
use crate::driver::snapshots::{SnapshotThread, SnapshotTools};
use crate::driver::source::{DiskSource, LogSource};
use crate::http::board::{Board, Identity, Windows};
use crate::http::{self, HttpLimits};
use crate::net::Edge;
use crate::net::accept::{self, Bound};
use crate::net::credentials::{ImageCredentials, OnDisk};
use crate::net::peer::Peers;
use crate::net::security::{self, Security, SecurityError, SharedCredentials};
use crate::node_config::node_config;
use crate::telemetry::Telemetry;
use crate::{logging, random};
use quorate_base::{NodeId, Prng};
use quorate_host::Votes;
use quorate_metadata::Image;
use quorate_node::Event;
use quorate_storage::{
    FileDisk, LogConfig, METADATA_DIR, NodeDir, NodeDirConfig, Retention, StorageError,
    open_node_dir,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Threads that read old log ranges and snapshots for answers.
const READER_THREADS: usize = 4;
/// Threads that own the sockets.
const SOCKET_THREADS: usize = 2;
/// How long open connections may finish once the node has ended.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Key stores, trust stores, keys for tokens.
    #[error("{0}")]
    Security(#[from] SecurityError),
    /// The directory.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// A listener's socket.
    #[error("cannot listen on {listener}: {why}")]
    Listen {
        /// The listener.
        listener: Listener,
        /// What the system said.
        why: std::io::Error,
    },
    /// The system refused a thread or the like.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The bootstrap records of the directory.
    #[error("the bootstrap records of the directory cannot be read: {0}; format it again")]
    Bootstrap(quorate_protocol::WireError),
}

impl StartError {
    /// For the process.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::Config(_) | StartError::Security(_) => exit::USAGE,
            StartError::Storage(error) => error.exit_code(),
            StartError::Listen { .. } | StartError::System(_) => exit::FAILED,
            StartError::Bootstrap(_) => exit::REFUSED,
        }
    }
}

/// Runs a server in the foreground until it is told to stop, and gives the exit code.
pub fn run(file: &Path, overrides: &[String]) -> i32 {
    match start_and_wait(file, overrides) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}

fn start_and_wait(file: &Path, overrides: &[String]) -> Result<i32, StartError> {
    let config = ServerConfig::load(file, overrides)?;
    logging::start(&config.log_level);
    if !config.unknown.is_empty() {
        tracing::warn!(
            "neither Kafka nor Quorate knows these settings: {}",
            config.unknown.join(", ")
        );
    }
    let mut prng = Prng::new(random::seed()?);
    let disk: Arc<dyn quorate_storage::Disk> = Arc::new(FileDisk);
    let dir = open_node_dir(disk, &dir_config(&config), &mut prng, wall_ms())?;
    report_mended(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SOCKET_THREADS)
        .max_blocking_threads(READER_THREADS)
        .thread_name("quorate-net")
        .enable_all()
        .build()?;
    let bound = runtime.block_on(bind_all(&config))?;
    let http = runtime.block_on(bind_http(&config))?;
    let advertised = advertised(&config, &bound);
    let server = Server::start(&config, dir, &advertised, http, &runtime, &mut prng)?;
    Ok(server.serve(runtime, bound, config.node_id))
}

fn dir_config(config: &ServerConfig) -> NodeDirConfig {
    let others = config.log_dirs.iter().filter(|dir| **dir != config.metadata_dir);
    NodeDirConfig {
        root: config.metadata_dir.clone(),
        other_roots: others.cloned().collect(),
        node_id: config.node_id,
        cluster_id: None,
        log: LogConfig {
            segment_bytes: config.log.segment_bytes,
            segment_ms: millis(config.log.segment_age),
        },
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn report_mended(dir: &NodeDir) {
    if let Some(torn) = &dir.recovery.torn_tail {
        let (file, position, bytes) = (torn.file.display(), torn.position, torn.bytes);
        tracing::warn!(%file, position, bytes, why = torn.why, "cut off a batch that a crash left unfinished");
    }
    if let Some(id) = dir.recovery.restarted_at {
        tracing::warn!(%id, "the log was behind its newest snapshot and starts at its end");
    }
}

async fn bind_all(config: &ServerConfig) -> Result<Vec<Bound>, StartError> {
    let mut all = Vec::new();
    for listener in &config.listeners {
        let bound = accept::bind(listener, config.network.listen_backlog).await;
        all.push(bound.map_err(|why| StartError::Listen { listener: listener.clone(), why })?);
    }
    Ok(all)
}

async fn bind_http(config: &ServerConfig) -> Result<Option<Bound>, StartError> {
    let Some(listener) = &config.http else { return Ok(None) };
    let bound = http::bind(listener).await;
    let bound = bound.map_err(|why| StartError::Listen { listener: listener.clone(), why })?;
    let address = bound.address;
    tracing::info!(%address, "health, status and metrics are served over HTTP");
    Ok(Some(bound))
}

/// When the newest snapshot was written, by its file.
fn snapshot_written_ms(path: &Path) -> Option<i64> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// The listeners as others dial them: the machine's name where no host is given, the real port where
/// the system chose it.
fn advertised(config: &ServerConfig, bound: &[Bound]) -> Vec<Listener> {
    let complete = |(listener, bound): (&Listener, &Bound)| {
        let mut listener = listener.clone();
        if listener.host.is_empty() {
            let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
            listener.host = name.unwrap_or_else(|| "localhost".to_owned());
        }
        if listener.port == 0 {
            listener.port = bound.address.port();
        }
        listener
    };
    config.advertised_listeners.iter().zip(bound).map(complete).collect()
}

/// A node with its threads, not yet listening.
struct Server {
    edge: Arc<Edge>,
    queue: CoreQueue,
    standing: watch::Receiver<Standing>,
    core: JoinHandle<core::End>,
    disk: JoinHandle<()>,
    snapshots: JoinHandle<()>,
    audit: Arc<Audit>,
    lock: Box<dyn quorate_storage::DiskLock>,
    listeners: String,
}

impl Server {
    fn start(
        config: &ServerConfig,
        dir: NodeDir,
        advertised: &[Listener],
        http: Option<Bound>,
        runtime: &Runtime,
        prng: &mut Prng,
    ) -> Result<Server, StartError> {
        let telemetry = Telemetry::new(Clock::start());
        let clock = telemetry.clock;
        let (queue, inbox) = core_queue();
        let (views, views_seen) = watch::channel(None);
        let (published, published_seen) =
            watch::channel(Published { image: Image::empty(), offset: 0 });
        // Before the snapshot is read, which may take long: probes must see that this is a start.
        if let Some(bound) = http {
            let identity = Identity {
                node_id: config.node_id,
                cluster_id: dir.meta.cluster_id.clone(),
                directory_id: dir.directory_id,
                listeners: advertised.to_vec(),
                has_static_voters: !config.static_voters.is_empty(),
            };
            let windows = Windows {
                views: views_seen,
                published: published_seen.clone(),
                waiting: queue.waiting(),
            };
            let dialects = config.metrics_dialects.clone();
            let board = Arc::new(Board::new(identity, telemetry.clone(), dialects, windows));
            if let Some(id) = dir.newest_snapshot
                && let Some(written_ms) = snapshot_written_ms(&dir.snapshots.path(id))
            {
                board.found_snapshot(id.offset, written_ms);
            }
            runtime.spawn(board.clone().follow_image());
            runtime.spawn(board.clone().follow_leaders());
            runtime.spawn(board.clone().keep_hashing());
            let root = config.metadata_dir.clone();
            let metadata_dir = root.join(METADATA_DIR);
            runtime.spawn(board.clone().watch_files(root, metadata_dir));
            runtime.spawn(http::serve(bound, board, HttpLimits::default()));
        }
        let recovered = quorate_host::recover(&dir)?;
        if recovered.image_id.offset > 0 {
            telemetry.core.snapshots_loaded.increment();
        }
        let node_config = node_config(config, advertised, &dir, prng.next_u64())
            .map_err(StartError::Bootstrap)?;
        let on_disk = if config.security.uses_scram() {
            let (image, from) = (&recovered.image, recovered.image_id.offset);
            OnDisk::read(image, from, &dir.reader, &node_config.controller.bootstrap_records)?
        } else {
            OnDisk::nothing()
        };
        let token_key = config.controller.delegation_token_secret.clone();
        let credentials: SharedCredentials =
            Arc::new(ImageCredentials::new(published_seen, on_disk, token_key));
        let security = Arc::new(Security::load(&config.security, &credentials)?);
        runtime.spawn(watch_certificates(security.clone(), telemetry.clone()));
        let NodeDir { log, reader, snapshots, votes, lock, .. } = dir;
        let (disk, disk_thread) = DiskThread::start(log, queue.clone(), telemetry.clone())?;
        let source: Arc<dyn LogSource> =
            Arc::new(DiskSource::new(reader, snapshots.clone(), disk.clone()));
        let (snapshots, snapshots_thread) = SnapshotThread::start(SnapshotTools {
            snapshots,
            disk: disk.clone(),
            core: queue.clone(),
            retention: Retention {
                max_bytes: config.log.retention_bytes,
                max_ms: config.log.retention_age.map(millis),
            },
            wall_ms,
            prng: Prng::new(prng.next_u64()),
        })?;
        let peers = Peers::new(
            runtime.handle().clone(),
            queue.clone(),
            format!("quorate-{}", config.node_id),
            config.network.connect_timeout,
            config.network.request_max_bytes,
            telemetry.clone(),
            security.outgoing.clone(),
        );
        let authorizes = config.authorizer.is_some();
        let (stats, dir) = (telemetry.audit.clone(), &config.metadata_dir);
        let audit = Audit::start(&config.audit, config.node_id, dir, authorizes, stats)?;
        let audit = Arc::new(audit);
        let (standing, standing_seen) = watch::channel(Standing::default());
        let (retired, to_drop) = channel::<Image>();
        // Freeing a large image takes as long as building it.
        std::thread::Builder::new()
            .name("quorate-drop".to_owned())
            .spawn(move || to_drop.into_iter().for_each(drop))?;
        let tools = CoreTools {
            clock,
            inbox,
            queue: queue.clone(),
            elections: Box::new(Votes(votes)),
            disk,
            snapshots,
            source: source.clone(),
            peers,
            runtime: runtime.handle().clone(),
            standing,
            views,
            telemetry: telemetry.clone(),
            published,
            retired,
        };
        let edge = Arc::new(
            Edge::new(queue.clone(), source, clock, config.network.clone())
                .counting_into(telemetry.clone())
                .guarded_by(security)
                .audited_by(audit.clone()),
        );
        let core = std::thread::Builder::new()
            .name("quorate-core".to_owned())
            .spawn(move || core::run(node_config, recovered, tools))?;
        let listeners: Vec<String> = advertised.iter().map(Listener::to_string).collect();
        Ok(Server {
            edge,
            queue,
            standing: standing_seen,
            core,
            disk: disk_thread,
            snapshots: snapshots_thread,
            audit,
            lock,
            listeners: listeners.join(","),
        })
    }

    /// Listens until the node ends.
    fn serve(self, runtime: Runtime, bound: Vec<Bound>, node_id: NodeId) -> i32 {
        runtime.spawn(shut_down_on_signal(self.queue.clone(), self.edge.telemetry.clone()));
        runtime.spawn(print_when_ready(self.standing, node_id, self.listeners));
        for bound in bound {
            runtime.spawn(accept::accept(self.edge.clone(), bound));
        }
        drop((self.edge, self.queue));
        let ended = self.core.join();
        runtime.shutdown_timeout(LAST_ANSWERS);
        self.audit.close();
        let synced = self.disk.join();
        let written = self.snapshots.join();
        drop(self.lock);
        match (ended, synced, written) {
            (Ok(end), Ok(()), Ok(())) => {
                tracing::info!(exit_code = end.exit_code, "stopped");
                end.exit_code
            }
            _ => {
                tracing::error!("a thread ended by a broken invariant; see the lines above");
                exit::FAILED
            }
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP hand over and end; a second one ends at once.
async fn shut_down_on_signal(core: CoreQueue, telemetry: Arc<Telemetry>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut term), Ok(mut int), Ok(mut hup)] = kinds.map(signal) else {
        tracing::error!("signals cannot be caught: the process will not end cleanly");
        return;
    };
    for times in 0.. {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => {}
        }
        if times == 0 {
            tracing::info!("told to stop: handing over");
            telemetry.stop();
            core.tell(Event::Shutdown);
        } else {
            core.fail("told to stop again while handing over".to_owned(), exit::FAILED);
        }
    }
}

/// Keeps stores as their files are, also while nobody connects, and tells when certificates end.
async fn watch_certificates(security: Arc<Security>, telemetry: Arc<Telemetry>) {
    loop {
        let (security, telemetry) = (security.clone(), telemetry.clone());
        let looking = tokio::task::spawn_blocking(move || {
            security.look_again();
            let ends = security.first_certificate_ends();
            telemetry.certificates.set(ends, security.unusable_stores());
        });
        // It fails only where it panicked, and then the next look tells as little.
        let _ = looking.await;
        tokio::time::sleep(security::LOOK_AGAIN).await;
    }
}

/// The one line on standard output, once this node decides or knows who does.
async fn print_when_ready(
    mut standing: watch::Receiver<Standing>,
    node_id: NodeId,
    listeners: String,
) {
    let ready = |it: &Standing| it.active || (it.leader.is_some_and(|leader| leader != node_id));
    if let Ok(it) = standing.wait_for(ready).await {
        let (role, epoch) = (it.role, it.epoch);
        println!(
            "quorate ready: node {node_id}, listeners {listeners}, role {role}, epoch {epoch}"
        );
    }
}
