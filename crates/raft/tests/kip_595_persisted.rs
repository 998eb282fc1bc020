//! KIP-595: what each change of role writes, and how long the new role lasts: epoch, leader and vote
//! are promises.

mod replica;

use replica::*;

/// Epoch, leader, and whom the vote went to.
type Promise = (i32, Option<NodeId>, Option<NodeId>);

fn promise(state: &ElectionState) -> Promise {
    (state.epoch, state.leader, state.voted.map(|key| key.id))
}

/// A replica and what it has on disk.
struct Kept {
    replica: Replica,
    disk: Promise,
}

impl Kept {
    fn take(&mut self, actions: &[Action]) {
        for state in persisted(actions) {
            self.disk = promise(state);
        }
    }

    fn until(&mut self, role: Role) -> Vec<Action> {
        for _ in 0..100 {
            let actions = self.replica.timeout();
            self.take(&actions);
            if self.replica.raft.role() == role {
                return actions;
            }
        }
        panic!("never {role:?}");
    }
}

fn started(state: ElectionState) -> Kept {
    let disk = promise(&state);
    let (replica, actions) = Setup { state: Some(state), ..Setup::default() }.start();
    let mut kept = Kept { replica, disk };
    kept.take(&actions);
    kept
}

fn following(state: ElectionState) -> Kept {
    let mut kept = started(state);
    let (error, actions) = kept.replica.begin(2, 5);
    assert_eq!(error, ErrorCode::None);
    kept.take(&actions);
    kept
}

/// Every state that a replica can be in, in epoch 5, by name.
fn in_epoch_5() -> Vec<(&'static str, Kept)> {
    let voted = || ElectionState { voted: Some(key(2)), ..epoch(5) };
    let led_by_3 = || ElectionState { leader: Some(3), ..epoch(5) };
    let both = || ElectionState { leader: Some(3), voted: Some(key(2)), ..epoch(5) };
    let prospective = |state: ElectionState| {
        let mut kept = started(state);
        kept.until(Role::Prospective);
        kept
    };
    let mut doubting = following(epoch(5));
    doubting.until(Role::Prospective);
    let mut candidate = started(epoch(4));
    let asked = candidate.until(Role::Prospective);
    let actions = candidate.replica.votes_for_me(&asked);
    candidate.take(&actions);
    let mut leader = started(epoch(4));
    let asked = leader.until(Role::Prospective);
    let asked = leader.replica.votes_for_me(&asked);
    leader.take(&asked);
    let actions = leader.replica.votes_for_me(&asked);
    leader.take(&actions);
    let resigned = started(ElectionState { leader: Some(1), voted: Some(key(1)), ..epoch(5) });
    vec![
        ("unattached", started(epoch(5))),
        ("unattached, voted", started(voted())),
        ("unattached, with a leader", started(led_by_3())),
        ("unattached, with a leader and voted", started(both())),
        ("prospective", prospective(epoch(5))),
        ("prospective, voted", prospective(voted())),
        ("prospective, with a leader", doubting),
        ("candidate", candidate),
        ("follower", following(epoch(5))),
        ("follower, voted", following(ElectionState { voted: Some(key(3)), ..epoch(5) })),
        ("leader", leader),
        ("resigned", resigned),
    ]
}

fn role_of(name: &str) -> Role {
    match name.split(',').next() {
        Some("unattached") => Role::Unattached,
        Some("prospective") => Role::Prospective,
        Some("candidate") => Role::Candidate,
        Some("follower") => Role::Follower,
        Some("leader") => Role::Leader,
        _ => Role::Resigned,
    }
}

#[test]
fn each_state_is_reached_with_its_promises_on_disk() {
    let expected: Vec<Promise> = vec![
        (5, None, None),
        (5, None, Some(2)),
        (5, Some(3), None),
        (5, Some(3), Some(2)),
        (5, None, None),
        (5, None, Some(2)),
        (5, Some(2), None),
        (5, None, Some(1)),
        (5, Some(2), None),
        (5, Some(2), Some(3)),
        (5, Some(1), Some(1)),
        (5, Some(1), Some(1)),
    ];
    for ((name, kept), expected) in in_epoch_5().into_iter().zip(expected) {
        assert_eq!(kept.replica.raft.role(), role_of(name), "{name}");
        assert_eq!((kept.disk, kept.replica.raft.epoch()), (expected, 5), "{name}");
    }
}

/// A leader of a later epoch is followed from anywhere, and no vote comes along.
#[test]
fn a_leader_of_a_later_epoch_is_followed_from_every_role() {
    for (name, mut kept) in in_epoch_5() {
        let (error, actions) = kept.replica.begin(3, 8);
        kept.take(&actions);
        assert_eq!(error, ErrorCode::None, "{name}");
        assert_eq!(kept.disk, (8, Some(3), None), "{name}");
        assert_eq!(kept.replica.raft.leader(), Some((3, 8)), "{name}");
        // A leader's own record has to be synced before.
        let (_, fetch) = sent_fetch(&actions)
            .or_else(|| sent_fetch(&kept.replica.synced()))
            .expect("it fetches at once");
        assert_eq!(fetch.topics[0].partitions[0].current_leader_epoch, 8, "{name}");
        let lost = actions.contains(&Action::LostLeadership { epoch: 5 });
        assert_eq!(lost, name == "leader", "{name}");
    }
}

/// In the same epoch, those follow who know no leader, or this one; the vote given stays.
#[test]
fn a_leader_of_the_same_epoch_is_followed_by_those_who_know_no_other() {
    for (name, mut kept) in in_epoch_5() {
        let before = kept.disk;
        let (error, actions) = kept.replica.begin(2, 5);
        kept.take(&actions);
        let known = before.1;
        if known.is_none_or(|leader| leader == 2) {
            assert_eq!(error, ErrorCode::None, "{name}");
            assert_eq!(kept.disk, (5, Some(2), before.2), "{name}");
            assert_eq!(kept.replica.raft.leader(), Some((2, 5)), "{name}");
        } else {
            assert_eq!(error, ErrorCode::InvalidRequest, "{name}: an epoch has one leader");
            assert_eq!((kept.disk, kept.replica.raft.role()), (before, role_of(name)), "{name}");
        }
    }
}

/// A later epoch without a leader: everybody lets go; a candidate with a good log gets the vote.
#[test]
fn a_candidate_of_a_later_epoch_is_heard_in_every_role() {
    for behind in [true, false] {
        for (name, mut kept) in in_epoch_5() {
            let log = if behind { at(1, 2) } else { kept.replica.raft.log_end() };
            let (answer, actions) = kept.replica.vote(Ask { log, ..vote(3, 9) });
            kept.take(&actions);
            assert_eq!(answer.vote_granted, !behind, "{name}");
            assert_eq!((answer.leader_id, answer.leader_epoch), (-1, 9), "{name}");
            let voted = (!behind).then_some(3);
            assert_eq!(kept.disk, (9, None, voted), "{name}");
            assert_eq!(kept.replica.raft.role(), Role::Unattached, "{name}");
            assert_eq!(kept.replica.raft.leader(), None, "{name}");
        }
    }
}

/// A pre-vote of a later epoch ends the old one too, and takes no vote.
#[test]
fn a_pre_vote_of_a_later_epoch_is_heard_in_every_role() {
    for (name, mut kept) in in_epoch_5() {
        let log = kept.replica.raft.log_end();
        let (answer, actions) = kept.replica.vote(Ask { log, ..pre_vote(3, 6) });
        kept.take(&actions);
        assert_eq!((answer.vote_granted, answer.leader_epoch), (true, 6), "{name}");
        assert_eq!((kept.disk, kept.replica.raft.role()), ((6, None, None), Role::Unattached));
    }
}

#[test]
fn an_earlier_epoch_changes_nothing_in_any_role() {
    for (name, mut kept) in in_epoch_5() {
        let known = kept.replica.raft.leader().map_or(-1, |(leader, _)| leader);
        for request in 0..3 {
            let (code, actions) = match request {
                0 => kept.replica.begin(2, 4),
                1 => {
                    let (answer, actions) = kept.replica.vote(Ask { log: at(9, 3), ..vote(3, 4) });
                    assert!(!answer.vote_granted, "{name}");
                    assert_eq!((answer.leader_id, answer.leader_epoch), (known, 5), "{name}");
                    (ErrorCode::from_code(answer.error_code).expect("known"), actions)
                }
                _ => {
                    let actions = kept.replica.end(2, 4, &[1, 3]);
                    let AnyResponse::EndQuorumEpoch(answer) = answered(&actions) else { panic!() };
                    let p = &answer.topics[0].partitions[0];
                    assert_eq!((p.leader_id, p.leader_epoch), (known, 5), "{name}");
                    (ErrorCode::from_code(p.error_code).expect("known"), actions)
                }
            };
            assert_eq!(code, ErrorCode::FencedLeaderEpoch, "{name}");
            assert_eq!(persisted(&actions), Vec::<&ElectionState>::new(), "{name}");
            assert_eq!(kept.replica.raft.role(), role_of(name), "{name}");
        }
    }
}

fn wait(replica: &Replica) -> u64 {
    let (at, _) = replica.raft.next_timeout().expect("a timeout");
    at.as_nanos() / 1_000_000 - replica.ms
}

/// Between one and two election timeouts (1 s); who is about to stand keeps its place in the queue,
/// and who grants its vote waits anew.
#[test]
fn how_long_a_voter_waits_before_it_stands() {
    let mut waiting = replica(epoch(5));
    // The fetches that look for a leader fail, so that only the election is due.
    let quiet = |replica: &mut Replica| {
        for rpc in 0..20 {
            replica.step(Event::Response { rpc: RpcId(rpc), result: Err(RpcFailure::Timeout) });
        }
    };
    let due = |replica: &mut Replica| {
        let start = replica.ms;
        replica.until(Role::Prospective);
        replica.ms - start
    };
    quiet(&mut waiting);
    let first = due(&mut waiting);
    assert!((1000..=2000).contains(&first), "{first}");

    let mut bumped = replica(epoch(5));
    let behind = |epoch| Ask { log: at(1, 2), candidate: 9, ..vote(9, epoch) };
    bumped.ms += 900;
    bumped.vote(behind(6));
    let rest = due(&mut bumped);
    assert!(rest <= 1100, "its timer runs on: {rest}");

    let mut voted = replica(epoch(5));
    voted.ms += 900;
    voted.vote(vote(2, 6));
    let rest = due(&mut voted);
    assert!((1000..=2000).contains(&rest), "{rest}");

    let mut follower = replica(epoch(4));
    follower.follow(2, 5);
    assert!(wait(&follower) <= 2000);
    follower.ms += 500;
    follower.vote(behind(6));
    let rest = due(&mut follower);
    assert!((1000..=2000).contains(&rest), "a new role has the whole time: {rest}");
}

/// Kafka resumes a candidacy and a following; a leader it makes resign as we do.
#[test]
fn nothing_is_resumed_after_a_restart() {
    let stood = ElectionState { voted: Some(key(1)), ..epoch(5) };
    let mut stood = started(stood);
    assert_eq!(stood.replica.raft.role(), Role::Unattached);
    let (answer, _) = stood.replica.vote(vote(2, 5));
    assert!(!answer.vote_granted, "its own vote is remembered");
    assert_eq!((answer.leader_id, answer.leader_epoch), (-1, 5));
    let actions = stood.until(Role::Prospective);
    assert_eq!(sent_votes(&actions).len(), 2);
    let actions = stood.replica.votes_for_me(&actions);
    stood.take(&actions);
    assert_eq!(stood.disk, (6, None, Some(1)), "it stands in a later epoch");

    let state = ElectionState { leader: Some(2), ..epoch(5) };
    let (mut followed, actions) = Setup { state: Some(state), ..Setup::default() }.start();
    assert_eq!(followed.raft.role(), Role::Unattached);
    assert_eq!(followed.raft.leader(), Some((2, 5)), "known by name");
    let (_, fetch) = sent_fetch(&actions).expect("it asks for the leader");
    let p = &fetch.topics[0].partitions[0];
    assert_eq!((p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch), (5, 10, 4));
    assert_eq!(p.high_watermark, -1);
    let (answer, _) = followed.vote(vote(3, 5));
    assert!(!answer.vote_granted, "the epoch has its leader");
    assert_eq!((answer.leader_id, answer.leader_epoch), (2, 5));
}

/// A leader whose address is not known is remembered, not followed.
#[test]
fn a_leader_without_an_address_is_remembered_through_every_doubt() {
    let led_by_9 = ElectionState { leader: Some(9), ..epoch(5) };
    let mut kept = started(led_by_9);
    assert_eq!(kept.replica.raft.role(), Role::Unattached);
    for _ in 0..3 {
        let asked = kept.until(Role::Prospective);
        assert_eq!(kept.disk, (5, Some(9), None));
        for (rpc, _) in sent_votes(&asked) {
            let refusal = VoteResponse {
                topics: vec![vote_response::TopicData {
                    topic_name: TOPIC.into(),
                    partitions: vec![vote_response::PartitionData {
                        leader_id: -1,
                        leader_epoch: 5,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let result = Ok(PeerResponse::Vote(refusal));
            let actions = kept.replica.step(Event::Response { rpc, result });
            kept.take(&actions);
        }
        assert_eq!(kept.replica.raft.role(), Role::Unattached);
        assert_eq!(kept.disk, (5, Some(9), None));
        let (answer, _) = kept.replica.vote(vote(3, 5));
        assert!(!answer.vote_granted, "the epoch has its leader");
        assert_eq!((answer.leader_id, answer.leader_epoch), (-1, 5), "no name without address");
    }
}
