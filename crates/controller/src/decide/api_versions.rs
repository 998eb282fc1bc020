//! ApiVersions on the controller listener: what can be asked, and which features are at which level
//! (KIP-35, 584; KAFKA-17492).

use crate::{ControllerConfig, RaftView, RequestContext};
use quorate_base::Offset;
use quorate_metadata::Image;
use quorate_protocol::features::Feature;
use quorate_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use quorate_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use quorate_protocol::{ApiKey, ErrorCode, KStr, controller_listener_apis};
use std::collections::BTreeMap;

/// From this version on a client tells the name and version of its software.
const FIRST_WITH_SOFTWARE: i16 = 3;
/// From this version on a supported feature may have the lower bound 0.
const FIRST_WITH_MIN_ZERO: i16 = 4;
/// From this version on a client says whom it believes to talk to.
const FIRST_WITH_IDENTITY: i16 = 5;
/// "Any node" in `NodeId`.
const ANY_NODE: i32 = -1;

/// Answers from the committed image; `offset` is one past its last record.
pub fn api_versions(
    image: &Image,
    offset: Offset,
    config: &ControllerConfig,
    raft: &RaftView,
    context: &RequestContext,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    let version = context.api_version;
    if version >= FIRST_WITH_SOFTWARE
        && !(is_software_text(&request.client_software_name)
            && is_software_text(&request.client_software_version))
    {
        return refuse(ErrorCode::InvalidRequest);
    }
    if version >= FIRST_WITH_IDENTITY && !is_for_us(config, request) {
        return refuse(ErrorCode::RebootstrapRequired);
    }
    ApiVersionsResponse {
        api_keys: controller_listener_apis()
            .iter()
            .map(|(key, min_version, max_version)| ApiVersion {
                api_key: key.id(),
                min_version: *min_version,
                max_version: *max_version,
                ..Default::default()
            })
            .collect(),
        supported_features: config
            .own_registration
            .features
            .iter()
            .filter(|(_, (min, _))| *min > 0 || version >= FIRST_WITH_MIN_ZERO)
            .map(|(name, (min, max))| SupportedFeatureKey {
                name: KStr::from(name),
                min_version: *min,
                max_version: *max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: offset - 1,
        finalized_features: finalized(image, raft)
            .into_iter()
            .map(|(name, level)| FinalizedFeatureKey {
                name: KStr::from(name),
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// The answer to a version of ApiVersions this node does not know: sent as version 0, so that a client
/// of any age can read which versions there are and ask again.
pub fn unsupported_api_versions() -> ApiVersionsResponse {
    let versions = ApiKey::ApiVersions.versions();
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion {
            api_key: ApiKey::ApiVersions.id(),
            min_version: *versions.start(),
            max_version: *versions.end(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn refuse(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: error.code(), ..Default::default() }
}

/// Every feature at a level above 0, `kraft.version` among them.
fn finalized<'a>(image: &'a Image, raft: &RaftView) -> BTreeMap<&'a str, i16> {
    let mut levels: BTreeMap<&'a str, i16> =
        image.features.iter().map(|(name, level)| (name.as_str(), level)).collect();
    levels.insert(Feature::KRaftVersion.name(), raft.kraft_version);
    levels.retain(|_, level| *level > 0);
    levels
}

/// A client that looks for another cluster or node has an outdated address.
fn is_for_us(config: &ControllerConfig, request: &ApiVersionsRequest) -> bool {
    let cluster = request.cluster_id.as_ref().is_none_or(|it| *it == *config.cluster_id);
    cluster && (request.node_id == ANY_NODE || request.node_id == config.node_id)
}

/// Letters, digits, `-` and `.`; begins and ends with a letter or digit.
fn is_software_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_as_kafka_allows_them() {
        for good in ["apache-kafka-java", "4.3.0", "a", "librdkafka", "2.3.0-SNAPSHOT.1"] {
            assert!(is_software_text(good), "{good}");
        }
        for bad in ["", "-kafka", "kafka-", ".", "kafka client", "kafka_client", "é"] {
            assert!(!is_software_text(bad), "{bad}");
        }
    }
}
