//! Configuration, features, quotas.

use super::Gen;
use quorate_interop::KafkaVersion;
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::describe_configs_request::DescribeConfigsResource;
use quorate_protocol::messages::update_features_request::FeatureUpdateKey;
use quorate_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, ApiVersionsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, UpdateFeaturesRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use quorate_protocol::{AnyRequest, ApiKey, KStr};

const TOPIC_CONFIGS: [(&str, &[&str]); 12] = [
    ("retention.ms", &["1", "-1", "86400000", "-2", "x", " 7 "]),
    (
        "cleanup.policy",
        &[
            "compact",
            "delete",
            "compact,delete",
            "never",
            "",
            " delete , compact",
            ",",
            "delete,delete",
        ],
    ),
    ("min.insync.replicas", &["1", "2", "3", "0", "two"]),
    ("unclean.leader.election.enable", &["true", "false", "maybe"]),
    ("segment.bytes", &["2000000", "1048576", "13"]),
    ("compression.type", &["zstd", "producer", "rar"]),
    ("leader.replication.throttled.replicas", &["*", "0:1,1:2", "none", "all"]),
    ("max.message.bytes", &["1000000", "-5"]),
    ("message.timestamp.type", &["LogAppendTime", "sometime"]),
    ("preallocate", &["TRUE", "false", "1"]),
    ("retention.bytes", &["-1", "1073741824"]),
    ("made.up", &["1"]),
];
const BROKER_CONFIGS: [(&str, &[&str]); 9] = [
    ("log.cleanup.policy", &["compact", "delete", "", "compact, delete"]),
    ("log.cleaner.threads", &["2", "0", "x"]),
    ("min.insync.replicas", &["1", "2"]),
    ("unclean.leader.election.enable", &["true", "false"]),
    ("follower.replication.throttled.rate", &["1000", "-3"]),
    ("log.retention.ms", &["1000", "-1"]),
    ("num.io.threads", &["4"]),
    ("node.id", &["4"]),
    ("made.up", &["1"]),
];
const GROUP_CONFIGS: [(&str, &[&str]); 3] = [
    ("consumer.session.timeout.ms", &["45000", "50000", "1", "x"]),
    ("consumer.heartbeat.interval.ms", &["5000", "6000"]),
    ("made.up", &["1"]),
];
const METRICS_CONFIGS: [(&str, &[&str]); 4] = [
    ("metrics", &["org.apache.kafka.producer.", "", "*"]),
    ("interval.ms", &["5000", "100", "x"]),
    ("match", &["client_id=a", "client_software_name=apache.*", "bogus=1", "client_id=["]),
    ("made.up", &["1"]),
];
/// Kafka's numbers of the kinds of resources that have configuration.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

type Setting = (KStr, Option<KStr>);

impl Gen<'_> {
    /// A setting of a topic.
    pub fn topic_config(&mut self) -> Setting {
        self.setting(&TOPIC_CONFIGS)
    }

    fn setting(&mut self, from: &[(&'static str, &'static [&'static str])]) -> Setting {
        let (name, values) = self.pick(from);
        let value = self.maybe(25, |it| KStr::from(it.pick(values)));
        (KStr::from(name), value)
    }

    fn resource(&mut self) -> (i8, KStr) {
        match self.prng.below(40) {
            0..16 => (TOPIC, self.known_topic_name()),
            16..24 => {
                let id = self.broker_id();
                // 3.9 does not know its controllers there.
                let is_foreign = id == 3000 && self.scope.kafka == KafkaVersion::V3_9_1;
                (BROKER, KStr::from(if is_foreign { 9 } else { id }.to_string()))
            }
            24..29 => (BROKER, KStr::from("")),
            29..33 if self.has_groups() => (GROUP, KStr::from(self.pick(&["g1", "g2", ""]))),
            33..37 => (CLIENT_METRICS, KStr::from(self.pick(&["m1", "m2", ""]))),
            37 => (BROKER, KStr::from("x")),
            38 => (3, KStr::from("z")),
            _ => (TOPIC, KStr::from("")),
        }
    }

    /// 3.9 has no configuration of groups, and refuses all of a request for them.
    fn has_groups(&self) -> bool {
        self.scope.kafka > KafkaVersion::V3_9_1
    }

    fn setting_of(&mut self, kind: i8) -> Setting {
        match kind {
            TOPIC => self.topic_config(),
            GROUP => self.setting(&GROUP_CONFIGS),
            CLIENT_METRICS => {
                let (name, value) = self.setting(&METRICS_CONFIGS);
                // 3.9 fails on it (UNKNOWN_SERVER_ERROR).
                let fails = self.scope.kafka == KafkaVersion::V3_9_1;
                (name, value.filter(|it| it != "x" || !fails))
            }
            _ => self.setting(&BROKER_CONFIGS),
        }
    }

    pub(super) fn incremental_alter_configs(&mut self) -> AnyRequest {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resources = self.several(1, 2, |it| {
            let (resource_type, resource_name) = it.resource();
            let configs = it.several(1, 3, |it| {
                let (name, value) = it.setting_of(resource_type);
                let config_operation = it.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
                // Appending nothing makes Kafka's controller resign (docs/differences.md).
                let value = match value {
                    None if config_operation > 1 => Some(KStr::from("1")),
                    value => value,
                };
                AlterableConfig { name, config_operation, value, ..Default::default() }
            });
            AlterConfigsResource { resource_type, resource_name, configs, ..Default::default() }
        });
        AnyRequest::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
            resources,
            validate_only: self.one_in(6),
            ..Default::default()
        })
    }

    pub(super) fn alter_configs(&mut self) -> AnyRequest {
        use alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resources = self.several(1, 2, |it| {
            let (resource_type, resource_name) = it.resource();
            let configs = it.several(0, 3, |it| {
                let (name, value) = it.setting_of(resource_type);
                AlterableConfig { name, value, ..Default::default() }
            });
            AlterConfigsResource { resource_type, resource_name, configs, ..Default::default() }
        });
        AnyRequest::AlterConfigs(AlterConfigsRequest {
            resources,
            validate_only: self.one_in(6),
            ..Default::default()
        })
    }

    pub(super) fn describe_configs(&mut self) -> AnyRequest {
        let resources = self.several(1, 2, |it| {
            let (resource_type, resource_name) = it.resource();
            // A controller has settings of its own node, by its own defaults.
            let configuration_keys =
                it.maybe(4, |it| it.several(1, 3, |it| it.setting_of(resource_type).0));
            DescribeConfigsResource {
                resource_type,
                resource_name,
                configuration_keys,
                ..Default::default()
            }
        });
        AnyRequest::DescribeConfigs(DescribeConfigsRequest {
            resources,
            include_synonyms: self.one_in(2),
            ..Default::default()
        })
    }

    pub(super) fn update_features(&mut self) -> AnyRequest {
        let every = [
            "group.version",
            "transaction.version",
            "share.version",
            "streams.version",
            "eligible.leader.replicas.version",
            "made.up",
            "metadata.version",
            "kraft.version",
        ];
        // 3.9 has none but this and kraft.version, which it does not know how to raise, and takes level
        // 0 of any name.
        let is_new = self.scope.kafka > KafkaVersion::V3_9_1;
        let names = if is_new { &every[..] } else { &["metadata.version"] };
        let of_old = self.one_in(4);
        let mut feature_updates: Vec<FeatureUpdateKey> = self.several(0, 2, |it| {
            let name = it.pick(names);
            let current = it.image.features.level(name);
            let max_version_level = match name {
                "metadata.version" | "kraft.version" => it.pick(&[current, 0, 1, 6, 99, -1]),
                _ => it.pick(&[0, 0, 1, 1, 2, 99, -1, current]),
            };
            FeatureUpdateKey {
                feature: KStr::from(name),
                max_version_level,
                allow_downgrade: of_old && it.one_in(2),
                upgrade_type: if of_old { 1 } else { it.pick(&[1, 1, 1, 2, 3, 0]) },
                ..Default::default()
            }
        });
        if of_old {
            // It knows no trying out.
            feature_updates.retain(|it| !is_delicate(it));
        }
        let delicate = feature_updates.iter().any(is_delicate);
        AnyRequest::UpdateFeatures(UpdateFeaturesRequest {
            feature_updates,
            validate_only: !of_old && (delicate || self.one_in(4)),
            ..Default::default()
        })
    }

    pub(super) fn alter_client_quotas(&mut self) -> AnyRequest {
        let entries = self.several(1, 2, |it| {
            let least = u64::from(!it.one_in(30));
            let entity = it.several(least, 2, |it| {
                let entity_type =
                    it.pick(&["user", "user", "client-id", "client-id", "ip", "group"]);
                let entity_name = it.maybe(4, |it| match entity_type {
                    "ip" => KStr::from(it.pick(&["10.0.0.1", "::1", "300.1.1.1"])),
                    _ => KStr::from(it.user()),
                });
                EntityData {
                    entity_type: KStr::from(entity_type),
                    entity_name,
                    ..Default::default()
                }
            });
            let ops = it.several(1, 2, |it| OpData {
                key: KStr::from(it.pick(&[
                    "producer_byte_rate",
                    "consumer_byte_rate",
                    "request_percentage",
                    "connection_creation_rate",
                    "made_up",
                ])),
                value: match it.pick(&[1000.0, 1000.0, 20.5, 0.0, -1.0, f64::NAN, 1e19]) {
                    // Before 4.4 it is a limit like others.
                    value if value.is_nan() && it.scope.kafka < KafkaVersion::V4_4_0 => 7.0,
                    value => value,
                },
                remove: it.one_in(3),
                ..Default::default()
            });
            EntryData { entity, ops, ..Default::default() }
        });
        AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
            entries,
            validate_only: self.one_in(6),
            ..Default::default()
        })
    }

    /// So low that within a seed nothing comes back once it is used up, or so high that it never is. Only for
    /// users, who come in envelopes: Kafka stops reading from a connection of its own that went over.
    pub(super) fn mutation_rate(&mut self, user: &str) -> AnyRequest {
        let entity = EntityData {
            entity_type: KStr::from("user"),
            entity_name: Some(KStr::from(user)),
            ..Default::default()
        };
        let op = OpData {
            key: KStr::from("controller_mutation_rate"),
            value: self.pick(&[0.0001, 0.0001, 1000.0]),
            ..Default::default()
        };
        let entry = EntryData { entity: vec![entity], ops: vec![op], ..Default::default() };
        let entries = vec![entry];
        AnyRequest::AlterClientQuotas(AlterClientQuotasRequest { entries, ..Default::default() })
    }

    pub(super) fn api_versions(&mut self) -> AnyRequest {
        AnyRequest::ApiVersions(ApiVersionsRequest {
            client_software_name: KStr::from(self.pick(&["quorate", "", "a b"])),
            client_software_version: KStr::from(self.pick(&["1", "", "1.2.3"])),
            ..Default::default()
        })
    }

    pub(super) fn describe_cluster(&mut self) -> AnyRequest {
        AnyRequest::DescribeCluster(DescribeClusterRequest {
            include_cluster_authorized_operations: self.one_in(2),
            endpoint_type: self.pick(&[1, 2, 2, 3]),
            include_fenced_brokers: self.one_in(2) && self.newest(ApiKey::DescribeCluster) > 1,
            ..Default::default()
        })
    }
}

/// There is no way back from a newer level.
fn is_delicate(update: &FeatureUpdateKey) -> bool {
    matches!(update.feature.as_str(), "metadata.version" | "kraft.version")
}
