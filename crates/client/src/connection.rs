use crate::ClientError;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::header::{decode_response_header, encode_request};
use quorate_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, KStr};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest answer taken: Kafka's own default bound for a request.
const FRAME_BYTES_MAX: i32 = 100 * 1024 * 1024;

/// How a [`Connection`] introduces itself and how long it waits.
#[derive(Clone, Debug)]
pub struct Options {
    /// `client.id` in each request's header.
    pub client_id: String,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For each answer.
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            client_id: "quorate-client".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// One socket to a broker or controller, with the versions it serves.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    options: Options,
    next_correlation_id: i32,
    /// Requests without an answer, oldest first: Kafka answers in order.
    in_flight: VecDeque<(i32, ApiKey, i16)>,
    api_versions: ApiVersionsResponse,
    ranges: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects to `host:port` and negotiates versions.
    pub fn connect(address: &str, options: Options) -> Result<Connection, ClientError> {
        let mut connection = Connection::connect_raw(address, options)?;
        connection.negotiate()?;
        Ok(connection)
    }

    fn connect_raw(address: &str, options: Options) -> Result<Connection, ClientError> {
        let fault = |source| ClientError::Connect { address: address.to_owned(), source };
        let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs().map_err(fault)? {
            match TcpStream::connect_timeout(&resolved, options.connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(fault)?;
                    stream.set_read_timeout(Some(options.request_timeout)).map_err(fault)?;
                    stream.set_write_timeout(Some(options.request_timeout)).map_err(fault)?;
                    return Ok(Connection {
                        stream,
                        address: address.to_owned(),
                        options,
                        next_correlation_id: 0,
                        in_flight: VecDeque::new(),
                        api_versions: ApiVersionsResponse::default(),
                        ranges: BTreeMap::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(fault(last))
    }

    /// Newest ApiVersions first, then what the server says it can (KIP-511).
    fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = AnyRequest::ApiVersions(ApiVersionsRequest {
            client_software_name: KStr::from("quorate"),
            client_software_version: KStr::from(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        });
        // Version 5 adds the cluster and node to reach; 4 asks the same of every server.
        for version in [4, 0] {
            let AnyResponse::ApiVersions(answer) = self.send_version(&request, version)? else {
                return Err(self.not_the_answer(ApiKey::ApiVersions));
            };
            if answer.error_code == ErrorCode::UnsupportedVersion.code() {
                continue;
            }
            if answer.error_code != ErrorCode::None.code() {
                return Err(ClientError::Refused {
                    what: format!("ApiVersions at {}", self.address),
                    error_code: answer.error_code,
                    message: None,
                });
            }
            self.ranges = answer
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect();
            self.api_versions = answer;
            return Ok(());
        }
        Err(ClientError::Unsupported { address: self.address.clone(), api: ApiKey::ApiVersions })
    }

    /// As given to [`Connection::connect`].
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the server said of itself: APIs and features.
    pub fn api_versions(&self) -> &ApiVersionsResponse {
        &self.api_versions
    }

    /// The newest version of an API that both sides speak.
    pub fn version_for(&self, api: ApiKey) -> Option<i16> {
        let (min, max) = *self.ranges.get(&api.id())?;
        let ours: RangeInclusive<i16> = api.versions();
        let newest = max.min(*ours.end());
        (newest >= min.max(*ours.start())).then_some(newest)
    }

    /// Sends at the newest common version and waits for the answer.
    pub fn send(&mut self, request: &AnyRequest) -> Result<AnyResponse, ClientError> {
        self.start(request)?;
        self.finish()
    }

    /// Sends at the given version and waits for the answer.
    pub fn send_version(
        &mut self,
        request: &AnyRequest,
        version: i16,
    ) -> Result<AnyResponse, ClientError> {
        self.start_version(request, version)?;
        self.finish()
    }

    /// Sends at the newest common version; the answer is fetched by [`Connection::finish`].
    pub fn start(&mut self, request: &AnyRequest) -> Result<(), ClientError> {
        let api = request.api_key();
        let version = self
            .version_for(api)
            .ok_or_else(|| ClientError::Unsupported { address: self.address.clone(), api })?;
        self.start_version(request, version)
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn start_version(&mut self, request: &AnyRequest, version: i16) -> Result<(), ClientError> {
        let api = request.api_key();
        let correlation_id = self.next_correlation_id;
        let client_id = Some(KStr::from(self.options.client_id.as_str()));
        let request = encode_request(request, version, correlation_id, client_id)
            .map_err(|source| ClientError::Wire { api, version, source })?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let mut frame = BytesMut::with_capacity(request.len() + 4);
        // A request of ours is far below the two GiB that a frame can hold.
        frame.put_u32(request.len() as u32);
        frame.put_slice(&request);
        self.stream.write_all(&frame).map_err(|source| self.io(source, api))?;
        self.in_flight.push_back((correlation_id, api, version));
        Ok(())
    }

    /// Sends header and body as they are, whatever they are, and returns the answer's: for tests of
    /// what no well-behaved client sends. `api` is for messages only.
    pub fn exchange(&mut self, api: ApiKey, request: &[u8]) -> Result<Bytes, ClientError> {
        assert!(self.in_flight.is_empty(), "requests wait for their answers");
        let mut frame = BytesMut::with_capacity(request.len() + 4);
        frame.put_u32(request.len() as u32);
        frame.put_slice(request);
        self.stream.write_all(&frame).map_err(|source| self.io(source, api))?;
        self.read_frame(api)
    }

    /// Waits for the answer to the oldest request that has none.
    pub fn finish(&mut self) -> Result<AnyResponse, ClientError> {
        let Some((correlation_id, api, version)) = self.in_flight.pop_front() else {
            return Err(ClientError::Unexpected("no request waits for an answer".to_owned()));
        };
        let wire = |source| ClientError::Wire { api, version, source };
        let frame = self.read_frame(api)?;
        let (got, body) = decode_response_header(api, version, frame).map_err(wire)?;
        if got != correlation_id {
            let address = self.address.clone();
            return Err(ClientError::Correlation { address, expected: correlation_id, got });
        }
        // A server that does not know the version asked for answers ApiVersions at version 0.
        let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        let version =
            if api == ApiKey::ApiVersions && body.starts_with(&unsupported) { 0 } else { version };
        AnyResponse::decode(api, version, body).map_err(wire)
    }

    fn read_frame(&mut self, api: ApiKey) -> Result<Bytes, ClientError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|source| self.io(source, api))?;
        let length = i32::from_be_bytes(length);
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(ClientError::FrameLength { address: self.address.clone(), length });
        }
        // Grows with what arrives, not with what is announced.
        let mut frame = Vec::new();
        let limit = u64::from(length.unsigned_abs());
        let got = (&mut self.stream).take(limit).read_to_end(&mut frame);
        match got {
            Ok(read) if read as u64 == limit => Ok(Bytes::from(frame)),
            Ok(_) => Err(ClientError::Closed { address: self.address.clone() }),
            Err(source) => Err(self.io(source, api)),
        }
    }

    fn io(&self, source: std::io::Error, api: ApiKey) -> ClientError {
        let address = self.address.clone();
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                ClientError::Timeout { address, api, timeout: self.options.request_timeout }
            }
            ErrorKind::UnexpectedEof => ClientError::Closed { address },
            _ => ClientError::Io { address, source },
        }
    }

    pub(crate) fn not_the_answer(&self, api: ApiKey) -> ClientError {
        ClientError::Unexpected(format!("{} answered {api:?} with another message", self.address))
    }
}
