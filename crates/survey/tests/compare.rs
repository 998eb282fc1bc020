//! Two metadata states side by side, out of directories and snapshots that real Kafka wrote.

mod golden;

use golden::Golden;
use quorate_survey::{CompareError, Source, differences, load_pair};
use std::time::Duration;

const NO_TIME: Duration = Duration::ZERO;

fn directory(golden: &Golden) -> Source {
    Source::Directory(golden.root.clone())
}

fn snapshot(golden: &Golden, name: &str) -> Source {
    Source::Snapshot(golden.dir.join(name))
}

#[test]
fn controller_and_broker_of_one_cluster_agree_where_the_shorter_ends() {
    for release in ["3.9.1", "4.3.0"] {
        let controller = Golden::new(&format!("{release}/controller-1"));
        let broker = Golden::new(&format!("{release}/broker-11"));
        let pair = load_pair(&directory(&controller), &directory(&broker), None, NO_TIME);
        let (a, b) = pair.expect("both can be read");
        assert_eq!(a.at, b.at);
        assert!(a.at.offset > 400);
        assert_eq!(differences(&a.image, &b.image), []);
    }
}

#[test]
fn a_snapshot_sets_the_offset() {
    let golden = Golden::new("4.3.0/controller-1");
    let first = snapshot(&golden, "00000000000000000060-0000000001.checkpoint");
    let newest = snapshot(&golden, "00000000000000000474-0000000002.checkpoint");
    for (a, b) in [(&directory(&golden), &newest), (&newest, &directory(&golden))] {
        let (a, b) = load_pair(a, b, None, NO_TIME).expect("both can be read");
        assert_eq!((a.at.offset, b.at.offset), (474, 474));
        assert_eq!(differences(&a.image, &b.image), []);
    }
    let error = load_pair(&first, &newest, None, NO_TIME).expect_err("have no common offset");
    assert!(matches!(error, CompareError::OutOfReach { wanted: 60, .. }), "{error}");
}

#[test]
fn each_difference_is_told_by_kind_and_key() {
    let golden = Golden::new("4.3.0/controller-1");
    let early = directory(&golden).load(Some(60), NO_TIME).expect("can be read");
    let late = directory(&golden).load(None, NO_TIME).expect("can be read");
    let found = differences(&early.image, &late.image);
    let kinds: std::collections::BTreeSet<_> = found.iter().map(|it| it.kind).collect();
    for kind in ["topic", "partition", "config", "acl", "delegation token", "client quota"] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
    assert!(found.iter().all(|it| it.a != it.b || it.kind == "delegation token"));
    let secret = found.iter().find(|it| it.kind == "delegation token").expect("just seen");
    assert_eq!(secret.b.as_deref(), Some("(secret)"));
}

#[test]
fn a_directory_that_starts_later_has_no_earlier_image() {
    let golden = Golden::new("4.3.0/controller-2");
    let error = directory(&golden).load(Some(100), NO_TIME).expect_err("starts at 355");
    assert!(error.to_string().contains("no metadata as of offset 100"), "{error}");
    let whole = directory(&golden).load(Some(370), NO_TIME).expect("is in the log");
    assert_eq!((whole.at.offset, whole.base.offset), (370, 355));
}

#[test]
fn what_is_nothing_is_told() {
    assert!(matches!(Source::parse("/no/such/thing"), Err(CompareError::NoSource(_))));
    assert!(matches!(Source::parse("localhost:9093"), Ok(Source::Quorum(_))));
}
