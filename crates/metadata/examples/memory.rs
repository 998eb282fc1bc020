//! How large an image is and what a change costs: `cargo run --release -p quorate-metadata --example
//! memory -- [topics] [partitions per topic]`. Resident memory is read from `/proc`, so Linux only.

#![expect(clippy::disallowed_types, reason = "measures with a clock")]

use quorate_base::{Prng, Uuid};
use quorate_metadata::Image;
use quorate_protocol::MetadataRecord;
use quorate_protocol::records::{PartitionChangeRecord, PartitionRecord, TopicRecord};
use std::time::Instant;

const BROKERS: u64 = 100;
const DIRECTORIES_PER_BROKER: u64 = 4;
const CHANGES: u64 = 200_000;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|it| it.parse::<i32>().ok());
    let topics = arguments.next().unwrap_or(20_000);
    let partitions = arguments.next().unwrap_or(100);
    let mut prng = Prng::new(1);
    let directories: Vec<Uuid> =
        (0..BROKERS * DIRECTORIES_PER_BROKER).map(|_| Uuid::random(&mut prng)).collect();
    let ids: Vec<Uuid> = (0..topics).map(|_| Uuid::random(&mut prng)).collect();
    let before = resident_mib();

    let start = Instant::now();
    let mut image = Image::empty();
    for (number, topic_id) in ids.iter().enumerate() {
        let name = format!("topic-{number}").into();
        apply(
            &mut image,
            MetadataRecord::Topic(TopicRecord { name, topic_id: *topic_id, ..Default::default() }),
        );
        for partition_id in 0..partitions {
            let first = prng.below(BROKERS);
            let brokers = [first, (first + 1) % BROKERS, (first + 2) % BROKERS];
            let replicas: Vec<i32> = brokers.iter().map(|it| *it as i32).collect();
            let directory = |broker: &u64, prng: &mut Prng| {
                let at = broker * DIRECTORIES_PER_BROKER + prng.below(DIRECTORIES_PER_BROKER);
                directories[at as usize]
            };
            let record = PartitionRecord {
                partition_id,
                topic_id: *topic_id,
                leader: replicas[0],
                isr: replicas.clone(),
                replicas,
                leader_epoch: 0,
                partition_epoch: 0,
                directories: brokers.iter().map(|it| directory(it, &mut prng)).collect(),
                ..Default::default()
            };
            apply(&mut image, MetadataRecord::Partition(record));
        }
    }
    let built = start.elapsed();
    let count = image.topics.partition_count();
    let grown = resident_mib() - before;
    println!(
        "{count} partitions in {topics} topics: {grown} MiB resident, {:.0} bytes each",
        grown as f64 * 1048576.0 / count as f64
    );
    println!("built in {built:.1?}, {:.2?} a partition", built / count as u32);

    let mut kept = Vec::new();
    let start = Instant::now();
    for at in 0..CHANGES {
        // An image is kept for each append of ten records, a hundred of them at a time.
        if at % 10 == 0 {
            kept.push(image.clone());
            if kept.len() > 100 {
                kept.remove(0);
            }
        }
        let topic_id = ids[prng.below(ids.len() as u64) as usize];
        let partition_id = prng.below(partitions as u64) as i32;
        let partition = image.topics.partition(topic_id, partition_id).expect("built above");
        let next = partition.replicas()[prng.below(3) as usize];
        let change =
            PartitionChangeRecord { partition_id, topic_id, leader: next, ..Default::default() };
        apply(&mut image, MetadataRecord::PartitionChange(change));
    }
    println!(
        "{:.2?} a change, {} MiB resident with 100 kept images",
        start.elapsed() / CHANGES as u32,
        resident_mib() - before
    );

    let start = Instant::now();
    let changed = kept[0].diff(&image).partitions().count();
    println!(
        "diff over the last {} changes: {changed} partitions in {:.1?}",
        CHANGES.min(1000),
        start.elapsed()
    );
    let start = Instant::now();
    let records = image.to_records().count();
    println!("{records} snapshot records in {:.1?}", start.elapsed());
    let start = Instant::now();
    let led = image.topics.led_by(7).count();
    println!(
        "{led} of {} partitions on broker 7 led by it, found in {:.1?}",
        image.topics.count_on_broker(7),
        start.elapsed()
    );
    let start = Instant::now();
    drop(kept);
    drop(image);
    println!("dropped in {:.1?}", start.elapsed());
}

fn apply(image: &mut Image, record: MetadataRecord) {
    image.apply(&record).expect("fits");
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a number");
    pages * 4096 / (1 << 20)
}
