//! Requests by chance: mostly such as could be meant, on what is there, and some that are broken.

mod brokers;
mod configs;
mod names;
mod security;
mod topics;

use bytes::Bytes;
use quorate_base::Prng;
use quorate_interop::KafkaVersion;
use quorate_metadata::Image;
use quorate_protocol::messages::EnvelopeRequest;
use quorate_protocol::{AnyRequest, ApiKey, KStr, Principal, WireError};
use std::collections::BTreeMap;

pub(crate) use configs::CLIENT_METRICS;

/// Lowest and highest version of each API that both sides serve.
pub type Versions = BTreeMap<ApiKey, (i16, i16)>;

/// What a request is made from: chance, and one side's metadata with its own ids.
#[derive(Debug)]
pub struct Gen<'a> {
    /// The same on both sides.
    pub prng: Prng,
    /// Everything committed on this side.
    pub image: &'a Image,
    /// As formatted.
    pub cluster_id: &'a str,
    /// One past the last record of this side's log.
    pub end_offset: i64,
    /// HMACs of the delegation tokens made since the seed began, oldest first.
    pub tokens: &'a [Bytes],
    /// What both sides serve.
    pub versions: &'a Versions,
    /// What may be asked.
    pub scope: Scope,
}

/// What is left out where Kafka's release decides otherwise than 4.4.0 does (docs/differences.md), or
/// cannot undo it.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Whose controller it is.
    pub kafka: KafkaVersion,
    /// Also what no request undoes: the cluster is thrown away after it.
    pub lasting: bool,
}

/// One request of an operation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its body.
    pub request: AnyRequest,
    /// In which version.
    pub version: i16,
    /// Sent in an Envelope as this user's, or as the connection's own.
    pub user: Option<KStr>,
    /// What is broken in its bytes.
    pub damage: Option<Damage>,
    /// True if it has the controller choose replicas, which the comparison then leaves out.
    pub places: bool,
}

/// A change to the bytes of a good request.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// So many bytes are missing at the end.
    Cut(u64),
    /// At a place (counted from the end) a byte is another.
    Change(u64, u8),
}

const CORRELATION_ID: i32 = 77;

type Make = fn(&mut Gen<'_>) -> AnyRequest;

/// How often each request comes, and what makes it. DescribeUserScramCredentials and
/// DescribeDelegationToken are advertised by Kafka's controller, which has no answer to them.
const MIX: &[(u64, Make)] = &[
    (5, |it| it.broker_registration()),
    (12, |it| it.broker_heartbeat()),
    (2, |it| it.unregister_broker()),
    (12, |it| it.create_topics()),
    (5, |it| it.delete_topics()),
    (7, |it| it.create_partitions()),
    (14, |it| it.alter_partition()),
    (8, |it| it.elect_leaders()),
    (12, |it| it.alter_partition_reassignments()),
    (3, |it| it.list_partition_reassignments()),
    (6, |it| it.assign_replicas_to_dirs()),
    (12, |it| it.incremental_alter_configs()),
    (5, |it| it.alter_configs()),
    (4, |it| it.describe_configs()),
    (7, |it| it.update_features()),
    (7, |it| it.alter_client_quotas()),
    (8, |it| it.create_acls()),
    (4, |it| it.delete_acls()),
    (4, |it| it.describe_acls()),
    (5, |it| it.alter_user_scram_credentials()),
    (3, |it| it.create_delegation_token()),
    (2, |it| it.renew_delegation_token()),
    (2, |it| it.expire_delegation_token()),
    (2, |it| it.allocate_producer_ids()),
    (2, |it| it.controller_registration()),
    (2, |it| it.unregister_controller()),
    (1, |it| it.api_versions()),
    (2, |it| it.describe_cluster()),
];
/// Out of so many operations one has the controller choose replicas.
const PLACED_ONE_IN: u64 = 30;
/// Out of so many operations one limits how fast a user may change things.
const LIMIT_ONE_IN: u64 = 80;

impl Gen<'_> {
    /// The next operation: one request, or a few that belong together.
    pub fn operation(&mut self) -> Vec<Step> {
        if self.one_in(PLACED_ONE_IN) {
            let request = self.placed_topics();
            let mut placed = self.step(request);
            placed.places = true;
            let mut delete = self.step(Gen::delete_placed_topics());
            // By name in a list of states, which older versions do not have.
            delete.version = self.newest(ApiKey::DeleteTopics);
            return vec![placed, delete];
        }
        if self.one_in(LIMIT_ONE_IN) {
            let user = self.user();
            return [self.rights_of(user), self.mutation_rate(user)]
                .map(|request| Step::plain(request, self.versions))
                .into();
        }
        let sum: u64 = MIX.iter().map(|(weight, _)| weight).sum();
        let mut at = self.prng.below(sum);
        let make = MIX.iter().find(|(weight, _)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        let (_, make) = make.expect("the number is below the sum");
        let request = make(self);
        if !self.versions.contains_key(&request.api_key()) {
            return Vec::new();
        }
        let mut step = self.step(request);
        let api = step.request.api_key();
        let of_tokens = matches!(
            api,
            ApiKey::CreateDelegationToken
                | ApiKey::RenewDelegationToken
                | ApiKey::ExpireDelegationToken
        );
        if api.is_forwardable() && (self.one_in(4) || of_tokens && !self.one_in(6)) {
            let user = self.pick(&["alice", "bob", "carol", "ANONYMOUS"]);
            step.user = Some(KStr::from(user));
        }
        if self.one_in(40) {
            step.damage = Some(self.damage(api));
        }
        vec![step]
    }

    fn step(&mut self, mut request: AnyRequest) -> Step {
        let (oldest, newest) = self.versions.get(&request.api_key()).copied().unwrap_or((0, 0));
        let version = if self.one_in(2) {
            newest
        } else {
            oldest + self.prng.below((newest - oldest + 1).unsigned_abs().into()) as i16
        };
        if let AnyRequest::AlterPartition(it) = &mut request {
            topics::fit_isr(it, version);
        }
        Step { request, version, user: None, damage: None, places: false }
    }

    fn newest(&self, api: ApiKey) -> i16 {
        self.versions.get(&api).map_or(0, |it| it.1)
    }

    fn damage(&mut self, api: ApiKey) -> Damage {
        // A changed byte may ask for something else, which then must not be a matter of chance.
        let may_change = !matches!(
            api,
            ApiKey::CreateTopics
                | ApiKey::CreatePartitions
                | ApiKey::UpdateFeatures
                | ApiKey::IncrementalAlterConfigs
                | ApiKey::AllocateProducerIds
                | ApiKey::BrokerHeartbeat
                | ApiKey::BrokerRegistration
                | ApiKey::ApiVersions
                // Half of a changed topic id is this side's own.
                | ApiKey::AlterPartition
                | ApiKey::AssignReplicasToDirs
                | ApiKey::DeleteTopics
        );
        match self.prng.below(2) {
            0 if may_change => Damage::Change(self.prng.below(40), self.prng.below(256) as u8),
            _ => Damage::Cut(1 + self.prng.below(12)),
        }
    }
}

impl Step {
    /// A request without anything special, in the newest version that both sides serve.
    pub fn plain(request: AnyRequest, versions: &Versions) -> Step {
        let version = versions.get(&request.api_key()).map_or(0, |it| it.1);
        Step { request, version, user: None, damage: None, places: false }
    }

    /// The API of the frame: of the request, or Envelope.
    pub fn outer_api(&self) -> (ApiKey, i16) {
        match self.user {
            None => (self.request.api_key(), self.version),
            Some(_) => (ApiKey::Envelope, 0),
        }
    }

    /// Header and body. Not every request can be told in every version: then in another.
    pub fn frame(&mut self, versions: &Versions) -> Result<Bytes, WireError> {
        let range = versions.get(&self.request.api_key()).copied();
        let (oldest, newest) = range.unwrap_or((self.version, self.version));
        let others = (self.version + 1..=newest).chain((oldest..self.version).rev());
        let mut frame = encode(&self.request, self.version);
        for version in others {
            if frame.is_ok() {
                break;
            }
            self.version = version;
            frame = encode(&self.request, version);
        }
        let frame = frame?;
        let frame = match &self.user {
            None => frame,
            Some(name) => encode(&envelope(frame, name)?, 0)?,
        };
        Ok(self.damage.map_or(frame.clone(), |it| it.apply(&frame)))
    }
}

fn encode(request: &AnyRequest, version: i16) -> Result<Bytes, WireError> {
    let client_id = Some(KStr::from("differential"));
    quorate_protocol::header::encode_request(request, version, CORRELATION_ID, client_id)
}

fn envelope(frame: Bytes, name: &KStr) -> Result<AnyRequest, WireError> {
    let principal =
        Principal { kind: KStr::from("User"), name: name.clone(), token_authenticated: false };
    Ok(AnyRequest::Envelope(EnvelopeRequest {
        request_data: frame,
        request_principal: Some(principal.encode()?),
        client_host_address: Bytes::from_static(&[10, 0, 0, 9]),
        ..Default::default()
    }))
}

impl Damage {
    fn apply(self, frame: &Bytes) -> Bytes {
        // API, version and correlation id stay: without them there is no request at all.
        const KEPT: usize = 8;
        let mut bytes = frame.to_vec();
        match self {
            Damage::Cut(count) => {
                let left = bytes.len().saturating_sub(count as usize).max(KEPT);
                bytes.truncate(left);
            }
            Damage::Change(from_end, byte) => {
                let at = bytes.len().saturating_sub(1 + from_end as usize).max(KEPT);
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
        Bytes::from(bytes)
    }
}
