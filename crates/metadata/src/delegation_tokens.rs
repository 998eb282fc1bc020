use crate::Str;
use crate::pmap::PMap;
use quorate_protocol::records::{DelegationTokenRecord, RemoveDelegationTokenRecord};
use quorate_protocol::{KStr, MetadataRecord};
use std::sync::Arc;

/// A delegation token (KIP-48) without its secret, which every node derives from the shared key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelegationToken {
    /// The token's id.
    pub token_id: Str,
    /// Principal the token stands for, for example `User:alice`.
    pub owner: Str,
    /// Principal that asked for it.
    pub requester: Str,
    /// Principals that may renew it.
    pub renewers: Vec<Str>,
    /// Milliseconds since the Unix epoch.
    pub issue_timestamp_ms: i64,
    /// No renewal beyond this; milliseconds since the Unix epoch.
    pub max_timestamp_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub expiration_timestamp_ms: i64,
}

/// All delegation tokens.
#[derive(Clone, Debug, Default)]
pub struct DelegationTokens {
    pub(crate) by_id: PMap<Str, Arc<DelegationToken>>,
}

impl DelegationTokens {
    /// The token with an id.
    pub fn get(&self, token_id: &str) -> Option<&DelegationToken> {
        self.by_id.get(token_id).map(Arc::as_ref)
    }

    /// All tokens by id.
    pub fn iter(&self) -> impl Iterator<Item = &DelegationToken> {
        self.by_id.values().map(Arc::as_ref)
    }

    pub(crate) fn apply(&mut self, record: &DelegationTokenRecord) {
        let token = DelegationToken {
            token_id: Str::from(&record.token_id),
            owner: Str::from(&record.owner),
            requester: Str::from(&record.requester),
            renewers: record.renewers.iter().map(Str::from).collect(),
            issue_timestamp_ms: record.issue_timestamp,
            max_timestamp_ms: record.max_timestamp,
            expiration_timestamp_ms: record.expiration_timestamp,
        };
        self.by_id.insert(token.token_id.clone(), Arc::new(token));
    }

    /// Removing a token twice is no contradiction: Java's controllers let it pass.
    pub(crate) fn remove(&mut self, record: &RemoveDelegationTokenRecord) {
        self.by_id.remove(record.token_id.as_str());
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().map(DelegationToken::to_record)
    }
}

impl DelegationToken {
    /// The record that makes this token.
    pub fn to_record(&self) -> MetadataRecord {
        MetadataRecord::DelegationToken(DelegationTokenRecord {
            owner: KStr::from(&self.owner),
            requester: KStr::from(&self.requester),
            renewers: self.renewers.iter().map(KStr::from).collect(),
            issue_timestamp: self.issue_timestamp_ms,
            max_timestamp: self.max_timestamp_ms,
            expiration_timestamp: self.expiration_timestamp_ms,
            token_id: KStr::from(&self.token_id),
            ..Default::default()
        })
    }
}

pub(crate) fn remove_token_record(token_id: &Str) -> MetadataRecord {
    MetadataRecord::RemoveDelegationToken(RemoveDelegationTokenRecord {
        token_id: KStr::from(token_id),
        ..Default::default()
    })
}
