//! What the active controller does of itself: fence brokers that fell silent, keep the log moving,
//! give leaderships back, elect out of sync where that is allowed, let tokens expire.

use crate::decide::broker_changes::{
    MAX_ELECTIONS_PER_IMBALANCE, balance_preferred_leaders, elect_unclean,
};
use crate::decide::brokers::fence_one_stale_broker;
use crate::decide::tokens::sweep_expired_tokens;
use crate::{ControllerConfig, Draft, Env, Heartbeats};
use quorate_base::Time;
use quorate_protocol::records::NoOpRecord;
use std::time::Duration;

/// A task that said "there is more" comes again after this long, so that requests get their turn.
const SOON: Duration = Duration::from_millis(10);

/// When each task is due; `None` while it is off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Periodic {
    no_op: Option<Time>,
    balance: Option<Time>,
    unclean: Option<Time>,
    tokens: Option<Time>,
}

/// The tasks, in the order in which they are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    FenceStaleBroker,
    BalanceLeaders,
    ElectUnclean,
    ExpireTokens,
    NoOp,
}

impl Task {
    pub(crate) const ALL: [Task; 5] = [
        Task::FenceStaleBroker,
        Task::BalanceLeaders,
        Task::ElectUnclean,
        Task::ExpireTokens,
        Task::NoOp,
    ];

    fn why(self) -> &'static str {
        match self {
            Task::FenceStaleBroker => "broker session",
            Task::BalanceLeaders => "leader balance",
            Task::ElectUnclean => "unclean elections",
            Task::ExpireTokens => "delegation token expiry",
            Task::NoOp => "idle log",
        }
    }
}

impl Periodic {
    /// Every task starts over when a controller becomes active.
    pub(crate) fn activate(&mut self, now: Time, config: &ControllerConfig) {
        let after = |interval: Duration| (!interval.is_zero()).then(|| now + interval);
        *self = Periodic {
            no_op: after(config.metadata_max_idle_interval),
            balance: after(config.leader_imbalance_check_interval)
                .filter(|_| config.auto_leader_rebalance),
            unclean: after(config.unclean_leader_election_interval),
            tokens: after(config.delegation_tokens.expiry_check_interval)
                .filter(|_| config.delegation_tokens.secret_key.is_some()),
        };
    }

    /// Records were appended: the log is not idle.
    pub(crate) fn appended(&mut self, now: Time, config: &ControllerConfig) {
        if self.no_op.is_some() {
            self.no_op = Some(now + config.metadata_max_idle_interval);
        }
    }

    fn due(&self, task: Task, heartbeats: &Heartbeats) -> Option<Time> {
        match task {
            Task::FenceStaleBroker => heartbeats.next_expiry(),
            Task::BalanceLeaders => self.balance,
            Task::ElectUnclean => self.unclean,
            Task::ExpireTokens => self.tokens,
            Task::NoOp => self.no_op,
        }
    }

    /// The next task's time, and what it is.
    pub(crate) fn next(&self, heartbeats: &Heartbeats) -> Option<(Time, &'static str)> {
        let times = Task::ALL.iter().filter_map(|it| Some((self.due(*it, heartbeats)?, it.why())));
        times.min_by_key(|(time, _)| *time)
    }

    /// True if a task's time has come.
    pub(crate) fn is_due(&self, task: Task, now: Time, heartbeats: &Heartbeats) -> bool {
        self.due(task, heartbeats).is_some_and(|time| time <= now)
    }

    /// Does one turn of a task and sets when it comes again.
    pub(crate) fn run(&mut self, task: Task, env: &mut Env<'_>, draft: &mut Draft) {
        let now = env.now.time;
        let again = |more: bool, interval: Duration| Some(now + if more { SOON } else { interval });
        match task {
            // One broker at a time, in the order of their last contact, each by an append of its own.
            Task::FenceStaleBroker => {
                fence_one_stale_broker(env, draft);
            }
            Task::BalanceLeaders => {
                let more = balance_preferred_leaders(env, draft, MAX_ELECTIONS_PER_IMBALANCE);
                self.balance = again(more, env.config.leader_imbalance_check_interval);
            }
            Task::ElectUnclean => {
                let more = elect_unclean(env, draft, MAX_ELECTIONS_PER_IMBALANCE);
                self.unclean = again(more, env.config.unclean_leader_election_interval);
            }
            Task::ExpireTokens => {
                sweep_expired_tokens(env, draft);
                self.tokens = again(false, env.config.delegation_tokens.expiry_check_interval);
            }
            Task::NoOp => {
                draft.push(NoOpRecord::default());
                self.no_op = again(false, env.config.metadata_max_idle_interval);
            }
        }
    }
}
