//! `quorate takeover` as its users see it: texts and exit codes. With Kafka's controllers it is
//! tested in `interop`.

mod support;

use support::{Node, Server, quorate};

fn lone() -> (Node, Server, String) {
    let node = Node::dynamic(1);
    let file = node.file();
    let answer = quorate(&["storage", "format", "-t", "cluster-A", "-c", &file, "-s"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    let server = node.start();
    let bootstrap = format!("127.0.0.1:{}", server.port());
    (node, server, bootstrap)
}

#[test]
fn a_lone_controller_is_not_spared_without_consent() {
    let (_node, _server, bootstrap) = lone();
    let ask = ["takeover", "may-stop", "1", "--bootstrap", &bootstrap];
    let answer = quorate(&ask);
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    assert!(answer.out.starts_with("no: node 1 is one of 1 voter(s)"), "{answer:?}");
    assert_eq!(answer.err, "");
    let answer = quorate(&[&ask[..], &["--accept-outage", "--json"]].concat());
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert!(answer.out.contains("\"mayStop\":true"), "{answer:?}");
    let answer = quorate(&["takeover", "may-stop", "7", "--bootstrap", &bootstrap]);
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    assert!(answer.out.contains("node 7 is unknown to the quorum"), "{answer:?}");
}

#[test]
fn status_names_the_program_and_waits_for_it() {
    let (_node, _server, bootstrap) = lone();
    let status = ["takeover", "status", "--bootstrap", &bootstrap];
    let answer = quorate(&[&status[..], &["--await", "1=quorate"]].concat());
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    let line = answer.out.lines().find(|line| line.starts_with("1 ")).expect("a line of node 1");
    assert!(line.contains("Quorate") && line.contains("leader"), "{answer:?}");
    let wait = ["--await", "1=kafka", "--timeout-ms", "300"];
    let answer = quorate(&[&status[..], &wait].concat());
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("node 1 is not run by Kafka: it is run by Quorate"), "{answer:?}");
}

#[test]
fn a_plan_refuses_what_is_unsafe_and_says_what_is_done_otherwise() {
    let (node, _server, bootstrap) = lone();
    let file = node.file();
    let plan = ["takeover", "plan", "--back", "--bootstrap", &bootstrap];
    let answer = quorate(&[&plan[..], &["-c", &file]].concat());
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    assert!(answer.out.contains("REFUSED the quorum: 1 voter(s)"), "{answer:?}");
    assert!(!answer.out.contains("Steps:"), "{answer:?}");

    let answer = quorate(&[&plan[..], &["-c", &file, "--accept-outage"]].concat());
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert!(answer.out.contains(&format!("kafka-server-start.sh {file}")), "{answer:?}");

    // Another cluster's directory, and a policy that nobody would enforce.
    let meta = node.dir().join("meta.properties");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("cluster-A", "cluster-B")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}create.topic.policy.class.name=a.B\n")).unwrap();
    let answer = quorate(&[&plan[..], &["-c", &file, "--accept-outage", "--json"]].concat());
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    let said: serde_json::Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(said["verdict"], "refused");
    assert!(answer.out.contains("cannot run Java classes"), "{answer:?}");
    std::fs::write(&file, text).unwrap();
    let answer = quorate(&[&plan[..], &["-c", &file, "--accept-outage"]].concat());
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    assert!(answer.out.contains("belongs to cluster cluster-B"), "{answer:?}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_missing() {
    let cases: [(&[&str], &str); 6] = [
        (&[], "no command was given"),
        (&["plan"], "--bootstrap/-b is required"),
        (&["may-stop"], "needs the id"),
        (&["may-stop", "x", "-b", "h:1"], "expected the id"),
        (&["status", "-b", "h:1", "--await", "3"], "not ID=quorate"),
        (&["plan", "-b", "h:1", "-c", "/nowhere/x"], "cannot read /nowhere/x"),
    ];
    for (args, hint) in cases {
        let answer = quorate(&[&["takeover"], args].concat());
        assert_eq!(answer.exit_code, 2, "{args:?}: {answer:?}");
        assert!(answer.err.contains(hint), "{args:?}: {answer:?}");
    }
}
