//! Controllers register themselves, so that tools can find them and upgrades know what they support
//! (KIP-919); from 4.4-IV2 on an operator can take a registration away.

use crate::{ControllerConfig, Draft, Env, RaftView, RequestContext};
use quorate_metadata::{Image, Listener};
use quorate_protocol::messages::*;
use quorate_protocol::records::register_controller_record::{
    ControllerEndpoint, ControllerFeature,
};
use quorate_protocol::records::{RegisterControllerRecord, UnregisterControllerRecord};
use quorate_protocol::{ErrorCode, KStr};

/// ControllerRegistration: a controller's process says where it listens and what it supports. The
/// newest registration of an id replaces the one before.
pub fn register_controller(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &ControllerRegistrationRequest,
) -> ControllerRegistrationResponse {
    if !draft.image().features.metadata_version().supports_controller_registration() {
        return ControllerRegistrationResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            error_message: Some(KStr::from(
                "The current MetadataVersion is too old to support controller registrations.",
            )),
            ..Default::default()
        };
    }
    draft.push(RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        // The migration is over; Kafka 4 forgets the flag, too.
        zk_migration_ready: false,
        end_points: request
            .listeners
            .iter()
            .map(|it| ControllerEndpoint {
                name: it.name.detached(),
                host: it.host.detached(),
                port: it.port,
                security_protocol: it.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: request
            .features
            .iter()
            .map(|it| ControllerFeature {
                name: it.name.detached(),
                min_supported_version: it.min_supported_version,
                max_supported_version: it.max_supported_version,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ControllerRegistrationResponse::default()
}

/// UnregisterController: takes the registration of a controller that is gone out of the way.
pub fn unregister_controller(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &UnregisterControllerRequest,
) -> UnregisterControllerResponse {
    let id = request.controller_id;
    let refuse = |error: ErrorCode, message: String| UnregisterControllerResponse {
        error_code: error.code(),
        error_message: Some(KStr::from(message)),
        ..Default::default()
    };
    if !draft.image().features.metadata_version().supports_controller_unregistration() {
        return refuse(
            ErrorCode::UnsupportedVersion,
            "The current MetadataVersion is too old to support controller unregistration."
                .to_owned(),
        );
    }
    if draft.image().cluster.controller(id).is_none() {
        return refuse(
            ErrorCode::ControllerIdNotRegistered,
            format!("Controller ID {id} is not currently registered."),
        );
    }
    draft.push(UnregisterControllerRecord { controller_id: id, ..Default::default() });
    UnregisterControllerResponse::default()
}

/// True if the image does not say of this node what the node says of itself.
pub fn needs_registration(image: &Image, config: &ControllerConfig) -> bool {
    if !image.features.metadata_version().supports_controller_registration() {
        return false;
    }
    let own = &config.own_registration;
    image.cluster.controller(config.node_id).is_none_or(|known| {
        known.incarnation_id != own.incarnation_id
            || known.listeners != own.listeners
            || known.features != own.features
    })
}

/// The request with which this node registers with the active controller.
pub fn own_registration(config: &ControllerConfig) -> ControllerRegistrationRequest {
    let own = &config.own_registration;
    ControllerRegistrationRequest {
        controller_id: config.node_id,
        incarnation_id: own.incarnation_id,
        zk_migration_ready: false,
        listeners: own
            .listeners
            .iter()
            .map(|it| controller_registration_request::Listener {
                name: KStr::from(&it.name),
                host: KStr::from(&it.host),
                port: it.port,
                security_protocol: it.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: own
            .features
            .iter()
            .map(|(name, (min, max))| controller_registration_request::Feature {
                name: KStr::from(name),
                min_supported_version: *min,
                max_supported_version: *max,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// `EndpointType` of DescribeCluster: brokers.
const ENDPOINT_BROKERS: i8 = 1;
/// `EndpointType` of DescribeCluster: controllers.
const ENDPOINT_CONTROLLERS: i8 = 2;
/// "Not asked for" in `ClusterAuthorizedOperations`.
const NO_OPERATIONS: i32 = i32::MIN;
/// Bits of CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS and
/// IDEMPOTENT_WRITE: all that can be done to a cluster.
const ALL_CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// DescribeCluster as a controller answers it: the registered controllers that listen on the listener
/// asked through. Any controller answers, active or not.
pub fn describe_cluster(
    image: &Image,
    config: &ControllerConfig,
    raft: &RaftView,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refuse = |error: ErrorCode, message: String| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(KStr::from(message)),
        ..Default::default()
    };
    // Controllers do not register at such a level, so there would be nobody to name.
    if !image.features.metadata_version().supports_controller_registration() {
        let why = "Direct-to-controller communication is not supported with the current \
                   MetadataVersion.";
        return refuse(ErrorCode::UnsupportedVersion, why.to_owned());
    }
    match request.endpoint_type {
        ENDPOINT_CONTROLLERS => {}
        ENDPOINT_BROKERS => {
            return refuse(
                match context.api_version {
                    // It knows neither kind of endpoint nor this error.
                    0 => ErrorCode::InvalidRequest,
                    _ => ErrorCode::MismatchedEndpointType,
                },
                "The request was sent to an endpoint of type CONTROLLER, but we wanted an endpoint \
                 of type BROKER"
                    .to_owned(),
            );
        }
        other => {
            return refuse(
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {other}"),
            );
        }
    }
    let on_listener =
        |listeners: &[Listener]| listeners.iter().find(|it| it.name == *context.listener).cloned();
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_CONTROLLERS,
        cluster_id: KStr::from(&config.cluster_id),
        controller_id: raft.leader.unwrap_or(-1),
        brokers: image
            .cluster
            .controllers()
            .filter_map(|it| Some((it.id, on_listener(&it.listeners)?)))
            .map(|(id, listener)| describe_cluster_response::DescribeClusterBroker {
                broker_id: id,
                host: KStr::from(&listener.host),
                port: i32::from(listener.port),
                ..Default::default()
            })
            .collect(),
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => ALL_CLUSTER_OPERATIONS,
            false => NO_OPERATIONS,
        },
        ..Default::default()
    }
}
