//! AlterClientQuotas (KIP-546).

use crate::{Draft, Env};
use quorate_metadata::{QuotaEntity, Str};
use quorate_protocol::messages::alter_client_quotas_request::{EntryData, OpData};
use quorate_protocol::messages::alter_client_quotas_response as response;
use quorate_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use quorate_protocol::records::ClientQuotaRecord;
use quorate_protocol::records::client_quota_record::EntityData;
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use std::collections::BTreeSet;
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

/// Sets and removes quotas. Entries are judged one by one; one refused operation refuses its entry.
pub fn alter_client_quotas(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    request: &AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let start = draft.checkpoint();
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let before = draft.checkpoint();
        let outcome = if seen.insert(entity_of(entry)) {
            alter(draft, entry)
        } else {
            Err(invalid("the same entity is altered twice in one request"))
        };
        let (code, message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err((code, message)) => {
                draft.rollback(before);
                (code, Some(KStr::from(message)))
            }
        };
        entries.push(response::EntryData {
            error_code: code.code(),
            error_message: message,
            entity: entry
                .entity
                .iter()
                .map(|part| response::EntityData {
                    entity_type: part.entity_type.clone(),
                    entity_name: part.entity_name.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
    }
    if request.validate_only {
        draft.rollback(start);
    }
    AlterClientQuotasResponse { entries, ..Default::default() }
}

type Refusal = (ErrorCode, String);

fn invalid(why: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, why.into())
}

fn entity_of(entry: &EntryData) -> QuotaEntity {
    QuotaEntity::new(
        entry
            .entity
            .iter()
            .map(|part| (Str::from(&part.entity_type), part.entity_name.as_ref().map(Str::from))),
    )
}

fn alter(draft: &mut Draft, entry: &EntryData) -> Result<(), Refusal> {
    let allowed = quotas_for(entry)?;
    let entity = entity_of(entry);
    for op in &entry.ops {
        let Some((_, kind)) = allowed.iter().find(|(name, _)| op.key == *name) else {
            return Err(invalid(format!("Invalid configuration key {}", op.key)));
        };
        let current = draft.image().client_quotas.get(&entity).and_then(|it| it.get(op.key.as_str()));
        if op.remove {
            if current.is_some() {
                draft.push(record(&entity, op));
            }
            continue;
        }
        check_value(op, *kind)?;
        if current != Some(&op.value) {
            draft.push(record(&entity, op));
        }
    }
    Ok(())
}

/// Which quotas this entity may have.
fn quotas_for(entry: &EntryData) -> Result<&'static [(&'static str, Kind)], Refusal> {
    if entry.entity.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    let (mut clients, mut ip) = (0, None);
    let mut types = BTreeSet::new();
    for part in &entry.entity {
        let kind = part.entity_type.as_str();
        if !types.insert(kind) {
            return Err(invalid(format!("Duplicate client quota entity type: {kind}")));
        }
        match kind {
            USER | CLIENT_ID => clients += 1,
            IP => ip = Some(part.entity_name.as_deref()),
            other => return Err(invalid(format!("Unhandled client quota entity type: {other}"))),
        }
        if part.entity_name.as_deref() == Some("") {
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
            "Invalid quota entity combination, IP entity should not be used with user/client-id entity.",
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
    text.parse::<IpAddr>().is_ok() || (!all_numeric && text.split('.').all(label))
}

fn check_value(op: &OpData, kind: Kind) -> Result<(), Refusal> {
    // Not a number is refused here as well: it is greater than nothing.
    let positive = op.value > 0.0;
    if !positive {
        return Err(invalid(format!("Quota {} must be greater than 0", op.key)));
    }
    let (name, largest) = match kind {
        Kind::Double => return Ok(()),
        Kind::Int => ("INT", f64::from(i32::MAX)),
        Kind::Long => ("LONG", i64::MAX as f64),
    };
    // Kafka's tools compute with doubles and miss whole numbers by a hair.
    let is_whole = (op.value.round() - op.value).abs() <= 1e-6;
    if !is_whole {
        return Err(invalid(format!("{} must be a {name} value", op.key)));
    }
    if op.value > largest {
        return Err(invalid(format!("Proposed value for {} is too large for a {name}.", op.key)));
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
