//! Requests to other controllers.
//!
//! A connection carries one request at a time, because the other side answers one at a time: a vote
//! must not wait behind a parked fetch. Connections that are free are used again; names are resolved
//! at each new one.

mod login;

use super::frame::{FrameError, FrameReader, write_frame};
use super::security::Outgoing;
use crate::config::address::HostPort;
use crate::driver::queue::CoreQueue;
use crate::telemetry::{Telemetry, since_start};
use bytes::Bytes;
use quorate_node::{Event, PeerAddress, RpcFailure, RpcId};
use quorate_protocol::header::{decode_response, encode_request};
use quorate_protocol::messages::ApiVersionsRequest;
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, KStr};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Free connections kept for one address.
const IDLE_PER_PEER_MAX: usize = 3;
/// The version in which peers are asked for their versions; all of Kafka 3.9 to 4.4 know it.
const PROBE_VERSION: i16 = 3;

/// Sends requests to peers and reports each outcome to the core. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Handle,
    core: CoreQueue,
    client_id: KStr,
    connect_timeout: Duration,
    response_max_bytes: usize,
    free: Mutex<BTreeMap<(String, u16), Vec<Peer>>>,
    telemetry: Arc<Telemetry>,
    security: Arc<Outgoing>,
}

/// A socket, or TLS over one.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection whose versions are known.
struct Peer {
    stream: Box<dyn Stream>,
    reader: FrameReader,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation_id: i32,
    telemetry: Arc<Telemetry>,
    /// When the other side wants to see credentials again; then this connection is not used any more.
    session_ends: Option<Instant>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.telemetry.peers.connections_closed.increment();
    }
}

/// Why a request failed, and whether the peer's process seems to be gone.
struct Failed {
    failure: RpcFailure,
    why: String,
    peer_down: bool,
}

impl Failed {
    /// The label of metrics.
    fn reason(&self) -> &'static str {
        match self.failure {
            RpcFailure::Timeout => "timeout",
            RpcFailure::Disconnected => "disconnected",
            RpcFailure::Refused => "refused",
            RpcFailure::UnsupportedVersion => "unsupported_version",
            RpcFailure::Garbage => "garbage",
            RpcFailure::Authentication => "authentication",
        }
    }

    fn new(failure: RpcFailure, why: impl ToString) -> Failed {
        Failed { failure, why: why.to_string(), peer_down: false }
    }

    fn gone(failure: RpcFailure, why: impl ToString) -> Failed {
        Failed { failure, why: why.to_string(), peer_down: true }
    }
}

impl Peers {
    /// No connections yet. `client_id` is how this node names itself to others.
    pub fn new(
        runtime: Handle,
        core: CoreQueue,
        client_id: String,
        connect_timeout: Duration,
        response_max_bytes: usize,
        telemetry: Arc<Telemetry>,
        security: Arc<Outgoing>,
    ) -> Peers {
        let shared = Shared {
            runtime,
            core,
            client_id: KStr::from(client_id),
            connect_timeout,
            response_max_bytes,
            free: Mutex::default(),
            telemetry,
            security,
        };
        Peers { shared: Arc::new(shared) }
    }

    /// Sends in the background. `Event::PeerAnswered` follows in any case, and then `Event::PeerDown`
    /// if the peer's process is seen to be gone.
    pub fn send(&self, rpc: RpcId, to: PeerAddress, request: AnyRequest, timeout: Duration) {
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let clock = shared.telemetry.clock;
            let sent = clock.time();
            let work = shared.exchange(&to, &request);
            let outcome = match tokio::time::timeout(timeout, work).await {
                Ok(outcome) => outcome,
                Err(late) => Err(Failed::new(RpcFailure::Timeout, late)),
            };
            let counts = &shared.telemetry.peers;
            match &outcome {
                Ok(_) => {
                    if let Some(node) = to.node {
                        let now = clock.time();
                        let (up, took) = (since_start(now), now.since(sent));
                        counts.answered(up, node, request.api_key(), took);
                    }
                }
                Err(failed) => counts.failures.increment(failed.reason()),
            }
            let peer_down = outcome.as_ref().is_err_and(|failed| failed.peer_down);
            let result = outcome.map_err(|failed| {
                let (api, failure, why) = (request.api_key(), failed.failure, failed.why);
                let where_to = HostPort { host: &to.host, port: to.port };
                tracing::debug!(%api, %where_to, ?failure, why, "no answer from a peer");
                failure
            });
            shared.core.tell(Event::PeerAnswered { rpc, result });
            if let (true, Some(node)) = (peer_down, to.node) {
                shared.core.tell(Event::PeerDown { node });
            }
        });
    }
}

impl Shared {
    async fn exchange(
        &self,
        to: &PeerAddress,
        request: &AnyRequest,
    ) -> Result<AnyResponse, Failed> {
        let mut peer = match self.take_free(to) {
            Some(peer) => peer,
            None => self.connect(to).await?,
        };
        let version = peer.best_version(request.api_key()).ok_or_else(|| {
            Failed::new(RpcFailure::UnsupportedVersion, "no version that both sides know")
        })?;
        let result = peer.request(request, version, &self.client_id).await;
        if result.is_ok() {
            self.give_back(to, peer);
        }
        result
    }

    /// A free connection that the other side has not closed meanwhile.
    fn take_free(&self, to: &PeerAddress) -> Option<Peer> {
        let key = (to.host.clone(), to.port);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = free.get_mut(&key)?;
        while let Some(mut peer) = peers.pop() {
            if peer.is_quiet() {
                return Some(peer);
            }
        }
        None
    }

    fn give_back(&self, to: &PeerAddress, peer: Peer) {
        let key = (to.host.clone(), to.port);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = free.entry(key).or_default();
        if peers.len() < IDLE_PER_PEER_MAX {
            peers.push(peer);
        }
    }

    async fn connect(&self, to: &PeerAddress) -> Result<Peer, Failed> {
        let dialling = tokio::time::timeout(self.connect_timeout, dial(&to.host, to.port));
        let stream = match dialling.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(Failed::gone(RpcFailure::Refused, error));
            }
            Ok(Err(error)) => return Err(Failed::new(RpcFailure::Refused, error)),
            Err(late) => return Err(Failed::new(RpcFailure::Timeout, late)),
        };
        self.telemetry.peers.connections_opened.increment();
        let mut peer = Peer {
            telemetry: self.telemetry.clone(),
            stream: self.secure(stream, &to.host).await?,
            reader: FrameReader::new(self.response_max_bytes),
            versions: BTreeMap::new(),
            correlation_id: 0,
            session_ends: None,
        };
        peer.probe(&self.client_id).await?;
        if let Some(sasl) = &self.security.sasl {
            login::log_in(&mut peer, sasl, self.security.token.as_ref(), &self.client_id).await?;
        }
        Ok(peer)
    }

    /// TLS, where it is configured. The certificate must be for the name that was dialled.
    async fn secure(&self, stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, Failed> {
        let Some(tls) = &self.security.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Failed::new(RpcFailure::Authentication, error))?;
        let handshake = TlsConnector::from(tls.current()).connect(name, stream);
        match tokio::time::timeout(self.connect_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => {
                let why = format!("TLS with {host}: {error}");
                tracing::debug!(why, "no TLS with a peer");
                Err(Failed::new(RpcFailure::Authentication, why))
            }
            Err(late) => Err(Failed::new(RpcFailure::Timeout, late)),
        }
    }
}

/// Tries each address that the name has now.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Peer {
    /// Asks which versions the peer speaks.
    async fn probe(&mut self, client_id: &KStr) -> Result<(), Failed> {
        let request = AnyRequest::ApiVersions(ApiVersionsRequest {
            client_software_name: "quorate".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        });
        let response = self.request(&request, PROBE_VERSION, client_id).await?;
        let AnyResponse::ApiVersions(response) = response else {
            return Err(Failed::new(RpcFailure::Garbage, "no answer to ApiVersions"));
        };
        if response.error_code != 0 {
            let why = format!("ApiVersions answered error {}", response.error_code);
            return Err(Failed::new(RpcFailure::Garbage, why));
        }
        self.versions = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Ok(())
    }

    /// The highest version that both sides speak.
    fn best_version(&self, api: ApiKey) -> Option<i16> {
        let &(min, max) = self.versions.get(&api.id())?;
        let ours = api.versions();
        let version = max.min(*ours.end());
        (version >= min && version >= *ours.start()).then_some(version)
    }

    async fn request(
        &mut self,
        request: &AnyRequest,
        version: i16,
        client_id: &KStr,
    ) -> Result<AnyResponse, Failed> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        // A field that this version cannot carry: the peer is too old for what is asked.
        let bytes = encode_request(request, version, self.correlation_id, Some(client_id.clone()))
            .map_err(|error| Failed::new(RpcFailure::UnsupportedVersion, error))?;
        let counts = &self.telemetry.peers;
        counts.bytes_out.record(self.telemetry.uptime(), bytes.len() as u64 + 4);
        counts.requests.record(self.telemetry.uptime(), 1);
        write_frame(&mut self.stream, vec![bytes]).await.map_err(|error| lost(&error))?;
        let frame: Bytes = match self.reader.next(&mut self.stream).await {
            Ok(frame) => frame,
            Err(error @ FrameError::Closed { .. }) => {
                return Err(Failed::gone(RpcFailure::Disconnected, error));
            }
            Err(FrameError::Io(error)) => return Err(lost(&error)),
            Err(error @ FrameError::Size { .. }) => {
                return Err(Failed::new(RpcFailure::Garbage, error));
            }
        };
        counts.bytes_in.record(self.telemetry.uptime(), frame.len() as u64 + 4);
        counts.responses.record(self.telemetry.uptime(), 1);
        let (correlation_id, response) = decode_response(request.api_key(), version, frame)
            .map_err(|error| Failed::new(RpcFailure::Garbage, error))?;
        if correlation_id != self.correlation_id {
            let why = format!("correlation id {correlation_id} instead of {}", self.correlation_id);
            return Err(Failed::new(RpcFailure::Garbage, why));
        }
        Ok(response)
    }

    /// Whether a free connection is still open. Bytes nobody asked for count as broken, too.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut looking = Context::from_waker(Waker::noop());
        self.session_ends.is_none_or(|ends| Instant::now() < ends)
            && !self.reader.has_more()
            && Pin::new(&mut *self.stream).poll_read(&mut looking, &mut buffer).is_pending()
    }
}

fn lost(error: &io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => Failed::gone(RpcFailure::Disconnected, error),
        _ => Failed::new(RpcFailure::Disconnected, error),
    }
}
