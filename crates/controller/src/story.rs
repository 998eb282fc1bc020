//! What an operator would want to read about the records just decided: nodes, features and topics that
//! come, change and go. Partition changes are too many to tell one by one.

use crate::event::LogLevel;
use quorate_protocol::MetadataRecord;

/// Lines for one decision at most.
const LINES_MAX: usize = 20;

/// Tells it line by line.
pub(crate) fn tell(records: &[(MetadataRecord, i16)], mut line: impl FnMut(LogLevel, String)) {
    let mut partitions_changed = 0;
    let mut told = 0;
    for (record, _) in records {
        if matches!(record, MetadataRecord::PartitionChange(_)) {
            partitions_changed += 1;
        }
        let Some((level, text)) = tell_one(record) else { continue };
        if told < LINES_MAX {
            line(level, text);
        }
        told += 1;
    }
    if told > LINES_MAX {
        line(LogLevel::Info, format!("... and {} lines more of this decision", told - LINES_MAX));
    }
    // With a line about a broker or an election the number is worth a line, alone it is daily life.
    if partitions_changed > 0 && told > 0 {
        line(LogLevel::Info, format!("{partitions_changed} partition(s) change with that"));
    }
}

fn tell_one(record: &MetadataRecord) -> Option<(LogLevel, String)> {
    use LogLevel::{Info, Warn};
    Some(match record {
        MetadataRecord::RegisterBroker(it) => {
            let (id, incarnation, epoch) = (it.broker_id, it.incarnation_id, it.broker_epoch);
            let text = format!("broker {id} registers: incarnation {incarnation}, epoch {epoch}");
            (Info, text)
        }
        MetadataRecord::UnregisterBroker(it) => {
            (Info, format!("broker {} is unregistered", it.broker_id))
        }
        MetadataRecord::BrokerRegistrationChange(it) => {
            let id = it.broker_id;
            if it.fenced > 0 {
                (Warn, format!("broker {id} is fenced"))
            } else if it.fenced < 0 {
                (Info, format!("broker {id} is unfenced"))
            } else if it.in_controlled_shutdown > 0 {
                (Info, format!("broker {id} begins a controlled shutdown"))
            } else if let Some(cordoned) = &it.cordoned_log_dirs {
                (Info, format!("broker {id} has {} cordoned log directories", cordoned.len()))
            } else {
                let left = it.log_dirs.len();
                (Warn, format!("broker {id} lost log directories; {left} are left"))
            }
        }
        MetadataRecord::RegisterController(it) => {
            let (id, incarnation) = (it.controller_id, it.incarnation_id);
            (Info, format!("controller {id} registers: incarnation {incarnation}"))
        }
        MetadataRecord::UnregisterController(it) => {
            (Info, format!("controller {} is unregistered", it.controller_id))
        }
        MetadataRecord::FeatureLevel(it) => {
            (Info, format!("feature {} is set to level {}", it.name, it.feature_level))
        }
        MetadataRecord::Topic(it) => {
            (Info, format!("topic {} is created with id {}", it.name, it.topic_id))
        }
        MetadataRecord::RemoveTopic(it) => {
            (Info, format!("topic with id {} is deleted", it.topic_id))
        }
        MetadataRecord::AbortTransaction(_) => {
            (Warn, "the open metadata transaction is aborted".to_owned())
        }
        _ => return None,
    })
}
