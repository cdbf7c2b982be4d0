//! Counters of one server, as `srvr`, `cons` and `mntr` show them. Answers to `ServerStats`.

use crate::id::Zxid;
use crate::proto::OpCode;
use crate::time::Span;
use std::collections::VecDeque;

/// Latencies in ms since the start or the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    count: u64,
    total: u64,
    min: u64,
    max: u64,
}

impl Latency {
    pub(super) fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.total += ms;
        self.count += 1;
    }
    pub(super) fn min(&self) -> u64 {
        self.min
    }
    pub(super) fn max(&self) -> u64 {
        self.max
    }
    /// Mean rounded to four decimals, as Java prints a double: `1.9138`, `0.0`.
    pub(super) fn avg(&self) -> String {
        let mean = if self.count == 0 { 0.0 } else { self.total as f64 / self.count as f64 };
        format!("{:?}", (mean * 10_000.0).round() / 10_000.0)
    }
    /// Mean in whole ms.
    pub(super) fn avg_whole(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or(0)
    }
}

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) bytes_received: u64,
    pub(super) response_bytes: u64,
    pub(super) connects: u64,
    pub(super) rejected: u64,
    pub(super) dropped: u64,
    pub(super) revalidations: u64,
    pub(super) sessions_expired: u64,
    pub(super) auth_failed: u64,
    pub(super) commits: u64,
    pub(super) open_fds: i64,
    pub(super) max_fds: i64,
    pub(super) latency: Latency,
    /// last, min, max bytes of a reply; `None` before the first.
    pub(super) response_size: Option<(usize, usize, usize)>,
    digests: VecDeque<(Zxid, u64)>,
}

/// `hash` shows every 128th zxid, the last 1024 of them.
const DIGEST_EVERY: i64 = 128;
const DIGESTS_KEPT: usize = 1024;

impl Stats {
    pub(super) fn replied(&mut self, op: OpCode, took: Span, bytes: usize) {
        self.sent += 1;
        self.response_bytes += bytes as u64;
        self.response_size = Some(match self.response_size {
            None => (bytes, bytes, bytes),
            Some((_, min, max)) => (bytes, min.min(bytes), max.max(bytes)),
        });
        if op != OpCode::Ping {
            self.latency.add(took.as_millis());
        }
    }

    pub(super) fn note_digest(&mut self, zxid: Zxid, digest: u64) {
        if zxid.0 % DIGEST_EVERY == 0 {
            if self.digests.len() == DIGESTS_KEPT {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, digest));
        }
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.digests.iter().copied()
    }

    /// `srst`: everything but what is a state, not a count.
    pub(super) fn reset(&mut self) {
        let digests = std::mem::take(&mut self.digests);
        *self = Stats { digests, open_fds: self.open_fds, max_fds: self.max_fds, ..Stats::default() };
    }
}
