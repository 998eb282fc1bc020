//! Is anybody alive? Asked of every address where a voter was.

use crate::live::{LiveError, LiveLog, LiveOptions, Step};
use quorate_base::{Epoch, NodeId};
use quorate_client::{Connection, Options};
use std::time::Duration;

/// A node on the same network answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of asking one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// The voter that was there, if it was a voter's address.
    pub id: Option<NodeId>,
    /// `host:port`.
    pub address: String,
    /// The answer.
    pub answer: Answer,
}

/// What an address answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nobody.
    Silent(String),
    /// A quorum of this cluster has a leader, there or where it said.
    Leader { address: String, epoch: Epoch },
    /// A controller of this cluster that knows no leader.
    Leaderless(String),
    /// Something else: another cluster, a broker.
    Stranger(String),
}

/// Asks each address once.
pub fn probe(addresses: &[(Option<NodeId>, String)], cluster_id: &str) -> Vec<Probed> {
    let ask = |(id, address): &(Option<NodeId>, String)| Probed {
        id: *id,
        address: address.clone(),
        answer: ask(address, cluster_id),
    };
    addresses.iter().map(ask).collect()
}

fn ask(address: &str, cluster_id: &str) -> Answer {
    let client = Options {
        client_id: "quorate-recover".to_owned(),
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
    };
    // Whoever does not even take a connection is not there; one that takes it and says nothing may
    // be a controller that hangs.
    match Connection::connect(address, client.clone()) {
        Ok(_) => {}
        Err(error @ quorate_client::ClientError::Connect { .. }) => {
            return Answer::Silent(error.to_string());
        }
        Err(error) => return Answer::Leaderless(error.to_string()),
    }
    let mut log = LiveLog::new(LiveOptions {
        cluster_id: Some(cluster_id.to_owned()),
        client,
        ..LiveOptions::anonymous(vec![address.to_owned()])
    });
    match log.poll() {
        Ok(Step::NoLeader(answers)) => {
            let why: Vec<String> =
                answers.into_iter().map(|(at, why)| format!("{at}: {why}")).collect();
            let why = why.join("; ");
            let is_broker = why.contains("does not serve the metadata log");
            if is_broker { Answer::Stranger(why) } else { Answer::Leaderless(why) }
        }
        Ok(_) => {
            let address = log.leader_address().unwrap_or(address).to_owned();
            Answer::Leader { address, epoch: log.epoch() }
        }
        Err(error @ LiveError::OtherCluster { .. }) => Answer::Stranger(error.to_string()),
        Err(error) => Answer::Leaderless(error.to_string()),
    }
}
