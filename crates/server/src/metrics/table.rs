//! Kafka's metrics: the one table of them.

use super::sample::{Sample, registration_state};
use super::text::Kind;
use crate::driver::meter::CoreView;
use crate::telemetry::{ApiStats, Distribution, Histogram, Recent};
use quorate_protocol::{ApiKey, ErrorCode, features};

/// A metric, whatever dialect it is told in.
pub struct Metric {
    /// Domain and type of Kafka's MBean, the domain with underscores; empty for our own.
    pub group: (&'static str, &'static str),
    /// Kafka's name of it, or, for our own, the whole name.
    pub name: &'static str,
    /// What it is, which decides its name in each dialect.
    pub shape: Shape,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Where the value comes from.
    pub source: fn(&Sample) -> Values,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One number of Kafka's older metrics library.
    Gauge,
    /// A count of it, with rates that nobody needs beside Prometheus.
    Meter,
    /// A distribution of it, in milliseconds.
    Timer,
    /// One number of Kafka's own metrics library.
    Attribute,
    /// A word of it.
    State,
    /// Ours; the same in each dialect.
    Own(Kind),
    /// What the JVM would say of itself, as far as it can be said of another program.
    Jvm(Kind),
}

impl Metric {
    /// Whether Kafka has no such metric.
    pub fn is_own(&self) -> bool {
        matches!(self.shape, Shape::Own(_))
    }
}

/// Labels of one value.
pub type Row = Vec<(&'static str, String)>;

/// What a metric is now. No rows: there is nothing to say.
pub enum Values {
    /// Numbers with their labels.
    Numbers(Vec<(Row, f64)>),
    /// A word.
    Word(String),
    /// Distributions with their labels.
    Distributions(Vec<(Row, Distribution)>),
}

/// Quantiles that Kafka's histograms show.
pub const QUANTILES: [f64; 6] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999];

/// One number without labels.
pub fn number(value: f64) -> Values {
    Values::Numbers(vec![(Vec::new(), value)])
}

/// A count.
pub fn count(value: usize) -> Values {
    number(value as f64)
}

/// A number if there is one.
pub fn maybe(value: Option<f64>) -> Values {
    Values::Numbers(value.map(|it| (Vec::new(), it)).into_iter().collect())
}

/// A number of the node's view; nothing while there is none.
pub fn of_view(s: &Sample, read: impl FnOnce(&CoreView) -> f64) -> Values {
    maybe(s.view.as_deref().map(read))
}

/// The same, if there is one.
pub fn maybe_of_view(s: &Sample, read: impl FnOnce(&CoreView) -> Option<f64>) -> Values {
    maybe(s.view.as_deref().and_then(read))
}

/// A distribution without labels.
pub fn distribution(s: &Sample, histogram: &Histogram) -> Values {
    Values::Distributions(vec![(Vec::new(), histogram.read(s.uptime, &QUANTILES))])
}

fn by_api(s: &Sample, read: impl Fn(&ApiStats) -> &Histogram) -> Values {
    let row = |api: &ApiStats| {
        (vec![("request", api.api.name().to_owned())], read(api).read(s.uptime, &QUANTILES))
    };
    Values::Distributions(s.telemetry.requests.all().map(row).collect())
}

/// Kafka's averages and maxima are not a number while there is nothing to average.
fn average_ms(s: &Sample, recent: &Recent) -> Values {
    number(recent.average(s.uptime).map_or(f64::NAN, |micros| micros / 1000.0))
}

fn max_ms(s: &Sample, recent: &Recent) -> Values {
    number(recent.max(s.uptime).map_or(f64::NAN, |micros| micros as f64 / 1000.0))
}

pub(super) fn idle_ratio(s: &Sample) -> Values {
    number((s.telemetry.core.idle_nanos.per_second(s.uptime) / 1e9).min(1.0))
}

fn last(end: i64) -> f64 {
    (end - 1) as f64
}

fn id_or_none(id: Option<i32>) -> f64 {
    f64::from(id.unwrap_or(-1))
}

fn errors(s: &Sample) -> Values {
    let errors = s.telemetry.requests.errors();
    let row = |((api, error), count): ((i16, i16), u64)| {
        let api = ApiKey::from_i16(api).map_or("Unknown", ApiKey::name);
        let error = ErrorCode::from_code(error).map_or("UNKNOWN", ErrorCode::name);
        (vec![("request", api.to_owned()), ("error", error.to_owned())], count as f64)
    };
    Values::Numbers(errors.into_iter().map(row).collect())
}

fn requests(s: &Sample) -> Values {
    let mut rows = Vec::new();
    for api in s.telemetry.requests.all() {
        for (version, count) in api.versions() {
            let labels =
                vec![("request", api.api.name().to_owned()), ("version", version.to_string())];
            rows.push((labels, count as f64));
        }
    }
    Values::Numbers(rows)
}

/// `metadata.version` becomes `metadataVersion`.
fn camel_case(feature: &str) -> String {
    let mut words = feature.split('.');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn finalized_levels(s: &Sample) -> Values {
    let level = |name: &str, level: f64| (vec![("featureName", camel_case(name))], level);
    let mut rows: Vec<(Row, f64)> = s
        .image
        .features
        .iter()
        .map(|(name, value)| level(name.as_str(), f64::from(value)))
        .collect();
    if let Some(view) = &s.view {
        rows.push(level("kraft.version", f64::from(view.node.quorum.kraft_version)));
    }
    Values::Numbers(rows)
}

fn supported_levels(pick: fn((i16, i16)) -> i16) -> Values {
    let row = |(name, min, max): (&str, i16, i16)| {
        (vec![("feature_name", name.replace('.', "-"))], f64::from(pick((min, max))))
    };
    Values::Numbers(features::advertised().map(row).collect())
}

fn sockets(s: &Sample, read: fn(crate::telemetry::Opened) -> u64) -> Values {
    let listeners = s.telemetry.connections.by_listener();
    let row = |(listener, opened)| {
        (vec![("listener", listener), ("networkProcessor", "0".to_owned())], read(opened) as f64)
    };
    Values::Numbers(listeners.into_iter().map(row).collect())
}

const CONTROLLER: (&str, &str) = ("kafka_controller", "KafkaController");
const EVENTS: (&str, &str) = ("kafka_controller", "ControllerEventManager");
const STATS: (&str, &str) = ("kafka_controller", "ControllerStats");
const RAFT: (&str, &str) = ("kafka_server", "raft-metrics");
const CHANNEL: (&str, &str) = ("kafka_server", "raft-channel-metrics");
const LOADER: (&str, &str) = ("kafka_server", "MetadataLoader");
const EMITTER: (&str, &str) = ("kafka_server", "SnapshotEmitter");
const NODE: (&str, &str) = ("kafka_server", "node-metrics");
const SOCKETS: (&str, &str) = ("kafka_server", "socket-server-metrics");
const HANDLERS: (&str, &str) = ("kafka_server", "KafkaRequestHandlerPool");
const REQUESTS: (&str, &str) = ("kafka_network", "RequestMetrics");
const REQUEST_CHANNEL: (&str, &str) = ("kafka_network", "RequestChannel");
const FLUSH: (&str, &str) = ("kafka_log", "LogFlushStats");

const fn row(
    group: (&'static str, &'static str),
    name: &'static str,
    shape: Shape,
    help: &'static str,
    source: fn(&Sample) -> Values,
) -> Metric {
    Metric { group, name, shape, help, source }
}

use Shape::{Attribute, Gauge, Meter, State, Timer};

/// Every metric of Kafka's controllers that Quorate exports.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    row(CONTROLLER, "ActiveControllerCount", Gauge, "1 on the active controller, 0 elsewhere; the sum over the quorum must be 1.", |s| number(f64::from(u8::from(s.is_active())))),
    row(CONTROLLER, "ActiveBrokerCount", Gauge, "Registered brokers that are not fenced.", |s| count(s.brokers.active)),
    row(CONTROLLER, "FencedBrokerCount", Gauge, "Registered brokers that are fenced.", |s| count(s.brokers.fenced)),
    row(CONTROLLER, "ControlledShutdownBrokerCount", Gauge, "Brokers in a controlled shutdown.", |s| count(s.brokers.in_controlled_shutdown)),
    row(CONTROLLER, "BrokerRegistrationState", Gauge, "State of each registered broker: 10 fenced, 20 in controlled shutdown, 30 active.", |s| Values::Numbers(s.image.cluster.brokers().map(|broker| (vec![("broker", broker.id.to_string())], registration_state(broker))).collect())),
    row(CONTROLLER, "GlobalTopicCount", Gauge, "Topics.", |s| count(s.image.topics.topic_count())),
    row(CONTROLLER, "GlobalPartitionCount", Gauge, "Partitions.", |s| count(s.image.topics.partition_count())),
    row(CONTROLLER, "OfflinePartitionsCount", Gauge, "Partitions without a leader; every controller shows it, so do not add them up.", |s| count(s.image.topics.count_without_leader())),
    row(CONTROLLER, "PreferredReplicaImbalanceCount", Gauge, "Partitions that their first replica does not lead, those without a leader included.", |s| count(s.image.topics.count_not_preferred())),
    row(CONTROLLER, "MetadataErrorCount", Gauge, "Records that could not be applied; the node stops at the first.", |s| number(s.telemetry.core.metadata_errors.get() as f64)),
    row(CONTROLLER, "LastAppliedRecordOffset", Gauge, "Offset of the newest record in this node's state; on the active controller it may not be committed yet. -1: none.", |s| number(last(s.applied_end()))),
    row(CONTROLLER, "LastCommittedRecordOffset", Gauge, "Offset of the newest committed record in this node's state. -1: none.", |s| number(last(s.applied))),
    row(CONTROLLER, "LastAppliedRecordTimestamp", Gauge, "When the newest applied record was written, in milliseconds since 1970; -1 if nothing was applied yet.", |s| of_view(s, |it| if it.node.applied_timestamp_ms > 0 { it.node.applied_timestamp_ms as f64 } else { -1.0 })),
    row(CONTROLLER, "LastAppliedRecordLagMs", Gauge, "Milliseconds since then. An idle quorum writes a record each half second, so it stays small.", |s| maybe(s.applied_lag_ms())),
    row(CONTROLLER, "TimedOutBrokerHeartbeatCount", Gauge, "Heartbeats that waited in the queue until they were worthless. Always 0: Quorate answers each.", |_| number(0.0)),
    row(CONTROLLER, "EventQueueOperationsStartedCount", Gauge, "Events taken by the core thread.", |s| number(s.telemetry.core.events.get() as f64)),
    row(CONTROLLER, "EventQueueOperationsTimedOutCount", Gauge, "Events that waited in the queue until they were worthless. Always 0: Quorate drops none.", |_| number(0.0)),
    row(CONTROLLER, "NewActiveControllersCount", Gauge, "Leaders that this node has seen to take over, itself included.", |s| number(s.telemetry.core.new_leaders.get() as f64)),
    row(CONTROLLER, "IgnoredStaticVoters", Gauge, "1 if controller.quorum.voters is set though the quorum is dynamic.", |s| of_view(s, |it| f64::from(u8::from(s.has_static_voters && it.node.quorum.kraft_version > 0)))),

    row(EVENTS, "EventQueueTimeMs", Timer, "Milliseconds that events waited for the core thread; quantiles over the last one to two minutes.", |s| distribution(s, &s.telemetry.core.queue)),
    row(EVENTS, "EventQueueProcessingTimeMs", Timer, "Milliseconds that the core thread took for an event; quantiles over the last one to two minutes.", |s| distribution(s, &s.telemetry.core.step)),
    row(EVENTS, "AvgIdleRatio", Gauge, "Share of time that the core thread had nothing to do, over the last half to whole minute (KIP-1190).", idle_ratio),
    row(STATS, "UncleanLeaderElectionsPerSec", Meter, "Partitions that got a leader from outside their ISR and their eligible replicas, and may have lost data.", |s| number(s.telemetry.unclean_elections.get() as f64)),
    row(STATS, "ElectionFromEligibleLeaderReplicasPerSec", Meter, "Partitions that got a leader from their eligible leader replicas (KIP-966).", |s| number(s.telemetry.elr_elections.get() as f64)),

    row(RAFT, "current-state", State, "This node's part in the quorum, as a label.", |s| Values::Word(s.view.as_ref().map_or("unattached", |it| it.node.status.role).to_owned())),
    row(RAFT, "current-leader", Attribute, "Id of the leader; -1 if none is known.", |s| number(id_or_none(s.view.as_ref().and_then(|it| it.node.status.leader)))),
    row(RAFT, "current-vote", Attribute, "Whom this node voted for in the epoch; -1 for nobody.", |s| number(id_or_none(s.view.as_ref().and_then(|it| Some(it.node.quorum.voted?.id))))),
    row(RAFT, "current-vote-directory-id", State, "The directory of whom this node voted for, as a label.", |s| match s.view.as_ref().and_then(|it| it.node.quorum.voted?.directory_id) { Some(id) => Values::Word(id.to_string()), None => Values::Numbers(Vec::new()) }),
    row(RAFT, "current-epoch", Attribute, "The epoch.", |s| of_view(s, |it| f64::from(it.node.status.epoch))),
    row(RAFT, "high-watermark", Attribute, "All records below are committed; -1 if this is not known.", |s| number(s.view.as_ref().and_then(|it| it.node.status.high_watermark).map_or(-1.0, |it| it as f64))),
    row(RAFT, "log-end-offset", Attribute, "One past the last record of the log.", |s| of_view(s, |it| it.node.status.log_end as f64)),
    row(RAFT, "log-end-epoch", Attribute, "Epoch of the last record of the log.", |s| of_view(s, |it| f64::from(it.node.quorum.log_end.epoch))),
    row(RAFT, "number-unknown-voter-connections", Attribute, "Voters whose address is unknown; always 0, in Kafka as well.", |_| number(0.0)),
    row(RAFT, "number-of-voters", Attribute, "Voters.", |s| of_view(s, |it| it.node.quorum.voters.len() as f64)),
    row(RAFT, "number-of-observers", Attribute, "Replicas that fetch without being voters, brokers among them; on the leader only.", |s| maybe_of_view(s, |it| it.node.quorum.voter_change.map(|_| it.node.quorum.observers.len() as f64))),
    row(RAFT, "uncommitted-voter-change", Attribute, "1 while a change of the voters is under way; on the leader only.", |s| maybe_of_view(s, |it| it.node.quorum.voter_change.map(|it| f64::from(u8::from(it))))),
    row(RAFT, "commit-latency-avg", Attribute, "Milliseconds from append to commit, average over the last half to whole minute; on the leader.", |s| average_ms(s, &s.telemetry.core.commit_micros)),
    row(RAFT, "commit-latency-max", Attribute, "The longest of them.", |s| max_ms(s, &s.telemetry.core.commit_micros)),
    row(RAFT, "election-latency-avg", Attribute, "Milliseconds from standing for election until there was a leader, average over the last half to whole minute.", |s| average_ms(s, &s.telemetry.core.election_micros)),
    row(RAFT, "election-latency-max", Attribute, "The longest of them.", |s| max_ms(s, &s.telemetry.core.election_micros)),
    row(RAFT, "fetch-records-rate", Attribute, "Records a second fetched from the leader.", |s| number(s.telemetry.core.fetched_records.per_second(s.uptime))),
    row(RAFT, "append-records-rate", Attribute, "Records a second appended as the leader.", |s| number(s.telemetry.core.appended_records.per_second(s.uptime))),
    row(RAFT, "poll-idle-ratio-avg", Attribute, "Share of time that the core thread had nothing to do.", idle_ratio),

    row(CHANNEL, "connection-count", Attribute, "Open connections to other controllers.", |s| number(s.telemetry.peers.connections_opened.get().saturating_sub(s.telemetry.peers.connections_closed.get()) as f64)),
    row(CHANNEL, "connection-creation-total", Attribute, "Connections dialled to other controllers.", |s| number(s.telemetry.peers.connections_opened.get() as f64)),
    row(CHANNEL, "connection-close-total", Attribute, "Of these closed.", |s| number(s.telemetry.peers.connections_closed.get() as f64)),
    row(CHANNEL, "incoming-byte-rate", Attribute, "Bytes a second from other controllers, in answers.", |s| number(s.telemetry.peers.bytes_in.per_second(s.uptime))),
    row(CHANNEL, "incoming-byte-total", Attribute, "Bytes from other controllers, in answers.", |s| number(s.telemetry.peers.bytes_in.total() as f64)),
    row(CHANNEL, "outgoing-byte-rate", Attribute, "Bytes a second to other controllers, in requests.", |s| number(s.telemetry.peers.bytes_out.per_second(s.uptime))),
    row(CHANNEL, "outgoing-byte-total", Attribute, "Bytes to other controllers, in requests.", |s| number(s.telemetry.peers.bytes_out.total() as f64)),
    row(CHANNEL, "request-rate", Attribute, "Requests a second to other controllers.", |s| number(s.telemetry.peers.requests.per_second(s.uptime))),
    row(CHANNEL, "request-total", Attribute, "Requests to other controllers.", |s| number(s.telemetry.peers.requests.total() as f64)),
    row(CHANNEL, "request-size-avg", Attribute, "Bytes of a request, average over the last half to whole minute.", |s| number(s.telemetry.peers.bytes_out.average(s.uptime).unwrap_or(f64::NAN))),
    row(CHANNEL, "request-size-max", Attribute, "Bytes of the largest of them.", |s| number(s.telemetry.peers.bytes_out.max(s.uptime).map_or(f64::NAN, |it| it as f64))),
    row(CHANNEL, "response-rate", Attribute, "Answers a second from other controllers.", |s| number(s.telemetry.peers.responses.per_second(s.uptime))),
    row(CHANNEL, "response-total", Attribute, "Answers from other controllers.", |s| number(s.telemetry.peers.responses.total() as f64)),

    row(LOADER, "CurrentMetadataVersion", Gauge, "The finalized metadata.version.", |s| number(f64::from(s.image.metadata_version().level()))),
    row(LOADER, "CurrentControllerId", Gauge, "Id of the leader; -1 if none is known.", |s| number(id_or_none(s.view.as_ref().and_then(|it| it.node.status.leader)))),
    row(LOADER, "HandleLoadSnapshotCount", Gauge, "Snapshots loaded, the one at the start included.", |s| number(s.telemetry.core.snapshots_loaded.get() as f64)),
    row(LOADER, "FinalizedLevel", Gauge, "Finalized level of each feature (KIP-1180).", finalized_levels),
    row(LOADER, "AvgIdleRatio", Gauge, "Share of time that the core thread, which applies records here, had nothing to do (KIP-1229).", idle_ratio),
    row(EMITTER, "LatestSnapshotGeneratedBytes", Gauge, "Size of the newest snapshot that this process wrote; 0 before the first.", |s| number(s.telemetry.core.last_snapshot().0 as f64)),
    row(EMITTER, "LatestSnapshotGeneratedAgeMs", Gauge, "Its age in milliseconds; the process's before the first.", |s| number(s.now.time.since(s.telemetry.core.last_snapshot().1).as_millis() as f64)),
    row(NODE, "maximum-supported-level", Attribute, "Highest level of each feature that this release knows (KIP-1180).", |_| supported_levels(|(_, max)| max)),
    row(NODE, "minimum-supported-level", Attribute, "Lowest level of each feature that this release knows (KIP-1180).", |_| supported_levels(|(min, _)| min)),
    row(SOCKETS, "connection-count", Attribute, "Open connections from outside.", |s| sockets(s, |it| it.opened.saturating_sub(it.closed))),
    row(SOCKETS, "connection-creation-total", Attribute, "Connections from outside, ever.", |s| sockets(s, |it| it.opened)),
    row(SOCKETS, "connection-close-total", Attribute, "Of these closed.", |s| sockets(s, |it| it.closed)),
    row(HANDLERS, "RequestHandlerAvgIdlePercent", Gauge, "Share of time, 0 to 1, that the core thread, which handles all requests, had nothing to do.", idle_ratio),

    row(REQUESTS, "RequestsPerSec", Meter, "Requests from outside.", requests),
    row(REQUESTS, "ErrorsPerSec", Meter, "Answers by error code, NONE included; an answer with several codes counts once for each.", errors),
    row(REQUESTS, "TotalTimeMs", Timer, "Milliseconds from a request's last byte to its answer's, waits asked for by fetches included.", |s| by_api(s, |it| &it.total)),
    row(REQUESTS, "RequestQueueTimeMs", Timer, "Milliseconds that requests waited for the core thread.", |s| by_api(s, |it| &it.queue)),
    row(REQUESTS, "LocalTimeMs", Timer, "Milliseconds that requests took in the core thread.", |s| by_api(s, |it| &it.local)),
    row(REQUEST_CHANNEL, "RequestQueueSize", Gauge, "Requests that wait for the core thread.", |s| count(s.waiting_requests)),
    row(FLUSH, "LogFlushRateAndTimeMs", Timer, "Milliseconds of syncing the metadata log; quantiles over the last one to two minutes.", |s| distribution(s, &s.telemetry.fsync)),

    row(("", ""), "jvm_memory_used_bytes", Shape::Jvm(Kind::Gauge), "This program's resident memory under the name that dashboards of Java programs ask for.", |s| Values::Numbers(vec![(vec![("area", "heap".to_owned())], s.process.resident_bytes as f64)])),
    row(("", ""), "jvm_threads_current", Shape::Jvm(Kind::Gauge), "Threads of this program.", |s| number(s.process.threads as f64)),
    row(("", ""), "jvm_gc_collection_seconds_count", Shape::Jvm(Kind::Counter), "Always 0: there is no garbage collector.", |_| Values::Numbers(vec![(vec![("gc", "none".to_owned())], 0.0)])),
    row(("", ""), "jvm_gc_collection_seconds_sum", Shape::Jvm(Kind::Counter), "Always 0: there is no garbage collector.", |_| Values::Numbers(vec![(vec![("gc", "none".to_owned())], 0.0)])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_as_kafka_names_them() {
        assert_eq!(camel_case("metadata.version"), "metadataVersion");
        assert_eq!(camel_case("eligible.leader.replicas.version"), "eligibleLeaderReplicasVersion");
        assert_eq!(camel_case("x"), "x");
    }
}
