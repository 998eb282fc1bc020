//! What an operator does, in order, with the commands.

use super::plan::{Road, Task};
use super::survey::Survey;
use quorate_base::NodeId;
use serde_json::{Value, json};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whose turn it is.
    pub node: NodeId,
    /// In words.
    pub text: String,
    /// What to type, where it is a command of ours or of Kafka's.
    pub command: Option<String>,
}

impl Step {
    fn new(node: NodeId, text: &str, command: Option<String>) -> Step {
        Step { node, text: text.to_owned(), command }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({"node": self.node, "text": self.text, "command": self.command})
    }
}

/// All steps of a task.
pub fn steps(survey: &Survey, task: &Task) -> Vec<Step> {
    match task.road {
        Road::InPlace => task.old.iter().flat_map(|id| in_place(task, *id)).collect(),
        Road::GrowAndShrink => grow_and_shrink(survey, task),
    }
}

fn in_place(task: &Task, id: NodeId) -> Vec<Step> {
    let file = task.files.iter().find(|file| file.id == id);
    let file = file.map_or(format!("FILE-OF-{id}"), |file| file.path.display().to_string());
    vec![ask(task, id), stop(id), start(task, id, &file), await_node(task, id)]
}

fn grow_and_shrink(survey: &Survey, task: &Task) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut old = task.old.iter();
    let bootstrap = &task.bootstrap;
    for file in &task.files {
        let (id, path) = (file.id, file.path.display().to_string());
        if file.formatted != Some(true) {
            let command = if task.back { "kafka-storage.sh" } else { "quorate storage" };
            let command = format!(
                "{command} format --cluster-id {} --config {path} --no-initial-controllers",
                survey.cluster_id
            );
            steps.push(Step::new(id, &format!("format the directory of node {id}"), Some(command)));
        }
        steps.push(start(task, id, &path));
        let command = format!("quorate quorum --bootstrap {bootstrap} add-controller -c {path}");
        let text = format!("make node {id} a voter, once it listens and has caught up");
        steps.push(Step::new(id, &text, Some(command)));
        steps.push(await_node(task, id));
        steps.extend(old.next().into_iter().flat_map(|id| remove(survey, task, *id)));
    }
    steps.extend(old.flat_map(|id| remove(survey, task, *id)));
    steps
}

fn remove(survey: &Survey, task: &Task, id: NodeId) -> Vec<Step> {
    let directory = survey.voters.get(&id).and_then(|voter| voter.directory_id);
    let directory = directory.map_or("ITS-DIRECTORY-ID".to_owned(), |it| it.to_string());
    let bootstrap = &task.bootstrap;
    let command = format!(
        "quorate quorum --bootstrap {bootstrap} remove-controller --id {id} --directory-id {directory}"
    );
    vec![
        ask(task, id),
        Step::new(id, &format!("remove node {id} from the voters"), Some(command)),
        stop(id),
    ]
}

fn ask(task: &Task, id: NodeId) -> Step {
    let bootstrap = &task.bootstrap;
    let command = format!("quorate takeover may-stop {id} --wait --bootstrap {bootstrap}");
    Step::new(id, &format!("ask whether the quorum can spare node {id} now"), Some(command))
}

fn stop(id: NodeId) -> Step {
    Step::new(id, &format!("stop node {id} by SIGTERM, and wait until its process is gone"), None)
}

fn start(task: &Task, id: NodeId, file: &str) -> Step {
    let (program, command) =
        if task.back { ("Kafka", "kafka-server-start.sh") } else { ("Quorate", "quorate server") };
    let text = format!("start {program} as node {id}");
    Step::new(id, &text, Some(format!("{command} {file}")))
}

fn await_node(task: &Task, id: NodeId) -> Step {
    let program = if task.back { "kafka" } else { "quorate" };
    let bootstrap = &task.bootstrap;
    let command = format!("quorate takeover status --await {id}={program} --bootstrap {bootstrap}");
    Step::new(id, &format!("wait until node {id} is back and has caught up"), Some(command))
}
