//! What Quorate shows beyond Kafka's metrics; the same in each dialect.

use super::sample::Sample;
use super::table::{
    Metric, Row, Shape, Values, count, idle_ratio, maybe, maybe_of_view, number, of_view,
};
use super::text::Kind;
use crate::http::health::Standby;
use crate::telemetry::{EventKind, Histogram};
use std::collections::BTreeMap;
use std::time::Duration;

const fn row(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    source: fn(&Sample) -> Values,
) -> Metric {
    Metric { group: ("", ""), name, shape: Shape::Own(kind), help, source }
}

fn histogram(s: &Sample, histogram: &Histogram) -> Values {
    Values::Distributions(vec![(Vec::new(), histogram.read(s.uptime, &[]))])
}

fn by_kind(s: &Sample, pick: fn(&Sample, EventKind) -> &Histogram) -> Values {
    let row = |kind: EventKind| {
        (vec![("event", kind.name().to_owned())], pick(s, kind).read(s.uptime, &[]))
    };
    Values::Distributions(EventKind::ALL.into_iter().map(row).collect())
}

fn by_label(label: &'static str, counts: BTreeMap<&'static str, u64>) -> Values {
    let row = |(value, count): (&str, u64)| (vec![(label, value.to_owned())], count as f64);
    Values::Numbers(counts.into_iter().map(row).collect())
}

fn round_trips(s: &Sample) -> Values {
    let row =
        |((node, api), histogram): ((i32, quorate_protocol::ApiKey), std::sync::Arc<Histogram>)| {
            let labels = vec![("node", node.to_string()), ("request", api.name().to_owned())];
            (labels, histogram.read(s.uptime, &[]))
        };
    Values::Distributions(s.telemetry.peers.round_trips().into_iter().map(row).collect())
}

fn by_voter(s: &Sample, read: impl Fn(&Standby) -> Option<f64>) -> Values {
    let mut rows: Vec<(Row, f64)> = Vec::new();
    for standby in s.standbys.iter().flatten().filter(|it| !it.is_self) {
        if let Some(value) = read(standby) {
            rows.push((vec![("node", standby.key.id.to_string())], value));
        }
    }
    Values::Numbers(rows)
}

fn of_role(s: &Sample) -> Values {
    let role = s.view.as_ref().map_or("unattached", |it| it.node.status.role);
    Values::Numbers(vec![(vec![("role", role.to_owned())], 1.0)])
}

fn brokers(s: &Sample) -> Values {
    let states = [
        ("active", s.brokers.active),
        ("fenced", s.brokers.fenced),
        ("in_controlled_shutdown", s.brokers.in_controlled_shutdown),
    ];
    let row = |(state, count): (&str, usize)| (vec![("state", state.to_owned())], count as f64);
    Values::Numbers(states.into_iter().map(row).collect())
}

fn yes(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

use Kind::{Counter, Gauge};

/// Every metric that Kafka does not have.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    row("quorate_build_info", Gauge, "Always 1; the release is a label.", |_| Values::Numbers(vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)])),
    row("quorate_ready", Gauge, "1 if /readyz says ready.", |s| number(yes(s.not_ready.is_none()))),
    row("quorate_core_heartbeat_age_seconds", Gauge, "Time since the core thread last went round; it does so each half second at least.", |s| maybe(s.telemetry.core.heartbeat().map(|at| s.now.time.since(at).as_secs_f64()))),
    row("quorate_log_fsync_seconds", Kind::Histogram, "Time to sync the metadata log.", |s| histogram(s, &s.telemetry.fsync)),
    row("quorate_log_append_seconds", Kind::Histogram, "Time from deciding to append until the batch is synced here, the wait for the sync before it included.", |s| histogram(s, &s.telemetry.core.append)),
    row("quorate_log_unsynced_seconds", Gauge, "How long the oldest append that is not synced yet has waited; 0 if there is none. Renewed each half second.", |s| of_view(s, |it| it.unsynced_since.map_or(Duration::ZERO, |since| it.at.time.since(since)).as_secs_f64())),
    row("quorate_disk_free_bytes", Gauge, "Bytes that may still be written to the file system of the metadata log. Looked at every ten seconds.", |s| maybe(s.files.disk_free_bytes.map(|it| it as f64))),
    row("quorate_disk_size_bytes", Gauge, "Size of that file system.", |s| maybe(s.files.disk_size_bytes.map(|it| it as f64))),
    row("quorate_vote_homes", Gauge, "How many of the two files that hold this node's vote are there, whole, and of the newest epoch. Below 2, the next damage loses the vote. Looked at every ten seconds.", |s| maybe(s.files.vote_homes.map(|it| it as f64))),
    row("quorate_commit_seconds", Kind::Histogram, "Time from deciding to append until a majority has synced it; on the leader.", |s| histogram(s, &s.telemetry.core.commit)),
    row("quorate_queue_seconds", Kind::Histogram, "Time that events waited for the core thread, by kind; for timeouts, how late they were.", |s| by_kind(s, |s, kind| s.telemetry.core.queue_of(kind))),
    row("quorate_step_seconds", Kind::Histogram, "Time that the core thread took for an event, by kind.", |s| by_kind(s, |s, kind| s.telemetry.core.step_of(kind))),
    row("quorate_peer_round_trip_seconds", Kind::Histogram, "Time until another controller answered, by its id and the API. A Fetch is held back by the leader for up to half a second when there is nothing new.", round_trips),
    row("quorate_peer_failures_total", Counter, "Requests to other controllers without a usable answer, by reason.", |s| by_label("reason", s.telemetry.peers.failures.get())),
    row("quorate_connections", Gauge, "Open connections from outside, by listener.", |s| Values::Numbers(s.telemetry.connections.by_listener().into_iter().map(|(name, it)| (vec![("listener", name)], it.opened.saturating_sub(it.closed) as f64)).collect())),
    row("quorate_connections_refused_total", Counter, "Connections refused, by the setting that limits them.", |s| by_label("limit", s.telemetry.connections.refused.get())),
    row("quorate_connections_ended_total", Counter, "Connections ended, by reason.", |s| by_label("reason", s.telemetry.connections.ended.get())),
    row("quorate_parser_errors_total", Counter, "Connections closed because what came was no request that is served here, by what was wrong.", |s| by_label("kind", s.telemetry.connections.parser_errors.get())),

    row("quorate_certificate_ends_seconds", Gauge, "When the first of the certificates that this node shows ends, in seconds since 1970. Looked at every five seconds; nothing without TLS.", |s| maybe(s.telemetry.certificates.first_ends_seconds().map(|it| it as f64))),
    row("quorate_stores_unusable", Gauge, "Key and trust stores whose files were changed to something that cannot be used; what was there before is still in force. The log says why.", |s| number(s.telemetry.certificates.unusable_stores() as f64)),
    row("quorate_audit_lines_total", Counter, "Lines written to the audit.", |s| number(s.telemetry.audit.lines.get() as f64)),
    row("quorate_audit_lost_total", Counter, "Lines of the audit that were lost, by reason: `disk` (it cannot be written, or too little space is free), `queue` (more than could be written).", |s| by_label("reason", s.telemetry.audit.lost.get())),
    row("quorate_audit_denials_suppressed_total", Counter, "Denials that the audit tells of by their number only.", |s| number(s.telemetry.audit.suppressed.get() as f64)),

    row("quorate_active", Gauge, "1 on the active controller, 0 elsewhere; the sum over the quorum must be 1.", |s| number(yes(s.is_active()))),
    row("quorate_role", Gauge, "Always 1; this node's part in the quorum is a label.", of_role),
    row("quorate_epoch", Gauge, "The epoch.", |s| of_view(s, |it| f64::from(it.node.status.epoch))),
    row("quorate_high_watermark", Gauge, "All records below are committed, as far as this node knows.", |s| maybe_of_view(s, |it| it.node.status.high_watermark.map(|it| it as f64))),
    row("quorate_log_end_offset", Gauge, "One past the last record of the local log.", |s| of_view(s, |it| it.node.status.log_end as f64)),
    row("quorate_leader_changes_total", Counter, "Leaders that this node has seen to take over, itself included.", |s| number(s.telemetry.core.new_leaders.get() as f64)),
    row("quorate_records_appended_total", Counter, "Records that this node appended as the leader.", |s| number(s.telemetry.core.appended_records.total() as f64)),
    row("quorate_core_idle_ratio", Gauge, "Share of time that the core thread had nothing to do, over the last half to whole minute.", idle_ratio),
    row("quorate_quorum_voters", Gauge, "Voters.", |s| of_view(s, |it| it.node.quorum.voters.len() as f64)),
    row("quorate_quorum_voters_in_step", Gauge, "Voters that fetched and were caught up within the fetch timeout, the leader included; on the leader only.", |s| maybe(s.standbys.as_ref().map(|all| all.iter().filter(|it| it.in_step).count() as f64))),
    row("quorate_quorum_spare_voters", Gauge, "How many voters in step may fail before the quorum is lost: 0 means the next failure stops it, below 0 it is about to. On the leader only.", |s| maybe(s.spare_voters().map(|it| it as f64))),
    row("quorate_voter_lag_records", Gauge, "How many records a voter is behind the leader's log; on the leader only.", |s| by_voter(s, |it| it.lag.map(|it| it as f64))),
    row("quorate_voter_last_fetch_seconds", Gauge, "Time since a voter last fetched; on the leader only, and only once it did.", |s| by_voter(s, |it| it.since_fetch.map(|it| it.as_secs_f64()))),
    row("quorate_voter_in_step", Gauge, "1 for a voter that fetched and was caught up within the fetch timeout; on the leader only.", |s| by_voter(s, |it| Some(yes(it.in_step)))),
    row("quorate_leaderless_seconds", Kind::Histogram, "Time from the moment that this node knew of no leader any more until it knew of one.", |s| histogram(s, &s.telemetry.core.leaderless)),
    row("quorate_last_fetch_seconds", Gauge, "Time since this node last fetched from the leader; on followers and observers.", |s| maybe_of_view(s, |it| Some(s.now.time.since(it.node.quorum.following?.last_fetch?).as_secs_f64()))),
    row("quorate_apply_lag_records", Gauge, "Committed records, as far as known here, that are not in this node's state yet.", |s| maybe_of_view(s, |it| Some((it.node.status.high_watermark? - it.node.status.applied).max(0) as f64))),

    row("quorate_log_start_offset", Gauge, "First offset of the local log.", |s| of_view(s, |it| it.node.quorum.log_start as f64)),
    row("quorate_snapshot_offset", Gauge, "End offset of the newest snapshot; 0 if there is none.", |s| maybe(s.snapshot.map(|it| it.id.offset as f64))),
    row("quorate_snapshot_age_seconds", Gauge, "Time since the newest snapshot was written or fetched.", |s| maybe(s.snapshot.map(|it| it.age_seconds))),
    row("quorate_snapshot_bytes", Gauge, "Size of the newest snapshot that this process wrote.", |s| maybe(Some(s.telemetry.core.last_snapshot().0 as f64).filter(|bytes| *bytes > 0.0))),

    row("quorate_brokers", Gauge, "Registered brokers by what they are doing; one in a controlled shutdown counts as active, too.", brokers),
    row("quorate_metadata_errors_total", Counter, "Records that could not be applied; the node stops at the first.", |s| number(s.telemetry.core.metadata_errors.get() as f64)),
    row("quorate_unclean_elections_total", Counter, "Partitions that got a leader from outside their ISR and their eligible replicas, and may have lost data.", |s| number(s.telemetry.unclean_elections.get() as f64)),
    row("quorate_image_topics", Gauge, "Topics.", |s| count(s.image.topics.topic_count())),
    row("quorate_image_partitions", Gauge, "Partitions.", |s| count(s.image.topics.partition_count())),
    row("quorate_image_partitions_offline", Gauge, "Partitions without a leader.", |s| count(s.image.topics.count_without_leader())),
    row("quorate_image_partitions_not_preferred", Gauge, "Partitions that their first replica does not lead.", |s| count(s.image.topics.count_not_preferred())),
    row("quorate_image_partitions_reassigning", Gauge, "Partitions to which replicas are being added or from which they are being removed.", |s| count(s.image.topics.reassigning().count())),
    row("quorate_image_acls", Gauge, "Access control entries.", |s| count(s.image.acls.len())),
    row("quorate_image_hash", Gauge, "The lower 48 bits of the hash of the metadata at quorate_image_hash_offset. Equal content has equal hashes on each node. Renewed once a minute at most.", |s| maybe(s.hash.map(|(_, hash)| (hash & 0xffff_ffff_ffff) as f64))),
    row("quorate_image_hash_offset", Gauge, "End offset of the metadata that was hashed.", |s| maybe(s.hash.map(|(offset, _)| offset as f64))),

    row("process_resident_memory_bytes", Gauge, "Memory in RAM.", |s| number(s.process.resident_bytes as f64)),
    row("process_virtual_memory_bytes", Gauge, "Address space.", |s| number(s.process.virtual_bytes as f64)),
    row("process_cpu_seconds_total", Counter, "Processor time of all threads.", |s| number(s.process.cpu_seconds)),
    row("process_threads", Gauge, "Threads.", |s| number(s.process.threads as f64)),
    row("process_open_fds", Gauge, "Open files and sockets.", |s| number(s.process.open_fds as f64)),
    row("process_max_fds", Gauge, "How many files and sockets may be open.", |s| number(s.process.max_fds as f64)),
    row("process_start_time_seconds", Gauge, "When the process started, in seconds since 1970.", |s| number(s.started_ms as f64 / 1000.0)),
];
