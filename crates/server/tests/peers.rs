//! Requests to other controllers: each has exactly one outcome, and a dead process is noticed.

mod support;

use quorate_node::{Event, PeerAddress, RpcFailure};
use quorate_protocol::messages::{CreateTopicsRequest, FetchRequest, VoteRequest};
use quorate_protocol::{AnyRequest, AnyResponse};
use quorate_server::driver::clock::Clock;
use quorate_server::driver::queue::{CoreInbox, Input};
use quorate_server::net::peer::Peers;
use quorate_server::net::security::Outgoing;
use quorate_server::telemetry::Telemetry;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use support::{DEADLINE, TestEdge, limits, silent_core};
use tokio::runtime::Runtime;

struct Sender {
    peers: Peers,
    inbox: CoreInbox,
    _runtime: Runtime,
}

fn sender() -> Sender {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (queue, inbox) = silent_core();
    let handle = runtime.handle().clone();
    let telemetry = Telemetry::new(Clock::start());
    let peers = Peers::new(
        handle,
        queue,
        "quorate-1".to_owned(),
        Duration::from_secs(5),
        100 << 20,
        telemetry,
        Outgoing::plaintext(),
    );
    Sender { peers, inbox, _runtime: runtime }
}

impl Sender {
    fn send(&self, rpc: u64, to: SocketAddr, request: AnyRequest) {
        let to = PeerAddress { node: Some(2), host: to.ip().to_string(), port: to.port() };
        self.peers.send(rpc, to, request, DEADLINE);
    }

    fn next(&self) -> Event {
        match self.inbox.wait(Some(Instant::now() + DEADLINE)).map(|queued| queued.input) {
            Some(Input::Event(event)) => *event,
            _ => panic!("expected an event"),
        }
    }

    fn expect_answer(&self, expected: u64) -> AnyResponse {
        match self.next() {
            Event::PeerAnswered { rpc, result: Ok(response) } if rpc == expected => response,
            other => panic!("expected the answer to {expected}, got {other:?}"),
        }
    }

    fn expect_failure(&self, expected: u64, failure: RpcFailure) {
        match self.next() {
            Event::PeerAnswered { rpc, result: Err(found) } => {
                assert_eq!((rpc, found), (expected, failure));
            }
            other => panic!("expected a failure of {expected}, got {other:?}"),
        }
    }
}

fn vote() -> AnyRequest {
    AnyRequest::Vote(VoteRequest::default())
}

fn fetch() -> AnyRequest {
    AnyRequest::Fetch(FetchRequest::default())
}

#[test]
fn a_vote_does_not_wait_behind_a_parked_fetch() {
    let (edge, sender) = (TestEdge::start(limits()), sender());
    sender.send(1, edge.address, fetch());
    edge.wait_until("the fetch is parked", || edge.parked() == 1);
    for rpc in 2..6 {
        sender.send(rpc, edge.address, vote());
        assert!(matches!(sender.expect_answer(rpc), AnyResponse::Vote(_)));
    }
    edge.answer_parked();
    assert!(matches!(sender.expect_answer(1), AnyResponse::Fetch(_)));
    assert_eq!(edge.open_connections(), 2, "free connections are used again");
}

#[test]
fn a_refused_connection_says_that_the_process_is_gone() {
    let sender = sender();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    sender.send(1, address, vote());
    sender.expect_failure(1, RpcFailure::Refused);
    assert!(matches!(sender.next(), Event::PeerDown { node: 2 }));
}

#[test]
fn a_connection_lost_with_a_request_in_flight_says_so() {
    let (edge, sender) = (TestEdge::start(limits()), sender());
    sender.send(1, edge.address, fetch());
    edge.wait_until("the fetch is parked", || edge.parked() == 1);
    drop(edge);
    sender.expect_failure(1, RpcFailure::Disconnected);
    assert!(matches!(sender.next(), Event::PeerDown { node: 2 }));
}

#[test]
fn a_free_connection_that_the_peer_closed_is_not_taken_for_a_dead_peer() {
    let sender = sender();
    let mut short = limits();
    short.max_idle = Some(Duration::from_millis(100));
    let edge = TestEdge::start(short);
    sender.send(1, edge.address, vote());
    sender.expect_answer(1);
    edge.wait_until("the peer closed the idle connection", || edge.open_connections() == 0);
    sender.send(2, edge.address, vote());
    sender.expect_answer(2);
}

#[test]
fn a_name_that_does_not_resolve_is_not_a_dead_peer() {
    let sender = sender();
    let to = PeerAddress { node: Some(2), host: "no-such-host.invalid".to_owned(), port: 1 };
    sender.peers.send(1, to, vote(), DEADLINE);
    sender.expect_failure(1, RpcFailure::Refused);
    assert!(sender.inbox.take().is_none());
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let (edge, sender) = (TestEdge::start(limits()), sender());
    let address = edge.address;
    let to = PeerAddress { node: Some(2), host: address.ip().to_string(), port: address.port() };
    sender.peers.send(1, to, fetch(), Duration::from_millis(300));
    sender.expect_failure(1, RpcFailure::Timeout);
    edge.wait_until("its connection is closed", || edge.open_connections() == 0);
}

#[test]
fn a_request_that_the_peer_cannot_be_asked_is_an_unsupported_version() {
    let (edge, sender) = (TestEdge::start(limits()), sender());
    // Produce and its like are no APIs of a controller, so no version is offered.
    sender.send(1, edge.address, AnyRequest::Produce(Default::default()));
    sender.expect_failure(1, RpcFailure::UnsupportedVersion);
    sender.send(2, edge.address, AnyRequest::CreateTopics(CreateTopicsRequest::default()));
    sender.expect_answer(2);
}
