//! `quorate storage` as its users see it: files, texts, exit codes.

mod support;

use quorate_base::Uuid;
use quorate_protocol::MetadataRecord;
use quorate_storage::{
    BOOTSTRAP_SNAPSHOT_ID, FileDisk, MetaProperties, SnapshotReader, Snapshots, load_bootstrap,
};
use std::path::Path;
use std::sync::Arc;
use support::{Answer, Node, quorate};

const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM1Qk";

fn format(node: &Node, flags: &[&str]) -> Answer {
    let file = node.file();
    quorate(&[&["storage", "format", "-t", CLUSTER, "-c", &file], flags].concat())
}

/// Feature levels and SCRAM users left for the first leader.
fn bootstrap(dir: &Path) -> Vec<String> {
    let found = load_bootstrap(&FileDisk, dir, &dir.join("__cluster_metadata-0")).unwrap().unwrap();
    let shown = |value| match MetadataRecord::decode_framed(value).unwrap().0 {
        MetadataRecord::FeatureLevel(it) => format!("{}={}", it.name, it.feature_level),
        MetadataRecord::UserScramCredential(it) => format!("{} {}", it.name, it.mechanism),
        other => panic!("{other:?}"),
    };
    found.values.into_iter().map(shown).collect()
}

fn voters(dir: &Path) -> Vec<String> {
    let snapshots = Snapshots::new(Arc::new(FileDisk), &dir.join("__cluster_metadata-0"));
    let reader: SnapshotReader = snapshots.open(BOOTSTRAP_SNAPSHOT_ID).unwrap();
    assert_eq!(reader.kraft_version(), Some(1));
    let shown = |it: &quorate_protocol::control::Voter| {
        let endpoint = &it.endpoints[0];
        let key = it.key;
        format!("{key} {}://{}:{}", endpoint.name, endpoint.host, endpoint.port)
    };
    reader.voters().unwrap().iter().map(shown).collect()
}

#[test]
fn standalone_writes_what_kafkas_tool_writes() {
    let node = Node::dynamic(1);
    let answer = format(&node, &["--standalone", "--release-version=4.3"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    let dir = node.dir();
    assert!(answer.out.contains(&format!(
        "Formatting dynamic metadata voter directory {} with metadata.version 4.3-IV0.",
        dir.display()
    )));
    let meta = MetaProperties::load(&FileDisk, &dir).unwrap().unwrap();
    assert_eq!((meta.cluster_id.as_str(), meta.node_id), (CLUSTER, 1));
    let directory = meta.directory_id.unwrap();
    assert_eq!(voters(&dir), [format!("1-{directory} CONTROLLER://127.0.0.1:9093")]);
    assert_eq!(
        bootstrap(&dir),
        [
            "metadata.version=30",
            "eligible.leader.replicas.version=1",
            "group.version=1",
            "share.version=1",
            "streams.version=1",
            "transaction.version=2",
        ]
    );
}

#[test]
fn initial_controllers_give_this_node_its_directory_id() {
    let node = Node::dynamic(2);
    let list = "1@h1:9093:JEXY6aqzQY-32P5TStzaFg,2@h2:9093:MvDxzVmcRsaTz33bUuRU6A";
    assert_eq!(format(&node, &["-I", list, "-r", "3.9"]).exit_code, 0);
    let meta = MetaProperties::load(&FileDisk, &node.dir()).unwrap().unwrap();
    assert_eq!(
        meta.directory_id.map(|id| id.to_string()).as_deref(),
        Some("MvDxzVmcRsaTz33bUuRU6A")
    );
    assert_eq!(
        voters(&node.dir()),
        [
            "1-JEXY6aqzQY-32P5TStzaFg CONTROLLER://h1:9093",
            "2-MvDxzVmcRsaTz33bUuRU6A CONTROLLER://h2:9093"
        ]
    );
    assert_eq!(bootstrap(&node.dir()), ["metadata.version=21"]);
}

#[test]
fn a_node_without_first_voters_gets_no_voters_and_an_unstable_level_if_asked() {
    let node = Node::dynamic(1);
    assert_eq!(
        format(&node, &["-N", "-f", "metadata.version=31", "-f", "group.version=0"]).exit_code,
        0
    );
    assert!(!node.dir().join("__cluster_metadata-0").exists());
    assert_eq!(
        bootstrap(&node.dir()),
        [
            "metadata.version=31",
            "eligible.leader.replicas.version=1",
            "share.version=2",
            "streams.version=1",
            "transaction.version=2",
        ]
    );
}

#[test]
fn a_static_quorum_is_formatted_without_flags() {
    let node = Node::fixed(1);
    let answer = format(&node, &["-r", "4.3", "-S", "SCRAM-SHA-256=[name=alice,password=secret]"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert!(answer.out.contains("Formatting metadata directory"));
    assert_eq!(bootstrap(&node.dir()).last().map(String::as_str), Some("alice 1"));
    assert!(!node.dir().join("__cluster_metadata-0").exists());
}

#[test]
fn formatted_directories_are_refused_or_left_alone() {
    let node = Node::dynamic(1);
    assert_eq!(format(&node, &["-s"]).exit_code, 0);
    let before = std::fs::read(node.dir().join("meta.properties")).unwrap();
    let again = format(&node, &["-s"]);
    assert_eq!(again.exit_code, 1);
    assert!(again.err.contains("is already formatted. Use --ignore-formatted"), "{again:?}");
    let ignored = format(&node, &["-s", "--ignore-formatted"]);
    assert_eq!(ignored.exit_code, 0);
    assert!(ignored.out.contains("All of the log directories are already formatted."));
    assert_eq!(std::fs::read(node.dir().join("meta.properties")).unwrap(), before);
    let file = node.file();
    let other = quorate(&["storage", "format", "-t", "other", "-c", &file, "-s", "-g"]);
    assert_eq!(other.exit_code, 2);
    assert!(other.err.contains(CLUSTER) && other.err.contains("other"), "{other:?}");
}

/// What Kafka's tool does not take for a voter is not taken for one here.
#[test]
fn initial_controllers_that_cannot_be_meant_are_refused() {
    let node = Node::dynamic(2);
    for bad in [
        "localhost:8020:K90IZ-0DRNazJ49kCZ1EMQ",
        "@localhost:8020:K90IZ-0DRNazJ49kCZ1EMQ",
        "-1@localhost:8020:K90IZ-0DRNazJ49kCZ1EMQ",
        "blah@localhost:8020:K90IZ-0DRNazJ49kCZ1EMQ",
        "2@",
        "2@[2001:4860:4860::8888:8020:__0IZ-0DRNazJ49kCZ1EMQ",
        "2@localhost8020K90IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]8020:__0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:8020__0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:8020m:__0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:-8020:__0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:666666:__0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:8020:%_0IZ-0DRNazJ49kCZ1EMQ",
        "2@[2001:4860:4860::8888]:8020:",
        "2@h:1:K90IZ-0DRNazJ49kCZ1EMQ,2@h:2:__0IZ-0DRNazJ49kCZ1EMQ",
    ] {
        let answer = format(&node, &[&format!("--initial-controllers={bad}")]);
        assert_eq!(answer.exit_code, 2, "{bad}: {answer:?}");
        assert!(answer.err.contains("nitial controller"), "{bad}: {answer:?}");
        assert!(!node.dir().exists(), "{bad} wrote something");
    }
    let list = "100@192.128.0.100:800:K90IZ-0DRNazJ49kCZ1EMQ,\
                2@[2001:4860:4860::8888]:8020:__0IZ-0DRNazJ49kCZ1EMQ";
    assert_eq!(format(&node, &["-I", list]).exit_code, 0);
    assert_eq!(
        voters(&node.dir()),
        [
            "100-K90IZ-0DRNazJ49kCZ1EMQ CONTROLLER://192.128.0.100:800",
            "2-__0IZ-0DRNazJ49kCZ1EMQ CONTROLLER://2001:4860:4860::8888:8020"
        ]
    );
}

#[test]
fn refusals_write_nothing_and_say_what_to_do() {
    let dynamic = Node::dynamic(1);
    let fixed = Node::fixed(1);
    for (node, flags, hint) in [
        (&dynamic, &[][..], "--standalone, --initial-controllers, or --no-initial-controllers"),
        (&dynamic, &["-s", "-N"], "exclude each other"),
        (&dynamic, &["-I", "1@h:1"], "id@host:port:directory"),
        (&dynamic, &["-s", "-f", "kraft.version=0"], "Cannot set kraft.version to 0"),
        (&dynamic, &["-s", "-f", "foo=1"], "Unsupported feature: foo"),
        (&dynamic, &["-s", "-r", "2.8"], "supported are"),
        (
            &dynamic,
            &["-s", "-r", "3.4", "-S", "SCRAM-SHA-256=[name=a,password=b]"],
            "3.5-IV2 or later",
        ),
        (&dynamic, &["-s", "--nonsense"], "unknown option --nonsense"),
        (&fixed, &["-s"], "cannot specify controller.quorum.voters"),
        (&fixed, &["-f", "kraft.version=1"], "Cannot set kraft.version to 1"),
    ] {
        let answer = format(node, flags);
        assert_eq!(answer.exit_code, 2, "{flags:?}: {answer:?}");
        assert!(answer.err.contains(hint), "{flags:?}: {answer:?}");
        assert!(!node.dir().exists(), "{flags:?} wrote something");
    }
    let answer = quorate(&["storage", "format", "-c", &dynamic.file()]);
    assert!(answer.exit_code == 2 && answer.err.contains("--cluster-id/-t is required"));
    let answer = quorate(&["storage", "format", "-t", "x", "-c", "/no/such/file"]);
    assert!(answer.exit_code == 2 && answer.err.contains("/no/such/file"));
}

#[test]
fn info_tells_what_is_there_and_what_is_wrong() {
    let node = Node::dynamic(1);
    let file = node.file();
    let missing = quorate(&["storage", "info", "-c", &file]);
    assert_eq!(missing.exit_code, 1);
    assert!(missing.out.contains("Found problem:") && missing.out.contains("does not exist"));
    std::fs::create_dir(node.dir()).unwrap();
    let empty = quorate(&["storage", "info", "-c", &file]);
    assert!(empty.exit_code == 1 && empty.out.contains("is not formatted."), "{empty:?}");
    assert_eq!(format(&node, &["-s"]).exit_code, 0);
    let good = quorate(&["storage", "info", "-c", &file]);
    assert_eq!(good.exit_code, 0);
    assert!(good.out.contains(&format!("Found metadata: {{cluster.id={CLUSTER}, directory.id=")));
}

#[test]
fn random_uuids_parse_and_differ() {
    let one: Uuid = quorate(&["storage", "random-uuid"]).out.trim().parse().unwrap();
    let other: Uuid = quorate(&["storage", "random-uuid"]).out.trim().parse().unwrap();
    assert_ne!(one, other);
}
