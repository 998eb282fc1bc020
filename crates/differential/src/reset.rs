//! Back to an empty cluster without a restart, so that a seed depends on nothing before it.

use crate::Side;
use crate::generate::Versions;
use quorate_interop::Outcome;
use quorate_metadata::{ConfigResource, ConfigResourceKind};
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::alter_user_scram_credentials_request::ScramCredentialDeletion;
use quorate_protocol::messages::delete_acls_request::DeleteAclsFilter;
use quorate_protocol::messages::delete_topics_request::DeleteTopicState;
use quorate_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use quorate_protocol::messages::update_features_request::FeatureUpdateKey;
use quorate_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, DeleteAclsRequest,
    DeleteTopicsRequest, IncrementalAlterConfigsRequest, UnregisterBrokerRequest,
    UnregisterControllerRequest, UpdateFeaturesRequest,
};
use quorate_protocol::{AnyRequest, KStr};
use std::collections::BTreeMap;

/// Feature levels of the empty cluster.
pub type Levels = BTreeMap<String, i16>;

impl Side {
    /// The finalized levels as they are.
    pub fn levels(&self) -> Levels {
        self.image().features.iter().map(|(name, level)| (name.to_string(), level)).collect()
    }

    /// Removes everything that a seed may have left. What stays is seen by who compares.
    pub fn reset(&mut self, levels: &Levels, versions: &Versions) -> Outcome<()> {
        self.read_log(0)?;
        for request in self.removals(levels) {
            self.send(&request)?;
        }
        self.expire_tokens(versions)?;
        let records = self.read_log(0)?;
        self.catch_up(&records, versions)?;
        self.begin();
        Ok(())
    }

    /// Only its owner can end a token.
    fn expire_tokens(&mut self, versions: &Versions) -> Outcome<()> {
        let tokens = self.image().delegation_tokens.iter();
        let owned: Vec<(String, String)> =
            tokens.map(|it| (it.token_id.to_string(), it.owner.to_string())).collect();
        for (id, owner) in owned {
            let (hmac, owner) = (self.hmacs.get(&id).cloned(), owner.strip_prefix("User:"));
            if let (Some(hmac), Some(owner)) = (hmac, owner) {
                self.expire_token(&hmac, owner, versions)?;
            }
        }
        Ok(())
    }

    fn removals(&self, levels: &Levels) -> Vec<AnyRequest> {
        let image = self.image();
        // First of all: it may be what is limited.
        let mut all: Vec<AnyRequest> = self.quota_removals().into_iter().collect();
        let topics: Vec<DeleteTopicState> = image
            .topics
            .iter_by_name()
            .map(|it| DeleteTopicState { topic_id: it.id, ..Default::default() })
            .collect();
        if !topics.is_empty() {
            let request = DeleteTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
            all.push(AnyRequest::DeleteTopics(request));
        }
        // Those of a broker only as long as it is registered.
        all.extend(self.config_removals());
        for broker in image.cluster.brokers() {
            let request = UnregisterBrokerRequest { broker_id: broker.id, ..Default::default() };
            all.push(AnyRequest::UnregisterBroker(request));
        }
        if levels.keys().next().is_some() {
            all.extend(foreign_controllers(image.cluster.controllers().map(|it| it.id)));
        }
        if !image.acls.is_empty() {
            let every = DeleteAclsFilter {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: None,
                host_filter: None,
                operation: 1,
                permission_type: 1,
                ..Default::default()
            };
            let request = DeleteAclsRequest { filters: vec![every], ..Default::default() };
            all.push(AnyRequest::DeleteAcls(request));
        }
        all.extend(self.credential_removals());
        all.extend(self.feature_changes(levels));
        all
    }

    fn config_removals(&self) -> Option<AnyRequest> {
        let resources: Vec<AlterConfigsResource> = self
            .image()
            .configs
            .iter()
            // A topic's go with it.
            .filter(|(resource, _)| resource.kind != ConfigResourceKind::Topic)
            .map(|(resource, values)| AlterConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: KStr::from(resource.name.as_str()),
                configs: values
                    .keys()
                    .map(|name| AlterableConfig {
                        name: KStr::from(name.as_str()),
                        // With ELR it must be set for the cluster.
                        config_operation: if is_kept(resource, name) { 0 } else { 1 },
                        value: is_kept(resource, name).then(|| KStr::from("1")),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        (!resources.is_empty()).then(|| {
            let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
            AnyRequest::IncrementalAlterConfigs(request)
        })
    }

    fn quota_removals(&self) -> Option<AnyRequest> {
        let entries: Vec<EntryData> = self
            .image()
            .client_quotas
            .iter()
            .map(|(entity, limits)| EntryData {
                entity: entity
                    .parts()
                    .iter()
                    .map(|(kind, name)| EntityData {
                        entity_type: KStr::from(kind.as_str()),
                        entity_name: name.as_ref().map(|it| KStr::from(it.as_str())),
                        ..Default::default()
                    })
                    .collect(),
                ops: limits
                    .keys()
                    .map(|key| OpData {
                        key: KStr::from(key.as_str()),
                        remove: true,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        (!entries.is_empty()).then(|| {
            let request = AlterClientQuotasRequest { entries, ..Default::default() };
            AnyRequest::AlterClientQuotas(request)
        })
    }

    fn credential_removals(&self) -> Option<AnyRequest> {
        let deletions: Vec<ScramCredentialDeletion> = self
            .image()
            .scram
            .iter()
            .map(|(mechanism, user, _)| ScramCredentialDeletion {
                name: KStr::from(user.as_str()),
                mechanism: mechanism as i8,
                ..Default::default()
            })
            .collect();
        (!deletions.is_empty()).then(|| {
            let request = AlterUserScramCredentialsRequest { deletions, ..Default::default() };
            AnyRequest::AlterUserScramCredentials(request)
        })
    }

    fn feature_changes(&self, wanted: &Levels) -> Vec<AnyRequest> {
        let current = self.levels();
        let names: std::collections::BTreeSet<&String> =
            current.keys().chain(wanted.keys()).collect();
        let changes = names.into_iter().filter_map(|name| {
            let (now, then) = (current.get(name), wanted.get(name).copied().unwrap_or(0));
            let change = FeatureUpdateKey {
                feature: KStr::from(name.as_str()),
                max_version_level: then,
                upgrade_type: if now.copied().unwrap_or(0) > then { 3 } else { 1 },
                ..Default::default()
            };
            (now.copied().unwrap_or(0) != then).then_some(change)
        });
        let request = |it| {
            let feature_updates = vec![it];
            AnyRequest::UpdateFeatures(UpdateFeaturesRequest {
                feature_updates,
                ..Default::default()
            })
        };
        changes.map(request).collect()
    }
}

/// What a new cluster with ELR has, too.
pub fn is_kept(resource: &ConfigResource, name: &str) -> bool {
    *resource == ConfigResource::default_broker() && name == "min.insync.replicas"
}

fn foreign_controllers(ids: impl Iterator<Item = i32>) -> Vec<AnyRequest> {
    ids.filter(|id| *id == 3001 || *id == 3002)
        .map(|controller_id| {
            let request = UnregisterControllerRequest { controller_id, ..Default::default() };
            AnyRequest::UnregisterController(request)
        })
        .collect()
}
