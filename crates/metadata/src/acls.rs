use crate::pmap::PMap;
use crate::{Contradiction, Str};
use quorate_base::Uuid;
use quorate_protocol::records::{AccessControlEntryRecord, RemoveAccessControlEntryRecord};
use quorate_protocol::{KStr, MetadataRecord};
use std::sync::Arc;

/// One access control entry. The numbers are those of Kafka's enumerations.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StandardAcl {
    /// The entry's id.
    pub id: Uuid,
    /// Kafka's `ResourceType`: 2 topic, 3 group, 4 cluster, 5 transactional id, 6 token, 7 user.
    pub resource_type: i8,
    /// The resource, or a prefix, or `*`.
    pub resource_name: Str,
    /// Kafka's `PatternType`: 3 literal, 4 prefixed.
    pub pattern_type: i8,
    /// For example `User:alice`.
    pub principal: Str,
    /// An address, from 4.4-IV1 on also a range of addresses, or `*`.
    pub host: Str,
    /// Kafka's `AclOperation`.
    pub operation: i8,
    /// Kafka's `AclPermissionType`: 2 deny, 3 allow.
    pub permission_type: i8,
}

/// All access control entries.
#[derive(Clone, Debug, Default)]
pub struct Acls {
    pub(crate) by_id: PMap<Uuid, Arc<StandardAcl>>,
}

impl Acls {
    /// The entry with an id.
    pub fn get(&self, id: Uuid) -> Option<&StandardAcl> {
        self.by_id.get(&id).map(Arc::as_ref)
    }

    /// All entries by id.
    pub fn iter(&self) -> impl Iterator<Item = &StandardAcl> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn apply(&mut self, record: &AccessControlEntryRecord) {
        let acl = StandardAcl {
            id: record.id,
            resource_type: record.resource_type,
            resource_name: Str::from(&record.resource_name),
            pattern_type: record.pattern_type,
            principal: Str::from(&record.principal),
            host: Str::from(&record.host),
            operation: record.operation,
            permission_type: record.permission_type,
        };
        self.by_id.insert(acl.id, Arc::new(acl));
    }

    pub(crate) fn remove(
        &mut self,
        record: &RemoveAccessControlEntryRecord,
    ) -> Result<(), Contradiction> {
        match self.by_id.remove(&record.id) {
            Some(_) => Ok(()),
            None => Err(Contradiction::UnknownAcl(record.id)),
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().map(StandardAcl::to_record)
    }
}

impl StandardAcl {
    /// The record that makes this entry.
    pub fn to_record(&self) -> MetadataRecord {
        MetadataRecord::AccessControlEntry(AccessControlEntryRecord {
            id: self.id,
            resource_type: self.resource_type,
            resource_name: KStr::from(&self.resource_name),
            pattern_type: self.pattern_type,
            principal: KStr::from(&self.principal),
            host: KStr::from(&self.host),
            operation: self.operation,
            permission_type: self.permission_type,
            ..Default::default()
        })
    }
}

pub(crate) fn remove_acl_record(id: Uuid) -> MetadataRecord {
    MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord {
        id,
        ..Default::default()
    })
}
