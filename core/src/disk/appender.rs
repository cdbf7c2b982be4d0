//! The log lane's sequence: entries, epoch files, cuts, installed snapshots and promises, in the order in which they are asked
//! for. Turns a step's entries into one append and one sync, rolls, and holds promises back until they are durable. Answers
//! to `FileTxnLog` and the batching of `SyncRequestProcessor`.
//!
//! A crash leaves what a prefix of the sequence made. Entries may have to wait (see [`LOG_IN_FLIGHT`]), and then whatever was
//! asked for behind them waits too. How files are cut and replaced is in [`rewrite`].

mod index;
mod rewrite;

pub(super) use index::{LogIndex, Place};
pub(super) use rewrite::Install;

use super::catalog::Catalog;
use super::log::{self, HEADER_LEN};
use crate::boundary::EpochFile;
use crate::boundary::{Dir, DiskOp, Event, FileName, Lane, Output, Ticket, Vouch};
use crate::id::{Epoch, Zxid};
use crate::limits::LOG_IN_FLIGHT;
use bytes::BytesMut;
use std::collections::VecDeque;

/// An entry that is not handed to the disk yet.
#[derive(Clone, Copy, Debug)]
struct Entry {
    zxid: Zxid,
    len: usize,
    /// It begins a file.
    roll: bool,
}

/// What waits for its turn.
#[derive(Debug)]
enum Work {
    Entry(Entry),
    Epoch(EpochFile, Epoch),
    /// Cut off what lies above it.
    Truncate(Zxid),
    Install(Install),
    Park(Vouch),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Appender {
    work: VecDeque<Work>,
    /// The bytes of the entries in `work`, one after the other.
    queue: BytesMut,
    /// The file that is appended to, by its first zxid, and its length once all that was handed over is written.
    file: Option<(Zxid, u64)>,
    /// The next entry begins a file.
    roll: bool,
    /// Bytes handed over in place, by the ticket of their sync; what is appended to a file before its rename is not among them,
    /// as no crash can tear it.
    in_flight: VecDeque<(Ticket, usize)>,
    in_flight_bytes: usize,
    last_ticket: Ticket,
    durable: Ticket,
    parked: VecDeque<(Ticket, Vouch)>,
    /// The last zxid once all that was asked for is done.
    last_zxid: Zxid,
    index: LogIndex,
    /// Epoch files, cuts and installs that wait, and the last ticket of those that were handed over.
    rewrites: usize,
    rewritten: Ticket,
}

impl Appender {
    /// Behind a log that ends with `last_zxid`. The first append makes a new file.
    pub(super) fn new(last_zxid: Zxid, index: LogIndex) -> Appender {
        Appender {
            work: VecDeque::new(),
            queue: BytesMut::new(),
            file: None,
            roll: true,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            last_ticket: Ticket(0),
            durable: Ticket(0),
            parked: VecDeque::new(),
            last_zxid,
            index,
            rewrites: 0,
            rewritten: Ticket(0),
        }
    }

    /// The next ticket of the log lane.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket.0 += 1;
        self.last_ticket
    }

    /// What recovery asked for is handed over: holds its promise back until all of it is durable.
    pub(super) fn opened(&mut self, recovered: Zxid) {
        self.rewritten = self.last_ticket;
        self.parked.push_back((self.last_ticket, Vouch::Recovered(recovered)));
    }

    /// Queues an entry; its size in the file.
    pub(super) fn append(&mut self, zxid: Zxid, body: &[u8]) -> usize {
        assert!(zxid > self.last_zxid, "zxid {zxid} is appended after {}", self.last_zxid);
        self.last_zxid = zxid;
        log::put_entry(body, &mut self.queue);
        let len = body.len() + log::FRAME_LEN;
        let roll = std::mem::take(&mut self.roll);
        self.work.push_back(Work::Entry(Entry { zxid, len, roll }));
        len
    }

    /// Holds a promise back until all that was asked for before it is durable.
    pub(super) fn park(&mut self, vouch: Vouch) {
        self.work.push_back(Work::Park(vouch));
    }

    /// Drops the promises of a role that is over.
    pub(super) fn forget_parked(&mut self) {
        self.work.retain(|w| !matches!(w, Work::Park(_)));
        self.parked.retain(|(_, vouch)| matches!(vouch, Vouch::Recovered(_)));
    }

    /// Queues an epoch file.
    pub(super) fn write_epoch(&mut self, file: EpochFile, epoch: Epoch) {
        self.rewrite(Work::Epoch(file, epoch));
    }

    /// Queues a cut.
    pub(super) fn truncate(&mut self, to: Zxid) {
        self.last_zxid = self.last_zxid.min(to);
        self.roll = true;
        self.rewrite(Work::Truncate(to));
    }

    /// Queues a snapshot that takes the log's place.
    pub(super) fn install(&mut self, install: Install) {
        self.last_zxid = install.whole.zxid;
        self.roll = true;
        self.rewrite(Work::Install(install));
    }

    fn rewrite(&mut self, work: Work) {
        self.rewrites += 1;
        self.work.push_back(work);
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

    /// True if a crash leaves nothing that the tree and the epochs contradict: only entries are under way.
    pub(super) fn is_settled(&self) -> bool {
        self.rewrites == 0 && self.rewritten <= self.durable
    }

    /// The last entry once all that was asked for is done.
    pub(super) fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// True if all that was asked for is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.work.is_empty() && self.durable == self.last_ticket
    }

    /// Hands over what may be handed over. An install waits until the bulk lane is quiet.
    pub(super) fn flush(&mut self, catalog: &mut Catalog, bulk_is_quiet: bool, out: &mut Vec<Output>) {
        while let Some(first) = self.work.front() {
            match first {
                Work::Entry(first) => {
                    // What could not be torn in one piece is written aside, as the beginning of a file.
                    let first = *first;
                    if first.roll || first.len > LOG_IN_FLIGHT || self.file.is_none() {
                        self.begin_file(first, catalog, out);
                    } else if self.in_flight_bytes + first.len <= LOG_IN_FLIGHT {
                        self.go_on(catalog, out);
                    } else {
                        return;
                    }
                }
                Work::Install(_) if !bulk_is_quiet => return,
                Work::Epoch(..) | Work::Truncate(_) | Work::Install(_) | Work::Park(_) => {
                    let work = self.work.pop_front().expect("just seen");
                    self.hand_over(work, catalog, out);
                }
            }
        }
    }

    fn hand_over(&mut self, work: Work, catalog: &mut Catalog, out: &mut Vec<Output>) {
        match work {
            Work::Entry(_) => unreachable!("entries are taken in one go"),
            Work::Park(vouch) => return self.hold(vouch, out),
            Work::Epoch(file, epoch) => self.put_epoch(file, epoch, out),
            Work::Truncate(to) => self.cut(to, catalog, out),
            Work::Install(install) => self.put_install(install, catalog, out),
        }
        self.rewrites -= 1;
        self.rewritten = self.last_ticket;
    }

    /// Holds a promise back until all that was handed over is durable. If it is, the disk is asked once more: promises
    /// come by [`Appender::durable`] only.
    fn hold(&mut self, vouch: Vouch, out: &mut Vec<Output>) {
        if self.durable == self.last_ticket {
            self.sync_dir(Dir::Data, out);
        }
        self.parked.push_back((self.last_ticket, vouch));
    }

    fn emit(&self, out: &mut Vec<Output>, ops: impl IntoIterator<Item = DiskOp>) {
        out.extend(ops.into_iter().map(|op| Output::Disk { lane: Lane::Log, op }));
    }

    /// Writes a new file aside, syncs it and gives it its name.
    fn begin_file(&mut self, first: Entry, catalog: &mut Catalog, out: &mut Vec<Output>) {
        let mut bytes = BytesMut::new();
        log::put_header(&mut bytes);
        let (sync, named) = (self.ticket(), self.ticket());
        let place = (first.zxid, HEADER_LEN as u64);
        let entries = self.take(place, named, |e, _| !e.roll && e.len <= LOG_IN_FLIGHT);
        bytes.unsplit(entries);
        let len = bytes.len() as u64;
        let (temp, file) = (FileName::LogTemp(first.zxid), FileName::Log(first.zxid));
        let ops = [
            DiskOp::Create { file: temp },
            DiskOp::Append { file: temp, bytes: bytes.freeze() },
            DiskOp::Sync { file: temp, ticket: sync },
            DiskOp::Rename { from: temp, to: file },
            DiskOp::SyncDir { dir: Dir::Log, ticket: named },
        ];
        self.emit(out, ops);
        out.push(Output::Event(Event::LogRolled { first: first.zxid }));
        self.file = Some((first.zxid, len));
        catalog.logs.insert(first.zxid, len);
    }

    /// Goes on in the present file.
    fn go_on(&mut self, catalog: &mut Catalog, out: &mut Vec<Output>) {
        let room = LOG_IN_FLIGHT - self.in_flight_bytes;
        let (name, len) = self.file.expect("a file was begun");
        let ticket = self.ticket();
        let entries = self.take((name, len), ticket, |e, taken| !e.roll && taken + e.len <= room);
        self.in_flight.push_back((ticket, entries.len()));
        self.in_flight_bytes += entries.len();
        let len = len + entries.len() as u64;
        let file = FileName::Log(name);
        let ops = [DiskOp::Append { file, bytes: entries.freeze() }, DiskOp::Sync { file, ticket }];
        self.emit(out, ops);
        self.file = Some((name, len));
        catalog.logs.insert(name, len);
    }

    /// Takes the first entry that waits, which goes to this place, those after it as long as `more` says so of it and the bytes
    /// taken so far, and the promises among them, which wait for `ticket`.
    fn take(
        &mut self,
        (file, mut at): (Zxid, u64),
        ticket: Ticket,
        more: impl Fn(&Entry, usize) -> bool,
    ) -> BytesMut {
        let mut len = 0;
        loop {
            match self.work.front() {
                Some(Work::Entry(e)) if len == 0 || more(e, len) => {
                    self.index.push(Place { zxid: e.zxid, file, at });
                    at += e.len as u64;
                    len += e.len;
                }
                Some(Work::Park(vouch)) => self.parked.push_back((ticket, *vouch)),
                Some(Work::Entry(_) | Work::Epoch(..) | Work::Truncate(_) | Work::Install(_)) | None => break,
            }
            self.work.pop_front();
        }
        self.queue.split_to(len)
    }

    /// The log lane is durable up to `upto`: releases promises in order. What the tree holds, it never has cut off.
    pub(super) fn durable(&mut self, upto: Ticket, tree: Zxid, vouches: &mut Vec<Vouch>) {
        self.durable = self.durable.max(upto);
        while let Some((_, len)) = self.in_flight.pop_front_if(|(ticket, _)| *ticket <= upto) {
            self.in_flight_bytes -= len;
        }
        while let Some((_, vouch)) = self.parked.pop_front_if(|(ticket, _)| *ticket <= upto) {
            vouches.push(vouch);
        }
        // The tree may be ahead of a cut that waits, and what lies below it then is not what will be cut.
        if self.rewrites == 0 {
            self.index.settle(tree);
        }
    }
}

#[cfg(test)]
mod tests;
