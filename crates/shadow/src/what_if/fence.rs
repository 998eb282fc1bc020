//! Brokers that stop: leaders that move, partitions left without one, ISRs that shrink.

use super::{Misasked, Named, check_registered, named};
use quorate_base::{NodeId, Now, Prng};
use quorate_controller::cluster_view::ClusterView;
use quorate_controller::decide::broker_changes::on_broker_fenced;
use quorate_controller::{ControllerConfig, Draft, Env, Heartbeats, RaftView};
use quorate_metadata::{Image, Partition};
use std::collections::BTreeMap;

/// What fencing brokers, one after another, would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fence {
    /// Those that are fenced now, in the order given.
    pub fenced: Vec<NodeId>,
    /// Those that were fenced already: nothing happens.
    pub already_fenced: Vec<NodeId>,
    /// Partitions that get another leader.
    pub leaders_moved: Vec<Named>,
    /// Partitions that lose their leader and get none.
    pub offline: Vec<Named>,
    /// Partitions that get a leader which may lack acknowledged records, because their topic allows it.
    pub unclean: Vec<Named>,
    /// Partitions that fall below `min.insync.replicas`: producers with acks=all are refused.
    pub under_min_isr: Vec<Named>,
    /// Partitions at `min.insync.replicas` from then on: the next loss refuses producers.
    pub at_min_isr: Vec<Named>,
    /// Partitions whose ISR shrinks.
    pub isr_shrinks: usize,
    /// Partitions below `min.insync.replicas` already before.
    pub under_min_isr_before: usize,
    /// Partitions without a leader already before.
    pub offline_before: usize,
    /// Leaders by broker, before and after.
    pub leaders: BTreeMap<NodeId, (usize, usize)>,
    /// Records that the controller would write.
    pub records: usize,
}

/// Decides as if the sessions of these brokers ran out, in this order. Registered brokers only.
pub fn fence(
    image: &Image,
    config: &ControllerConfig,
    brokers: &[NodeId],
) -> Result<Fence, Misasked> {
    check_registered(image, brokers)?;
    let mut result = Fence::default();
    let mut draft = Draft::new(image.clone(), 0);
    let mut env = Env {
        now: Now::default(),
        config,
        prng: &mut Prng::new(1),
        heartbeats: &mut Heartbeats::new(config.broker_session_timeout),
        raft: RaftView::default(),
    };
    for id in brokers {
        let fenced = draft.image().cluster.broker(*id).is_some_and(|it| it.fenced);
        if fenced {
            result.already_fenced.push(*id);
        } else {
            on_broker_fenced(&mut env, &mut draft, *id);
            result.fenced.push(*id);
        }
    }
    result.records = draft.len();
    result.tell(image, draft.image(), config);
    Ok(result)
}

impl Fence {
    fn tell(&mut self, before: &Image, after: &Image, config: &ControllerConfig) {
        let (view_before, view_after) =
            (ClusterView::new(before, config), ClusterView::new(after, config));
        for topic in before.topics.iter_by_id() {
            let min_isr = view_before.topic_rules(topic).min_isr;
            let min_isr_after = view_after.topic_rules(topic).min_isr;
            for (index, old) in before.topics.partitions(topic.id) {
                let new = after.topics.partition(topic.id, index).unwrap_or(old);
                let key = (topic.id, index);
                self.count_leaders(old, new);
                // The last one stays in the ISR though it is gone.
                let live = |image: &Image, it: &Partition| {
                    let active =
                        |id: &&NodeId| image.cluster.broker(**id).is_some_and(|b| b.is_active());
                    it.isr().iter().filter(active).count()
                };
                let (isr_before, isr_after) = (live(before, old), live(after, new));
                self.isr_shrinks += usize::from(isr_after < isr_before);
                let was_under = isr_before < min_isr;
                self.under_min_isr_before += usize::from(was_under);
                if isr_after < min_isr_after && !was_under {
                    self.under_min_isr.push(named(before, key));
                } else if isr_after == min_isr_after && isr_before > min_isr {
                    self.at_min_isr.push(named(before, key));
                }
                match (old.leader(), new.leader()) {
                    (None, _) => self.offline_before += 1,
                    (Some(_), None) => self.offline.push(named(before, key)),
                    (Some(was), Some(is)) if was != is => {
                        self.leaders_moved.push(named(before, key));
                        if !old.isr().contains(&is) && !old.elr().contains(&is) {
                            self.unclean.push(named(before, key));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn count_leaders(&mut self, old: &Partition, new: &Partition) {
        if let Some(id) = old.leader() {
            self.leaders.entry(id).or_default().0 += 1;
        }
        if let Some(id) = new.leader() {
            self.leaders.entry(id).or_default().1 += 1;
        }
    }

    /// True if a client would notice more than a moved leader.
    pub fn hurts(&self) -> bool {
        !self.offline.is_empty() || !self.under_min_isr.is_empty() || !self.unclean.is_empty()
    }
}
