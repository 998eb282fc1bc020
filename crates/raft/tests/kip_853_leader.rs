//! KIP-853 as a leader sees it, request by request: what a change of the voter set does to the high
//! watermark, to check-quorum, and to those who asked for it.

mod replica;

use quorate_protocol::batch::batches;
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_protocol::messages::{
    AddRaftVoterRequest, ApiVersionsResponse, RemoveRaftVoterRequest, UpdateRaftVoterRequest,
    add_raft_voter_request as add, api_versions_response as versions,
    update_raft_voter_request as update,
};
use quorate_raft::VoterSet;
use replica::*;

/// Node 1 leads epoch 5 of a dynamic quorum; what it found, and its first record, is synced there.
fn leading(voters: &[NodeId]) -> Replica {
    let voters = voters.to_vec();
    let setup = Setup { voters, dynamic: true, state: Some(epoch(4)), ..Setup::default() };
    let (mut leader, _) = setup.start();
    leader.lead();
    leader.synced();
    leader
}

/// The same, after others have fetched all there is.
fn committed(voters: &[NodeId]) -> Replica {
    let mut leader = leading(voters);
    let end = leader.raft.log_end().offset;
    for id in &voters[1..] {
        leader.fetched(*id, end);
    }
    assert_eq!(leader.raft.high_watermark(), Some(end));
    leader
}

fn add_request(id: NodeId) -> AddRaftVoterRequest {
    AddRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        timeout_ms: 5000,
        voter_id: id,
        voter_directory_id: key(id).directory_id.unwrap_or_default(),
        listeners: vec![add::Listener {
            name: "CONTROLLER".into(),
            host: format!("n{id}").into(),
            port: 9093,
            ..Default::default()
        }],
        ack_when_committed: true,
        ..Default::default()
    }
}

fn remove(id: NodeId) -> PeerRequest {
    PeerRequest::RemoveRaftVoter(RemoveRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        voter_id: id,
        voter_directory_id: key(id).directory_id.unwrap_or_default(),
        ..Default::default()
    })
}

fn update_request(id: NodeId, epoch: i32) -> UpdateRaftVoterRequest {
    let listener = |name: &str, port| update::Listener {
        name: name.into(),
        host: format!("n{id}").into(),
        port,
        ..Default::default()
    };
    UpdateRaftVoterRequest {
        cluster_id: Some(CLUSTER.into()),
        current_leader_epoch: epoch,
        voter_id: id,
        voter_directory_id: key(id).directory_id.unwrap_or_default(),
        listeners: vec![listener("CONTROLLER", 9093), listener("SECOND", 9094)],
        kraft_version_feature: update::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// What a node says of its kraft.version when it is asked.
fn supports(error: ErrorCode, range: Option<(i16, i16)>) -> PeerResponse {
    let feature = |(min_version, max_version)| versions::SupportedFeatureKey {
        name: "kraft.version".into(),
        min_version,
        max_version,
        ..Default::default()
    };
    PeerResponse::ApiVersions(ApiVersionsResponse {
        error_code: error.code(),
        supported_features: range.map(feature).into_iter().collect(),
        ..Default::default()
    })
}

fn probe(actions: &[Action]) -> Option<RpcId> {
    actions.iter().find_map(|a| match a {
        Action::Send { rpc, to, request: PeerRequest::ApiVersions(_), .. } => {
            assert_eq!((to.host.as_str(), to.port), ("n4", 9093), "at the address in the request");
            Some(*rpc)
        }
        _ => None,
    })
}

/// Asks for node 4 to be added, which says that it supports kraft.version 1.
fn ask_to_add_4(leader: &mut Replica) -> Vec<Action> {
    let actions = leader.ask(1, PeerRequest::AddRaftVoter(add_request(4)));
    let rpc = probe(&actions).expect("4 is asked what it supports");
    let result = Ok(supports(ErrorCode::None, Some((0, 1))));
    leader.step(Event::Response { rpc, result })
}

fn code(actions: &[Action]) -> Option<ErrorCode> {
    let code = actions.iter().find_map(|a| match a {
        Action::Respond { response: AnyResponse::AddRaftVoter(r), .. } => Some(r.error_code),
        Action::Respond { response: AnyResponse::RemoveRaftVoter(r), .. } => Some(r.error_code),
        _ => None,
    });
    code.and_then(ErrorCode::from_code)
}

fn controls(actions: &[Action]) -> Vec<ControlRecord> {
    let batch = actions.iter().find_map(|a| match a {
        Action::AppendLog { batch } => Some(batch.clone()),
        _ => None,
    });
    let parsed = batches(batch.expect("a batch").bytes).next().expect("one").expect("a good one");
    control_records(&parsed).expect("control records").into_iter().map(|(_, r)| r).collect()
}

fn metrics(leader: &Replica) -> (usize, usize, Option<bool>) {
    let view = leader.raft.view();
    (view.voters.len(), view.observers.len(), view.voter_change)
}

#[test]
fn a_voter_is_added_when_its_record_is_committed_by_the_new_majority() {
    let mut leader = committed(&[1, 2]);
    let end = leader.raft.log_end().offset;
    leader.fetched(4, end);
    assert_eq!(metrics(&leader), (2, 1, Some(false)));
    let actions = ask_to_add_4(&mut leader);
    assert!(matches!(controls(&actions)[..], [ControlRecord::Voters(ref v)] if v.len() == 3));
    assert_eq!(code(&actions), None, "not committed yet");
    assert_eq!(leader.raft.voters().ids(), [1, 2, 4], "it counts from the append on");
    assert_eq!(metrics(&leader), (3, 0, Some(true)));
    let actions = leader.synced();
    assert_eq!(code(&actions), None, "one of three");
    let actions = leader.fetched(2, end + 1);
    assert!(actions.contains(&Action::HighWatermark { offset: end + 1 }));
    assert_eq!(code(&actions), Some(ErrorCode::None));
    assert_eq!(metrics(&leader), (3, 0, Some(false)));
}

/// Kafka ends such a change at once.
#[test]
fn a_voter_that_lags_is_waited_for_until_the_request_is_over() {
    let mut leader = committed(&[1, 2]);
    let actions = ask_to_add_4(&mut leader);
    assert_eq!(code(&actions), None);
    assert_eq!(metrics(&leader).2, Some(true));
    let end = leader.raft.log_end().offset;
    let mut late = None;
    for _ in 0..200 {
        if late.is_some() {
            break;
        }
        leader.fetched(2, end);
        late = code(&leader.timeout());
    }
    assert_eq!(late, Some(ErrorCode::RequestTimedOut));
    assert_eq!((leader.raft.voters().ids(), metrics(&leader).2), (vec![1, 2], Some(false)));
}

#[test]
fn an_addition_that_does_not_commit_in_time_stays_in_the_log() {
    let mut leader = committed(&[1, 2]);
    let end = leader.raft.log_end().offset;
    leader.fetched(4, end);
    ask_to_add_4(&mut leader);
    leader.synced();
    let mut late = None;
    for _ in 0..200 {
        if late.is_some() {
            break;
        }
        // In touch, but the record does not get there.
        leader.fetched(2, end);
        leader.fetched(4, end);
        late = code(&leader.timeout());
    }
    assert_eq!(late, Some(ErrorCode::RequestTimedOut));
    assert_eq!(leader.raft.voters().ids(), [1, 2, 4], "it may still commit");
}

#[test]
fn what_the_new_voter_says_of_itself_decides() {
    for (said, error) in [
        (Ok(supports(ErrorCode::InvalidRequest, None)), ErrorCode::RequestTimedOut),
        (Ok(supports(ErrorCode::None, None)), ErrorCode::InvalidRequest),
        (Ok(supports(ErrorCode::None, Some((0, 0)))), ErrorCode::InvalidRequest),
        (Err(RpcFailure::Refused), ErrorCode::RequestTimedOut),
    ] {
        let mut leader = committed(&[1, 2]);
        let end = leader.raft.log_end().offset;
        leader.fetched(4, end);
        let actions = leader.ask(1, PeerRequest::AddRaftVoter(add_request(4)));
        let rpc = probe(&actions).expect("4 is asked what it supports");
        let actions = leader.step(Event::Response { rpc, result: said.clone() });
        assert_eq!(code(&actions), Some(error), "{said:?}");
        assert_eq!((leader.raft.voters().ids(), metrics(&leader).2), (vec![1, 2], Some(false)));
    }
}

#[test]
fn a_leader_that_resigns_answers_for_the_change_under_way() {
    let mut adding = committed(&[1, 2]);
    adding.ask(1, PeerRequest::AddRaftVoter(add_request(4)));
    let actions = adding.step(Event::TransferLeader { to: None });
    assert_eq!(adding.raft.role(), Role::Resigned);
    assert_eq!(code(&actions), Some(ErrorCode::NotLeaderOrFollower));
    assert_eq!((adding.raft.voters().ids(), metrics(&adding)), (vec![1, 2], (2, 0, None)));

    let mut removing = committed(&[1, 2, 3]);
    let actions = removing.ask(0, remove(3));
    assert_eq!(code(&actions), None);
    let actions = removing.step(Event::TransferLeader { to: None });
    assert_eq!(code(&actions), Some(ErrorCode::NotLeaderOrFollower));
    assert_eq!(removing.raft.voters().ids(), [1, 2], "the record is in the log");
}

#[test]
fn a_removal_counts_when_appended_and_is_answered_when_committed_or_late() {
    let mut leader = committed(&[1, 2, 3]);
    let end = leader.raft.log_end().offset;
    let actions = leader.ask(0, remove(3));
    assert!(matches!(controls(&actions)[..], [ControlRecord::Voters(ref v)] if v.len() == 2));
    assert_eq!(metrics(&leader), (2, 1, Some(true)));
    leader.synced();
    let actions = leader.fetched(3, end + 1);
    assert_eq!(code(&actions), None, "it is a voter no more");
    let actions = leader.fetched(2, end + 1);
    assert_eq!((code(&actions), metrics(&leader)), (Some(ErrorCode::None), (2, 1, Some(false))));

    let mut slow = committed(&[1, 2, 3]);
    let start = slow.ms;
    slow.ask(0, remove(3));
    let mut late = None;
    for _ in 0..200 {
        if late.is_some() {
            break;
        }
        late = code(&slow.timeout());
    }
    assert_eq!((late, slow.ms - start), (Some(ErrorCode::RequestTimedOut), 2000));
    assert_eq!(slow.raft.voters().ids(), [1, 2]);
}

#[test]
fn a_leader_that_removed_itself_goes_when_that_is_committed() {
    let mut leader = committed(&[1, 2, 3]);
    let end = leader.raft.log_end().offset;
    leader.ask(0, remove(1));
    assert_eq!((leader.raft.role(), leader.raft.is_voter()), (Role::Leader, false));
    leader.synced();
    let actions = leader.fetched(2, end + 1);
    assert_eq!(code(&actions), None, "its own log does not count: one of two");
    let actions = leader.fetched(3, end + 1);
    assert_eq!(code(&actions), Some(ErrorCode::None));
    assert_eq!(leader.raft.role(), Role::Resigned);
    let told: Vec<NodeId> = told_end(&actions).iter().map(|(_, id, _)| *id).collect();
    assert_eq!(told, [2, 3]);
    for _ in 0..100 {
        let actions = leader.timeout();
        assert_eq!(sent_votes(&actions).len(), 0, "it does not stand");
        if leader.raft.role() == Role::Unattached {
            return;
        }
    }
    panic!("it stays {:?}", leader.raft.role());
}

/// The high watermark under a changing voter set: it may jump, and never goes back.
#[test]
fn the_high_watermark_follows_the_voter_set() {
    // A new voter that has all brings what only the leader and it have.
    let mut grows = committed(&[1, 2]);
    let old = grows.raft.log_end().offset;
    grows.append(4);
    grows.synced();
    grows.fetched(4, old + 4);
    assert_eq!(grows.raft.high_watermark(), Some(old), "an observer commits nothing");
    let actions = ask_to_add_4(&mut grows);
    assert!(actions.contains(&Action::HighWatermark { offset: old + 4 }));
    grows.synced();
    assert_eq!(grows.raft.high_watermark(), Some(old + 4), "its own record: one of three");
    grows.fetched(4, old + 5);
    assert_eq!(grows.raft.high_watermark(), Some(old + 5));

    // One that fell back takes nothing away.
    let mut falls = committed(&[1, 2, 3]);
    let start = falls.raft.log_end().offset;
    falls.append(4);
    falls.synced();
    falls.fetched(2, start + 4);
    let known = Some(start + 4);
    assert_eq!(falls.raft.high_watermark(), known);
    falls.fetched(4, start + 4);
    falls.fetched(4, start);
    ask_to_add_4(&mut falls);
    falls.synced();
    assert_eq!(falls.raft.high_watermark(), known, "of four, two have less");
    for (id, offset) in [(3, start + 1), (4, start + 1), (2, start + 5)] {
        falls.fetched(id, offset);
        assert_eq!(falls.raft.high_watermark(), known);
    }
    falls.fetched(4, start + 5);
    assert_eq!(falls.raft.high_watermark(), Some(start + 5));
}

/// Found by reading Kafka's tests: a fetch that names no directory was taken for the voter's, on whatever
/// disk it was. In a static quorum there is nothing to tell disks apart by.
#[test]
fn a_voter_whose_directory_is_known_has_to_name_it() {
    let nameless = |id| ReplicaKey { id, directory_id: None };
    let other = |id| ReplicaKey { id, directory_id: Some(Uuid::from_u128(7)) };
    for (dynamic, counts) in [(true, false), (false, true)] {
        for asking in [nameless(2), other(2)] {
            let setup = Setup { dynamic, state: Some(epoch(4)), ..Setup::default() };
            let (mut leader, _) = setup.start();
            leader.lead();
            leader.synced();
            let end = leader.raft.log_end().offset;
            leader.ask(18, PeerRequest::Fetch(fetch_by(asking, 5, end, 5)));
            assert_eq!(leader.raft.high_watermark().is_some(), counts, "{dynamic} {asking}");
            let observers = leader.raft.view().observers;
            assert_eq!(observers.len(), usize::from(!counts), "{dynamic} {asking}");
        }
    }
}

#[test]
fn the_high_watermark_waits_for_those_who_remain() {
    // Of 1, 2 and 3 the one that had everything goes: 2, or the leader itself.
    for gone in [2, 1] {
        let mut leader = committed(&[1, 2, 3]);
        let start = leader.raft.log_end().offset;
        leader.append(5);
        leader.synced();
        leader.fetched(2, start + 5);
        let known = Some(start + 5);
        assert_eq!(leader.raft.high_watermark(), known);
        leader.ask(0, remove(gone));
        leader.synced();
        assert_eq!(leader.raft.high_watermark(), known, "without {gone}");
        leader.fetched(2, start + 6);
        for offset in [start + 4, start + 5] {
            leader.fetched(3, offset);
            assert_eq!(leader.raft.high_watermark(), known, "without {gone}: 3 at {offset}");
        }
        leader.fetched(3, start + 6);
        assert_eq!(leader.raft.high_watermark(), Some(start + 6), "without {gone}");
    }
}

#[test]
fn every_answer_to_an_update_names_leader_and_epoch() {
    let mut leader = committed(&[1, 2, 3]);
    let ask = |leader: &mut Replica, request: UpdateRaftVoterRequest| {
        let actions = leader.ask(0, PeerRequest::UpdateRaftVoter(request));
        let AnyResponse::UpdateRaftVoter(answer) = answered(&actions) else {
            panic!("{actions:?}")
        };
        let by = answer.current_leader;
        let error = ErrorCode::from_code(answer.error_code).expect("a known code");
        (error, by.leader_id, by.leader_epoch)
    };
    let good = || update_request(2, 5);
    let nowhere = UpdateRaftVoterRequest { listeners: vec![], ..good() };
    let other = UpdateRaftVoterRequest { voter_directory_id: Uuid::from_u128(7), ..good() };
    for (request, error) in [
        (
            UpdateRaftVoterRequest { cluster_id: Some("".into()), ..good() },
            ErrorCode::InconsistentClusterId,
        ),
        (
            UpdateRaftVoterRequest { cluster_id: Some("x".into()), ..good() },
            ErrorCode::InconsistentClusterId,
        ),
        (
            UpdateRaftVoterRequest { current_leader_epoch: 4, ..nowhere.clone() },
            ErrorCode::FencedLeaderEpoch,
        ),
        (
            UpdateRaftVoterRequest { current_leader_epoch: 6, ..nowhere.clone() },
            ErrorCode::UnknownLeaderEpoch,
        ),
        (
            UpdateRaftVoterRequest { voter_directory_id: Uuid::ZERO, ..nowhere.clone() },
            ErrorCode::InvalidRequest,
        ),
        (nowhere, ErrorCode::InvalidRequest),
        (other, ErrorCode::VoterNotFound),
        (update_request(9, 5), ErrorCode::VoterNotFound),
    ] {
        assert_eq!(ask(&mut leader, request.clone()), (error, 1, 5), "{request:?}");
    }
    let before = leader.raft.log_end();
    assert_eq!(ask(&mut leader, good()), (ErrorCode::None, 1, 5), "answered before the commit");
    assert!(leader.raft.log_end() > before);
    assert_eq!(leader.raft.voters().get(2).map(|v| v.listeners.len()), Some(2));
    assert_eq!(ask(&mut leader, good()), (ErrorCode::RequestTimedOut, 1, 5), "one at a time");

    let mut new = leading(&[1, 2, 3]);
    assert_eq!(ask(&mut new, good()), (ErrorCode::RequestTimedOut, 1, 5), "nothing committed yet");
    let (mut nobody, _) =
        Setup { dynamic: true, state: Some(epoch(5)), ..Setup::default() }.start();
    assert_eq!(ask(&mut nobody, good()), (ErrorCode::NotLeaderOrFollower, -1, 5));
    let (mut follower, _) =
        Setup { dynamic: true, state: Some(epoch(4)), ..Setup::default() }.start();
    follower.follow(3, 5);
    assert_eq!(ask(&mut follower, good()), (ErrorCode::NotLeaderOrFollower, 3, 5));
}

#[test]
fn a_cluster_id_that_is_empty_is_another_clusters() {
    for cluster in ["", "invalid-uuid"] {
        let mut leader = leading(&[1, 2]);
        let named = || Some(cluster.into());
        let request = AddRaftVoterRequest { cluster_id: named(), ..add_request(4) };
        let actions = leader.ask(1, PeerRequest::AddRaftVoter(request));
        assert_eq!(code(&actions), Some(ErrorCode::InconsistentClusterId));
        let request =
            RemoveRaftVoterRequest { cluster_id: named(), voter_id: 2, ..Default::default() };
        let actions = leader.ask(0, PeerRequest::RemoveRaftVoter(request));
        assert_eq!(code(&actions), Some(ErrorCode::InconsistentClusterId));
        assert_eq!(leader.raft.voters().ids(), [1, 2]);
    }
}

#[test]
fn voters_change_one_at_a_time_and_not_before_the_first_commit() {
    let late = Some(ErrorCode::RequestTimedOut);
    let add_4 = || PeerRequest::AddRaftVoter(add_request(4));
    // Nothing of this leader's epoch is committed: an earlier leader's change may still come in.
    let mut new = leading(&[1, 2, 3]);
    assert_eq!(code(&new.ask(1, add_4())), late);
    assert_eq!(code(&new.ask(0, remove(3))), late);
    let mut adding = committed(&[1, 2, 3]);
    adding.ask(1, add_4());
    assert_eq!(code(&adding.ask(1, PeerRequest::AddRaftVoter(add_request(5)))), late);
    assert_eq!(code(&adding.ask(0, remove(3))), late);
    let mut removing = committed(&[1, 2, 3]);
    assert_eq!(code(&removing.ask(0, remove(3))), None);
    assert_eq!(code(&removing.ask(0, remove(2))), late);
    assert_eq!(code(&removing.ask(1, add_4())), late);
    assert_eq!(removing.raft.voters().ids(), [1, 2]);
}

#[test]
fn kraft_version_is_raised_by_one_batch_and_what_was_fetched_still_counts() {
    let mut leader = replica(epoch(4));
    leader.lead();
    leader.synced();
    leader.fetched(2, 11);
    assert_eq!(leader.raft.high_watermark(), Some(11));
    let upgrade = |leader: &mut Replica| {
        let event = Event::UpgradeKraftVersion { token: Token(0), level: 1, validate_only: false };
        let actions = leader.step(event);
        let error = actions.iter().find_map(|a| match a {
            Action::KraftVersionUpgrade { error, .. } => Some(*error),
            _ => None,
        });
        (error.expect("an answer"), actions)
    };
    assert_eq!(upgrade(&mut leader).0, ErrorCode::InvalidUpdateVersion, "none has reported");
    for (id, then) in [(2, ErrorCode::InvalidUpdateVersion), (3, ErrorCode::None)] {
        let request = PeerRequest::UpdateRaftVoter(update_request(id, 5));
        let AnyResponse::UpdateRaftVoter(answer) = answered(&leader.ask(0, request)) else {
            panic!("another answer")
        };
        assert_eq!(answer.error_code, 0);
        if then != ErrorCode::None {
            assert_eq!(upgrade(&mut leader).0, then, "3 has not reported");
        }
    }
    let (error, actions) = upgrade(&mut leader);
    assert_eq!((error, leader.raft.kraft_version()), (ErrorCode::None, 1));
    let [ControlRecord::KRaftVersion(1), ControlRecord::Voters(voters)] = &controls(&actions)[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(voters.len(), 3);
    assert_eq!(leader.raft.voters(), &VoterSet::new([voter(1), updated(2), updated(3)]));
    leader.synced();
    assert_eq!(leader.raft.high_watermark(), Some(11));
    let (error, actions) = upgrade(&mut leader);
    assert_eq!(error, ErrorCode::None, "again: nothing to do");
    assert!(!actions.iter().any(|a| matches!(a, Action::AppendLog { .. })));
    leader.fetched(3, 13);
    assert_eq!(leader.raft.high_watermark(), Some(13), "counted under its directory now");
    // A voter may still be updated.
    let moved = UpdateRaftVoterRequest {
        listeners: update_request(2, 5).listeners[..1].to_vec(),
        ..update_request(2, 5)
    };
    let actions = leader.ask(0, PeerRequest::UpdateRaftVoter(moved));
    assert!(matches!(controls(&actions)[..], [ControlRecord::Voters(_)]));
}

fn updated(id: NodeId) -> quorate_raft::Voter {
    let second = Endpoint { name: "SECOND".into(), host: format!("n{id}"), port: 9094 };
    let mut voter = voter(id);
    voter.listeners.push(second);
    voter
}

/// A Java leader (4.4) stops over such an acknowledgement.
#[test]
fn who_has_just_ceased_to_be_a_voter_may_still_answer_and_fetch() {
    let setup = Setup { dynamic: true, state: Some(epoch(4)), ..Setup::default() };
    let (mut leader, _) = setup.start();
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let told = told_begin(&leader.votes_for_me(&actions));
    let end = leader.raft.log_end().offset;
    leader.synced();
    leader.fetched(2, end);
    let waiting = FetchRequest { max_wait_ms: 500, ..fetch_by(key(3), 5, end, 5) };
    assert_eq!(leader.ask(18, PeerRequest::Fetch(waiting)), vec![], "parked");
    leader.ask(0, remove(3));
    leader.synced();
    leader.fetched(2, end + 1);
    assert_eq!(
        (leader.raft.voters().ids(), leader.raft.high_watermark()),
        (vec![1, 2], Some(end + 1))
    );
    // The acknowledgement of its former voter, who is one no more.
    let (rpc, _) = told.iter().find(|(_, id)| *id == 3).copied().expect("3 was told");
    let result = Ok(begin_acknowledged(1, 5));
    assert_eq!(leader.step(Event::Response { rpc, result }), vec![]);
    assert_eq!(leader.raft.role(), Role::Leader);
    leader.append(1);
    leader.synced();
    leader.fetched(3, end + 2);
    assert_eq!(leader.raft.high_watermark(), Some(end + 1), "its fetches commit nothing");
    assert_eq!(metrics(&leader), (2, 1, Some(false)), "it is an observer");
    for _ in 0..20 {
        leader.fetched(2, end + 1);
        let actions = leader.timeout();
        assert!(told_begin(&actions).iter().all(|(_, id)| *id != 3), "nobody tells it any more");
    }
}
