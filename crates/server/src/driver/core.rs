//! The core thread: owns the node, waits on one queue, carries out what the node decides in order.

use super::clock::Clock;
use super::disk::DiskThread;
use super::meter::{CoreView, Meter, VIEW_INTERVAL};
use super::queue::{CoreInbox, CoreQueue, Failure, Fill, Input, Reply, Standing};
use super::snapshots::SnapshotThread;
use super::source::LogSource;
use super::writings::Writings;
use crate::net::peer::Peers;
use crate::telemetry::Telemetry;
use quorate_base::{Epoch, Offset, Time};
use quorate_host::{ElectionStore, SnapshotJob};
use quorate_metadata::Image;
use quorate_node::{Action, Event, LogLevel, Node, NodeConfig, Recovered, Token};
use quorate_protocol::AnyResponse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// How long a node that must stop tries to hand over first.
const FAREWELL: Duration = Duration::from_secs(1);

/// Elections do not take an epoch so far in one step: `quorate recover` raises it by 10,000, `quorate
/// restore` by 1,000.
const RECOVERED_ABOVE: Epoch = 1_000;

/// Exit codes of the process.
pub mod exit {
    /// What was asked for is done.
    pub const DONE: i32 = 0;
    /// The operation failed.
    pub const FAILED: i32 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: i32 = 2;
    /// Refused, to protect data.
    pub const REFUSED: i32 = 3;
}

/// What the core thread works with.
pub struct CoreTools {
    /// Time.
    pub clock: Clock,
    /// The queue's end.
    pub inbox: CoreInbox,
    /// The queue's start, for work done elsewhere on the core's behalf.
    pub queue: CoreQueue,
    /// The vote.
    pub elections: Box<dyn ElectionStore>,
    /// The log.
    pub disk: DiskThread,
    /// Snapshots.
    pub snapshots: SnapshotThread,
    /// Old log ranges.
    pub source: Arc<dyn LogSource>,
    /// Other controllers.
    pub peers: Peers,
    /// For reads away from this thread.
    pub runtime: Handle,
    /// Where the node stands, for the start-up line.
    pub standing: watch::Sender<Standing>,
    /// The node and its quorum, for health checks and metrics.
    pub views: watch::Sender<Option<Arc<CoreView>>>,
    /// Where this thread counts.
    pub telemetry: Arc<Telemetry>,
    /// The committed metadata, for readers.
    pub published: watch::Sender<Published>,
    /// Drops images that nobody reads any more.
    pub retired: Sender<Image>,
}

/// Committed metadata.
#[derive(Clone)]
pub struct Published {
    /// The state.
    pub image: Image,
    /// One past the last record in it.
    pub offset: Offset,
}

/// How a node's life ended.
#[derive(Debug)]
pub struct End {
    /// For the process.
    pub exit_code: i32,
}

/// Runs a node until it is shut down or must stop.
pub fn run(config: NodeConfig, recovered: Recovered, tools: CoreTools) -> End {
    let mut actions = Vec::new();
    let node = Node::new(config, recovered, tools.clock.now(), &mut actions);
    let meter = Meter::new(tools.telemetry.clone(), tools.views.clone());
    let (replies, writings) = (HashMap::new(), Writings::default());
    let mut core = Core { node, tools, replies, writings, ending: None, meter };
    let ended = core.act(&mut actions);
    let end = ended.unwrap_or_else(|| core.live(&mut actions));
    core.tools.disk.close();
    core.tools.snapshots.close();
    end
}

struct Core {
    node: Node,
    tools: CoreTools,
    replies: HashMap<Token, oneshot::Sender<Reply>>,
    writings: Writings,
    ending: Option<Ending>,
    meter: Meter,
}

/// The node was told to hand over, and stops by then whatever happens.
#[derive(Clone, Copy)]
struct Ending {
    by: Option<Instant>,
    exit_code: i32,
}

impl Core {
    fn live(&mut self, actions: &mut Vec<Action>) -> End {
        // Between two timeouts that are due at once an input gets its turn, and the other way round:
        // neither a flood of requests nor a long run of bounded work starves the other.
        let mut timeout_was_last = false;
        loop {
            if let Some(Ending { by: Some(by), exit_code }) = self.ending
                && Instant::now() >= by
            {
                return End { exit_code };
            }
            let due = self.node.next_timeout().is_some_and(|(at, _)| at <= self.tools.clock.time());
            let input = if due && !timeout_was_last {
                None
            } else if due {
                self.tools.inbox.take()
            } else {
                self.tools.inbox.wait(self.wake())
            };
            let woke = Instant::now();
            let now = self.tools.clock.time_at(woke);
            self.meter.woke(now, &self.node);
            timeout_was_last = input.is_none();
            let waited = match &input {
                Some(queued) => woke.saturating_duration_since(queued.since),
                None => self.late(now),
            };
            let event = match input.map(|queued| queued.input) {
                Some(Input::Request(request)) => {
                    self.replies.insert(request.token, request.reply);
                    self.writings.asked(request.token, &request.request);
                    drop(request.permit);
                    let (token, context) = (request.token, request.context);
                    Event::Request { token, context, request: request.request }
                }
                Some(Input::Event(event)) => {
                    if let Event::Cancelled { token } = &*event {
                        self.replies.remove(token);
                        self.writings.forget(*token);
                    }
                    *event
                }
                Some(Input::Failed(failure)) => match self.stop_for(failure) {
                    Some(event) => event,
                    None => continue,
                },
                None => {
                    let reached = |at: Time| at <= self.tools.clock.time();
                    if !self.node.next_timeout().is_some_and(|(at, _)| reached(at)) {
                        continue;
                    }
                    Event::Timeout
                }
            };
            let taken = self.meter.took(&event, waited, now);
            self.node.step(self.tools.clock.now(), event, actions);
            if let Some(end) = self.act(actions) {
                return end;
            }
            self.writings.step_done();
            self.meter.done(&taken, &self.node);
        }
    }

    /// How long a timeout that has come was due.
    fn late(&self, now: Time) -> Duration {
        let due = self.node.next_timeout().map(|(at, _)| at);
        // Work that goes on without a pause is due since ever.
        due.filter(|at| *at > Time::ZERO).map_or(Duration::ZERO, |at| now.since(at))
    }

    /// When to look up even if nothing comes.
    fn wake(&self) -> Option<Instant> {
        let node = self.node.next_timeout().map(|(at, _)| self.tools.clock.instant(at));
        let ending = self.ending.and_then(|ending| ending.by);
        let look_up = Some(Instant::now() + VIEW_INTERVAL);
        [node, ending, look_up].into_iter().flatten().min()
    }

    /// Something failed that cannot be lived with: say so, hand over if that still works, and stop.
    fn stop_for(&mut self, failure: Failure) -> Option<Event> {
        let Failure { why, exit_code } = failure;
        tracing::error!(exit_code, "stopping: {why}");
        if self.ending.is_some_and(|ending| ending.by.is_some()) {
            return None;
        }
        self.ending = Some(Ending { by: Some(Instant::now() + FAREWELL), exit_code });
        Some(Event::Shutdown)
    }

    /// Carries out actions in order; an end ends everything.
    fn act(&mut self, actions: &mut Vec<Action>) -> Option<End> {
        for action in actions.drain(..) {
            match action {
                Action::PersistElectionState(state) => {
                    if let Err(error) = self.tools.elections.save(&state) {
                        tracing::error!(
                            "stopping: a promise to the quorum cannot be kept: {error}"
                        );
                        return Some(End { exit_code: error.exit_code() });
                    }
                }
                Action::AppendLog(batch) => {
                    let leads = self.node.raft().is_leader();
                    self.meter.appended(&batch, leads);
                    if leads {
                        self.writings.appended(&batch);
                    }
                    self.tools.disk.append(batch);
                }
                Action::TruncateLog { to } => {
                    self.meter.truncated(to.offset);
                    if self.tools.disk.truncate(to).is_err() {
                        tracing::error!(%to, "stopping: the log could not be cut");
                        return Some(End { exit_code: exit::FAILED });
                    }
                }
                Action::Send { rpc, to, request, timeout } => {
                    self.tools.peers.send(rpc, to, request, timeout);
                }
                Action::Respond { token, response } => self.reply(token, response, Fill::Nothing),
                Action::RespondFetchFromLog { token, response, from, end, max_bytes } => {
                    let generation = self.tools.source.generation();
                    let fill = Fill::Log { from, end, max_bytes, generation };
                    self.reply(token, AnyResponse::Fetch(response), fill);
                }
                Action::RespondSnapshotChunk { token, response, id, position, max_bytes } => {
                    self.tools.snapshots.reading(id);
                    let fill = Fill::Snapshot { id, position, max_bytes };
                    self.reply(token, AnyResponse::FetchSnapshot(response), fill);
                }
                Action::WriteSnapshot {
                    id,
                    image,
                    control_records,
                    last_contained_log_timestamp_ms,
                } => {
                    self.tools.snapshots.write(SnapshotJob {
                        id,
                        image,
                        control_records,
                        last_contained_log_timestamp_ms,
                    });
                }
                Action::SnapshotDownload { id, position, bytes } => {
                    self.tools.snapshots.download(id, position, bytes);
                }
                Action::SnapshotDiscard { id } => self.tools.snapshots.discard(id),
                Action::SnapshotInstall { id } => self.tools.snapshots.install(id),
                Action::ReadLog { from, end, max_bytes } => self.read_log(from, end, max_bytes),
                Action::Publish { image, offset } => {
                    let old = self.tools.published.send_replace(Published { image, offset });
                    // If the dropping thread is gone the process is ending anyway.
                    let _ = self.tools.retired.send(old.image);
                }
                Action::RoleChanged { role, epoch, leader, active } => {
                    let standing = Standing { role, epoch, leader, active };
                    let before = self.tools.standing.send_replace(standing);
                    if before != standing {
                        tracing::info!(role, epoch, leader, active, "standing in the quorum");
                    }
                    warn_of_recovery(before.epoch, epoch);
                }
                Action::Log { level, message } => log(level, &message),
                Action::Fatal { message } => {
                    self.meter.failed();
                    tracing::error!("stopping: {message}");
                    return Some(End { exit_code: exit::REFUSED });
                }
                Action::ShutdownComplete => {
                    let exit_code = self.ending.map_or(exit::DONE, |ending| ending.exit_code);
                    return Some(End { exit_code });
                }
            }
        }
        None
    }

    /// Answers, unless the client has gone away.
    fn reply(&mut self, token: Token, response: AnyResponse, fill: Fill) {
        let written = self.writings.take(token);
        if let Some(reply) = self.replies.remove(&token) {
            let _ = reply.send(Reply { response, fill, written });
        }
    }

    fn read_log(&self, from: Offset, end: Offset, max_bytes: u32) {
        let (source, queue) = (self.tools.source.clone(), self.tools.queue.clone());
        self.tools.runtime.spawn_blocking(move || {
            let batches = source.read_log(from, end, max_bytes).map_err(|error| error.to_string());
            queue.tell(Event::LogRead { from, batches });
        });
    }
}

/// An old voter that returns to a quorum which was recovered without it is fenced out by the epoch
/// alone: its log has to say so.
fn warn_of_recovery(before: Epoch, epoch: Epoch) {
    if before > 0 && epoch.saturating_sub(before) >= RECOVERED_ABOVE {
        tracing::warn!(
            "epoch {epoch} lies {} above {before}, the last that this node took part in: the quorum was \
             recovered without it (`quorate recover`), or restored. Its own vote and what only its log \
             has do not count any more: the log is cut where it parts from the new leader's. If it is no voter \
             there, it observes: to add it again, stop it, format its directory anew with \
             --no-initial-controllers, start it, and run `quorate quorum add-controller`",
            epoch - before
        );
    }
}

fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Debug => tracing::debug!("{message}"),
        LogLevel::Info => tracing::info!("{message}"),
        LogLevel::Warn => tracing::warn!("{message}"),
        LogLevel::Error => tracing::error!("{message}"),
    }
}
