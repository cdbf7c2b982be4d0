//! The disk: one thread a lane carries out the core's operations in order and reports what is durable. Neighbouring appends
//! to a file become one write, neighbouring syncs one fdatasync, however many steps they came from. Must not know what the
//! bytes mean. Answers to `SyncRequestProcessor`'s group commit.

use crate::files::DataDirs;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use zebu_core::boundary::{Dir, DiskAction, DiskFault, DiskOp, FileName, Lane, Ticket};

/// Bytes that may wait in a lane before the server's own thread waits for the disk. The core's limits on requests keep it far
/// below; this is the last resort.
const LANE_BYTES: usize = 256 << 20;
/// Open files of a lane. The core writes one or two at a time.
const OPEN_FILES: usize = 4;
/// Slices per writev; the system's IOV_MAX.
const IOV_MAX: usize = 1024;

/// What came of the operations of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DiskReport {
    Durable { lane: Lane, upto: Ticket },
    Failed(DiskFault),
}

/// Both lanes. Dropped, it carries out what is queued and ends.
#[derive(Debug)]
pub(crate) struct Storage {
    log: LaneThread,
    bulk: LaneThread,
}

impl Storage {
    /// Starts both threads; `report` is called on them.
    pub(crate) fn start(
        dirs: &Arc<DataDirs>,
        report: impl Fn(DiskReport) + Clone + Send + 'static,
    ) -> io::Result<Storage> {
        Ok(Storage {
            log: LaneThread::start(Lane::Log, dirs.clone(), report.clone())?,
            bulk: LaneThread::start(Lane::Bulk, dirs.clone(), report)?,
        })
    }

    /// Queues the operations of one step and leaves `ops` empty.
    pub(crate) fn push(&self, lane: Lane, ops: &mut Vec<DiskOp>) {
        if ops.is_empty() {
            return;
        }
        match lane {
            Lane::Log => self.log.queue.push(ops),
            Lane::Bulk => self.bulk.queue.push(ops),
        }
    }
}

#[derive(Debug)]
struct LaneThread {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl LaneThread {
    fn start(
        lane: Lane,
        dirs: Arc<DataDirs>,
        report: impl Fn(DiskReport) + Send + 'static,
    ) -> io::Result<LaneThread> {
        let queue = Arc::new(Queue::default());
        let mut disk = Disk::new(lane, dirs);
        let feed = queue.clone();
        let name = match lane {
            Lane::Log => "zebu-log",
            Lane::Bulk => "zebu-bulk",
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut batch = Vec::new();
            while feed.take(&mut batch) {
                disk.perform(&mut batch, &report);
            }
        })?;
        Ok(LaneThread { queue, thread: Some(thread) })
    }
}

impl Drop for LaneThread {
    fn drop(&mut self) {
        self.queue.close();
        let joined = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = joined
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A lane's operations on their way. The storage thread takes all that there is at once.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    ops: Vec<DiskOp>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("no one panics with this lock")
    }

    fn push(&self, ops: &mut Vec<DiskOp>) {
        let mut state = self.lock();
        while state.bytes > LANE_BYTES {
            state = self.drained.wait(state).expect("no one panics with this lock");
        }
        state.bytes += ops.iter().map(op_bytes).sum::<usize>();
        let was_empty = state.ops.is_empty();
        if was_empty {
            std::mem::swap(&mut state.ops, ops);
        } else {
            state.ops.append(ops);
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Waits for operations. False: there will be none.
    fn take(&self, batch: &mut Vec<DiskOp>) -> bool {
        let mut state = self.lock();
        while state.ops.is_empty() && !state.closed {
            state = self.filled.wait(state).expect("no one panics with this lock");
        }
        std::mem::swap(&mut state.ops, batch);
        state.bytes = 0;
        drop(state);
        self.drained.notify_one();
        !batch.is_empty()
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }
}

fn op_bytes(op: &DiskOp) -> usize {
    match op {
        DiskOp::Append { bytes, .. } => bytes.len(),
        DiskOp::Create { .. }
        | DiskOp::Sync { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Remove { .. }
        | DiskOp::SyncDir { .. } => 0,
    }
}

/// A lane's side of the disk.
struct Disk {
    lane: Lane,
    dirs: Arc<DataDirs>,
    /// Open for appending, most recently opened last.
    open: VecDeque<(FileName, File)>,
    /// A failure stops the lane: for ever, or in the bulk lane until the next [`DiskOp::Create`].
    failed: bool,
    /// Appends and syncs of one file, not yet carried out.
    run: Run,
}

/// Neighbouring operations on one file, merged.
#[derive(Default)]
struct Run {
    file: Option<FileName>,
    bytes: Vec<Bytes>,
    sync: Option<Ticket>,
}

/// A failed operation, before it is put into words.
struct Failed {
    action: DiskAction,
    file: Option<FileName>,
    cause: io::Error,
}

impl Failed {
    fn new(action: DiskAction, file: FileName) -> impl FnOnce(io::Error) -> Failed {
        move |cause| Failed { action, file: Some(file), cause }
    }
}

impl Disk {
    fn new(lane: Lane, dirs: Arc<DataDirs>) -> Disk {
        Disk { lane, dirs, open: VecDeque::new(), failed: false, run: Run::default() }
    }

    /// Carries out a batch and reports the highest ticket of each fsync.
    fn perform(&mut self, batch: &mut Vec<DiskOp>, report: &impl Fn(DiskReport)) {
        for op in batch.drain(..) {
            if self.failed && !(self.lane == Lane::Bulk && matches!(op, DiskOp::Create { .. })) {
                continue;
            }
            self.failed = false;
            let done = self.op(op, report);
            self.check(done, report);
        }
        let done = self.finish_run(report);
        self.check(done, report);
    }

    fn check(&mut self, done: Result<(), Failed>, report: &impl Fn(DiskReport)) {
        if let Err(Failed { action, file, cause }) = done {
            self.failed = true;
            self.run = Run::default();
            self.open.clear();
            report(DiskReport::Failed(DiskFault { lane: self.lane, action, file, cause: cause.to_string() }));
        }
    }

    fn op(&mut self, op: DiskOp, report: &impl Fn(DiskReport)) -> Result<(), Failed> {
        match op {
            DiskOp::Append { file, bytes } => {
                self.continue_run(file, report)?;
                self.run.bytes.push(bytes);
                return Ok(());
            }
            DiskOp::Sync { file, ticket } => {
                self.continue_run(file, report)?;
                self.run.sync = Some(ticket);
                return Ok(());
            }
            DiskOp::Create { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::SyncDir { .. } => self.finish_run(report)?,
        }
        self.single(op, report)
    }

    /// Makes `file` the one that is being merged.
    fn continue_run(&mut self, file: FileName, report: &impl Fn(DiskReport)) -> Result<(), Failed> {
        if self.run.file != Some(file) {
            self.finish_run(report)?;
            self.run.file = Some(file);
        }
        Ok(())
    }

    /// Writes and syncs what was merged.
    fn finish_run(&mut self, report: &impl Fn(DiskReport)) -> Result<(), Failed> {
        let Some(name) = self.run.file.take() else { return Ok(()) };
        let mut bytes = std::mem::take(&mut self.run.bytes);
        let sync = self.run.sync.take();
        let file = self.open(name).map_err(Failed::new(DiskAction::Append, name))?;
        write_all(file, &bytes).map_err(Failed::new(DiskAction::Append, name))?;
        if let Some(upto) = sync {
            file.sync_data().map_err(Failed::new(DiskAction::Sync, name))?;
            report(DiskReport::Durable { lane: self.lane, upto });
        }
        bytes.clear();
        self.run.bytes = bytes;
        Ok(())
    }

    /// What stands for itself.
    fn single(&mut self, op: DiskOp, report: &impl Fn(DiskReport)) -> Result<(), Failed> {
        match op {
            DiskOp::Create { file } => {
                self.forget(file);
                let made =
                    File::create(self.dirs.file(file)).map_err(Failed::new(DiskAction::Create, file))?;
                self.remember(file, made);
            }
            DiskOp::Truncate { file, len } => {
                let cut = |f: &mut File| {
                    f.set_len(len)?;
                    f.seek(SeekFrom::End(0)).map(drop)
                };
                self.open(file).and_then(cut).map_err(Failed::new(DiskAction::Truncate, file))?;
            }
            DiskOp::Rename { from, to } => {
                self.forget(from);
                self.forget(to);
                std::fs::rename(self.dirs.file(from), self.dirs.file(to))
                    .map_err(Failed::new(DiskAction::Rename, from))?;
            }
            DiskOp::Remove { file } => {
                self.forget(file);
                match std::fs::remove_file(self.dirs.file(file)) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    done => done.map_err(Failed::new(DiskAction::Remove, file))?,
                }
            }
            DiskOp::SyncDir { dir, ticket } => {
                self.sync_dir(dir).map_err(|cause| Failed {
                    action: DiskAction::SyncDir,
                    file: None,
                    cause,
                })?;
                report(DiskReport::Durable { lane: self.lane, upto: ticket });
            }
            DiskOp::Append { .. } | DiskOp::Sync { .. } => unreachable!("merged into a run"),
        }
        Ok(())
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        File::open(self.dirs.path(dir))?.sync_all()
    }

    /// The open file of that name, its cursor at the end.
    fn open(&mut self, name: FileName) -> io::Result<&mut File> {
        let at = match self.open.iter().position(|(n, _)| *n == name) {
            Some(at) => at,
            None => {
                let mut file = File::options().write(true).open(self.dirs.file(name))?;
                file.seek(SeekFrom::End(0))?;
                self.remember(name, file)
            }
        };
        Ok(&mut self.open[at].1)
    }

    /// Returns its place.
    fn remember(&mut self, name: FileName, file: File) -> usize {
        if self.open.len() == OPEN_FILES {
            self.open.pop_front();
        }
        self.open.push_back((name, file));
        self.open.len() - 1
    }

    fn forget(&mut self, name: FileName) {
        self.open.retain(|(n, _)| *n != name);
    }
}

/// Writes all pieces with as few system calls as there can be.
fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    for some in pieces.chunks(IOV_MAX) {
        let mut slices: Vec<IoSlice<'_>> = some.iter().map(|b| IoSlice::new(b)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0); // skips empty pieces
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut rest, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
