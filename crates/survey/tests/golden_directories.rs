//! Directories that real Kafka left behind, of three releases' controllers and brokers, some killed:
//! all are clean, and what is read out of them agrees.

mod golden;

use golden::{DIRECTORIES, Golden};
use quorate_base::OffsetAndEpoch;
use quorate_survey::{Severity, Survey, SurveyOptions, survey};

fn look(name: &str) -> (Golden, Survey) {
    let golden = Golden::new(name);
    let found = survey(&SurveyOptions::of(&golden.root));
    (golden, found)
}

#[test]
fn directories_of_real_kafka_are_clean() {
    for name in DIRECTORIES {
        let (_golden, found) = look(name);
        assert!(found.worst() <= Some(Severity::Note), "{name}:\n{}", found.to_text());
        let image = found.log.image.as_ref().expect("an image can be put together");
        assert_eq!(image.at.offset, found.log.end.offset, "{name}: all of the log is applied");
        assert!(found.log.snapshots.iter().all(|it| it.is_whole), "{name}");
        assert!(found.meta().is_some() && found.log.voters.is_some(), "{name}");
    }
}

#[test]
fn what_was_one_log_is_read_as_one() {
    let (_a, controller) = look("4.3.0/controller-1");
    let (_b, broker) = look("4.3.0/broker-11");
    assert_eq!(controller.log.start, 0);
    assert_eq!(controller.log.end, OffsetAndEpoch { offset: 534, epoch: 2 });
    assert_eq!(controller.log.epochs.len(), 2);
    assert_eq!(controller.log.snapshots.len(), 9);
    let hash = |it: &Survey| it.log.image.as_ref().map(|it| it.image.content_hash());
    // The broker lacks the last NoOps, which change nothing.
    assert_eq!((hash(&controller), broker.log.end.offset), (hash(&broker), 530));
    let voters = controller.log.voters.as_ref().map(|it| it.voters.clone()).unwrap_or_default();
    let ids: Vec<i32> = voters.iter().map(|it| it.key.id).collect();
    assert_eq!((controller.log.kraft_version, ids), (1, vec![1]));
}

#[test]
fn an_image_as_of_an_earlier_offset() {
    let golden = Golden::new("4.3.0/controller-1");
    let whole = survey(&SurveyOptions::of(&golden.root));
    for snapshot in &whole.log.snapshots[1..] {
        let stop_at = Some(snapshot.id.offset);
        let found = survey(&SurveyOptions { stop_at, ..SurveyOptions::of(&golden.root) });
        let image = found.log.image.expect("an image can be put together");
        assert_eq!(image.at, snapshot.id);
        assert_eq!(found.findings, whole.findings);
    }
}

#[test]
fn nothing_is_changed() {
    let golden = Golden::new("4.3.0/controller-1");
    let state = || {
        let mut all = Vec::new();
        for dir in [&golden.root, &golden.dir] {
            for entry in std::fs::read_dir(dir).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_file() {
                    let modified = path.metadata().and_then(|it| it.modified()).expect("a time");
                    all.push((path.clone(), modified, std::fs::read(&path).expect("readable")));
                }
            }
        }
        all.sort();
        all
    };
    let before = state();
    survey(&SurveyOptions::of(&golden.root));
    assert!(before == state());
}
