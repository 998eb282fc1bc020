//! Three controllers that know each other by password, which Kafka's cannot: the credentials are in the
//! log that they have to agree on.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Node, Server, http_get, quorate};

/// Long enough for a loaded machine; reached only by a failing test.
const DEADLINE: Duration = Duration::from_secs(90);

struct Controller {
    node: Node,
    http: u16,
    settings: Vec<String>,
}

fn free_ports(count: usize) -> Vec<u16> {
    let open = |_| TcpListener::bind("127.0.0.1:0").expect("a port");
    let sockets: Vec<TcpListener> = (0..count).map(open).collect();
    sockets.iter().map(|it| it.local_addr().expect("an address").port()).collect()
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    http_get(port, path, DEADLINE)
}

fn wait_for<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn format_three() -> Vec<Controller> {
    let ports = free_ports(6);
    let voters: Vec<String> =
        (1..=3).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let voters = voters.join(",");
    let make = |id: i32| {
        let node = Node::voter(id, &voters);
        let (port, http) = (ports[id as usize - 1], ports[id as usize + 2]);
        let credential = "SCRAM-SHA-512=[name=controller,password=the-secret]";
        let file = node.file();
        let format =
            ["storage", "format", "-t", "cluster-A", "-c", &file, "--add-scram", credential];
        let format = quorate(&format);
        assert_eq!(format.exit_code, 0, "{format:?}");
        let settings = [
            format!("listeners=CONTROLLER://127.0.0.1:{port}"),
            format!("quorate.http.listener=127.0.0.1:{http}"),
            "listener.security.protocol.map=CONTROLLER:SASL_PLAINTEXT".to_owned(),
            "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
            "sasl.mechanism.controller.protocol=SCRAM-SHA-512".to_owned(),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                .to_owned(),
            "super.users=User:controller".to_owned(),
        ];
        Controller { node, http, settings: settings.to_vec() }
    };
    (1..=3).map(make).collect()
}

impl Controller {
    fn start(&self, password: &str) -> Server {
        let mut settings = self.settings.clone();
        settings.push(format!(
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
             username=\"controller\" password=\"{password}\";"
        ));
        self.node.spawn(&settings)
    }

    fn await_ready(&self) {
        wait_for("it is ready", || get(self.http, "/readyz").filter(|(code, _)| *code == 200));
    }

    /// The value of a series; nothing while it is not there.
    fn metric(&self, series: &str) -> Option<f64> {
        let (_, page) = get(self.http, "/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }
}

#[test]
fn controllers_that_log_in_by_scram_elect_and_elect_again() {
    let controllers = format_three();
    let mut servers: Vec<Option<Server>> =
        controllers.iter().map(|it| Some(it.start("the-secret"))).collect();
    controllers.iter().for_each(Controller::await_ready);
    let leads = |at: &usize| controllers[*at].metric("quorate_active") == Some(1.0);
    let first = wait_for("one leads", || (0..3).find(leads));
    servers[first].take().expect("runs").signal("KILL");
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    wait_for("another one leads", || others.iter().copied().find(leads));

    // It comes back with another password: refused by the others, counted, and told in words.
    let wrong = controllers[first].start("a-guess");
    let refusals = "quorate_connections_ended_total{reason=\"authentication\"}";
    wait_for("the refusal is counted", || {
        others.iter().find(|at| controllers[**at].metric(refusals).is_some_and(|it| it >= 1.0))
    });
    assert_ne!(get(controllers[first].http, "/readyz").map(|(code, _)| code), Some(200));
    wrong.signal("TERM");
    let (_, log) = wrong.end();
    assert!(!log.contains("a-guess"), "the log shows a password: {log}");

    // With the right one it is one of them again.
    servers[first] = Some(controllers[first].start("the-secret"));
    controllers[first].await_ready();
    let leader = wait_for("one leads", || (0..3).find(leads));
    let server = servers[leader].take().expect("runs");
    server.signal("TERM");
    let (exit_code, log) = server.end();
    assert_eq!(exit_code, Some(0), "{log}");
    assert!(!log.contains("the-secret"), "the log shows a password: {log}");
}
