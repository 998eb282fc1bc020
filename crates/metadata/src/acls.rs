use crate::pmap::PMap;
use crate::{Contradiction, Str};
use quorate_base::Uuid;
use quorate_protocol::records::{AccessControlEntryRecord, RemoveAccessControlEntryRecord};
use quorate_protocol::{KStr, MetadataRecord};
use std::collections::BTreeMap;
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
    /// The same by what they speak of, so that a decision looks only at what may concern it.
    by_pattern: PMap<Pattern, Arc<BTreeMap<Uuid, Arc<StandardAcl>>>>,
}

/// Resource type, pattern type and name.
type Pattern = (i8, i8, Str);

const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const WILDCARD: &str = "*";

impl Acls {
    /// The entry with an id.
    pub fn get(&self, id: Uuid) -> Option<&StandardAcl> {
        self.by_id.get(&id).map(Arc::as_ref)
    }

    /// All entries by id.
    pub fn iter(&self) -> impl Iterator<Item = &StandardAcl> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// The entries that speak of a resource: of its very name, of all names, or of a beginning of its name. They
    /// come by pattern, those of one pattern by id.
    pub fn concerning<'a>(
        &'a self,
        resource_type: i8,
        name: &'a str,
    ) -> impl Iterator<Item = &'a StandardAcl> {
        let literal = (name != WILDCARD).then_some((LITERAL, name));
        let beginnings = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        let prefixes = beginnings.map(move |end| (PREFIXED, name.get(..end).unwrap_or_default()));
        let patterns = [(LITERAL, WILDCARD)].into_iter().chain(literal).chain(prefixes);
        patterns
            .filter_map(move |(kind, name)| {
                self.by_pattern.get(&(resource_type, kind, Str::from(name)))
            })
            .flat_map(|entries| entries.values().map(Arc::as_ref))
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
        let acl = Arc::new(acl);
        if let Some(replaced) = self.by_id.insert(acl.id, Arc::clone(&acl)) {
            self.forget(&replaced);
        }
        let entries = self.by_pattern.get_or_insert_with(pattern(&acl), Arc::default);
        Arc::make_mut(entries).insert(acl.id, acl);
    }

    pub(crate) fn remove(
        &mut self,
        record: &RemoveAccessControlEntryRecord,
    ) -> Result<(), Contradiction> {
        match self.by_id.remove(&record.id) {
            Some(acl) => {
                self.forget(&acl);
                Ok(())
            }
            None => Err(Contradiction::UnknownAcl(record.id)),
        }
    }

    fn forget(&mut self, acl: &StandardAcl) {
        let pattern = pattern(acl);
        let Some(entries) = self.by_pattern.get_mut(&pattern) else { return };
        Arc::make_mut(entries).remove(&acl.id);
        if entries.is_empty() {
            self.by_pattern.remove(&pattern);
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().map(StandardAcl::to_record)
    }
}

fn pattern(acl: &StandardAcl) -> Pattern {
    (acl.resource_type, acl.pattern_type, acl.resource_name.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(id: u128, pattern_type: i8, name: &str) -> AccessControlEntryRecord {
        AccessControlEntryRecord {
            id: Uuid::from_u128(id),
            resource_type: 2,
            resource_name: KStr::from(name),
            pattern_type,
            ..Default::default()
        }
    }

    fn concerning(acls: &Acls, name: &str) -> Vec<u128> {
        acls.concerning(2, name).map(|it| it.id.as_u128()).collect()
    }

    #[test]
    fn a_resource_is_concerned_by_its_name_by_all_names_and_by_beginnings_of_its_name() {
        let mut acls = Acls::default();
        let all = [
            acl(1, LITERAL, "orders"),
            acl(2, LITERAL, "*"),
            acl(3, PREFIXED, "ord"),
            acl(4, PREFIXED, "orders"),
            acl(5, PREFIXED, ""),
            acl(6, LITERAL, "ord"),
            acl(7, PREFIXED, "ordersx"),
            acl(8, PREFIXED, "x"),
        ];
        all.iter().for_each(|it| acls.apply(it));
        assert_eq!(concerning(&acls, "orders"), [2, 1, 5, 3, 4]);
        assert_eq!(concerning(&acls, "*"), [2, 5]);
        assert_eq!(acls.concerning(3, "orders").count(), 0, "another type");
        let gone = RemoveAccessControlEntryRecord { id: Uuid::from_u128(3), ..Default::default() };
        acls.remove(&gone).unwrap();
        // The same id with another pattern: a snapshot over what is there.
        acls.apply(&acl(1, LITERAL, "bills"));
        assert_eq!(concerning(&acls, "orders"), [2, 5, 4]);
        assert_eq!(concerning(&acls, "bills"), [2, 1, 5]);
    }
}
