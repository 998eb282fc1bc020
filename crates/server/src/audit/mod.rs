//! The audit: who asked to change what, from where, and what came of it, one JSON line each.
//!
//! A request is looked at twice, by the task of its connection: before it is decided (what it asks
//! for) and before its answer leaves (how it ended, and where in the log its records are). The answer
//! to a change waits, for a moment at most, until its line is handed to the system, so that what a
//! client was told is in the file even if this process is killed then. Nothing here is ever waited for
//! by the core thread.

mod asked;
pub mod file;
pub mod line;
pub mod names;
mod outcome;
mod quiet;
#[cfg(test)]
mod tests;
mod writer;

use crate::config::AuditConfig;
use crate::driver::queue::Reply;
use crate::telemetry::AuditStats;
use asked::{Asked, Class};
use file::{AuditFiles, FileLimits};
use line::Fields;
use outcome::{DeniedRequest, Outcome};
use quiet::Alike;
use quorate_base::{Epoch, NodeId, Offset};
use quorate_controller::RequestContext;
use quorate_metadata::Str;
use quorate_protocol::header::RequestFrame;
use quorate_protocol::{AnyRequest, AnyResponse};
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use writer::Queue;

pub use asked::quota_entity;

/// How long an answer waits for its line.
const PATIENCE: Duration = Duration::from_millis(100);

/// Records that a request had written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Offset of the first.
    pub first: Offset,
    /// Offset of the last.
    pub last: Offset,
    /// The epoch of all of them.
    pub epoch: Epoch,
}

/// The audit of a process; all of it may be switched off.
#[derive(Debug, Default)]
pub struct Audit(Option<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeId,
    routine: bool,
    /// Without an authoriser nothing is denied, and what only looks need not be looked at.
    authorizes: bool,
    queue: Queue,
}

/// A request that is being decided.
#[derive(Debug)]
pub struct Pending {
    class: Class,
    asked: Option<Asked>,
    denied: DeniedRequest,
    api: &'static str,
    version: i16,
    correlation_id: i32,
    context: RequestContext,
}

impl Pending {
    /// Whether the end of this request is to be seen also if its client goes away.
    pub fn is_change(&self) -> bool {
        self.class == Class::Change
    }
}

impl Audit {
    /// Starts as configured; files are in `metadata_dir` unless the configuration names another place.
    pub fn start(
        config: &AuditConfig,
        node: NodeId,
        metadata_dir: &Path,
        authorizes: bool,
        stats: Arc<AuditStats>,
    ) -> std::io::Result<Audit> {
        if !config.enabled {
            return Ok(Audit(None));
        }
        let files = AuditFiles::new(FileLimits {
            dir: config.dir.clone().unwrap_or_else(|| metadata_dir.to_owned()),
            file_bytes: config.file_bytes,
            file_age: config.file_age,
            total_bytes: config.total_bytes,
            min_free_bytes: config.min_free_bytes,
        });
        let queue = Queue::start(files, node, stats)?;
        Ok(Audit(Some(Inner { node, routine: config.routine, authorizes, queue })))
    }

    /// Looks at a request before it is decided; nothing if it is of no interest whatever its end.
    pub fn begin(
        &self,
        frame: &RequestFrame,
        context: &RequestContext,
        request: &AnyRequest,
    ) -> Option<Box<Pending>> {
        let inner = self.0.as_ref()?;
        let class = asked::class(request);
        if class == Class::Look && !inner.authorizes {
            return None;
        }
        let is_told = match class {
            Class::Change | Class::Heartbeat => true,
            Class::Routine => inner.routine,
            Class::Look => false,
        };
        Some(Box::new(Pending {
            class,
            asked: is_told.then(|| asked::asked(request)),
            denied: DeniedRequest::of(request),
            api: frame.api.name(),
            version: frame.version,
            correlation_id: frame.correlation_id,
            context: context.clone(),
        }))
    }

    /// Writes down how a request ended, if that is worth a line; returns when that is done, or after
    /// a moment. `reply`: `None` if it was never answered.
    pub async fn end(&self, pending: Box<Pending>, reply: Option<&Reply>, now_ms: i64) {
        let Some(inner) = &self.0 else { return };
        let Some(line) = inner.line(*pending, reply, now_ms) else { return };
        if let Some(written) = inner.queue.put(line) {
            let _ = tokio::time::timeout(PATIENCE, written).await;
        }
    }

    /// Has the last lines written.
    pub fn close(&self) {
        if let Some(inner) = &self.0 {
            inner.queue.close();
        }
    }
}

impl Inner {
    fn line(&self, pending: Pending, reply: Option<&Reply>, now_ms: i64) -> Option<Vec<u8>> {
        let Some(Reply { response, written, .. }) = reply else {
            let fields = self.fields(&pending, "unknown", now_ms);
            return (pending.class == Class::Change).then(|| line::write(fields));
        };
        let outcome = Outcome::of(response);
        let is_denied = outcome.is_denied();
        let is_wanted = match pending.class {
            Class::Change => written.is_some() || !outcome.is_misdirected(),
            Class::Routine => is_denied || (self.routine && !outcome.is_misdirected()),
            Class::Heartbeat => is_denied || written.is_some(),
            Class::Look => is_denied,
        };
        if !is_wanted {
            return None;
        }
        let word = match outcome.word() {
            // Decided here, and then led by another: it may be committed or not.
            _ if outcome.is_misdirected() => "unknown",
            word => word,
        };
        let envelope_denied = matches!(response, AnyResponse::Envelope(_));
        if word == "denied" && !self.admits(&pending, envelope_denied) {
            return None;
        }
        let mut fields = self.fields(&pending, word, now_ms);
        if is_denied {
            let of_envelope = envelope_denied.then(DeniedRequest::envelope);
            let request = of_envelope.as_ref().unwrap_or(&pending.denied);
            let all = outcome::denials(request, &outcome);
            let all = all.iter().map(|(what, on)| json!({ "operation": what, "resource": on }));
            fields.push(("denied", all.collect()));
            if envelope_denied {
                fields.push(("deniedPrincipal", json!(denied_principal(&pending, true))));
            }
        }
        let hide_messages = pending.asked.as_ref().is_some_and(|it| it.has_secret);
        fields.push(("results", outcome.to_json(hide_messages)));
        if let Some(Written { first, last, epoch }) = written {
            let records = json!({ "first": first, "last": last, "epoch": epoch });
            fields.push(("records", records));
        }
        Some(line::write(fields))
    }

    fn fields(&self, pending: &Pending, outcome: &'static str, now_ms: i64) -> Fields {
        let context = &pending.context;
        let mut fields: Fields = vec![
            ("time", json!(line::time(now_ms))),
            ("node", json!(self.node)),
            ("principal", json!(context.principal.to_string())),
            ("clientAddress", json!(context.client_address.to_string())),
            ("clientId", json!(context.client_id.as_ref().map(Str::as_str))),
            ("listener", json!(context.listener.as_str())),
        ];
        if let Some(sender) = &context.envelope_sender {
            let sender = json!({
                "principal": sender.principal.to_string(),
                "address": sender.address.to_string(),
            });
            fields.push(("forwardedBy", sender));
        }
        if context.principal.token_authenticated {
            fields.push(("tokenAuthenticated", json!(true)));
        }
        fields.extend([
            ("api", json!(pending.api)),
            ("version", json!(pending.version)),
            ("correlationId", json!(pending.correlation_id)),
            ("outcome", json!(outcome)),
        ]);
        if let Some(asked) = &pending.asked {
            fields.push(("asked", asked.what.clone()));
        }
        fields
    }

    fn admits(&self, pending: &Pending, of_envelope: bool) -> bool {
        let alike = Alike {
            principal: denied_principal(pending, of_envelope),
            address: pending.context.client_address.to_string(),
            api: pending.api,
        };
        let shared = self.queue.shared();
        let mut quiet = shared.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = quiet.admits(&alike, Instant::now());
        if !admitted {
            shared.stats.suppressed.increment();
        }
        admitted
    }
}

/// Of an envelope that its sender may not send, the sender.
fn denied_principal(pending: &Pending, of_envelope: bool) -> String {
    match &pending.context.envelope_sender {
        Some(sender) if of_envelope => sender.principal.to_string(),
        _ => pending.context.principal.to_string(),
    }
}
