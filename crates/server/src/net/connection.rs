//! One connection from outside: one request at a time, answers in order, closed at the first byte that
//! makes no sense.

use super::Edge;
use super::authentication::Authentication;
use super::envelope;
use super::frame::{FrameError, FrameReader, write_frame};
use crate::audit::Pending;
use crate::driver::queue::Reply;
use crate::driver::source;
use crate::telemetry::since_start;
use bytes::Bytes;
use quorate_controller::{Principal, RequestContext};
use quorate_metadata::Str;
use quorate_node::{Event, Token};
use quorate_protocol::header::{RequestError, RequestFrame, encode_response_chunks};
use quorate_protocol::messages::api_versions_response::ApiVersion;
use quorate_protocol::messages::{
    ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, WireError};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Why a connection ended. The other side going away is no reason to say anything.
#[derive(Debug, Error)]
pub enum Ended {
    /// Framing or the socket.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No request header.
    #[error(transparent)]
    Header(#[from] RequestError),
    /// A Kafka API that controllers do not serve.
    #[error("{0} is not served by controllers; brokers serve it")]
    NotServed(ApiKey),
    /// A version that is not spoken.
    #[error("{api} version {version} is not supported; supported are {} to {}",
        .api.versions().start(), .api.versions().end())]
    Version {
        /// The API.
        api: ApiKey,
        /// What was asked for.
        version: i16,
    },
    /// A body that cannot be read.
    #[error("{api} version {version} is malformed: {error}")]
    Body {
        /// The API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong with it.
        error: WireError,
    },
    /// An answer that cannot be written in the version asked for; our fault.
    #[error("the answer to {api} version {version} cannot be encoded: {error}")]
    Answer {
        /// The API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong with it.
        error: WireError,
    },
    /// The answer could not be written, or its records not be read from disk.
    #[error("the answer could not be sent: {0}")]
    Write(io::Error),
    /// No TLS, or a certificate that is not accepted.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// Nobody who may be here.
    #[error("authentication failed: {0}")]
    Authentication(String),
    /// A request that is not allowed before authentication, or after the session's end.
    #[error("refused {0}")]
    NotAuthenticated(String),
    /// Neither request nor byte for too long.
    #[error("idle for connections.max.idle.ms")]
    Idle,
    /// The core gave no answer: the process is ending.
    #[error("shutting down")]
    Stopping,
}

impl Ended {
    /// The label of metrics.
    fn reason(&self) -> &'static str {
        match self {
            Ended::Frame(FrameError::Closed { .. }) => "closed",
            Ended::Frame(FrameError::Io(_)) | Ended::Write(_) => "broken",
            Ended::Frame(FrameError::Size { .. }) => "frame",
            Ended::Header(_) => "header",
            Ended::NotServed(_) => "not_served",
            Ended::Version { .. } => "version",
            Ended::Body { .. } => "body",
            Ended::Answer { .. } => "answer",
            Ended::Tls(_) => "tls",
            Ended::Authentication(_) => "authentication",
            Ended::NotAuthenticated(_) => "not_authenticated",
            Ended::Idle => "idle",
            Ended::Stopping => "stopping",
        }
    }

    /// Whether what came made no sense.
    fn is_parser_error(&self) -> bool {
        matches!(
            self,
            Ended::Frame(FrameError::Size { .. })
                | Ended::Header(_)
                | Ended::NotServed(_)
                | Ended::Version { .. }
                | Ended::Body { .. }
        )
    }

    /// Whether an operator should hear of it.
    fn is_worth_a_line(&self) -> bool {
        !matches!(
            self,
            Ended::Frame(FrameError::Closed { .. } | FrameError::Io(_))
                | Ended::Write(_)
                | Ended::Idle
                | Ended::Stopping
        )
    }
}

/// How long a TLS handshake, or the time until somebody is authenticated, may take.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub async fn serve(
    edge: Arc<Edge>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    listener: Str,
) {
    let gate = edge.security.gate(&listener);
    let deadline = tokio::time::Instant::now() + AUTHENTICATION_TIMEOUT;
    let ended = match &gate.tls {
        None => {
            let authentication = Authentication::begin(gate.clone(), None);
            converse(edge.clone(), stream, from, &listener, authentication, deadline).await
        }
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.current()).accept(stream);
            match tokio::time::timeout_at(deadline, handshake).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
                    let begun = Authentication::begin(gate.clone(), shown.map(|it| it.as_ref()));
                    converse(edge.clone(), stream, from, &listener, begun, deadline).await
                }
                Ok(Err(error)) => Ended::Tls(error),
                Err(late) => Ended::Tls(io::Error::new(io::ErrorKind::TimedOut, late)),
            }
        }
    };
    let counts = &edge.telemetry.connections;
    counts.ended.increment(ended.reason());
    if ended.is_parser_error() {
        counts.parser_errors.increment(ended.reason());
    }
    if ended.is_worth_a_line() {
        edge.quiet.warn(format_args!("closed a connection from {from} on {listener}: {ended}"));
    } else {
        tracing::debug!(%from, %listener, %ended, "connection ended");
    }
}

async fn converse(
    edge: Arc<Edge>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    listener: &Str,
    authentication: Result<Authentication, String>,
    deadline: tokio::time::Instant,
) -> Ended {
    let authentication = match authentication {
        Ok(authentication) => authentication,
        Err(why) => return Ended::Authentication(why),
    };
    let limit = edge.limits.request_max_bytes;
    let mut connection = Connection {
        reader: FrameReader::new(authentication.frame_limit().map_or(limit, |it| it.min(limit))),
        edge,
        stream,
        from,
        listener: listener.clone(),
        authentication,
    };
    connection.run(deadline).await
}

struct Connection<S> {
    edge: Arc<Edge>,
    stream: S,
    reader: FrameReader,
    from: SocketAddr,
    listener: Str,
    authentication: Authentication,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// `deadline`: until when somebody must be authenticated.
    async fn run(&mut self, deadline: tokio::time::Instant) -> Ended {
        loop {
            let exchanged = if self.authentication.principal().is_some() {
                self.exchange().await
            } else {
                let late = |_| Err(Ended::Authentication("nobody for too long".to_owned()));
                tokio::time::timeout_at(deadline, self.exchange()).await.unwrap_or_else(late)
            };
            if let Err(ended) = exchanged {
                return ended;
            }
        }
    }

    /// One request and its answer.
    async fn exchange(&mut self) -> Result<(), Ended> {
        let idle = self.edge.limits.max_idle;
        let frame = or_idle(idle, self.reader.next(&mut self.stream)).await??;
        let received = self.edge.clock.time();
        if self.authentication.expects_bare_token() {
            return self.bare_token(frame).await;
        }
        let frame = RequestFrame::decode(frame)?;
        self.authentication.allows(frame.api, received).map_err(Ended::NotAuthenticated)?;
        let mut refused = None;
        let chunks = match check(&frame)? {
            Admitted::UnknownApiVersions => {
                encode_response_chunks(&only_api_versions(), 0, frame.correlation_id)
                    .map_err(|error| Ended::Answer { api: frame.api, version: 0, error })?
            }
            Admitted::Request(request) => {
                self.edge.telemetry.requests.api(frame.api).received(frame.version);
                let response = match *request {
                    AnyRequest::SaslHandshake(request) => {
                        let agreed = self.authentication.handshake(&request, frame.version);
                        AnyResponse::SaslHandshake(agreed.map_err(Ended::Write)?)
                    }
                    AnyRequest::SaslAuthenticate(request) => {
                        let (response, why) = self.authenticate(&request);
                        refused = why;
                        AnyResponse::SaslAuthenticate(response)
                    }
                    request => self.answer(&frame, request).await?,
                };
                self.edge.telemetry.requests.answered(&response);
                encode_response_chunks(&response, frame.version, frame.correlation_id).map_err(
                    |error| Ended::Answer { api: frame.api, version: frame.version, error },
                )?
            }
        };
        if refused.is_some() {
            // Guessing is slow.
            tokio::time::sleep(self.authentication.failure_delay()).await;
        }
        self.write(chunks).await?;
        if let Some(why) = refused {
            return Err(Ended::Authentication(why));
        }
        let now = self.edge.clock.time();
        let total = &self.edge.telemetry.requests.api(frame.api).total;
        total.record(since_start(now), now.since(received));
        Ok(())
    }

    /// Takes a token, and lets in whoever is authenticated by it. With why not, if refused.
    fn authenticate(
        &mut self,
        request: &SaslAuthenticateRequest,
    ) -> (SaslAuthenticateResponse, Option<String>) {
        let now = self.edge.clock.time();
        // Keys may have to be fetched, and passwords be hashed thousands of times.
        let taken = tokio::task::block_in_place(|| self.authentication.authenticate(request, now));
        if self.authentication.principal().is_some() {
            self.reader.set_limit(self.edge.limits.request_max_bytes);
        }
        (taken.response, taken.refused)
    }

    /// A token without a header, as after a SaslHandshake of version 0.
    async fn bare_token(&mut self, frame: Bytes) -> Result<(), Ended> {
        let request = SaslAuthenticateRequest { auth_bytes: frame, ..Default::default() };
        let (response, refused) = self.authenticate(&request);
        match refused {
            // There is no place for a message: the end of the connection is the answer.
            Some(why) => {
                tokio::time::sleep(self.authentication.failure_delay()).await;
                Err(Ended::Authentication(why))
            }
            None => self.write(vec![response.auth_bytes]).await,
        }
    }

    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), Ended> {
        let idle = self.edge.limits.max_idle;
        or_idle(idle, write_frame(&mut self.stream, chunks)).await?.map_err(Ended::Write)
    }

    async fn answer(
        &mut self,
        frame: &RequestFrame,
        request: AnyRequest,
    ) -> Result<AnyResponse, Ended> {
        let context = RequestContext {
            api_version: frame.version,
            principal: self
                .authentication
                .principal()
                .cloned()
                .unwrap_or_else(Principal::anonymous),
            client_id: frame.client_id.as_deref().map(Str::from),
            client_address: self.from.ip().to_canonical(),
            listener: self.listener.clone(),
            forwarded: false,
            envelope_sender: None,
            received_at: self.edge.clock.time(),
        };
        let AnyRequest::Envelope(request) = request else {
            return self.ask(frame, context, request).await;
        };
        let response = match envelope::unwrap(&request, &context) {
            Ok(inner) => {
                let response = self.ask(&inner.frame, inner.context, inner.request).await?;
                envelope::wrap(&inner.frame, &response)
            }
            Err((error, why)) => {
                let from = self.from;
                self.edge.quiet.warn(format_args!("refused an envelope from {from}: {why}"));
                envelope::refusal(error)
            }
        };
        Ok(AnyResponse::Envelope(response))
    }

    /// Asks the core. `frame` is that of the request itself, not of an envelope around it.
    async fn ask(
        &mut self,
        frame: &RequestFrame,
        context: RequestContext,
        request: AnyRequest,
    ) -> Result<AnyResponse, Ended> {
        let reply = match self.edge.audit.begin(frame, &context, &request) {
            Some(noted) if noted.is_change() => {
                self.ask_to_the_end(noted, context, request).await?
            }
            noted => {
                let reply = self.ask_core(context, request).await?;
                if let Some(noted) = noted {
                    let now = self.edge.clock.now();
                    self.edge.audit.end(noted, Some(&reply), now.wall_ms).await;
                }
                reply
            }
        };
        source::complete(&self.edge.source, reply).await.map_err(Ended::Write)
    }

    /// Asks for a change, whose end is written down also if the client goes away before it.
    async fn ask_to_the_end(
        &mut self,
        noted: Box<Pending>,
        context: RequestContext,
        request: AnyRequest,
    ) -> Result<Reply, Ended> {
        let asked = self.edge.core.request(context, request).await;
        let (_token, answer) = asked.map_err(|_| Ended::Stopping)?;
        let edge = self.edge.clone();
        let noting = tokio::spawn(async move {
            let reply = answer.await.ok();
            edge.audit.end(noted, reply.as_ref(), edge.clock.now().wall_ms).await;
            reply
        });
        tokio::select! {
            reply = noting => reply.ok().flatten().ok_or(Ended::Stopping),
            error = self.reader.watch_for_close(&mut self.stream) => Err(error.into()),
        }
    }

    /// Asks the core, and tells it if the client goes away before the answer comes.
    async fn ask_core(
        &mut self,
        context: RequestContext,
        request: AnyRequest,
    ) -> Result<Reply, Ended> {
        let (token, answer) =
            self.edge.core.request(context, request).await.map_err(|_| Ended::Stopping)?;
        let mut cancel = CancelOnDrop { edge: &self.edge, token: Some(token) };
        let reply: Result<Reply, oneshot::error::RecvError> = tokio::select! {
            reply = answer => reply,
            error = self.reader.watch_for_close(&mut self.stream) => return Err(error.into()),
        };
        cancel.token = None;
        drop(cancel);
        reply.map_err(|_| Ended::Stopping)
    }
}

/// However a wait for an answer ends (closed, panicked, cancelled), the core learns that nobody waits.
struct CancelOnDrop<'a> {
    edge: &'a Edge,
    token: Option<Token>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.edge.core.tell(Event::Cancelled { token });
        }
    }
}

async fn or_idle<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Ended> {
    let idle = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => pending().await,
        }
    };
    tokio::select! {
        done = work => Ok(done),
        () = idle => Err(Ended::Idle),
    }
}

/// A frame that may be answered.
enum Admitted {
    /// To be decided by the core.
    Request(Box<AnyRequest>),
    /// ApiVersions of a version from the future (KIP-511): its body cannot be read, and the answer
    /// is one that every client can read.
    UnknownApiVersions,
}

fn check(frame: &RequestFrame) -> Result<Admitted, Ended> {
    let (api, version) = (frame.api, frame.version);
    if !api.is_on_controller_listener() {
        return Err(Ended::NotServed(api));
    }
    if !api.versions().contains(&version) {
        return match api {
            ApiKey::ApiVersions => Ok(Admitted::UnknownApiVersions),
            _ => Err(Ended::Version { api, version }),
        };
    }
    let request = frame.decode_body().map_err(|error| Ended::Body { api, version, error })?;
    Ok(Admitted::Request(Box::new(request)))
}

fn only_api_versions() -> AnyResponse {
    let versions = ApiKey::ApiVersions.versions();
    AnyResponse::ApiVersions(ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion {
            api_key: ApiKey::ApiVersions.id(),
            min_version: *versions.start(),
            max_version: *versions.end(),
            ..Default::default()
        }],
        ..Default::default()
    })
}
