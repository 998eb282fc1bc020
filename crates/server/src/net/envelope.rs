//! Requests that a broker passes on for a client (KIP-590): unwrapped before the core sees them, and
//! their answers wrapped again.

use bytes::Bytes;
use quorate_controller::{EnvelopeSender, Principal, RequestContext};
use quorate_metadata::Str;
use quorate_protocol::header::{RequestFrame, encode_response};
use quorate_protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The inside of an envelope.
pub struct Unwrapped {
    /// API, version and correlation id of the inner request.
    pub frame: RequestFrame,
    /// The client, not the broker.
    pub context: RequestContext,
    /// The inner body.
    pub request: AnyRequest,
}

/// Opens an envelope that came with `outer`. The error is the envelope's own, without data, with a
/// text for the log.
pub fn unwrap(
    envelope: &EnvelopeRequest,
    outer: &RequestContext,
) -> Result<Unwrapped, (ErrorCode, String)> {
    let address = client_address(&envelope.client_host_address).ok_or_else(|| {
        let length = envelope.client_host_address.len();
        (ErrorCode::InvalidRequest, format!("a client address of {length} bytes; expected 4 or 16"))
    })?;
    let principal = principal(envelope.request_principal.clone())?;
    let frame = RequestFrame::decode(envelope.request_data.clone())
        .map_err(|error| (ErrorCode::UnsupportedVersion, error.to_string()))?;
    if !frame.api.is_forwardable() {
        return Err((ErrorCode::InvalidRequest, format!("{} is never forwarded", frame.api)));
    }
    let request = frame.decode_body().map_err(|error| {
        let what = format!("{} version {}: {error}", frame.api, frame.version);
        (ErrorCode::UnsupportedVersion, what)
    })?;
    let context = RequestContext {
        api_version: frame.version,
        principal,
        client_id: frame.client_id.as_deref().map(Str::from),
        client_address: address,
        listener: outer.listener.clone(),
        forwarded: true,
        envelope_sender: Some(EnvelopeSender {
            principal: outer.principal.clone(),
            address: outer.client_address,
        }),
        received_at: outer.received_at,
    };
    Ok(Unwrapped { frame, context, request })
}

fn client_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
}

/// Only what Kafka's default principal builder writes can be read; a broker with another builder
/// needs a message that says so.
fn principal(bytes: Option<Bytes>) -> Result<Principal, (ErrorCode, String)> {
    let refuse = |why: String| {
        let text = format!(
            "the forwarded principal is not readable ({why}); brokers must use Kafka's default \
             principal.builder.class"
        );
        (ErrorCode::PrincipalDeserializationFailure, text)
    };
    let bytes = bytes.ok_or_else(|| refuse("there is none".to_owned()))?;
    let decoded = quorate_protocol::Principal::decode(bytes).map_err(|e| refuse(e.to_string()))?;
    Ok(Principal {
        kind: Str::from(&*decoded.kind),
        name: Str::from(&*decoded.name),
        token_authenticated: decoded.token_authenticated,
    })
}

/// An envelope's answer that carries only an error.
pub fn refusal(error: ErrorCode) -> EnvelopeResponse {
    EnvelopeResponse { response_data: None, error_code: error.code(), ..Default::default() }
}

/// Puts an answer into its envelope. "Not the controller" goes on the outside instead: the broker
/// then looks for the active controller and tries again, where the client would only see a failure.
pub fn wrap(inner: &RequestFrame, response: &AnyResponse) -> EnvelopeResponse {
    // The sender may not speak for others: it never came to what is inside.
    if let AnyResponse::Envelope(refused) = response {
        return refused.clone();
    }
    let errors = response.error_codes();
    let elsewhere = errors.contains(&ErrorCode::NotController.code())
        || (response.api_key() == ApiKey::DescribeQuorum
            && errors.contains(&ErrorCode::NotLeaderOrFollower.code()));
    if elsewhere {
        return refusal(ErrorCode::NotController);
    }
    match encode_response(response, inner.version, inner.correlation_id) {
        Ok(data) => EnvelopeResponse {
            response_data: Some(data),
            error_code: ErrorCode::None.code(),
            ..Default::default()
        },
        Err(error) => {
            let (api, version) = (inner.api, inner.version);
            tracing::error!(%api, version, %error, "an answer cannot be encoded");
            refusal(ErrorCode::UnknownServerError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_protocol::header::{decode_response, encode_request};
    use quorate_protocol::messages::{
        CreateTopicsRequest, CreateTopicsResponse, DescribeQuorumResponse, FetchRequest,
    };

    fn envelope(inner: &AnyRequest, version: i16) -> EnvelopeRequest {
        let principal = quorate_protocol::Principal::anonymous();
        EnvelopeRequest {
            request_data: encode_request(inner, version, 77, Some("admin".into())).unwrap(),
            request_principal: Some(principal.encode().unwrap()),
            client_host_address: Bytes::from_static(&[10, 0, 0, 9]),
            ..Default::default()
        }
    }

    fn create_topics() -> AnyRequest {
        AnyRequest::CreateTopics(CreateTopicsRequest::default())
    }

    fn error_of(envelope: &EnvelopeRequest) -> ErrorCode {
        unwrap(envelope, &RequestContext::internal(0)).map(|_| ()).unwrap_err().0
    }

    #[test]
    fn the_client_inside_is_who_asks() {
        let unwrapped = unwrap(&envelope(&create_topics(), 7), &RequestContext::internal(0))
            .map_err(|e| e.1)
            .unwrap();
        assert_eq!(unwrapped.context.client_address.to_string(), "10.0.0.9");
        assert_eq!(unwrapped.context.principal, Principal::anonymous());
        assert_eq!(unwrapped.context.client_id, Some(Str::from("admin")));
        assert!(unwrapped.context.forwarded);
        assert_eq!((unwrapped.frame.correlation_id, unwrapped.context.api_version), (77, 7));
    }

    #[test]
    fn each_malformed_envelope_has_its_error() {
        let good = envelope(&create_topics(), 7);
        let with = |change: &dyn Fn(&mut EnvelopeRequest)| {
            let mut bad = good.clone();
            change(&mut bad);
            error_of(&bad)
        };
        assert_eq!(
            with(&|e| e.client_host_address = Bytes::from_static(&[1, 2, 3])),
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            with(&|e| e.request_principal = Some(Bytes::from_static(b"\x00\x09x"))),
            ErrorCode::PrincipalDeserializationFailure
        );
        assert_eq!(
            with(&|e| e.request_principal = None),
            ErrorCode::PrincipalDeserializationFailure
        );
        assert_eq!(
            with(&|e| e.request_data = Bytes::from_static(&[0, 19, 0, 7])),
            ErrorCode::UnsupportedVersion
        );
        assert_eq!(
            with(&|e| {
                let cut = e.request_data.len() - 1;
                e.request_data.truncate(cut);
            }),
            ErrorCode::UnsupportedVersion
        );
        let fetch = AnyRequest::Fetch(FetchRequest::default());
        assert_eq!(error_of(&envelope(&fetch, 17)), ErrorCode::InvalidRequest);
    }

    #[test]
    fn answers_keep_the_inner_correlation_id() {
        let inner = unwrap(&envelope(&create_topics(), 7), &RequestContext::internal(0))
            .map_err(|e| e.1)
            .unwrap();
        let answer = AnyResponse::CreateTopics(CreateTopicsResponse::default());
        let wrapped = wrap(&inner.frame, &answer);
        assert_eq!(wrapped.error_code, 0);
        let data = wrapped.response_data.unwrap();
        assert_eq!(decode_response(ApiKey::CreateTopics, 7, data), Ok((77, answer)));
    }

    #[test]
    fn not_the_controller_is_told_to_the_broker_and_not_to_the_client() {
        let inner = unwrap(&envelope(&create_topics(), 7), &RequestContext::internal(0))
            .map_err(|e| e.1)
            .unwrap();
        let mut answer = CreateTopicsResponse::default();
        answer.topics.push(Default::default());
        answer.topics[0].error_code = ErrorCode::NotController.code();
        let wrapped = wrap(&inner.frame, &AnyResponse::CreateTopics(answer));
        assert_eq!((wrapped.error_code, wrapped.response_data), (41, None));
        let quorum = DescribeQuorumResponse {
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            ..Default::default()
        };
        let wrapped = wrap(&inner.frame, &AnyResponse::DescribeQuorum(quorum));
        assert_eq!((wrapped.error_code, wrapped.response_data), (41, None));
    }
}
