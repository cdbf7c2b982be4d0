//! The node: owns the core's [`Server`], steps it, and performs every output at once. All of it runs on one thread; tasks of
//! that thread borrow the node for the length of one step. Must not know what bytes mean or how a step decides.

use crate::events;
use crate::record::Recorder;
use crate::storage::{DiskReport, Piece, Storage};
use crate::transport::{Flushed, Link, Phase, READ_AT_ONCE, connect};
use foldhash::fast::FixedState;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};
use zebu_core::addr::Addr;
use zebu_core::boundary::{
    AdminOrder, Conn, DiskOp, Event, Input, Lane, Output, PeerInfo, Port, RoleName, Stop,
};
use zebu_core::server::Server;
use zebu_core::time::{Millis, Now, Time};

/// Pause after a failed accept: it is mostly a lack of descriptors, which others give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Addresses whose failure to answer is remembered. Members are few, but others may name addresses, too.
const UNREACHABLE_LOGGED: usize = 64;

/// The two clocks of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let mono = self.start.elapsed().as_nanos();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Now { mono: Time(mono as u64), wall: Millis(wall as i64) }
    }

    fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.start + Duration::from_nanos(time.0)).into()
    }
}

/// Why a node ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum End {
    /// The core said so.
    Stopped(Stop),
    /// An assert about ourselves broke; its message went to stderr.
    Panicked,
}

/// What the node tells the task that runs it.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    serving: Cell<bool>,
    end: RefCell<Option<End>>,
    changed: Notify,
}

impl Signals {
    /// Waits until a standalone server serves clients; `Err` if it comes to an end first.
    pub(crate) async fn serving(&self) -> Result<(), End> {
        while !self.serving.get() {
            if let Some(end) = self.end.borrow().clone() {
                return Err(end);
            }
            self.changed.notified().await;
        }
        Ok(())
    }

    /// Waits for the end.
    pub(crate) async fn end(&self) -> End {
        loop {
            if let Some(end) = self.end.borrow().clone() {
                return end;
            }
            self.changed.notified().await;
        }
    }

    fn set_end(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        self.changed.notify_one();
    }
}

/// A panic inside a step would be swallowed by the task that called it; the server must not go on after one.
struct EndOnPanic<'a>(&'a Signals);
impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_end(End::Panicked);
        }
    }
}

/// An input that came out of performing an output.
enum Follow {
    Writable(Conn),
    Closed(Conn),
}

/// The server and all that its outputs act on.
pub(crate) struct Node {
    me: Weak<RefCell<Node>>,
    server: Server,
    clock: Clock,
    signals: Rc<Signals>,
    recorder: Option<Recorder>,
    storage: Storage,
    links: HashMap<Conn, Rc<Link>, FixedState>,
    /// Accepted so far.
    accepted: u64,
    /// Connections that are being dialled, with the task that does it.
    dials: HashMap<Conn, AbortHandle, FixedState>,
    /// The tasks that accept.
    listeners: Vec<(Port, JoinHandle<()>)>,
    /// No more of them: the end is near.
    shut: bool,
    /// Who wants to hear of configurations.
    configurations: Option<mpsc::UnboundedSender<String>>,
    /// Where the last dial failed: the log tells of that once.
    unreachable: BTreeSet<Addr>,
    /// Links with something to write that no task waits for.
    dirty: Vec<Rc<Link>>,
    follow: VecDeque<Follow>,
    out: Vec<Output>,
    log_ops: Vec<DiskOp>,
    bulk_ops: Vec<DiskOp>,
    read_buf: Vec<u8>,
    /// When the wake task will look next.
    armed: Option<Time>,
    rearm: Rc<Notify>,
    /// One clone a connection task.
    tasks: Rc<()>,
}

impl Node {
    pub(crate) fn new(
        server: Server,
        clock: Clock,
        storage: Storage,
        recorder: Option<Recorder>,
    ) -> Rc<RefCell<Node>> {
        Rc::new_cyclic(|me| {
            RefCell::new(Node {
                me: me.clone(),
                server,
                clock,
                signals: Rc::default(),
                recorder,
                storage,
                links: HashMap::default(),
                accepted: 0,
                dials: HashMap::default(),
                listeners: Vec::new(),
                shut: false,
                configurations: None,
                unreachable: BTreeSet::new(),
                dirty: Vec::new(),
                follow: VecDeque::new(),
                out: Vec::new(),
                log_ops: Vec::new(),
                bulk_ops: Vec::new(),
                read_buf: vec![0; READ_AT_ONCE],
                armed: None,
                rearm: Rc::default(),
                tasks: Rc::default(),
            })
        })
    }

    pub(crate) fn signals(&self) -> Rc<Signals> {
        self.signals.clone()
    }

    /// Connections that are open or still closing.
    pub(crate) fn open_connections(&self) -> usize {
        Rc::strong_count(&self.tasks) - 1
    }

    /// Tells the server, and what follows from that.
    pub(crate) fn step(&mut self, input: Input<'_>) {
        self.step_once(input);
        while let Some(follow) = self.follow.pop_front() {
            self.step_once(match follow {
                Follow::Writable(conn) => Input::Writable { conn },
                Follow::Closed(conn) => Input::Closed { conn },
            });
        }
        if let Some((wake, _)) = self.server.next_wake()
            && self.armed.is_none_or(|armed| wake < armed)
        {
            self.armed = Some(wake);
            self.rearm.notify_one();
        }
    }

    fn step_once(&mut self, input: Input<'_>) {
        if self.signals.end.borrow().is_some() {
            return;
        }
        let signals = self.signals.clone();
        let _guard = EndOnPanic(&signals);
        let now = self.clock.now();
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input);
        }
        let mut out = std::mem::take(&mut self.out);
        self.server.step(now, input, &mut out);
        if let Some(recorder) = &mut self.recorder {
            recorder.outputs(&out);
        }
        for output in out.drain(..) {
            self.perform(output);
        }
        self.out = out;
        // The disk starts before the sockets are written.
        self.storage.push(Lane::Log, &mut self.log_ops);
        self.storage.push(Lane::Bulk, &mut self.bulk_ops);
        let mut dirty = std::mem::take(&mut self.dirty);
        for link in dirty.drain(..) {
            self.flush(&link);
        }
        self.dirty = dirty;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { conn, to, port } => {
                let task = spawn_local(dial(self.me.clone(), conn, to, port));
                self.dials.insert(conn, task.abort_handle());
            }
            Output::Send { conn, bytes } => {
                if let Some(link) = self.links.get(&conn)
                    && link.send(bytes)
                {
                    self.dirty.push(link.clone());
                }
            }
            Output::Pause { conn, on } => {
                if let Some(link) = self.links.get(&conn) {
                    link.pause(on);
                }
            }
            Output::Close { conn } => {
                if let Some(link) = self.links.remove(&conn) {
                    link.leave(Phase::Closing);
                } else if let Some(task) = self.dials.remove(&conn) {
                    task.abort();
                }
            }
            Output::Disk { lane, op } => match lane {
                Lane::Log => self.log_ops.push(op),
                Lane::Bulk => self.bulk_ops.push(op),
            },
            Output::Read { read, file, at, len } => self.storage.read(Piece { read, file, at, len }),
            Output::Event(event) => {
                events::log(&event);
                if let Event::Became(RoleName::Standalone) = event {
                    self.signals.serving.set(true);
                    self.signals.changed.notify_one();
                }
                if let (Event::Reconfigured { text }, Some(to)) = (event, &self.configurations) {
                    // Nobody listens any more if all is about to end.
                    let _ = to.send(text);
                }
            }
            Output::Stop(stop) => {
                info!(%stop, "the server stops");
                self.signals.set_end(End::Stopped(stop));
                for (_, link) in self.links.drain() {
                    link.leave(Phase::Closing);
                }
                self.dials.drain().for_each(|(_, task)| task.abort());
                self.shut();
            }
        }
    }

    /// Writes what a link has queued; the rest is left to a task.
    fn flush(&mut self, link: &Rc<Link>) {
        let flushed = link.flush();
        if link.phase() != Phase::Open {
            return; // its own task ends it
        }
        match flushed {
            Flushed::Empty { report: false } => {}
            Flushed::Empty { report: true } => self.follow.push_back(Follow::Writable(link.conn)),
            Flushed::Blocked => {
                link.flushing.set(true);
                spawn_local(flush_later(self.me.clone(), link.clone()));
            }
            Flushed::Failed(cause) => {
                debug!(conn = link.conn.0, %cause, "cannot write");
                self.links.remove(&link.conn);
                link.leave(Phase::Dead);
                self.follow.push_back(Follow::Closed(link.conn));
            }
        }
    }

    /// Lets others in, until the server ends.
    pub(crate) fn listen(&mut self, listener: TcpListener, port: Port) {
        if self.shut {
            return;
        }
        let node = self.me.upgrade().expect("a node is called through its Rc");
        self.listeners.push((port, spawn_local(accept(node, listener, port))));
    }

    /// Lets nobody in any more, whatever the port.
    pub(crate) fn shut(&mut self) -> Vec<JoinHandle<()>> {
        self.shut = true;
        self.close_ports(|_| true)
    }

    /// Lets nobody in any more through these ports. The listeners are gone when the tasks are.
    pub(crate) fn close_ports(&mut self, which: impl Fn(Port) -> bool) -> Vec<JoinHandle<()>> {
        let (closed, kept): (Vec<_>, _) =
            std::mem::take(&mut self.listeners).into_iter().partition(|(port, _)| which(*port));
        self.listeners = kept;
        let closed: Vec<JoinHandle<()>> = closed.into_iter().map(|(_, task)| task).collect();
        closed.iter().for_each(JoinHandle::abort);
        closed
    }

    /// From now on every configuration that comes into force is told, and at once the one that is, if it is not of this version:
    /// the server may have died before it was told.
    pub(crate) fn tell_configurations(&mut self, known: i64, to: mpsc::UnboundedSender<String>) {
        if let Some(config) = self.server.configuration().filter(|c| c.version != known) {
            // Its receiver lives: it was made just now.
            let _ = to.send(config.to_string());
        }
        self.configurations = Some(to);
    }

    /// Takes in a connection that came to one of the ports.
    fn accept(&mut self, stream: TcpStream, peer: SocketAddr, port: Port) {
        self.accepted += 1;
        self.open(Conn::accepted(self.accepted), stream, peer, port);
    }

    /// A dial came to its end.
    fn dialled(&mut self, conn: Conn, to: &Addr, port: Port, done: io::Result<(TcpStream, SocketAddr)>) {
        if self.dials.remove(&conn).is_none() {
            return; // given up meanwhile
        }
        match done {
            Ok((stream, peer)) => {
                if self.unreachable.remove(to) {
                    info!(%to, ?port, "reached again");
                }
                self.open(conn, stream, peer, port);
            }
            Err(cause) => {
                if self.unreachable.len() < UNREACHABLE_LOGGED && self.unreachable.insert(to.clone()) {
                    warn!(%to, ?port, %cause, "cannot connect; it is tried again and again");
                } else {
                    debug!(%to, ?port, %cause, "cannot connect");
                }
                self.step(Input::Closed { conn });
            }
        }
    }

    fn open(&mut self, conn: Conn, stream: TcpStream, peer: SocketAddr, port: Port) {
        let (link, half) = Link::new(conn, stream);
        let link = Rc::new(link);
        self.links.insert(conn, link.clone());
        let node = self.me.upgrade().expect("a node is called through its Rc");
        spawn_local(serve_link(node, link, half, self.tasks.clone()));
        // An IPv4 client of an IPv6 socket is an IPv4 client: `ip` ACLs and per-address limits must see the same address.
        let addr = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.step(Input::Opened { conn, port, peer: PeerInfo { addr } });
    }

    /// The other side has ended it.
    fn closed(&mut self, link: &Link) {
        if link.phase() == Phase::Open {
            self.links.remove(&link.conn);
            link.leave(Phase::Dead);
            self.step(Input::Closed { conn: link.conn });
        }
    }

    /// What the storage threads report.
    pub(crate) fn disk(&mut self, report: DiskReport) {
        self.step(match &report {
            DiskReport::Durable { lane, upto } => Input::Durable { lane: *lane, upto: *upto },
            DiskReport::Failed(fault) => Input::DiskFailed { fault: fault.clone() },
            DiskReport::Read { read, bytes } => Input::Read { read: *read, bytes: bytes.as_deref() },
        });
    }

    pub(crate) fn admin(&mut self, order: AdminOrder) {
        self.step(Input::Admin { order });
    }

    /// Steps if it is time; returns when to look again.
    fn wake(&mut self) -> Option<tokio::time::Instant> {
        let due = |server: &Server, now: Now| server.next_wake().is_some_and(|(at, _)| at <= now.mono);
        if due(&self.server, self.clock.now()) {
            self.step(Input::Wake);
        }
        self.armed = self.server.next_wake().map(|(at, _)| at);
        self.armed.map(|at| self.clock.instant(at))
    }
}

/// Steps the node whenever its next timer is due.
pub(crate) async fn keep_time(node: Rc<RefCell<Node>>) {
    let rearm = node.borrow().rearm.clone();
    loop {
        let at = node.borrow_mut().wake();
        match at {
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = rearm.notified() => {}
            },
            None => rearm.notified().await,
        }
    }
}

async fn accept(node: Rc<RefCell<Node>>, listener: TcpListener, port: Port) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => node.borrow_mut().accept(stream, peer, port),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connects for the core.
async fn dial(node: Weak<RefCell<Node>>, conn: Conn, to: Addr, port: Port) {
    let done = connect(&to).await;
    if let Some(node) = node.upgrade() {
        node.borrow_mut().dialled(conn, &to, port, done);
    }
}

/// Reads from a connection until either side ends it.
async fn serve_link(node: Rc<RefCell<Node>>, link: Rc<Link>, mut half: OwnedReadHalf, _task: Rc<()>) {
    poll_fn(|cx| {
        loop {
            let mut node = node.borrow_mut();
            let mut buf = std::mem::take(&mut node.read_buf);
            let read = link.poll_read(&mut half, &mut buf, cx);
            if let Poll::Ready(Ok(n @ 1..)) = read {
                node.step(Input::Received { conn: link.conn, bytes: &buf[..n] });
            }
            node.read_buf = buf;
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => {
                    node.closed(&link);
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(READ_AT_ONCE)) => {
                    // There is more, but others have their turn first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
    })
    .await;
    if link.phase() == Phase::Closing {
        link.finish(half).await;
    }
}

/// Writes the rest of a link's queue as the socket takes it.
async fn flush_later(node: Weak<RefCell<Node>>, link: Rc<Link>) {
    let flushed = loop {
        let ready = link.writable().await;
        if link.phase() != Phase::Open {
            return;
        }
        match ready.map(|()| link.flush()) {
            Ok(Flushed::Blocked) => {}
            Ok(flushed) => break flushed,
            Err(cause) => break Flushed::Failed(cause),
        }
    };
    link.flushing.set(false);
    let Some(node) = node.upgrade() else { return };
    let mut node = node.borrow_mut();
    match flushed {
        Flushed::Empty { report: true } => node.step(Input::Writable { conn: link.conn }),
        Flushed::Empty { report: false } | Flushed::Blocked => {}
        Flushed::Failed(cause) => {
            debug!(conn = link.conn.0, %cause, "cannot write");
            node.closed(&link);
        }
    }
}
