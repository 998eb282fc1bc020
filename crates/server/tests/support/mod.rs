//! A listener with a core that answers by rote, and a client that can misbehave.
#![allow(dead_code)]

use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_node::{Event, PeerAddress, RpcFailure};
use quorate_protocol::header::{decode_response, encode_request};
use quorate_protocol::messages::api_versions_response::ApiVersion;
use quorate_protocol::messages::{
    ApiVersionsResponse, CreateTopicsResponse, DeleteTopicsResponse, FetchResponse,
    FetchSnapshotResponse, VoteRequest, VoteResponse,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, controller_listener_apis};
use quorate_server::config::NetworkConfig;
use quorate_server::config::address::Listener;
use quorate_server::driver::clock::Clock;
use quorate_server::driver::queue::{CoreInbox, CoreQueue, Fill, Input, Reply, core_queue};
use quorate_server::driver::source::LogSource;
use quorate_server::net::peer::Peers;
use quorate_server::net::security::Security;
use quorate_server::net::{Edge, accept};
use quorate_server::telemetry::Telemetry;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Long enough for a loaded machine; reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Kafka's limits.
pub fn limits() -> NetworkConfig {
    NetworkConfig {
        request_max_bytes: 100 << 20,
        listen_backlog: 50,
        max_idle: None,
        max_connections: usize::MAX,
        max_connections_per_ip: usize::MAX,
        connect_timeout: Duration::from_secs(5),
    }
}

/// What the rote core does and has seen.
#[derive(Default)]
struct Rote {
    parked: Mutex<Vec<oneshot::Sender<Reply>>>,
    cancelled: AtomicU64,
    fill_fetches: AtomicBool,
    cut_before_reads: AtomicBool,
    snapshot_position: AtomicU64,
    principals: Mutex<Vec<String>>,
}

/// A log of one batch and a snapshot of four bytes.
struct RoteSource(Arc<Rote>);

impl LogSource for RoteSource {
    fn read_log(&self, _: Offset, _: Offset, _: u32) -> io::Result<Bytes> {
        Ok(Bytes::from_static(b"batches"))
    }

    fn read_snapshot(
        &self,
        _: OffsetAndEpoch,
        position: u64,
        _: u32,
    ) -> io::Result<Option<(Bytes, u64)>> {
        let bytes = Bytes::from_static(b"snap");
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Some((bytes.slice(from..), 4)))
    }

    fn generation(&self) -> u64 {
        u64::from(self.0.cut_before_reads.load(Ordering::SeqCst))
    }
}

/// A listener on a port of the system's choice.
pub struct TestEdge {
    /// Where it listens.
    pub address: SocketAddr,
    edge: Arc<Edge>,
    rote: Arc<Rote>,
    _runtime: Runtime,
}

impl TestEdge {
    /// Starts listening.
    pub fn start(limits: NetworkConfig) -> TestEdge {
        TestEdge::start_guarded(limits, Security::none())
    }

    /// Starts listening, with security for the listener CONTROLLER.
    pub fn start_guarded(limits: NetworkConfig, security: Security) -> TestEdge {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let rote = Arc::new(Rote::default());
        let (queue, inbox) = core_queue();
        let answering = rote.clone();
        std::thread::spawn(move || answer_by_rote(&inbox, &answering));
        let source = Arc::new(RoteSource(rote.clone()));
        let edge = Arc::new(
            Edge::new(queue, source, Clock::start(), limits).guarded_by(Arc::new(security)),
        );
        let listener = Listener { name: "CONTROLLER".into(), host: "127.0.0.1".into(), port: 0 };
        let bound = runtime.block_on(accept::bind(&listener, 50)).expect("a port");
        let address = bound.address;
        runtime.spawn(accept::accept(edge.clone(), bound));
        TestEdge { address, edge, rote, _runtime: runtime }
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("the port accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Client { stream }
    }

    /// Waits for a condition; panics naming it when it does not come.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::yield_now();
        }
    }

    /// Who asked for something other than versions, in order.
    pub fn principals(&self) -> Vec<String> {
        self.rote.principals.lock().unwrap().clone()
    }

    pub fn open_connections(&self) -> usize {
        self.edge.open_connections()
    }

    /// Connections that ended, by reason.
    pub fn ended(&self, reason: &str) -> u64 {
        self.edge.telemetry.connections.ended.get().get(reason).copied().unwrap_or(0)
    }

    /// The listener's security.
    pub fn security(&self) -> &Security {
        &self.edge.security
    }

    pub fn parked(&self) -> usize {
        self.rote.parked.lock().unwrap().len()
    }

    pub fn cancelled(&self) -> u64 {
        self.rote.cancelled.load(Ordering::SeqCst)
    }

    pub fn answer_parked(&self) {
        for reply in self.rote.parked.lock().unwrap().drain(..) {
            let response = AnyResponse::Fetch(FetchResponse::default());
            let _ = reply.send(Reply { response, fill: Fill::Nothing, written: None });
        }
    }

    pub fn fill_fetches(&self) {
        self.rote.fill_fetches.store(true, Ordering::SeqCst);
    }

    pub fn cut_log_before_reads(&self) {
        self.rote.cut_before_reads.store(true, Ordering::SeqCst);
    }

    pub fn set_snapshot_position(&self, position: u64) {
        self.rote.snapshot_position.store(position, Ordering::SeqCst);
    }
}

fn answer_by_rote(inbox: &CoreInbox, rote: &Rote) {
    while let Some(queued) = inbox.wait(None) {
        match queued.input {
            Input::Request(request) => answer(*request, rote),
            Input::Event(event) => {
                if let Event::Cancelled { .. } = *event {
                    rote.cancelled.fetch_add(1, Ordering::SeqCst);
                }
            }
            Input::Failed(failure) => panic!("{failure:?}"),
        }
    }
}

fn answer(request: quorate_server::driver::queue::Request, rote: &Rote) {
    let mut fill = Fill::Nothing;
    if request.request.api_key() != ApiKey::ApiVersions {
        rote.principals.lock().unwrap().push(request.context.principal.to_string());
    }
    let response = match request.request {
        AnyRequest::ApiVersions(_) => AnyResponse::ApiVersions(ApiVersionsResponse {
            api_keys: controller_listener_apis()
                .iter()
                .map(|&(api, min_version, max_version)| ApiVersion {
                    api_key: api.id(),
                    min_version,
                    max_version,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        AnyRequest::CreateTopics(_) => AnyResponse::CreateTopics(CreateTopicsResponse::default()),
        AnyRequest::DeleteTopics(_) => {
            let mut response = DeleteTopicsResponse::default();
            response.responses.push(Default::default());
            response.responses[0].error_code = ErrorCode::NotController.code();
            AnyResponse::DeleteTopics(response)
        }
        AnyRequest::Vote(_) => AnyResponse::Vote(VoteResponse::default()),
        AnyRequest::Fetch(_) if rote.fill_fetches.load(Ordering::SeqCst) => {
            fill = Fill::Log { from: 0, end: 9, max_bytes: 100, generation: 0 };
            let mut response = FetchResponse::default();
            response.responses.push(Default::default());
            response.responses[0].partitions.push(Default::default());
            AnyResponse::Fetch(response)
        }
        AnyRequest::Fetch(_) => {
            rote.parked.lock().unwrap().push(request.reply);
            return;
        }
        AnyRequest::FetchSnapshot(_) => {
            let position = rote.snapshot_position.load(Ordering::SeqCst);
            fill = Fill::Snapshot { id: OffsetAndEpoch::default(), position, max_bytes: 10 };
            let mut response = FetchSnapshotResponse::default();
            response.topics.push(Default::default());
            response.topics[0].partitions.push(Default::default());
            AnyResponse::FetchSnapshot(response)
        }
        other => panic!("the rote core was asked {}", other.api_key()),
    };
    let _ = request.reply.send(Reply { response, fill, written: None });
}

/// A client that can misbehave.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn send(&mut self, request: &AnyRequest, version: i16, correlation_id: i32) {
        let frame = encode_request(request, version, correlation_id, Some("test".into())).unwrap();
        self.send_frame(&frame);
    }

    pub fn send_frame(&mut self, frame: &[u8]) {
        let mut bytes = i32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(frame);
        self.send_raw(&bytes);
    }

    /// The server may have closed already; that is for the reads to find out.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn receive(&mut self, api: ApiKey, version: i16) -> (i32, AnyResponse) {
        let frame = self.receive_frame();
        decode_response(api, version, Bytes::from(frame)).expect("a readable answer")
    }

    /// The next frame, whatever it is.
    pub fn receive_frame(&mut self) -> Vec<u8> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).expect("an answer");
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(prefix)).unwrap()];
        self.stream.read_exact(&mut frame).expect("a whole answer");
        frame
    }

    pub fn is_closed_by_server(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// The queue of a core that nobody reads, for tests of what is sent into it.
pub fn silent_core() -> (CoreQueue, CoreInbox) {
    core_queue()
}

/// Asks for a vote, as another controller would, and says how that ended.
pub fn vote(edge: &TestEdge, host: &str, client: &Security) -> Result<AnyResponse, RpcFailure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (queue, inbox) = silent_core();
    let peers = Peers::new(
        runtime.handle().clone(),
        queue,
        "quorate-2".to_owned(),
        Duration::from_secs(5),
        100 << 20,
        Telemetry::new(Clock::start()),
        client.outgoing.clone(),
    );
    let to = PeerAddress { node: Some(1), host: host.to_owned(), port: edge.address.port() };
    peers.send(1, to, AnyRequest::Vote(VoteRequest::default()), DEADLINE);
    match inbox.wait(Some(Instant::now() + DEADLINE)).map(|queued| queued.input) {
        Some(Input::Event(event)) => match *event {
            Event::PeerAnswered { result, .. } => result,
            other => panic!("unexpected {other:?}"),
        },
        _ => panic!("no answer"),
    }
}
