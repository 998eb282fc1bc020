use crate::pmap::PMap;
use crate::{Contradiction, Str};
use quorate_base::{NodeId, Uuid};
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::register_broker_record::{BrokerEndpoint, BrokerFeature};
use quorate_protocol::records::register_controller_record::{
    ControllerEndpoint, ControllerFeature,
};
use quorate_protocol::records::{
    BrokerRegistrationChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRecord, UnregisterControllerRecord,
};
use quorate_protocol::{KStr, MetadataRecord};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a node listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The listener's name, for example `PLAINTEXT`.
    pub name: Str,
    /// What clients connect to.
    pub host: Str,
    /// TCP port.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// The node id.
    pub id: NodeId,
    /// The offset of the record that registered this incarnation; what heartbeats must repeat.
    pub epoch: i64,
    /// Chosen anew by each start of the broker's process.
    pub incarnation_id: Uuid,
    /// By name: Java's snapshots do not keep the order of the registration.
    pub listeners: Vec<Listener>,
    /// Lowest and highest level of each feature that the broker supports.
    pub features: BTreeMap<Str, (i16, i16)>,
    /// Where it stands, for placement.
    pub rack: Option<Str>,
    /// Without a live session, or not yet caught up: no replica on it may be in an ISR.
    pub fenced: bool,
    /// On its way out: gets no leaders.
    pub in_controlled_shutdown: bool,
    /// Ids of the log directories that are online (KIP-858).
    pub directories: Vec<Uuid>,
    /// Directories that take no new replicas (KIP-1066); `None` if the broker never said.
    pub cordoned_directories: Option<Vec<Uuid>>,
    /// Only in logs of Kafka 3.x.
    pub is_migrating_zk_broker: bool,
}

/// A registered controller (KIP-919).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerRegistration {
    /// The node id.
    pub id: NodeId,
    /// Chosen anew by each start of the process.
    pub incarnation_id: Uuid,
    /// Only of meaning in 3.x.
    pub zk_migration_ready: bool,
    /// By name: Java's snapshots do not keep the order of the registration.
    pub listeners: Vec<Listener>,
    /// Lowest and highest level of each feature that the controller supports.
    pub features: BTreeMap<Str, (i16, i16)>,
}

/// The registered nodes.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) brokers: PMap<NodeId, Arc<Broker>>,
    pub(crate) controllers: PMap<NodeId, Arc<ControllerRegistration>>,
}

impl Cluster {
    /// A registered broker.
    pub fn broker(&self, id: NodeId) -> Option<&Broker> {
        self.brokers.get(&id).map(Arc::as_ref)
    }

    /// All registered brokers by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(Arc::as_ref)
    }

    /// Number of registered brokers.
    pub fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    /// A registered controller.
    pub fn controller(&self, id: NodeId) -> Option<&ControllerRegistration> {
        self.controllers.get(&id).map(Arc::as_ref)
    }

    /// All registered controllers by id.
    pub fn controllers(&self) -> impl Iterator<Item = &ControllerRegistration> {
        self.controllers.values().map(Arc::as_ref)
    }

    /// Also replaces an earlier registration of the same id.
    pub(crate) fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let broker = Broker {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            listeners: by_name(record.end_points.iter().map(|it| Listener {
                name: Str::from(&it.name),
                host: Str::from(&it.host),
                port: it.port,
                security_protocol: it.security_protocol,
            })),
            features: record
                .features
                .iter()
                .map(|it| {
                    (Str::from(&it.name), (it.min_supported_version, it.max_supported_version))
                })
                .collect(),
            rack: record.rack.as_ref().map(Str::from),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            directories: in_javas_order(record.log_dirs.clone()),
            cordoned_directories: record.cordoned_log_dirs.clone(),
            is_migrating_zk_broker: record.is_migrating_zk_broker,
        };
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    pub(crate) fn unregister_broker(
        &mut self,
        record: &UnregisterBrokerRecord,
    ) -> Result<(), Contradiction> {
        self.broker_with_epoch(record.broker_id, record.broker_epoch)?;
        self.brokers.remove(&record.broker_id);
        Ok(())
    }

    pub(crate) fn set_fenced(
        &mut self,
        id: NodeId,
        epoch: i64,
        fenced: bool,
    ) -> Result<(), Contradiction> {
        Arc::make_mut(self.broker_with_epoch(id, epoch)?).fenced = fenced;
        Ok(())
    }

    pub(crate) fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<(), Contradiction> {
        let fenced = match record.fenced {
            -1 => Some(false),
            0 => None,
            1 => Some(true),
            other => return Err(meaningless("fenced", other)),
        };
        let in_controlled_shutdown = match record.in_controlled_shutdown {
            0 => None,
            1 => Some(true),
            other => return Err(meaningless("inControlledShutdown", other)),
        };
        let broker = Arc::make_mut(self.broker_with_epoch(record.broker_id, record.broker_epoch)?);
        broker.fenced = fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown =
            in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
        if !record.log_dirs.is_empty() {
            broker.directories = in_javas_order(record.log_dirs.clone());
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_directories = Some(cordoned.clone());
        }
        Ok(())
    }

    fn broker_with_epoch(
        &mut self,
        id: NodeId,
        given: i64,
    ) -> Result<&mut Arc<Broker>, Contradiction> {
        let broker = self.brokers.get_mut(&id).ok_or(Contradiction::UnknownBroker(id))?;
        if broker.epoch != given {
            let registered = broker.epoch;
            return Err(Contradiction::OtherBrokerEpoch { id, registered, given });
        }
        Ok(broker)
    }

    pub(crate) fn register_controller(&mut self, record: &RegisterControllerRecord) {
        let controller = ControllerRegistration {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: by_name(record.end_points.iter().map(|it| Listener {
                name: Str::from(&it.name),
                host: Str::from(&it.host),
                port: it.port,
                security_protocol: it.security_protocol,
            })),
            features: record
                .features
                .iter()
                .map(|it| {
                    (Str::from(&it.name), (it.min_supported_version, it.max_supported_version))
                })
                .collect(),
        };
        self.controllers.insert(controller.id, Arc::new(controller));
    }

    pub(crate) fn unregister_controller(
        &mut self,
        record: &UnregisterControllerRecord,
    ) -> Result<(), Contradiction> {
        match self.controllers.remove(&record.controller_id) {
            Some(_) => Ok(()),
            None => Err(Contradiction::UnknownController(record.controller_id)),
        }
    }

    pub(crate) fn records(&self, version: MetadataVersion) -> impl Iterator<Item = MetadataRecord> {
        let brokers = self.brokers().map(move |it| it.to_record(version));
        let controllers = self
            .controllers()
            .filter(move |_| version.supports_controller_registration())
            .map(ControllerRegistration::to_record);
        brokers.chain(controllers)
    }
}

fn by_name(listeners: impl Iterator<Item = Listener>) -> Vec<Listener> {
    let mut out: Vec<Listener> = listeners.collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// Java keeps a broker's directories sorted, and its UUIDs compare as two signed numbers.
fn in_javas_order(mut directories: Vec<Uuid>) -> Vec<Uuid> {
    directories.sort_by_key(|it| {
        let bits = it.as_u128();
        ((bits >> 64) as i64, bits as i64)
    });
    directories
}

fn meaningless(field: &'static str, value: i8) -> Contradiction {
    Contradiction::MeaninglessValue { field, value: i64::from(value) }
}

impl Broker {
    /// May lead partitions and be in ISRs.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The listener with a name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|it| it.name == name)
    }

    /// True if `directory` is one of its online directories. A broker older than directory ids
    /// lists none and any may be its.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        self.directories.is_empty()
            || directory == Uuid::DIR_UNASSIGNED
            || directory == Uuid::DIR_MIGRATING
            || self.directories.contains(&directory)
    }

    /// The record that makes this registration, without what `version` cannot say.
    pub fn to_record(&self, version: MetadataVersion) -> MetadataRecord {
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: self.is_migrating_zk_broker && version.level() >= 8,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self
                .listeners
                .iter()
                .map(|it| BrokerEndpoint {
                    name: KStr::from(&it.name),
                    host: KStr::from(&it.host),
                    port: it.port,
                    security_protocol: it.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|(name, (min, max))| BrokerFeature {
                    name: KStr::from(name),
                    min_supported_version: *min,
                    max_supported_version: *max,
                    ..Default::default()
                })
                .collect(),
            rack: self.rack.as_ref().map(KStr::from),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: match version.supports_directories() {
                true => self.directories.clone(),
                false => Vec::new(),
            },
            cordoned_log_dirs: match version.supports_cordoned_dirs() {
                true => self.cordoned_directories.clone(),
                false => None,
            },
            ..Default::default()
        })
    }
}

impl ControllerRegistration {
    /// The listener with a name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|it| it.name == name)
    }

    /// The record that makes this registration.
    pub fn to_record(&self) -> MetadataRecord {
        MetadataRecord::RegisterController(RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self
                .listeners
                .iter()
                .map(|it| ControllerEndpoint {
                    name: KStr::from(&it.name),
                    host: KStr::from(&it.host),
                    port: it.port,
                    security_protocol: it.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|(name, (min, max))| ControllerFeature {
                    name: KStr::from(name),
                    min_supported_version: *min,
                    max_supported_version: *max,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    }
}

pub(crate) fn unregister_broker_record(broker: &Broker) -> MetadataRecord {
    MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        ..Default::default()
    })
}

pub(crate) fn unregister_controller_record(controller_id: NodeId) -> MetadataRecord {
    MetadataRecord::UnregisterController(UnregisterControllerRecord {
        controller_id,
        ..Default::default()
    })
}
