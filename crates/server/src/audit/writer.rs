//! The thread that writes the audit. Nobody waits for it for long: what does not fit its queue, or
//! cannot be written, is counted, and the count is written once that works again.

use super::file::AuditFiles;
use super::line::{self, Fields};
use super::quiet::{Quiet, Suppressed};
use crate::telemetry::AuditStats;
use quorate_base::NodeId;
use serde_json::json;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Lines that wait, at most.
const LINES_MAX: usize = 4096;
/// Bytes of the lines that wait, at most.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes written at once, about.
const WRITE_BYTES: usize = 1024 * 1024;
/// How often counts are written and files synced.
const TICK: Duration = Duration::from_secs(1);
/// How long the process's end waits for the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

enum Message {
    Line { bytes: Vec<u8>, written: oneshot::Sender<()> },
    Close(SyncSender<()>),
}

/// Where lines are handed in.
#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// What both sides count.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) quiet: Mutex<Quiet>,
    pub(super) stats: Arc<AuditStats>,
    waiting_bytes: AtomicUsize,
    /// Lines lost that no line tells of yet.
    lost: AtomicU64,
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(
        files: AuditFiles,
        node: NodeId,
        stats: Arc<AuditStats>,
    ) -> std::io::Result<Queue> {
        Queue::start_with(files, node, stats, LINES_MAX)
    }

    fn start_with(
        files: AuditFiles,
        node: NodeId,
        stats: Arc<AuditStats>,
        lines_max: usize,
    ) -> std::io::Result<Queue> {
        let shared = Arc::new(Shared {
            quiet: Mutex::default(),
            stats,
            waiting_bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        let (sender, receiver) = sync_channel(lines_max);
        let writer = Writer {
            files,
            node,
            shared: shared.clone(),
            receiver,
            synced: Instant::now(),
            is_failing: false,
        };
        std::thread::Builder::new().name("quorate-audit".to_owned()).spawn(|| writer.run())?;
        Ok(Queue { sender, shared })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Hands a line in. The receiver ends once the line is written, or will never be.
    pub(super) fn put(&self, bytes: Vec<u8>) -> Option<oneshot::Receiver<()>> {
        let size = bytes.len();
        let (written, done) = oneshot::channel();
        let waiting = &self.shared.waiting_bytes;
        let fits = waiting.fetch_add(size, Relaxed).saturating_add(size) <= BYTES_MAX;
        let sent = fits.then(|| self.sender.try_send(Message::Line { bytes, written }));
        match sent {
            Some(Ok(())) => return Some(done),
            Some(Err(TrySendError::Disconnected(_))) => self.shared.lose(1, "ended"),
            Some(Err(TrySendError::Full(_))) | None => self.shared.lose(1, "queue"),
        }
        waiting.fetch_sub(size, Relaxed);
        None
    }

    /// Has what waits written, unless the disk takes too long.
    pub(super) fn close(&self) {
        let (done, closed) = sync_channel(1);
        if self.sender.try_send(Message::Close(done)).is_ok() {
            let _ = closed.recv_timeout(FAREWELL);
        }
    }
}

impl Shared {
    fn lose(&self, lines: u64, why: &'static str) {
        self.lost.fetch_add(lines, Relaxed);
        self.stats.lost.add(why, lines);
    }
}

struct Writer {
    files: AuditFiles,
    node: NodeId,
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    synced: Instant,
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        self.note("started", Vec::new());
        loop {
            let mut first = match self.receiver.recv_timeout(TICK) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            let (mut bytes, mut lines, mut waiting, mut closing) =
                (Vec::new(), 0, Vec::new(), None);
            while let Some(message) = first.take().or_else(|| self.receiver.try_recv().ok()) {
                match message {
                    Message::Line { bytes: line, written } => {
                        bytes.extend_from_slice(&line);
                        waiting.push(written);
                        lines += 1;
                    }
                    Message::Close(done) => closing = Some(done),
                }
                if bytes.len() >= WRITE_BYTES || closing.is_some() {
                    break;
                }
            }
            if lines > 0 {
                self.shared.waiting_bytes.fetch_sub(bytes.len(), Relaxed);
                self.write(&bytes, lines);
                drop(waiting);
            }
            self.tick();
            if let Some(done) = closing {
                self.end();
                let _ = done.send(());
                return;
            }
        }
    }

    /// Writes lines, and before them how many were lost.
    fn write(&mut self, bytes: &[u8], lines: u64) {
        let lost = self.shared.lost.swap(0, Relaxed);
        let now_ms = wall_ms();
        let written = if lost == 0 {
            self.files.append(bytes, now_ms)
        } else {
            let told = line::note(now_ms, self.node, "lost", vec![("count", json!(lost))]);
            self.files.append(&[told.as_slice(), bytes].concat(), now_ms)
        };
        match written {
            Ok(()) => {
                self.shared.stats.lines.add(lines);
                if self.is_failing {
                    tracing::info!("the audit is written again");
                }
                self.is_failing = false;
            }
            Err(error) => {
                self.shared.lost.fetch_add(lost, Relaxed);
                self.shared.lose(lines, "disk");
                if !self.is_failing {
                    tracing::error!(%error, "the audit cannot be written; lines are lost and counted until it can");
                }
                self.is_failing = true;
            }
        }
    }

    fn note(&mut self, event: &'static str, fields: Fields) {
        let line = line::note(wall_ms(), self.node, event, fields);
        self.write(&line, 1);
    }

    fn tick(&mut self) {
        let quiet = &self.shared.quiet;
        let ended = quiet.lock().unwrap_or_else(PoisonError::into_inner).end_window(Instant::now());
        for Suppressed { of, count } in ended {
            let mut fields: Fields = vec![("count", json!(count))];
            if let Some(alike) = of {
                fields.push(("principal", json!(alike.principal)));
                fields.push(("clientAddress", json!(alike.address)));
                fields.push(("api", json!(alike.api)));
            }
            self.note("denialsSuppressed", fields);
        }
        // Tells of what was lost also when nothing else comes.
        if self.shared.lost.load(Relaxed) > 0 && self.synced.elapsed() >= TICK {
            self.write(&[], 0);
        }
        if self.synced.elapsed() >= TICK {
            self.synced = Instant::now();
            if let Err(error) = self.files.sync() {
                tracing::error!(%error, "the audit could not be synced");
            }
        }
    }

    fn end(&mut self) {
        self.note("ended", Vec::new());
        let _ = self.files.sync();
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::file::{FileLimits, audit_files};
    use std::path::Path;

    fn limits(dir: &Path) -> FileLimits {
        FileLimits {
            dir: dir.to_owned(),
            file_bytes: 1 << 20,
            file_age: Duration::from_secs(3600),
            total_bytes: 1 << 22,
            min_free_bytes: 0,
        }
    }

    fn lines(dir: &Path) -> Vec<serde_json::Value> {
        let files = audit_files(dir).unwrap();
        let text: String = files.iter().map(|it| std::fs::read_to_string(it).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_later() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("comes-later");
        let stats = Arc::new(AuditStats::default());
        let queue = Queue::start(AuditFiles::new(limits(&dir)), 7, stats.clone()).unwrap();
        for _ in 0..3 {
            let done = queue.put(b"{\"n\":1}\n".to_vec()).expect("room");
            assert!(done.blocking_recv().is_err(), "the end of waiting is all that is told");
        }
        // The line that tells of the start, too.
        assert_eq!(stats.lost.get()["disk"], 4);
        std::fs::create_dir(&dir).unwrap();
        let _ = queue.put(b"{\"n\":2}\n".to_vec()).expect("room").blocking_recv();
        queue.close();
        let lines = lines(&dir);
        assert_eq!((&lines[0]["event"], &lines[0]["count"]), (&json!("lost"), &json!(4)));
        assert_eq!((&lines[1]["n"], &lines[2]["event"]), (&json!(2), &json!("ended")));
    }

    #[test]
    fn a_full_queue_loses_lines_and_makes_nobody_wait() {
        let home = tempfile::tempdir().unwrap();
        let stats = Arc::new(AuditStats::default());
        let files = AuditFiles::new(limits(home.path()));
        let queue = Queue::start_with(files, 7, stats.clone(), 4).unwrap();
        // More than fits, whatever the thread takes meanwhile.
        let huge = vec![b' '; BYTES_MAX + 1];
        assert!(queue.put(huge).is_none());
        let put = (0..10_000).filter(|_| queue.put(b"{\"n\":3}\n".to_vec()).is_some()).count();
        let lost = 10_001 - put as u64;
        assert_eq!(stats.lost.get()["queue"], lost);
        queue.close();
        // The farewell may have found no room; the lines that were taken are there all the same.
        drop(queue);
        let deadline = Instant::now() + Duration::from_secs(20);
        let written = |it: &serde_json::Value| it["n"] == 3;
        while lines(home.path()).iter().filter(|it| written(it)).count() < put {
            assert!(Instant::now() < deadline, "{put} lines were taken");
        }
        let told = lines(home.path());
        let told =
            told.iter().filter(|it| it["event"] == "lost").map(|it| it["count"].as_u64().unwrap());
        assert_eq!(told.sum::<u64>(), lost);
    }
}
