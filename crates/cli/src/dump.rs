//! `quorate dump FILE...`: prints metadata log segments and snapshots, Kafka's or ours.

mod json;

use bytes::Bytes;
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::{Batch, BatchError, BatchHeader, HEADER_LEN, Record};
use quorate_protocol::control::{ControlRecord, Voter};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

const USAGE: &str = "\
Usage: quorate dump [--json] FILE...

Prints the batches and records of metadata log segments (.log) and snapshots (.checkpoint),
written by Kafka or by Quorate. Files are only read; a running node need not be stopped.

  --json   one JSON object a line: {\"file\":..}, {\"batch\":..}, {\"record\":..}

Exit code: 0 all files are whole, 1 a file is damaged (the first broken batch is named by its
byte position, and nothing behind it is read) or cannot be read, 2 wrong usage.
";

/// Runs the command with its arguments (without `quorate dump`). Answers the exit code.
pub fn run(args: &[String]) -> i32 {
    let mut files = Vec::new();
    let mut format = Format::Text;
    for arg in args {
        match arg.as_str() {
            "--json" => format = Format::Json,
            "-h" | "--help" => {
                print!("{USAGE}");
                return 0;
            }
            // Kafka's tool wants these; here they change nothing.
            "--cluster-metadata-decoder" | "--files" => {}
            option if option.starts_with('-') => {
                eprintln!("quorate dump: unknown option {option}\n\n{USAGE}");
                return 2;
            }
            list => files.extend(list.split(',').filter(|name| !name.is_empty())),
        }
    }
    if files.is_empty() {
        eprintln!("quorate dump: no file was given\n\n{USAGE}");
        return 2;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut code = 0;
    for name in files {
        let dumped = dump(name, format, &mut out);
        let result = dumped.and_then(|()| out.flush().map_err(DumpError::Output));
        match result {
            Ok(()) => {}
            // Whoever reads the output has seen enough.
            Err(DumpError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return code;
            }
            Err(error) => {
                let _ = out.flush();
                eprintln!("quorate dump: {name}: {error}");
                code = 1;
            }
        }
    }
    code
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error("cannot be read: {0}")]
    Input(io::Error),
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error("damaged {0}")]
    Damaged(BatchError),
    #[error("{0} of its records cannot be decoded, see above")]
    Undecodable(usize),
}

fn dump(name: &str, format: Format, out: &mut impl Write) -> Result<(), DumpError> {
    let file = File::open(name).map_err(DumpError::Input)?;
    let size = file.metadata().map_err(DumpError::Input)?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    match format {
        Format::Text => writeln!(out, "{name}"),
        Format::Json => writeln!(out, "{{\"file\":{},\"bytes\":{size}}}", json::text(name)),
    }
    .map_err(DumpError::Output)?;
    let (mut position, mut undecodable) = (0, 0);
    while position < size {
        let batch = next_batch(&mut input, position, size - position)?;
        position += batch.header.size() as u64;
        batch.check_crc().map_err(DumpError::Damaged)?;
        print_batch(&batch, format, out).map_err(DumpError::Output)?;
        for record in batch.records() {
            let record = record.map_err(DumpError::Damaged)?;
            let decoded = decode(&batch, &record);
            undecodable += usize::from(decoded.is_err());
            print_record(&record, decoded, format, out).map_err(DumpError::Output)?;
        }
    }
    if undecodable > 0 { Err(DumpError::Undecodable(undecodable)) } else { Ok(()) }
}

/// The batch at `position`, of which `available` bytes are left in the file: no more are read or
/// allocated, whatever the batch claims.
fn next_batch(input: &mut impl Read, position: u64, available: u64) -> Result<Batch, DumpError> {
    let at = |error: BatchError| DumpError::Damaged(BatchError { position, ..error });
    let mut bytes = Vec::new();
    let mut read = |bytes: &mut Vec<u8>, count: u64| {
        input.take(count).read_to_end(bytes).map_err(DumpError::Input)
    };
    read(&mut bytes, available.min(HEADER_LEN as u64))?;
    let header = BatchHeader::parse(&bytes).map_err(at)?;
    let rest = (header.size() as u64).min(available) - bytes.len() as u64;
    read(&mut bytes, rest)?;
    Batch::parse(&Bytes::from(bytes), position).map_err(DumpError::Damaged)
}

fn print_batch(batch: &Batch, format: Format, out: &mut impl Write) -> io::Result<()> {
    let header = &batch.header;
    let (first, last) = (header.base_offset, header.last_offset());
    let (epoch, count) = (header.partition_leader_epoch, header.record_count);
    let (position, size, time) = (batch.position, header.size(), header.max_timestamp);
    let control = batch.is_control();
    match format {
        Format::Text => {
            let kind = if control { "control batch" } else { "batch" };
            writeln!(
                out,
                "{kind} offsets {first}-{last} epoch {epoch} records {count} position {position} \
                 bytes {size} time {time} crc {:08x}",
                header.crc
            )
        }
        Format::Json => writeln!(
            out,
            "{{\"batch\":{{\"baseOffset\":{first},\"lastOffset\":{last},\
             \"partitionLeaderEpoch\":{epoch},\"control\":{control},\"count\":{count},\
             \"position\":{position},\"bytes\":{size},\"timestamp\":{time},\"crc\":{}}}}}",
            header.crc
        ),
    }
}

/// A decoded record: its type as Kafka's tool prints it, version, and fields as JSON.
struct Decoded {
    kind: String,
    version: i16,
    data: String,
}

fn decode(batch: &Batch, record: &Record) -> Result<Decoded, String> {
    if batch.is_control() {
        let control = ControlRecord::decode(record).map_err(|error| error.to_string())?;
        let (kind, data) = (control.name().to_owned(), control_json(&control));
        return Ok(Decoded { kind, version: 0, data });
    }
    let value = record.value.clone().ok_or("it has no value")?;
    let (decoded, version) =
        MetadataRecord::decode_framed(value).map_err(|error| error.to_string())?;
    let data = json::from_debug(&format!("{decoded:?}"));
    Ok(Decoded { kind: screaming(decoded.name()), version, data })
}

fn print_record(
    record: &Record,
    decoded: Result<Decoded, String>,
    format: Format,
    out: &mut impl Write,
) -> io::Result<()> {
    let offset = record.offset;
    let raw = || json::base64(record.value.as_deref().unwrap_or_default());
    match (format, decoded) {
        (Format::Text, Ok(Decoded { kind, version, data })) => {
            writeln!(out, "  {offset} {kind} v{version} {data}")
        }
        (Format::Text, Err(why)) => {
            writeln!(out, "  {offset} cannot be decoded ({why}): base64 {}", raw())
        }
        (Format::Json, Ok(Decoded { kind, version, data })) => writeln!(
            out,
            "{{\"record\":{{\"offset\":{offset},\"timestamp\":{},\"type\":{},\
             \"version\":{version},\"data\":{data}}}}}",
            record.timestamp,
            json::text(&kind)
        ),
        (Format::Json, Err(why)) => writeln!(
            out,
            "{{\"record\":{{\"offset\":{offset},\"timestamp\":{},\"error\":{},\
             \"base64\":\"{}\"}}}}",
            record.timestamp,
            json::text(&why),
            raw()
        ),
    }
}

/// `FeatureLevelRecord` → `FEATURE_LEVEL_RECORD`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn control_json(record: &ControlRecord) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    match record {
        ControlRecord::LeaderChange { leader_id, voters, granting_voters } => {
            let ids =
                |ids: &[i32]| list(ids.iter().map(|id| format!("{{\"voterId\":{id}}}")).collect());
            format!(
                "{{\"version\":0,\"leaderId\":{leader_id},\"voters\":{},\"grantingVoters\":{}}}",
                ids(voters),
                ids(granting_voters)
            )
        }
        ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms } => format!(
            "{{\"version\":0,\"lastContainedLogTimestamp\":{last_contained_log_timestamp_ms}}}"
        ),
        ControlRecord::SnapshotFooter => "{\"version\":0}".to_owned(),
        ControlRecord::KRaftVersion(version) => {
            format!("{{\"version\":0,\"kRaftVersion\":{version}}}")
        }
        ControlRecord::Voters(voters) => {
            let voters = list(voters.iter().map(voter_json).collect());
            format!("{{\"version\":0,\"voters\":{voters}}}")
        }
        ControlRecord::Unknown { kind, value } => {
            format!("{{\"controlType\":{kind},\"base64\":\"{}\"}}", json::base64(value))
        }
    }
}

fn voter_json(voter: &Voter) -> String {
    let endpoints: Vec<_> = voter
        .endpoints
        .iter()
        .map(|endpoint| {
            let (name, host) = (json::text(&endpoint.name), json::text(&endpoint.host));
            format!("{{\"name\":{name},\"host\":{host},\"port\":{}}}", endpoint.port)
        })
        .collect();
    format!(
        "{{\"voterId\":{},\"voterDirectoryId\":\"{}\",\"endpoints\":[{}],\
         \"kRaftVersionFeature\":{{\"minSupportedVersion\":{},\"maxSupportedVersion\":{}}}}}",
        voter.key.id,
        voter.key.directory_id.unwrap_or_default(),
        endpoints.join(","),
        voter.min_kraft_version,
        voter.max_kraft_version
    )
}
