//! What stands before the body of a request or response: the header, whose version follows from the API's.

use crate::messages::{RequestHeader, ResponseHeader};
use crate::wire::{Message, Reader, WireError, Writer};
use crate::{AnyRequest, AnyResponse, ApiKey};
use bytes::Bytes;

/// Why a frame is no request that can be answered in kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// Not even the header can be read: the connection cannot go on.
    #[error("malformed request header: {0}")]
    Header(WireError),
    /// The API key is none of Kafka's.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
}

/// A request up to its body.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFrame {
    /// The API.
    pub api: ApiKey,
    /// The version of the body; may be one that we do not know.
    pub version: i16,
    /// To be given back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<crate::KStr>,
    /// The body, not yet decoded.
    pub body: Bytes,
}

impl RequestFrame {
    /// Splits a frame (without its length prefix) into header and body.
    ///
    /// The header's version follows from the API and its version. An ApiVersions request of a version newer than
    /// ours still has a readable header: it is to be answered with UNSUPPORTED_VERSION at version 0.
    pub fn decode(frame: Bytes) -> Result<RequestFrame, RequestError> {
        let mut peek = Reader::new(frame.clone());
        let key = peek.i16().map_err(RequestError::Header)?;
        let version = peek.i16().map_err(RequestError::Header)?;
        let api = ApiKey::from_i16(key).ok_or(RequestError::UnknownApi(key))?;
        let mut r = Reader::new(frame);
        let header = RequestHeader::decode(&mut r, api.request_header_version(version))
            .map_err(RequestError::Header)?;
        Ok(RequestFrame {
            api,
            version,
            correlation_id: header.correlation_id,
            client_id: header.client_id,
            body: r.rest(),
        })
    }

    /// The body, decoded.
    pub fn decode_body(&self) -> Result<AnyRequest, WireError> {
        AnyRequest::decode(self.api, self.version, self.body.clone())
    }
}

/// Header and body of a request, without length prefix.
pub fn encode_request(
    request: &AnyRequest,
    version: i16,
    correlation_id: i32,
    client_id: Option<crate::KStr>,
) -> Result<Bytes, WireError> {
    let mut w = Writer::new();
    let api = request.api_key();
    let header = RequestHeader {
        request_api_key: api.id(),
        request_api_version: version,
        correlation_id,
        client_id,
        ..Default::default()
    };
    header.encode(&mut w, api.request_header_version(version))?;
    request.write(&mut w, version)?;
    Ok(w.into_bytes())
}

/// Header and body of a response as chunks for a vectored write, without length prefix.
pub fn encode_response_chunks(
    response: &AnyResponse,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, WireError> {
    write_response(response, version, correlation_id).map(Writer::into_chunks)
}

/// Header and body of a response, without length prefix.
pub fn encode_response(
    response: &AnyResponse,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, WireError> {
    write_response(response, version, correlation_id).map(Writer::into_bytes)
}

fn write_response(
    response: &AnyResponse,
    version: i16,
    correlation_id: i32,
) -> Result<Writer, WireError> {
    let mut w = Writer::new();
    let header = ResponseHeader { correlation_id, ..Default::default() };
    header.encode(&mut w, response.api_key().response_header_version(version))?;
    response.write(&mut w, version)?;
    Ok(w)
}

/// Splits a response frame (without its length prefix) into correlation id and body.
pub fn decode_response_header(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Bytes), WireError> {
    let mut r = Reader::new(frame);
    let header = ResponseHeader::decode(&mut r, api.response_header_version(version))?;
    Ok((header.correlation_id, r.rest()))
}

/// Decodes a response frame (without its length prefix) into correlation id and body.
pub fn decode_response(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, AnyResponse), WireError> {
    let (correlation_id, body) = decode_response_header(api, version, frame)?;
    Ok((correlation_id, AnyResponse::decode(api, version, body)?))
}
