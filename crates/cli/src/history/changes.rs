//! What a moment of the log changed, thing by thing, with what was there before and after.

use quorate_base::Uuid;
use quorate_metadata::{
    Broker, ConfigResource, ControllerRegistration, DelegationToken, Image, Listener, Partition,
    QuotaEntity, StandardAcl, Str, Topic,
};
use quorate_protocol::control::Voter;
use quorate_server::audit::{names, quota_entity};
use quorate_survey::history::{Happened, Moment};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Kafka's numbers of a resource that is a topic, and of a pattern that is its very name.
const TOPIC: (i8, i8) = (2, 3);

/// One thing that came, went or changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// `topic`, `partition`, `config`, ...
    pub kind: &'static str,
    /// Which one.
    pub key: String,
    /// The topic that it belongs to, or speaks of by its name.
    pub topic: Option<String>,
    /// `Null`: it was not there. Of configs and limits, only what differs.
    pub before: Value,
    /// `Null`: it is gone.
    pub after: Value,
}

/// Everything that a moment changed, by kind and key.
pub fn changes(moment: &Moment) -> Vec<Change> {
    let one = |kind, key: &str, before, after| {
        vec![Change { kind, key: key.to_owned(), topic: None, before, after }]
    };
    match &moment.what {
        Happened::Metadata { before, after } => of_images(before, after),
        Happened::Leader(leader) => {
            one("leader", &format!("epoch {}", moment.epoch), Value::Null, json!(leader))
        }
        Happened::KraftVersion(version) => one("kraft.version", "", Value::Null, json!(version)),
        Happened::Voters { before, after } => {
            let before = before.as_ref().map_or(Value::Null, |it| voters(it));
            one("voters", "", before, voters(after))
        }
        Happened::Beginning => Vec::new(),
    }
}

fn voters(voters: &[Voter]) -> Value {
    let shown = voters.iter().map(|it| {
        let endpoints = it.endpoints.iter();
        let endpoints = endpoints.map(|it| format!("{}://{}:{}", it.name, it.host, it.port));
        let directory = it.key.directory_id.map(|it| it.to_string());
        (
            it.key.id.to_string(),
            json!({
                "directoryId": directory,
                "endpoints": endpoints.collect::<Vec<_>>(),
            }),
        )
    });
    Value::Object(shown.collect())
}

fn of_images(before: &Image, after: &Image) -> Vec<Change> {
    let diff = before.diff(after);
    let mut all = Vec::new();
    let mut add = |kind, key: String, topic: Option<String>, before: Value, after: Value| {
        all.push(Change { kind, key, topic, before, after });
    };
    let name = |id: Uuid| {
        let topic = after.topics.by_id(id).or_else(|| before.topics.by_id(id));
        topic.map_or_else(|| id.to_string(), |it| it.name.to_string())
    };
    for it in diff.features() {
        add("feature", it.key.to_string(), None, json!(it.old), json!(it.new));
    }
    for it in diff.brokers() {
        add("broker", it.key.to_string(), None, json(it.old, broker), json(it.new, broker));
    }
    for it in diff.controllers() {
        let (old, new) = (json(it.old, controller), json(it.new, controller));
        add("controller", it.key.to_string(), None, old, new);
    }
    for it in diff.topics() {
        let name = name(it.key);
        add("topic", name.clone(), Some(name), json(it.old, topic), json(it.new, topic));
    }
    for it in diff.partitions() {
        let (id, index) = it.key;
        let name = name(id);
        let key = format!("{name}-{index}");
        add("partition", key, Some(name), json(it.old, partition), json(it.new, partition));
    }
    for it in diff.configs() {
        let (old, new) = different(it.old, it.new);
        let kind = it.key.kind.number();
        let shown = |all: BTreeMap<&Str, &Str>| {
            let value = |name: &Str, value: &Str| match names::is_secret_config(kind, name) {
                true => json!(names::HIDDEN),
                false => json!(value.as_str()),
            };
            object(all.into_iter().map(|(name, it)| (name.to_string(), value(name, it))))
        };
        let topic = (names::config_resource(kind) == "TOPIC").then(|| it.key.name.to_string());
        add("config", config_key(it.key), topic, shown(old), shown(new));
    }
    for it in diff.client_quotas() {
        let (old, new) = different(it.old, it.new);
        let shown = |all: BTreeMap<&Str, &f64>| {
            object(all.into_iter().map(|(name, limit)| (name.to_string(), json!(limit))))
        };
        add("client quota", quota_key(it.key), None, shown(old), shown(new));
    }
    if let Some(it) = diff.producer_ids() {
        add("producer ids", "next".to_owned(), None, json!(it.old), json!(it.new));
    }
    for it in diff.acls() {
        let speaks_of = it.new.or(it.old).filter(|it| (it.resource_type, it.pattern_type) == TOPIC);
        let topic = speaks_of.map(|it| it.resource_name.to_string());
        add("acl", it.key.to_string(), topic, json(it.old, acl), json(it.new, acl));
    }
    for it in diff.scram() {
        let (mechanism, user) = it.key;
        // That a credential changed shows by this line; what it is stays secret.
        let (old, new) = (it.old.map(|it| it.iterations), it.new.map(|it| it.iterations));
        let shown = |it: Option<i32>| it.map_or(Value::Null, |it| json!({ "iterations": it }));
        add("scram", format!("{user} {}", mechanism.name()), None, shown(old), shown(new));
    }
    for it in diff.delegation_tokens() {
        add("delegation token", it.key.to_string(), None, json(it.old, token), json(it.new, token));
    }
    all
}

fn json<T>(value: Option<&T>, shown: fn(&T) -> Value) -> Value {
    value.map_or(Value::Null, shown)
}

/// Nothing set is nothing there.
fn object(fields: impl Iterator<Item = (String, Value)>) -> Value {
    let fields: Map<String, Value> = fields.collect();
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

/// What of two maps is not in the other with the same value.
fn different<'a, V: PartialEq>(
    old: Option<&'a BTreeMap<Str, V>>,
    new: Option<&'a BTreeMap<Str, V>>,
) -> (BTreeMap<&'a Str, &'a V>, BTreeMap<&'a Str, &'a V>) {
    let without = |all: Option<&'a BTreeMap<Str, V>>, others: Option<&'a BTreeMap<Str, V>>| {
        let fields = all.into_iter().flatten();
        fields.filter(|(name, value)| others.and_then(|it| it.get(*name)) != Some(*value)).collect()
    };
    (without(old, new), without(new, old))
}

fn config_key(resource: &ConfigResource) -> String {
    let name = if resource.name.is_empty() { "(default)" } else { resource.name.as_str() };
    format!("{}:{name}", resource.kind)
}

fn quota_key(entity: &QuotaEntity) -> String {
    let parts = entity.parts().iter();
    quota_entity(parts.map(|(kind, name)| (kind.as_str(), name.as_ref().map(Str::as_str))))
}

fn listeners(all: &[Listener]) -> Vec<String> {
    all.iter().map(|it| format!("{}://{}:{}", it.name, it.host, it.port)).collect()
}

fn broker(it: &Broker) -> Value {
    let texts = |ids: &[Uuid]| ids.iter().map(Uuid::to_string).collect::<Vec<_>>();
    json!({
        "epoch": it.epoch,
        "incarnationId": it.incarnation_id.to_string(),
        "fenced": it.fenced,
        "inControlledShutdown": it.in_controlled_shutdown,
        "rack": it.rack.as_ref().map(Str::as_str),
        "listeners": listeners(&it.listeners),
        "directories": texts(&it.directories),
        "cordonedDirectories": it.cordoned_directories.as_deref().map(texts),
    })
}

fn controller(it: &ControllerRegistration) -> Value {
    json!({
        "incarnationId": it.incarnation_id.to_string(),
        "listeners": listeners(&it.listeners),
    })
}

fn topic(it: &Topic) -> Value {
    json!({ "topicId": it.id.to_string(), "partitions": it.partition_count })
}

fn partition(it: &Partition) -> Value {
    let it = it.to_state();
    let mut shown = json!({
        "leader": it.leader,
        "leaderEpoch": it.leader_epoch,
        "partitionEpoch": it.partition_epoch,
        "replicas": it.replicas,
        "isr": it.isr,
    });
    // Seldom there.
    for (name, ids) in [
        ("adding", it.adding),
        ("removing", it.removing),
        ("elr", it.elr),
        ("lastKnownElr", it.last_known_elr),
    ] {
        if !ids.is_empty() {
            shown[name] = json!(ids);
        }
    }
    if it.recovery.number() != 0 {
        shown["leaderRecoveryState"] = json!(it.recovery.number());
    }
    shown
}

fn acl(it: &StandardAcl) -> Value {
    json!({
        "resource": format!("{}:{}", names::acl_resource(it.resource_type), it.resource_name),
        "patternType": names::acl_pattern(it.pattern_type),
        "principal": it.principal.as_str(),
        "host": it.host.as_str(),
        "operation": names::acl_operation(it.operation),
        "permission": names::acl_permission(it.permission_type),
    })
}

fn token(it: &DelegationToken) -> Value {
    json!({
        "owner": it.owner.as_str(),
        "requester": it.requester.as_str(),
        "renewers": it.renewers.iter().map(Str::as_str).collect::<Vec<_>>(),
        "expiryTimestampMs": it.expiration_timestamp_ms,
        "maxTimestampMs": it.max_timestamp_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_protocol::MetadataRecord;
    use quorate_protocol::records::{ConfigRecord, UserScramCredentialRecord};

    fn config(kind: i8, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
        MetadataRecord::Config(ConfigRecord {
            resource_type: kind,
            resource_name: resource.into(),
            name: name.into(),
            value: value.map(Into::into),
            ..Default::default()
        })
    }

    fn image(records: &[MetadataRecord]) -> Image {
        let mut image = Image::empty();
        records.iter().for_each(|it| image.apply(it).unwrap());
        image
    }

    #[test]
    fn of_configs_only_what_differs_is_told() {
        let one = config(2, "t", "retention.ms", Some("1"));
        let two = config(2, "t", "cleanup.policy", Some("compact"));
        let before = image(&[one.clone(), two.clone()]);
        let after = image(&[one, two, config(2, "t", "retention.ms", Some("2"))]);
        let told = of_images(&before, &after);
        let expected = Change {
            kind: "config",
            key: "TOPIC:t".to_owned(),
            topic: Some("t".to_owned()),
            before: json!({ "retention.ms": "1" }),
            after: json!({ "retention.ms": "2" }),
        };
        assert_eq!(told, [expected]);
        let gone = of_images(&before, &image(&[]));
        assert_eq!(gone[0].after, Value::Null);
        assert_eq!(of_images(&before, &before), []);
    }

    #[test]
    fn secrets_are_not_told() {
        let before = image(&[]);
        let credential = UserScramCredentialRecord {
            name: "alice".into(),
            mechanism: 1,
            salt: b"SECRET".to_vec().into(),
            stored_key: b"SECRET".to_vec().into(),
            server_key: b"SECRET".to_vec().into(),
            iterations: 4096,
            ..Default::default()
        };
        let after = image(&[
            config(4, "1", "ssl.keystore.password", Some("SECRET")),
            config(4, "", "log.cleaner.threads", Some("2")),
            MetadataRecord::UserScramCredential(credential),
        ]);
        let text = format!("{:?}", of_images(&before, &after));
        assert!(!text.contains("SECRET"), "{text}");
        for told in ["BROKER:1", "BROKER:(default)", "(hidden)", "alice SCRAM-SHA-256", "4096"] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }
}
