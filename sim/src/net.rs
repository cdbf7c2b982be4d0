//! The network: byte streams that arrive late, in pieces, or not at all. A connection has two pipes; each delivers in order,
//! at times of its own. What a connection's end does to bytes under way is decided here; who is told is the world's affair.

use crate::random::Stream;
use bytes::Bytes;
use std::collections::VecDeque;
use zebu_core::boundary::{Conn, Port};

/// How a link behaves when no fault is on, ns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct LinkProfile {
    /// The least delay of a byte.
    pub delay: u64,
    /// Up to this much more.
    pub jitter: u64,
    /// Of 1024 sends, how many are delayed up to 64 times as long.
    pub spikes: u32,
    /// Of 1024 sends, how many arrive in pieces.
    pub splits: u32,
    /// Bytes a millisecond; 0: no limit.
    pub bandwidth: u64,
}

/// What arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    Bytes(Bytes),
    /// The other side closed, or the connection broke.
    End,
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    items: VecDeque<(u64, Item)>,
    last_arrival: u64,
    last_send: u64,
    /// When the next delivery has been scheduled; `u64::MAX`: it has not.
    pub due: u64,
    /// Nothing more may be put in.
    closed: bool,
    /// The receiver does not read.
    pub held: bool,
    random: Stream,
    /// Bytes that arrived since the last report to the sender.
    left: usize,
}

/// What a delivery brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Arrived {
    /// The stream ended after those bytes.
    pub ended: bool,
}

impl Pipe {
    /// An empty one.
    pub fn new(random: Stream) -> Pipe {
        Pipe {
            items: VecDeque::new(),
            last_arrival: 0,
            last_send: u64::MAX,
            due: u64::MAX,
            closed: false,
            held: false,
            random,
            left: 0,
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, now: u64, mut bytes: Bytes, link: &LinkProfile) {
        if self.closed || bytes.is_empty() {
            return;
        }
        let together = self.last_send == now;
        self.last_send = now;
        let split = link.splits > 0 && self.random.chance(link.splits);
        if together && !split {
            let at = self.last_arrival + transfer(bytes.len(), link);
            return self.put(at, Item::Bytes(bytes));
        }
        let at = now + self.delay(link);
        if split {
            let mut pieces = self.random.between(1, 3);
            while pieces > 0 && bytes.len() > 1 {
                // Half of the cuts fall into the first bytes, where lengths and headers are.
                let bound = if self.random.chance(512) { bytes.len().min(20) } else { bytes.len() };
                let piece = bytes.split_to(self.random.between(1, bound as u64 - 1) as usize);
                let at = at.max(self.last_arrival + 1) + transfer(piece.len(), link);
                self.put(at, Item::Bytes(piece));
                self.last_arrival += self.random.below(link.jitter + 1);
                pieces -= 1;
            }
        }
        self.put(at + transfer(bytes.len(), link), Item::Bytes(bytes));
    }

    fn delay(&mut self, link: &LinkProfile) -> u64 {
        let usual = link.delay + self.random.below(link.jitter + 1);
        if link.spikes > 0 && self.random.chance(link.spikes) {
            usual * self.random.between(2, 64)
        } else {
            usual
        }
    }

    fn put(&mut self, at: u64, item: Item) {
        let at = at.max(self.last_arrival);
        self.last_arrival = at;
        self.items.push_back((at, item));
    }

    /// The stream ends after what was sent: nothing more can be.
    pub fn finish(&mut self, now: u64, link: &LinkProfile) {
        if !self.closed {
            let at = now + self.delay(link);
            self.put(at, Item::End);
            self.closed = true;
        }
    }

    /// The connection breaks: a random part of what is under way still arrives, the last piece cut anywhere; then the end.
    /// What came before `arrived` lies at the receiver already, who has not read it yet: that stays.
    pub fn cut(&mut self, now: u64, arrived: u64, link: &LinkProfile, random: &mut Stream) {
        let there = self.items.partition_point(|(at, _)| *at <= arrived);
        let keep = there + random.below((self.items.len() - there) as u64 + 1) as usize;
        self.items.truncate(keep);
        if keep > there
            && let Some((_, Item::Bytes(last))) = self.items.back_mut()
        {
            let n = random.between(1, last.len() as u64) as usize;
            last.truncate(n);
        }
        if !matches!(self.items.back(), Some((_, Item::End))) {
            self.last_arrival = self.items.back().map_or(now, |(at, _)| *at);
            let at = now + self.delay(link);
            self.put(at, Item::End);
        }
        self.closed = true;
    }

    /// Nothing more may be put in; what is under way still arrives.
    pub fn shut(&mut self) {
        self.closed = true;
    }

    /// The receiver is gone: whatever is under way is dropped, nothing more is taken.
    pub fn drop_all(&mut self) {
        self.items.clear();
        self.closed = true;
    }

    /// The receiver closes. Now and then its driver has read more by then, or reads on for a while, and hands it over: what,
    /// and when.
    pub fn left_behind(&mut self, now: u64) -> Vec<(u64, Bytes)> {
        if self.items.is_empty() || !self.random.chance(250) {
            return Vec::new();
        }
        let pause = if self.random.chance(512) { 0 } else { self.random.log_uniform(1_000, 1_000_000_000) };
        let bytes = |(at, item)| match item {
            Item::Bytes(bytes) => Some((now.max(at) + pause, bytes)),
            Item::End => None,
        };
        self.items.drain(..).filter_map(bytes).collect()
    }

    /// Nothing arrives before this time.
    pub fn not_before(&mut self, at: u64) {
        self.last_arrival = self.last_arrival.max(at);
    }

    /// When the next delivery is due.
    pub fn next(&self) -> Option<u64> {
        if self.held {
            return None;
        }
        self.items.front().map(|(at, _)| *at)
    }

    /// Takes everything that has arrived. One piece goes as it is; several are put together in `scratch`.
    pub fn take<'a>(
        &mut self,
        now: u64,
        scratch: &'a mut Vec<u8>,
        one: &'a mut Bytes,
    ) -> (&'a [u8], Arrived) {
        scratch.clear();
        *one = Bytes::new();
        let mut arrived = Arrived::default();
        while let Some((at, item)) = self.items.front_mut() {
            if *at > now {
                break;
            }
            match item {
                Item::Bytes(bytes) if one.is_empty() => *one = std::mem::take(bytes),
                Item::Bytes(bytes) => {
                    if scratch.is_empty() {
                        scratch.extend_from_slice(one);
                    }
                    scratch.extend_from_slice(bytes);
                }
                Item::End => arrived.ended = true,
            }
            self.items.pop_front();
        }
        let bytes = if scratch.is_empty() { &one[..] } else { &scratch[..] };
        self.left += bytes.len();
        (bytes, arrived)
    }

    /// True once when the sender is to be told that its queue ran empty.
    pub fn ran_empty(&mut self, every: usize) -> bool {
        let tell = !self.closed && self.items.is_empty() && self.left >= every;
        if tell {
            self.left = 0;
        }
        tell
    }
}

fn transfer(bytes: usize, link: &LinkProfile) -> u64 {
    (bytes as u64 * 1_000_000).checked_div(link.bandwidth).unwrap_or(0)
}

/// Where a connection stands at its far end: the server that was asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireState {
    /// Asked for.
    Dialing,
    /// The host has accepted it; the process does nothing at the moment and has not been told.
    Queued,
    /// Both ends have it.
    Open,
    /// The server's host lost power with it: no one will ever answer, but by a reset once it is back.
    Dark,
    /// The server's side is closed or gone.
    Over,
}

/// Who is at the near end of a connection: who asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Near {
    /// A client, with its own number for the connection.
    Client {
        /// Which client.
        client: u16,
        /// Its number.
        conn: Conn,
    },
    /// A raw connection.
    Raw {
        /// Which.
        raw: u16,
    },
    /// A server, with its own number for the connection.
    Server {
        /// Which.
        server: u8,
        /// Its number.
        conn: Conn,
    },
    /// A server whose host lost power with it: no one will answer, but by a reset once it is back.
    Dark {
        /// Which.
        server: u8,
    },
    /// No one any more.
    Nobody,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    /// Who asked for it.
    pub near: Near,
    /// The host of whoever asked for it: see the world's flows.
    pub host: u16,
    /// The server.
    pub server: u8,
    /// Which of its listeners.
    pub port: Port,
    /// Where it stands.
    pub state: WireState,
    /// To the server.
    pub up: Pipe,
    /// From the server.
    pub down: Pipe,
    /// Requests of the client that the server has been given.
    pub frames: Frames,
    /// Requests for the connection that got no answer.
    pub unanswered: u8,
    /// One end sent something after the other's host lost power.
    pub spoke_in_the_dark: bool,
}

/// Counts whole requests in a client's stream that comes in pieces: those that keep its session alive, so no auth packets.
#[derive(Clone, Copy, Default, Debug)]
pub struct Frames {
    /// The last bytes of length and header that came.
    head: [u8; 12],
    /// Bytes of this frame so far, its length included.
    have: u32,
    /// Bytes of this frame in all; 0: not known.
    whole: u32,
    /// The handshake came: frames have headers from here on.
    greeted: bool,
}

impl Frames {
    /// How many requests these bytes complete.
    pub fn take(&mut self, mut bytes: &[u8]) -> u32 {
        let mut complete = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.have < 12 {
                self.head[self.have as usize] = *first;
                self.have += 1;
                bytes = rest;
            } else {
                let n = (self.whole - self.have).min(bytes.len() as u32);
                self.have += n;
                bytes = &bytes[n as usize..];
            }
            if self.have == 4 {
                let len = self.head.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
                self.whole = len.saturating_add(4);
            }
            if self.have >= 4 && self.have == self.whole {
                complete += u32::from(self.counts());
                *self = Frames { greeted: true, ..Frames::default() };
            }
        }
        complete
    }

    fn counts(&self) -> bool {
        const AUTH: u8 = 100;
        const SASL: u8 = 102;
        !(self.greeted && self.whole >= 12 && matches!(self.head[8..], [0, 0, 0, AUTH | SASL]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn profile() -> LinkProfile {
        LinkProfile { delay: 1000, jitter: 500, spikes: 100, splits: 512, bandwidth: 100_000 }
    }

    fn drain(pipe: &mut Pipe) -> (Vec<u8>, bool, u32) {
        let (mut all, mut scratch, mut one, mut pieces) = (Vec::new(), Vec::new(), Bytes::new(), 0);
        let mut last = 0;
        while let Some(at) = pipe.next() {
            assert!(at >= last);
            last = at;
            let (bytes, arrived) = pipe.take(at, &mut scratch, &mut one);
            all.extend_from_slice(bytes);
            pieces += 1;
            if arrived.ended {
                return (all, true, pieces);
            }
        }
        (all, false, pieces)
    }

    #[test]
    fn any_split_keeps_order_and_bytes() {
        for seed in 0..200 {
            let mut pipe = Pipe::new(Stream::new(seed, Purpose::Wire, 0, 0));
            let mut sent = Vec::new();
            for i in 0..20u8 {
                let part = vec![i; 1 + i as usize * 7];
                sent.extend_from_slice(&part);
                pipe.send(u64::from(i / 3) * 700, Bytes::from(part), &profile());
            }
            pipe.finish(5000, &profile());
            let (got, ended, pieces) = drain(&mut pipe);
            assert_eq!((got, ended), (sent, true));
            assert!(pieces > 1);
        }
    }

    #[test]
    fn a_cut_keeps_a_prefix() {
        for seed in 0..200 {
            let mut r = Stream::new(seed, Purpose::Fault, 0, 0);
            let mut pipe = Pipe::new(Stream::new(seed, Purpose::Wire, 0, 0));
            let sent: Vec<u8> = (0..200).collect();
            for part in sent.chunks(20) {
                pipe.send(0, Bytes::copy_from_slice(part), &profile());
            }
            pipe.cut(100, 0, &profile(), &mut r);
            pipe.send(200, Bytes::from_static(b"late"), &profile());
            let (got, ended, _) = drain(&mut pipe);
            assert!(ended && sent.starts_with(&got));
        }
    }

    #[test]
    fn what_lies_at_the_receiver_survives_a_cut() {
        for seed in 0..50 {
            let mut r = Stream::new(seed, Purpose::Fault, 0, 0);
            let mut pipe = Pipe::new(Stream::new(seed, Purpose::Wire, 0, 0));
            pipe.send(0, Bytes::from_static(b"there"), &LinkProfile { splits: 0, ..profile() });
            pipe.send(1 << 30, Bytes::from_static(b"not yet"), &profile());
            pipe.cut(1 << 30, 1 << 30, &profile(), &mut r);
            let (got, ended, _) = drain(&mut pipe);
            assert!(ended && got.starts_with(b"there"));
        }
    }

    #[test]
    fn requests_are_counted_over_any_split() {
        // A handshake, an empty frame, an auth packet, a short frame, one with a body.
        let stream = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x09xxxx\0\0\0\x64y\0\0\0\x01x\0\0\0\x09xxxx\0\0\0\x01z";
        for cut in 0..=stream.len() {
            let mut f = Frames::default();
            assert_eq!(f.take(&stream[..cut]) + f.take(&stream[cut..]), 4, "{cut}");
        }
    }
}
