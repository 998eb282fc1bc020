//! One connection from outside: one request at a time, answers in order, closed at the first byte that
//! makes no sense.

use super::Edge;
use super::envelope;
use super::frame::{FrameError, FrameReader, write_frame};
use crate::driver::queue::Reply;
use crate::driver::source;
use crate::telemetry::since_start;
use bytes::Bytes;
use quorate_controller::{Principal, RequestContext};
use quorate_metadata::Str;
use quorate_node::{Event, Token};
use quorate_protocol::header::{RequestError, RequestFrame, encode_response_chunks};
use quorate_protocol::messages::ApiVersionsResponse;
use quorate_protocol::messages::api_versions_response::ApiVersion;
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, WireError};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

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

/// Serves a connection until it ends.
pub async fn serve(
    edge: Arc<Edge>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    listener: Str,
) {
    let mut connection = Connection {
        reader: FrameReader::new(edge.limits.request_max_bytes),
        edge,
        stream,
        from,
        listener,
    };
    let ended = connection.run().await;
    let counts = &connection.edge.telemetry.connections;
    counts.ended.increment(ended.reason());
    if ended.is_parser_error() {
        counts.parser_errors.increment(ended.reason());
    }
    if ended.is_worth_a_line() {
        let listener = &connection.listener;
        connection
            .edge
            .quiet
            .warn(format_args!("closed a connection from {from} on {listener}: {ended}"));
    } else {
        tracing::debug!(%from, listener = %connection.listener, %ended, "connection ended");
    }
}

struct Connection<S> {
    edge: Arc<Edge>,
    stream: S,
    reader: FrameReader,
    from: SocketAddr,
    listener: Str,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.exchange().await {
                return ended;
            }
        }
    }

    /// One request and its answer.
    async fn exchange(&mut self) -> Result<(), Ended> {
        let idle = self.edge.limits.max_idle;
        let frame = or_idle(idle, self.reader.next(&mut self.stream)).await??;
        let received = self.edge.clock.time();
        let frame = RequestFrame::decode(frame)?;
        let chunks = match check(&frame)? {
            Admitted::UnknownApiVersions => {
                encode_response_chunks(&only_api_versions(), 0, frame.correlation_id)
                    .map_err(|error| Ended::Answer { api: frame.api, version: 0, error })?
            }
            Admitted::Request(request) => {
                self.edge.telemetry.requests.api(frame.api).received(frame.version);
                let response = self.answer(&frame, *request).await?;
                self.edge.telemetry.requests.answered(&response);
                encode_response_chunks(&response, frame.version, frame.correlation_id).map_err(
                    |error| Ended::Answer { api: frame.api, version: frame.version, error },
                )?
            }
        };
        self.write(chunks).await?;
        let now = self.edge.clock.time();
        let total = &self.edge.telemetry.requests.api(frame.api).total;
        total.record(since_start(now), now.since(received));
        Ok(())
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
            principal: Principal::anonymous(),
            client_id: frame.client_id.as_deref().map(Str::from),
            client_address: self.from.ip().to_canonical(),
            listener: self.listener.clone(),
            forwarded: false,
            received_at: self.edge.clock.time(),
        };
        let AnyRequest::Envelope(request) = request else {
            return self.ask(context, request).await;
        };
        let response = match envelope::unwrap(&request, &context) {
            Ok(inner) => {
                let response = self.ask(inner.context, inner.request).await?;
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

    /// Asks the core, and tells it if the client goes away before the answer comes.
    async fn ask(
        &mut self,
        context: RequestContext,
        request: AnyRequest,
    ) -> Result<AnyResponse, Ended> {
        let (token, answer) =
            self.edge.core.request(context, request).await.map_err(|_| Ended::Stopping)?;
        let mut cancel = CancelOnDrop { edge: &self.edge, token: Some(token) };
        let reply: Result<Reply, oneshot::error::RecvError> = tokio::select! {
            reply = answer => reply,
            error = self.reader.watch_for_close(&mut self.stream) => return Err(error.into()),
        };
        cancel.token = None;
        drop(cancel);
        let reply = reply.map_err(|_| Ended::Stopping)?;
        source::complete(&self.edge.source, reply).await.map_err(Ended::Write)
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
