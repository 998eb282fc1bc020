//! `quorate quorum` as its users see it: texts and exit codes. With several nodes, and beside
//! Kafka's own tool, it is tested in `interop`.

mod support;

use support::{Node, quorate};

fn formatted() -> Node {
    let node = Node::dynamic(1);
    let file = node.file();
    let answer = quorate(&["storage", "format", "-t", "cluster-A", "-c", &file, "-s"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    node
}

#[test]
fn a_lone_controller_is_shown_as_its_own_leader() {
    let node = formatted();
    let server = node.start();
    let bootstrap = format!("127.0.0.1:{}", server.port());
    let answer = quorate(&["quorum", "--bootstrap", &bootstrap, "status"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    let value = |name: &str| {
        let line = answer.out.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {answer:?}"))[24..].to_owned()
    };
    assert_eq!(value("ClusterId:"), "cluster-A");
    assert_eq!((value("LeaderId:"), value("LeaderEpoch:")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(value("MaxFollowerLag:"), "0");
    assert!(value("HighWatermark:").parse::<i64>().unwrap() > 0, "{answer:?}");
    assert!(value("CurrentVoters:").starts_with("[{\"id\": 1, \"directoryId\": \""), "{answer:?}");
    assert_eq!(value("CurrentObservers:"), "[]");

    let answer = quorate(&["quorum", "-b", &bootstrap, "replication"]);
    let lines: Vec<Vec<&str>> =
        answer.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["NodeId", "DirectoryId", "LogEndOffset", "Lag"]);
    assert_eq!((lines[1][0], lines[1][6], lines.len()), ("1", "Leader", 2));
}

#[test]
fn a_refused_change_says_why_and_changes_nothing() {
    let node = formatted();
    let server = node.start();
    let bootstrap = format!("127.0.0.1:{}", server.port());
    let stranger = ["--id", "7", "--directory-id", "JEXY6aqzQY-32P5TStzaFg"];
    let remove = [&["quorum", "-b", &bootstrap, "remove-controller"], &stranger[..]].concat();
    let answer = quorate(&remove);
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("cannot remove controller 7"), "{answer:?}");
    assert!(answer.err.contains("VOTER_NOT_FOUND"), "{answer:?}");

    let add = ["quorum", "-b", &bootstrap, "add-controller", "-c", &node.file(), "--dry-run"];
    let answer = quorate(&add);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert!(answer.out.starts_with("DRY RUN of adding controller 1 with directory id "));
    assert!(answer.out.trim_end().ends_with("CONTROLLER://127.0.0.1:9093"), "{answer:?}");
}

#[test]
fn a_transfer_to_the_leader_is_done_and_one_to_a_stranger_refused() {
    let node = formatted();
    let server = node.start();
    let bootstrap = format!("127.0.0.1:{}", server.port());
    let answer = quorate(&["quorum", "-b", &bootstrap, "transfer-leader", "1"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert_eq!(answer.out.trim_end(), "Controller 1 leads already, in epoch 1");
    let answer = quorate(&["quorum", "-b", &bootstrap, "transfer-leader", "7"]);
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("7 is not one of the voters [1]"), "{answer:?}");
}

#[test]
fn nobody_at_the_bootstrap_addresses_is_named_with_each_address() {
    // Port 1 of loopback: nobody listens there.
    let line = ["quorum", "-b", "127.0.0.1:1,localhost:1", "--timeout-ms", "300", "status"];
    let answer = quorate(&line);
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("no leader was found within 300 ms"), "{answer:?}");
    assert!(answer.err.contains("127.0.0.1:1: ") && answer.err.contains("localhost:1: "));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_missing() {
    let remove = ["-b", "x:1", "remove-controller", "--id", "1"];
    let cases: [(&[&str], &str); 11] = [
        (&[], "no command was given"),
        (&["status"], "--bootstrap/-b is required"),
        (&["-b", "nowhere", "status"], "nowhere is not HOST:PORT"),
        (&["-b", "x:1", "frobnicate"], "unknown command frobnicate"),
        (&["-b", "x:1", "status", "now"], "unexpected argument now"),
        (&remove, "--directory-id is required"),
        (&["-b", "x:1", "transfer-leader"], "transfer-leader needs the id of a voter"),
        (&["-b", "x:1", "transfer-leader", "me"], "me is no node id"),
        (&["-b", "x:1", "transfer-leader", "1", "2"], "unexpected argument 2"),
        (
            &["-b", "x:1", "add-controller", "--id", "-3", "--directory-id", "a"],
            "a is no directory",
        ),
        (&["-b", "x:1", "--timeout-ms", "soon", "status"], "soon is no number of milliseconds"),
    ];
    for (args, hint) in cases {
        let answer = quorate(&[&["quorum"], args].concat());
        assert_eq!(answer.exit_code, 2, "{args:?}: {answer:?}");
        assert!(answer.err.contains(hint), "{args:?}: {answer:?}");
    }
}
