use crate::generated::api::{APIS, ApiInfo, CONTROLLER_LISTENER_APIS};
use std::fmt;
use std::ops::RangeInclusive;

pub use crate::generated::api::{AnyRequest, AnyResponse, ApiKey};

impl ApiKey {
    /// The API of that key.
    pub fn from_i16(key: i16) -> Option<ApiKey> {
        let at = APIS.binary_search_by_key(&key, |info| info.key.id()).ok()?;
        APIS.get(at).map(|info| info.key)
    }

    /// All APIs, by ascending key.
    pub fn all() -> impl Iterator<Item = ApiKey> {
        APIS.iter().map(|info| info.key)
    }

    /// Kafka's key.
    pub const fn id(self) -> i16 {
        self as i16
    }

    fn info(self) -> &'static ApiInfo {
        let at = APIS.binary_search_by_key(&self.id(), |info| info.key.id());
        // The table is generated from the same list as the enum.
        at.ok().and_then(|at| APIS.get(at)).expect("every API is in the table")
    }

    /// Kafka's name, as in `CreateTopics`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The versions that exist; those marked unstable upstream are left out.
    pub fn versions(self) -> RangeInclusive<i16> {
        let info = self.info();
        info.min..=info.max
    }

    /// Whether a version of this API uses the flexible encoding.
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.info().flexible_from
    }

    /// The version of the request header: 2 from the first flexible version on, 1 before.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header: 1 from the first flexible version on, 0 before. The answer to
    /// ApiVersions always has 0, so that a client of any age can read it.
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != ApiKey::ApiVersions && self.is_flexible(version))
    }

    /// Whether a controller serves this API on its listener.
    pub fn is_on_controller_listener(self) -> bool {
        self.info().controller
    }

    /// Whether a broker serves this API on its listeners.
    pub fn is_on_broker_listener(self) -> bool {
        self.info().broker
    }

    /// Whether a broker passes this request on to the controller inside an Envelope. As Kafka 4.4.0 has it.
    pub fn is_forwardable(self) -> bool {
        matches!(
            self,
            ApiKey::CreateTopics
                | ApiKey::DeleteTopics
                | ApiKey::CreateAcls
                | ApiKey::DeleteAcls
                | ApiKey::AlterConfigs
                | ApiKey::CreatePartitions
                | ApiKey::CreateDelegationToken
                | ApiKey::RenewDelegationToken
                | ApiKey::ExpireDelegationToken
                | ApiKey::ElectLeaders
                | ApiKey::IncrementalAlterConfigs
                | ApiKey::AlterPartitionReassignments
                | ApiKey::ListPartitionReassignments
                | ApiKey::AlterClientQuotas
                | ApiKey::AlterUserScramCredentials
                | ApiKey::DescribeQuorum
                | ApiKey::UpdateFeatures
                | ApiKey::UnregisterBroker
                | ApiKey::AllocateProducerIds
                | ApiKey::AddRaftVoter
                | ApiKey::RemoveRaftVoter
                | ApiKey::UnregisterController
        )
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a controller advertises: API, oldest and newest version, by ascending key. As Kafka 4.4.0.
pub fn controller_listener_apis() -> &'static [(ApiKey, i16, i16)] {
    CONTROLLER_LISTENER_APIS
}

/// See [`ApiKey::is_forwardable`].
pub fn is_forwardable(api: ApiKey) -> bool {
    api.is_forwardable()
}
