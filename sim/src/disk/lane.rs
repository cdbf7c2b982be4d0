//! The lanes of a disk: operations queue, run one after the other and take time. Everything up to the next sync is one
//! run with one event at its end, so that a batch costs one event; a crash in the middle of a run still finds each
//! operation done, half done or not begun.

use super::Disk;
use crate::random::Stream;
use std::collections::VecDeque;
use zebu_core::boundary::{Dir, DiskAction, DiskFault, DiskOp, FileName, Lane, Ticket};

/// Bytes that the system fetches at once. Were each small piece a seek, no log of any length could be read within initLimit.
const READ_AHEAD: u64 = 64 << 10;

/// How long operations take, ns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Latency {
    /// A write into the page cache, a create, a rename.
    pub op: u64,
    /// A sync at its fastest.
    pub sync_min: u64,
    /// A usual sync at its slowest.
    pub sync_max: u64,
    /// Of 1024 syncs, how many take up to 32 times as long.
    pub slow: u32,
    /// Merge neighbouring syncs of the same file into the first.
    pub merge: bool,
}

/// What a run comes to.
#[derive(Clone, PartialEq, Debug)]
pub enum RunEnd {
    /// It is not over yet: look again then.
    Later(u64),
    /// Synced: tell the server, then start the next run.
    Durable(Ticket),
    /// Nothing to tell: a run without a sync, or nothing ran.
    Quiet,
    /// An operation failed.
    Failed(DiskFault),
}

#[derive(Clone, Debug)]
struct LaneQueue {
    queue: VecDeque<DiskOp>,
    /// What is being carried out, each with the time at which it is done.
    run: Vec<(u64, DiskOp)>,
    /// The last of the run fails.
    fails: Option<&'static str>,
    /// Nothing is carried out any more, but for a create in the bulk lane.
    dead: bool,
    random: Stream,
}

/// Both lanes of a disk, and the faults that are on.
#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: [LaneQueue; 2],
    latency: Latency,
    /// Operations do not get on before this true time.
    pub stalled_until: [u64; 2],
    /// Syncs lie up to this true time.
    pub lies_until: u64,
    /// The next operation of this lane and kind fails.
    pub fail_next: Option<(Lane, DiskAction)>,
    /// Bytes that fit on the disk.
    pub capacity: u64,
}

impl Lanes {
    /// Idle lanes.
    pub fn new(latency: Latency, random: [Stream; 2]) -> Lanes {
        let lane =
            |random| LaneQueue { queue: VecDeque::new(), run: Vec::new(), fails: None, dead: false, random };
        Lanes {
            lanes: random.map(lane),
            latency,
            stalled_until: [0; 2],
            lies_until: 0,
            fail_next: None,
            capacity: u64::MAX,
        }
    }

    /// From now on syncs that wait are merged: with one by one a disk may stay behind for ever, where clients give up before it
    /// has made their sessions durable and ask for others.
    pub fn keep_up(&mut self) {
        self.latency.merge = true;
    }

    /// From now on no sync is slow.
    pub fn calm(&mut self) {
        self.latency.slow = 0;
    }

    /// Queues an operation.
    pub fn push(&mut self, lane: Lane, op: DiskOp) {
        let q = &mut self.lanes[lane as usize];
        if q.dead {
            let revives = lane == Lane::Bulk && matches!(op, DiskOp::Create { .. });
            if !revives {
                return;
            }
            q.dead = false;
        }
        q.queue.push_back(op);
    }

    /// Starts the next run if the lane is idle and something waits: when it ends.
    pub fn start(&mut self, now: u64, disk: &Disk, lane: Lane) -> Option<u64> {
        let i = lane as usize;
        if !self.lanes[i].run.is_empty() || self.lanes[i].queue.is_empty() {
            return None;
        }
        let mut at = now.max(self.stalled_until[i]);
        let mut free = self.capacity.saturating_sub(disk.used());
        while let Some(op) = self.lanes[i].queue.pop_front() {
            at += self.takes(i, &op);
            let fails = self.failure(lane, &op, &mut free);
            let over = fails.is_some() || ends_run(&op);
            self.lanes[i].run.push((at, op));
            if fails.is_some() {
                self.lanes[i].fails = fails;
            } else if over && self.latency.merge {
                self.merge(i, &mut free);
            }
            if over {
                break;
            }
        }
        self.lanes[i].run.last().map(|(at, _)| *at)
    }

    fn takes(&mut self, lane: usize, op: &DiskOp) -> u64 {
        let l = self.latency;
        let r = &mut self.lanes[lane].random;
        if !ends_run(op) {
            return l.op / 2 + r.below(l.op);
        }
        let usual = r.between(l.sync_min, l.sync_max);
        if r.chance(l.slow) { usual * r.between(2, 32) } else { usual }
    }

    /// What makes this operation fail, if anything does.
    fn failure(&mut self, lane: Lane, op: &DiskOp, free: &mut u64) -> Option<&'static str> {
        if self.fail_next == Some((lane, action(op))) {
            self.fail_next = None;
            return Some("Input/output error");
        }
        match op {
            DiskOp::Append { bytes, .. } => match free.checked_sub(bytes.len() as u64) {
                Some(left) => *free = left,
                None => return Some("No space left on device"),
            },
            DiskOp::Create { .. } if *free == 0 => return Some("No space left on device"),
            DiskOp::Create { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::SyncDir { .. } => {}
        }
        None
    }

    /// Writes to the same file that wait behind a sync go in front of it, and their sync is this one.
    fn merge(&mut self, lane: usize, free: &mut u64) {
        let q = &mut self.lanes[lane];
        let Some((at, DiskOp::Sync { file, .. })) = q.run.last().cloned() else { return };
        let mut room = *free;
        let more = q
            .queue
            .iter()
            .take_while(|op| match op {
                DiskOp::Append { file: f, bytes } => {
                    let fits = room.checked_sub(bytes.len() as u64);
                    room = fits.unwrap_or(0);
                    *f == file && fits.is_some()
                }
                DiskOp::Sync { file: f, .. } => *f == file,
                DiskOp::Create { .. }
                | DiskOp::Truncate { .. }
                | DiskOp::Rename { .. }
                | DiskOp::Remove { .. }
                | DiskOp::SyncDir { .. } => false,
            })
            .count();
        let Some(last) = q.queue.iter().take(more).rposition(ends_run) else { return };
        let (_, mut sync) = q.run.pop().expect("the sync is there");
        let began = q.run.last().map_or(at, |(at, _)| *at);
        for op in q.queue.drain(..=last) {
            if ends_run(&op) {
                sync = op;
            } else {
                if let DiskOp::Append { bytes, .. } = &op {
                    *free -= bytes.len() as u64;
                }
                q.run.push((began, op));
            }
        }
        q.run.push((at, sync));
    }

    /// The end of a run may have come: carries it out.
    pub fn finish(&mut self, now: u64, disk: &mut Disk, lane: Lane) -> RunEnd {
        let i = lane as usize;
        let Some((end, _)) = self.lanes[i].run.last() else { return RunEnd::Quiet };
        let end = (*end).max(self.stalled_until[i]);
        if end > now {
            return RunEnd::Later(end);
        }
        let lies = now < self.lies_until;
        let fails = self.lanes[i].fails.take();
        let run = std::mem::take(&mut self.lanes[i].run);
        let mut outcome = RunEnd::Quiet;
        let count = run.len();
        for (k, (_, op)) in run.iter().enumerate() {
            if let (true, Some(cause)) = (k + 1 == count, fails) {
                half(disk, op, &mut self.lanes[i].random);
                if let DiskOp::Sync { file, .. } = op {
                    disk.lose_dirty(*file, &mut self.lanes[i].random);
                }
                outcome = RunEnd::Failed(self.fail(lane, op, cause));
            } else if !carry_out(disk, op, lies) {
                outcome = RunEnd::Failed(self.fail(lane, op, "No such file or directory"));
                break;
            } else if let DiskOp::Sync { ticket, .. } | DiskOp::SyncDir { ticket, .. } = op {
                outcome = RunEnd::Durable(*ticket);
            }
        }
        // Keep the allocation.
        self.lanes[i].run = run;
        self.lanes[i].run.clear();
        outcome
    }

    fn fail(&mut self, lane: Lane, op: &DiskOp, cause: &str) -> DiskFault {
        let q = &mut self.lanes[lane as usize];
        q.queue.clear();
        q.dead = true;
        DiskFault { lane, action: action(op), file: file_of(op), cause: cause.to_owned() }
    }

    /// When a piece of a file is there that is asked for at this time: the disk is as slow as it is for the lane of snapshots,
    /// and reads ahead.
    pub fn read(&mut self, now: u64, at: u64, len: usize) -> u64 {
        let (l, r) = (self.latency, &mut self.lanes[Lane::Bulk as usize].random);
        let seek = r.below(l.sync_max + 1);
        let cached = !at.is_multiple_of(READ_AHEAD) && at / READ_AHEAD == (at + len as u64) / READ_AHEAD;
        now.max(self.stalled_until[Lane::Bulk as usize]) + l.op + if cached { 0 } else { seek }
    }

    /// The process dies at this moment: what is done is done, what is under way is half done, the rest is forgotten.
    pub fn die(&mut self, now: u64, disk: &mut Disk, random: &mut Stream) {
        for lane in [Lane::Log, Lane::Bulk] {
            let q = &mut self.lanes[lane as usize];
            let last = q.run.len().saturating_sub(usize::from(q.fails.take().is_some()));
            for (k, (end, op)) in q.run.drain(..).enumerate() {
                if end <= now && k < last {
                    // A sync that is over but not yet reported is over all the same.
                    carry_out(disk, &op, now < self.lies_until);
                } else {
                    half(disk, &op, random);
                    break;
                }
            }
            q.queue.clear();
            q.dead = false;
        }
    }

    /// When the run under way in this lane began its last operation and when that ends.
    pub fn last_op(&self, lane: Lane) -> Option<(u64, u64)> {
        let run = &self.lanes[lane as usize].run;
        let (end, _) = run.last()?;
        let begin = run.len().checked_sub(2).map_or(*end, |i| run[i].0);
        Some((begin, *end))
    }

    /// When all that is under way is done.
    pub fn ends_at(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|q| q.run.last()).map(|(end, _)| *end).max()
    }

    /// True if nothing is under way or waits.
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(|q| q.run.is_empty() && q.queue.is_empty())
    }
}

fn ends_run(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. })
}

fn carry_out(disk: &mut Disk, op: &DiskOp, lies: bool) -> bool {
    match op {
        DiskOp::Create { file } => disk.create(*file),
        DiskOp::Append { file, bytes } => return disk.append(*file, bytes),
        DiskOp::Sync { file, .. } => return disk.sync(*file, lies),
        DiskOp::Truncate { file, len } => return disk.truncate(*file, *len),
        DiskOp::Rename { from, to } => return disk.rename(*from, *to),
        DiskOp::Remove { file } => disk.remove(*file),
        DiskOp::SyncDir { dir, .. } => disk.sync_dir(*dir, lies),
    }
    true
}

/// An operation that failed or was cut short: some of the bytes, or all or nothing. An unfinished sync promises nothing, and
/// what it wrote back a power cut decides.
fn half(disk: &mut Disk, op: &DiskOp, random: &mut Stream) {
    match op {
        DiskOp::Append { file, bytes } => {
            let n = random.below(bytes.len() as u64 + 1) as usize;
            disk.append(*file, &bytes[..n]);
        }
        DiskOp::Create { .. } | DiskOp::Truncate { .. } | DiskOp::Rename { .. } | DiskOp::Remove { .. } => {
            if random.chance(512) {
                carry_out(disk, op, false);
            }
        }
        DiskOp::Sync { .. } | DiskOp::SyncDir { .. } => {}
    }
}

fn action(op: &DiskOp) -> DiskAction {
    match op {
        DiskOp::Create { .. } => DiskAction::Create,
        DiskOp::Append { .. } => DiskAction::Append,
        DiskOp::Sync { .. } => DiskAction::Sync,
        DiskOp::Truncate { .. } => DiskAction::Truncate,
        DiskOp::Rename { .. } => DiskAction::Rename,
        DiskOp::Remove { .. } => DiskAction::Remove,
        DiskOp::SyncDir { .. } => DiskAction::SyncDir,
    }
}

fn file_of(op: &DiskOp) -> Option<FileName> {
    match op {
        DiskOp::Create { file }
        | DiskOp::Append { file, .. }
        | DiskOp::Sync { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Remove { file } => Some(*file),
        DiskOp::Rename { from, .. } => Some(*from),
        DiskOp::SyncDir { dir: Dir::Data | Dir::Log, .. } => None,
    }
}
