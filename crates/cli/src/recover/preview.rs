//! What `quorate recover` says before and after.

use quorate_protocol::control::Voter;
use quorate_survey::recover::{Answer, Executed, LEADER_EPOCH_MARGIN, NewVoters, Plan, Probed};
use std::fmt::Write;

/// What was found and what would be done.
pub fn text(plan: &Plan, probed: &[Probed]) -> String {
    let mut out = String::new();
    let _ = write_found(&mut out, plan, probed);
    let _ = write_kept(&mut out, plan);
    out
}

fn write_found(out: &mut String, plan: &Plan, probed: &[Probed]) -> std::fmt::Result {
    writeln!(out, "Found, the best log first:")?;
    for (i, it) in plan.candidates.iter().enumerate() {
        let end = it.survey.log_end();
        let role = if it.is_voter { "voter" } else { "no voter" };
        let mark = match (i == plan.source, i == plan.target) {
            (true, true) => ", KEPT",
            (true, false) => ", its log is KEPT",
            (false, true) => ", is WRITTEN",
            (false, false) => "",
        };
        writeln!(
            out,
            "  {}: node {} ({role}), log ends at offset {} in epoch {}, highest epoch seen {}{mark}",
            it.directory.display(),
            it.key,
            end.offset,
            end.epoch,
            it.survey.epoch()
        )?;
        let problems = it.survey.findings.iter().filter(|it| it.severity().is_problem());
        for problem in problems {
            writeln!(out, "    problem: {} ({})", problem.kind.text().what, problem.place)?;
        }
    }
    let old: Vec<String> = plan.old_voters.iter().map(ToString::to_string).collect();
    writeln!(out, "Voters so far: {}", old.join(", "))?;
    if probed.is_empty() {
        writeln!(out, "Nobody was asked (--offline).")?;
    } else {
        writeln!(out, "Asked:")?;
    }
    for it in probed {
        let who = it.id.map(|id| format!(" (voter {id})")).unwrap_or_default();
        let answer = match &it.answer {
            Answer::Silent(why) => format!("nobody answers: {why}"),
            Answer::Leader { address, epoch } => format!("LEADER {address} in epoch {epoch}"),
            Answer::Leaderless(why) => format!("ALIVE, knows no leader: {why}"),
            Answer::Stranger(why) => format!("does not count: {why}"),
        };
        writeln!(out, "  {}{who}: {answer}", it.address)?;
    }
    Ok(())
}

fn write_kept(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let source = plan.source();
    writeln!(
        out,
        "\nKept: everything before offset {} of {}",
        plan.end.offset,
        source.directory.display()
    )?;
    if let Some(it) = &source.survey.log.image {
        writeln!(
            out,
            "  {} brokers, {} topics, {} partitions, metadata hash {:016x}",
            it.image.cluster.broker_count(),
            it.image.topics.topic_count(),
            it.image.topics.partition_count(),
            it.image.content_hash()
        )?;
    }
    for it in &plan.left_out {
        writeln!(out, "  left out: {it}")?;
    }
    if plan.may_lose.is_empty() {
        writeln!(out, "Lost: nothing; a majority of the voters is here")?;
    } else {
        writeln!(out, "Could be lost:")?;
        plan.may_lose.iter().try_for_each(|it| writeln!(out, "  - {it}"))?;
    }
    writeln!(out, "To be done:")?;
    writeln!(out, "  copy each directory that is changed")?;
    writeln!(
        out,
        "  epoch {} in {}, no vote given",
        plan.epoch,
        plan.target().directory.display()
    )?;
    for it in plan.others() {
        writeln!(out, "  the same in {}, which is not changed otherwise", it.directory.display())?;
    }
    if plan.source != plan.target {
        writeln!(
            out,
            "  the log and snapshots of {} in the place of those in {}",
            source.directory.display(),
            plan.target().directory.display()
        )?;
    }
    match &plan.new_voters {
        NewVoters::Static(ids) => {
            writeln!(out, "  the voters {ids:?} (static: you write them into the configuration)")?;
        }
        NewVoters::Dynamic { voters, .. } => {
            let all: Vec<String> = voters.iter().map(voter).collect();
            writeln!(out, "  at offset {}, the voters {}", plan.end.offset, all.join(", "))?;
        }
    }
    if let Some(raise) = plan.raise() {
        writeln!(
            out,
            "  behind it, as brokers may know more than the kept log: leader and partition epochs of {} \
             partitions raised by {LEADER_EPOCH_MARGIN}, producer ids from {} on",
            raise.partitions, raise.next_producer_id
        )?;
    }
    Ok(())
}

fn voter(voter: &Voter) -> String {
    let at: Vec<String> =
        voter.endpoints.iter().map(|it| format!("{}://{}:{}", it.name, it.host, it.port)).collect();
    format!("{} at {}", voter.key, at.join(" "))
}

/// What was done and what comes next.
pub fn done_text(plan: &Plan, done: &Executed) -> String {
    let mut out = String::new();
    let _ = write_done(&mut out, plan, done);
    out
}

fn write_done(out: &mut String, plan: &Plan, done: &Executed) -> std::fmt::Result {
    writeln!(out, "\nDone.")?;
    for it in &done.backups {
        writeln!(out, "  copy of what was there: {} (see its manifest.json)", it.display())?;
    }
    for it in &done.written {
        writeln!(out, "  written: {}", it.display())?;
    }
    for it in &done.removed {
        writeln!(out, "  removed: {}", it.display())?;
    }
    let id = plan.target().key.id;
    writeln!(out, "\nNext:")?;
    let ids = plan.new_voters.ids();
    match &plan.new_voters {
        NewVoters::Static(_) => {
            let list: Vec<String> = ids.iter().map(|id| format!("{id}@HOST:PORT")).collect();
            writeln!(
                out,
                "  1. On every controller and broker: controller.quorum.voters={}\n  \
                 2. Start node {id}, then restart the brokers.\n  \
                 3. For more voters: put them into controller.quorum.voters everywhere, format their \
                 directories anew, and restart all.",
                list.join(",")
            )?;
        }
        NewVoters::Dynamic { .. } => {
            let others: Vec<String> =
                ids.iter().filter(|it| **it != id).map(ToString::to_string).collect();
            let start = match others.is_empty() {
                true => format!("Start node {id}: it leads alone."),
                false => format!("Start node {id} and the others: {}.", others.join(", ")),
            };
            writeln!(
                out,
                "  1. {start} `quorate quorum --bootstrap HOST:PORT status` shows the quorum.\n  \
                 2. Restart the brokers.\n  \
                 3. For more voters: format an empty directory with --no-initial-controllers, start \
                 the node, then `quorate quorum add-controller`."
            )?;
        }
    }
    writeln!(
        out,
        "  Old voters that return give way to the new epoch, cut off what this log has not, and are \
         observers. Format their directories anew before you add them again.\n  \
         A broker that knew more than this log stops or waits with a message about truncation: stop it, \
         remove its __cluster_metadata-0, start it; it reads the metadata anew."
    )
}
