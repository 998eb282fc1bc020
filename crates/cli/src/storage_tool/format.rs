//! `quorate storage format`.

use super::{levels, scram};
use crate::args::Parsed;
use crate::failure::Failure;
use bytes::Bytes;
use quorate_base::{NodeId, Prng, ReplicaKey, Uuid};
use quorate_protocol::MetadataRecord;
use quorate_protocol::control::{Voter, VoterEndpoint};
use quorate_protocol::features::record_version;
use quorate_server::config::StorageConfig;
use quorate_server::config::address::parse_host_port;
use quorate_server::driver::clock::wall_ms;
use quorate_server::random;
use quorate_storage::{Disk, FileDisk, FormatSpec, InitialVoters, format};
use std::path::Path;
use std::sync::Arc;

/// What a dynamic voter formatted here supports.
const KRAFT_VERSIONS: (i16, i16) = (0, 1);

/// Formats the directories of a node.
pub fn run(args: &Parsed) -> Result<(), Failure> {
    let file = args.value("config").ok_or_else(|| required("--config/-c"))?;
    let cluster_id = args.value("cluster-id").ok_or_else(|| required("--cluster-id/-t"))?;
    let config = StorageConfig::load(Path::new(file))?;
    let voters = initial_voters(args, &config)?;
    let dynamic = !matches!(voters, InitialVoters::None) || args.has("no-initial-controllers");
    let levels = levels::decide(args.value("release-version"), args.values("feature"), dynamic)?;
    let mut records = levels.records();
    for argument in args.values("add-scram") {
        let record = scram::credential(argument, random::fill).map_err(Failure::usage)?;
        if !levels.metadata_version.supports_scram() {
            let why = "SCRAM is only supported in metadata.version 3.5-IV2 or later.";
            return Err(Failure::usage(why));
        }
        records.push(MetadataRecord::UserScramCredential(record));
    }
    let framed = |record: &MetadataRecord| -> Result<Bytes, Failure> {
        let version = record_version(record, levels.metadata_version);
        record.encode_framed(version).map_err(|error| Failure::failed(error.to_string()))
    };
    let spec = FormatSpec {
        cluster_id: cluster_id.to_owned(),
        node_id: config.node_id,
        directories: config.log_dirs,
        metadata_directory: config.metadata_dir,
        initial_voters: voters,
        bootstrap_records: records.iter().map(framed).collect::<Result<_, _>>()?,
        ignore_formatted: args.has("ignore-formatted"),
    };
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    let done = format(&disk, &spec, wall_ms(), &mut Prng::new(random::seed()?))?;
    if done.iter().all(|dir| !dir.formatted_now) {
        println!("All of the log directories are already formatted.");
        return Ok(());
    }
    println!(
        "Bootstrap metadata: {levels}, {} SCRAM credentials",
        args.values("add-scram").count()
    );
    for dir in done.iter().filter(|dir| dir.formatted_now) {
        let (role, path) = (dir.role, dir.path.display());
        println!("Formatting {role} {path} with metadata.version {}.", levels.metadata_version);
    }
    Ok(())
}

fn required(option: &str) -> Failure {
    Failure::usage(format!("argument {option} is required; see quorate storage format --help"))
}

/// Who votes first, from the three flags that exclude each other.
pub fn initial_voters(args: &Parsed, config: &StorageConfig) -> Result<InitialVoters, Failure> {
    let standalone = args.has("standalone");
    let explicit = args.value("initial-controllers");
    let none = args.has("no-initial-controllers");
    if [standalone, explicit.is_some(), none].into_iter().filter(|given| *given).count() > 1 {
        return Err(Failure::usage(
            "--standalone, --initial-controllers and --no-initial-controllers exclude each other.",
        ));
    }
    if !config.static_voters.is_empty() && (standalone || explicit.is_some()) {
        return Err(Failure::usage(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers \
             or --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and \
             specify controller.quorum.bootstrap.servers instead.",
        ));
    }
    if standalone {
        return Ok(InitialVoters::Standalone { endpoints: vec![own_endpoint(config)?] });
    }
    if let Some(list) = explicit {
        let listener = config.controller_listener.as_ref();
        let listener = listener.map_or("CONTROLLER", |listener| &listener.name);
        return Ok(InitialVoters::Explicit(parse_voters(list, listener)?));
    }
    if config.is_controller && config.static_voters.is_empty() && !none {
        return Err(Failure::usage(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the \
             following: --standalone, --initial-controllers, or --no-initial-controllers.",
        ));
    }
    Ok(InitialVoters::None)
}

fn own_endpoint(config: &StorageConfig) -> Result<VoterEndpoint, Failure> {
    if !config.is_controller {
        return Err(Failure::usage("You can only use --standalone on a controller."));
    }
    let listener = config.controller_listener.clone();
    let listener = listener.ok_or_else(|| {
        Failure::usage(
            "No controller listeners found: listeners has none of controller.listener.names.",
        )
    })?;
    // As Kafka's tool: an address of all interfaces is nothing to dial.
    let all_interfaces = matches!(listener.host.as_str(), "" | "0.0.0.0" | "::");
    let host = if all_interfaces { "localhost".to_owned() } else { listener.host };
    Ok(VoterEndpoint { name: listener.name, host, port: listener.port })
}

/// `id@host:port:directory`, separated by commas.
fn parse_voters(list: &str, listener: &str) -> Result<Vec<Voter>, Failure> {
    let mut voters: Vec<Voter> = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let voter = parse_voter(text, listener).ok_or_else(|| {
            Failure::usage(format!(
                "Initial controller \"{text}\" is not of the form id@host:port:directory, such as \
                 0@example.com:8082:JEXY6aqzQY-32P5TStzaFg"
            ))
        })?;
        if voters.iter().any(|other| other.key.id == voter.key.id) {
            let id = voter.key.id;
            return Err(Failure::usage(format!("Initial controller {id} is there twice.")));
        }
        voters.push(voter);
    }
    if voters.is_empty() {
        return Err(Failure::usage("No voters given in --initial-controllers."));
    }
    Ok(voters)
}

fn parse_voter(text: &str, listener: &str) -> Option<Voter> {
    let (id, rest) = text.split_once('@')?;
    let (address, directory) = rest.rsplit_once(':')?;
    let (host, port) = parse_host_port(address)?;
    let id: NodeId = id.parse().ok().filter(|id| *id >= 0)?;
    let directory: Uuid = directory.parse().ok().filter(|id: &Uuid| !id.is_zero())?;
    Some(Voter {
        key: ReplicaKey { id, directory_id: Some(directory) },
        endpoints: vec![VoterEndpoint { name: listener.to_owned(), host, port }],
        min_kraft_version: KRAFT_VERSIONS.0,
        max_kraft_version: KRAFT_VERSIONS.1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_controllers_are_read_or_refused() {
        let one = "1@localhost:29291:JEXY6aqzQY-32P5TStzaFg";
        let voters = parse_voters(&format!("{one},2@[::1]:1:MvDxzVmcRsaTz33bUuRU6A"), "CONTROLLER");
        let voters = voters.map_err(|failure| failure.message).unwrap();
        assert_eq!(voters[0].endpoints[0].name, "CONTROLLER");
        assert_eq!((voters[1].key.id, voters[1].endpoints[0].host.as_str()), (2, "::1"));
        for bad in [
            "",
            "1@localhost:JEXY6aqzQY-32P5TStzaFg",
            "x@localhost:1:JEXY6aqzQY-32P5TStzaFg",
            "1@localhost:1:short",
            "1@localhost:1:AAAAAAAAAAAAAAAAAAAAAA",
            &format!("{one},{one}"),
        ] {
            assert_eq!(parse_voters(bad, "CONTROLLER").unwrap_err().exit_code, 2, "{bad}");
        }
    }
}
