use crate::acls::remove_acl_record;
use crate::client_quotas::quota_record;
use crate::cluster::{unregister_broker_record, unregister_controller_record};
use crate::configs::config_record;
use crate::delegation_tokens::remove_token_record;
use crate::features::feature_record;
use crate::pmap::Change;
use crate::producer_ids::producer_ids_record;
use crate::scram::{credential_record, remove_credential_record};
use crate::{
    Broker, ConfigResource, ConfigResourceKind, ControllerRegistration, DelegationToken, Image,
    Partition, QuotaEntity, ScramCredential, ScramMechanism, StandardAcl, Str, Topic,
};
use quorate_base::{NodeId, Uuid};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::record_version;
use quorate_protocol::records::RemoveTopicRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where two images differ, section by section. Nothing is computed before it is asked for.
#[derive(Clone, Copy)]
pub struct ImageDiff<'a> {
    older: &'a Image,
    newer: &'a Image,
}

impl<'a> ImageDiff<'a> {
    pub(crate) fn new(older: &'a Image, newer: &'a Image) -> ImageDiff<'a> {
        ImageDiff { older, newer }
    }

    /// The image the changes start from.
    pub fn older(&self) -> &'a Image {
        self.older
    }

    /// The image the changes lead to.
    pub fn newer(&self) -> &'a Image {
        self.newer
    }

    /// Finalized feature levels by name.
    pub fn features(&self) -> impl Iterator<Item = Change<&'a Str, i16>> + use<'a> {
        self.older.features.levels.diff(&self.newer.features.levels).map(|it| Change {
            key: it.key,
            old: it.old.copied(),
            new: it.new.copied(),
        })
    }

    /// Broker registrations.
    pub fn brokers(&self) -> impl Iterator<Item = Change<NodeId, &'a Broker>> + use<'a> {
        self.older.cluster.brokers.diff(&self.newer.cluster.brokers).map(by_copy)
    }

    /// Controller registrations.
    pub fn controllers(
        &self,
    ) -> impl Iterator<Item = Change<NodeId, &'a ControllerRegistration>> + use<'a> {
        self.older.cluster.controllers.diff(&self.newer.cluster.controllers).map(by_copy)
    }

    /// Topics that came, went, or have another number of partitions.
    pub fn topics(&self) -> impl Iterator<Item = Change<Uuid, &'a Topic>> + use<'a> {
        self.older.topics.diff_topics(&self.newer.topics)
    }

    /// Partitions that came, went (with their topic) or changed.
    pub fn partitions(&self) -> impl Iterator<Item = Change<(Uuid, i32), &'a Partition>> + use<'a> {
        self.older.topics.diff_partitions(&self.newer.topics)
    }

    /// Resources with anything configured otherwise.
    pub fn configs(
        &self,
    ) -> impl Iterator<Item = Change<&'a ConfigResource, &'a BTreeMap<Str, Str>>> + use<'a> {
        self.older.configs.by_resource.diff(&self.newer.configs.by_resource).map(by_ref)
    }

    /// Entities with other limits.
    pub fn client_quotas(
        &self,
    ) -> impl Iterator<Item = Change<&'a QuotaEntity, &'a BTreeMap<Str, f64>>> + use<'a> {
        self.older.client_quotas.by_entity.diff(&self.newer.client_quotas.by_entity).map(by_ref)
    }

    /// The next producer id, if it changed.
    pub fn producer_ids(&self) -> Option<Change<(), i64>> {
        let old = self.older.producer_ids.next_producer_id();
        let new = self.newer.producer_ids.next_producer_id();
        (old != new).then_some(Change { key: (), old, new })
    }

    /// Access control entries.
    pub fn acls(&self) -> impl Iterator<Item = Change<Uuid, &'a StandardAcl>> + use<'a> {
        self.older.acls.by_id.diff(&self.newer.acls.by_id).map(by_copy)
    }

    /// SCRAM credentials.
    pub fn scram(
        &self,
    ) -> impl Iterator<Item = Change<&'a (ScramMechanism, Str), &'a ScramCredential>> + use<'a>
    {
        self.older.scram.credentials.diff(&self.newer.scram.credentials).map(by_ref)
    }

    /// Delegation tokens.
    pub fn delegation_tokens(
        &self,
    ) -> impl Iterator<Item = Change<&'a Str, &'a DelegationToken>> + use<'a> {
        self.older.delegation_tokens.by_id.diff(&self.newer.delegation_tokens.by_id).map(by_ref)
    }

    /// True if the images have the same content.
    pub fn is_empty(&self) -> bool {
        self.features().next().is_none()
            && self.brokers().next().is_none()
            && self.controllers().next().is_none()
            && self.topics().next().is_none()
            && self.partitions().next().is_none()
            && self.configs().next().is_none()
            && self.client_quotas().next().is_none()
            && self.producer_ids().is_none()
            && self.acls().next().is_none()
            && self.scram().next().is_none()
            && self.delegation_tokens().next().is_none()
    }

    /// Records that make the newer image out of the older one, with the versions to write them in.
    ///
    /// Whole states, not deltas: a changed partition is written as a `PartitionRecord`. What records
    /// cannot say (a topic with fewer partitions or another name, as when going back) is said by
    /// removing and creating the topic anew.
    pub fn to_records(&self) -> impl Iterator<Item = (MetadataRecord, i16)> + use<'a> {
        let version = self.newer.metadata_version();
        self.feature_records()
            .chain(self.cluster_records())
            .chain(self.topic_and_config_records())
            .chain(self.quota_records())
            .chain(self.producer_ids().map(|it| producer_ids_record(it.new)))
            .chain(self.acls().map(|it| match it.new {
                Some(acl) => acl.to_record(),
                None => remove_acl_record(it.key),
            }))
            .chain(self.scram().map(|it| match (it.key, it.new) {
                ((mechanism, user), Some(new)) => credential_record(*mechanism, user, new),
                ((mechanism, user), None) => remove_credential_record(*mechanism, user),
            }))
            .chain(self.delegation_tokens().map(|it| match it.new {
                Some(token) => token.to_record(),
                None => remove_token_record(it.key),
            }))
            .map(move |record| {
                let record_version = record_version(&record, version);
                (record, record_version)
            })
    }

    fn feature_records(&self) -> impl Iterator<Item = MetadataRecord> + use<'a> {
        self.features().map(|it| feature_record(it.key, it.new.unwrap_or(0)))
    }

    fn cluster_records(&self) -> impl Iterator<Item = MetadataRecord> + use<'a> {
        let version = self.newer.metadata_version();
        let brokers = self.brokers().filter_map(move |it| match (it.old, it.new) {
            (_, Some(new)) => Some(new.to_record(version)),
            (Some(old), None) => Some(unregister_broker_record(old)),
            (None, None) => None,
        });
        let controllers = self.controllers().map(|it| match it.new {
            Some(new) => new.to_record(),
            None => unregister_controller_record(it.key),
        });
        brokers.chain(controllers)
    }

    fn topic_and_config_records(&self) -> impl Iterator<Item = MetadataRecord> + use<'a> {
        let newer = self.newer;
        let version = newer.metadata_version();
        let (mut removed, mut created) = (BTreeMap::new(), BTreeSet::new());
        for change in self.topics() {
            let grown = change.old.zip(change.new).is_some_and(|(old, new)| {
                old.name == new.name && old.partition_count <= new.partition_count
            });
            if grown {
                continue;
            }
            if let Some(old) = change.old {
                removed.insert(change.key, old.name.clone());
            }
            if change.new.is_some() {
                created.insert(change.key);
            }
        }
        // A removed topic takes its configuration along, also from a new topic of its name.
        let emptied: BTreeSet<Str> = removed.values().cloned().collect();
        let kept = {
            let (removed, created) = (removed.clone(), created.clone());
            move |id: &Uuid| !removed.contains_key(id) && !created.contains(id)
        };
        let removals = removed.into_keys().map(|topic_id| {
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id, ..Default::default() })
        });
        let creations = created
            .into_iter()
            .filter_map(|id| newer.topics.by_id(id))
            .flat_map(move |topic| newer.topics.topic_records(topic, version));
        let changed = self.partitions().filter_map(move |it| {
            let (id, index) = it.key;
            let new = it.new.filter(|_| kept(&id))?;
            Some(new.to_record(id, index, version))
        });
        let is_emptied = {
            let emptied = emptied.clone();
            move |resource: &ConfigResource| {
                resource.kind == ConfigResourceKind::Topic && emptied.contains(&resource.name)
            }
        };
        let configs = self.configs().filter(move |it| !is_emptied(it.key)).flat_map(|it| {
            changed_entries(it.old, it.new).map(move |(k, v)| config_record(it.key, k, v))
        });
        let configs_anew = emptied.into_iter().flat_map(move |name| {
            let resource = ConfigResource::topic(name);
            let values = newer.configs.get(&resource).cloned().unwrap_or_default();
            let records: Vec<MetadataRecord> =
                values.iter().map(|(k, v)| config_record(&resource, k, Some(v))).collect();
            records
        });
        removals.chain(creations).chain(changed).chain(configs).chain(configs_anew)
    }

    fn quota_records(&self) -> impl Iterator<Item = MetadataRecord> + use<'a> {
        self.client_quotas().flat_map(|it| {
            changed_entries(it.old, it.new).map(move |(k, v)| quota_record(it.key, k, v.copied()))
        })
    }
}

fn by_copy<'a, K: Copy, V>(it: Change<&'a K, &'a Arc<V>>) -> Change<K, &'a V> {
    Change { key: *it.key, old: it.old.map(Arc::as_ref), new: it.new.map(Arc::as_ref) }
}

fn by_ref<'a, K, V>(it: Change<&'a K, &'a Arc<V>>) -> Change<&'a K, &'a V> {
    Change { key: it.key, old: it.old.map(Arc::as_ref), new: it.new.map(Arc::as_ref) }
}

/// Entries to set (with the new value) and to remove.
fn changed_entries<'a, V: PartialEq>(
    old: Option<&'a BTreeMap<Str, V>>,
    new: Option<&'a BTreeMap<Str, V>>,
) -> impl Iterator<Item = (&'a Str, Option<&'a V>)> {
    let in_new = move |key: &Str| new.and_then(|it| it.get(key));
    let in_old = move |key: &Str| old.and_then(|it| it.get(key));
    let gone = old.into_iter().flatten().filter(move |(key, _)| in_new(key).is_none());
    let set = new.into_iter().flatten().filter(move |(key, value)| in_old(key) != Some(*value));
    gone.map(|(key, _)| (key, None)).chain(set.map(|(key, value)| (key, Some(value))))
}
