//! Which sessions exist and when each runs out. Answers to `SessionTrackerImpl` and `ExpiryQueue`. Must not know connections
//! or ephemerals. A session lives from the commit of its creation to the commit of its close; nothing here decides either.

use crate::id::{SessionId, Zxid};
use crate::rng::java_random_16;
use crate::time::{Span, Time};
use std::collections::{BTreeMap, BTreeSet};

/// The password of a session: a checksum of its id that every server, Java's too, can compute.
pub fn password(id: SessionId) -> [u8; 16] {
    java_random_16(id.0 ^ 0xB341_5C00)
}

/// Did it help that a session gave a sign of life?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// It has its full timeout again.
    Live,
    /// There is no such session.
    Unknown,
    /// Too late: its close is under way.
    Closing,
}

/// The sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    tick: Span,
    next_id: SessionId,
    sessions: BTreeMap<SessionId, Session>,
    /// Ends of time slices of one tick, and who runs out there. No bucket is empty; a closing session is in none.
    buckets: BTreeMap<Time, BTreeSet<SessionId>>,
}

#[derive(Debug)]
struct Session {
    /// As its creation said: what snapshots and full restarts of the time use.
    timeout_ms: i32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Live { bucket: Time },
    Closing,
}

impl Sessions {
    /// No sessions yet. `tick` is the width of an expiry bucket.
    ///
    /// Ids hold the server's number in the high byte, then 40 bits that differ from life to life, then a count. Java takes
    /// the milliseconds since boot, which a reboot starts anew; ours are the low bits of `last`, the last transaction that
    /// recovery knows: each session takes a transaction, so no id is drawn twice, whatever the clocks do.
    pub fn new(server_id: u8, last: Zxid, tick: Span) -> Sessions {
        assert!(tick > Span::ZERO, "a tick takes time");
        let next_id = SessionId((u64::from(server_id) << 56) as i64);
        let mut new = Sessions { tick, next_id, sessions: BTreeMap::new(), buckets: BTreeMap::new() };
        new.begin_life(last.0 as u64);
        new
    }

    /// Takes over what recovery (or a former leader) left. Each session gets its full timeout again, and new ids stay clear
    /// of the old ones of this server.
    pub fn restore(&mut self, list: impl IntoIterator<Item = (SessionId, i32)>, now: Time) {
        let of_server = |id: SessionId| id.0 as u64 >> 56;
        for (id, timeout_ms) in list {
            self.commit_create(id, timeout_ms, now);
            if of_server(id) == of_server(self.next_id) && id.0 as u64 >= self.next_id.0 as u64 {
                self.next_id = SessionId(id.0.wrapping_add(1));
            }
        }
    }

    /// A reign begins: every session lives, with its full timeout again. While nobody was served, nobody could show life; and
    /// a close that was under way may have come to nothing.
    pub fn restart(&mut self, now: Time) {
        let all: Vec<(SessionId, i32)> = self.iter().collect();
        for (id, timeout_ms) in all {
            self.commit_create(id, timeout_ms, now);
        }
    }

    /// Other sessions take the place of all: a leader's snapshot.
    pub fn replace(&mut self, list: impl IntoIterator<Item = (SessionId, i32)>, now: Time) {
        self.sessions.clear();
        self.buckets.clear();
        for (id, timeout_ms) in list {
            self.commit_create(id, timeout_ms, now);
        }
    }

    /// New ids from here on are those of another life.
    pub fn begin_life(&mut self, life: u64) {
        let server = self.next_id.0 as u64 >> 56;
        self.next_id = SessionId(((life << 24) >> 8 | server << 56) as i64);
    }

    /// Draws the id of a new session, which lives once [`Sessions::commit_create`] is called for it.
    pub fn create(&mut self) -> SessionId {
        // 0 means "no session", and the lowest number marks containers.
        while matches!(self.next_id.0, 0 | i64::MIN) || self.sessions.contains_key(&self.next_id) {
            self.next_id.0 += 1;
        }
        let id = self.next_id;
        self.next_id = SessionId(id.0.wrapping_add(1));
        id
    }

    /// The creation is part of history. One that is there already gets the new timeout.
    pub fn commit_create(&mut self, id: SessionId, timeout_ms: i32, now: Time) {
        self.commit_close(id);
        let bucket = self.bucket(timeout_ms, now);
        self.sessions.insert(id, Session { timeout_ms, state: State::Live { bucket } });
        self.buckets.entry(bucket).or_default().insert(id);
    }

    /// A sign of life: the session gets `timeout_ms` from now, or the timeout of its creation.
    pub fn touch(&mut self, id: SessionId, timeout_ms: Option<i32>, now: Time) -> Touch {
        let Some(session) = self.sessions.get(&id) else { return Touch::Unknown };
        let State::Live { bucket: old } = session.state else { return Touch::Closing };
        let new = self.bucket(timeout_ms.unwrap_or(session.timeout_ms), now);
        if new != old {
            self.leave(old, id);
            self.buckets.entry(new).or_default().insert(id);
            self.sessions.get_mut(&id).expect("just found").state = State::Live { bucket: new };
        }
        Touch::Live
    }

    /// Exists, and its close is not under way.
    pub fn is_live(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|s| s.state != State::Closing)
    }

    /// The timeout of its creation.
    pub fn timeout(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).map(|s| s.timeout_ms)
    }

    /// Its close is under way: from here on it is not live and does not expire. False if it was not live.
    pub fn begin_close(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let State::Live { bucket } = session.state else { return false };
        session.state = State::Closing;
        self.leave(bucket, id);
        true
    }

    /// The close is part of history. False if there was no such session.
    pub fn commit_close(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        match session.state {
            State::Live { bucket } => self.leave(bucket, id),
            State::Closing => {}
        }
        true
    }

    /// The live sessions whose time is up, longest first. They stay so until [`Sessions::begin_close`].
    pub fn expired(&self, now: Time) -> Vec<SessionId> {
        self.buckets.range(..=now).flat_map(|(_, ids)| ids.iter().copied()).collect()
    }

    /// When the next session runs out.
    pub fn next_expiry(&self) -> Option<Time> {
        self.buckets.keys().next().copied()
    }

    /// Every session, closing ones too, with the timeout of its creation. Sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(id, s)| (*id, s.timeout_ms))
    }

    /// Who runs out when. Sorted.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (Time, impl ExactSizeIterator<Item = SessionId>)> {
        self.buckets.iter().map(|(at, ids)| (*at, ids.iter().copied()))
    }

    /// How many there are, closing ones too.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Never before the timeout, at most a tick after it. A timeout from a file may be any number.
    fn bucket(&self, timeout_ms: i32, now: Time) -> Time {
        let end = now + Span::from_millis(timeout_ms.max(0) as u64);
        Time((end.0 / self.tick.0).saturating_add(1).saturating_mul(self.tick.0))
    }

    fn leave(&mut self, bucket: Time, id: SessionId) {
        let ids = self.buckets.get_mut(&bucket).expect("a live session is in its bucket");
        assert!(ids.remove(&id), "a live session is in its bucket");
        if ids.is_empty() {
            self.buckets.remove(&bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Span = Span::from_millis(1000);

    fn ms(n: u64) -> Time {
        Time::default() + Span::from_millis(n)
    }
    fn sessions() -> Sessions {
        Sessions::new(1, Zxid(0x12_3456_789a), TICK)
    }

    #[test]
    fn passwords_are_java_s() {
        let hex = |b: [u8; 16]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(password(SessionId(0x0100_000f_887a_0000))), "d410cf69d1d34d3ed2c11d9e027b086e");
        assert_eq!(hex(password(SessionId(0x0100_001f_af99_0003))), "5a514d7c568c6ba59e8046e75c17c49f");
    }

    #[test]
    fn ids_name_the_server_and_count_up() {
        let mut s = sessions();
        assert_eq!(s.create(), SessionId(0x0112_3456_789a_0000));
        assert_eq!(s.create(), SessionId(0x0112_3456_789a_0001));
        assert_eq!(s.len(), 0, "not live before the commit");
        s.restore([(SessionId(0x0112_3456_789a_0100), 1), (SessionId(0x0212_3456_789b_0000), 1)], ms(0));
        assert_eq!(s.create(), SessionId(0x0112_3456_789a_0101), "clear of its own, whatever others drew");
        let mut s = Sessions::new(0x80, Zxid::ZERO, TICK);
        assert_eq!(s.create(), SessionId(i64::MIN + 1));
        let mut s = Sessions::new(0, Zxid::ZERO, TICK);
        assert_eq!(s.create(), SessionId(1));
    }

    #[test]
    fn expiry_is_in_buckets() {
        let mut s = sessions();
        s.commit_create(SessionId(5), 2000, ms(500));
        assert_eq!(s.next_expiry(), Some(ms(3000)));
        assert_eq!(s.expired(ms(2999)), []);
        assert_eq!(s.expired(ms(3000)), [SessionId(5)]);
        assert_eq!(s.touch(SessionId(5), None, ms(1000)), Touch::Live);
        assert_eq!(s.next_expiry(), Some(ms(4000)), "at the edge of a tick: a whole one more");
        assert_eq!(s.touch(SessionId(5), Some(5000), ms(1000)), Touch::Live);
        assert_eq!(s.next_expiry(), Some(ms(7000)));
        assert_eq!(s.timeout(SessionId(5)), Some(2000));
        assert_eq!(s.touch(SessionId(6), None, ms(1000)), Touch::Unknown);
    }

    #[test]
    fn a_closing_session_neither_expires_nor_revives() {
        let mut s = sessions();
        s.commit_create(SessionId(5), 2000, ms(0));
        assert!(s.begin_close(SessionId(5)));
        assert!(!s.begin_close(SessionId(5)));
        assert!(!s.is_live(SessionId(5)));
        assert_eq!(s.touch(SessionId(5), None, ms(0)), Touch::Closing);
        assert_eq!((s.expired(ms(90_000)), s.next_expiry(), s.len()), (vec![], None, 1));
        assert!(s.commit_close(SessionId(5)));
        assert!(!s.commit_close(SessionId(5)));
        assert!(s.is_empty());
    }

    #[test]
    fn a_restart_gives_everyone_the_full_time_again() {
        let mut s = sessions();
        s.restore([(SessionId(7), 4000), (SessionId(-3), 9000), (SessionId(8), -1)], ms(10_000));
        assert_eq!(
            s.iter().collect::<Vec<_>>(),
            [(SessionId(-3), 9000), (SessionId(7), 4000), (SessionId(8), -1)]
        );
        let buckets: Vec<_> = s.buckets().map(|(at, ids)| (at, ids.collect::<Vec<_>>())).collect();
        assert_eq!(
            buckets,
            [
                (ms(11_000), vec![SessionId(8)]),
                (ms(15_000), vec![SessionId(7)]),
                (ms(20_000), vec![SessionId(-3)])
            ]
        );
    }

    proptest! {
        #[test]
        fn never_early_and_at_most_a_tick_late(timeout in 0i32..100_000, now in 0u64..1 << 50) {
            let mut s = sessions();
            s.commit_create(SessionId(1), timeout, Time(now));
            let due = Time(now) + Span::from_millis(timeout as u64);
            let at = s.next_expiry().expect("it is live");
            prop_assert!(at > due && at.since(due) <= TICK);
        }
    }
}
