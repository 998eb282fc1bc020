//! Random histories: indices against a scan, differences in both directions, images that do not descend
//! from each other, versions kept for long.

use quorate_base::{Prng, Uuid};
use quorate_metadata::{Image, Partition};
use quorate_protocol::MetadataRecord as R;
use quorate_protocol::records::*;
use std::collections::BTreeSet;

const BROKERS: u64 = 6;

fn some_brokers(prng: &mut Prng, most: u64) -> Vec<i32> {
    let mut out = Vec::new();
    for _ in 0..prng.below(most + 1) {
        let id = prng.below(BROKERS) as i32;
        if !out.contains(&id) {
            out.push(id);
        }
    }
    out
}

fn some_replicas(prng: &mut Prng) -> Vec<i32> {
    let mut out = some_brokers(prng, 5);
    if out.is_empty() {
        out.push(prng.below(BROKERS) as i32);
    }
    out
}

fn some_partition(prng: &mut Prng, image: &Image) -> Option<(Uuid, i32)> {
    let topics: Vec<Uuid> = image.topics.iter_by_id().map(|it| it.id).collect();
    let topic = *topics.get(prng.below(topics.len().max(1) as u64) as usize)?;
    let count = image.topics.partitions(topic).count();
    (count > 0).then(|| (topic, prng.below(count as u64) as i32))
}

/// A record that applies to `image`.
fn some_record(prng: &mut Prng, image: &Image) -> R {
    let option = |prng: &mut Prng, most| prng.chance(1, 3).then(|| some_brokers(prng, most));
    match prng.below(20) {
        0 | 1 => {
            let name = format!("t{}", prng.below(12));
            match image.topics.by_name(&name) {
                None => R::Topic(TopicRecord {
                    name: name.into(),
                    topic_id: Uuid::random(prng),
                    ..Default::default()
                }),
                Some(topic) => {
                    R::RemoveTopic(RemoveTopicRecord { topic_id: topic.id, ..Default::default() })
                }
            }
        }
        2..=7 => {
            let topics: Vec<_> = image.topics.iter_by_name().collect();
            let Some(topic) = topics.get(prng.below(topics.len().max(1) as u64) as usize) else {
                return R::NoOp(NoOpRecord::default());
            };
            let replicas = some_replicas(prng);
            R::Partition(PartitionRecord {
                partition_id: topic.partition_count,
                topic_id: topic.id,
                leader: replicas[0],
                isr: replicas.clone(),
                directories: replicas.iter().map(|_| Uuid::random(prng)).collect(),
                replicas,
                leader_epoch: 0,
                partition_epoch: 0,
                ..Default::default()
            })
        }
        8..=14 => {
            let Some((topic_id, partition_id)) = some_partition(prng, image) else {
                return R::NoOp(NoOpRecord::default());
            };
            let replicas = prng.chance(1, 4).then(|| some_replicas(prng));
            R::PartitionChange(PartitionChangeRecord {
                topic_id,
                partition_id,
                isr: option(prng, 4),
                leader: prng.below(BROKERS + 2) as i32 - 2,
                directories: replicas
                    .as_ref()
                    .map(|it| it.iter().map(|_| Uuid::random(prng)).collect()),
                replicas,
                removing_replicas: option(prng, 1),
                adding_replicas: option(prng, 1),
                eligible_leader_replicas: option(prng, 1),
                last_known_elr: option(prng, 1),
                ..Default::default()
            })
        }
        15 => R::ClearElr(ClearElrRecord::default()),
        16 | 17 => R::Config(ConfigRecord {
            resource_type: 2,
            resource_name: format!("t{}", prng.below(12)).into(),
            name: format!("k{}", prng.below(3)).into(),
            value: prng.chance(2, 3).then(|| prng.below(9).to_string().into()),
            ..Default::default()
        }),
        18 => R::RegisterBroker(RegisterBrokerRecord {
            broker_id: prng.below(BROKERS) as i32,
            broker_epoch: prng.below(1000) as i64,
            ..Default::default()
        }),
        _ => R::ProducerIds(ProducerIdsRecord {
            next_producer_id: prng.below(1 << 40) as i64,
            ..Default::default()
        }),
    }
}

fn assert_indices(image: &Image) {
    let topics = &image.topics;
    let all: Vec<((Uuid, i32), &Partition)> = topics
        .iter_by_id()
        .flat_map(|topic| topics.partitions(topic.id).map(|(index, it)| ((topic.id, index), it)))
        .collect();
    let scan = |belongs: &dyn Fn(&Partition) -> bool| -> BTreeSet<(Uuid, i32)> {
        all.iter().filter(|(_, it)| belongs(it)).map(|(key, _)| *key).collect()
    };
    assert_eq!(all.len(), topics.partition_count());
    for topic in topics.iter_by_name() {
        assert_eq!(topics.partitions(topic.id).count(), topic.partition_count as usize);
        assert_eq!(topics.by_name(&topic.name).map(|it| it.id), Some(topic.id));
    }
    for broker in 0..BROKERS as i32 {
        let expected = scan(&|it| it.replicas().contains(&broker) || it.isr().contains(&broker));
        assert_eq!(topics.on_broker(broker).collect::<BTreeSet<_>>(), expected);
        assert_eq!(topics.count_on_broker(broker), expected.len());
        let led: BTreeSet<_> = topics.led_by(broker).collect();
        assert!(led.is_subset(&scan(&|it| it.leader() == Some(broker))));
        assert_eq!(
            led,
            scan(&|it| it.leader() == Some(broker)
                && (it.is_on(broker) || it.isr().contains(&broker)))
        );
    }
    let leaderless = scan(&|it| it.leader().is_none());
    assert_eq!(topics.without_leader().collect::<BTreeSet<_>>(), leaderless);
    assert_eq!(topics.count_without_leader(), leaderless.len());
    let not_preferred = scan(&|it| it.leader() != Some(it.preferred()));
    assert_eq!(topics.not_preferred().collect::<BTreeSet<_>>(), not_preferred);
    assert_eq!(topics.count_not_preferred(), not_preferred.len());
    let reassigning = scan(&|it| !it.adding().is_empty() || !it.removing().is_empty());
    assert_eq!(topics.reassigning().collect::<BTreeSet<_>>(), reassigning);
    let elr = scan(&|it| !it.elr().is_empty() || !it.last_known_elr().is_empty());
    assert_eq!(topics.with_elr().collect::<BTreeSet<_>>(), elr);
}

fn history(prng: &mut Prng, from: &Image, length: u64) -> Image {
    let mut image = from.clone();
    for _ in 0..length {
        let record = some_record(prng, &image);
        image.apply(&record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
    }
    image
}

fn assert_leads(from: &Image, to: &Image) {
    let mut image = from.clone();
    for (record, _) in from.diff(to).to_records() {
        image.apply(&record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
    }
    assert!(image == *to);
    assert_indices(&image);
    assert_eq!(image.content_hash(), to.content_hash());
    let keys: Vec<_> = from.diff(to).partitions().map(|it| it.key).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "a key comes once");
    assert!(from.diff(to).partitions().all(|it| it.old != it.new));
}

#[test]
fn indices_and_differences_hold_through_random_histories() {
    for seed in 0..30 {
        let mut prng = Prng::new(seed);
        let mut kept = vec![(start(), start().content_hash())];
        for _ in 0..8 {
            let next = history(&mut prng, &kept[kept.len() - 1].0, 120);
            assert_indices(&next);
            let hash = next.content_hash();
            kept.push((next, hash));
        }
        let last = kept[kept.len() - 1].0.clone();
        for (image, hash) in &kept {
            assert_eq!(image.content_hash(), *hash, "a kept image changed");
            assert_indices(image);
            assert_leads(image, &last);
            assert_leads(&last, image);
        }
    }
}

/// Both continue from one image, so the same inner number may stand for two topics.
#[test]
fn branches_of_one_image_are_compared_rightly() {
    for seed in 100..130 {
        let mut prng = Prng::new(seed);
        let base = history(&mut prng, &start(), 200);
        let (a, b) = (history(&mut prng, &base, 60), history(&mut prng, &base, 60));
        assert_leads(&a, &b);
        assert_leads(&b, &a);
        // The same content out of a snapshot: other inner numbers altogether.
        let mut copy = Image::empty();
        for (record, _) in a.to_records() {
            copy.apply(&record).expect("applies");
        }
        assert_indices(&copy);
        assert_eq!(copy.content_hash(), a.content_hash());
        assert_leads(&copy, &b);
        assert_leads(&b, &copy);
    }
}

/// At the level at which a snapshot can say everything.
fn start() -> Image {
    let mut image = Image::empty();
    image
        .apply(&R::FeatureLevel(FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 33,
            ..Default::default()
        }))
        .expect("applies");
    image
}
