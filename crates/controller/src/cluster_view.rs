//! The questions that decisions about partitions put to an image: who is live, which directory holds a
//! replica, what the topic's rules are.

use crate::partition_change::Surroundings;
use crate::{ControllerConfig, Draft};
use quorate_base::{NodeId, Uuid};
use quorate_metadata::{ConfigResource, Image, Partition, Topic};
use quorate_protocol::features::MetadataVersion;

/// An image with the settings of this controller, which stand behind the dynamic ones.
pub struct ClusterView<'a> {
    image: &'a Image,
    config: &'a ControllerConfig,
}

/// What of a topic's configuration decides about leaders. Looked up once for each topic in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicRules {
    /// Effective `min.insync.replicas`, never above the number of replicas of partition 0.
    pub min_isr: usize,
    /// Effective `unclean.leader.election.enable`.
    pub unclean_election: bool,
}

impl<'a> ClusterView<'a> {
    /// Over an image.
    pub fn new(image: &'a Image, config: &'a ControllerConfig) -> ClusterView<'a> {
        ClusterView { image, config }
    }

    /// The image.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// The finalised metadata.version.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.image.features.metadata_version()
    }

    /// True for a registered broker that is neither fenced nor in controlled shutdown: it may be in an
    /// ISR (KIP-841).
    pub fn is_active(&self, broker: NodeId) -> bool {
        self.image.cluster.broker(broker).is_some_and(|it| it.is_active())
    }

    /// True if the broker is active and the replica's directory on it is not known to be offline.
    pub fn may_lead(&self, partition: &Partition, broker: NodeId) -> bool {
        self.is_active(broker) && self.has_directory_online(partition, broker)
    }

    /// True if the replica's directory on the broker is not known to be offline (KIP-858).
    pub fn has_directory_online(&self, partition: &Partition, broker: NodeId) -> bool {
        let registration = self.image.cluster.broker(broker);
        let directory = partition.directory_on(broker);
        registration
            .zip(directory)
            .is_some_and(|(it, directory)| directory_is_online(directory, &it.directories))
    }

    /// Where a replica newly placed on a broker goes: its only directory, or "unassigned" if it has a
    /// choice, or "migrating" if it predates directory ids. A broker that is not registered is refused
    /// elsewhere.
    pub fn default_directory(&self, broker: NodeId) -> Uuid {
        match self.image.cluster.broker(broker).map(|it| it.directories.as_slice()) {
            None => Uuid::DIR_UNASSIGNED,
            Some([]) => Uuid::DIR_MIGRATING,
            Some([only]) => *only,
            Some(_) => Uuid::DIR_UNASSIGNED,
        }
    }

    /// The topic's rules.
    pub fn topic_rules(&self, topic: &Topic) -> TopicRules {
        let replicas =
            self.image.topics.partition(topic.id, 0).map_or(usize::MAX, |it| it.replicas().len());
        let configured = self
            .topic_setting(&topic.name, "min.insync.replicas")
            .and_then(|it| it.trim().parse::<i32>().ok())
            .unwrap_or(self.config.min_insync_replicas);
        let unclean_election = self
            .topic_setting(&topic.name, "unclean.leader.election.enable")
            .map_or(self.config.unclean_leader_election, |it| it.eq_ignore_ascii_case("true"));
        TopicRules {
            min_isr: usize::try_from(configured).unwrap_or(0).min(replicas),
            unclean_election,
        }
    }

    /// A topic setting from the nearest place that has it: the topic, this controller, all brokers.
    fn topic_setting(&self, topic: &str, name: &str) -> Option<&'a str> {
        let configs = &self.image.configs;
        [
            ConfigResource::topic(topic),
            ConfigResource::broker(self.config.node_id),
            ConfigResource::default_broker(),
        ]
        .iter()
        .find_map(|resource| configs.value(resource, name))
        .map(|it| it.as_str())
    }

    /// Hands the surroundings of one partition to `decide`. `may_lead` overrides who is acceptable
    /// as a leader; by default that is [`ClusterView::may_lead`].
    pub fn with_surroundings<R>(
        &self,
        partition: &Partition,
        rules: TopicRules,
        decide: impl FnOnce(&Surroundings<'_>) -> R,
    ) -> R {
        self.with_acceptable(rules, &|broker| self.may_lead(partition, broker), decide)
    }

    /// As [`ClusterView::with_surroundings`] with another idea of who may lead.
    pub fn with_acceptable<R>(
        &self,
        rules: TopicRules,
        may_lead: &dyn Fn(NodeId) -> bool,
        decide: impl FnOnce(&Surroundings<'_>) -> R,
    ) -> R {
        decide(&Surroundings {
            metadata_version: self.metadata_version(),
            elr_enabled: self.image.features.elr_enabled(),
            min_isr: rules.min_isr,
            may_lead,
            default_directory: &|broker| self.default_directory(broker),
        })
    }
}

/// True unless the directory is known to be offline. A broker that lists no directory was registered
/// before directories were known; it halts by itself when all of them are gone (KAFKA-17062).
pub fn directory_is_online(directory: Uuid, online: &[Uuid]) -> bool {
    match directory {
        Uuid::DIR_UNASSIGNED | Uuid::DIR_MIGRATING => true,
        Uuid::DIR_LOST => false,
        named => online.is_empty() || online.contains(&named),
    }
}

/// Remembers the rules of the last topic asked for: partitions come topic by topic.
pub struct RulesCache<'a> {
    view: &'a ClusterView<'a>,
    last: Option<(Uuid, TopicRules)>,
}

impl<'a> RulesCache<'a> {
    /// Empty.
    pub fn new(view: &'a ClusterView<'a>) -> RulesCache<'a> {
        RulesCache { view, last: None }
    }

    /// The rules of that topic, which must exist.
    pub fn rules(&mut self, topic: Uuid) -> TopicRules {
        if let Some((id, rules)) = self.last
            && id == topic
        {
            return rules;
        }
        let known = self.view.image.topics.by_id(topic);
        let rules = self.view.topic_rules(known.expect("an indexed partition has a topic"));
        self.last = Some((topic, rules));
        rules
    }
}

/// Pushes a list of records decided over one image. Decided first and pushed afterwards, so that each
/// of them sees the state before all, as it does in Kafka.
pub fn push_all<R: Into<quorate_protocol::MetadataRecord>>(draft: &mut Draft, records: Vec<R>) {
    for record in records {
        draft.push(record);
    }
}
