//! The rules of the election, one by one. Whole elections over a network are in the tests of the module above.

use super::*;
use crate::quorum::ConfigRules;

const ZERO: Time = Time(0);
fn ms(n: u64) -> Time {
    Time(n * 1_000_000)
}
fn config(text: &str) -> QuorumVerifier {
    QuorumVerifier::parse(text, ConfigRules::default()).expect("a configuration")
}
fn members(voters: i64, observers: i64, more: &str) -> QuorumView {
    let role = |i: i64| if i <= voters { "participant" } else { "observer" };
    let line = |i: i64| format!("server.{i}=h{i}:2888:3888:{}\n", role(i));
    QuorumView::settled(config(&((1..=voters + observers).map(line).collect::<String>() + more)))
}
fn history(epoch: i64, zxid: i64) -> History {
    History { zxid: Zxid(zxid), epoch }
}

/// A machine with what it said.
struct Peer {
    fle: FastLeaderElection,
    said: Vec<Said>,
}

impl Peer {
    fn start(me: i64, view: QuorumView, has: History) -> Peer {
        let mut said = Vec::new();
        let settings = Settings { reconfig_enabled: true, ..Settings::default() };
        let fle = FastLeaderElection::start(ZERO, ServerId(me), settings, view, has, &mut said);
        Peer { fle, said }
    }
    fn hear(&mut self, at: u64, from: i64, n: Notification) {
        self.fle.received(ms(at), ServerId(from), &n, &mut self.said);
    }
    /// What was sent since the last call: to whom, in what state, for whom, in which round.
    fn sent(&mut self) -> Vec<(i64, ServerState, i64, i64)> {
        let said = std::mem::take(&mut self.said);
        said.into_iter()
            .map(|s| match s {
                Said::Send(to, n) => (to.0, n.state, n.vote.leader.0, n.round),
                Said::Decided(_) | Said::Adopted(_) | Said::HeardOf => panic!("{s:?}"),
            })
            .collect()
    }
    fn decided(&mut self) -> Option<(ServerState, i64, i64)> {
        std::mem::take(&mut self.said).into_iter().find_map(|s| match s {
            Said::Decided(d) => Some((d.state, d.vote.leader.0, d.round)),
            Said::Send(..) | Said::Adopted(_) | Said::HeardOf => None,
        })
    }
}

fn says(state: ServerState, leader: i64, round: i64, epoch: i64, zxid: i64) -> Notification {
    let vote = Vote { peer_epoch: epoch, zxid: Zxid(zxid), leader: ServerId(leader) };
    let config = Some(Bytes::from_static(b"version=0"));
    Notification { state, vote, round, version: 2, config, proposed: None }
}
fn votes(leader: i64, round: i64) -> Notification {
    says(ServerState::Looking, leader, round, 0, 0)
}

use ServerState::{Following, Leading, Looking as Looks, Observing};

#[test]
fn it_begins_with_itself_in_round_one() {
    let mut p = Peer::start(2, members(3, 1, ""), history(0, 0));
    assert_eq!(p.sent(), [(1, Looks, 2, 1), (3, Looks, 2, 1)]);
    assert_eq!(p.fle.next_wake(), Some(ms(200)));
}

#[test]
fn a_better_vote_is_adopted_and_told_a_worse_one_is_answered_with_the_own() {
    let mut p = Peer::start(2, members(3, 0, ""), history(1, 5));
    p.sent();
    // Who says so may have had a leader when this server's vote came to it.
    p.hear(1, 1, says(Looks, 1, 1, 1, 4));
    assert_eq!(p.sent(), [(1, Looks, 2, 1)]);
    p.hear(1, 3, says(Looks, 3, 1, 0, 9));
    assert_eq!(p.sent(), [(3, Looks, 2, 1)]);
    // An equal one has no answer, so this ends.
    p.hear(1, 1, says(Looks, 2, 1, 1, 5));
    assert_eq!(p.sent(), []);
    let mut p = Peer::start(2, members(3, 0, ""), history(1, 5));
    p.sent();
    p.hear(1, 3, says(Looks, 3, 1, 1, 5));
    assert_eq!(p.sent(), [(1, Looks, 3, 1), (3, Looks, 3, 1)]);
}

#[test]
fn all_votes_in_decide_at_once_a_quorum_after_the_quiet_time() {
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(10, 1, votes(3, 1));
    assert_eq!((p.decided(), p.fle.next_wake()), (None, Some(ms(200))));
    p.fle.wake(ms(200), &mut p.said);
    assert_eq!(p.decided(), None);
    p.fle.wake(ms(210), &mut p.said);
    assert_eq!(p.decided(), Some((Leading, 3, 1)));

    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(10, 1, votes(3, 1));
    p.hear(11, 2, votes(3, 1));
    assert_eq!(p.decided(), Some((Leading, 3, 1)));
    assert_eq!(p.fle.next_wake(), None);
}

#[test]
fn voters_that_are_not_there_are_not_waited_for() {
    let mut p = Peer::start(2, members(3, 0, ""), history(0, 0));
    p.fle.set_absent(ms(1), &BTreeSet::from([ServerId(3)]), &mut p.said);
    assert_eq!(p.decided(), None);
    p.hear(2, 1, votes(2, 1));
    assert_eq!(p.decided(), Some((Leading, 2, 1)));
    // A quorum is needed all the same.
    let mut p = Peer::start(2, members(3, 0, ""), history(0, 0));
    p.fle.set_absent(ms(1), &BTreeSet::from([ServerId(1), ServerId(3)]), &mut p.said);
    p.fle.wake(ms(500), &mut p.said);
    assert_eq!(p.decided(), None);
}

#[test]
fn a_better_vote_in_the_quiet_time_opens_the_question_again() {
    let mut p = Peer::start(2, members(3, 0, ""), history(0, 0));
    p.hear(10, 1, votes(2, 1));
    p.hear(100, 3, votes(3, 1));
    p.fle.wake(ms(210), &mut p.said);
    assert_eq!(p.decided(), None, "1 has not agreed to 3 yet, but 2 and 3 are a quorum since 100 ms");
    p.fle.wake(ms(300), &mut p.said);
    assert_eq!(p.decided(), Some((Following, 3, 1)));
}

#[test]
fn rounds() {
    let mut p = Peer::start(2, members(3, 0, ""), history(0, 0));
    p.hear(1, 1, votes(2, 1));
    p.said.clear();
    // A later round: what was counted is void, and the own vote is cast again.
    p.hear(2, 1, votes(1, 7));
    assert_eq!(p.sent(), [(1, Looks, 2, 7), (3, Looks, 2, 7)]);
    // An earlier one is answered.
    p.hear(3, 3, votes(3, 6));
    assert_eq!(p.sent(), [(3, Looks, 2, 7)]);
    p.hear(4, 3, votes(3, i64::MAX));
    p.sent();
    p.fle.look(ms(5), history(0, 0), &mut p.said);
    assert_eq!(p.sent()[0].3, i64::MAX, "there is no round after the last one");
}

#[test]
fn the_pause_doubles_up_to_its_bound_and_never_shrinks() {
    let mut p = Peer::start(2, members(3, 0, ""), history(0, 0));
    let mut at = Vec::new();
    for _ in 0..11 {
        p.said.clear();
        let next = p.fle.next_wake().expect("looking");
        at.push(next.as_millis());
        p.fle.wake(next, &mut p.said);
        assert_eq!(p.sent().len(), 2);
    }
    let pauses: Vec<u64> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(at[0], 200);
    assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    // A change is told at once; the pause goes on from there.
    p.hear(1_000_000, 3, votes(3, 1));
    assert_eq!(p.sent().len(), 2);
    p.fle.set_absent(ms(1_000_000), &BTreeSet::new(), &mut p.said);
    assert_eq!(p.fle.next_wake(), Some(ms(1_000_200)), "the end of the quiet time");
}

#[test]
fn an_established_ensemble_is_joined_by_its_quorum_and_its_leader() {
    // Its round is another one, and the zxids are those of the time when it was formed.
    for round in [1, 5] {
        let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
        p.hear(1, 1, says(Following, 2, round, 1, 0));
        assert_eq!(p.decided(), None);
        p.hear(1, 2, says(Leading, 2, round, 1, 7));
        assert_eq!(p.decided(), Some((Following, 2, round)), "round {round}");
    }
    // Without the leader's own word there is none.
    let mut p = Peer::start(3, members(5, 0, ""), history(0, 0));
    for from in [1, 4, 5] {
        p.hear(1, from, says(Following, 2, 5, 1, 0));
    }
    assert_eq!(p.decided(), None);
}

#[test]
fn leaders_of_different_epochs_do_not_add_up() {
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(1, 1, says(Following, 2, 5, 1, 0));
    p.hear(1, 2, says(Leading, 2, 5, 2, 0));
    assert_eq!(p.decided(), None);
    // But in this server's own round, and next to a vote without a version, the leader alone counts.
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(1, 1, says(Following, 2, 1, 1, 0));
    p.hear(1, 2, says(Leading, 2, 1, 2, 0));
    assert_eq!(p.decided(), Some((Following, 2, 1)));
}

#[test]
fn others_may_say_that_this_server_leads() {
    // It was the leader of this round and forgot.
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(1, 1, says(Following, 3, 1, 1, 0));
    p.hear(1, 2, says(Following, 3, 1, 1, 0));
    assert_eq!(p.decided(), Some((Leading, 3, 1)));
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.hear(1, 1, says(Following, 3, 4, 1, 0));
    p.hear(1, 2, says(Following, 3, 4, 1, 0));
    assert_eq!(p.decided(), None, "of another round");
}

#[test]
fn votes_of_no_account() {
    let mut p = Peer::start(3, members(3, 1, ""), history(0, 0));
    p.said.clear();
    // For somebody outside.
    p.hear(1, 1, votes(9, 1));
    // An observer's word.
    p.hear(1, 2, says(Observing, 3, 1, 0, 0));
    // A voter that lost its disk.
    p.hear(1, 2, says(Looks, 2, 1, -1, -1));
    assert_eq!(p.sent(), [(2, Looks, 3, 1)], "it is told, and does not count");
    // An observer asks: it is told the current vote in the current round, and does not count.
    p.hear(1, 4, says(Looks, i64::MIN, 9, i64::MIN, i64::MIN));
    assert_eq!(p.sent(), [(4, Looks, 3, 1)]);
    // Not again at once, or two such servers would answer each other for ever.
    p.hear(50, 4, says(Looks, i64::MIN, 9, i64::MIN, i64::MIN));
    assert_eq!(p.sent(), []);
    p.hear(102, 4, says(Looks, i64::MIN, 9, i64::MIN, i64::MIN));
    assert_eq!(p.sent(), [(4, Looks, 3, 1)]);
    // Nor does a server without a vote call others into its round.
    let mut p = Peer::start(4, members(3, 1, ""), history(0, 0));
    p.hear(1, 1, votes(1, 5));
    p.said.clear();
    p.hear(2, 2, votes(2, 3));
    assert_eq!(p.sent(), []);
}

#[test]
fn who_has_a_leader_answers_with_it() {
    let mut p = Peer::start(3, members(3, 1, ""), history(0, 0));
    p.hear(1, 1, votes(3, 4));
    p.hear(1, 2, votes(3, 4));
    assert_eq!(p.decided(), Some((Leading, 3, 4)));
    p.fle.synchronised(8);
    p.hear(2, 1, votes(1, 77));
    match p.said.as_slice() {
        [Said::Send(ServerId(1), n)] => {
            assert_eq!((n.state, n.round, n.vote.peer_epoch, n.vote.zxid), (Leading, 4, 8, Zxid(0)));
            assert_eq!(n.config.as_deref(), Some(members(3, 1, "").committed.to_string().as_bytes()));
        }
        other => panic!("{other:?}"),
    }
    p.said.clear();
    p.hear(2, 2, says(Following, 3, 4, 0, 0));
    p.hear(2, 4, says(Observing, 1, 1, 1, 1));
    assert_eq!(p.sent(), [], "only those who ask");
    p.hear(2, 4, votes(i64::MIN, 1));
    p.hear(2, 4, votes(i64::MIN, 1));
    assert_eq!(p.sent(), [(4, Leading, 3, 4), (4, Leading, 3, 4)], "the others too");
}

#[test]
fn observers_and_joiners_learn_the_leader() {
    let nobody = i64::MIN;
    let mut p = Peer::start(4, members(3, 1, ""), history(5, 5));
    match &p.said[0] {
        Said::Send(_, n) => {
            assert_eq!((n.vote.leader.0, n.vote.zxid.0, n.vote.peer_epoch), (nobody, nobody, nobody))
        }
        other => panic!("{other:?}"),
    }
    p.hear(1, 1, says(Following, 2, 3, 1, 0));
    p.hear(1, 2, says(Leading, 2, 3, 1, 0));
    assert_eq!(p.decided(), Some((Observing, 2, 3)));

    let mut p = Peer::start(9, members(3, 0, ""), history(5, 5));
    match &p.said[0] {
        Said::Send(_, n) => assert_eq!((n.vote.leader.0, n.vote.zxid.0, n.vote.peer_epoch), (nobody, 5, 5)),
        other => panic!("{other:?}"),
    }
    p.hear(1, 1, says(Following, 2, 3, 1, 0));
    p.hear(1, 2, says(Leading, 2, 3, 1, 0));
    assert_eq!(p.decided(), Some((Following, 2, 3)));
}

#[test]
fn a_wiped_voter_does_not_vote_but_joins() {
    let mut p = Peer::start(3, members(3, 0, ""), history(-1, -1));
    p.hear(1, 1, votes(2, 1));
    p.hear(1, 2, votes(2, 1));
    p.fle.wake(ms(900), &mut p.said);
    assert_eq!(p.decided(), None);
    p.hear(2, 1, says(Following, 2, 1, 0, 0));
    p.hear(2, 2, says(Leading, 2, 1, 0, 0));
    assert_eq!(p.decided(), Some((Following, 2, 1)));
}

#[test]
fn a_server_without_weight_is_not_elected() {
    let groups = "group.1=1\ngroup.2=2:3\nweight.1=1\nweight.2=2\nweight.3=0\n";
    let mut p = Peer::start(2, members(3, 0, groups), history(0, 0));
    p.said.clear();
    p.hear(1, 3, votes(3, 1));
    assert_eq!(p.sent(), []);
    p.hear(2, 1, votes(2, 1));
    p.fle.wake(ms(202), &mut p.said);
    assert_eq!(p.decided(), Some((Leading, 2, 1)));
}

#[test]
fn whom_a_proposal_names_is_heard_and_followed_by_whoever_missed_it() {
    // 2 and 3 are in force; 1 and 2 are proposed, 3 and 1 have logged that. 2 has not, and all need it.
    let lines = "server.2=h2:2888:3888\nserver.3=h3:2888:3888\n";
    let view = QuorumVerifier::parse(lines, ConfigRules::default()).expect("a configuration");
    let mut p = Peer::start(2, QuorumView::settled(view), history(1, 3));
    let proposed = Some(Bytes::from_static(b"server.1=h1:2888:3888\nserver.2=h2:2888:3888\nversion=9"));
    p.said.clear();
    p.hear(1, 1, Notification { proposed: proposed.clone(), ..says(Looks, 1, 1, 1, 5) });
    assert_eq!(p.said.remove(0), Said::HeardOf);
    assert_eq!(p.sent(), [(1, Looks, 2, 1), (3, Looks, 2, 1), (1, Looks, 1, 1), (3, Looks, 1, 1)]);
    assert_eq!(p.fle.view().member(ServerId(1)).expect("heard of").sid, ServerId(1));
    p.hear(2, 3, Notification { proposed, ..says(Looks, 1, 1, 1, 5) });
    // Its own configuration is what binds it: its quorum is enough.
    assert_eq!(p.decided(), Some((Following, 1, 1)));
    // What it has heard of is for this search only.
    p.fle.look(ms(3), history(1, 3), &mut p.said);
    assert_eq!((p.said.remove(0), p.fle.view().heard_of.clone()), (Said::HeardOf, None));
}

#[test]
fn a_newer_configuration_is_taken_over_while_looking() {
    let newer = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888\nversion=5";
    let with = |text: &'static str| Notification {
        config: Some(Bytes::from_static(text.as_bytes())),
        ..votes(1, 9)
    };
    // The joiner's own idea of the ensemble has itself in it.
    let mut p = Peer::start(4, members(4, 0, ""), history(0, 0));
    p.said.clear();
    p.hear(1, 1, with(newer));
    match p.said.as_slice() {
        [
            Said::Adopted(v),
            Said::Send(ServerId(1), n),
            Said::Send(ServerId(2), _),
            Said::Send(ServerId(3), _),
        ] => {
            assert_eq!((v.version, n.round, n.vote.leader.0), (5, 1, i64::MIN), "rounds begin anew");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(p.fle.view().last_seen.version, 5);
    // The same members under a newer version: taken over, and the message counts.
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    p.said.clear();
    p.hear(1, 1, with("server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888\nversion=6"));
    assert!(matches!(p.said.as_slice(), [Said::Adopted(_), Said::Send(..), Said::Send(..)]), "{:?}", p.said);
    // Not by whoever has a leader, not an older one, not one that is none.
    p.said.clear();
    p.hear(1, 1, with(newer));
    p.hear(1, 1, with("server.1=h1"));
    assert_eq!(p.sent(), [(1, Looks, 3, 9), (1, Looks, 3, 9)], "only the votes are answered");
    p.hear(2, 2, votes(3, 9));
    p.hear(2, 1, votes(3, 9));
    assert_eq!(p.decided(), Some((Leading, 3, 9)));
    p.hear(3, 1, with("server.1=h1:1:2\nserver.3=h3:1:2\nversion=7"));
    assert_eq!(p.sent(), [(1, Leading, 3, 9)]);
}

#[test]
fn votes_count_in_both_configurations_while_one_is_proposed() {
    let mut view = members(3, 0, "");
    view.last_seen = Arc::new(config("server.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2\nversion=5"));
    let mut p = Peer::start(3, view, history(0, 0));
    assert_eq!(p.sent().iter().map(|s| s.0).collect::<Vec<_>>(), [1, 2, 4, 5]);
    p.hear(1, 1, votes(3, 1));
    p.hear(1, 2, votes(3, 1));
    p.fle.wake(ms(300), &mut p.said);
    assert_eq!(p.decided(), None);
    p.hear(301, 4, votes(3, 1));
    p.fle.wake(ms(501), &mut p.said);
    assert_eq!(p.decided(), Some((Leading, 3, 1)));
}

#[test]
fn a_named_leader_is_taken_without_an_election() {
    let mut p = Peer::start(3, members(3, 0, ""), history(0, 0));
    assert_eq!(p.fle.take_role(ServerId(2), Zxid(9)), Following);
    assert_eq!(p.fle.take_role(ServerId(3), Zxid(9)), Leading);
    p.said.clear();
    p.hear(1, 1, votes(1, 1));
    assert_eq!(p.sent(), [(1, Leading, 3, -1)]);
}

proptest::proptest! {
    /// Whatever voters and others say: a proposal only gets better within its round, and a decision is justified by what
    /// was heard (16.4).
    #[test]
    fn decisions_are_justified(
        me in 1i64..6,
        words in proptest::collection::vec((1i64..7, 0i32..4, 1i64..6, 0i64..3, 0i64..2, 0i64..3, 0u64..80, 0i32..3), 0..120),
    ) {
        let view = members(5, 1, "");
        let mut p = Peer::start(me, view.clone(), history(1, 1));
        let mut heard: Vec<(i64, Notification)> = Vec::new();
        let (mut now, mut seen) = (0, p.fle.proposal());
        for (from, state, leader, round, epoch, zxid, wait, version) in words {
            now += wait;
            p.fle.wake(ms(now), &mut p.said);
            let state = ServerState::from_int(state).expect("one of four");
            let n = Notification { version, ..says(state, leader, round, epoch, zxid) };
            if from != me {
                heard.push((from, n.clone()));
                p.hear(now, from, n);
            }
            for said in std::mem::take(&mut p.said) {
                let Said::Decided(d) = said else { continue };
                proptest::prop_assert!(view.has_all_quorums(&d.supporters));
                let leader = d.vote.leader;
                let said_by = |sid: &ServerId| {
                    heard.iter().filter(|(f, n)| f == &sid.0 && n.vote.leader == leader).map(|(_, n)| n).collect::<Vec<_>>()
                };
                for sid in d.supporters.iter().filter(|s| s.0 != me) {
                    proptest::prop_assert!(!said_by(sid).is_empty(), "{sid} never spoke for {leader}");
                }
                let leads = said_by(&leader).iter().any(|n| n.state == Leading);
                let voted = d.supporters.iter().filter(|s| s.0 != me).all(|sid| {
                    said_by(sid).iter().any(|n| n.round == d.round && n.vote == d.vote)
                });
                proptest::prop_assert!(leader.0 == me || leads || voted);
                proptest::prop_assert_eq!(d.state == Leading, leader.0 == me);
                // The role does not last.
                heard.clear();
                p.fle.look(ms(now), history(1, 1), &mut p.said);
                seen = None;
            }
            let next = p.fle.proposal();
            if let (Some((r, v)), Some((round, vote))) = (seen, next) {
                proptest::prop_assert!(round > r || (round == r && vote >= v));
            }
            seen = next;
        }
    }
}
