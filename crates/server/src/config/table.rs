//! The one table of settings: parser, defaults, messages and the reference page all come from it.

use std::fmt;

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number within these bounds, both included.
    Integer {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A number with a fraction, within these bounds.
    Decimal {
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Comma-separated, blanks around the commas are dropped.
    List,
    /// Any text that must not be shown.
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Boolean => f.write_str("true or false"),
            Kind::Integer { min, max } => match (min, max) {
                (min, max) if is_unbounded(max) => write!(f, "a whole number from {min} up"),
                (min, max) => write!(f, "a whole number from {min} to {max}"),
            },
            Kind::Decimal { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Text => f.write_str("text"),
            Kind::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Kind::List => f.write_str("a list separated by commas"),
            Kind::Secret => f.write_str("a secret text"),
        }
    }
}

/// Whether a bound only says that Kafka keeps the value in an int or a long.
fn is_unbounded(max: i64) -> bool {
    max == i64::from(i32::MAX) || max == i64::MAX
}

/// What holds when a setting is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The start is refused without it.
    Required,
    /// Nothing; what then happens is in the text of the setting.
    Unset,
    /// This value, written as in a file.
    Value(&'static str),
}

/// Chapters of the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Who this node is and where it listens.
    Node,
    /// The quorum and its timeouts.
    Quorum,
    /// The metadata log and its snapshots.
    Log,
    /// Brokers and their sessions.
    Brokers,
    /// What new topics get.
    Topics,
    /// Sockets and limits.
    Network,
    /// Security.
    Security,
    /// Quorate's own.
    Quorate,
}

impl Group {
    /// The chapter's heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Node => "Node and listeners",
            Group::Quorum => "Quorum",
            Group::Log => "Metadata log and snapshots",
            Group::Brokers => "Brokers and leaders",
            Group::Topics => "Defaults for topics",
            Group::Network => "Network",
            Group::Security => "Security",
            Group::Quorate => "Quorate's own",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// The chapter it belongs to.
    pub group: Group,
    /// What its value must look like.
    pub kind: Kind,
    /// What holds without it.
    pub default: Fallback,
    /// What it does here.
    pub doc: &'static str,
}

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Whether Kafka (3.9 to 4.4) has a setting of this name, or a family of settings with this prefix,
/// that does nothing on a Quorate controller.
pub fn is_known_elsewhere(name: &str) -> bool {
    const FAMILIES: [&str; 7] = [
        "listener.name.",
        "config.providers.",
        "rlmm.config.",
        "rsm.config.",
        "log4j",
        "kafka.metrics.",
        "metrics.context.",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
        || KNOWN_ELSEWHERE.lines().any(|known| known == name)
}

/// Names only; one a line.
const KNOWN_ELSEWHERE: &str = include_str!("known_elsewhere.txt");

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

const fn int(min: i64) -> Kind {
    Kind::Integer { min, max: INT }
}

const fn long(min: i64) -> Kind {
    Kind::Integer { min, max: LONG }
}

const ANY_LONG: Kind = Kind::Integer { min: i64::MIN, max: LONG };

const fn row(
    group: Group,
    name: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Setting {
    Setting { name, group, kind, default, doc }
}

use Fallback::{Required, Unset, Value};
use Group::{Brokers, Log, Network, Node, Quorate, Quorum, Security, Topics};
use Kind::{Boolean, Decimal, List, OneOf, Secret, Text};

/// Every setting a Quorate controller acts on.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    row(Node, "process.roles", List, Required, "Must be `controller`: Quorate is the controller; brokers remain Apache Kafka's."),
    row(Node, "node.id", int(0), Required, "This node's id, unique among all controllers and brokers of the cluster. `broker.id` is read in its place if it is absent."),
    row(Node, "listeners", List, Required, "Where this controller listens, as `NAME://host:port`. Each name must be in `controller.listener.names`. An empty host means all interfaces; port 0 lets the system choose."),
    row(Node, "advertised.listeners", List, Unset, "What others are told to dial, in the same form, for the listeners named here. The rest advertise their own address, or this machine's host name if they listen on all interfaces."),
    row(Node, "controller.listener.names", List, Required, "Names of the listeners that controllers use. The first is the one for talk among controllers."),
    row(Node, "listener.security.protocol.map", List, Unset, "The protocol of each listener, as `NAME:PROTOCOL`. Without it, the names PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL mean themselves and every other name means PLAINTEXT. Possible are PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL."),
    row(Node, "log.dirs", List, Unset, "Log directories; the metadata log is in the first unless `metadata.log.dir` says otherwise. Without it `log.dir` holds."),
    row(Node, "log.dir", List, Value("/tmp/kafka-logs"), "Log directories if `log.dirs` is absent."),
    row(Node, "metadata.log.dir", Text, Unset, "Directory of the metadata log. Without it, the first of `log.dirs`."),

    row(Quorum, "controller.quorum.voters", List, Unset, "The voters of a static quorum (`kraft.version` 0), as `id@host:port`; must contain this node. Leave it out for a dynamic quorum."),
    row(Quorum, "controller.quorum.bootstrap.servers", List, Unset, "Where to find the quorum, as `host:port`, when it is dynamic (`kraft.version` 1). Names are resolved anew on each attempt."),
    row(Quorum, "controller.quorum.election.timeout.ms", int(0), Value("1000"), "How long a candidate waits for votes before it tries again."),
    row(Quorum, "controller.quorum.election.backoff.max.ms", int(0), Value("1000"), "Upper bound of the random wait after a lost election."),
    row(Quorum, "controller.quorum.fetch.timeout.ms", int(0), Value("2000"), "Without a successful fetch for this long, a follower starts an election; without fetches from a majority for one and a half times this long, a leader resigns."),
    row(Quorum, "controller.quorum.request.timeout.ms", int(0), Value("2000"), "How long an answer from another controller may take."),
    row(Quorum, "controller.quorum.retry.backoff.ms", int(0), Value("20"), "Wait before a failed request to another controller is repeated."),
    row(Quorum, "controller.quorum.append.linger.ms", int(0), Value("25"), "Accepted for compatibility. Quorate never waits to fill a batch: what arrives during a sync goes into the next."),
    row(Quorum, "controller.quorum.fetch.max.bytes", int(1), Value("1048576"), "About how much this node asks for in one fetch of the metadata log."),
    row(Quorum, "controller.quorum.fetch.snapshot.max.bytes", int(1), Value("1048576"), "How much this node asks for in one fetch of a snapshot."),
    row(Quorum, "controller.quorum.auto.join.enable", Boolean, Value("false"), "Whether this controller asks to become a voter of a dynamic quorum by itself."),

    row(Log, "metadata.log.segment.bytes", int(8_388_608), Value("1073741824"), "Size at which a new segment of the metadata log is begun."),
    row(Log, "internal.metadata.log.segment.bytes", int(1), Unset, "As `metadata.log.segment.bytes` but without its lower bound; for tests."),
    row(Log, "metadata.log.segment.ms", long(1), Value("604800000"), "Age at which a new segment is begun."),
    row(Log, "metadata.log.max.record.bytes.between.snapshots", long(1), Value("20971520"), "Bytes of new records after which a snapshot is written."),
    row(Log, "metadata.log.max.snapshot.interval.ms", long(0), Value("3600000"), "Longest time between snapshots while there are new records. 0: only by bytes."),
    row(Log, "metadata.max.retention.bytes", ANY_LONG, Value("104857600"), "Total size of log and snapshots above which the oldest that a newer snapshot replaces are deleted. Negative: never by size."),
    row(Log, "metadata.max.retention.ms", ANY_LONG, Value("604800000"), "Age beyond which segments and snapshots that a newer snapshot replaces are deleted. Negative: never by age."),
    row(Log, "metadata.max.idle.interval.ms", int(0), Value("500"), "An idle active controller appends a no-op record this often, so that lag can be seen. 0: never."),

    row(Brokers, "broker.session.timeout.ms", int(1), Value("9000"), "A broker silent for this long is fenced."),
    row(Brokers, "broker.heartbeat.interval.ms", int(1), Value("2000"), "How often brokers are expected to send heartbeats."),
    row(Brokers, "unclean.leader.election.enable", Boolean, Value("false"), "Whether a replica outside the ISR may become leader when no other is alive. Topics may say otherwise."),
    row(Brokers, "unclean.leader.election.interval.ms", long(1), Value("300000"), "How often leaderless partitions that allow unclean leaders are looked at."),
    row(Brokers, "auto.leader.rebalance.enable", Boolean, Value("true"), "Whether leadership moves back to the preferred replica by itself."),
    row(Brokers, "leader.imbalance.check.interval.seconds", long(1), Value("300"), "How often that is looked at."),
    row(Brokers, "unstable.feature.versions.enable", Boolean, Value("false"), "Whether feature levels that are not in production yet may be set on a live cluster. For tests."),

    row(Topics, "num.partitions", int(1), Value("1"), "Partitions of a topic whose creator names no number."),
    row(Topics, "default.replication.factor", Kind::Integer { min: 1, max: 32_767 }, Value("1"), "Replicas of a topic whose creator names no number."),
    row(Topics, "min.insync.replicas", int(1), Value("1"), "Default of the topic setting of the same name."),
    row(Topics, "compression.type", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Value("producer"), "Default of the topic setting of the same name."),
    row(Topics, "compression.gzip.level", Kind::Integer { min: -1, max: 9 }, Value("-1"), "Default of the topic setting of the same name."),
    row(Topics, "compression.lz4.level", Kind::Integer { min: 1, max: 17 }, Value("9"), "Default of the topic setting of the same name."),
    row(Topics, "compression.zstd.level", Kind::Integer { min: -131_072, max: 22 }, Value("3"), "Default of the topic setting of the same name."),
    row(Topics, "message.max.bytes", int(0), Value("1048588"), "Default of the topic setting `max.message.bytes`."),
    row(Topics, "log.cleanup.policy", List, Value("delete"), "Default of the topic setting `cleanup.policy`."),
    row(Topics, "log.retention.bytes", ANY_LONG, Value("-1"), "Default of the topic setting `retention.bytes`."),
    row(Topics, "log.retention.ms", ANY_LONG, Unset, "Default of the topic setting `retention.ms`."),
    row(Topics, "log.retention.minutes", Kind::Integer { min: i32::MIN as i64, max: INT }, Unset, "The same in minutes, if `log.retention.ms` is absent."),
    row(Topics, "log.retention.hours", Kind::Integer { min: i32::MIN as i64, max: INT }, Value("168"), "The same in hours, if `log.retention.minutes` is absent too."),
    row(Topics, "log.segment.bytes", int(1_048_576), Value("1073741824"), "Default of the topic setting `segment.bytes`."),
    row(Topics, "log.roll.ms", long(1), Unset, "Default of the topic setting `segment.ms`."),
    row(Topics, "log.roll.hours", int(1), Value("168"), "The same in hours, if `log.roll.ms` is absent."),
    row(Topics, "log.roll.jitter.ms", long(0), Unset, "Default of the topic setting `segment.jitter.ms`."),
    row(Topics, "log.roll.jitter.hours", int(0), Value("0"), "The same in hours, if `log.roll.jitter.ms` is absent."),
    row(Topics, "log.index.size.max.bytes", int(4), Value("10485760"), "Default of the topic setting `segment.index.bytes`."),
    row(Topics, "log.index.interval.bytes", int(0), Value("4096"), "Default of the topic setting `index.interval.bytes`."),
    row(Topics, "log.flush.interval.messages", long(1), Value("9223372036854775807"), "Default of the topic setting `flush.messages`."),
    row(Topics, "log.flush.interval.ms", long(0), Unset, "Default of the topic setting `flush.ms`."),
    row(Topics, "log.flush.scheduler.interval.ms", long(0), Value("9223372036854775807"), "The same, if `log.flush.interval.ms` is absent."),
    row(Topics, "log.cleaner.delete.retention.ms", long(0), Value("86400000"), "Default of the topic setting `delete.retention.ms`."),
    row(Topics, "log.cleaner.min.compaction.lag.ms", long(0), Value("0"), "Default of the topic setting `min.compaction.lag.ms`."),
    row(Topics, "log.cleaner.max.compaction.lag.ms", long(1), Value("9223372036854775807"), "Default of the topic setting `max.compaction.lag.ms`."),
    row(Topics, "log.cleaner.min.cleanable.ratio", Decimal { min: 0.0, max: 1.0 }, Value("0.5"), "Default of the topic setting `min.cleanable.dirty.ratio`."),
    row(Topics, "log.segment.delete.delay.ms", long(0), Value("60000"), "Default of the topic setting `file.delete.delay.ms`."),
    row(Topics, "log.preallocate", Boolean, Value("false"), "Default of the topic setting `preallocate`."),
    row(Topics, "log.message.timestamp.type", OneOf(&["CreateTime", "LogAppendTime"]), Value("CreateTime"), "Default of the topic setting `message.timestamp.type`."),
    row(Topics, "log.message.timestamp.before.max.ms", long(0), Value("9223372036854775807"), "Default of the topic setting `message.timestamp.before.max.ms`."),
    row(Topics, "log.message.timestamp.after.max.ms", long(0), Value("3600000"), "Default of the topic setting `message.timestamp.after.max.ms`."),
    row(Topics, "log.local.retention.bytes", long(-2), Value("-2"), "Default of the topic setting `local.retention.bytes`."),
    row(Topics, "log.local.retention.ms", long(-2), Value("-2"), "Default of the topic setting `local.retention.ms`."),
    row(Topics, "create.topic.policy.class.name", Text, Unset, "Refused: Quorate cannot run Java classes."),
    row(Topics, "alter.config.policy.class.name", Text, Unset, "Refused: Quorate cannot run Java classes."),

    row(Network, "socket.request.max.bytes", int(1), Value("104857600"), "Largest request accepted; a larger one closes its connection. Memory is taken only as bytes arrive."),
    row(Network, "socket.listen.backlog.size", int(1), Value("50"), "Connections the system may hold before they are accepted."),
    row(Network, "connections.max.idle.ms", ANY_LONG, Value("600000"), "A connection without a request for this long is closed. Negative: never."),
    row(Network, "max.connections", int(0), Value("2147483647"), "Connections open at once; more are closed as they come."),
    row(Network, "max.connections.per.ip", int(0), Value("2147483647"), "The same for one address."),
    row(Network, "socket.connection.setup.timeout.ms", long(1), Value("10000"), "How long dialling another controller may take (never longer than its request may)."),

    row(Security, "authorizer.class.name", Text, Value(""), "Empty (everybody may do everything) or `org.apache.kafka.metadata.authorizer.StandardAuthorizer`, whose rules Quorate follows itself: it cannot run Java classes."),
    row(Security, "super.users", Text, Value(""), "Principals that may do everything, as `User:name`, separated by semicolons. Connections without authentication are `User:ANONYMOUS`."),
    row(Security, "allow.everyone.if.no.acl.found", Boolean, Value("false"), "What the authorizer says about a resource that no ACL names."),
    row(Security, "principal.builder.class", Text, Unset, "Only Kafka's default is possible: Quorate cannot run Java classes."),
    row(Security, "client.quota.callback.class", Text, Unset, "Refused: Quorate cannot run Java classes."),
    row(Security, "config.providers", List, Value(""), "Must be empty: values such as `${file:…}` are not resolved."),
    row(Security, "ssl.keystore.type", Text, Value("JKS"), "Form of the key store: `JKS` (a PKCS#12 store passes under this name too), `PKCS12` or `PEM`. All `ssl.*` and `sasl.*` settings may be given for one listener only, as `listener.name.<name>.<setting>`."),
    row(Security, "ssl.keystore.location", Text, Unset, "File with this node's private key and certificates. Read again when it changes, without a restart."),
    row(Security, "ssl.keystore.password", Secret, Unset, "Opens the key store."),
    row(Security, "ssl.keystore.certificate.chain", Text, Unset, "The certificates themselves, as PEM, in place of a file."),
    row(Security, "ssl.keystore.key", Secret, Unset, "The private key itself, as PEM (PKCS#8), in place of a file."),
    row(Security, "ssl.key.password", Secret, Unset, "Opens the private key, where it has a password of its own."),
    row(Security, "ssl.truststore.type", Text, Value("JKS"), "Form of the trust store: `JKS`, `PKCS12` or `PEM`."),
    row(Security, "ssl.truststore.location", Text, Unset, "File with the certificates that are trusted. There is no default: without it no certificate of another can be checked. Read again when it changes."),
    row(Security, "ssl.truststore.password", Secret, Unset, "Opens the trust store."),
    row(Security, "ssl.truststore.certificates", Text, Unset, "The trusted certificates themselves, as PEM, in place of a file."),
    row(Security, "ssl.client.auth", OneOf(&["none", "requested", "required"]), Value("none"), "Whether clients must show a certificate."),
    row(Security, "ssl.enabled.protocols", List, Value("TLSv1.2,TLSv1.3"), "Versions of TLS; older ones are not possible."),
    row(Security, "ssl.cipher.suites", List, Value(""), "Cipher suites by their standard names; empty for all that are supported. Names that are not supported are passed over, unless none is left."),
    row(Security, "ssl.endpoint.identification.algorithm", Text, Value("https"), "`https`: the certificate of another controller must be for the name it was dialled by. Empty: any name."),
    row(Security, "ssl.principal.mapping.rules", Text, Value("DEFAULT"), "How the subject of a client's certificate becomes the name of its principal: `RULE:pattern/replacement/[L|U]` or `DEFAULT`, separated by commas. A client that no rule matches is refused. Patterns know neither look-around nor back-references."),
    row(Security, "sasl.enabled.mechanisms", List, Value("GSSAPI"), "Mechanisms of SASL listeners: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`. GSSAPI is not possible, so it must be set for such a listener."),
    row(Security, "sasl.mechanism.controller.protocol", Text, Value("GSSAPI"), "The mechanism by which this node connects to other controllers, as above. Unlike Kafka's, SCRAM is possible: credentials are taken from the local snapshot and log until the quorum is up."),
    row(Security, "sasl.jaas.config", Secret, Unset, "Login module: `username` and `password` for connecting to other controllers; `user_NAME=\"PASSWORD\"` for the users of PLAIN. As `listener.name.<name>.<mechanism>.sasl.jaas.config` for each mechanism, or once for all."),
    row(Security, "sasl.server.max.receive.size", int(0), Value("524288"), "Largest request before authentication."),
    row(Security, "connections.max.reauth.ms", long(0), Value("0"), "Session lifetime of SASL connections: who has not authenticated again by then is disconnected. 0: as long as the connection (or the token) lasts."),
    row(Security, "connection.failed.authentication.delay.ms", int(0), Value("100"), "How long a connection whose authentication failed is kept waiting for its end."),
    row(Security, "sasl.oauthbearer.jwks.endpoint.url", Text, Unset, "Where the keys are that sign tokens: `file:` or `http(s):`. Required for OAUTHBEARER: no token is taken unverified."),
    row(Security, "sasl.oauthbearer.jwks.endpoint.refresh.ms", long(0), Value("3600000"), "How often the keys are fetched anew."),
    row(Security, "sasl.oauthbearer.expected.audience", List, Unset, "A token must be for one of these."),
    row(Security, "sasl.oauthbearer.expected.issuer", Text, Unset, "A token must be from this issuer."),
    row(Security, "sasl.oauthbearer.clock.skew.seconds", int(0), Value("30"), "How far clocks may differ when the times of a token are checked."),
    row(Security, "sasl.oauthbearer.sub.claim.name", Text, Value("sub"), "The claim that names the principal."),
    row(Security, "sasl.oauthbearer.token.endpoint.url", Text, Unset, "Where this node gets its own token for connecting to other controllers: a file (`file:`) that holds it, or an endpoint (`http(s):`) that gives one for `clientId` and `clientSecret` of the login module."),
    row(Security, "delegation.token.secret.key", Secret, Unset, "Key that signs delegation tokens; without it tokens are disabled. Must be the same on all nodes."),
    row(Security, "delegation.token.max.lifetime.ms", long(1), Value("604800000"), "Longest life of a token, renewals included."),
    row(Security, "delegation.token.expiry.time.ms", long(1), Value("86400000"), "Life of a token without renewal."),
    row(Security, "delegation.token.expiry.check.interval.ms", long(1), Value("3600000"), "How often expired tokens are removed."),

    row(Quorate, "quorate.fast.failover", Boolean, Value("true"), "A follower whose connection to the leader's process is reset or refused asks for a pre-vote at once instead of after the fetch timeout. Needs all voters to know pre-vote (Kafka 4.0 and later)."),
    row(Quorate, "quorate.fast.fencing", Boolean, Value("false"), "Fence a broker whose process is seen to be gone without waiting for its session timeout."),
    row(Quorate, "quorate.http.listener", Text, Unset, "Where health, status and metrics are served over HTTP, as `host:port`: `/livez`, `/readyz`, `/status`, `/metrics`. An empty host means all interfaces. Nobody has to log in there; nothing can be changed there. Unset: nowhere."),
    row(Quorate, "quorate.metrics.dialects", List, Value("strimzi"), "Names under which Kafka's metrics are shown, one or several of `strimzi`, `confluent`, `reporter`, `jvm`; see the reference of metrics."),
    row(Quorate, "quorate.audit.enable", Boolean, Value("true"), "Whether each change that somebody asks for, accepted or not, is written to `quorate-audit.log` as a line of JSON; see the guide of the audit. Secrets are left out."),
    row(Quorate, "quorate.audit.dir", Text, Unset, "The directory of the audit's files; it must be there. Unset: where the metadata log is."),
    row(Quorate, "quorate.audit.file.bytes", long(4096), Value("67108864"), "A file of the audit is closed, and a new one begun, before it grows beyond this."),
    row(Quorate, "quorate.audit.file.ms", long(1000), Value("86400000"), "The same by age."),
    row(Quorate, "quorate.audit.total.bytes", long(8192), Value("536870912"), "What all files of the audit may take; the oldest closed ones are deleted."),
    row(Quorate, "quorate.audit.min.free.bytes", long(0), Value("268435456"), "With less than this free in the file system the audit pauses, so that it never takes the metadata log's space. Lines lost are counted, in the metrics and in the audit."),
    row(Quorate, "quorate.audit.routine", Boolean, Value("false"), "Whether what brokers ask by themselves is audited too: AlterPartition, AllocateProducerIds, AssignReplicasToDirs. Denied ones always are, and so are heartbeats that change something."),
    row(Quorate, "quorate.log.level", OneOf(&["error", "warn", "info", "debug", "trace"]), Value("info"), "How much is logged on standard error. The environment variable RUST_LOG wins over it."),
];
