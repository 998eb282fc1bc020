//! Producer ids: handed to brokers in blocks, so that each id is used once in the life of a cluster.

use crate::decide::brokers::check_broker_epoch;
use crate::{Draft, Env, RequestContext};
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use quorate_protocol::records::ProducerIdsRecord;

/// Ids in a block; Kafka's number, which brokers take as given by the answer.
pub const PRODUCER_ID_BLOCK_LEN: i32 = 1_000;

/// AllocateProducerIds: the next block for a registered broker.
pub fn allocate_producer_ids(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let (broker_id, broker_epoch) = (request.broker_id, request.broker_epoch);
    let refuse = |error: ErrorCode| AllocateProducerIdsResponse {
        error_code: error.code(),
        ..Default::default()
    };
    if let Err(error) = check_broker_epoch(draft.image(), broker_id, broker_epoch) {
        return refuse(error);
    }
    let start = draft.image().producer_ids.next_producer_id().unwrap_or(0);
    let Some(next) = start.checked_add(i64::from(PRODUCER_ID_BLOCK_LEN)) else {
        // 2^63 ids are used up.
        return refuse(ErrorCode::UnknownServerError);
    };
    draft.push(ProducerIdsRecord {
        broker_id,
        broker_epoch,
        next_producer_id: next,
        ..Default::default()
    });
    AllocateProducerIdsResponse {
        producer_id_start: start,
        producer_id_len: PRODUCER_ID_BLOCK_LEN,
        ..Default::default()
    }
}
