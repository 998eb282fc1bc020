use crate::diff::ImageDiff;
use crate::error::{ApplyError, Contradiction};
use crate::{
    Acls, ClientQuotas, Cluster, Configs, DelegationTokens, Features, ProducerIds, Scram, Topics,
};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::{MetadataVersion, record_version};
use std::fmt;

/// The cluster's metadata at one offset of the log. Cloning shares structure and costs next to
/// nothing.
#[derive(Clone, Default)]
pub struct Image {
    /// Finalized feature levels.
    pub features: Features,
    /// Registered brokers and controllers.
    pub cluster: Cluster,
    /// Topics and partitions.
    pub topics: Topics,
    /// What was configured.
    pub configs: Configs,
    /// Limits for clients.
    pub client_quotas: ClientQuotas,
    /// Which producer ids are given out.
    pub producer_ids: ProducerIds,
    /// Access control entries.
    pub acls: Acls,
    /// SCRAM credentials.
    pub scram: Scram,
    /// Delegation tokens.
    pub delegation_tokens: DelegationTokens,
}

impl Image {
    /// The image of an empty log.
    pub fn empty() -> Image {
        Image::default()
    }

    /// The finalized `metadata.version`.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.features.metadata_version()
    }

    /// Applies one record. An error leaves the image as it was and says what it contradicts.
    ///
    /// Transaction markers are errors here: they concern more than one image and are for the
    /// [`Replayer`](crate::Replayer).
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        self.apply_inner(record).map_err(|it| it.in_record(record.name()))
    }

    fn apply_inner(&mut self, record: &MetadataRecord) -> Result<(), Contradiction> {
        match record {
            MetadataRecord::RegisterBroker(it) => self.cluster.register_broker(it),
            MetadataRecord::UnregisterBroker(it) => self.cluster.unregister_broker(it)?,
            MetadataRecord::FenceBroker(it) => self.cluster.set_fenced(it.id, it.epoch, true)?,
            MetadataRecord::UnfenceBroker(it) => self.cluster.set_fenced(it.id, it.epoch, false)?,
            MetadataRecord::BrokerRegistrationChange(it) => self.cluster.change_broker(it)?,
            MetadataRecord::RegisterController(it) => self.cluster.register_controller(it),
            MetadataRecord::UnregisterController(it) => self.cluster.unregister_controller(it)?,
            MetadataRecord::Topic(it) => self.topics.create(it)?,
            MetadataRecord::RemoveTopic(it) => {
                let topic = self.topics.remove(it)?;
                self.configs.remove_topic(&topic.name);
            }
            MetadataRecord::Partition(it) => self.topics.set_partition(it)?,
            MetadataRecord::PartitionChange(it) => self.topics.change_partition(it)?,
            MetadataRecord::ClearElr(it) => self.topics.clear_elr(it)?,
            MetadataRecord::Config(it) => self.configs.apply(it)?,
            MetadataRecord::ClientQuota(it) => self.client_quotas.apply(it),
            MetadataRecord::ProducerIds(it) => self.producer_ids.apply(it),
            MetadataRecord::FeatureLevel(it) => self.features.apply(it)?,
            MetadataRecord::AccessControlEntry(it) => self.acls.apply(it),
            MetadataRecord::RemoveAccessControlEntry(it) => self.acls.remove(it)?,
            MetadataRecord::UserScramCredential(it) => self.scram.apply(it)?,
            MetadataRecord::RemoveUserScramCredential(it) => self.scram.remove(it)?,
            MetadataRecord::DelegationToken(it) => self.delegation_tokens.apply(it),
            MetadataRecord::RemoveDelegationToken(it) => self.delegation_tokens.remove(it),
            // Written by Kafka 3.4 to 3.9 only; the state of a migration that is over says nothing.
            MetadataRecord::ZkMigrationState(_) | MetadataRecord::NoOp(_) => {}
            MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => return Err(Contradiction::TransactionMarker),
        }
        Ok(())
    }

    /// What differs in `newer`. Where both descend from one image, shared parts are skipped, so the
    /// cost goes with the number of changes. Any two images may be compared, in either direction.
    pub fn diff<'a>(&'a self, newer: &'a Image) -> ImageDiff<'a> {
        ImageDiff::new(self, newer)
    }

    /// The records of a snapshot, each with the version to write it in, in the order in which Java
    /// writes them. They are made one by one as they are asked for.
    pub fn to_records(&self) -> impl Iterator<Item = (MetadataRecord, i16)> + '_ {
        let version = self.metadata_version();
        let scram = version.supports_scram().then(|| self.scram.records());
        let tokens = version.supports_delegation_tokens().then(|| self.delegation_tokens.records());
        self.features
            .records()
            .chain(self.cluster.records(version))
            .chain(self.topics.records(version))
            .chain(self.configs.records())
            .chain(self.client_quotas.records())
            .chain(self.producer_ids.records())
            .chain(self.acls.records())
            .chain(scram.into_iter().flatten())
            .chain(tokens.into_iter().flatten())
            .map(move |record| {
                let record_version = record_version(&record, version);
                (record, record_version)
            })
    }

    /// A number that is the same for images of the same content, made from the bytes of
    /// [`Image::to_records`]. It takes as long as writing a snapshot.
    pub fn content_hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (record, version) in self.to_records() {
            let bytes = record
                .encode_framed(version)
                .expect("a record made from an image can be written at the image's version");
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                hash = mix(hash ^ u64::from_le_bytes(word));
            }
            hash = mix(hash ^ bytes.len() as u64);
        }
        hash
    }
}

/// The finisher of SplitMix64: every bit of the input moves about half of the output's.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Equal content, however the images came about.
impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        self.diff(other).is_empty()
    }
}

/// Counts only: a whole image would fill any log.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("metadata_version", &self.metadata_version())
            .field("brokers", &self.cluster.broker_count())
            .field("topics", &self.topics.topic_count())
            .field("partitions", &self.topics.partition_count())
            .finish_non_exhaustive()
    }
}
