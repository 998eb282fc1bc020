//! `quorate restore`: a new quorum out of a backup.

use crate::args::{Opt, Parsed, flag, option, with_usage};
use crate::failure::Failure;
use crate::shadow::given::{fresh_uuid, seed, wall_ms};
use crate::storage_tool::initial_voters;
use quorate_base::{Prng, ReplicaKey};
use quorate_protocol::control::Voter;
use quorate_server::config::StorageConfig;
use quorate_shadow::restore::{Consequences, Margins, Restored, Target, find};
use quorate_shadow::{Mirror, mirrored_cluster};
use quorate_storage::{
    Disk, ElectionState, FileDisk, FormatSpec, InitialVoters, METADATA_DIR, MetaProperties,
    QuorumStateVersion, SnapshotVoters, Snapshots, VoteStore, format,
};
use std::path::Path;
use std::sync::Arc;

const USAGE: &str = "\
usage: quorate restore --from DIR -c FILE.properties [--offset N | --time T]
                       [--standalone | --initial-controllers LIST] [--dry-run]

Makes the directories of one controller of a new quorum out of a backup: formats them as FILE says and
writes the metadata as of N or T into them as a snapshot. Run it for each controller with its own FILE and
the same other arguments; then start Quorate or Kafka on them. Nothing that exists is written over.

      --from DIR        the backup (its `quorate backup` must not be running)
  -c, --config FILE     properties of the controller: node.id, log.dirs, controller.quorum.*
      --offset N        metadata below offset N
      --time T          metadata up to T: 2026-11-22T19:30:00Z, or milliseconds since 1970
                        (without either: the newest)
      --standalone      a quorum of this controller alone
      --initial-controllers ID@HOST:PORT:DIRECTORY-ID,...
                        all controllers of the new quorum; with controller.quorum.voters in FILE
                        neither is given
      --cluster-id ID   `keep` (the default) or another; brokers of the old id then refuse to start
      --dry-run         only show what would be restored and what brokers will make of it

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused: a directory is in use or formatted already.
";

const OPTIONS: &[Opt] = &[
    option("from", None),
    option("config", Some('c')),
    option("offset", None),
    option("time", None),
    flag("standalone", None),
    option("initial-controllers", None),
    flag("no-initial-controllers", None),
    option("cluster-id", None),
    flag("dry-run", None),
];

const KRAFT_VERSION: i16 = 1;
/// Names shown of a kind.
const NAMED: usize = 20;

/// Runs `quorate restore ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    with_usage(args, OPTIONS, USAGE, restore)
}

fn restore(parsed: &Parsed) -> Result<(), Failure> {
    let from = parsed.value("from").ok_or_else(|| Failure::usage("argument --from is required"))?;
    let target = target(parsed)?;
    let known = mirrored_cluster(Path::new(from))?;
    let backup = Mirror::open_existing(Path::new(from), seed()?, wall_ms())?;
    let restored = find(&backup, target)?.restore(Margins::default());
    print!("{}", summary(&restored));
    if parsed.has("dry-run") {
        println!("\nnothing was written");
        return Ok(());
    }
    let file = parsed.value("config");
    let file = file.ok_or_else(|| Failure::usage("argument --config/-c is required"))?;
    let config = StorageConfig::load(Path::new(file))?;
    let cluster_id = match parsed.value("cluster-id").filter(|id| *id != "keep") {
        Some(other) => other.to_owned(),
        None => known.unwrap_or_default(),
    };
    let voters = match initial_voters(parsed, &config)? {
        // Its directory's id must be known before the snapshot is written.
        InitialVoters::Standalone { endpoints } => InitialVoters::Explicit(vec![Voter {
            key: ReplicaKey { id: config.node_id, directory_id: Some(fresh_uuid()) },
            endpoints,
            min_kraft_version: 0,
            max_kraft_version: KRAFT_VERSION,
        }]),
        other => other,
    };
    write(&restored, &config, &cluster_id, voters)?;
    println!("\nrestored into {}; start a controller with {file}", config.metadata_dir.display());
    Ok(())
}

fn target(args: &Parsed) -> Result<Target, Failure> {
    match (args.value("offset"), args.value("time")) {
        (None, None) => Ok(Target::Newest),
        (Some(offset), None) => offset
            .parse()
            .map(Target::Offset)
            .map_err(|_| Failure::usage(format!("--offset: {offset} is no offset"))),
        (None, Some(time)) => millis(time).map(Target::TimeMs).ok_or_else(|| {
            Failure::usage(format!(
                "--time: {time} is no time: 2026-11-22T19:30:00Z (UTC), or milliseconds since 1970"
            ))
        }),
        (Some(_), Some(_)) => Err(Failure::usage("--offset and --time exclude each other")),
    }
}

/// Milliseconds since the Unix epoch of `2026-11-22T19:30:00[.123]Z`, or of a plain number.
fn millis(text: &str) -> Option<i64> {
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|it| it.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|it| it.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..61).contains(&second);
    if !in_range || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    // Days since 1970 of a date in the Gregorian calendar, the year beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + ms)
}

/// The snapshot and the epoch first, `meta.properties` last: what was interrupted does not start.
fn write(
    restored: &Restored,
    config: &StorageConfig,
    cluster_id: &str,
    voters: InitialVoters,
) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    let root = &config.metadata_dir;
    let metadata = root.join(METADATA_DIR);
    for dir in &config.log_dirs {
        if MetaProperties::load(disk.as_ref(), dir)?.is_some() {
            return Err(refused(format!("{} is formatted already", dir.display())));
        }
    }
    if metadata.exists() {
        return Err(refused(format!("{} is there already", metadata.display())));
    }
    std::fs::create_dir_all(&metadata).map_err(|error| {
        Failure::failed(format!("cannot create {}: {error}", metadata.display()))
    })?;
    let (snapshot_voters, version, static_voters) = match &voters {
        InitialVoters::Explicit(all) => (
            SnapshotVoters::Dynamic { kraft_version: KRAFT_VERSION, voters: all.clone() },
            QuorumStateVersion::V1,
            Vec::new(),
        ),
        _ => {
            let ids = config.static_voters.iter().map(|it| it.id).collect();
            (SnapshotVoters::Static, QuorumStateVersion::V0, ids)
        }
    };
    let mut prng = Prng::new(seed()?);
    // Nothing of this moment goes into it: every controller of the new quorum gets the same bytes.
    let ms = restored.timestamp_ms;
    let snapshots = Snapshots::new(disk.clone(), &metadata);
    let mut writer = snapshots.create(restored.id, ms, ms, &snapshot_voters, &mut prng)?;
    for (record, record_version) in &restored.records {
        let value = record
            .encode_framed(*record_version)
            .map_err(|error| Failure::failed(format!("{}: {error}", record.name())))?;
        writer.append(value)?;
    }
    writer.finish()?;
    let state = ElectionState {
        epoch: restored.id.epoch,
        voters: static_voters,
        ..ElectionState::default()
    };
    VoteStore::new(disk.clone(), root, &metadata).save(&state, version)?;
    let spec = FormatSpec {
        cluster_id: cluster_id.to_owned(),
        node_id: config.node_id,
        directories: config.log_dirs.clone(),
        metadata_directory: root.clone(),
        initial_voters: voters,
        bootstrap_records: Vec::new(),
        ignore_formatted: false,
    };
    format(&disk, &spec, wall_ms(), &mut prng)?;
    Ok(())
}

fn refused(why: String) -> Failure {
    let message = format!("{why}; nothing was written. Give log.dirs that are empty");
    Failure { message, exit_code: 3 }
}

fn summary(restored: &Restored) -> String {
    let Consequences {
        topics_back_empty,
        topics_gone,
        partitions_gone,
        topics_replaced,
        settings_changed,
        other_changes,
        brokers,
        topics,
        partitions,
    } = &restored.consequences;
    let mut out = format!(
        "metadata as of {} (last record at {} ms), out of a backup up to {}\n\
         {topics} topics with {partitions} partitions, {} records\n\
         written as a snapshot at {}: behind anything that brokers and old controllers have seen\n\n",
        restored.target,
        restored.timestamp_ms,
        restored.backup_end,
        restored.records.len(),
        restored.id
    );
    out += "STOP ALL BROKERS before the restored quorum starts: one that runs on would delete the data of \
            topics that it no longer finds.\n\nwhat brokers and clients will notice\n";
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED { ", ..." } else { "" };
            out += &format!("* {}: {shown}{more}\n", what.replace("{n}", &names.len().to_string()));
        }
    };
    list(
        "{n} topic(s) created since are gone; brokers set their partitions' directories aside as strays \
         (named ...-stray) when they start",
        topics_gone,
    );
    list(
        "{n} topic(s) deleted since are back, and empty: brokers have deleted their data",
        topics_back_empty,
    );
    list(
        "{n} topic(s) deleted and created anew since: the older one is back, and empty; the newer one's \
         directories become strays",
        topics_replaced,
    );
    list("{n} topic(s) had partitions added since, which are gone", partitions_gone);
    if settings_changed + other_changes > 0 {
        out += &format!(
            "* {settings_changed} resource(s) go back to other settings; {other_changes} ACLs, \
             credentials, quotas and tokens go back\n"
        );
    }
    out += &format!(
        "* brokers {brokers:?} are registered and fenced: each registers with a new epoch when it starts, and is \
         unfenced\n\
         * all partitions are without a leader until a member of their last known ISR is back; leader epochs \
         are raised, so consumers and followers see a new leader and cut nothing that was acknowledged to \
         that ISR\n\
         * producer ids start behind those in use; transactions and idempotent producers go on\n\
         * feature levels are those of the backup's end: they never go down\n\
         * old controllers must not start again: their cluster id and voters may look alike, but their log \
         is another\n"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2026-11-22T19:30:00Z"), Some(1_795_375_800_000));
        assert_eq!(millis("2000-02-29T12:00:00.5Z"), Some(951_825_600_500));
        for bad in
            ["", "now", "2026-13-01T00:00:00Z", "2026-11-22T19:30:00", "2026-11-22", "T", "Z"]
        {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
