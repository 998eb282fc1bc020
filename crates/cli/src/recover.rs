//! `quorate recover DIR...`: a quorum that lost its majority goes on from what is left of it.

mod preview;

use crate::args::{Opt, Parsed, flag, option, parse_or_help};
use crate::failure::Failure;
use quorate_base::UtcDate;
use quorate_server::config::address::{parse_host_port, parse_listener, parse_voter};
use quorate_server::config::properties::Properties;
use quorate_survey::recover::{
    Answer, EndpointChange, ExecuteError, Plan, PlanError, Probed, Refusal, Request, execute, plan,
    probe,
};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "\
usage: quorate recover DIR... [--execute --accept-loss] [options]

For a quorum that has lost the majority of its voters for good, or whose voters cannot find each
other any more. Reads the log directories of the nodes that survived (controllers', and brokers'
too: they have the log as well), Kafka's or ours, picks the best log, shows what is kept and what
could be lost, and asks every known address whether anybody is alive. Without --execute nothing is
written. With it, the target directory gets the best log, the new voter set and an epoch far above
any that was seen; what was there before is copied next to it first.

  -c, --config FILE         properties of a controller: whom to ask (needed for a static quorum)
      --probe LIST          more HOST:PORT to ask, comma-separated
      --target DIR          directory of the node that is to lead (default: the best voter's)
      --voters ID,...       the voters to be (default: the target alone)
      --set-endpoint ID=[NAME://]HOST:PORT
                            another address of a voter; without --voters, all voters stay
      --ignore-voter ID,... go on although this voter answers (or an address, as HOST:PORT)
      --offline             ask nobody. You know that no leader exists and no voter will return
      --even-with-majority  go on although the directories are a majority, which need only start
      --accept-loss         what only the missing voters have is lost
      --backup-dir DIR      where the copies go (default: next to each directory)
      --execute             do it

Exit codes: 0 done (or the preview shows nothing against it), 1 failed, 2 wrong usage,
3 refused to protect data.
";

const OPTIONS: &[Opt] = &[
    option("config", Some('c')),
    option("probe", None),
    option("target", None),
    option("voters", None),
    option("set-endpoint", None),
    option("ignore-voter", None),
    flag("offline", None),
    flag("even-with-majority", None),
    flag("accept-loss", None),
    option("backup-dir", None),
    flag("execute", None),
];

/// Runs `quorate recover ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    let request = request(&parsed)?;
    let plan = plan(&request)?;
    let probed = ask(&parsed, &plan, &request)?;
    print!("{}", preview::text(&plan, &probed));
    let against = refusals(&parsed, &plan, &probed);
    let unaccepted = !plan.may_lose.is_empty() && !parsed.has("accept-loss");
    if !against.is_empty() {
        return Err(Failure { message: format!("refused:\n{}", against.join("\n")), exit_code: 3 });
    }
    if !parsed.has("execute") {
        let accept = if unaccepted { " --accept-loss" } else { "" };
        println!("\nThis was a preview: nothing is written. To do it, add --execute{accept}.");
        return Ok(());
    }
    if unaccepted {
        let why = "refused:\n- metadata may be lost, see above; to go on, add --accept-loss";
        return Err(Failure { message: why.to_owned(), exit_code: 3 });
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
    let now_ms = i64::try_from(now_ms).unwrap_or(0);
    let backup_dir = parsed.value("backup-dir").map(Path::new);
    let done = execute(&plan, backup_dir, &stamp(now_ms), now_ms)?;
    print!("{}", preview::done_text(&plan, &done));
    Ok(())
}

fn wrong(why: &str) -> Failure {
    Failure::usage(format!("{USAGE}\n{why}"))
}

fn request(parsed: &Parsed) -> Result<Request, Failure> {
    let directories: Vec<PathBuf> = parsed.positional.iter().map(PathBuf::from).collect();
    if directories.is_empty() {
        return Err(wrong("no directory was given"));
    }
    let voters = parsed.value("voters").map(|list| {
        let ids = list.split(',').map(|id| id.trim().parse().ok().filter(|id: &i32| *id >= 0));
        ids.collect::<Option<Vec<_>>>().ok_or_else(|| wrong("--voters takes node ids: 1,2,3"))
    });
    let endpoints = parsed.values("set-endpoint").map(endpoint).collect::<Result<Vec<_>, _>>()?;
    let target = parsed.value("target").map(PathBuf::from);
    Ok(Request { directories, target, voters: voters.transpose()?, endpoints })
}

fn endpoint(text: &str) -> Result<EndpointChange, Failure> {
    let bad =
        || wrong(&format!("--set-endpoint {text}: expected ID=HOST:PORT or ID=NAME://HOST:PORT"));
    let (id, address) = text.split_once('=').ok_or_else(bad)?;
    let id = id.trim().parse().ok().filter(|id| *id >= 0).ok_or_else(bad)?;
    if address.contains("://") {
        let listener = parse_listener(address).ok_or_else(bad)?;
        let (name, host, port) = (Some(listener.name), listener.host, listener.port);
        return Ok(EndpointChange { id, name, host, port });
    }
    let (host, port) = parse_host_port(address).ok_or_else(bad)?;
    Ok(EndpointChange { id, name: None, host, port })
}

/// Asks every address that is known, old and new.
fn ask(parsed: &Parsed, plan: &Plan, request: &Request) -> Result<Vec<Probed>, Failure> {
    if parsed.has("offline") {
        return Ok(Vec::new());
    }
    let mut addresses: Vec<(Option<i32>, String)> = Vec::new();
    let mut add = |id: Option<i32>, address: String| {
        if !addresses.iter().any(|(_, known)| *known == address) {
            addresses.push((id, address));
        }
    };
    let joined = |host: &str, port: u16| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    for (id, address) in &plan.old_addresses {
        add(Some(*id), address.clone());
    }
    for it in &request.endpoints {
        add(Some(it.id), joined(&it.host, it.port));
    }
    if let Some(file) = parsed.value("config") {
        let properties =
            Properties::read(Path::new(file)).map_err(|e| Failure::usage(e.to_string()))?;
        let list = |key: &str| {
            let value = properties.get(key).map(|it| it.value.clone()).unwrap_or_default();
            value.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
        };
        let voters: Vec<String> = list("controller.quorum.voters");
        for voter in voters.iter().filter_map(|text| parse_voter(text)) {
            add(Some(voter.id), joined(&voter.host, voter.port));
        }
        let servers: Vec<String> = list("controller.quorum.bootstrap.servers");
        servers.into_iter().for_each(|address| add(None, address));
    }
    for address in parsed.value("probe").into_iter().flat_map(|list| list.split(',')) {
        if parse_host_port(address.trim()).is_none() {
            return Err(wrong(&format!("--probe: {address} is not HOST:PORT")));
        }
        add(None, address.trim().to_owned());
    }
    if addresses.is_empty() {
        return Err(Failure {
            message: "refused:\n- the log does not tell where the voters were (kraft.version 0), so \
                      nobody can be asked whether a leader exists. Give --config with a controller's \
                      properties or --probe with addresses; or --offline, if you know"
                .to_owned(),
            exit_code: 3,
        });
    }
    let cluster = plan.source().survey.meta().map(|meta| meta.cluster_id.clone());
    Ok(probe(&addresses, &cluster.unwrap_or_default()))
}

fn refusals(parsed: &Parsed, plan: &Plan, probed: &[Probed]) -> Vec<String> {
    let ignored: Vec<&str> =
        parsed.values("ignore-voter").flat_map(|list| list.split(',')).map(str::trim).collect();
    let mut out = Vec::new();
    for it in probed {
        let id = it.id.map(|id| id.to_string());
        let is_ignored = |name: &str| ignored.contains(&name);
        let who = id.as_ref().map_or_else(|| "a controller".to_owned(), |id| format!("voter {id}"));
        match &it.answer {
            Answer::Leader { address, epoch } => out.push(format!(
                "- a leader exists: {address}, in epoch {epoch} (asked at {}). The quorum works; \
                 there is nothing to recover. `quorate quorum status --bootstrap {address}`",
                it.address
            )),
            Answer::Leaderless(why)
                if !is_ignored(&it.address) && !id.as_deref().is_some_and(is_ignored) =>
            {
                out.push(format!(
                    "- {who} answers at {} and knows no leader ({why}). Its log may be better than \
                     what is here: stop it and give its directory too, or add --ignore-voter {}",
                    it.address,
                    id.unwrap_or_else(|| it.address.clone())
                ));
            }
            _ => {}
        }
    }
    for refusal in &plan.refusals {
        match refusal {
            Refusal::InUse { directory, holder } => out
                .push(format!("- {} is in use by {holder}: stop that first", directory.display())),
            Refusal::NotReplayable { directory, why } => out.push(format!(
                "- the log in {} cannot be replayed to its end: {why}. A controller would stop \
                 there; look at it with `quorate fsck`, and give the directories of other nodes",
                directory.display()
            )),
            Refusal::MajorityIsHere { here, of } if !parsed.has("even-with-majority") => {
                out.push(format!(
                    "- {} of {of} voters are here ({here:?}): a majority. Start them, and the \
                     quorum works without loss. If they cannot find each other, give their \
                     addresses with --set-endpoint; to go on all the same, add --even-with-majority",
                    here.len()
                ));
            }
            Refusal::MajorityIsHere { .. } | Refusal::MayLose { .. } => {}
        }
    }
    out
}

/// `20261122T201500Z`.
fn stamp(now_ms: i64) -> String {
    let UtcDate { year, month, day, hour, minute, second, .. } = UtcDate::from_ms(now_ms);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Failure {
        match error {
            PlanError::Wrong(why) => Failure::usage(why),
            PlanError::NothingThere(_) => Failure::failed(error.to_string()),
        }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Failure {
        match error {
            ExecuteError::Storage(error) => error.into(),
            ExecuteError::Changed { .. } => Failure { message: error.to_string(), exit_code: 3 },
            ExecuteError::Io { .. } => Failure::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn a_stamp_is_a_time() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(1_795_378_537_000), "20261122T201537Z");
        assert_eq!(stamp(951_782_400_000), "20000229T000000Z");
    }
}
