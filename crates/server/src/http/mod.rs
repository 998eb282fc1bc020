//! `quorate.http.listener`: health, status and metrics over HTTP/1.1, for probes and scrapers.
//!
//! GET only, small requests only, a bounded number of connections. Whatever comes in here never costs
//! the core thread anything.

pub mod board;
pub mod console;
pub mod health;
pub mod history;
mod request;
mod server;
mod status;

pub use request::{HEAD_MAX_BYTES, HeadError, Request, parse_head};
pub use server::{HttpLimits, bind, serve};

use crate::driver::meter::CoreView;
use board::Board;
use health::StopVerdict;
use quorate_base::Now;
use std::sync::Arc;

/// An answer to a request that could be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "\
/livez      200 while the core thread moves
/readyz     200 while this node does its part in the quorum, else 503 and the reason
/stoppable  200 if the quorum goes on when this node stops, else 503 and the reason; the leader also
            knows of others: ?node=ID
/status     the node in JSON; ?hash=1 adds the hash of the metadata
/metrics    Prometheus
/console    a page to look at
";

/// Answers a GET.
pub async fn answer(board: &Arc<Board>, request: &Request) -> Answer {
    let now = board.now();
    let view = board.view();
    match request.path.as_str() {
        "/livez" => verdict(health::alive(&board.signs(view.as_deref(), now))),
        "/readyz" => verdict(health::ready(&board.signs(view.as_deref(), now))),
        "/stoppable" => stoppable(board, view.as_deref(), request, now),
        "/status" => {
            let hash = match request.has("hash", "1") {
                true => board.hash().await,
                false => None,
            };
            json(&status::status(board, hash))
        }
        "/metrics" => {
            let sample = board.sample();
            let body = board.metrics_page(&sample);
            // This may have become the last reader of an image, and freeing one takes time.
            tokio::task::spawn_blocking(move || drop(sample));
            Answer { status: 200, content_type: PROMETHEUS, body }
        }
        "/console" => Answer { status: 200, content_type: HTML, body: console::PAGE.to_owned() },
        path if path.starts_with("/console/") => {
            let (board, request) = (board.clone(), request.clone());
            // A large cluster takes a while to look through, and what it is read from may be freed here.
            let work = tokio::task::spawn_blocking(move || console_data(&board, &request));
            work.await.unwrap_or_else(|_| not_found())
        }
        "/" => Answer { status: 200, content_type: TEXT, body: INDEX.to_owned() },
        _ => not_found(),
    }
}

fn json(value: &serde_json::Value) -> Answer {
    Answer { status: 200, content_type: JSON, body: format!("{value:#}\n") }
}

fn not_found() -> Answer {
    Answer { status: 404, content_type: TEXT, body: format!("not found; there is\n{INDEX}") }
}

/// What the console asks for.
fn console_data(board: &Board, request: &Request) -> Answer {
    match request.path.as_str() {
        "/console/cluster" => json(&console::cluster(board)),
        "/console/topics" => {
            json(&console::topics(board, request.value("from"), request.value("contains")))
        }
        "/console/partitions" => {
            let from = request.value("from").parse().unwrap_or(0);
            let found = console::partitions(board, request.value("topic"), from);
            found.map_or_else(not_found, |it| json(&it))
        }
        _ => not_found(),
    }
}

/// For scripts that restart one node after the other.
fn stoppable(board: &Board, view: Option<&CoreView>, request: &Request, now: Now) -> Answer {
    let me = board.identity.node_id;
    let node = match request.query.iter().find(|(key, _)| key == "node") {
        None => me,
        Some((_, text)) => match text.parse() {
            Ok(node) => node,
            Err(_) => {
                let body = "the query is ?node=ID, with the id of a voter\n".to_owned();
                return Answer { status: 400, content_type: TEXT, body };
            }
        },
    };
    let Some(view) = view else {
        return verdict(Err("starting: nothing is known of the quorum yet".to_owned()));
    };
    // An old view would tell of a quorum that may be gone.
    if let Err(why) = health::alive(&board.signs(Some(view), now)) {
        return verdict(Err(why));
    }
    let StopVerdict { answer, why } = health::may_stop(view, node, me, now);
    match answer {
        Some(true) => Answer { status: 200, content_type: TEXT, body: format!("yes: {why}\n") },
        Some(false) => verdict(Err(format!("no: {why}"))),
        None => verdict(Err(why)),
    }
}

fn verdict(outcome: Result<(), String>) -> Answer {
    let (status, body) = match outcome {
        Ok(()) => (200, "ok\n".to_owned()),
        Err(why) => (503, format!("{why}\n")),
    };
    Answer { status, content_type: TEXT, body }
}
