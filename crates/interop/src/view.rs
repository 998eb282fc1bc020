use crate::{Cluster, Failure, Outcome, wait_for};
use quorate_base::Uuid;
use quorate_client::{Admin, Connection, Options};
use std::time::Duration;

/// A partition as a broker shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionView {
    pub index: i32,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    /// In ascending order.
    pub isr: Vec<i32>,
}

/// A topic as a broker shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicView {
    pub id: Uuid,
    pub name: String,
    /// By index.
    pub partitions: Vec<PartitionView>,
}

impl TopicView {
    /// Whether every partition has this many members in its ISR.
    pub fn isr_is(&self, size: usize) -> bool {
        self.partitions.iter().all(|partition| partition.isr.len() == size)
    }
}

/// Short timeouts: these questions are asked again and again.
fn probe(address: &str) -> Outcome<Admin> {
    let options = Options {
        client_id: "interop".to_owned(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
    };
    Ok(Admin::over(Connection::connect(address, options)?))
}

/// The unfenced brokers as one broker sees them, ascending.
pub(crate) fn alive_brokers(address: &str) -> Outcome<Vec<i32>> {
    let answer = probe(address)?.describe_cluster(1)?;
    let mut ids: Vec<i32> = answer.brokers.iter().map(|broker| broker.broker_id).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Whether the controller leads the metadata log and has its first records committed: before that
/// it knows no metadata.version, and a broker cannot register.
pub(crate) fn is_active_controller(address: &str) -> Outcome<()> {
    let mut admin = probe(address)?;
    let quorum = admin.describe_quorum()?;
    if quorum.leader_id < 0 || quorum.high_watermark < 0 {
        return Err(Failure(format!("no leader yet: {quorum:?}")));
    }
    let features = &admin.connection().api_versions().finalized_features;
    if !features.iter().any(|feature| feature.name.as_str() == "metadata.version") {
        return Err(Failure::new("no metadata.version yet"));
    }
    Ok(())
}

impl Cluster {
    /// A topic as the broker sees it at this moment.
    pub fn topic(&self, broker: i32, name: &str) -> Outcome<TopicView> {
        let node = self
            .brokers
            .get(&broker)
            .ok_or_else(|| Failure(format!("this cluster has no broker {broker}")))?;
        let answer = probe(&node.address())?.metadata(Some(&[name]))?;
        let topic = answer
            .topics
            .iter()
            .find(|topic| topic.name.as_ref().is_some_and(|n| n.as_str() == name))
            .ok_or_else(|| Failure(format!("broker {broker} shows no topic {name}")))?;
        if topic.error_code != 0 {
            return Err(Failure(format!(
                "broker {broker} answers error {} for topic {name}",
                topic.error_code
            )));
        }
        let mut partitions: Vec<PartitionView> = topic
            .partitions
            .iter()
            .map(|partition| {
                let mut isr = partition.isr_nodes.clone();
                isr.sort_unstable();
                PartitionView {
                    index: partition.partition_index,
                    leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.clone(),
                    isr,
                }
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Ok(TopicView { id: topic.topic_id, name: name.to_owned(), partitions })
    }

    /// Waits until the topic looks as the check wants it, seen by one broker.
    pub fn await_topic(
        &self,
        broker: i32,
        name: &str,
        what: &str,
        deadline: Duration,
        check: impl Fn(&TopicView) -> bool,
    ) -> Outcome<TopicView> {
        wait_for(&format!("topic {name}: {what}"), deadline, || {
            let topic = self.topic(broker, name)?;
            if check(&topic) { Ok(topic) } else { Err(Failure(format!("{topic:?}"))) }
        })
    }
}
