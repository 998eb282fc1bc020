//! Nothing is acknowledged before it is committed, so nothing acknowledged is lost; and in one epoch one
//! controller alone acknowledges.
//!
//! Source: `AckedValueNotLost` (kip_853) TLA+; design §5 ("active"). What clients believe afterwards is
//! checked by the clients' own oracle (`clients/admin.rs`).

use quorate_base::{Epoch, NodeId};
use quorate_metadata::Image;
use quorate_protocol::AnyResponse;
use std::collections::BTreeMap;

/// Who acknowledged in which epoch.
#[derive(Default)]
pub struct Acknowledged {
    by_epoch: BTreeMap<Epoch, NodeId>,
}

impl Acknowledged {
    /// An answer is about to leave.
    pub fn answered(
        &mut self,
        id: NodeId,
        epoch: Epoch,
        response: &AnyResponse,
        committed: &Image,
    ) {
        let acknowledges = match response {
            AnyResponse::CreateTopics(response) => {
                let created = response.topics.iter().filter(|topic| topic.error_code == 0);
                let mut any = false;
                for topic in created {
                    any = true;
                    let found = committed.topics.by_name(&topic.name);
                    assert!(
                        found.is_some_and(|found| found.id == topic.topic_id)
                            || topic.topic_id.is_zero(),
                        "ACKNOWLEDGED: c{id} says that topic {} is created, and no committed record \
                         says so",
                        topic.name
                    );
                }
                any
            }
            AnyResponse::DeleteTopics(response) => {
                let deleted = response.responses.iter().filter(|topic| topic.error_code == 0);
                let mut any = false;
                for topic in deleted {
                    any = true;
                    assert!(
                        committed.topics.by_id(topic.topic_id).is_none(),
                        "ACKNOWLEDGED: c{id} says that topic {} is deleted, and it is not",
                        topic.topic_id
                    );
                }
                any
            }
            AnyResponse::AlterClientQuotas(response) => {
                response.entries.iter().any(|entry| entry.error_code == 0)
            }
            AnyResponse::BrokerRegistration(response) => response.error_code == 0,
            AnyResponse::AllocateProducerIds(response) => response.error_code == 0,
            _ => false,
        };
        if acknowledges {
            let first = *self.by_epoch.entry(epoch).or_insert(id);
            assert_eq!(
                first, id,
                "ACKNOWLEDGED: in epoch {epoch} both c{first} and c{id} acknowledge"
            );
        }
    }
}
