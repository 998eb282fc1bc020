//! Carrying out what a node decides, in order; the process may die before any of it.

use super::host::{SnapshotWork, Unfilled};
use super::network::host_id;
use super::{Happening, Local, World};
use crate::Mutant;
use crate::trace::who;
use quorate_base::{NodeId, OffsetAndEpoch};
use quorate_host::{ElectionStore, Fill, SnapshotJob};
use quorate_node::{Action, Event, LogLevel, PeerAddress, RpcFailure, Token};
use quorate_protocol::{AnyRequest, AnyResponse};
use std::time::Duration;

impl World {
    pub(super) fn execute(&mut self, id: NodeId, actions: Vec<Action>) {
        let life = self.hosts[&id].life;
        for action in actions {
            let chance = if self.healed { 0 } else { self.options.crash_per_action };
            if self.prng.chance(chance, 100_000) {
                let name = name(&action);
                return self.crash(id, &format!("dies before it carries out {name}"));
            }
            self.execute_one(id, action);
            if self.hosts[&id].life != life {
                return;
            }
        }
    }

    fn execute_one(&mut self, id: NodeId, action: Action) {
        match action {
            Action::PersistElectionState(state) => self.persist_election(id, &state),
            Action::AppendLog(append) => {
                self.invariants.appends(id, &self.hosts, &append);
                let process = self.process(id).expect("it acts");
                process.queued.push_back(append);
                self.wake_disk(id);
            }
            Action::TruncateLog { to } => self.truncate(id, to),
            Action::Send { rpc, to, request, timeout } => {
                self.send(id, rpc, &to, &request, timeout)
            }
            Action::Respond { token, response } => {
                let process = self.process(id).expect("it acts");
                let Some(reply) = process.replies.remove(&token) else { return };
                self.invariants.answered(id, &self.hosts, &response);
                self.reply(id, reply, &response);
            }
            Action::RespondFetchFromLog { token, response, from, end, max_bytes } => {
                let generation = self.process(id).expect("it acts").generation;
                let fill = Fill::Log { from, end, max_bytes, generation };
                self.fill_later(id, token, AnyResponse::Fetch(response), fill);
            }
            Action::RespondSnapshotChunk { token, response, id: snapshot, position, max_bytes } => {
                let now_ms = self.local_wall_ms(id);
                let desk = &mut self.process(id).expect("it acts").desk;
                // As the server's snapshot thread does, which is asked by each part it gives out.
                if desk.read_by_other(snapshot, now_ms) {
                    self.queue_snapshot_job(id, SnapshotWork::Retain);
                }
                let fill = Fill::Snapshot { id: snapshot, position, max_bytes };
                self.fill_later(id, token, AnyResponse::FetchSnapshot(response), fill);
            }
            Action::WriteSnapshot {
                id: snapshot,
                image,
                control_records,
                last_contained_log_timestamp_ms,
            } => {
                let stale = self.has(Mutant::StaleSnapshot);
                let process = self.process(id).expect("it acts");
                let before = process.published[0].clone().filter(|_| stale);
                let write = SnapshotJob {
                    id: snapshot,
                    image: before.unwrap_or(image),
                    control_records,
                    last_contained_log_timestamp_ms,
                };
                self.queue_snapshot_job(id, SnapshotWork::Write(Box::new(write)));
            }
            Action::SnapshotDownload { id: snapshot, position, bytes } => {
                let job = SnapshotWork::Download { id: snapshot, position, bytes };
                self.queue_snapshot_job(id, job);
            }
            Action::SnapshotDiscard { id: snapshot } => {
                self.queue_snapshot_job(id, SnapshotWork::Discard { id: snapshot });
            }
            Action::SnapshotInstall { id: snapshot } => {
                self.queue_snapshot_job(id, SnapshotWork::Install { id: snapshot });
            }
            Action::ReadLog { from, end, max_bytes } => {
                let pause = self.up_to(Duration::from_millis(3));
                self.local_in(id, pause, Local::ReadLog { from, end, max_bytes });
            }
            Action::Publish { image, offset } => {
                self.invariants.published(id, &image, offset);
                let published = &mut self.process(id).expect("it acts").published;
                published[0] = published[1].replace(image);
            }
            Action::RoleChanged { .. } => {}
            Action::Log { level, message } => {
                if !matches!(level, LogLevel::Debug) {
                    self.trace.line(self.now, &who(id), &format!("says: {message}"));
                }
            }
            Action::Fatal { message } => panic!("c{id} gives up: {message}"),
            Action::ShutdownComplete => self.shut_down(id),
        }
    }

    fn persist_election(&mut self, id: NodeId, state: &quorate_raft::ElectionState) {
        let lie = self.has(Mutant::VoteNotSynced);
        let directory = self.hosts[&id].directory_id;
        let process = self.process(id).expect("it acts");
        process.disk.set_syncs_lie(lie);
        let saved = process.votes.save(state);
        process.disk.set_syncs_lie(false);
        let disk = process.disk.clone();
        match saved {
            // From here on the node may say so. If it dies within the save, nobody heard of it.
            Ok(()) => self.invariants.promised(id, directory, state),
            Err(error) => self.storage_failed(id, &disk, "while it saves its vote", &error),
        }
    }

    fn truncate(&mut self, id: NodeId, to: OffsetAndEpoch) {
        self.process(id).expect("it acts").generation += 1;
        // The disk thread does first what was queued before, and reports it.
        if !self.disk_flush(id) {
            return;
        }
        let process = self.process(id).expect("it acts");
        if process.disk_gone {
            return self.stop(id, "stops, as its log cannot be cut");
        }
        let disk = process.disk.clone();
        match quorate_host::cut(&mut process.log, to) {
            Ok(()) => {
                process.written = None;
                self.invariants.cut(id, to.offset);
            }
            Err(error) => self.storage_failed(id, &disk, "while it cuts its log", &error),
        }
    }

    fn send(
        &mut self,
        id: NodeId,
        rpc: u64,
        to: &PeerAddress,
        request: &AnyRequest,
        timeout: Duration,
    ) {
        match host_id(&to.host).filter(|host| self.hosts.contains_key(host)) {
            Some(callee) => self.call(id, rpc, callee, request, timeout),
            None => {
                // The name does not resolve.
                let result = Err(RpcFailure::Refused);
                self.tell(id, Event::PeerAnswered { rpc, result });
            }
        }
    }

    fn fill_later(&mut self, id: NodeId, token: Token, response: AnyResponse, fill: Fill) {
        let process = self.process(id).expect("it acts");
        let Some(reply) = process.replies.remove(&token) else { return };
        let pause = self.up_to(Duration::from_millis(3));
        self.local_in(id, pause, Local::Fill(Box::new(Unfilled { reply, response, fill })));
    }

    /// SIGTERM has its end: what is queued is synced, the process is gone and starts again.
    fn shut_down(&mut self, id: NodeId) {
        if !self.disk_flush(id) {
            return;
        }
        self.stop(id, "has shut down");
    }

    /// Something within the process of `id`, later.
    pub(super) fn local_in(&mut self, id: NodeId, pause: Duration, local: Local) {
        let life = self.hosts[&id].life;
        self.schedule_in(pause, Happening::Local { node: id, life, local });
    }

    /// An event from another thread of the process: these arrive in the order in which they were sent.
    pub(super) fn tell(&mut self, id: NodeId, event: Event) {
        let pause = self.up_to(Duration::from_micros(200));
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("it exists");
        let life = host.life;
        let process = host.process.as_mut().expect("it runs");
        let at = (now + pause).max(process.queue_time);
        process.queue_time = at;
        let local = Local::Event(Box::new(event));
        self.schedule(at, Happening::Local { node: id, life, local });
    }
}

fn name(action: &Action) -> String {
    let text = format!("{action:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
