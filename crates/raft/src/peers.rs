use crate::{PeerAddress, RpcId};
use quorate_base::{NodeId, Prng, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the same complaint about a peer is not repeated.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);
/// More addresses than a quorum has.
const MAX_COMPLAINTS: usize = 64;

/// What an outgoing request is for; decides what its answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    PreVote,
    Vote,
    BeginQuorumEpoch,
    EndQuorumEpoch,
    Fetch,
    FetchSnapshot,
    UpdateVoter,
    /// Auto-join: this observer asks to become a voter, or asks for its former self to be removed.
    JoinAdd,
    JoinRemove,
    /// A voter on an empty disk asks the others what they know.
    ProbeVote,
    ProbeFetch,
    /// The leader asks a future voter for its feature ranges.
    ProbeVoter,
}

impl Purpose {
    /// The API's name.
    pub fn request_name(self) -> &'static str {
        match self {
            Purpose::PreVote | Purpose::Vote | Purpose::ProbeVote => "Vote",
            Purpose::BeginQuorumEpoch => "BeginQuorumEpoch",
            Purpose::EndQuorumEpoch => "EndQuorumEpoch",
            Purpose::Fetch | Purpose::ProbeFetch => "Fetch",
            Purpose::FetchSnapshot => "FetchSnapshot",
            Purpose::UpdateVoter => "UpdateRaftVoter",
            Purpose::JoinAdd => "AddRaftVoter",
            Purpose::JoinRemove => "RemoveRaftVoter",
            Purpose::ProbeVoter => "ApiVersions",
        }
    }
}

/// An outgoing request that has no outcome yet.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub to: PeerAddress,
    pub purpose: Purpose,
    pub sent: Time,
    /// When the driver should long have reported a timeout.
    pub forget_at: Time,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    in_flight: Option<RpcId>,
    backoff_until: Option<Time>,
    failures: u32,
}

/// Outgoing requests: at most one at a time to each address, and a pause after each failure.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    next_rpc: u64,
    outstanding: BTreeMap<RpcId, Outstanding>,
    peers: BTreeMap<PeerAddress, Peer>,
    failures_by_node: BTreeMap<NodeId, u32>,
    /// What was last complained about, and when: not the same again at each retry.
    complaints: BTreeMap<PeerAddress, (Time, String)>,
    retry_backoff: Duration,
    backoff_max: Duration,
    prng: Prng,
}

impl Peers {
    pub fn new(retry_backoff: Duration, backoff_max: Duration, prng: Prng) -> Peers {
        Peers {
            next_rpc: 0,
            outstanding: BTreeMap::new(),
            peers: BTreeMap::new(),
            failures_by_node: BTreeMap::new(),
            complaints: BTreeMap::new(),
            retry_backoff,
            backoff_max,
            prng,
        }
    }

    /// True if a request may be sent there now.
    pub fn is_ready(&self, to: &PeerAddress, now: Time) -> bool {
        self.peers.get(to).is_none_or(|peer| {
            peer.in_flight.is_none() && peer.backoff_until.is_none_or(|until| until <= now)
        })
    }

    /// True if that node did not answer lately.
    pub fn failures_of(&self, node: NodeId) -> u32 {
        self.failures_by_node.get(&node).copied().unwrap_or(0)
    }

    pub fn start(
        &mut self,
        to: PeerAddress,
        purpose: Purpose,
        now: Time,
        timeout: Duration,
    ) -> RpcId {
        let rpc = RpcId(self.next_rpc);
        self.next_rpc += 1;
        let peer = self.peers.entry(to.clone()).or_default();
        peer.in_flight = Some(rpc);
        peer.backoff_until = None;
        let forget_at = now + timeout + timeout;
        self.outstanding.insert(rpc, Outstanding { to, purpose, sent: now, forget_at });
        rpc
    }

    /// Takes an outcome in; `None` if nobody waits for it any more.
    pub fn finish(&mut self, rpc: RpcId) -> Option<Outstanding> {
        let done = self.outstanding.remove(&rpc)?;
        if let Some(peer) = self.peers.get_mut(&done.to) {
            peer.in_flight = None;
        }
        Some(done)
    }

    pub fn succeeded(&mut self, to: &PeerAddress) {
        if let Some(peer) = self.peers.get_mut(to) {
            peer.failures = 0;
        }
        if let Some(node) = to.node {
            self.failures_by_node.remove(&node);
        }
    }

    /// Pauses: the base pause at first, doubling up to the maximum, with jitter.
    pub fn failed(&mut self, to: &PeerAddress, now: Time) {
        let peer = self.peers.entry(to.clone()).or_default();
        let factor = 1u32 << peer.failures.min(6);
        peer.failures = peer.failures.saturating_add(1);
        let pause = (self.retry_backoff * factor).min(self.backoff_max);
        let jitter = self.prng.below((pause.as_nanos() as u64 / 4).max(1));
        peer.backoff_until = Some(now + pause + Duration::from_nanos(jitter));
        if let Some(node) = to.node {
            *self.failures_by_node.entry(node).or_default() += 1;
        }
    }

    /// True if this complaint about a peer is new, or has not been made for a while.
    pub fn may_complain(&mut self, to: &PeerAddress, why: &str, now: Time) -> bool {
        let known = self.complaints.get(to);
        if known.is_some_and(|(at, text)| text == why && now < *at + COMPLAIN_AGAIN) {
            return false;
        }
        if self.complaints.len() >= MAX_COMPLAINTS {
            self.complaints.clear();
        }
        self.complaints.insert(to.clone(), (now, why.to_owned()));
        true
    }

    /// Another role: outcomes of earlier requests mean nothing any more, and nobody is paused.
    pub fn reset(&mut self) {
        self.outstanding.clear();
        self.peers.clear();
    }

    /// The oldest outstanding request with this purpose.
    pub fn outstanding(&self, purpose: Purpose) -> Option<(RpcId, &Outstanding)> {
        self.outstanding.iter().find(|(_, o)| o.purpose == purpose).map(|(id, o)| (*id, o))
    }

    /// Drops what the driver forgot to report, and pauses that are over.
    pub fn expire(&mut self, now: Time) {
        let late: Vec<RpcId> = self
            .outstanding
            .iter()
            .filter(|(_, o)| o.forget_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for rpc in late {
            if let Some(done) = self.finish(rpc) {
                self.failed(&done.to, now);
            }
        }
        for peer in self.peers.values_mut() {
            if peer.backoff_until.is_some_and(|until| until <= now) {
                peer.backoff_until = None;
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Time> {
        let pauses = self.peers.values().filter_map(|peer| peer.backoff_until);
        pauses.chain(self.outstanding.values().map(|o| o.forget_at)).min()
    }
}

impl Peers {
    /// True if a request is under way there or a pause is on: both end by themselves.
    pub fn is_busy(&self, to: &PeerAddress) -> bool {
        self.peers
            .get(to)
            .is_some_and(|peer| peer.in_flight.is_some() || peer.backoff_until.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn peers() -> Peers {
        Peers::new(Duration::from_millis(20), Duration::from_secs(1), Prng::new(1))
    }

    fn peer(id: NodeId) -> PeerAddress {
        PeerAddress { node: Some(id), host: format!("n{id}"), port: 9093 }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn one_request_at_a_time_to_each_address() {
        let mut peers = peers();
        assert!(peers.is_ready(&peer(2), at(0)), "nobody was called yet");
        let rpc = peers.start(peer(2), Purpose::Fetch, at(0), TIMEOUT);
        assert!(!peers.is_ready(&peer(2), at(0)) && peers.is_busy(&peer(2)));
        assert!(peers.is_ready(&peer(3), at(0)), "another address is free");
        assert_eq!(peers.outstanding(Purpose::Fetch).map(|(id, _)| id), Some(rpc));
        assert!(peers.outstanding(Purpose::Vote).is_none());
        assert_eq!(peers.finish(rpc).map(|done| done.to), Some(peer(2)));
        assert!(peers.is_ready(&peer(2), at(0)) && !peers.is_busy(&peer(2)));
        assert!(peers.finish(rpc).is_none(), "an outcome comes once");
    }

    #[test]
    fn a_failure_pauses_and_a_success_forgets_it() {
        let mut peers = peers();
        let mut pauses = Vec::new();
        let mut now = at(0);
        for _ in 0..10 {
            let rpc = peers.start(peer(2), Purpose::Fetch, now, TIMEOUT);
            peers.finish(rpc);
            peers.failed(&peer(2), now);
            assert!(!peers.is_ready(&peer(2), now));
            let until = peers.next_timeout().expect("the end of the pause");
            pauses.push((until - now).as_millis());
            now = until;
            assert!(peers.is_ready(&peer(2), now));
        }
        assert!((20..=25).contains(&pauses[0]) && (40..=50).contains(&pauses[1]), "{pauses:?}");
        assert!(pauses.iter().all(|ms| *ms <= 1250), "{pauses:?}");
        assert_eq!(peers.failures_of(2), 10);
        peers.succeeded(&peer(2));
        assert_eq!(peers.failures_of(2), 0);
        peers.failed(&peer(2), now);
        let pause = peers.next_timeout().expect("a pause") - now;
        assert!(pause.as_millis() <= 25, "from the beginning again: {pause:?}");
    }

    #[test]
    fn a_request_whose_outcome_is_never_told_is_given_up() {
        let mut peers = peers();
        let rpc = peers.start(peer(2), Purpose::Vote, at(0), TIMEOUT);
        assert_eq!(peers.next_timeout(), Some(at(4000)), "twice the driver's timeout");
        peers.expire(at(3999));
        assert!(!peers.is_ready(&peer(2), at(3999)));
        peers.expire(at(4000));
        assert!(peers.finish(rpc).is_none(), "what comes later means nothing");
        assert_eq!(peers.failures_of(2), 1);
        assert!(!peers.is_ready(&peer(2), at(4000)) && peers.is_ready(&peer(2), at(4026)));
    }

    #[test]
    fn another_role_begins_without_requests_and_pauses() {
        let mut peers = peers();
        let rpc = peers.start(peer(2), Purpose::Vote, at(0), TIMEOUT);
        peers.failed(&peer(3), at(0));
        peers.reset();
        assert!(peers.is_ready(&peer(2), at(0)) && peers.is_ready(&peer(3), at(0)));
        assert!(peers.finish(rpc).is_none());
        assert_eq!(peers.next_timeout(), None);
    }

    #[test]
    fn the_same_complaint_is_made_once_a_minute() {
        let mut peers = peers();
        assert!(peers.may_complain(&peer(2), "wrong", at(0)));
        assert!(!peers.may_complain(&peer(2), "wrong", at(59_999)));
        assert!(peers.may_complain(&peer(2), "worse", at(59_999)));
        assert!(peers.may_complain(&peer(3), "wrong", at(59_999)));
        assert!(peers.may_complain(&peer(2), "worse", at(119_999)));
    }
}
