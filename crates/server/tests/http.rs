//! The HTTP listener: what it answers, to whom it does not listen, and that the page of metrics is one
//! that Prometheus reads.

mod prometheus;

use prometheus::Page;
use quorate_base::{Epoch, Now, OffsetAndEpoch, ReplicaKey, Time, Uuid};
use quorate_metadata::Image;
use quorate_node::{QuorumView, Status};
use quorate_raft::{Following, Member, Role};
use quorate_server::config::address::Listener;
use quorate_server::driver::clock::Clock;
use quorate_server::driver::core::Published;
use quorate_server::driver::meter::CoreView;
use quorate_server::driver::queue::core_queue;
use quorate_server::http::board::{Board, Identity, Windows};
use quorate_server::http::health::{self, Signs};
use quorate_server::http::{self, HttpLimits};
use quorate_server::metrics::dialect::Dialect;
use quorate_server::metrics::{self, reference};
use quorate_server::telemetry::Telemetry;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(20);
const LATELY: Duration = Duration::from_secs(2);

/// A node in step, as seen at `at`.
fn view(role: Role, name: &'static str, at: Now) -> CoreView {
    let follows = role == Role::Follower;
    let member = |id: i32| Member {
        key: ReplicaKey { id, directory_id: Some(Uuid::ZERO) },
        listeners: Vec::new(),
        log_end: Some(100),
        last_fetch: (id != 1).then_some(at.time),
        last_fetch_ms: (id != 1).then_some(at.wall_ms),
        last_caught_up_ms: (id != 1).then_some(at.wall_ms),
    };
    let epoch: Epoch = 7;
    CoreView {
        at,
        node: QuorumView {
            status: Status {
                role: name,
                epoch,
                leader: Some(if follows { 2 } else { 1 }),
                active: role == Role::Leader,
                high_watermark: Some(100),
                applied: 100,
                log_end: 100,
            },
            quorum: quorate_raft::QuorumView {
                role,
                is_voter: true,
                epoch,
                voted: None,
                leader: Some(1),
                voters: (1..=3).map(member).collect(),
                observers: Vec::new(),
                kraft_version: 1,
                voter_change: (!follows).then_some(false),
                log_start: 0,
                log_end: OffsetAndEpoch { offset: 100, epoch },
                persisted: 100,
                high_watermark: Some(100),
                latest_snapshot: None,
                following: follows.then_some(Following {
                    leader: 2,
                    last_fetch: Some(at.time),
                    leader_high_watermark: Some(100),
                    download: None,
                }),
                fetch_timeout: LATELY,
            },
            applied_timestamp_ms: at.wall_ms,
            snapshot: OffsetAndEpoch::default(),
            writing_snapshot: false,
            next_timeout: Some((at.time + LATELY, "the leader is silent")),
        },
        caught_up: Some(at.time),
        unsynced_since: None,
    }
}

fn at(millis: u64) -> Now {
    Now { time: Time::from_millis(millis), wall_ms: 1_700_000_000_000 + millis as i64 }
}

/// The verdict, `later` after a view that the core thread has kept alive.
fn verdict(view: &CoreView, later: u64) -> Result<(), String> {
    let now = at(10_000 + later);
    health::ready(&Signs { view: Some(view), heartbeat: Some(now.time), stopping: false, now })
}

#[test]
fn a_leader_is_ready_once_it_decides() {
    let mut leader = view(Role::Leader, "leader", at(10_000));
    assert_eq!(verdict(&leader, 0), Ok(()));
    leader.node.status.active = false;
    let why = verdict(&leader, 0).unwrap_err();
    assert!(why.contains("does not decide yet") && why.contains("epoch 7"), "{why}");
    for (role, name, hint) in [
        (Role::Resigned, "resigned", "resigned"),
        (Role::Unattached, "unattached", "no leader"),
        (Role::Prospective, "prospective", "asks for votes"),
        (Role::Candidate, "candidate", "asks for votes"),
    ] {
        let why = verdict(&view(role, name, at(10_000)), 0).unwrap_err();
        assert!(why.contains(hint), "{name}: {why}");
    }
}

#[test]
fn a_follower_is_ready_while_it_fetches_and_keeps_up() {
    let follower = view(Role::Follower, "follower", at(10_000));
    assert_eq!(verdict(&follower, 2_000), Ok(()));
    let why = verdict(&follower, 2_001).unwrap_err();
    assert!(why.contains("leader 2 was 2001 ms ago"), "{why}");

    let mut behind = follower.clone();
    behind.caught_up = None;
    behind.node.quorum.following.as_mut().unwrap().leader_high_watermark = Some(5000);
    let why = verdict(&behind, 0).unwrap_err();
    assert!(why.contains("applied up to 100") && why.contains("high watermark 5000"), "{why}");

    let mut downloading = follower.clone();
    let id = OffsetAndEpoch { offset: 90, epoch: 3 };
    downloading.node.quorum.following.as_mut().unwrap().download = Some((id, 4096));
    assert!(verdict(&downloading, 0).unwrap_err().contains("4096 bytes so far"));

    let mut new = follower;
    new.node.quorum.following.as_mut().unwrap().last_fetch = None;
    assert!(verdict(&new, 0).unwrap_err().contains("has not fetched from leader 2 yet"));
}

#[test]
fn a_stuck_core_or_disk_is_not_ready_and_later_not_alive() {
    let leader = view(Role::Leader, "leader", at(10_000));
    let signs = |now, heartbeat, stopping| Signs { view: Some(&leader), heartbeat, stopping, now };
    let beat = Some(at(10_000).time);
    assert_eq!(health::ready(&signs(at(12_000), beat, false)), Ok(()));
    let why = health::ready(&signs(at(12_001), beat, false)).unwrap_err();
    assert!(why.contains("core thread has not moved for 2001 ms"), "{why}");
    assert_eq!(health::alive(&signs(at(20_000), beat, false)), Ok(()));
    assert!(health::alive(&signs(at(20_001), beat, false)).unwrap_err().contains("10 s"));
    assert!(health::ready(&signs(at(10_000), beat, true)).unwrap_err().contains("told to stop"));
    // Before the core thread runs, the process is alive and of no use.
    let starting = Signs { view: None, heartbeat: None, stopping: false, now: at(90_000) };
    assert_eq!(health::alive(&starting), Ok(()));
    assert!(health::ready(&starting).unwrap_err().contains("starting"));

    let mut slow_disk = view(Role::Leader, "leader", at(30_000));
    slow_disk.unsynced_since = Some(at(15_000).time);
    let now = at(30_000);
    let signs = Signs { view: Some(&slow_disk), heartbeat: Some(now.time), stopping: false, now };
    assert!(health::ready(&signs).unwrap_err().contains("disk has not synced an append for 15 s"));
}

#[test]
fn the_leader_knows_who_may_stop() {
    let mut leader = view(Role::Leader, "leader", at(10_000));
    let may_stop = |view: &CoreView| {
        let all = health::standbys(view, 1, view.at).expect("a leader");
        (all.iter().map(|it| it.may_stop).collect::<Vec<_>>(), health::spare(&all))
    };
    assert_eq!(may_stop(&leader), (vec![true, true, true], 1));
    // Voter 3 was last heard of too long ago: nobody else may stop, but it may.
    leader.node.quorum.voters[2].last_fetch = Some(at(7_000).time);
    assert_eq!(may_stop(&leader), (vec![false, false, true], 0));
    // It fetches, but has been behind for long.
    leader.node.quorum.voters[2].last_fetch = Some(at(10_000).time);
    leader.node.quorum.voters[2].log_end = Some(50);
    leader.node.quorum.voters[2].last_caught_up_ms = Some(at(7_000).wall_ms);
    assert_eq!(may_stop(&leader), (vec![false, false, true], 0));
    // A moment behind is in step.
    leader.node.quorum.voters[2].last_caught_up_ms = Some(at(9_000).wall_ms);
    assert_eq!(may_stop(&leader), (vec![true, true, true], 1));
    leader.node.quorum.voters.truncate(1);
    assert_eq!(may_stop(&leader), (vec![false], 0));
    let follower = view(Role::Follower, "follower", at(10_000));
    assert_eq!(health::standbys(&follower, 1, at(10_000)), None);
}

/// A listener over a board whose windows the test holds.
struct TestHttp {
    address: SocketAddr,
    board: Arc<Board>,
    views: watch::Sender<Option<Arc<CoreView>>>,
    _published: watch::Sender<Published>,
    _runtime: Runtime,
}

impl TestHttp {
    fn start(limits: HttpLimits, dialects: &[Dialect]) -> TestHttp {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let telemetry = Telemetry::new(Clock::start());
        let (views, views_seen) = watch::channel(None);
        let (published, published_seen) =
            watch::channel(Published { image: Image::empty(), offset: 9 });
        let (queue, _inbox) = core_queue();
        let identity = Identity {
            node_id: 1,
            cluster_id: "cluster-A".to_owned(),
            directory_id: Uuid::ZERO,
            listeners: Vec::new(),
            has_static_voters: false,
        };
        let windows =
            Windows { views: views_seen, published: published_seen, waiting: queue.waiting() };
        let board = Arc::new(Board::new(identity, telemetry, dialects.to_vec(), windows));
        let listener = Listener { name: "HTTP".into(), host: "127.0.0.1".into(), port: 0 };
        let bound = runtime.block_on(http::bind(&listener)).expect("a port");
        let address = bound.address;
        runtime.spawn(http::serve(bound, board.clone(), limits));
        TestHttp { address, board, views, _published: published, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the port accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream
    }

    /// Sends bytes and reads until the server closes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("the server reads");
        let mut out = String::new();
        let _ = stream.read_to_string(&mut out);
        out
    }

    fn get(&self, path: &str) -> (u16, String) {
        let text = self.raw(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn show(&self, view: CoreView) {
        self.board.telemetry.core.beat(self.board.now().time);
        self.views.send_replace(Some(Arc::new(view)));
    }
}

#[test]
fn health_and_status_follow_the_view() {
    let http = TestHttp::start(HttpLimits::default(), &[Dialect::Strimzi]);
    assert_eq!(http.get("/livez"), (200, "ok\n".to_owned()));
    let (status, why) = http.get("/readyz");
    assert!(status == 503 && why.contains("starting"), "{why}");
    http.show(view(Role::Leader, "leader", http.board.now()));
    assert_eq!(http.get("/readyz").0, 200);
    let status: serde_json::Value = serde_json::from_str(&http.get("/status?hash=1").1).unwrap();
    assert_eq!(status["cluster_id"], "cluster-A");
    assert_eq!(status["ready"], true);
    assert_eq!(status["voters"].as_array().unwrap().len(), 3);
    assert_eq!(status["voters"][1]["in_step"], true);
    assert_eq!(status["may_stop"]["answer"], true);
    assert_eq!(status["quorum"]["spare"], 1);
    let (code, why) = http.get("/stoppable");
    assert_eq!(
        (code, why.as_str()),
        (200, "yes: 3 of 3 voters are in step, 2 without node 1; a majority is 2\n")
    );
    assert_eq!(http.get("/stoppable?node=3").0, 200);
    assert_eq!(
        http.get("/stoppable?node=4"),
        (503, "4 is no voter; those are 1, 2, 3\n".to_owned())
    );
    assert_eq!(http.get("/stoppable?node=x").0, 400);
    assert_eq!(status["waits_for"]["what"], "the leader is silent");
    assert_eq!(status["image_hash"]["offset"], 9);
    let hash = format!("{:016x}", Image::empty().content_hash());
    assert_eq!(status["image_hash"]["hash"], hash.as_str());
    http.show(view(Role::Follower, "follower", http.board.now()));
    let status: serde_json::Value = serde_json::from_str(&http.get("/status").1).unwrap();
    assert_eq!(status["may_stop"]["answer"], serde_json::Value::Null);
    assert!(status["may_stop"]["why"].as_str().unwrap().contains("ask node 1"), "{status}");
    let (code, why) = http.get("/stoppable");
    assert!(code == 503 && why.contains("ask node 1"), "{why}");
    let mut lonely = view(Role::Leader, "leader", http.board.now());
    lonely.node.quorum.voters[2].last_fetch = None;
    http.show(lonely);
    let (code, why) = http.get("/stoppable");
    assert_eq!(
        (code, why.as_str()),
        (503, "no: 2 of 3 voters are in step, 1 without node 1; a majority is 2\n")
    );
    assert_eq!(http.get("/stoppable?node=3").0, 200);
    assert_eq!(status.get("image_hash"), None);
    http.show(view(Role::Candidate, "candidate", http.board.now()));
    let (code, why) = http.get("/readyz");
    assert!(code == 503 && why.contains("asks for votes in epoch 7"), "{why}");
    http.board.telemetry.stop();
    assert!(http.get("/readyz").1.contains("told to stop"));
    assert_eq!(http.get("/nothing").0, 404);
}

#[test]
fn one_connection_serves_several_requests_also_sent_at_once() {
    let http = TestHttp::start(HttpLimits::default(), &[Dialect::Strimzi]);
    let two =
        "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n";
    let text = http.raw(two.as_bytes());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    assert_eq!(text.matches("HTTP/1.1 404 Not Found").count(), 1, "{text}");
    assert!(text.contains("Connection: keep-alive") && text.contains("Connection: close"));
}

#[test]
fn hostile_input_is_refused_and_ends_its_connection_only() {
    let http = TestHttp::start(HttpLimits::default(), &[Dialect::Strimzi]);
    let endless = vec![b'x'; 100_000];
    let many_fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (bytes, expected) in [
        (&b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"[..], "405"),
        (b"HEAD / HTTP/1.1\r\n\r\n", "405"),
        (b"GET / HTTP/3.0\r\n\r\n", "505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "400"),
        (b"\0\0\0\x12\0\x12\0\x03\0\0\0\x01", "400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "413"),
        (&endless, "414"),
        (many_fields.as_bytes(), "431"),
    ] {
        let text = http.raw(bytes);
        assert!(text.starts_with(&format!("HTTP/1.1 {expected} ")), "{expected}: {text:?}");
        assert!(text.contains("Connection: close"));
    }
    assert!(http.raw(b"DELETE / HTTP/1.1\r\n\r\n").contains("Allow: GET"));
    assert_eq!(http.get("/livez").0, 200);
}

#[test]
fn slow_clients_and_too_many_of_them_are_dropped() {
    let limits =
        HttpLimits { connections: 2, head: Duration::from_millis(300), ..HttpLimits::default() };
    let http = TestHttp::start(limits, &[Dialect::Strimzi]);
    let mut slow = http.connect();
    let mut silent = http.connect();
    // Both places are taken once the listener has accepted both.
    slow.write_all(b"GET /livez HT").unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut third = http.connect();
        let _ = third.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
        let mut out = String::new();
        let _ = third.read_to_string(&mut out);
        if out.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "no connection was ever refused");
        // The first two were dropped before this one came: take their places again.
        (slow, silent) = (http.connect(), http.connect());
    }
    // Neither a byte now and then nor silence keeps a connection beyond its time.
    for stream in [&mut slow, &mut silent] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    let deadline = Instant::now() + DEADLINE;
    while !http.raw(b"GET /livez HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the listener never took anybody again");
    }
}

#[test]
fn the_page_of_metrics_is_well_formed_in_every_mix_of_dialects() {
    for mix in 0..16u32 {
        let chosen = Dialect::ALL.into_iter().enumerate();
        let dialects: Vec<Dialect> =
            chosen.filter(|(at, _)| mix & (1 << at) != 0).map(|(_, it)| it).collect();
        let http = TestHttp::start(HttpLimits::default(), &dialects);
        Page::read(&http.get("/metrics").1);
        http.show(view(Role::Leader, "leader", http.board.now()));
        let telemetry = &http.board.telemetry;
        let up = telemetry.uptime();
        telemetry.fsync.record(up, Duration::from_millis(3));
        telemetry.core.queue.record(up, Duration::from_micros(70));
        let api = telemetry.requests.api(quorate_protocol::ApiKey::Fetch);
        api.received(17);
        api.total.record(up, Duration::from_millis(500));
        telemetry.connections.opened("CONTROLLER");
        telemetry.peers.answered(up, 2, quorate_protocol::ApiKey::Vote, Duration::from_millis(1));
        let page = Page::read(&http.get("/metrics").1);
        assert_eq!(page.get("quorate_quorum_spare_voters"), 1.0);
        assert_eq!(page.get("quorate_log_fsync_seconds_count"), 1.0);
        assert_eq!(page.get("quorate_log_fsync_seconds_bucket{le=\"0.004096\"}"), 1.0);
        assert_eq!(page.get("quorate_log_fsync_seconds_bucket{le=\"0.002048\"}"), 0.0);
        assert!(page.get("process_resident_memory_bytes") > 100_000.0);
        for dialect in dialects {
            check_dialect(dialect, &page);
        }
    }
}

fn check_dialect(dialect: Dialect, page: &Page) {
    let lines: &[(&str, f64)] = match dialect {
        Dialect::Strimzi => &[
            ("kafka_controller_kafkacontroller_activecontrollercount", 1.0),
            ("kafka_controller_controllerstats_uncleanleaderelections_total", 0.0),
            ("kafka_controller_controllereventmanager_eventqueuetimems_count", 1.0),
            ("kafka_server_raftmetrics_current_leader", 1.0),
            ("kafka_server_raftmetrics_current_state{current_state=\"leader\"}", 1.0),
            ("kafka_server_raftmetrics_current_epoch", 7.0),
            ("kafka_server_raftchannelmetrics_incoming_byte_total", 0.0),
            ("kafka_network_requestmetrics_requests_total{request=\"Fetch\",version=\"17\"}", 1.0),
        ],
        Dialect::Confluent => &[
            ("kafka_controller_kafkacontroller_activecontrollercount", 1.0),
            ("kafka_controller_controllerstats_uncleanleaderelectionspersec", 0.0),
            ("kafka_controller_controllereventmanager_eventqueuetimems", 1.0),
            ("kafka_server_raft_metrics_high_watermark", 100.0),
        ],
        Dialect::Reporter => &[
            ("kafka_controller_controllerstats_uncleanleaderelectionspersec_total", 0.0),
            ("kafka_controller_controllereventmanager_eventqueuetimems_count", 1.0),
            ("kafka_server_raft_metrics_current_state_info{current_state=\"leader\"}", 1.0),
            ("kafka_server_raft_channel_metrics_incoming_byte", 0.0),
        ],
        Dialect::Jvm => &[("jvm_gc_collection_seconds_sum{gc=\"none\"}", 0.0)],
    };
    for (line, value) in lines {
        assert_eq!(page.get(line), *value, "{dialect:?} {line}");
    }
    if dialect == Dialect::Strimzi {
        let p50 = "kafka_controller_controllereventmanager_eventqueuetimems{quantile=\"0.50\"}";
        assert!((0.07..0.1).contains(&page.get(p50)), "{}", page.get(p50));
    }
}

#[test]
fn every_metric_has_help_and_one_name_in_each_dialect() {
    for dialect in Dialect::ALL {
        let mut names = std::collections::BTreeSet::new();
        for metric in metrics::all() {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            if let Some((name, _)) = dialect.name_of(metric) {
                assert!(names.insert(name.clone()), "{name} twice in {dialect:?}");
            }
        }
    }
}

#[test]
fn the_reference_page_is_what_the_table_prints() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page, reference::markdown()).expect("the page can be written");
    }
    let checked_in = std::fs::read_to_string(page).expect("docs/reference/metrics.md exists");
    assert!(
        checked_in == reference::markdown(),
        "docs/reference/metrics.md is stale: run UPDATE=1 cargo test -p quorate-server --test http"
    );
}
