//! Judges the quorum as a whole: its size, its health, its versions, its clocks.

use super::findings::Findings;
use super::findings::Severity::{Note, Refusal, Warning};
use super::may_stop::{ids, is_caught_up};
use super::plan::Road;
use super::survey::{Program, Survey};
use quorate_base::NodeId;
use quorate_protocol::features::{Feature, MetadataVersion, level_name};

const QUORUM: &str = "the quorum";
/// A voter counts as caught up if it was within this time.
const RECENT_MS: i64 = 2000;
/// Clocks further apart than this are worth a word.
const CLOCKS_APART_MS: i64 = 1000;
/// The newest level of the oldest release that was tried, 3.9.
const OLDEST_TRIED: i16 = 21;
/// The newest levels of the releases that were tried: 3.9, 4.1, 4.3, 4.4.
const TRIED: [i16; 4] = [21, 27, 30, 33];

/// Adds what is to be said before `targets` are replaced.
pub fn judge(
    survey: &Survey,
    targets: &[NodeId],
    road: Road,
    back: bool,
    accept_outage: bool,
    findings: &mut Findings,
) {
    judge_size(survey, road, accept_outage, findings);
    judge_health(survey, findings);
    judge_versions(survey, findings);
    judge_programs(survey, targets, back, findings);
    if let Some(ahead) = survey.clock_ahead_ms
        && ahead.abs() > CLOCKS_APART_MS
    {
        findings.add(
            Warning,
            QUORUM,
            format!(
                "the clock of leader {} and this machine's are {} ms apart: mend that first, \
                 times in records and the expiry of delegation tokens follow the leader's",
                survey.leader_id,
                ahead.abs()
            ),
        );
    }
    if back {
        let level = survey.finalized().get(Feature::MetadataVersion.name()).copied();
        let name = level.and_then(level_name).unwrap_or("unknown");
        findings.add(
            Note,
            QUORUM,
            format!(
                "metadata.version is {name}: give the directories to that release of Kafka or a \
                 later one"
            ),
        );
    } else {
        findings.add(
            Note,
            QUORUM,
            "leave metadata.version as it is until you are done: raised beyond what the old \
             controllers know, the way back to them is closed",
        );
    }
}

fn judge_size(survey: &Survey, road: Road, accept_outage: bool, findings: &mut Findings) {
    let count = survey.voters.len();
    if count >= 3 || road == Road::GrowAndShrink {
        return;
    }
    let advice = if survey.is_static() {
        "a static quorum cannot grow"
    } else {
        "add a Quorate controller first and remove the old one after that (give the file of a \
         node with a new id by --config)"
    };
    let text = format!(
        "{count} voter(s): while one of them is replaced there is no leader, and brokers cannot \
         register, move leaders or create topics; {advice}"
    );
    if accept_outage {
        findings.add(Warning, QUORUM, format!("{text} (accepted by --accept-outage)"));
    } else {
        findings.add(Refusal, QUORUM, format!("{text}. --accept-outage accepts it"));
    }
}

fn judge_health(survey: &Survey, findings: &mut Findings) {
    for (id, replica) in &survey.voters {
        if *id == survey.leader_id || is_caught_up(replica, RECENT_MS) {
            continue;
        }
        let behind = (survey.high_watermark - replica.log_end).max(0);
        let ago = replica.caught_up_ms_ago;
        let ago = ago.map_or("never".to_owned(), |ms| format!("{ms} ms ago"));
        findings.add(
            Refusal,
            &format!("node {id}"),
            format!(
                "it has not caught up with leader {} (last: {ago}, {behind} records behind): \
                 mend it first, no other controller can be spared meanwhile",
                survey.leader_id
            ),
        );
    }
    let silent = survey.controllers.iter().filter(|(id, _)| survey.voters.contains_key(id));
    for (id, controller) in silent {
        if let Err(why) = &controller.said {
            let text = format!("{} does not answer here: {why}", controller.address);
            findings.add(Warning, &format!("node {id}"), text);
        }
    }
}

fn judge_versions(survey: &Survey, findings: &mut Findings) {
    let finalized = survey.finalized();
    for (name, level) in &finalized {
        let Some(feature) = Feature::from_name(name) else {
            if *level > 0 {
                let text = format!("feature {name} is at level {level}; Quorate does not know it");
                findings.add(Refusal, QUORUM, text);
            }
            continue;
        };
        let known = feature.supported_levels();
        if known.contains(level) {
            continue;
        }
        let named = match feature {
            Feature::MetadataVersion => level_name(*level).unwrap_or("unknown"),
            _ => "",
        };
        findings.add(
            Refusal,
            QUORUM,
            format!(
                "feature {name} is at level {level} {named}; this release of Quorate runs at {} to \
                 {}",
                known.start(),
                known.end()
            ),
        );
    }
    if !finalized.contains_key(Feature::MetadataVersion.name()) {
        let text = "nobody tells its metadata.version; it could not be checked";
        findings.add(Refusal, QUORUM, text);
    }
}

fn judge_programs(survey: &Survey, targets: &[NodeId], back: bool, findings: &mut Findings) {
    for id in targets {
        let Some(said) = survey.said(*id) else { continue };
        let subject = format!("node {id}");
        if said.program == Program::Unknown {
            findings.add(
                Warning,
                &subject,
                "it does not show its settings (DESCRIBE_CONFIGS on the cluster is needed); give \
                 its file by --config",
            );
        }
        let newest = said.supported.get(Feature::MetadataVersion.name()).map(|(_, max)| *max);
        let Some(newest) = newest.filter(|_| !back) else { continue };
        let release = MetadataVersion::from_level(newest).map_or("unknown", |it| it.release());
        if newest < OLDEST_TRIED {
            let text = "older than Kafka 3.9: no takeover from it was tried. Upgrade to 3.9 first";
            findings.add(Warning, &subject, text);
        } else if !TRIED.contains(&newest) {
            let text = format!(
                "release {release} (level {newest}) was not tried; 3.9.1, 4.1.1, 4.3.0 and 4.4.0 \
                 were"
            );
            findings.add(Note, &subject, text);
        }
    }
    let before_prevote: Vec<NodeId> = survey
        .voters
        .keys()
        .copied()
        .filter(|id| {
            let said = survey.said(*id);
            let newest = said.and_then(|it| it.supported.get("metadata.version"));
            newest.is_some_and(|(_, max)| *max <= OLDEST_TRIED)
        })
        .collect();
    if !before_prevote.is_empty() {
        findings.add(
            Note,
            QUORUM,
            format!(
                "controllers of 3.9 know no pre-vote ({}): as long as one of them votes, failover \
                 takes a fetch timeout, as it does today",
                ids(before_prevote.iter())
            ),
        );
    }
}
