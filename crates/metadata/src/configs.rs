use crate::pmap::PMap;
use crate::{Contradiction, Str};
use quorate_protocol::records::ConfigRecord;
use quorate_protocol::{KStr, MetadataRecord};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a configuration belongs to, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum ConfigResourceKind {
    /// 2, named by the topic's name.
    Topic = 2,
    /// 4, named by the broker's id; the empty name is the default of all brokers.
    Broker = 4,
    /// 8, log levels; never recorded.
    BrokerLogger = 8,
    /// 16, named by the subscription (KIP-714).
    ClientMetrics = 16,
    /// 32, named by the group (KIP-848).
    Group = 32,
}

impl ConfigResourceKind {
    /// By Kafka's number.
    pub fn from_i8(number: i8) -> Option<ConfigResourceKind> {
        Some(match number {
            2 => ConfigResourceKind::Topic,
            4 => ConfigResourceKind::Broker,
            8 => ConfigResourceKind::BrokerLogger,
            16 => ConfigResourceKind::ClientMetrics,
            32 => ConfigResourceKind::Group,
            _ => return None,
        })
    }

    /// Kafka's number.
    pub const fn number(self) -> i8 {
        self as i8
    }
}

impl fmt::Display for ConfigResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigResourceKind::Topic => "TOPIC",
            ConfigResourceKind::Broker => "BROKER",
            ConfigResourceKind::BrokerLogger => "BROKER_LOGGER",
            ConfigResourceKind::ClientMetrics => "CLIENT_METRICS",
            ConfigResourceKind::Group => "GROUP",
        })
    }
}

/// Whether a setting of this name may hold a secret, going by its name alone: better one shown too few.
pub fn may_hold_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["password", "secret", "jaas", "token", "credential", ".key"]
        .iter()
        .any(|part| lower.contains(part))
}

/// Something that has a configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ConfigResourceKind,
    /// Its name; see [`ConfigResourceKind`].
    pub name: Str,
}

impl ConfigResource {
    /// A resource of any kind.
    pub fn new(kind: ConfigResourceKind, name: impl Into<Str>) -> ConfigResource {
        ConfigResource { kind, name: name.into() }
    }

    /// A topic by name.
    pub fn topic(name: impl Into<Str>) -> ConfigResource {
        ConfigResource::new(ConfigResourceKind::Topic, name)
    }

    /// One broker.
    pub fn broker(id: quorate_base::NodeId) -> ConfigResource {
        ConfigResource::new(ConfigResourceKind::Broker, id.to_string())
    }

    /// The defaults of all brokers.
    pub fn default_broker() -> ConfigResource {
        ConfigResource::new(ConfigResourceKind::Broker, "")
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)
    }
}

/// What was set by name on every resource; defaults are not here.
#[derive(Clone, Debug, Default)]
pub struct Configs {
    pub(crate) by_resource: PMap<ConfigResource, Arc<BTreeMap<Str, Str>>>,
}

impl Configs {
    /// Everything set on a resource; `None` if nothing is.
    pub fn get(&self, resource: &ConfigResource) -> Option<&BTreeMap<Str, Str>> {
        self.by_resource.get(resource).map(Arc::as_ref)
    }

    /// One value set on a resource.
    pub fn value(&self, resource: &ConfigResource, name: &str) -> Option<&Str> {
        self.get(resource)?.get(name)
    }

    /// All resources with something set, by kind, then name.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &BTreeMap<Str, Str>)> {
        self.by_resource.iter().map(|(resource, values)| (resource, values.as_ref()))
    }

    pub(crate) fn apply(&mut self, record: &ConfigRecord) -> Result<(), Contradiction> {
        let kind = ConfigResourceKind::from_i8(record.resource_type).ok_or(
            Contradiction::MeaninglessValue {
                field: "resourceType",
                value: i64::from(record.resource_type),
            },
        )?;
        let resource = ConfigResource { kind, name: Str::from(&record.resource_name) };
        match &record.value {
            Some(value) => {
                let values = self.by_resource.get_or_insert_with(resource, Arc::default);
                Arc::make_mut(values).insert(Str::from(&record.name), Str::from(value));
            }
            None => {
                let Some(values) = self.by_resource.get_mut(&resource) else {
                    return Ok(());
                };
                Arc::make_mut(values).remove(record.name.as_str());
                if values.is_empty() {
                    self.by_resource.remove(&resource);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove_topic(&mut self, name: &Str) {
        self.by_resource.remove(&ConfigResource::topic(name.clone()));
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().flat_map(|(resource, values)| {
            values.iter().map(|(name, value)| config_record(resource, name, Some(value)))
        })
    }
}

/// `None` removes the value.
pub(crate) fn config_record(
    resource: &ConfigResource,
    name: &Str,
    value: Option<&Str>,
) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type: resource.kind.number(),
        resource_name: KStr::from(&resource.name),
        name: KStr::from(name),
        value: value.map(KStr::from),
        ..Default::default()
    })
}
