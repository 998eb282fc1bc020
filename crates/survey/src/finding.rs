//! One thing noticed in a directory: where, what, and how bad. What it means and what to do about
//! it stands in `advice.rs`.

use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey};
use quorate_metadata::LoadError;
use quorate_protocol::batch::BatchErrorKind;
use std::fmt;
use std::path::PathBuf;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Normal, but good to know.
    Note,
    /// Not as it should be; a start mends it or goes on without it.
    Warning,
    /// Records are lost or contradict each other, or a start is refused.
    Problem,
}

impl Severity {
    /// Whether it is the worst.
    pub fn is_problem(self) -> bool {
        self == Severity::Problem
    }

    /// One word, as printed.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// Where something was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// The file or directory.
    pub path: PathBuf,
    /// Byte in the file.
    pub position: Option<u64>,
    /// Offset in the log (or in the snapshot file).
    pub offset: Option<Offset>,
}

impl Place {
    /// A whole file or directory.
    pub fn of(path: impl Into<PathBuf>) -> Place {
        Place { path: path.into(), position: None, offset: None }
    }

    /// A byte of a file.
    pub fn at(path: impl Into<PathBuf>, position: u64) -> Place {
        Place { position: Some(position), ..Place::of(path) }
    }

    /// The same place, with the offset that is there or due there.
    pub fn offset(self, offset: Offset) -> Place {
        Place { offset: Some(offset), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(position) = self.position {
            write!(f, ", byte {position}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        Ok(())
    }
}

/// Something noticed.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: Kind,
}

impl Finding {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.kind.text().severity
    }
}

/// Which of the two kinds of file batches are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchFile {
    /// A segment of the log.
    Segment,
    /// A snapshot, or `bootstrap.checkpoint`.
    Snapshot,
}

/// What was noticed. Each kind has one message, in `advice.rs`.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    // The directory and its root.
    /// There is nothing by that name.
    NoSuchDirectory,
    /// A file where a directory is due.
    NotADirectory,
    /// The operating system refuses.
    Unreadable { why: String },
    /// No `meta.properties`.
    NotFormatted,
    /// `meta.properties` is not what it should be.
    BadMetaProperties { why: String },
    /// `meta.properties` of the time of ZooKeeper.
    ZooKeeperEra,
    /// Another cluster's directory.
    ForeignCluster { expected: String, found: String },
    /// Directories of different nodes.
    ForeignNode { expected: NodeId, found: NodeId },
    /// Formatted before directories had ids.
    NoDirectoryId,
    /// An id that Kafka keeps for itself.
    ReservedDirectoryId { id: String },
    /// Two directories with one id.
    SharedDirectoryId { id: String, other: PathBuf },
    /// Node is a voter, under another directory's id.
    NotTheVotersDirectory { found: String, voter: ReplicaKey },
    /// None of the directories holds the metadata log.
    NoMetadataLog,
    /// More than one of them does.
    SecondMetadataLog { first: PathBuf },
    /// A process holds the lock.
    InUse { holder: String },
    /// Kafka's mark of a clean shutdown.
    CleanShutdown,

    // Names in the metadata directory.
    /// A `.log` that is not named by its base offset.
    BadSegmentName,
    /// A `.checkpoint` that is not named by offset and epoch.
    BadSnapshotName,
    /// What an interrupted change left.
    LeftOver,
    /// A file that neither Kafka nor Quorate writes.
    StrangeFile,
    /// A directory inside the metadata directory.
    StrangeDirectory,
    /// A directory or the like under the name of a file.
    NotAFile,

    // Small files.
    /// No `partition.metadata`.
    NoPartitionMetadata,
    /// `partition.metadata` cannot be read.
    BadPartitionMetadata { why: String },
    /// `partition.metadata` of another topic.
    OtherTopic { found: String },
    /// No `leader-epoch-checkpoint`.
    NoEpochCheckpoint,
    /// `leader-epoch-checkpoint` cannot be read.
    BadEpochCheckpoint { why: String },
    /// `leader-epoch-checkpoint` and log disagree.
    EpochCheckpointDisagrees { epoch: Epoch, file: Option<Offset>, log: Option<Offset> },
    /// `leader-epoch-checkpoint` knows records that the log has not.
    EpochCheckpointBeyondLog { epoch: Epoch, start: Offset, log_end: Offset },
    /// An index whose size cannot be.
    BadIndexSize { bytes: u64, entry: u64 },
    /// An index entry that points nowhere.
    BadIndexEntry { position: u64, segment_bytes: u64 },
    /// An index without its segment.
    OrphanIndex,

    // Batches, in segments and snapshots.
    /// The last batch of the log was not written to its end.
    TornTail { bytes: u64, cause: BatchErrorKind },
    /// A batch that cannot be read, where no crash explains it.
    BrokenBatch { file: BatchFile, cause: BatchErrorKind, followed_by: Option<u64> },
    /// Larger than any batch is.
    HugeBatch { bytes: u64 },
    /// A batch at another offset than is due.
    WrongOffset { file: BatchFile, found: Offset, due: Offset },
    /// The first batch of a segment does not match the file's name.
    WrongFirstOffset { found: Offset, name: Offset },
    /// Epochs only grow.
    EpochGoesDown { from: Epoch, to: Epoch },
    /// Epochs are not negative.
    NegativeEpoch { epoch: Epoch },
    /// A control record that cannot be read.
    BadControlRecord { why: String },
    /// A control record of a later Kafka.
    UnknownControlRecord { kind: i16 },
    /// A control record that belongs elsewhere.
    MisplacedControlRecord { name: &'static str, file: BatchFile },

    // The log.
    /// No segment at all.
    NoSegments { snapshot: Option<OffsetAndEpoch> },
    /// An empty segment in front of others.
    EmptySegment,
    /// Records are missing between two segments.
    SegmentGap { due: Offset, found: Offset },
    /// Two segments hold the same offsets.
    SegmentOverlap { due: Offset, found: Offset },
    /// The log starts above 0 and there is no snapshot.
    StartWithoutSnapshot { start: Offset },
    /// The log starts above the newest snapshot.
    StartAboveSnapshot { start: Offset, snapshot: OffsetAndEpoch },
    /// An epoch that does not begin with its leader's own record.
    EpochWithoutLeader { epoch: Epoch },
    /// Records behind damage that cannot be reached.
    Unreachable { segments: usize, bytes: u64 },

    // Voters.
    /// A voter set of nobody.
    NoVoters,
    /// The same node twice.
    DuplicateVoter { id: NodeId },
    /// A voter that cannot be reached.
    VoterWithoutEndpoint { voter: ReplicaKey },
    /// `kraft.version` that this build does not know.
    UnknownKraftVersion { version: i16 },
    /// The voter set changed by more than one voter: no live quorum does that.
    VotersReplaced { old: Vec<NodeId>, new: Vec<NodeId> },

    // Records.
    /// A metadata record that is unknown, unreadable or contradicts the others.
    BadRecord { error: LoadError, file: BatchFile },
    /// A transaction is open at the end.
    OpenTransaction { name: String },
    /// There are records and no metadata.version among them.
    NoMetadataVersion,

    // Snapshots.
    /// A file of no bytes.
    EmptySnapshot,
    /// It does not start with a header.
    NoSnapshotHeader,
    /// It does not end with a footer.
    NoSnapshotFooter,
    /// There is more behind the footer.
    BehindFooter,
    /// Batches of another epoch than the file's name.
    SnapshotBatchEpoch { found: Epoch, name: Epoch },
    /// Two snapshots at one offset.
    SnapshotTwice { other: OffsetAndEpoch },
    /// The log has another epoch there.
    SnapshotOtherHistory { snapshot: OffsetAndEpoch, log: Epoch },
    /// Not at the end of a batch.
    SnapshotInsideBatch { snapshot: OffsetAndEpoch },
    /// The log ends below it.
    SnapshotAheadOfLog { snapshot: OffsetAndEpoch, log_end: OffsetAndEpoch },
    /// Other content than the log up to there.
    SnapshotDisagrees { records: usize, first: String },
    /// Other voters than the log up to there.
    SnapshotOtherVoters { snapshot: Vec<NodeId>, log: Vec<NodeId> },
    /// kraft.version 1 and no voters.
    SnapshotWithoutVoters,

    // The vote.
    /// No `quorum-state` beside a log with records.
    NoQuorumState,
    /// `quorum-state` cannot be read.
    BadQuorumState { why: String },
    /// `quorum-state` of no bytes.
    EmptyQuorumState,
    /// `quorate.vote` cannot be read.
    BadVote { why: String },
    /// The epoch is older than the log's.
    EpochBelowLog { epoch: Epoch, log: Epoch },
    /// The vote is for somebody who cannot be elected.
    VoteForStranger { voted: ReplicaKey, voters: Vec<NodeId> },
    /// The leader is none of the voters.
    StrangeLeader { leader: NodeId, voters: Vec<NodeId> },
    /// Two votes in one epoch.
    TwoVotes { epoch: Epoch, kafka: ReplicaKey, own: ReplicaKey },
    /// `quorum-state` was deleted or put back.
    OwnVoteIsLater { own: Epoch, kafka: Epoch },
    /// Kafka ran on the directory since.
    OwnVoteIsOlder { own: Epoch, kafka: Epoch },
    /// The node is not sure yet whether it has forgotten promises.
    Recovering,
    /// Layout 0 in a quorum of kraft.version 1, or the other way round.
    QuorumStateLayout { layout: i32, kraft_version: i16 },
}
