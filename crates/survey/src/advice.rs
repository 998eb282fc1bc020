//! What each kind of finding means and what to do about it: one table.

use crate::finding::{BatchFile, Kind, Severity};
use Severity::{Note, Problem, Warning};
use quorate_base::NodeId;
use quorate_metadata::LoadError;
use quorate_protocol::batch::BatchErrorKind;

/// A finding in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// How much it matters.
    pub severity: Severity,
    /// A short name that never changes, for scripts.
    pub code: &'static str,
    /// What was found, with its values.
    pub what: String,
    /// What that means.
    pub meaning: &'static str,
    /// What to do.
    pub advice: &'static str,
}

const REBUILD: &str = "if other voters hold the metadata, take this node out of the quorum, format \
     the directory anew and add it again; if this is the only copy, `quorate recover` keeps \
     everything before this place";
const RESTORE: &str =
    "put the missing file back from a copy; or, if other voters hold the metadata, format anew";
const NOTHING: &str = "nothing";
const NEXT_START: &str = "nothing: the next start does it";
const REMOVE: &str = "move it out of the directory";

impl Kind {
    /// The finding in words.
    pub fn text(&self) -> Text {
        let (severity, code, what, meaning, advice) = self.row();
        Text { severity, code, what, meaning, advice }
    }

    #[rustfmt::skip]
    fn row(&self) -> (Severity, &'static str, String, &'static str, &'static str) {
        match self {
            Kind::NoSuchDirectory => (Problem, "no-such-directory",
                "there is no such directory".into(),
                "the path is wrong, or its disk is not mounted",
                "check the path and the mounts"),
            Kind::NotADirectory => (Problem, "not-a-directory",
                "this is not a directory".into(),
                "a log directory is expected, the one that log.dirs or metadata.log.dir names",
                "give the directory; a single file is read by `quorate dump`"),
            Kind::Unreadable { why } => (Problem, "unreadable",
                format!("it cannot be read: {why}"),
                "the node would not start, and what is in there is not known",
                "mend the permissions or the disk, and check again"),
            Kind::NotFormatted => (Problem, "not-formatted",
                "there is no meta.properties".into(),
                "nobody can tell which cluster and node the directory belongs to; no node starts on it",
                "restore the file (cluster.id, node.id and directory.id must be the old ones), or format the directory if it is to be new"),
            Kind::BadMetaProperties { why } => (Problem, "bad-meta-properties",
                format!("meta.properties cannot be used: {why}"),
                "no node starts on the directory",
                "restore the file: cluster.id and node.id are the same on the node's other directories, directory.id stands in the voter set"),
            Kind::ZooKeeperEra => (Problem, "zookeeper-era",
                "meta.properties has version 0".into(),
                "the directory belongs to a broker of the time of ZooKeeper",
                "migrate the cluster to KRaft with Kafka 3.9 first"),
            Kind::ForeignCluster { expected, found } => (Problem, "foreign-cluster",
                format!("it belongs to cluster {found}, not to {expected}"),
                "directories of two clusters were mixed up; a node would refuse to start",
                "check which directory was mounted or given"),
            Kind::ForeignNode { expected, found } => (Problem, "foreign-node",
                format!("it belongs to node {found}, not to {expected}"),
                "directories of two nodes were mixed up; a node would refuse to start",
                "check which directory was mounted or given"),
            Kind::NoDirectoryId => (Warning, "no-directory-id",
                "meta.properties has no directory.id".into(),
                "it was formatted by a Kafka before 3.7; a voter of a dynamic quorum needs the id",
                NEXT_START),
            Kind::ReservedDirectoryId { id } => (Problem, "reserved-directory-id",
                format!("directory.id {id} is one that Kafka keeps for itself"),
                "such ids stand for \"unknown\", \"lost\" and the like, so the directory has no identity",
                "restore the id that stands in the voter set; for a node that is no voter, draw one with `quorate storage random-uuid`"),
            Kind::SharedDirectoryId { id, other } => (Problem, "shared-directory-id",
                format!("directory.id {id} is also that of {}", other.display()),
                "one directory was copied from the other; both would vote as one replica",
                "format one of them anew, never run both"),
            Kind::NotTheVotersDirectory { found, voter } => (Problem, "not-the-voters-directory",
                format!("directory.id is {found}, but the voter is {voter}"),
                "the node would not vote: to the quorum it is another replica of the same id. The file was \
                 replaced, or the node was formatted anew",
                "restore the old directory.id if this is the voter's own log; else remove the old voter and add this one"),
            Kind::NoMetadataLog => (Warning, "no-metadata-log",
                "there is no __cluster_metadata-0".into(),
                "the directory was formatted and no controller has run on it, or it holds partitions only",
                NOTHING),
            Kind::SecondMetadataLog { first } => (Problem, "second-metadata-log",
                format!("it holds a metadata log, and so does {}", first.display()),
                "a node has one; which of them is read depends on metadata.log.dir",
                "check both, and move the one away that metadata.log.dir does not name"),
            Kind::InUse { holder } => (Note, "in-use",
                format!("{holder} is using the directory"),
                "what is written while this looks may seem torn",
                "check again when it has stopped, if there are findings about the log's end"),
            Kind::CleanShutdown => (Note, "clean-shutdown",
                "Kafka's mark of a clean shutdown is there".into(),
                "a broker shut down cleanly; the metadata log is read through in any case",
                NOTHING),

            Kind::BadSegmentName => (Problem, "bad-segment-name",
                "the file ends in .log and is not named by an offset of twenty digits".into(),
                "Kafka fails to start on it",
                "rename it to its first offset if it is a segment of this log, else move it away"),
            Kind::BadSnapshotName => (Problem, "bad-snapshot-name",
                "the file ends in .checkpoint and is not named OFFSET-EPOCH in twenty and ten digits".into(),
                "Kafka fails to start on it",
                "rename it if it is a snapshot of this log, else move it away"),
            Kind::LeftOver => (Note, "left-over",
                "an interrupted change left this file".into(),
                "it means nothing any more",
                NEXT_START),
            Kind::StrangeFile => (Warning, "strange-file",
                "neither Kafka nor Quorate writes such a file here".into(),
                "Kafka may delete it",
                REMOVE),
            Kind::StrangeDirectory => (Warning, "strange-directory",
                "a directory inside the directory of the metadata log".into(),
                "neither Kafka nor Quorate makes one",
                REMOVE),
            Kind::NotAFile => (Problem, "not-a-file",
                "this should be a file".into(),
                "a node would fail to start on it",
                RESTORE),

            Kind::NoPartitionMetadata => (Note, "no-partition-metadata",
                "there is no partition.metadata".into(),
                "the next start writes it",
                NEXT_START),
            Kind::BadPartitionMetadata { why } => (Problem, "bad-partition-metadata",
                format!("partition.metadata cannot be used: {why}"),
                "Kafka fails to start on it",
                "remove the file: the next start writes it"),
            Kind::OtherTopic { found } => (Problem, "other-topic",
                format!("partition.metadata names topic id {found}"),
                "this is another topic's directory, or the file was damaged",
                "see with `quorate dump` whether the log holds metadata records; if so, remove the file"),
            Kind::NoEpochCheckpoint => (Note, "no-epoch-checkpoint",
                "there is no leader-epoch-checkpoint".into(),
                "it is made again from the log",
                NEXT_START),
            Kind::BadEpochCheckpoint { why } => (Warning, "bad-epoch-checkpoint",
                format!("leader-epoch-checkpoint cannot be read: {why}"),
                "Quorate makes it again from the log; a Kafka of some releases fails to start on it",
                "remove the file: it is made again"),
            Kind::EpochCheckpointDisagrees { epoch, file, log } => (Warning, "epoch-checkpoint-disagrees",
                format!("epoch {epoch} starts {} by leader-epoch-checkpoint, {} by the log", at(*file), at(*log)),
                "the file is older than the log, or of another one; it is made again from the log",
                NEXT_START),
            Kind::EpochCheckpointBeyondLog { epoch, start, log_end } => (Warning, "epoch-checkpoint-beyond-log",
                format!("leader-epoch-checkpoint knows epoch {epoch} from offset {start} on, but the log ends at {log_end}"),
                "the log was longer once: its end was cut, or a segment is missing at the end",
                "if a segment was lost, put it back before the node starts: the quorum may have counted on those records"),
            Kind::BadIndexSize { bytes, entry } => (Warning, "bad-index-size",
                format!("the index has {bytes} bytes, no multiple of {entry}"),
                "it was cut; indexes are made again from the log",
                NEXT_START),
            Kind::BadIndexEntry { position, segment_bytes } => (Warning, "bad-index-entry",
                format!("an entry points to byte {position}, the segment has {segment_bytes}"),
                "the index is of another segment, or the segment was cut; it is made again",
                NEXT_START),
            Kind::OrphanIndex => (Warning, "orphan-index",
                "there is no segment to this index".into(),
                "the segment was removed or lost; see whether there is a finding about a gap",
                "nothing, if there is no gap"),

            Kind::TornTail { bytes, cause } => (Warning, "torn-tail",
                format!("the last {bytes} bytes of the log are no whole batch ({cause})"),
                "what a crash while writing leaves: nobody was told that these records are on disk",
                "nothing: the next start cuts them off. If the node did not crash, its disk deserves a look"),
            Kind::BrokenBatch { file, cause, followed_by } => {
                let (code, meaning) = broken(cause);
                let behind = followed_by.map(|at| format!("; a whole batch follows at byte {at}"));
                let what = format!("{}{}", cause, behind.unwrap_or_default());
                match file {
                    BatchFile::Segment => (Problem, code, what, meaning, REBUILD),
                    BatchFile::Snapshot => (Problem, code, format!("in a snapshot: {what}"), meaning,
                        "if an older snapshot and the log from there on are whole, move this one away; else format anew"),
                }
            }
            Kind::HugeBatch { bytes } => (Problem, "huge-batch",
                format!("a batch claims {bytes} bytes"),
                "Kafka writes none above 8 MiB: its length was damaged",
                REBUILD),
            Kind::WrongOffset { file, found, due } => (Problem, "wrong-offset",
                format!("a batch starts at offset {found} where {due} is due{}", in_snapshot(*file)),
                "batches are missing, doubled or from elsewhere; no crash leads to this",
                REBUILD),
            Kind::WrongFirstOffset { found, name } => (Problem, "wrong-first-offset",
                format!("the first batch has offset {found}, the file is named {name}"),
                "the file was renamed or comes from another log",
                "give the file its right name, or put the right one in its place"),
            Kind::EpochGoesDown { from, to } => (Problem, "epoch-goes-down",
                format!("a batch of epoch {to} follows one of epoch {from}"),
                "two histories were mixed: files of two nodes, or of before and after a restore",
                REBUILD),
            Kind::NegativeEpoch { epoch } => (Problem, "negative-epoch",
                format!("a batch has epoch {epoch}"),
                "the header was damaged where no checksum covers it",
                REBUILD),
            Kind::BadControlRecord { why } => (Problem, "bad-control-record",
                why.clone(),
                "the raft layer cannot read what its peer wrote",
                "if a later Kafka wrote it, use a later release; else as for a broken batch"),
            Kind::UnknownControlRecord { kind } => (Warning, "unknown-control-record",
                format!("a control record of the unknown type {kind}"),
                "a later Kafka wrote it; it is skipped, as Kafka does",
                "check that the release in use fits the quorum"),
            Kind::MisplacedControlRecord { name, file } => (Problem, "misplaced-control-record",
                match file {
                    BatchFile::Segment => format!("a {name} record in the log"),
                    BatchFile::Snapshot => format!("a {name} record in a snapshot"),
                },
                "a snapshot's bytes stand in the log, or the other way round",
                REBUILD),

            Kind::NoSegments { snapshot: None } => (Note, "no-segments",
                "the log has no segment".into(),
                "the directory is new: no controller has run on it",
                NOTHING),
            Kind::NoSegments { snapshot: Some(id) } => (Warning, "no-segments-behind-snapshot",
                format!("the log has no segment; the newest snapshot has {id}"),
                "a crash while the snapshot was installed, or the segments were removed",
                "if the segments were removed by hand, put them back; else nothing: the log goes on behind the snapshot"),
            Kind::EmptySegment => (Problem, "empty-segment",
                "the segment is empty, and others follow".into(),
                "its records are missing: a segment is complete before the next one begins",
                RESTORE),
            Kind::SegmentGap { due, found } => (Problem, "segment-gap",
                format!("offsets {due} to {} are missing before this segment", found - 1),
                "a segment was removed or lost its end",
                RESTORE),
            Kind::SegmentOverlap { due, found } => (Problem, "segment-overlap",
                format!("the segment starts at offset {found}, but the one before it ends at {due}"),
                "a segment is there twice under two names, or comes from another node",
                "move away the one that does not belong here"),
            Kind::StartWithoutSnapshot { start } => (Problem, "start-without-snapshot",
                format!("the log starts at offset {start} and there is no snapshot"),
                "the metadata before that offset is missing: only a snapshot has it",
                RESTORE),
            Kind::StartAboveSnapshot { start, snapshot } => (Problem, "start-above-snapshot",
                format!("the log starts at offset {start}, above the newest snapshot at offset {}", snapshot.offset),
                "the metadata in between is missing: a segment or a newer snapshot was removed",
                RESTORE),
            Kind::EpochWithoutLeader { epoch } => (Warning, "epoch-without-leader",
                format!("epoch {epoch} does not begin with a LeaderChange record"),
                "every leader writes that first; the log was edited or damaged",
                "compare with another voter's log: `quorate diff`"),
            Kind::Unreachable { segments, bytes } => (Problem, "unreachable",
                format!("{bytes} bytes in {segments} segment(s) lie behind the damage"),
                "they were not looked at, and no node reads them. Java cuts its log at the damage and deletes what follows",
                "copy the directory before a Java controller starts on it"),

            Kind::NoVoters => (Problem, "no-voters",
                "the voter set is empty".into(),
                "nobody could ever be elected",
                "`quorate recover` writes a voter set"),
            Kind::DuplicateVoter { id } => (Problem, "duplicate-voter",
                format!("voter {id} is there twice"),
                "one id would have two votes",
                "`quorate recover` writes a voter set"),
            Kind::VoterWithoutEndpoint { voter } => (Warning, "voter-without-endpoint",
                format!("voter {voter} has no endpoint"),
                "the others cannot reach it, so it never gets a vote",
                "start it once with its listener configured; or `quorate recover --set-endpoint`"),
            Kind::UnknownKraftVersion { version } => (Problem, "unknown-kraft-version",
                format!("kraft.version {version}"),
                "a later Kafka wrote it: what it asks of voters is not known here",
                "use a later release"),
            Kind::VotersReplaced { old, new } => (Note, "voters-replaced",
                format!("the voters {} became {} in one step", ids(old), ids(new)),
                "a quorum changes by one voter at a time: somebody recovered it here from outside",
                NOTHING),

            Kind::BadRecord { error, file } => {
                let what = format!("{error}{}", in_snapshot(*file));
                match error {
                    LoadError::UnknownRecord { .. } => (Problem, "unknown-record", what,
                        "it cannot be known what the records behind it refer to",
                        "use a release that knows it"),
                    LoadError::Undecodable { .. } => (Problem, "unreadable-record", what,
                        "the checksum is right, so it was written like that: by a later release or another tool",
                        "use the release that wrote it"),
                    LoadError::Inapplicable { .. } => (Problem, "inapplicable-record", what,
                        "a record before it is missing, or a faulty controller wrote it; every controller stops here",
                        "compare with another voter's log: `quorate diff`"),
                }
            }
            Kind::OpenTransaction { name } => (Note, "open-transaction",
                format!("the metadata transaction {name:?} is open at the end"),
                "its records do not count until it ends",
                "nothing: the next leader aborts it"),
            Kind::NoMetadataVersion => (Warning, "no-metadata-version",
                "there are metadata records, but no metadata.version".into(),
                "a snapshot or the log's beginning is missing, or a Kafka before 3.3 wrote it",
                "see the other findings"),

            Kind::EmptySnapshot => (Problem, "empty-snapshot",
                "the snapshot is empty".into(),
                "a snapshot gets its name when it is complete: the disk lost its bytes",
                "move it away if an older snapshot and the log from there on are whole; else format anew"),
            Kind::NoSnapshotHeader => (Problem, "no-snapshot-header",
                "it does not start with a header record".into(),
                "this is no snapshot, or its beginning is lost",
                "move it away if an older snapshot and the log from there on are whole; else format anew"),
            Kind::NoSnapshotFooter => (Problem, "no-snapshot-footer",
                "it ends without a footer record".into(),
                "its end is lost: it does not hold everything",
                "move it away if an older snapshot and the log from there on are whole; else format anew"),
            Kind::BehindFooter => (Problem, "behind-footer",
                "there are batches behind the footer record".into(),
                "two files were put together",
                "move it away if an older snapshot and the log from there on are whole; else format anew"),
            Kind::SnapshotBatchEpoch { found, name } => (Warning, "snapshot-batch-epoch",
                format!("a batch has epoch {found}, the file's name says {name}"),
                "the file was renamed",
                "compare with another voter's snapshot of that name"),
            Kind::SnapshotTwice { other } => (Problem, "snapshot-twice",
                format!("there is another snapshot of the same offset, of epoch {}", other.epoch),
                "an offset has one epoch: one of them is of another history",
                "move the one away that does not fit the log"),
            Kind::SnapshotOtherHistory { snapshot, log } => (Problem, "snapshot-of-another-history",
                format!("it is of epoch {}, but the log has epoch {log} at offset {}", snapshot.epoch, snapshot.offset - 1),
                "snapshot and log are of two histories: files of two nodes, or of before and after a restore",
                "move the one away that is not this node's"),
            Kind::SnapshotInsideBatch { snapshot } => (Warning, "snapshot-inside-batch",
                format!("offset {} is inside a batch of the log", snapshot.offset),
                "Kafka makes snapshots at the end of batches only",
                "compare with another voter's snapshot of that name"),
            Kind::SnapshotAheadOfLog { snapshot, log_end } => (Warning, "snapshot-ahead-of-log",
                format!("it reaches {snapshot}, the log ends at {log_end}"),
                "a crash while it was installed, or the log lost its end. At the next start the log goes on behind the snapshot",
                "nothing, if the node was catching up; else look for lost segments first"),
            Kind::SnapshotDisagrees { records, first } => (Problem, "snapshot-disagrees",
                format!("the log up to there gives other metadata: {records} difference(s), the first in {first}"),
                "log and snapshot were written by controllers that did not agree, or one was edited. Nodes that \
                 start from it differ from those that replay",
                "compare both with the other voters: `quorate diff`"),
            Kind::SnapshotOtherVoters { snapshot, log } => (Problem, "snapshot-of-other-voters",
                format!("it names the voters {}, the log up to there {}", ids(snapshot), ids(log)),
                "a node that starts from it votes in another quorum",
                "compare with another voter's snapshot of that name"),
            Kind::SnapshotWithoutVoters => (Problem, "snapshot-without-voters",
                "it has kraft.version 1 and no voter set".into(),
                "a node that starts from it does not know the quorum",
                "compare with another voter's snapshot of that name"),

            Kind::NoQuorumState => (Warning, "no-quorum-state",
                "there is no quorum-state, but a log with records".into(),
                "a script deleted it, or the directory was put together by hand. Epoch and vote are forgotten: \
                 the node starts in the log's last epoch and could vote twice in it",
                "restore the file; without a copy, start the node when the others have a leader"),
            Kind::BadQuorumState { why } => (Problem, "bad-quorum-state",
                format!("quorum-state cannot be read: {why}"),
                "the node's vote is not known; neither Kafka nor Quorate starts",
                "remove it only if quorate.vote is there and whole, or if the others have a leader in a later epoch"),
            Kind::EmptyQuorumState => (Problem, "empty-quorum-state",
                "quorum-state is empty".into(),
                "the disk lost its bytes; the node's vote is not known",
                "remove it only if quorate.vote is there and whole, or if the others have a leader in a later epoch"),
            Kind::BadVote { why } => (Problem, "bad-vote",
                format!("quorate.vote cannot be read: {why}"),
                "the second copy of the node's vote is damaged; Quorate does not start",
                "remove it if quorum-state is there and whole and no script deletes that file"),
            Kind::EpochBelowLog { epoch, log } => (Problem, "epoch-below-log",
                format!("it says epoch {epoch}, the log has records of epoch {log}"),
                "the file is older than the log: restored from a copy, or put back after a script deleted it. The vote \
                 in the log's epoch is forgotten",
                "remove the file if it was restored; the node then starts in the log's epoch. Start it when the others have a leader"),
            Kind::VoteForStranger { voted, voters } => (Warning, "vote-for-a-stranger",
                format!("the vote is for {voted}, the voters are {}", ids(voters)),
                "the candidate is no voter in what this node has of the log; normal only while voters change",
                "see whether quorum-state is this node's own"),
            Kind::StrangeLeader { leader, voters } => (Warning, "strange-leader",
                format!("the leader is {leader}, the voters are {}", ids(voters)),
                "the leader is no voter in what this node has of the log; normal only while voters change",
                "see whether quorum-state is this node's own"),
            Kind::TwoVotes { epoch, kafka, own } => (Problem, "two-votes",
                format!("in epoch {epoch}, quorum-state has a vote for {kafka} and quorate.vote one for {own}"),
                "a node votes once in an epoch: two copies of the directory were in use, or one file comes from a copy",
                "find out whether the directory was restored or copied; format anew if other voters hold the metadata"),
            Kind::OwnVoteIsLater { own, kafka } => (Warning, "own-vote-is-later",
                format!("quorate.vote knows epoch {own}, quorum-state only {kafka}"),
                "quorum-state was deleted or put back; the later one counts",
                "nothing; but do not start Kafka on the directory before Quorate has written both again"),
            Kind::OwnVoteIsOlder { own, kafka } => (Note, "own-vote-is-older",
                format!("quorum-state knows epoch {kafka}, quorate.vote only {own}"),
                "Kafka ran on the directory since Quorate did; the later one counts",
                NOTHING),
            Kind::Recovering => (Warning, "recovering",
                "the node started on an empty disk and does not vote yet".into(),
                "it waits until it knows that no forgotten promise binds it",
                "nothing, while the others have a leader; else bring the others back"),
            Kind::QuorumStateLayout { layout, kraft_version } => (Note, "quorum-state-layout",
                format!("quorum-state has layout {layout}, kraft.version is {kraft_version}"),
                "both are read; the next save writes the right one",
                NOTHING),
        }
    }
}

/// A broken batch's code and meaning.
fn broken(cause: &BatchErrorKind) -> (&'static str, &'static str) {
    match cause {
        BatchErrorKind::Truncated { .. } => (
            "cut-batch",
            "the file ends inside a batch although it was complete once: its end is lost",
        ),
        BatchErrorKind::BadLength { .. } => ("bad-batch-length", "the batch's header was damaged"),
        BatchErrorKind::BadMagic { .. } => (
            "bad-batch-format",
            "the batch's header was damaged, or these bytes are no batch at all",
        ),
        BatchErrorKind::BadHeader { .. } => ("bad-batch-header", "the batch's header was damaged"),
        BatchErrorKind::BadCrc { .. } => (
            "bad-checksum",
            "bytes of the batch changed after it was written: disk or copy is faulty",
        ),
        BatchErrorKind::Compressed { .. } => (
            "compressed-batch",
            "the metadata log is never compressed: header damaged, or another topic's file",
        ),
        BatchErrorKind::BadRecord { .. } => (
            "bad-record-frame",
            "the checksum is right and the records are not: it was written like that, by another tool",
        ),
    }
}

fn in_snapshot(file: BatchFile) -> &'static str {
    match file {
        BatchFile::Segment => "",
        BatchFile::Snapshot => ", in a snapshot",
    }
}

fn at(offset: Option<i64>) -> String {
    offset.map_or_else(|| "nowhere".to_owned(), |offset| format!("at offset {offset}"))
}

fn ids(ids: &[NodeId]) -> String {
    let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", all.join(", "))
}
