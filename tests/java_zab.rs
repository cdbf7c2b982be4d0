//! Conversations between real 3.9.3 servers, as `traces/java/quorum` keeps them, with one side played by `zebu_core::zab`:
//! what it says must be what Java said. Knows no tree: transactions are bytes.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use zebu_core::boundary::{Conn, Vouch};
use zebu_core::id::{Epoch, ServerId, Zxid};
use zebu_core::proto::{
    FromLeader, FromLearner, LearnerInfo, PacketReader, PacketType, QuorumPacket, ZAB_VERSION,
};
use zebu_core::quorum::{ConfigRules, LearnerType, QuorumVerifier, QuorumView};
use zebu_core::time::{Span, Time};
use zebu_core::zab::{History, Leader, Learner, Settings, SyncOf, WindowLimits, ZabOut, sync};
use zebu_tests::quorum_capture::{self, Kind, Packet};

const WINDOW: WindowLimits = WindowLimits { txns: 1000, bytes: 1 << 20 };
const CONN: Conn = Conn(7);
/// Another follower of the same leader, made up: the leader served before the conversation began.
const PHANTOM: Conn = Conn(8);

fn settings() -> Settings {
    Settings {
        tick: Span::from_millis(2000),
        init_limit: 10,
        sync_limit: 5,
        finalize_wait: Span::ZERO,
        last_counter: Settings::LAST_COUNTER,
        force_snapshot: false,
        epoch_wait: None,
        reconfig_enabled: false,
        observer_masters: false,
        observer_size_limit: 32 << 20,
    }
}

/// One connection of a capture, from its first packet on.
struct Talk {
    name: String,
    packets: Vec<Packet>,
}

impl Talk {
    fn packet(&self, i: usize) -> QuorumPacket {
        let mut reader = PacketReader::new(1 << 20);
        reader.feed(&self.packets[i].bytes);
        reader.next_packet().expect("a packet").expect("a whole one")
    }
    /// What one side said, without snapshots.
    fn said(&self, learner: bool) -> impl Iterator<Item = (usize, QuorumPacket)> + '_ {
        let of = move |p: &Packet| p.from_learner == learner && p.name() != "SNAPSHOT-STREAM";
        (0..self.packets.len()).filter(move |i| of(&self.packets[*i])).map(|i| (i, self.packet(i)))
    }
    fn is_dropped(&self, i: usize) -> bool {
        self.packets[i].decoded.starts_with("[DROPPED")
    }
    fn learner_said(&self, kind: PacketType) -> Option<QuorumPacket> {
        self.said(true).map(|(_, p)| p).find(|p| p.kind == kind)
    }
}

/// Every conversation that was recorded from FOLLOWERINFO or OBSERVERINFO up to UPTODATE at least.
fn talks() -> Vec<Talk> {
    let mut talks: BTreeMap<(String, u64), Vec<Packet>> = BTreeMap::new();
    for p in quorum_capture::all().expect("captures") {
        if p.kind == Kind::Quorum && p.name() != "SASL" {
            let file = p.at.split(':').next().expect("a name").to_owned();
            talks.entry((file, p.conn)).or_default().push(p);
        }
    }
    let whole = |ps: &Vec<Packet>| {
        ps[0].name().ends_with("ERINFO")
            && ps[0].name() != "LEADERINFO"
            && ps.iter().any(|p| p.name() == "UPTODATE")
    };
    talks
        .into_iter()
        .filter(|(_, ps)| whole(ps))
        .map(|((file, conn), packets)| Talk { name: format!("{file} connection {conn}"), packets })
        .collect()
}

fn epoch_of(p: &QuorumPacket) -> Epoch {
    Epoch::of(p.zxid)
}

/// FOLLOWERINFO as Java writes it: our own version number is greater.
fn as_java(p: QuorumPacket) -> QuorumPacket {
    let plain = |info: LearnerInfo| LearnerInfo { protocol_version: ZAB_VERSION, ..info };
    match FromLearner::decode(p).expect("ours") {
        FromLearner::FollowerInfo { zxid, info } => {
            assert_eq!(info.protocol_version, sync::EXACT);
            FromLearner::FollowerInfo { zxid, info: plain(info) }.into_packet()
        }
        FromLearner::ObserverInfo { zxid, info } => {
            FromLearner::ObserverInfo { zxid, info: plain(info) }.into_packet()
        }
        other => other.into_packet(),
    }
}

// ---- our learner, Java's leader ----

struct LearnerSide {
    learner: Learner,
    now: Time,
    said: Vec<QuorumPacket>,
    delivered: Vec<Zxid>,
    receiving: bool,
    lost: bool,
    tags: BTreeSet<u64>,
}

impl LearnerSide {
    /// A learner with the state that Java's said it had.
    fn new(talk: &Talk) -> LearnerSide {
        let hello = FromLearner::decode(talk.packet(0)).expect("the first packet");
        let (kind, zxid, info) = match hello {
            FromLearner::FollowerInfo { zxid, info } => (LearnerType::Participant, zxid, info),
            FromLearner::ObserverInfo { zxid, info } => (LearnerType::Observer, zxid, info),
            other => panic!("{}: begins with {other:?}", talk.name),
        };
        let accepted = Epoch::of(zxid);
        let ack = talk.learner_said(PacketType::AckEpoch).expect("an ACKEPOCH");
        let last = ack.zxid;
        let current = match FromLearner::decode(ack).expect("read before") {
            FromLearner::AckEpoch { current_epoch: -1, .. } => accepted,
            FromLearner::AckEpoch { current_epoch, .. } => Epoch(current_epoch.into()),
            other => panic!("{other:?}"),
        };
        // What the leader has cut off was not in the tree.
        let trunc = talk.said(false).find(|(_, p)| p.kind == PacketType::Trunc).map(|(_, p)| p.zxid);
        let tail = trunc.filter(|to| *to < last).map(|_| (last, Bytes::new()));
        let history = History::recovered(accepted, current, trunc.unwrap_or(last), tail, WINDOW);
        let mut out = Vec::new();
        let now = Time(0);
        let mut learner =
            Learner::new((info.sid, kind), settings(), history, info.config_version, (now, 0), &mut out);
        assert_eq!(out, [ZabOut::Dial]);
        let mut first = Vec::new();
        learner.opened(now, CONN, &mut first);
        let mut side = LearnerSide {
            learner,
            now,
            said: Vec::new(),
            delivered: Vec::new(),
            receiving: false,
            lost: false,
            tags: BTreeSet::new(),
        };
        side.carry_out(first);
        side
    }

    /// Everything is durable at once.
    fn carry_out(&mut self, out: Vec<ZabOut>) {
        for o in out {
            let mut more = Vec::new();
            match o {
                ZabOut::Send { packet, .. } => self.said.push(packet),
                ZabOut::Park(vouch) => self.learner.durable(self.now, vouch, &mut more),
                ZabOut::Deliver { zxid, .. } => self.delivered.push(zxid),
                ZabOut::Install { txns, .. } => self.delivered.extend(txns.iter().map(|(zxid, _)| *zxid)),
                ZabOut::ReceiveSnapshot { .. } => self.receiving = true,
                ZabOut::Lost { .. } => self.lost = true,
                ZabOut::Synced { tag } => assert!(self.tags.remove(&tag)),
                other => drop(other),
            }
            self.carry_out(more);
        }
    }

    fn play(&mut self, talk: &Talk, i: usize) {
        let mut out = Vec::new();
        if talk.packets[i].name() == "SNAPSHOT-STREAM" {
            assert!(std::mem::take(&mut self.receiving));
            self.learner.snapshot_received(self.now);
        } else if talk.packets[i].from_learner {
            // What Java's clients made it say.
            match FromLearner::decode(talk.packet(i)).expect("read before") {
                FromLearner::Request(r) if r.op == 9 => {
                    self.tags.insert(i as u64);
                    assert!(self.learner.sync(i as u64, r, &mut out));
                }
                FromLearner::Request(r) => assert!(self.learner.request(r, &mut out)),
                FromLearner::Revalidate { session, timeout } => {
                    assert!(self.learner.revalidate(session, timeout, &mut out));
                }
                _ => {}
            }
        } else if !talk.is_dropped(i) {
            let packet = talk.packet(i);
            if packet.kind == PacketType::Ping
                && let Some(FromLearner::Ping { sessions, .. }) = talk
                    .said(true)
                    .find(|(at, p)| *at > i && p.kind == PacketType::Ping)
                    .map(|(_, p)| FromLearner::decode(p).expect("read before"))
            {
                sessions.into_iter().for_each(|(s, t)| self.learner.touch(s, t));
            }
            self.learner.packet(self.now, CONN, packet, &mut out);
        }
        self.carry_out(out);
    }
}

/// By type: threads of Java's interleave PING, ACK and REQUEST as they like.
fn by_kind(packets: impl IntoIterator<Item = QuorumPacket>) -> BTreeMap<PacketType, Vec<QuorumPacket>> {
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for p in packets {
        kinds.entry(p.kind).or_default().push(p);
    }
    kinds
}

#[test]
fn our_learner_answers_java_leaders_as_java_does() {
    let talks = talks();
    assert!(talks.len() >= 25, "{}", talks.len());
    for talk in &talks {
        let mut side = LearnerSide::new(talk);
        for i in 1..talk.packets.len() {
            side.play(talk, i);
        }
        assert!(!side.lost, "{}: lost", talk.name);
        let java = by_kind(talk.said(true).map(|(_, p)| p));
        let ours = by_kind(std::mem::take(&mut side.said).into_iter().map(as_java));
        for (kind, java) in &java {
            let ours = ours.get(kind).unwrap_or_else(|| panic!("{}: no {kind:?}", talk.name));
            // Java's last answers may not have come through before the recording ended.
            assert!(java.len() <= ours.len() && ours.len() <= java.len() + 2, "{}: {kind:?}", talk.name);
            assert_eq!(*java, ours[..java.len()], "{}: {kind:?}", talk.name);
        }
        // Every commit was carried out, in order.
        let committed: Vec<Zxid> = talk
            .said(false)
            .filter(|(i, p)| !talk.is_dropped(*i) && is_commit(p.kind))
            .map(|(_, p)| p.zxid)
            .collect();
        assert_eq!(side.delivered, committed, "{}", talk.name);
    }
}

fn is_commit(kind: PacketType) -> bool {
    matches!(
        kind,
        PacketType::Commit
            | PacketType::Inform
            | PacketType::CommitAndActivate
            | PacketType::InformAndActivate
    )
}

// ---- our leader, Java's learner ----

struct LeaderSide {
    leader: Leader,
    now: Time,
    said: Vec<QuorumPacket>,
    active: bool,
    /// The snapshot stands after so many packets.
    snapshot_at: Option<usize>,
    valid: BTreeMap<i64, bool>,
}

/// What the leader held when the conversation began.
struct Before {
    /// It served already.
    serves: bool,
    epoch: Epoch,
    history: Vec<(Zxid, Bytes)>,
    /// The state before those.
    base: Zxid,
    live: Vec<(Zxid, Bytes)>,
    outstanding: usize,
}

/// Reads from what Java's leader sent how much it had.
fn before(talk: &Talk) -> Before {
    let said: Vec<QuorumPacket> = talk.said(false).map(|(_, p)| p).collect();
    let epoch = epoch_of(&said[0]);
    let start = said[1].clone();
    let to = said.iter().position(|p| p.kind == PacketType::NewLeader).expect("a NEWLEADER");
    let sent = |p: &&QuorumPacket| matches!(p.kind, PacketType::Proposal | PacketType::Inform);
    let entries: Vec<(Zxid, Bytes)> =
        said[2..to].iter().filter(sent).map(|p| (p.zxid, p.data.clone().expect("a body"))).collect();
    let commits = said[2..to].iter().filter(|p| p.kind == PacketType::Commit).count();
    let (history, live): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(z, _)| Epoch::of(*z) < epoch);
    // What it held, judged by the first packet: a DIFF or TRUNC starts at what the learner had or was to keep.
    let ack = talk.learner_said(PacketType::AckEpoch).expect("an ACKEPOCH");
    let from = match start.kind {
        PacketType::Diff => ack.zxid,
        PacketType::Trunc | PacketType::Snap => start.zxid,
        other => panic!("{}: starts with {other:?}", talk.name),
    };
    let outstanding = history.len() + live.len() - commits;
    let serves = Epoch::of(from) == epoch || !live.is_empty() || start.kind != PacketType::Diff;
    Before { serves, epoch, history, base: from, live, outstanding }
}

fn dummy(zxid: Zxid) -> Bytes {
    Bytes::copy_from_slice(&zxid.0.to_be_bytes())
}

impl LeaderSide {
    fn new(talk: &Talk) -> LeaderSide {
        let Before { serves, epoch, history, base, live, outstanding } = before(talk);
        let text =
            talk.said(false).find(|(_, p)| p.kind == PacketType::NewLeader).expect("a NEWLEADER").1.data;
        let text = String::from_utf8(text.expect("a configuration").to_vec()).expect("text");
        let rules = ConfigRules { multi_address: true, ..ConfigRules::default() };
        let config = QuorumVerifier::parse(&text, rules).expect("a configuration");
        let (FromLearner::FollowerInfo { info, .. } | FromLearner::ObserverInfo { info, .. }) =
            FromLearner::decode(talk.packet(0)).expect("read before")
        else {
            panic!("{}: no introduction", talk.name)
        };
        let me = ServerId(talk.said(false).map(|(i, _)| talk.packets[i].from).next().expect("a leader"));
        let phantom = config.voters().find(|s| *s != me && *s != info.sid).expect("a third voter");
        let earlier = Epoch(epoch.0 - 1);
        let own = Epoch::of(base) == epoch;
        // Before its epoch it held at least what the conversation starts from, and what it sends of earlier epochs.
        let start = if own { Zxid::new(earlier.0 as u32, 0) } else { base };
        let held = History::recovered(earlier, earlier, start, history, WINDOW);
        let mut out = Vec::new();
        let now = Time(0);
        let view = QuorumView::settled(config);
        let leader = Leader::new(me, settings(), held, view, now, &mut out);
        let mut side = LeaderSide {
            leader,
            now,
            said: Vec::new(),
            active: false,
            snapshot_at: None,
            valid: BTreeMap::new(),
        };
        side.carry_out(out);
        if serves {
            side.reign(phantom, earlier, base, own, &live, outstanding);
        }
        for (_, p) in talk.said(false) {
            if let Ok(FromLeader::Revalidate { session, valid }) = FromLeader::decode(p) {
                side.valid.insert(session.0, valid);
            }
        }
        let mut out = Vec::new();
        side.leader.opened(side.now, CONN, &mut out);
        side.carry_out(out);
        side
    }

    /// The epoch has begun with another follower, and has come to the point where the conversation starts.
    fn reign(
        &mut self,
        phantom: ServerId,
        earlier: Epoch,
        base: Zxid,
        own: bool,
        live: &[(Zxid, Bytes)],
        outstanding: usize,
    ) {
        let mut out = Vec::new();
        self.leader.opened(self.now, PHANTOM, &mut out);
        self.carry_out(out);
        let info = LearnerInfo { sid: phantom, protocol_version: ZAB_VERSION, config_version: 0 };
        let last = self.leader.history().last();
        self.hear(PHANTOM, FromLearner::FollowerInfo { zxid: earlier.start(), info }.into_packet());
        let current_epoch = earlier.0 as i32;
        self.hear(PHANTOM, FromLearner::AckEpoch { zxid: last, current_epoch }.into_packet());
        let epoch = self.leader.epoch().expect("found");
        self.hear(PHANTOM, FromLearner::Ack { zxid: epoch.start() }.into_packet());
        assert!(self.active);
        if own {
            for counter in 1..=base.counter() {
                let zxid = Zxid::new(epoch.0 as u32, counter);
                self.propose(zxid, dummy(zxid));
                self.commit(zxid);
            }
        }
        for (i, (zxid, body)) in live.iter().enumerate() {
            self.propose(*zxid, body.clone());
            if i < live.len() - outstanding {
                self.commit(*zxid);
            }
        }
    }

    fn propose(&mut self, zxid: Zxid, body: Bytes) {
        let mut out = Vec::new();
        self.leader.propose(self.now, zxid, body, None, &mut out);
        self.carry_out(out);
    }
    /// The made-up follower acks.
    fn commit(&mut self, zxid: Zxid) {
        self.hear(PHANTOM, FromLearner::Ack { zxid }.into_packet());
    }

    fn hear(&mut self, conn: Conn, packet: QuorumPacket) {
        let mut out = Vec::new();
        self.leader.packet(self.now, conn, packet, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<ZabOut>) {
        for o in out {
            let mut more = Vec::new();
            match o {
                ZabOut::Send { conn: CONN, packet } => self.said.push(packet),
                // The made-up follower hears every ping.
                ZabOut::Send { conn, packet } if packet.kind == PacketType::Ping => {
                    let pong = FromLearner::Ping { zxid: packet.zxid, sessions: Vec::new() };
                    self.leader.packet(self.now, conn, pong.into_packet(), &mut more);
                }
                // Its own acks come with those of the made-up follower: nothing is committed before Java did.
                ZabOut::Park(vouch @ (Vouch::AckEpoch(_) | Vouch::AckNewLeader(_) | Vouch::OwnAck(_))) => {
                    self.leader.durable(self.now, vouch, &mut more);
                }
                ZabOut::WantSnapshot { conn } => self.leader.snapshot_begun(self.now, conn, &mut more),
                ZabOut::SendSnapshot { .. } => self.snapshot_at = Some(self.said.len()),
                ZabOut::Request { conn, request } if request.op == 9 => {
                    self.leader.sync(SyncOf::Learner(conn), &mut more);
                }
                ZabOut::Revalidate { conn, session, .. } => {
                    let valid = self.valid[&session.0];
                    self.leader.revalidated(conn, session, valid, &mut more);
                }
                ZabOut::Activated { .. } => self.active = true,
                ZabOut::Lost { why } => panic!("{why}"),
                other => drop(other),
            }
            self.carry_out(more);
        }
    }

    fn play(&mut self, talk: &Talk, i: usize) {
        if talk.packets[i].name() == "SNAPSHOT-STREAM" {
            return;
        }
        let packet = talk.packet(i);
        if talk.packets[i].from_learner {
            if !talk.is_dropped(i) {
                self.hear(CONN, packet);
            }
            return;
        }
        // What Java's leader did, ours does.
        if matches!(packet.kind, PacketType::Proposal | PacketType::Inform)
            && self.leader.next_zxid() == Some(packet.zxid)
            && self.active
        {
            self.propose(packet.zxid, packet.data.clone().expect("a body"));
        }
        if is_commit(packet.kind) && self.leader.history().delivered() < packet.zxid {
            self.commit(packet.zxid);
        }
    }
}

/// Without what comes by the clock, and without SYNC and REVALIDATE, whose place hangs on a processor's queue.
fn timeless(p: &QuorumPacket) -> bool {
    !matches!(p.kind, PacketType::Ping | PacketType::Sync | PacketType::Revalidate)
}

/// Plays our leader against the learner of a conversation; the packets of ours and of Java's.
fn lead(talk: &Talk) -> (LeaderSide, Vec<QuorumPacket>) {
    let mut side = LeaderSide::new(talk);
    for i in 0..talk.packets.len() {
        side.play(talk, i);
    }
    let java = talk.said(false).map(|(_, p)| p).collect();
    (side, java)
}

/// A Java learner whose TRUNC might not be exact gets a snapshot instead, of the same history.
fn is_trunc_by_a_serving_leader(talk: &Talk) -> bool {
    talk.said(false).any(|(_, p)| p.kind == PacketType::Trunc)
}

#[test]
fn our_leader_speaks_to_java_learners_as_java_does() {
    let mut compared = 0;
    for talk in talks().iter().filter(|t| !is_trunc_by_a_serving_leader(t) && is_comparable(t)) {
        let (side, java) = lead(talk);
        let snap = java.iter().position(|p| p.kind == PacketType::Snap).map(|i| i + 1);
        assert_eq!(side.snapshot_at, snap, "{}", talk.name);
        let ours: Vec<_> = side.said.iter().filter(|p| timeless(p)).collect();
        let expected: Vec<_> = java.iter().filter(|p| timeless(p)).collect();
        assert_eq!(ours, expected, "{}", talk.name);
        for kind in [PacketType::Sync, PacketType::Revalidate] {
            let of = |ps: &[QuorumPacket]| ps.iter().filter(|p| p.kind == kind).cloned().collect::<Vec<_>>();
            assert_eq!(of(&side.said), of(&java), "{}: {kind:?}", talk.name);
        }
        compared += 1;
    }
    println!("{compared} conversations");
    assert!(compared >= 18, "{compared}");
}

/// Not those of a reconfigured ensemble: who leads and who counts changes in their midst.
fn is_comparable(talk: &Talk) -> bool {
    !talk.name.starts_with("11")
}

#[test]
fn a_java_learner_with_a_foreign_tail_gets_a_snapshot_once_the_leader_serves() {
    let truncs: Vec<Talk> = talks().into_iter().filter(is_trunc_by_a_serving_leader).collect();
    assert_eq!(truncs.len(), 3);
    for talk in &truncs {
        let mut side = LeaderSide::new(talk);
        for i in 0..talk.packets.len() {
            side.play(talk, i);
        }
        let kinds: Vec<PacketType> = side.said.iter().filter(|p| timeless(p)).map(|p| p.kind).collect();
        let expected =
            [PacketType::LeaderInfo, PacketType::Snap, PacketType::NewLeader, PacketType::UpToDate];
        assert_eq!(kinds, expected, "{}", talk.name);
        // Named above whatever the learner has.
        let epoch = epoch_of(&side.said[0]);
        assert_eq!(side.said[1].zxid, epoch.start(), "{}", talk.name);
    }
}

#[test]
fn a_learner_of_ours_with_a_foreign_tail_is_told_what_java_tells() {
    for talk in &mut talks().into_iter().filter(is_trunc_by_a_serving_leader).collect::<Vec<_>>() {
        let FromLearner::FollowerInfo { zxid, info } =
            FromLearner::decode(talk.packet(0)).expect("read before")
        else {
            panic!("{}: no follower", talk.name)
        };
        let info = LearnerInfo { protocol_version: sync::EXACT, ..info };
        talk.packets[0].bytes.clear();
        FromLearner::FollowerInfo { zxid, info }.into_packet().encode(&mut talk.packets[0].bytes);
        let (side, java) = lead(talk);
        let ours: Vec<_> = side.said.iter().filter(|p| timeless(p)).collect();
        let expected: Vec<_> = java.iter().filter(|p| timeless(p)).collect();
        assert_eq!(ours, expected, "{}", talk.name);
    }
}
