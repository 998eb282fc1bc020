//! `quorate quorum transfer-leader`: a controller of the operator's choice leads. Kafka has no request
//! for it; a leader of ours takes one that it does not advertise.

use super::leader::{Quorum, refused};
use super::node_id;
use crate::args::Parsed;
use crate::failure::Failure;
use quorate_base::NodeId;
use quorate_client::ClientError;
use quorate_protocol::messages::{TransferLeadershipRequest, TransferLeadershipResponse};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode};

/// Asks whoever leads, until the controller leads or the time is over.
pub fn transfer(args: &Parsed, to: &str) -> Result<(), Failure> {
    let quorum = Quorum::from_args(args)?;
    let to = node_id(to)?;
    let mut first = None;
    loop {
        let mut described = quorum.describe()?;
        let leader = described.quorum.leader_id;
        let voters: Vec<NodeId> =
            described.quorum.current_voters.iter().map(|voter| voter.replica_id).collect();
        if leader == to {
            println!("{}", done(to, described.quorum.leader_epoch, first));
            return Ok(());
        }
        if !voters.contains(&to) {
            return Err(Failure::failed(format!(
                "cannot transfer leadership: {to} is not one of the voters {voters:?}"
            )));
        }
        if args.has("dry-run") {
            println!("DRY RUN of transferring leadership from controller {leader} to {to}");
            return Ok(());
        }
        first.get_or_insert(leader);
        let request = AnyRequest::TransferLeadership(TransferLeadershipRequest {
            cluster_id: Some(described.cluster_id.as_str().into()),
            timeout_ms: quorum.left_ms(),
            successor_id: to,
            ..Default::default()
        });
        let answer = match described.leader.connection().send_version(&request, 0) {
            Ok(AnyResponse::TransferLeadership(answer)) => answer,
            Ok(other) => {
                return Err(Failure::failed(format!("another answer: {:?}", other.api_key())));
            }
            Err(error) => match quorum.after_lost_answer(leader, to, error)? {
                Some(epoch) => {
                    println!("{}", done(to, epoch, first));
                    return Ok(());
                }
                None => continue,
            },
        };
        let TransferLeadershipResponse { error_code, error_message, leader_epoch, .. } = answer;
        if error_code == ErrorCode::None.code() {
            println!("{}", done(to, leader_epoch, first));
            return Ok(());
        }
        // Somebody else leads now, or was elected instead: it is asked in turn.
        let moved = [ErrorCode::NotLeaderOrFollower, ErrorCode::EligibleLeadersNotAvailable];
        let moved = moved.iter().any(|code| code.code() == error_code);
        let why = refused(error_code, error_message.as_deref()).err().unwrap_or_default();
        if !moved || quorum.is_over() {
            return Err(Failure::failed(format!(
                "leadership was not transferred from controller {leader} to {to}: {why}"
            )));
        }
        quorum.pause();
    }
}

impl Quorum {
    /// The leader closed the connection: it does not know the request, or it has just died. The epoch,
    /// if the wanted controller leads all the same; `None` if another than before leads.
    fn after_lost_answer(
        &self,
        leader: NodeId,
        to: NodeId,
        error: ClientError,
    ) -> Result<Option<i32>, Failure> {
        let now = self.describe()?;
        match now.quorum.leader_id {
            id if id == to => Ok(Some(now.quorum.leader_epoch)),
            id if id != leader && !self.is_over() => Ok(None),
            _ => Err(Failure::failed(format!(
                "controller {leader} leads and does not know how to transfer leadership ({error}): it \
                 is not Quorate, or an older one. Kafka's controllers give leadership up when they are \
                 stopped: restart controller {leader} by SIGTERM; with {to} caught up (quorate quorum \
                 replication) it, or another voter, is elected at once. If another is and it is \
                 Quorate, run this command again"
            ))),
        }
    }
}

fn done(to: NodeId, epoch: i32, from: Option<NodeId>) -> String {
    match from {
        Some(from) => {
            format!("Transferred leadership from controller {from} to {to} in epoch {epoch}")
        }
        None => format!("Controller {to} leads already, in epoch {epoch}"),
    }
}
