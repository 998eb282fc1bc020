//! Kafka's error codes, as of 4.4.0. Codes and names are the protocol's; the texts are ours.

use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $code:literal $name:literal $retriable:literal $text:literal,)*) => {
        /// An error code of the protocol.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`", $name, "`: ", $text, ".")]
                $variant = $code,
            )*
        }

        impl ErrorCode {
            /// Every error code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The error of that code.
            pub const fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, as in `NOT_CONTROLLER`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// A short English text.
            pub const fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $text,)*
                }
            }

            /// Whether clients try again by themselves.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => $retriable,)*
                }
            }
        }
    };
}

#[rustfmt::skip]
error_codes! {
    UnknownServerError = -1 "UNKNOWN_SERVER_ERROR" false "the server failed in an unexpected way",
    None = 0 "NONE" false "no error",
    OffsetOutOfRange = 1 "OFFSET_OUT_OF_RANGE" false "the offset is outside the partition's range",
    CorruptMessage = 2 "CORRUPT_MESSAGE" true "the record data is corrupt",
    UnknownTopicOrPartition = 3 "UNKNOWN_TOPIC_OR_PARTITION" true "this server does not have the topic or partition",
    InvalidFetchSize = 4 "INVALID_FETCH_SIZE" false "the fetch size is invalid",
    LeaderNotAvailable = 5 "LEADER_NOT_AVAILABLE" true "the partition has no leader at present",
    NotLeaderOrFollower = 6 "NOT_LEADER_OR_FOLLOWER" true "this broker is not the leader or a follower of the partition",
    RequestTimedOut = 7 "REQUEST_TIMED_OUT" true "the request timed out",
    BrokerNotAvailable = 8 "BROKER_NOT_AVAILABLE" false "the broker is not available",
    ReplicaNotAvailable = 9 "REPLICA_NOT_AVAILABLE" true "the replica is not available",
    MessageTooLarge = 10 "MESSAGE_TOO_LARGE" false "the message is larger than the server accepts",
    StaleControllerEpoch = 11 "STALE_CONTROLLER_EPOCH" false "the controller epoch is out of date",
    OffsetMetadataTooLarge = 12 "OFFSET_METADATA_TOO_LARGE" false "the offset commit's metadata is too large",
    NetworkException = 13 "NETWORK_EXCEPTION" true "the connection was lost before the response",
    CoordinatorLoadInProgress = 14 "COORDINATOR_LOAD_IN_PROGRESS" true "the coordinator is still loading",
    CoordinatorNotAvailable = 15 "COORDINATOR_NOT_AVAILABLE" true "the coordinator is not available",
    NotCoordinator = 16 "NOT_COORDINATOR" true "this broker is not the coordinator",
    InvalidTopicException = 17 "INVALID_TOPIC_EXCEPTION" false "the topic name is invalid",
    RecordListTooLarge = 18 "RECORD_LIST_TOO_LARGE" false "the batch is larger than a log segment may be",
    NotEnoughReplicas = 19 "NOT_ENOUGH_REPLICAS" true "too few replicas are in sync",
    NotEnoughReplicasAfterAppend = 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND" true "the records were written, but to too few in-sync replicas",
    InvalidRequiredAcks = 21 "INVALID_REQUIRED_ACKS" false "acks must be -1, 0 or 1",
    IllegalGeneration = 22 "ILLEGAL_GENERATION" false "the group's generation is another",
    InconsistentGroupProtocol = 23 "INCONSISTENT_GROUP_PROTOCOL" false "the member's protocols do not match the group's",
    InvalidGroupId = 24 "INVALID_GROUP_ID" false "the group id is invalid",
    UnknownMemberId = 25 "UNKNOWN_MEMBER_ID" false "the coordinator does not know the member",
    InvalidSessionTimeout = 26 "INVALID_SESSION_TIMEOUT" false "the session timeout is outside the allowed range",
    RebalanceInProgress = 27 "REBALANCE_IN_PROGRESS" false "the group is rebalancing",
    InvalidCommitOffsetSize = 28 "INVALID_COMMIT_OFFSET_SIZE" false "the offset commit is too large",
    TopicAuthorizationFailed = 29 "TOPIC_AUTHORIZATION_FAILED" false "not authorized for the topic",
    GroupAuthorizationFailed = 30 "GROUP_AUTHORIZATION_FAILED" false "not authorized for the group",
    ClusterAuthorizationFailed = 31 "CLUSTER_AUTHORIZATION_FAILED" false "not authorized for the cluster",
    InvalidTimestamp = 32 "INVALID_TIMESTAMP" false "the timestamp is out of range",
    UnsupportedSaslMechanism = 33 "UNSUPPORTED_SASL_MECHANISM" false "the SASL mechanism is not enabled",
    IllegalSaslState = 34 "ILLEGAL_SASL_STATE" false "the request is not allowed in this state of authentication",
    UnsupportedVersion = 35 "UNSUPPORTED_VERSION" false "the version of the API is not supported",
    TopicAlreadyExists = 36 "TOPIC_ALREADY_EXISTS" false "a topic of this name exists already",
    InvalidPartitions = 37 "INVALID_PARTITIONS" false "the number of partitions is invalid",
    InvalidReplicationFactor = 38 "INVALID_REPLICATION_FACTOR" false "the replication factor is invalid",
    InvalidReplicaAssignment = 39 "INVALID_REPLICA_ASSIGNMENT" false "the replica assignment is invalid",
    InvalidConfig = 40 "INVALID_CONFIG" false "the configuration is invalid",
    NotController = 41 "NOT_CONTROLLER" true "this node is not the active controller",
    InvalidRequest = 42 "INVALID_REQUEST" false "the request is invalid",
    UnsupportedForMessageFormat = 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT" false "the message format does not allow the request",
    PolicyViolation = 44 "POLICY_VIOLATION" false "the request violates a policy",
    OutOfOrderSequenceNumber = 45 "OUT_OF_ORDER_SEQUENCE_NUMBER" false "the sequence number is out of order",
    DuplicateSequenceNumber = 46 "DUPLICATE_SEQUENCE_NUMBER" false "the sequence number was used before",
    InvalidProducerEpoch = 47 "INVALID_PRODUCER_EPOCH" false "the producer epoch is old",
    InvalidTxnState = 48 "INVALID_TXN_STATE" false "the transaction is not in a state for this",
    InvalidProducerIdMapping = 49 "INVALID_PRODUCER_ID_MAPPING" false "the producer id is not assigned to the transactional id",
    InvalidTransactionTimeout = 50 "INVALID_TRANSACTION_TIMEOUT" false "the transaction timeout is above the allowed maximum",
    ConcurrentTransactions = 51 "CONCURRENT_TRANSACTIONS" true "another operation on the transaction is in progress",
    TransactionCoordinatorFenced = 52 "TRANSACTION_COORDINATOR_FENCED" false "the transaction coordinator was replaced",
    TransactionalIdAuthorizationFailed = 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" false "not authorized for the transactional id",
    SecurityDisabled = 54 "SECURITY_DISABLED" false "security features are not enabled",
    OperationNotAttempted = 55 "OPERATION_NOT_ATTEMPTED" false "the operation was not attempted",
    KafkaStorageError = 56 "KAFKA_STORAGE_ERROR" true "a disk failed",
    LogDirNotFound = 57 "LOG_DIR_NOT_FOUND" false "the log directory does not exist",
    SaslAuthenticationFailed = 58 "SASL_AUTHENTICATION_FAILED" false "SASL authentication failed",
    UnknownProducerId = 59 "UNKNOWN_PRODUCER_ID" false "the producer id is unknown",
    ReassignmentInProgress = 60 "REASSIGNMENT_IN_PROGRESS" false "a reassignment of the partition is in progress",
    DelegationTokenAuthDisabled = 61 "DELEGATION_TOKEN_AUTH_DISABLED" false "delegation tokens are not enabled",
    DelegationTokenNotFound = 62 "DELEGATION_TOKEN_NOT_FOUND" false "the delegation token does not exist",
    DelegationTokenOwnerMismatch = 63 "DELEGATION_TOKEN_OWNER_MISMATCH" false "the principal is no owner or renewer of the delegation token",
    DelegationTokenRequestNotAllowed = 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" false "delegation tokens cannot be requested on this connection",
    DelegationTokenAuthorizationFailed = 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED" false "not authorized for the delegation token",
    DelegationTokenExpired = 66 "DELEGATION_TOKEN_EXPIRED" false "the delegation token has expired",
    InvalidPrincipalType = 67 "INVALID_PRINCIPAL_TYPE" false "the principal type is not supported",
    NonEmptyGroup = 68 "NON_EMPTY_GROUP" false "the group is not empty",
    GroupIdNotFound = 69 "GROUP_ID_NOT_FOUND" false "the group does not exist",
    FetchSessionIdNotFound = 70 "FETCH_SESSION_ID_NOT_FOUND" true "the fetch session does not exist",
    InvalidFetchSessionEpoch = 71 "INVALID_FETCH_SESSION_EPOCH" true "the fetch session's epoch is invalid",
    ListenerNotFound = 72 "LISTENER_NOT_FOUND" true "the leader has no listener of this name",
    TopicDeletionDisabled = 73 "TOPIC_DELETION_DISABLED" false "deletion of topics is disabled",
    FencedLeaderEpoch = 74 "FENCED_LEADER_EPOCH" true "the leader epoch in the request is older than the current one",
    UnknownLeaderEpoch = 75 "UNKNOWN_LEADER_EPOCH" true "the leader epoch in the request is newer than the current one",
    UnsupportedCompressionType = 76 "UNSUPPORTED_COMPRESSION_TYPE" false "the client does not support the compression",
    StaleBrokerEpoch = 77 "STALE_BROKER_EPOCH" false "the broker epoch is not the current one",
    OffsetNotAvailable = 78 "OFFSET_NOT_AVAILABLE" true "the leader does not know its high watermark yet",
    MemberIdRequired = 79 "MEMBER_ID_REQUIRED" false "a member id is needed to join the group",
    PreferredLeaderNotAvailable = 80 "PREFERRED_LEADER_NOT_AVAILABLE" true "the preferred leader is not available",
    GroupMaxSizeReached = 81 "GROUP_MAX_SIZE_REACHED" false "the group is full",
    FencedInstanceId = 82 "FENCED_INSTANCE_ID" false "another member uses the same group instance id",
    EligibleLeadersNotAvailable = 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE" true "no eligible leader is available",
    ElectionNotNeeded = 84 "ELECTION_NOT_NEEDED" true "the partition needs no leader election",
    NoReassignmentInProgress = 85 "NO_REASSIGNMENT_IN_PROGRESS" false "no reassignment of the partition is in progress",
    GroupSubscribedToTopic = 86 "GROUP_SUBSCRIBED_TO_TOPIC" false "the group is subscribed to the topic",
    InvalidRecord = 87 "INVALID_RECORD" false "the record was refused by validation",
    UnstableOffsetCommit = 88 "UNSTABLE_OFFSET_COMMIT" true "some offsets are not yet stable",
    ThrottlingQuotaExceeded = 89 "THROTTLING_QUOTA_EXCEEDED" true "the quota is exceeded",
    ProducerFenced = 90 "PRODUCER_FENCED" false "a newer producer with this transactional id exists",
    ResourceNotFound = 91 "RESOURCE_NOT_FOUND" false "the resource does not exist",
    DuplicateResource = 92 "DUPLICATE_RESOURCE" false "the resource is named twice",
    UnacceptableCredential = 93 "UNACCEPTABLE_CREDENTIAL" false "the credential is not acceptable",
    InconsistentVoterSet = 94 "INCONSISTENT_VOTER_SET" false "sender or receiver is not one of the voters",
    InvalidUpdateVersion = 95 "INVALID_UPDATE_VERSION" false "the feature level is invalid",
    FeatureUpdateFailed = 96 "FEATURE_UPDATE_FAILED" false "the feature update failed",
    PrincipalDeserializationFailure = 97 "PRINCIPAL_DESERIALIZATION_FAILURE" false "the principal of the forwarded request cannot be read",
    SnapshotNotFound = 98 "SNAPSHOT_NOT_FOUND" false "the snapshot does not exist",
    PositionOutOfRange = 99 "POSITION_OUT_OF_RANGE" false "the position is outside the snapshot",
    UnknownTopicId = 100 "UNKNOWN_TOPIC_ID" true "this server does not have the topic id",
    DuplicateBrokerRegistration = 101 "DUPLICATE_BROKER_REGISTRATION" false "the broker id is in use by another broker",
    BrokerIdNotRegistered = 102 "BROKER_ID_NOT_REGISTERED" false "the broker id is not registered",
    InconsistentTopicId = 103 "INCONSISTENT_TOPIC_ID" true "the topic id differs from the log's",
    InconsistentClusterId = 104 "INCONSISTENT_CLUSTER_ID" false "the cluster id differs from this server's",
    TransactionalIdNotFound = 105 "TRANSACTIONAL_ID_NOT_FOUND" false "the transactional id does not exist",
    FetchSessionTopicIdError = 106 "FETCH_SESSION_TOPIC_ID_ERROR" true "the fetch session mixes topic ids and names",
    IneligibleReplica = 107 "INELIGIBLE_REPLICA" false "the new ISR has a replica that may not be in it",
    NewLeaderElected = 108 "NEW_LEADER_ELECTED" false "the partition was changed, and its leader moved",
    OffsetMovedToTieredStorage = 109 "OFFSET_MOVED_TO_TIERED_STORAGE" false "the offset is in tiered storage",
    FencedMemberEpoch = 110 "FENCED_MEMBER_EPOCH" false "the member epoch is fenced",
    UnreleasedInstanceId = 111 "UNRELEASED_INSTANCE_ID" false "the instance id is still in use by another member",
    UnsupportedAssignor = 112 "UNSUPPORTED_ASSIGNOR" false "the assignor is not supported",
    StaleMemberEpoch = 113 "STALE_MEMBER_EPOCH" false "the member epoch is out of date",
    MismatchedEndpointType = 114 "MISMATCHED_ENDPOINT_TYPE" false "the request came to the wrong kind of endpoint",
    UnsupportedEndpointType = 115 "UNSUPPORTED_ENDPOINT_TYPE" false "this kind of endpoint is not supported",
    UnknownControllerId = 116 "UNKNOWN_CONTROLLER_ID" false "the controller id is not known",
    UnknownSubscriptionId = 117 "UNKNOWN_SUBSCRIPTION_ID" false "the telemetry subscription is unknown",
    TelemetryTooLarge = 118 "TELEMETRY_TOO_LARGE" false "the telemetry is larger than the server accepts",
    InvalidRegistration = 119 "INVALID_REGISTRATION" false "the registration is invalid",
    TransactionAbortable = 120 "TRANSACTION_ABORTABLE" false "the transaction failed and can be aborted",
    InvalidRecordState = 121 "INVALID_RECORD_STATE" false "the record is not in a state for this",
    ShareSessionNotFound = 122 "SHARE_SESSION_NOT_FOUND" true "the share session does not exist",
    InvalidShareSessionEpoch = 123 "INVALID_SHARE_SESSION_EPOCH" true "the share session's epoch is invalid",
    FencedStateEpoch = 124 "FENCED_STATE_EPOCH" false "the state epoch is fenced",
    InvalidVoterKey = 125 "INVALID_VOTER_KEY" false "the voter's directory id is not this replica's",
    DuplicateVoter = 126 "DUPLICATE_VOTER" false "the replica is a voter already",
    VoterNotFound = 127 "VOTER_NOT_FOUND" false "the replica is not a voter",
    InvalidRegularExpression = 128 "INVALID_REGULAR_EXPRESSION" false "the regular expression is invalid",
    RebootstrapRequired = 129 "REBOOTSTRAP_REQUIRED" false "the client should bootstrap again",
    StreamsInvalidTopology = 130 "STREAMS_INVALID_TOPOLOGY" false "the topology is invalid",
    StreamsInvalidTopologyEpoch = 131 "STREAMS_INVALID_TOPOLOGY_EPOCH" false "the topology epoch is invalid",
    StreamsTopologyFenced = 132 "STREAMS_TOPOLOGY_FENCED" false "the topology epoch is out of date",
    ShareSessionLimitReached = 133 "SHARE_SESSION_LIMIT_REACHED" true "there are too many share sessions",
    GroupDeletionFailed = 134 "GROUP_DELETION_FAILED" false "the group was not deleted",
    StreamsTopologyDescriptionUpdateFailed = 135 "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED" false "the topology description was not updated",
    ControllerIdNotRegistered = 136 "CONTROLLER_ID_NOT_REGISTERED" false "the controller id is not registered",
}

impl ErrorCode {
    /// The code on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// True for [`ErrorCode::None`].
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }
}

// Not derived: the attribute cannot stand inside the table above.
#[allow(clippy::derivable_impls)]
impl Default for ErrorCode {
    fn default() -> ErrorCode {
        ErrorCode::None
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_map_both_ways_without_gaps() {
        assert_eq!(ErrorCode::ALL.len(), 138);
        for (error, code) in ErrorCode::ALL.iter().zip(-1..) {
            assert_eq!(error.code(), code);
            assert_eq!(ErrorCode::from_code(code), Some(*error));
            assert!(!error.message().is_empty());
        }
        assert_eq!(ErrorCode::from_code(137), None);
        assert_eq!(ErrorCode::NotController.to_string(), "NOT_CONTROLLER");
        assert_eq!(ErrorCode::default(), ErrorCode::None);
    }
}
