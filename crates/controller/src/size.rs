//! How large records get on disk, at most. An append is one batch, and Kafka reads none above 8 MiB.

use quorate_protocol::MetadataRecord;

/// Room for keys, fixed fields, lengths and the record's own header.
const FIXED: usize = 96;
/// A varint of up to five bytes would do for most ids; they are written as four.
const ID: usize = 4;
const UUID: usize = 16;

/// Never less than what the record takes up in a batch.
pub(crate) fn size_at_most(record: &MetadataRecord) -> usize {
    let variable = match record {
        MetadataRecord::Partition(it) => {
            let ids = it.replicas.len()
                + it.isr.len()
                + it.removing_replicas.len()
                + it.adding_replicas.len()
                + it.eligible_leader_replicas.as_ref().map_or(0, Vec::len)
                + it.last_known_elr.as_ref().map_or(0, Vec::len);
            ids * ID + it.directories.len() * UUID
        }
        MetadataRecord::PartitionChange(it) => {
            let lists = [
                &it.isr,
                &it.replicas,
                &it.removing_replicas,
                &it.adding_replicas,
                &it.eligible_leader_replicas,
                &it.last_known_elr,
            ];
            let ids: usize = lists.into_iter().flatten().map(Vec::len).sum();
            ids * ID + it.directories.as_ref().map_or(0, Vec::len) * UUID
        }
        MetadataRecord::Config(it) => {
            it.resource_name.len() + it.name.len() + it.value.as_ref().map_or(0, |it| it.len())
        }
        MetadataRecord::AccessControlEntry(it) => {
            it.resource_name.len() + it.principal.len() + it.host.len()
        }
        MetadataRecord::Topic(it) => it.name.len(),
        MetadataRecord::RemoveTopic(_)
        | MetadataRecord::RemoveAccessControlEntry(_)
        | MetadataRecord::NoOp(_) => 0,
        // Rare ones: the truth costs little.
        other => other.encode_framed(highest_version(other)).map_or(0, |it| it.len()),
    };
    FIXED + variable
}

fn highest_version(record: &MetadataRecord) -> i16 {
    let newest = quorate_protocol::features::MetadataVersion::LATEST_PRODUCTION;
    quorate_protocol::features::record_version(record, newest)
}

/// How many of the records, from the first on, fit into one append; at least one.
pub(crate) fn fitting(
    records: &[(MetadataRecord, i16)],
    records_max: usize,
    bytes_max: usize,
) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(records_max).take_while(|(record, _)| {
        bytes += size_at_most(record);
        bytes <= bytes_max
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Uuid;
    use quorate_protocol::KStr;
    use quorate_protocol::records::*;

    /// Offset, timestamp, lengths and attributes of a record in a batch.
    const RECORD_HEADER_MAX: usize = 24;

    #[test]
    fn the_bound_holds() {
        let ids = || (1000..1040).collect::<Vec<i32>>();
        let dirs = vec![Uuid::from_u128(u128::MAX); 40];
        let long = KStr::from("x".repeat(32_000));
        let records: Vec<(MetadataRecord, i16)> = vec![
            (
                PartitionRecord {
                    replicas: ids(),
                    isr: ids(),
                    removing_replicas: ids(),
                    adding_replicas: ids(),
                    directories: dirs.clone(),
                    eligible_leader_replicas: Some(ids()),
                    last_known_elr: Some(ids()),
                    ..Default::default()
                }
                .into(),
                2,
            ),
            (
                PartitionChangeRecord {
                    isr: Some(ids()),
                    replicas: Some(ids()),
                    removing_replicas: Some(ids()),
                    adding_replicas: Some(ids()),
                    directories: Some(dirs),
                    eligible_leader_replicas: Some(ids()),
                    last_known_elr: Some(ids()),
                    leader: 7,
                    leader_recovery_state: 1,
                    ..Default::default()
                }
                .into(),
                2,
            ),
            (
                ConfigRecord {
                    resource_type: 2,
                    resource_name: long.clone(),
                    name: long.clone(),
                    value: Some(long.clone()),
                    ..Default::default()
                }
                .into(),
                0,
            ),
            (
                AccessControlEntryRecord {
                    resource_name: long.clone(),
                    principal: long.clone(),
                    host: long.clone(),
                    ..Default::default()
                }
                .into(),
                0,
            ),
            (TopicRecord { name: long.clone(), ..Default::default() }.into(), 0),
            (NoOpRecord::default().into(), 0),
            (RemoveTopicRecord::default().into(), 0),
            (FeatureLevelRecord { name: long, feature_level: 1, ..Default::default() }.into(), 0),
        ];
        for (record, version) in &records {
            let size = record.encode_framed(*version).expect("encodes").len();
            assert!(size + RECORD_HEADER_MAX <= size_at_most(record), "{}", record.name());
        }
    }

    #[test]
    fn appends_are_bounded_by_count_and_by_bytes() {
        let records: Vec<(MetadataRecord, i16)> =
            (0..10).map(|_| (NoOpRecord::default().into(), 0)).collect();
        assert_eq!(fitting(&records, 4, 1 << 20), 4);
        assert_eq!(fitting(&records, 100, 1 << 20), 10);
        assert_eq!(fitting(&records, 100, 3 * FIXED), 3);
        assert_eq!(fitting(&records, 100, 1), 1, "one goes in any case");
    }
}
