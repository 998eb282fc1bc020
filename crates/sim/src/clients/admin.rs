//! An administrator: one request at a time, each with an oracle's expectation.

use super::oracle::{Oracle, Topic, user};
use crate::trace::who;
use crate::world::{Happening, World};
use quorate_base::{NodeId, Prng, Time};
use quorate_node::RpcFailure;
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::create_topics_request::CreatableTopic;
use quorate_protocol::messages::delete_topics_request::DeleteTopicState;
use quorate_protocol::messages::{
    AlterClientQuotasRequest, CreateTopicsRequest, DeleteTopicsRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use std::time::Duration;

/// One administrator.
#[derive(Debug)]
pub struct Admin {
    prng: Prng,
    /// What it may rely on.
    pub oracle: Oracle,
    leader: Option<NodeId>,
    doing: Option<Doing>,
    next_rpc: u64,
    next_topic: u64,
    next_value: u64,
    /// Requests acknowledged so far.
    pub acknowledged: u64,
    /// Requests that ended without an acknowledgement.
    pub unknown: u64,
}

/// A request under way.
#[derive(Debug)]
struct Doing {
    rpc: u64,
    what: Op,
    since: Time,
}

#[derive(Clone, Debug)]
enum Op {
    /// `lost`: attempts without an answer so far.
    Create {
        name: String,
        lost: u32,
    },
    Delete {
        name: String,
    },
    Write {
        value: u64,
    },
}

impl Admin {
    /// One that has done nothing yet.
    pub fn new(_id: NodeId, seed: u64) -> Admin {
        Admin {
            prng: Prng::new(seed),
            oracle: Oracle::default(),
            leader: None,
            doing: None,
            next_rpc: 1,
            next_topic: 1,
            next_value: 1,
            acknowledged: 0,
            unknown: 0,
        }
    }

    /// Since when it has been waiting for an answer.
    pub fn waiting_since(&self) -> Option<Time> {
        self.doing.as_ref().map(|doing| doing.since)
    }

    /// Where it stands, in a line.
    pub fn summary(&self) -> String {
        let (acknowledged, unknown) = (self.acknowledged, self.unknown);
        format!("{acknowledged} acknowledged, {unknown} unknown, now {:?}", self.doing)
    }

    fn choose(&mut self, id: NodeId) -> Op {
        let present = self.oracle.topics.iter().filter(|(_, known)| **known == Topic::Present);
        let present: Vec<&String> = present.map(|(name, _)| name).collect();
        match self.prng.below(10) {
            0..=4 => {
                let name = format!("topic-{id}-{}", self.next_topic);
                self.next_topic += 1;
                Op::Create { name, lost: 0 }
            }
            5 | 6 if !present.is_empty() => {
                let at = self.prng.below(present.len() as u64) as usize;
                Op::Delete { name: present[at].clone() }
            }
            _ => {
                self.next_value += 1;
                Op::Write { value: self.next_value }
            }
        }
    }

    fn request(&mut self, id: NodeId, op: &Op) -> AnyRequest {
        match op {
            Op::Create { name, .. } => AnyRequest::CreateTopics(CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: KStr::from(name.as_str()),
                    num_partitions: 1 + self.prng.below(3) as i32,
                    replication_factor: 1 + self.prng.below(3) as i16,
                    ..Default::default()
                }],
                timeout_ms: 3000,
                ..Default::default()
            }),
            Op::Delete { name } => AnyRequest::DeleteTopics(DeleteTopicsRequest {
                topics: vec![DeleteTopicState {
                    name: Some(KStr::from(name.as_str())),
                    ..Default::default()
                }],
                timeout_ms: 3000,
                ..Default::default()
            }),
            Op::Write { value } => AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
                entries: vec![EntryData {
                    entity: vec![EntityData {
                        entity_type: KStr::from("user"),
                        entity_name: Some(KStr::from(user(id))),
                        ..Default::default()
                    }],
                    ops: vec![OpData {
                        key: KStr::from("producer_byte_rate"),
                        value: *value as f64,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }),
        }
    }
}

impl World {
    /// An administrator looks what to do.
    pub fn admin_turn(&mut self, id: NodeId) {
        let controllers: Vec<NodeId> = self.hosts.keys().copied().collect();
        let admin = self.admins.get_mut(&id).expect("an admin");
        let pause = Duration::from_millis(10 + admin.prng.below(300));
        if admin.doing.is_none() {
            let op = admin.choose(id);
            self.admin_does(id, op, &controllers);
        }
        self.schedule_in(pause, Happening::Admin(id));
    }

    fn admin_does(&mut self, id: NodeId, op: Op, controllers: &[NodeId]) {
        let since = self.now;
        let admin = self.admins.get_mut(&id).expect("an admin");
        let request = admin.request(id, &op);
        match &op {
            Op::Create { name, .. } => {
                admin.oracle.topics.insert(name.clone(), Topic::Unknown);
            }
            Op::Delete { name } => {
                admin.oracle.topics.insert(name.clone(), Topic::Leaving);
            }
            Op::Write { value } => admin.oracle.writing(*value),
        }
        let anyone = controllers[admin.prng.below(controllers.len() as u64) as usize];
        let to = admin.leader.unwrap_or(anyone);
        admin.next_rpc += 1;
        let rpc = admin.next_rpc;
        admin.doing = Some(Doing { rpc, what: op, since });
        let timeout = Duration::from_millis(500 + admin.prng.below(3000));
        self.call(id, rpc, to, &request, timeout);
    }

    /// An administrator gets the outcome of its request.
    pub fn admin_answered(
        &mut self,
        id: NodeId,
        rpc: u64,
        from: NodeId,
        result: Result<AnyResponse, RpcFailure>,
    ) {
        let admin = self.admins.get_mut(&id).expect("an admin");
        if admin.doing.as_ref().is_none_or(|doing| doing.rpc != rpc) {
            return;
        }
        let doing = admin.doing.take().expect("checked");
        let verdict = match &result {
            Ok(response) => response.error_codes().iter().copied().find(|code| *code != 0),
            Err(_) => Some(ErrorCode::RequestTimedOut.code()),
        };
        let (text, leader) = match verdict {
            None => ("ok".to_owned(), Some(from)),
            Some(code) => {
                (format!("error {code} from c{from} ({:?})", result.as_ref().err()), None)
            }
        };
        admin.leader = leader;
        let mut again = None;
        match (doing.what.clone(), verdict) {
            (Op::Create { name, .. }, None) => {
                let Ok(AnyResponse::CreateTopics(response)) = &result else { unreachable!() };
                let topic_id = response.topics[0].topic_id;
                admin.oracle.created(&name, (!topic_id.is_zero()).then_some(topic_id));
                admin.acknowledged += 1;
            }
            (Op::Create { name, lost }, Some(code))
                if code == ErrorCode::TopicAlreadyExists.code() =>
            {
                assert!(lost > 0, "ORACLE: {name} exists before a{id} asked for it");
                admin.oracle.created(&name, None);
            }
            (Op::Create { name, lost }, Some(_)) => {
                admin.unknown += 1;
                admin.oracle.attempt_lost(&name);
                if admin.prng.chance(2, 3) && lost < 5 {
                    again = Some(Op::Create { name, lost: lost + 1 });
                }
            }
            (Op::Delete { name }, None) => {
                admin.acknowledged += 1;
                admin.oracle.deleted(&name);
            }
            (Op::Delete { name }, Some(code))
                if code == ErrorCode::UnknownTopicOrPartition.code() =>
            {
                let known = admin.oracle.topics.get(&name);
                assert!(
                    known != Some(&Topic::Present),
                    "ORACLE: a{id} was told that {name} exists, and cannot delete it"
                );
            }
            (Op::Delete { .. }, Some(_)) => admin.unknown += 1,
            (Op::Write { value }, None) => {
                admin.acknowledged += 1;
                admin.oracle.wrote(value);
            }
            (Op::Write { .. }, Some(_)) => admin.unknown += 1,
        }
        self.note(&who(id), &format!("{:?}: {text}", doing.what));
        if let Some(op) = again {
            let controllers: Vec<NodeId> = self.hosts.keys().copied().collect();
            self.admin_does(id, op, &controllers);
        }
    }
}
