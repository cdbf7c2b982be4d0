//! The writing end of the log: queues entries, turns a step's entries into one append and one sync, rolls, and holds promises
//! back until they are durable. Answers to `FileTxnLog` and the batching of `SyncRequestProcessor`.

use super::log;
use crate::boundary::{Dir, DiskOp, Event, FileName, Lane, Output, Ticket, Vouch};
use crate::id::Zxid;
use crate::limits::LOG_IN_FLIGHT;
use crate::proto::LoggedTxn;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Bodies share allocations of this size.
const CHUNK: usize = 64 << 10;

/// An entry that is encoded but not handed to the disk.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    zxid: Zxid,
    len: usize,
    /// It begins a file.
    roll: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Appender {
    chunk: BytesMut,
    /// The bytes of `waiting`, one after the other.
    queue: BytesMut,
    waiting: VecDeque<Waiting>,
    /// The file that is appended to, by its first zxid, and its length once all that was handed over is written.
    file: Option<(Zxid, u64)>,
    /// The next entry begins a file.
    roll: bool,
    /// Bytes handed over in place, by the ticket of their sync; what is appended to a file before its rename is not among them,
    /// as no crash can tear it.
    in_flight: VecDeque<(Ticket, usize)>,
    in_flight_bytes: usize,
    last_ticket: Ticket,
    parked: VecDeque<(Ticket, Vouch)>,
    last_zxid: Zxid,
}

impl Appender {
    /// Behind a log that ends with `last_zxid`. The first append makes a new file.
    pub(super) fn new(last_zxid: Zxid) -> Appender {
        Appender {
            chunk: BytesMut::with_capacity(CHUNK),
            queue: BytesMut::new(),
            waiting: VecDeque::new(),
            file: None,
            roll: true,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            last_ticket: Ticket(0),
            parked: VecDeque::new(),
            last_zxid,
        }
    }

    /// The next ticket of the log lane.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket.0 += 1;
        self.last_ticket
    }

    /// The last ticket given out.
    pub(super) fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// Holds a promise back until all that was handed over up to `ticket` is durable.
    pub(super) fn park(&mut self, ticket: Ticket, vouch: Vouch) {
        self.parked.push_back((ticket, vouch));
    }

    /// Queues an entry; its body and its size in the file.
    pub(super) fn append(&mut self, txn: &LoggedTxn) -> (Bytes, usize) {
        let zxid = txn.header.zxid;
        assert!(zxid > self.last_zxid, "zxid {zxid} is appended after {}", self.last_zxid);
        self.last_zxid = zxid;
        txn.encode(&mut self.chunk);
        let body = self.chunk.split().freeze();
        log::put_entry(&body, &mut self.queue);
        let len = body.len() + log::FRAME_LEN;
        let roll = std::mem::take(&mut self.roll);
        self.waiting.push_back(Waiting { zxid, len, roll });
        (body, len)
    }

    /// Lets the next entry begin a file.
    pub(super) fn roll(&mut self) {
        self.roll = true;
    }

    /// The length of the present file, entries that wait included; 0 if the next entry begins one.
    pub(super) fn file_len(&self) -> u64 {
        match (self.roll, self.file) {
            (false, Some((_, len))) => len + self.queue.len() as u64,
            (true, _) | (false, None) => 0,
        }
    }

    /// Hands over what may be handed over: one append and one sync a file. Tells `written` what each file grew by.
    pub(super) fn flush(&mut self, out: &mut Vec<Output>, mut written: impl FnMut(Zxid, u64)) {
        while let Some(first) = self.waiting.front().copied() {
            // What could not be torn in one piece is written aside, as the beginning of a file.
            if first.roll || first.len > LOG_IN_FLIGHT || self.file.is_none() {
                written(first.zxid, self.begin_file(first, out));
            } else if self.in_flight_bytes + first.len <= LOG_IN_FLIGHT {
                let (file, bytes) = self.go_on(out);
                written(file, bytes);
            } else {
                return;
            }
        }
    }

    /// Writes a new file aside, syncs it and gives it its name.
    fn begin_file(&mut self, first: Waiting, out: &mut Vec<Output>) -> u64 {
        let mut bytes = BytesMut::new();
        log::put_header(&mut bytes);
        let (entries, zxids) = self.take(|w, _| !w.roll && w.len <= LOG_IN_FLIGHT);
        bytes.unsplit(entries);
        let len = bytes.len() as u64;
        let (temp, file) = (FileName::LogTemp(first.zxid), FileName::Log(first.zxid));
        let (sync, named) = (self.ticket(), self.ticket());
        for op in [
            DiskOp::Create { file: temp },
            DiskOp::Append { file: temp, bytes: bytes.freeze() },
            DiskOp::Sync { file: temp, ticket: sync },
            DiskOp::Rename { from: temp, to: file },
            DiskOp::SyncDir { dir: Dir::Log, ticket: named },
        ] {
            out.push(Output::Disk { lane: Lane::Log, op });
        }
        out.push(Output::Event(Event::LogRolled { first: first.zxid }));
        self.own_acks(named, zxids);
        self.file = Some((first.zxid, len));
        len
    }

    /// Goes on in the present file.
    fn go_on(&mut self, out: &mut Vec<Output>) -> (Zxid, u64) {
        let room = LOG_IN_FLIGHT - self.in_flight_bytes;
        let (entries, zxids) = self.take(|w, taken| !w.roll && taken + w.len <= room);
        let (name, len) = self.file.as_mut().expect("a file was begun");
        let (name, file) = (*name, FileName::Log(*name));
        *len += entries.len() as u64;
        let ticket = self.ticket();
        self.in_flight.push_back((ticket, entries.len()));
        self.in_flight_bytes += entries.len();
        let bytes = entries.len() as u64;
        out.push(Output::Disk { lane: Lane::Log, op: DiskOp::Append { file, bytes: entries.freeze() } });
        out.push(Output::Disk { lane: Lane::Log, op: DiskOp::Sync { file, ticket } });
        self.own_acks(ticket, zxids);
        (name, bytes)
    }

    /// Takes the first entry that waits, and those after it as long as `more` says so of it and the bytes taken so far.
    fn take(&mut self, more: impl Fn(&Waiting, usize) -> bool) -> (BytesMut, Vec<Zxid>) {
        let (mut len, mut zxids) = (0, Vec::with_capacity(self.waiting.len()));
        while let Some(w) = self.waiting.front().filter(|w| zxids.is_empty() || more(w, len)) {
            len += w.len;
            zxids.push(w.zxid);
            self.waiting.pop_front();
        }
        (self.queue.split_to(len), zxids)
    }

    fn own_acks(&mut self, ticket: Ticket, zxids: Vec<Zxid>) {
        self.parked.extend(zxids.into_iter().map(|z| (ticket, Vouch::OwnAck(z))));
    }

    /// The log lane is durable up to `upto`: releases promises in order.
    pub(super) fn durable(&mut self, upto: Ticket, vouches: &mut Vec<Vouch>) {
        while let Some((_, len)) = self.in_flight.pop_front_if(|(ticket, _)| *ticket <= upto) {
            self.in_flight_bytes -= len;
        }
        while let Some((_, vouch)) = self.parked.pop_front_if(|(ticket, _)| *ticket <= upto) {
            vouches.push(vouch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::proto::{Txn, TxnHeader};

    fn txn(zxid: i64, len: usize) -> LoggedTxn {
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 5 };
        let txn = Txn::SetData { path: "/a".into(), data: Some(Bytes::from(vec![1; len])), version: 1 };
        LoggedTxn { header, txn, digest: Some(3) }
    }

    /// The operations, in short.
    fn ops(out: &mut Vec<Output>) -> Vec<String> {
        let word = |o: Output| match o {
            Output::Disk { lane: Lane::Log, op } => Some(match op {
                DiskOp::Create { file } => format!("create {file}"),
                DiskOp::Append { file, .. } => format!("append {file}"),
                DiskOp::Sync { file, ticket } => format!("sync {file} {}", ticket.0),
                DiskOp::Rename { from, to } => format!("rename {from} {to}"),
                DiskOp::SyncDir { ticket, .. } => format!("syncdir {}", ticket.0),
                DiskOp::Truncate { .. } | DiskOp::Remove { .. } => panic!("not an appender's"),
            }),
            _ => None,
        };
        out.drain(..).filter_map(word).collect()
    }

    #[test]
    fn a_step_is_one_append_and_one_sync() {
        let (mut a, mut out) = (Appender::new(Zxid(6)), Vec::new());
        (7..10).for_each(|z| drop(a.append(&txn(z, 10))));
        a.flush(&mut out, |_, _| ());
        let begin = [
            "create writing.log.7",
            "append writing.log.7",
            "sync writing.log.7 1",
            "rename writing.log.7 log.7",
        ];
        assert_eq!(ops(&mut out), [&begin[..], &["syncdir 2"]].concat());
        (10..15).for_each(|z| drop(a.append(&txn(z, 10))));
        a.flush(&mut out, |_, _| ());
        assert_eq!(ops(&mut out), ["append log.7", "sync log.7 3"]);
        let mut vouches = Vec::new();
        a.durable(Ticket(1), &mut vouches);
        assert_eq!(vouches, []);
        a.durable(Ticket(2), &mut vouches);
        assert_eq!(vouches, [7, 8, 9].map(|z| Vouch::OwnAck(Zxid(z))));
        a.flush(&mut out, |_, _| ());
        assert_eq!(ops(&mut out), [""; 0]);
    }

    #[test]
    fn no_more_than_the_limit_is_in_flight_and_giants_begin_a_file() {
        let (mut a, mut out) = (Appender::new(Zxid(0)), Vec::new());
        a.append(&txn(1, 10));
        a.flush(&mut out, |_, _| ());
        out.clear();
        let third = LOG_IN_FLIGHT / 3;
        (2..7).for_each(|z| drop(a.append(&txn(z, third - 100))));
        a.append(&txn(7, LOG_IN_FLIGHT));
        a.flush(&mut out, |_, _| ());
        assert_eq!(ops(&mut out), ["append log.1", "sync log.1 3"]);
        a.flush(&mut out, |_, _| ());
        assert_eq!(ops(&mut out), [""; 0]);
        let mut vouches = Vec::new();
        a.durable(Ticket(3), &mut vouches);
        assert_eq!(vouches.last(), Some(&Vouch::OwnAck(Zxid(4))));
        a.flush(&mut out, |_, _| ());
        let seen = ops(&mut out);
        assert_eq!(seen[..3], ["append log.1", "sync log.1 4", "create writing.log.7"]);
        a.durable(Ticket(6), &mut vouches);
        assert_eq!(vouches.last(), Some(&Vouch::OwnAck(Zxid(7))));
    }
}
