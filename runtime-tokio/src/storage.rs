//! The disk: one thread a lane carries out the core's operations in order and reports what is durable. Neighbouring appends
//! to a file become one write, neighbouring syncs one fdatasync, however many steps they came from. Must not know what the
//! bytes mean. Answers to `SyncRequestProcessor`'s group commit. A third thread reads pieces of files, for none of them to wait.

use crate::files::DataDirs;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use tracing::warn;
use zebu_core::boundary::{DiskAction, DiskFault, DiskOp, FileName, Lane, ReadNo, Ticket};

/// Bytes that may wait in a lane before the server's own thread waits for the disk. The core's limits on requests keep it far
/// below; this is the last resort.
const LANE_BYTES: usize = 256 << 20;
/// Open files of a lane. The core writes one or two at a time.
const OPEN_FILES: usize = 4;
/// A log grows in steps of so many bytes ahead of what is written: as long as its length stays, fdatasync has no new length to
/// make durable. What lies behind the last entry are zeros, as in Java's logs; they are cut off when the log is left.
const LOG_STEP: u64 = 4 << 20;
/// Slices per writev; the system's IOV_MAX.
const IOV_MAX: usize = 1024;

/// What came of the operations of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DiskReport {
    Durable {
        lane: Lane,
        upto: Ticket,
    },
    Failed(DiskFault),
    /// `None`: it cannot be read.
    Read {
        read: ReadNo,
        bytes: Option<Vec<u8>>,
    },
}

/// A piece of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) read: ReadNo,
    pub(crate) file: FileName,
    pub(crate) at: u64,
    pub(crate) len: usize,
}

/// Both lanes and the reader. Dropped, it carries out what is queued and ends: then nothing holds the data directory any more.
#[derive(Debug)]
pub(crate) struct Storage {
    log: LaneThread,
    bulk: LaneThread,
    reader: ReadThread,
}

impl Storage {
    /// Starts the threads; `report` is called on them.
    pub(crate) fn start(
        dirs: &Arc<DataDirs>,
        report: impl Fn(DiskReport) + Clone + Send + 'static,
    ) -> io::Result<Storage> {
        Ok(Storage {
            log: LaneThread::start(Lane::Log, dirs.clone(), report.clone())?,
            bulk: LaneThread::start(Lane::Bulk, dirs.clone(), report.clone())?,
            reader: ReadThread::start(dirs.clone(), report)?,
        })
    }

    /// Reads a piece of a file, and reports it.
    pub(crate) fn read(&self, piece: Piece) {
        self.reader
            .pieces
            .as_ref()
            .and_then(|p| p.send(piece).ok())
            .expect("the thread ends when this is dropped");
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
        join(self.thread.take());
    }
}

#[derive(Debug)]
struct ReadThread {
    pieces: Option<mpsc::Sender<Piece>>,
    thread: Option<JoinHandle<()>>,
}

impl ReadThread {
    fn start(dirs: Arc<DataDirs>, report: impl Fn(DiskReport) + Send + 'static) -> io::Result<ReadThread> {
        let (send, pieces) = mpsc::channel::<Piece>();
        let thread = std::thread::Builder::new().name("zebu-read".to_owned()).spawn(move || {
            for piece in pieces {
                let bytes = read(&dirs, piece)
                    .inspect_err(|cause| warn!(file = %piece.file, %cause, "cannot read a piece of a log"));
                report(DiskReport::Read { read: piece.read, bytes: bytes.ok() });
            }
        })?;
        Ok(ReadThread { pieces: Some(send), thread: Some(thread) })
    }
}

impl Drop for ReadThread {
    fn drop(&mut self) {
        self.pieces = None;
        join(self.thread.take());
    }
}

/// Waits for a thread that has been told to end. Its panic is ours.
fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = thread.map(JoinHandle::join)
        && !std::thread::panicking()
    {
        std::panic::resume_unwind(panic);
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

/// As much of a piece as the file has.
fn read(dirs: &DataDirs, piece: Piece) -> io::Result<Vec<u8>> {
    let file = File::open(dirs.file(piece.file))?;
    let mut bytes = vec![0; piece.len];
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(&mut bytes[have..], piece.at + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
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
    /// Most recently opened last.
    open: VecDeque<OpenFile>,
    /// A failure stops the lane: for ever, or in the bulk lane until the next [`DiskOp::Create`].
    failed: bool,
    /// Appends and syncs of one file, not yet carried out.
    run: Run,
}

/// A file open for appending.
struct OpenFile {
    name: FileName,
    /// Its cursor is at `end`.
    file: File,
    /// The end of what was written.
    end: u64,
    /// The file's length: beyond `end` there are zeros.
    len: u64,
}

impl OpenFile {
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let end = self.end + pieces.iter().map(|b| b.len() as u64).sum::<u64>();
        if matches!(self.name, FileName::Log(_)) && end > self.len {
            self.len = end.next_multiple_of(LOG_STEP);
            self.file.set_len(self.len)?;
        }
        write_all(&mut self.file, pieces)?;
        self.end = end;
        self.len = self.len.max(end);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        (self.end, self.len) = (len, len);
        Ok(())
    }

    /// Cuts the zeros off. If it fails, or a power cut undoes it, they do no harm.
    fn trim(&mut self) {
        if self.len > self.end && self.file.set_len(self.end).is_ok() {
            self.len = self.end;
        }
    }
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
        let open = self.open(name).map_err(Failed::new(DiskAction::Append, name))?;
        open.append(&bytes).map_err(Failed::new(DiskAction::Append, name))?;
        if let Some(upto) = sync {
            open.file.sync_data().map_err(Failed::new(DiskAction::Sync, name))?;
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
                self.open.iter_mut().for_each(OpenFile::trim); // a new file: the ones before it are done with
                let made =
                    File::create(self.dirs.file(file)).map_err(Failed::new(DiskAction::Create, file))?;
                self.remember(OpenFile { name: file, file: made, end: 0, len: 0 });
            }
            DiskOp::Truncate { file, len } => {
                let cut = self.open(file).and_then(|open| open.truncate(len));
                cut.map_err(Failed::new(DiskAction::Truncate, file))?;
            }
            DiskOp::Rename { from, to } => {
                std::fs::rename(self.dirs.file(from), self.dirs.file(to))
                    .map_err(Failed::new(DiskAction::Rename, from))?;
                self.forget(to);
                self.open.iter_mut().filter(|f| f.name == from).for_each(|f| f.name = to);
            }
            DiskOp::Remove { file } => {
                self.forget(file);
                match std::fs::remove_file(self.dirs.file(file)) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    done => done.map_err(Failed::new(DiskAction::Remove, file))?,
                }
            }
            DiskOp::SyncDir { dir, ticket } => {
                let failed = |cause| Failed { action: DiskAction::SyncDir, file: None, cause };
                sync_dir(self.dirs.path(dir)).map_err(failed)?;
                report(DiskReport::Durable { lane: self.lane, upto: ticket });
            }
            DiskOp::Append { .. } | DiskOp::Sync { .. } => unreachable!("merged into a run"),
        }
        Ok(())
    }

    /// The open file of that name.
    fn open(&mut self, name: FileName) -> io::Result<&mut OpenFile> {
        let at = match self.open.iter().position(|f| f.name == name) {
            Some(at) => at,
            None => {
                let mut file = File::options().write(true).open(self.dirs.file(name))?;
                let end = file.seek(SeekFrom::End(0))?;
                self.remember(OpenFile { name, file, end, len: end })
            }
        };
        Ok(&mut self.open[at])
    }

    /// Returns its place.
    fn remember(&mut self, file: OpenFile) -> usize {
        if self.open.len() == OPEN_FILES
            && let Some(mut oldest) = self.open.pop_front()
        {
            oldest.trim();
        }
        self.open.push_back(file);
        self.open.len() - 1
    }

    fn forget(&mut self, name: FileName) {
        self.open.retain(|f| f.name != name);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.open.iter_mut().for_each(OpenFile::trim);
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
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
