//! `quorate quorum add-controller` and `remove-controller` (KIP-853).

use super::leader::{Quorum, refused};
use super::{either, node_id, wrong};
use crate::args::Parsed;
use crate::failure::Failure;
use quorate_base::{NodeId, Uuid};
use quorate_protocol::messages::add_raft_voter_request::Listener;
use quorate_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use quorate_protocol::{AnyRequest, AnyResponse};
use quorate_server::config::StorageConfig;
use quorate_server::config::address::parse_listener;
use quorate_storage::{FileDisk, MetaProperties};
use std::path::Path;

struct NewVoter {
    id: NodeId,
    directory_id: Uuid,
    listeners: Vec<Listener>,
}

/// Makes a running observer a voter.
pub fn add(args: &Parsed) -> Result<(), Failure> {
    let quorum = Quorum::from_args(args)?;
    let voter = match either(args, "config", "command-config") {
        Some(file) => from_file(Path::new(file))?,
        None => from_options(args)?,
    };
    let (id, directory) = (voter.id, voter.directory_id);
    let endpoints: Vec<String> =
        voter.listeners.iter().map(|l| format!("{}://{}:{}", l.name, l.host, l.port)).collect();
    let what = format!("controller {id} with directory id {directory} and endpoints: ");
    let what = what + &endpoints.join(", ");
    if args.has("dry-run") {
        println!("DRY RUN of adding {what}");
        return Ok(());
    }
    let mut described = quorum.describe()?;
    let request = AddRaftVoterRequest {
        cluster_id: Some(described.cluster_id.as_str().into()),
        timeout_ms: quorum.timeout_ms,
        voter_id: id,
        voter_directory_id: directory,
        listeners: voter.listeners,
        ack_when_committed: true,
        ..Default::default()
    };
    let answer = described.leader.connection().send(&AnyRequest::AddRaftVoter(request))?;
    let AnyResponse::AddRaftVoter(answer) = answer else {
        return Err(Failure::failed(format!("another answer: {:?}", answer.api_key())));
    };
    refused(answer.error_code, answer.error_message.as_deref())
        .map_err(|why| Failure::failed(format!("cannot add {what}: {why}")))?;
    println!("Added {what}");
    Ok(())
}

/// Makes a voter an observer.
pub fn remove(args: &Parsed) -> Result<(), Failure> {
    let quorum = Quorum::from_args(args)?;
    let (id, directory_id) = key(args)?;
    if args.has("dry-run") {
        println!("DRY RUN of removing KRaft controller {id} with directory id {directory_id}");
        return Ok(());
    }
    let mut described = quorum.describe()?;
    let request = RemoveRaftVoterRequest {
        cluster_id: Some(described.cluster_id.as_str().into()),
        voter_id: id,
        voter_directory_id: directory_id,
        ..Default::default()
    };
    let answer = described.leader.connection().send(&AnyRequest::RemoveRaftVoter(request))?;
    let AnyResponse::RemoveRaftVoter(answer) = answer else {
        return Err(Failure::failed(format!("another answer: {:?}", answer.api_key())));
    };
    refused(answer.error_code, answer.error_message.as_deref()).map_err(|why| {
        Failure::failed(format!(
            "cannot remove controller {id} with directory id {directory_id}: {why}"
        ))
    })?;
    println!("Removed KRaft controller {id} with directory id {directory_id}");
    Ok(())
}

fn from_file(file: &Path) -> Result<NewVoter, Failure> {
    let config = StorageConfig::load(file)?;
    let shown = file.display();
    if !config.is_controller {
        return Err(Failure::usage(format!("{shown}: process.roles has no controller")));
    }
    let listener = config.controller_listener.ok_or_else(|| {
        Failure::usage(format!("{shown}: listeners has none of controller.listener.names"))
    })?;
    if listener.host.is_empty() || listener.host == "0.0.0.0" || listener.host == "::" {
        return Err(Failure::usage(format!(
            "{shown}: {} has no host that others can dial; set advertised.listeners",
            listener.name
        )));
    }
    let dir = &config.metadata_dir;
    let meta = MetaProperties::load(&FileDisk, dir)?.ok_or_else(|| {
        Failure::failed(format!(
            "{} is not formatted: quorate storage format --no-initial-controllers does it",
            dir.display()
        ))
    })?;
    if meta.node_id != config.node_id {
        let (found, expected) = (meta.node_id, config.node_id);
        return Err(Failure::failed(format!(
            "{} belongs to node {found}, but {shown} says node.id={expected}",
            dir.display()
        )));
    }
    let directory_id = meta.directory_id.ok_or_else(|| {
        Failure::failed(format!("{} has no directory.id: start the node once", dir.display()))
    })?;
    let listeners = vec![wire(listener)];
    Ok(NewVoter { id: config.node_id, directory_id, listeners })
}

fn from_options(args: &Parsed) -> Result<NewVoter, Failure> {
    let (id, directory_id) = key(args)?;
    let mut listeners = Vec::new();
    for text in args.values("endpoint") {
        let listener = parse_listener(text).filter(|l| !l.host.is_empty() && l.port > 0);
        listeners.push(wire(listener.ok_or_else(|| {
            Failure::usage(format!("--endpoint: {text} is not NAME://HOST:PORT"))
        })?));
    }
    if listeners.is_empty() {
        return Err(wrong("add-controller needs --config, or --id, --directory-id and --endpoint"));
    }
    Ok(NewVoter { id, directory_id, listeners })
}

fn wire(listener: quorate_server::config::address::Listener) -> Listener {
    Listener {
        name: listener.name.as_str().into(),
        host: listener.host.as_str().into(),
        port: listener.port,
        ..Default::default()
    }
}

fn key(args: &Parsed) -> Result<(NodeId, Uuid), Failure> {
    let id = either(args, "id", "controller-id").ok_or_else(|| wrong("--id is required"))?;
    let directory = either(args, "directory-id", "controller-directory-id");
    let directory = directory.ok_or_else(|| wrong("--directory-id is required"))?;
    let parsed = directory.parse().ok().filter(|id: &Uuid| !id.is_zero());
    let parsed = parsed.ok_or_else(|| {
        Failure::usage(format!(
            "--directory-id: {directory} is no directory id; the node's meta.properties has it"
        ))
    })?;
    Ok((node_id(id)?, parsed))
}
