use crate::Str;
use crate::pmap::PMap;
use quorate_protocol::records::ClientQuotaRecord;
use quorate_protocol::records::client_quota_record::EntityData;
use quorate_protocol::{KStr, MetadataRecord};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whom a quota is for: by entity type (`user`, `client-id`, `ip`) the name, `None` for the default.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuotaEntity(Vec<(Str, Option<Str>)>);

impl QuotaEntity {
    /// In any order; the last of two parts of the same type counts.
    pub fn new(parts: impl IntoIterator<Item = (Str, Option<Str>)>) -> QuotaEntity {
        QuotaEntity(parts.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }

    /// Type and name, ascending by type.
    pub fn parts(&self) -> &[(Str, Option<Str>)] {
        &self.0
    }
}

/// All client quotas.
#[derive(Clone, Debug, Default)]
pub struct ClientQuotas {
    pub(crate) by_entity: PMap<QuotaEntity, Arc<BTreeMap<Str, f64>>>,
}

impl ClientQuotas {
    /// The limits of one entity by name, for example `producer_byte_rate`; `None` if it has none.
    pub fn get(&self, entity: &QuotaEntity) -> Option<&BTreeMap<Str, f64>> {
        self.by_entity.get(entity).map(Arc::as_ref)
    }

    /// All entities that have limits.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &BTreeMap<Str, f64>)> {
        self.by_entity.iter().map(|(entity, limits)| (entity, limits.as_ref()))
    }

    pub(crate) fn apply(&mut self, record: &ClientQuotaRecord) {
        let entity = QuotaEntity::new(
            record
                .entity
                .iter()
                .map(|it| (Str::from(&it.entity_type), it.entity_name.as_ref().map(Str::from))),
        );
        if record.remove {
            let Some(limits) = self.by_entity.get_mut(&entity) else {
                return;
            };
            Arc::make_mut(limits).remove(record.key.as_str());
            if limits.is_empty() {
                self.by_entity.remove(&entity);
            }
        } else {
            let limits = self.by_entity.get_or_insert_with(entity, Arc::default);
            Arc::make_mut(limits).insert(Str::from(&record.key), record.value);
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().flat_map(|(entity, limits)| {
            limits.iter().map(|(key, value)| quota_record(entity, key, Some(*value)))
        })
    }
}

/// `None` removes the limit.
pub(crate) fn quota_record(entity: &QuotaEntity, key: &Str, value: Option<f64>) -> MetadataRecord {
    MetadataRecord::ClientQuota(ClientQuotaRecord {
        entity: entity
            .parts()
            .iter()
            .map(|(kind, name)| EntityData {
                entity_type: KStr::from(kind),
                entity_name: name.as_ref().map(KStr::from),
                ..Default::default()
            })
            .collect(),
        key: KStr::from(key),
        value: value.unwrap_or(0.0),
        remove: value.is_none(),
        ..Default::default()
    })
}
