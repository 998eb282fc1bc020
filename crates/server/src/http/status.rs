//! `/status`: the node in JSON, for people and scripts.

use super::board::Board;
use super::health::{self, Standby, endpoints};
use crate::driver::meter::CoreView;
use quorate_base::{Now, OffsetAndEpoch, Time};
use quorate_raft::Member;
use serde_json::{Value, json};
use std::time::Duration;

/// Everything but the hash, which takes time.
pub fn status(board: &Board, hash: Option<(i64, u64)>) -> Value {
    let now = board.now();
    let view = board.view();
    let alive = health::alive(&board.signs(view.as_deref(), now)).err();
    let not_ready = health::ready(&board.signs(view.as_deref(), now)).err();
    let me = &board.identity;
    let mut out = json!({
        "node_id": me.node_id,
        "cluster_id": me.cluster_id,
        "directory_id": me.directory_id.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "listeners": me.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "uptime_ms": millis(now.time.since(Time::ZERO)),
        "alive": alive.is_none(),
        "ready": not_ready.is_none(),
        "not_ready_because": not_ready.or(alive),
    });
    if let Some(view) = view.as_deref() {
        extend(&mut out, of_view(board, view, now));
    }
    if let Some((offset, hash)) = hash {
        out["image_hash"] = json!({ "offset": offset, "hash": format!("{hash:016x}") });
    }
    out
}

fn extend(out: &mut Value, more: Value) {
    if let (Value::Object(out), Value::Object(more)) = (out, more) {
        out.extend(more);
    }
}

fn of_view(board: &Board, view: &CoreView, now: Now) -> Value {
    let (status, quorum) = (&view.node.status, &view.node.quorum);
    let standbys = health::standbys(view, board.identity.node_id, now);
    let voters: Vec<Value> = match &standbys {
        Some(all) => all.iter().map(standby).collect(),
        None => quorum
            .voters
            .iter()
            .map(|it| {
                json!({
                    "node_id": it.key.id,
                    "directory_id": it.key.directory_id.map(|id| id.to_string()),
                    "endpoints": endpoints(&it.listeners),
                })
            })
            .collect(),
    };
    let observers: Vec<Value> =
        quorum.observers.iter().map(|it| observer(it, quorum.log_end)).collect();
    json!({
        "role": status.role,
        "active": status.active,
        "is_voter": quorum.is_voter,
        "epoch": status.epoch,
        "leader": status.leader,
        "kraft_version": quorum.kraft_version,
        "voters": voters,
        "observers": if standbys.is_some() { json!(observers) } else { Value::Null },
        "voter_change_under_way": quorum.voter_change,
        "quorum": standbys.as_ref().map(|all| json!({
            "in_step": all.iter().filter(|it| it.in_step).count(),
            "majority": all.len() / 2 + 1,
            "spare": health::spare(all),
        })),
        "following": quorum.following.map(|it| json!({
            "leader": it.leader,
            "since_last_fetch_ms": it.last_fetch.map(|at| millis(now.time.since(at))),
            "leader_high_watermark": it.leader_high_watermark,
            "snapshot_being_fetched": it.download.map(|(id, bytes)| json!({ "id": id.to_string(), "bytes": bytes })),
        })),
        "high_watermark": status.high_watermark,
        "applied": status.applied,
        "applied_timestamp_ms": view.node.applied_timestamp_ms,
        "log_start": quorum.log_start,
        "log_end": status.log_end,
        "log_synced": quorum.persisted,
        "unsynced_for_ms": view.unsynced_since.map(|at| millis(now.time.since(at))),
        "snapshot": board.snapshot(view, now).map(|it| json!({
            "offset": it.id.offset,
            "epoch": it.id.epoch,
            "age_seconds": it.age_seconds,
            "being_written": view.node.writing_snapshot,
        })),
        "waits_for": view.node.next_timeout.map(|(at, why)| json!({
            "what": why,
            "due_in_ms": millis(at.since(now.time)),
        })),
        "may_stop": may_stop(board, view, now),
        "as_of_ms_ago": millis(now.time.since(view.at.time)),
    })
}

fn may_stop(board: &Board, view: &CoreView, now: Now) -> Value {
    let me = board.identity.node_id;
    let verdict = health::may_stop(view, me, me, now);
    // Whom to ask, if it is not for this node to say.
    let ask = view.node.quorum.leader.filter(|_| verdict.answer.is_none());
    json!({ "answer": verdict.answer, "ask": ask, "why": verdict.why })
}

fn standby(it: &Standby) -> Value {
    json!({
        "node_id": it.key.id,
        "directory_id": it.key.directory_id.map(|id| id.to_string()),
        "endpoints": endpoints(&it.listeners),
        "log_end": it.log_end,
        "lag": it.lag,
        "since_last_fetch_ms": it.since_fetch.map(millis),
        "last_fetch_timestamp_ms": it.last_fetch_ms,
        "last_caught_up_timestamp_ms": it.last_caught_up_ms,
        "in_step": it.in_step,
        "may_stop": it.may_stop,
    })
}

fn observer(it: &Member, log_end: OffsetAndEpoch) -> Value {
    json!({
        "node_id": it.key.id,
        "directory_id": it.key.directory_id.map(|id| id.to_string()),
        "log_end": it.log_end,
        "lag": it.log_end.map(|end| (log_end.offset - end).max(0)),
        "last_fetch_timestamp_ms": it.last_fetch_ms,
        "last_caught_up_timestamp_ms": it.last_caught_up_ms,
    })
}

fn millis(it: Duration) -> u64 {
    u64::try_from(it.as_millis()).unwrap_or(u64::MAX)
}
