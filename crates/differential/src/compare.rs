//! What is the same: answers and records without what may differ from one run to the next.

use crate::generate::Step;
use crate::rules;
use bytes::Bytes;
use quorate_base::Uuid;
use quorate_protocol::header::decode_response_header;
use quorate_protocol::{AnyResponse, ApiKey, MetadataRecord};
use std::collections::BTreeMap;

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// The connection was closed.
    Closed,
    /// Nothing within the time of patience.
    Nothing,
    /// An Envelope without a request in it.
    Refused(i16),
    /// An answer.
    Response {
        /// Its body.
        response: Box<AnyResponse>,
        /// Whether encoding it again gives the same bytes.
        canonical: bool,
    },
    /// Bytes that cannot be read.
    Garbage(String),
}

impl Answer {
    /// Reads the answer to a step.
    pub fn decode(step: &Step, frame: Bytes) -> Answer {
        let (api, version) = step.outer_api();
        match decode(api, version, frame) {
            Ok(Answer::Response { response, .. }) if api == ApiKey::Envelope => match *response {
                AnyResponse::Envelope(envelope) => match envelope.response_data {
                    Some(data) => decode(step.request.api_key(), step.version, data)
                        .unwrap_or_else(Answer::Garbage),
                    None => Answer::Refused(envelope.error_code),
                },
                other => Answer::Garbage(format!("{:?} for an envelope", other.api_key())),
            },
            Ok(answer) => answer,
            Err(why) => Answer::Garbage(why),
        }
    }

    /// The body, if there is one.
    pub fn response(&self) -> Option<&AnyResponse> {
        match self {
            Answer::Response { response, .. } => Some(response),
            _ => None,
        }
    }

    /// In a form that is equal where the answers are as good as equal.
    pub fn shown(&self, names: &Names, rules: &rules::Rules) -> String {
        match self {
            Answer::Response { response, canonical } => {
                let mut response = response.clone();
                rules.soften(&mut response, names);
                let odd = if *canonical { "" } else { "not canonical: " };
                names.translate(&format!("{odd}{response:?}"))
            }
            other => format!("{other:?}"),
        }
    }
}

fn decode(api: ApiKey, version: i16, frame: Bytes) -> Result<Answer, String> {
    let (_, body) = decode_response_header(api, version, frame).map_err(|e| e.to_string())?;
    // A server that does not know the version asked for answers ApiVersions at version 0.
    let version =
        if api == ApiKey::ApiVersions && body.starts_with(&[0, 35]) { 0 } else { version };
    let response = AnyResponse::decode(api, version, body.clone()).map_err(|e| e.to_string())?;
    let again = quorate_protocol::header::encode_response(&response, version, 0);
    let canonical = again.is_ok_and(|it| it.ends_with(&body));
    Ok(Answer::Response { response: Box::new(response), canonical })
}

/// What the ids of one side stand for.
#[derive(Debug)]
pub struct Names {
    /// The controller's own port.
    pub port: u16,
    /// Epochs are offsets; both sides count them from here as long as nobody registered by them.
    pub first_offset: i64,
    registrations: BTreeMap<i64, i64>,
    known: BTreeMap<String, String>,
    topics_made: BTreeMap<String, u32>,
    tokens_made: u32,
}

impl Names {
    /// Nothing is known yet of a controller that listens there.
    pub fn new(port: u16) -> Names {
        Names {
            port,
            first_offset: 0,
            registrations: BTreeMap::new(),
            known: BTreeMap::new(),
            topics_made: BTreeMap::new(),
            tokens_made: 0,
        }
    }

    /// Forgets all, and counts epochs from `first_offset` on.
    pub fn begin(&mut self, first_offset: i64) {
        *self = Names { first_offset, ..Names::new(self.port) };
    }

    /// Learns ids that a record brings.
    pub fn learn(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(it) => {
                let count = self.topics_made.entry(it.name.to_string()).or_default();
                *count += 1;
                self.known.insert(it.topic_id.to_string(), format!("(id {} {count})", it.name));
            }
            MetadataRecord::RegisterBroker(it) => {
                let next = self.registrations.len() as i64;
                self.registrations.entry(it.broker_epoch).or_insert(next);
            }
            MetadataRecord::AccessControlEntry(it) => {
                let mut acl = it.clone();
                acl.id = Uuid::ZERO;
                self.known.insert(it.id.to_string(), format!("(id of {acl:?})"));
            }
            MetadataRecord::DelegationToken(it)
                if !self.known.contains_key(it.token_id.as_str()) =>
            {
                self.tokens_made += 1;
                self.known.insert(it.token_id.to_string(), format!("(token {})", self.tokens_made));
            }
            _ => {}
        }
    }

    /// True for the id of a topic that came in a record.
    pub fn is_topic(&self, id: Uuid) -> bool {
        self.known.contains_key(&id.to_string())
    }

    /// The text with every id of this side replaced by what it stands for.
    pub fn translate(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.known {
            if text.contains(id.as_str()) {
                text = text.replace(id.as_str(), name);
            }
        }
        text
    }

    /// An epoch of a broker, by the order of registrations: one side may have written more between them.
    pub fn epoch(&self, epoch: i64) -> i64 {
        if let Some(number) = self.registrations.get(&epoch) {
            return *number;
        }
        if epoch >= 0 { epoch - self.first_offset } else { epoch }
    }
}

/// A record in a form that is equal on both sides.
pub fn shown_record(record: &MetadataRecord, version: i16, names: &Names, places: bool) -> String {
    use MetadataRecord as M;
    let mut record = record.clone();
    match &mut record {
        M::RegisterBroker(it) => it.broker_epoch = names.epoch(it.broker_epoch),
        M::UnregisterBroker(it) => it.broker_epoch = names.epoch(it.broker_epoch),
        M::BrokerRegistrationChange(it) => it.broker_epoch = names.epoch(it.broker_epoch),
        M::FenceBroker(it) => it.epoch = names.epoch(it.epoch),
        M::UnfenceBroker(it) => it.epoch = names.epoch(it.epoch),
        M::ProducerIds(it) => it.broker_epoch = names.epoch(it.broker_epoch),
        M::DelegationToken(it) => {
            it.max_timestamp -= it.issue_timestamp;
            // Renewed by the clock of then.
            it.expiration_timestamp = 0;
            it.issue_timestamp = 0;
        }
        M::AccessControlEntry(it) => it.id = Uuid::ZERO,
        M::Partition(it) if places => {
            it.replicas.sort_unstable();
            let count = it.replicas.len() as i32;
            it.replicas = (0..count).collect();
            // Kafka also takes brokers that are shutting down, which are in no ISR.
            it.isr.clear();
            it.directories = vec![Uuid::ZERO; it.directories.len()];
            it.leader = 0;
        }
        _ => {}
    }
    names.translate(&format!("v{version} {record:?}"))
}
