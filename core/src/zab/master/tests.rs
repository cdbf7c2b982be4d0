//! An observer master between its observers and what its follower delivers.

use super::*;
use crate::proto::PacketType::{self, *};
use crate::proto::{LearnerInfo, ZAB_VERSION};
use crate::quorum::ConfigRules;
use crate::zab::WindowLimits;
use proptest::prelude::*;

const FAR: u64 = 2;

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// A follower of epoch 2 that has so many transactions of epoch 1, each of ten bytes, and one of epoch 2 that is not delivered.
struct Bench {
    master: ObserverMaster,
    history: History,
    config: QuorumVerifier,
    now: Time,
}

impl Bench {
    fn new(size_limit: usize, txns: u32) -> Bench {
        let settings = Settings {
            tick: Span::from_millis(100),
            init_limit: 10,
            sync_limit: 5,
            finalize_wait: Span::ZERO,
            last_counter: Settings::LAST_COUNTER,
            reconfig_enabled: true,
            force_snapshot: false,
            epoch_wait: None,
            observer_masters: true,
            observer_size_limit: size_limit,
        };
        let body = || Bytes::from_static(b"ten bytes.");
        let entries = (1..=txns).map(|c| (z(1, c), body()));
        let limits = WindowLimits { txns: 100, bytes: 1 << 20 };
        let mut history = History::recovered(Epoch(2), Epoch(2), Zxid::ZERO, entries, limits);
        let mut out = Vec::new();
        history.deliver(z(1, txns), None, &mut out);
        history.append(z(2, 1), body(), &mut out);
        let text = "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nversion=5";
        let config = QuorumVerifier::parse(text, ConfigRules::default()).expect("a configuration");
        let master = ObserverMaster::new(ServerId(1), settings, Epoch(2), Time(0));
        Bench { master, history, config, now: Time(0) }
    }

    fn call(
        &mut self,
        f: impl FnOnce(&mut ObserverMaster, Time, Holding<'_>, &mut Vec<ZabOut>),
    ) -> Vec<ZabOut> {
        let mut out = Vec::new();
        let holding = Holding { history: &self.history, config: &self.config };
        f(&mut self.master, self.now, holding, &mut out);
        out
    }
    fn hear(&mut self, conn: u64, said: FromLearner) -> Vec<ZabOut> {
        self.call(|m, now, holding, out| m.packet(now, Conn(conn), said.into_packet(), holding, out))
    }
    /// The follower delivers what it has.
    fn deliver(&mut self, zxid: Zxid) -> Vec<ZabOut> {
        let body = self.history.after(Zxid(zxid.0 - 1)).next().expect("it is there").body.clone();
        self.history.deliver(zxid, None, &mut Vec::new());
        self.call(|m, now, holding, out| m.delivered(now, (zxid, &body), None, holding, out))
    }
    /// An observer comes, and says how far it is.
    fn join(&mut self, conn: u64, last: Zxid) -> Vec<ZabOut> {
        self.master.opened(self.now, Conn(conn));
        let offered = self.hear(conn, hello(conn as i64, 5));
        assert_eq!(kinds(&offered), [PacketType::LeaderInfo]);
        self.hear(conn, FromLearner::AckEpoch { zxid: last, current_epoch: 1 })
    }
}

fn hello(sid: i64, config_version: i64) -> FromLearner {
    let info = LearnerInfo { sid: ServerId(sid), protocol_version: ZAB_VERSION, config_version };
    FromLearner::ObserverInfo { zxid: z(1, 0), info }
}

fn kinds(out: &[ZabOut]) -> Vec<PacketType> {
    let sent = |o: &ZabOut| match o {
        ZabOut::Send { packet, .. } => Some(packet.kind),
        _ => None,
    };
    out.iter().filter_map(sent).collect()
}

fn closed(out: &[ZabOut]) -> Option<Cause> {
    out.iter().find_map(|o| match o {
        ZabOut::Close { cause, .. } => Some(*cause),
        _ => None,
    })
}

#[test]
fn an_observer_gets_what_is_delivered_and_nothing_before() {
    let mut b = Bench::new(1000, 3);
    assert_eq!(kinds(&b.join(FAR, z(1, 2))), [Diff, Proposal, Commit, NewLeader]);
    assert_eq!(kinds(&b.hear(FAR, FromLearner::Ack { zxid: z(2, 0) })), [UpToDate]);
    assert_eq!(kinds(&b.hear(FAR, FromLearner::Ack { zxid: z(2, 0) })), []);
    assert_eq!(kinds(&b.deliver(z(2, 1))), [Inform]);
    assert_eq!(closed(&b.hear(FAR, FromLearner::Ack { zxid: z(2, 1) })), Some(Cause::Unexpected(Ack)));
    let late = b.call(|m, _, _, out| {
        m.synced(Conn(FAR), out);
        m.revalidated(Conn(FAR), SessionId(1), true, out);
    });
    assert_eq!(late, []);
}

#[test]
fn who_knows_more_waits_for_it() {
    let mut b = Bench::new(1000, 3);
    assert_eq!(b.join(FAR, z(2, 1)), []);
    assert_eq!(kinds(&b.deliver(z(2, 1))), [Diff, NewLeader]);
    // A later epoch is another story.
    assert_eq!(closed(&b.join(4, z(3, 1))), Some(Cause::BadEpoch(Epoch(3))));
    // What it has of an earlier epoch, and nobody else, is no history.
    assert!(matches!(b.join(5, z(1, 9))[..], [ZabOut::WantSnapshot { .. }]));
}

#[test]
fn more_than_half_of_the_size_limit_is_a_snapshot() {
    for (limit, last, snapshot) in
        [(60, z(1, 1), false), (58, z(1, 1), true), (58, z(1, 2), false), (0, z(1, 4), false)]
    {
        let mut b = Bench::new(limit, 4);
        let wants = matches!(b.join(FAR, last)[..], [ZabOut::WantSnapshot { .. }]);
        assert_eq!(wants, snapshot, "{limit} {last}");
        if wants {
            let begun = b.call(|m, now, holding, out| m.snapshot_begun(now, Conn(FAR), holding, out));
            assert_eq!(kinds(&begun), [Snap, NewLeader]);
        }
    }
}

#[test]
fn only_observers_with_a_configuration_that_is_in_force() {
    let mut b = Bench::new(1000, 3);
    let info = LearnerInfo { sid: ServerId(9), protocol_version: ZAB_VERSION, config_version: 0 };
    let follower = FromLearner::FollowerInfo { zxid: z(1, 0), info };
    for (said, cause) in [
        (follower, Cause::Unexpected(FollowerInfo)),
        (hello(9, 6), Cause::ConfigAhead),
        (hello(1, 5), Cause::OwnServerId),
    ] {
        b.master.opened(b.now, Conn(FAR));
        assert_eq!(closed(&b.hear(FAR, said)), Some(cause));
    }
}

#[test]
fn pings_and_silence() {
    let mut b = Bench::new(1000, 3);
    b.join(FAR, z(1, 3));
    b.hear(FAR, FromLearner::Ack { zxid: z(2, 0) });
    let mut pings = 0;
    let end = loop {
        b.now = b.master.next_wake();
        let out = b.call(|m, now, holding, out| m.wake(now, holding, out));
        match closed(&out) {
            Some(cause) => break cause,
            None => pings += kinds(&out).len(),
        }
    };
    assert_eq!((end, pings), (Cause::Silent, 10));
    b.join(4, z(1, 3));
    let ended = b.call(|m, _, _, out| m.end(out));
    assert_eq!(ended, [ZabOut::Close { conn: Conn(4), cause: Cause::LeaderLost }]);
}

proptest! {
    #[test]
    fn no_observer_breaks_its_master(said in proptest::collection::vec((0u64..3, 0u8..9, 0u32..4, 0u32..4), 0..40)) {
        let mut b = Bench::new(30, 3);
        for (conn, what, epoch, counter) in said {
            let zxid = z(epoch, counter);
            let out = match what {
                0 => b.call(|m, now, _, _| if !m.has(Conn(conn)) { m.opened(now, Conn(conn)) }),
                1 => b.hear(conn, hello(conn as i64 + 2, 0)),
                2 => b.hear(conn, FromLearner::AckEpoch { zxid, current_epoch: -1 }),
                3 => b.hear(conn, FromLearner::Ack { zxid }),
                4 => b.hear(conn, FromLearner::Ping { zxid, sessions: vec![(SessionId(1), 1)] }),
                5 => b.hear(conn, FromLearner::Revalidate { session: SessionId(1), timeout: 1 }),
                6 => b.call(|m, _, _, _| m.closed(Conn(conn))),
                7 if b.history.next_to_deliver() == Some(z(2, 1)) => b.deliver(z(2, 1)),
                _ => Vec::new(),
            };
            for asked in out {
                if let ZabOut::WantSnapshot { conn } = asked {
                    b.call(|m, now, holding, out| m.snapshot_begun(now, conn, holding, out));
                }
            }
        }
    }
}
