//! `quorate what-if`: the decisions that a change would lead to, on a copy of the metadata.

use crate::args::{Opt, Parsed, flag, option, with_usage};
use crate::failure::Failure;
use crate::shadow::given::{Bootstrap, rules};
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_client::{Admin, Connection, Options};
use quorate_controller::ControllerConfig;
use quorate_metadata::Image;
use quorate_shadow::what_if::{
    Decommission, Fence, Misasked, Named, StopController, Upgrade, VoterLag, decommission, fence,
    stop_controller, upgrade,
};
use quorate_survey::{LiveImage, LiveOptions, SurveyOptions, survey};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const USAGE: &str = "\
usage: quorate what-if (--bootstrap HOST:PORT[,..] | --dir DIR) QUESTION [--json]

Makes the decisions that a change would lead to on a copy of the metadata, and shows them. Nothing is
written and nobody is told.

  --fence ID[,ID]...          these brokers stop, one after another
  --upgrade RELEASE           metadata.version and the features that go with it (4.4, 4.1-IV1)
  --decommission ID[,ID]...   these brokers leave for good; also rack=NAME
  --stop-controller ID        this controller stops (needs --bootstrap)

  -b, --bootstrap LIST   controllers of a running quorum; one that answers is enough
      --dir DIR          a controller's log directory, running or not, or a backup
  -c, --config FILE      controllers' properties, for the min.insync.replicas and
                         unclean.leader.election.enable that stand behind topics' settings
      --json             for programs; a decommissioning comes with reassignments in the form that
                         kafka-reassign-partitions takes
      --list             name every partition, not only the first ten of a kind

Exit codes: 0 nothing stands against it, 1 something does (or it failed), 2 wrong usage.
";

const OPTIONS: &[Opt] = &[
    option("bootstrap", Some('b')),
    option("bootstrap-controller", None),
    option("dir", None),
    option("fence", None),
    option("upgrade", None),
    option("decommission", None),
    option("stop-controller", None),
    option("config", Some('c')),
    flag("json", None),
    flag("list", None),
];

/// How long a running quorum may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Partitions named of each kind, unless all are asked for.
const NAMED: usize = 10;

/// Runs `quorate what-if ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    with_usage(args, OPTIONS, USAGE, answer)
}

fn answer(parsed: &Parsed) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::usage(format!("{USAGE}\n{why}"));
    let questions = ["fence", "upgrade", "decommission", "stop-controller"];
    let asked: Vec<&str> = questions.into_iter().filter(|it| parsed.has(it)).collect();
    let [question] = asked.as_slice() else {
        return Err(wrong(
            "one question is needed: --fence, --upgrade, --decommission or --stop-controller",
        ));
    };
    let value = parsed.value(question).unwrap_or_default();
    let config = rules(parsed.value("config"))?;
    let state = State::load(parsed)?;
    let limit = if parsed.has("list") { usize::MAX } else { NAMED };
    let answer = match *question {
        "fence" => Answer::of_fence(&fence(&state.image, &config, &ids(value)?)?, limit),
        "upgrade" => {
            let voters: Vec<NodeId> = state.voters.iter().map(|it| it.id).collect();
            Answer::of_upgrade(&upgrade(&state.image, &config, &voters, value)?)
        }
        "decommission" => {
            let plan = decommission(&state.image, &config, value)?;
            let mut answer = Answer::of_decommission(&plan, limit);
            // A moved replica costs nobody a leader, but the brokers leave before the last one has moved.
            answer.add_fence(&state.image, &config, &plan.brokers)?;
            answer
        }
        _ => {
            let all = ids(value)?;
            let [id] = all.as_slice() else {
                return Err(wrong("--stop-controller takes one id"));
            };
            let stopped = stop_controller(&state.voters, state.leader, state.high_watermark, *id)?;
            Answer::of_controller(&stopped)
        }
    };
    let at = state.at;
    if parsed.has("json") {
        let mut out = answer.json;
        out["as_of"] = json!({ "offset": at.offset, "epoch": at.epoch });
        out["nothing_against_it"] = json!(answer.fine);
        println!("{out:#}");
    } else {
        println!("as of {at}\n{}", answer.text);
    }
    match answer.fine {
        true => Ok(()),
        false => Err(Failure { message: String::new(), exit_code: 1 }),
    }
}

impl From<Misasked> for Failure {
    fn from(error: Misasked) -> Failure {
        Failure::usage(error.to_string())
    }
}

fn ids(list: &str) -> Result<Vec<NodeId>, Failure> {
    let parse = |text: &str| {
        let id = text.trim().parse().ok().filter(|id: &NodeId| *id >= 0);
        id.ok_or_else(|| Failure::usage(format!("{text} is no node id: a number from 0")))
    };
    list.split(',').map(parse).collect()
}

/// What the questions are put to.
struct State {
    image: Image,
    at: OffsetAndEpoch,
    voters: Vec<VoterLag>,
    leader: NodeId,
    high_watermark: Offset,
}

impl State {
    fn load(args: &Parsed) -> Result<State, Failure> {
        match (Bootstrap::given(args)?, args.value("dir")) {
            (Some(bootstrap), None) => State::of_quorum(&bootstrap.addresses),
            (None, Some(dir)) => State::of_directory(Path::new(dir)),
            _ => Err(Failure::usage("one of --bootstrap and --dir is needed")),
        }
    }

    fn of_quorum(addresses: &[String]) -> Result<State, Failure> {
        let mut live = LiveImage::new(LiveOptions::anonymous(addresses.to_vec()));
        live.catch_up(TIMEOUT).map_err(|error| Failure::failed(error.to_string()))?;
        let (image, at) = (live.image().clone(), live.applied());
        let address = live.log().leader_address().unwrap_or(&addresses[0]).to_owned();
        let quorum =
            Admin::over(Connection::connect(&address, Options::default())?).describe_quorum()?;
        let voters = quorum.current_voters.iter().map(|it| VoterLag {
            id: it.replica_id,
            log_end: (it.log_end_offset >= 0).then_some(it.log_end_offset),
            behind_ms: (it.last_caught_up_timestamp > 0 && it.last_fetch_timestamp > 0)
                .then(|| (it.last_fetch_timestamp - it.last_caught_up_timestamp).max(0)),
        });
        Ok(State {
            image,
            at,
            voters: voters.collect(),
            leader: quorum.leader_id,
            high_watermark: quorum.high_watermark,
        })
    }

    fn of_directory(dir: &Path) -> Result<State, Failure> {
        let found = survey(&SurveyOptions::of(dir));
        let Some(loaded) = found.log.image else {
            return Err(Failure::failed(format!(
                "no metadata can be read from {}; `quorate fsck` says why",
                dir.display()
            )));
        };
        Ok(State {
            image: loaded.image,
            at: loaded.at,
            voters: Vec::new(),
            leader: -1,
            high_watermark: loaded.at.offset,
        })
    }
}

/// What is told.
struct Answer {
    fine: bool,
    text: String,
    json: Value,
}

impl Answer {
    fn of_fence(it: &Fence, limit: usize) -> Answer {
        let mut text = String::new();
        let mut line = |what: String| {
            text.push_str(&what);
            text.push('\n');
        };
        line(format!(
            "brokers fenced: {:?}{}",
            it.fenced,
            match it.already_fenced.as_slice() {
                [] => String::new(),
                already => format!("; fenced already: {already:?}"),
            }
        ));
        for (what, partitions) in [
            ("offline: no leader is left", &it.offline),
            ("led by a replica out of sync: records may be lost", &it.unclean),
            ("below min.insync.replicas: acks=all is refused", &it.under_min_isr),
            ("at min.insync.replicas: the next loss refuses acks=all", &it.at_min_isr),
            ("get another leader", &it.leaders_moved),
        ] {
            line(format!("{:>8} partition(s) {what}{}", partitions.len(), some(partitions, limit)));
        }
        line(format!("{:>8} partition(s) lose a member of the ISR", it.isr_shrinks));
        line(format!(
            "{:>8} were below min.insync.replicas, {} offline before",
            it.under_min_isr_before, it.offline_before
        ));
        line(format!("{:>8} records would be written", it.records));
        line("leaders by broker, before and after:".to_owned());
        for (id, (before, after)) in &it.leaders {
            line(format!("{id:>8}: {before} -> {after}"));
        }
        Answer { fine: !it.hurts(), text, json: fence_json(it) }
    }

    fn of_upgrade(it: &Upgrade) -> Answer {
        let (now, then) = &it.metadata_version;
        let mut text = format!("metadata.version {now} -> {then}\n");
        for (feature, (before, after)) in &it.changes {
            text += &format!("  {feature}: {before} -> {after}\n");
        }
        if it.changes.is_empty() {
            text += "nothing changes: these levels are finalised already\n";
        }
        for blocker in &it.blockers {
            let (min, max) = blocker.supports;
            let (node, feature, level) = (&blocker.node, &blocker.feature, blocker.level);
            text += &match (min, max) {
                (0, 0) => {
                    format!("BLOCKED by {node}: it does not know {feature}; {level} is needed\n")
                }
                _ => format!(
                    "BLOCKED by {node}: it supports {feature} {min} to {max}, not {level}\n"
                ),
            };
        }
        for id in &it.unregistered_voters {
            text += &format!("BLOCKED by voter {id}: it has not registered, start it\n");
        }
        if let Some(refusal) = &it.refusal {
            text += &format!("the controller would refuse: {refusal}\n");
        }
        if it.one_way {
            text += "afterwards there is no way back: metadata is written that older levels cannot hold\n";
        }
        if it.is_possible() {
            text += "nothing stands against it\n";
        }
        let json = json!({
            "metadata_version": { "from": now, "to": then },
            "changes": it.changes.iter().map(|(feature, (from, to))| json!({
                "feature": feature, "from": from, "to": to,
            })).collect::<Vec<_>>(),
            "blockers": it.blockers.iter().map(|it| json!({
                "node": it.node, "feature": it.feature, "level": it.level,
                "supports": { "min": it.supports.0, "max": it.supports.1 },
            })).collect::<Vec<_>>(),
            "unregistered_voters": it.unregistered_voters,
            "refusal": it.refusal,
            "one_way": it.one_way,
        });
        Answer { fine: it.is_possible(), text, json }
    }

    fn of_decommission(it: &Decommission, limit: usize) -> Answer {
        let mut text = format!("brokers that go: {:?}\n", it.brokers);
        text += &format!("{:>8} partition(s) to move\n", it.moves.len());
        for (id, count) in &it.incoming {
            text += &format!("{:>8} replica(s) come to broker {id}\n", count);
        }
        for (id, count) in &it.leaders {
            text += &format!("{:>8} partition(s) are led by broker {id}\n", count);
        }
        let fewer_racks: Vec<Named> =
            it.moves.iter().filter(|it| it.loses_a_rack).map(|it| it.partition.clone()).collect();
        for (what, partitions) in [
            ("then stand in fewer racks", &fewer_racks),
            ("are in sync only there: move them before those brokers stop", &it.only_in_sync_there),
            ("are being reassigned already: wait for that", &it.being_reassigned),
        ] {
            text += &format!(
                "{:>8} partition(s) {what}{}\n",
                partitions.len(),
                some(partitions, limit)
            );
        }
        for blocked in it.unplaceable.iter().take(limit) {
            text += &format!(
                "BLOCKED: {} has {} replicas, and {} broker(s) are left for them\n",
                blocked.partition, blocked.replication_factor, blocked.brokers_left
            );
        }
        if it.unplaceable.len() > limit {
            text += &format!("BLOCKED: {} partitions in all\n", it.unplaceable.len());
        }
        let json = json!({
            "brokers": it.brokers,
            "unplaceable": it.unplaceable.iter().map(|it| json!({
                "partition": it.partition.to_string(),
                "replication_factor": it.replication_factor,
                "brokers_left": it.brokers_left,
            })).collect::<Vec<_>>(),
            "only_in_sync_there": names(&it.only_in_sync_there),
            "being_reassigned": names(&it.being_reassigned),
            "fewer_racks": names(&fewer_racks),
            "incoming": it.incoming,
            "leaders": it.leaders,
            "reassignment": {
                "version": 1,
                "partitions": it.moves.iter().map(|it| json!({
                    "topic": it.partition.topic,
                    "partition": it.partition.partition,
                    "replicas": it.to,
                })).collect::<Vec<_>>(),
            },
        });
        Answer { fine: it.is_possible(), text, json }
    }

    fn add_fence(
        &mut self,
        image: &Image,
        config: &ControllerConfig,
        brokers: &[NodeId],
    ) -> Result<(), Failure> {
        let stopped = fence(image, config, brokers)?;
        self.json["if_stopped_now"] = fence_json(&stopped);
        self.text += &format!(
            "if they stopped now instead: {} partition(s) offline, {} below min.insync.replicas\n",
            stopped.offline.len(),
            stopped.under_min_isr.len()
        );
        Ok(())
    }

    fn of_controller(it: &StopController) -> Answer {
        let mut text = match (it.is_observer, it.is_leader) {
            (true, _) => format!("{} has no vote: the quorum does not notice\n", it.id),
            (_, true) => {
                format!("{} leads: it hands over to another voter when told to stop\n", it.id)
            }
            _ => format!("{} is a follower\n", it.id),
        };
        text += &format!(
            "{} voters, {} are a majority; without it {:?} keep up{}\n",
            it.voters,
            it.majority,
            it.in_step,
            match it.behind.as_slice() {
                [] => String::new(),
                behind => format!(", {behind:?} are behind"),
            }
        );
        text += &match (it.goes_on(), it.spare()) {
            (true, spare) => format!("the quorum goes on, and bears {spare} more loss(es)\n"),
            (false, _) => {
                "THE QUORUM STOPS: no change of metadata, no new leader for partitions\n".to_owned()
            }
        };
        let json = json!({
            "controller": it.id,
            "is_leader": it.is_leader,
            "is_observer": it.is_observer,
            "voters": it.voters,
            "majority": it.majority,
            "in_step": it.in_step,
            "behind": it.behind,
            "goes_on": it.goes_on(),
            "spare": it.spare(),
        });
        Answer { fine: it.goes_on(), text, json }
    }
}

fn fence_json(it: &Fence) -> Value {
    json!({
        "fenced": it.fenced,
        "already_fenced": it.already_fenced,
        "offline": names(&it.offline),
        "unclean": names(&it.unclean),
        "under_min_isr": names(&it.under_min_isr),
        "at_min_isr": names(&it.at_min_isr),
        "leaders_moved": names(&it.leaders_moved),
        "isr_shrinks": it.isr_shrinks,
        "under_min_isr_before": it.under_min_isr_before,
        "offline_before": it.offline_before,
        "records": it.records,
        "leaders": it.leaders.iter().map(|(id, (before, after))| json!({
            "broker": id, "before": before, "after": after,
        })).collect::<Vec<_>>(),
    })
}

fn names(partitions: &[Named]) -> Vec<String> {
    partitions.iter().map(Named::to_string).collect()
}

fn some(partitions: &[Named], limit: usize) -> String {
    if partitions.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = partitions.iter().take(limit).map(Named::to_string).collect();
    let more = if partitions.len() > limit { ", ..." } else { "" };
    format!(": {}{more}", shown.join(", "))
}
