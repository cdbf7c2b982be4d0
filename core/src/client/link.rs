//! The connection under a session: which server is next, where in its life the connection is, frames out of a byte stream.
//! Answers to `StaticHostProvider` and `ClientCnxnSocket`.

use super::Disconnect;
use crate::boundary::Conn;
use crate::rng::Rng;
use crate::time::Time;
use bytes::{Buf, Bytes, BytesMut};

/// Where in its life the connection is.
#[derive(Debug)]
pub(super) enum Link {
    /// The next attempt is due at that time.
    Waiting { until: Time, server: usize },
    /// Dialed.
    Dialing { conn: Conn, deadline: Time },
    /// The handshake is sent.
    Handshaking { conn: Conn, deadline: Time, frames: Frames },
    /// In touch.
    Up { conn: Conn, frames: Frames, last_sent: Time },
    /// Never again: the session is over.
    Gone,
}

/// The servers in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Servers {
    order: Vec<usize>,
    at: Option<usize>,
    /// Where the last success was; back here, all have been tried.
    round: Option<usize>,
}

impl Servers {
    /// Draws the order.
    pub(super) fn new(count: usize, rng: &mut Rng) -> Servers {
        assert!(count > 0, "a client needs a server to connect to");
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        Servers { order, at: None, round: None }
    }
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
    /// The next one, and whether a full round is over.
    pub(super) fn next(&mut self) -> (usize, bool) {
        let at = self.at.map_or(0, |at| (at + 1) % self.order.len());
        self.at = Some(at);
        let round = self.round == Some(at);
        self.round.get_or_insert(0);
        (self.order[at], round)
    }
    /// The present one answered.
    pub(super) fn connected(&mut self) {
        self.round = self.at;
    }
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame and what came with it in one piece.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// More of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    /// The next whole frame.
    pub(super) fn next(&mut self, max: usize) -> Result<Option<Bytes>, Disconnect> {
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let n = i32::from_be_bytes(*head);
        if n < 0 || n as usize > max {
            return Err(Disconnect::FrameLength(n));
        }
        let n = n as usize;
        if self.bytes.len() < 4 + n {
            return Ok(None);
        }
        self.bytes.advance(4);
        Ok(Some(self.bytes.split_to(n).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_with_a_pause_after_a_full_round() {
        let mut s = Servers::new(3, &mut Rng::new([1; 32]));
        let order = s.order.clone();
        let mut next = || {
            let (server, round) = s.next();
            (order.iter().position(|o| *o == server).expect("one of them"), round)
        };
        assert_eq!([next(), next(), next(), next()], [(0, false), (1, false), (2, false), (0, true)]);
        s.connected();
        let mut next = || s.next().1;
        assert_eq!([next(), next(), next(), next()], [false, false, true, false]);
        let mut one = Servers::new(1, &mut Rng::new([1; 32]));
        assert_eq!([one.next(), one.next(), one.next()], [(0, false), (0, true), (0, true)]);
    }

    #[test]
    fn frames_come_out_whatever_the_split() {
        let mut f = Frames::default();
        for b in [0, 0, 0, 2, 7, 8, 0, 0, 0] {
            f.push(&[b]);
        }
        assert_eq!(f.next(2), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(f.next(2), Ok(None));
        f.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(f.next(2), Ok(Some(Bytes::new())));
        assert_eq!(f.next(2), Err(Disconnect::FrameLength(-1)));
        let mut f = Frames::default();
        f.push(&[0, 0, 0, 3]);
        assert_eq!(f.next(2), Err(Disconnect::FrameLength(3)), "before its bytes are in");
    }
}
