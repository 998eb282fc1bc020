//! AlterClientQuotas (KIP-546).

use crate::decide::refusal::{Refusal, code_and_text};
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP};
use quorate_metadata::{QuotaEntity, Str};
use quorate_protocol::messages::alter_client_quotas_request::{EntryData, OpData};
use quorate_protocol::messages::alter_client_quotas_response as response;
use quorate_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use quorate_protocol::records::ClientQuotaRecord;
use quorate_protocol::records::client_quota_record::EntityData;
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// The values a quota may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Long,
    Double,
}

/// Sets and removes quotas. Entries are judged one by one; one refused operation refuses its entry. An
/// entity named twice is refused, and answered once.
///
/// Errors: INVALID_REQUEST; POLICY_VIOLATION for all if more than 10,000 records come out.
pub fn alter_client_quotas(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    request: &AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let start = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let mut times_named: BTreeMap<QuotaEntity, u32> = BTreeMap::new();
    for entry in &request.entries {
        *times_named.entry(entity_of(entry)).or_default() += 1;
    }
    let mut answered = BTreeSet::new();
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let entity = entity_of(entry);
        if !answered.insert(entity.clone()) {
            continue;
        }
        let before = draft.checkpoint();
        let outcome = match times_named.get(&entity) {
            Some(1) => alter(draft, &entity, entry),
            _ => Err(invalid(format!("Ignoring duplicate entity {}", shown(&entity)))),
        };
        if outcome.is_err() {
            draft.rollback(before);
        }
        entries.push(answer(&entity, &outcome));
    }
    if draft.len() > limit {
        draft.rollback(start);
        let refused = Err(Refusal::too_many_records());
        entries = answered.iter().map(|entity| answer(entity, &refused)).collect();
    } else if request.validate_only {
        draft.rollback(start);
    }
    AlterClientQuotasResponse { entries, ..Default::default() }
}

fn answer(entity: &QuotaEntity, outcome: &Result<(), Refusal>) -> response::EntryData {
    let (error_code, error_message) = code_and_text(outcome);
    let parts = entity.parts().iter().map(|(kind, name)| response::EntityData {
        entity_type: KStr::from(kind),
        entity_name: name.as_ref().map(KStr::from),
        ..Default::default()
    });
    response::EntryData { error_code, error_message, entity: parts.collect(), ..Default::default() }
}

fn shown(entity: &QuotaEntity) -> String {
    let part = |(kind, name): &(Str, Option<Str>)| match name {
        Some(name) => format!("{kind}={name}"),
        None => format!("default {kind}"),
    };
    entity.parts().iter().map(part).collect::<Vec<_>>().join(", ")
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, why)
}

fn entity_of(entry: &EntryData) -> QuotaEntity {
    QuotaEntity::new(
        entry
            .entity
            .iter()
            .map(|part| (Str::from(&part.entity_type), part.entity_name.as_ref().map(Str::from))),
    )
}

fn alter(draft: &mut Draft, entity: &QuotaEntity, entry: &EntryData) -> Result<(), Refusal> {
    let allowed = quotas_for(entity)?;
    let mut keys = BTreeSet::new();
    for op in &entry.ops {
        if !keys.insert(&op.key) {
            return Err(invalid(format!("Ignoring duplicate key {} of {}", op.key, shown(entity))));
        }
        let limits = draft.image().client_quotas.get(entity);
        let current = limits.and_then(|it| it.get(op.key.as_str())).copied();
        // Whatever is there can be removed, whatever it is called.
        if op.remove {
            if current.is_some() {
                draft.push(record(entity, op));
            }
            continue;
        }
        let Some((_, kind)) = allowed.iter().find(|(name, _)| op.key == *name) else {
            return Err(invalid(format!("Invalid configuration key {}", op.key)));
        };
        check_value(op, *kind)?;
        if current != Some(op.value) {
            draft.push(record(entity, op));
        }
    }
    Ok(())
}

/// Which quotas this entity may have.
fn quotas_for(entity: &QuotaEntity) -> Result<&'static [(&'static str, Kind)], Refusal> {
    if entity.parts().is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    let (mut clients, mut ip) = (0, None);
    for (kind, name) in entity.parts() {
        match kind.as_str() {
            USER | CLIENT_ID => clients += 1,
            IP => ip = Some(name.as_deref()),
            other => return Err(invalid(format!("Unhandled client quota entity type: {other}"))),
        }
        if name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {kind} not supported")));
        }
    }
    match ip {
        None => Ok(&[
            ("producer_byte_rate", Kind::Long),
            ("consumer_byte_rate", Kind::Long),
            ("request_percentage", Kind::Double),
            ("controller_mutation_rate", Kind::Double),
        ]),
        Some(_) if clients > 0 => Err(invalid(
            "Invalid quota entity combination, an IP entity cannot be combined with user or client-id.",
        )),
        Some(Some(address)) if !is_host(address) => {
            Err(invalid(format!("{address} is not a valid IP or resolvable host.")))
        }
        Some(_) => Ok(&[("connection_creation_rate", Kind::Int)]),
    }
}

/// Java resolves the name; a decision must not wait for a name server, so whatever can be a host
/// name is taken for one.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    let all_numeric = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    match text.parse::<IpAddr>() {
        Ok(_) => true,
        Err(_) if all_numeric => is_short_ipv4(text),
        Err(_) => text.split('.').all(label),
    }
}

/// `127.1` and even `2130706433` are addresses of old: the last number fills the bytes left.
fn is_short_ipv4(text: &str) -> bool {
    let numbers: Option<Vec<u64>> = text.split('.').map(|it| it.parse().ok()).collect();
    let Some((last, leading)) = numbers.as_deref().and_then(<[u64]>::split_last) else {
        return false;
    };
    let bits_left = 32_u32.saturating_sub(8 * leading.len() as u32);
    bits_left > 0 && leading.iter().all(|it| *it <= 255) && *last < 1 << bits_left
}

fn check_value(op: &OpData, kind: Kind) -> Result<(), Refusal> {
    if !op.value.is_finite() {
        return Err(invalid(format!("Quota {} must be a finite number", op.key)));
    }
    if op.value <= 0.0 {
        return Err(invalid(format!("Quota {} must be greater than 0", op.key)));
    }
    let (name, largest) = match kind {
        Kind::Double => return Ok(()),
        Kind::Int => ("an INT", f64::from(i32::MAX)),
        Kind::Long => ("a LONG", i64::MAX as f64),
    };
    // Kafka's tools compute with doubles and miss whole numbers by a hair.
    let is_whole = (op.value.round() - op.value).abs() <= 1e-6;
    if !is_whole {
        return Err(invalid(format!("{} cannot be a fractional value.", op.key)));
    }
    if op.value > largest {
        return Err(invalid(format!("Proposed value for {} is too large for {name}.", op.key)));
    }
    Ok(())
}

fn record(entity: &QuotaEntity, op: &OpData) -> MetadataRecord {
    let parts = entity.parts().iter().map(|(kind, name)| EntityData {
        entity_type: KStr::from(kind),
        entity_name: name.as_ref().map(KStr::from),
        ..Default::default()
    });
    MetadataRecord::ClientQuota(ClientQuotaRecord {
        entity: parts.collect(),
        key: op.key.clone(),
        value: if op.remove { 0.0 } else { op.value },
        remove: op.remove,
        ..Default::default()
    })
}
