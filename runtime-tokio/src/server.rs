//! An embedded server: a thread with its own runtime, a handle to it, and the order in which things start and end. Answers to
//! `ZooKeeperServerMain` and `ServerCnxnFactory`.

use crate::config::ServerConfig;
use crate::dynamic::Keeper;
use crate::files::{DataDirs, DirError};
use crate::host;
use crate::node::{Clock, End, Node, keep_time};
use crate::ports::Place;
use crate::record::Recorder;
use crate::storage::Storage;
use crate::transport::BoundPort;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use zebu_core::addr::Addr;
use zebu_core::boundary::{AdminOrder, Dir, Input, Port, Stop};
use zebu_core::disk::{Files as _, RecoverError, RecoverNote, recover};
use zebu_core::record;
use zebu_core::rng::Rng;

/// How often the core learns what only the host knows.
const GAUGES_EVERY: Duration = Duration::from_secs(5);
/// How long an ordered stop may take before it is forced. What is acknowledged is durable anyway.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long connections may take, after the stop, to accept what is queued for them.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Why a server did not start, or ended before it was told to.
#[derive(Debug)]
pub enum ServeError {
    /// The data directories cannot be used.
    Dir(DirError),
    /// What they hold is not served.
    Recover(RecoverError),
    /// A port cannot be had.
    Bind {
        /// Which.
        port: Port,
        /// Where.
        addr: SocketAddr,
        /// The operating system's words.
        cause: io::Error,
    },
    /// A member's own host is a name that cannot be looked up.
    OwnHost {
        /// What its `server.N` line says.
        addr: Addr,
        /// The operating system's words.
        cause: io::Error,
    },
    /// The recording cannot be begun.
    Record {
        /// Into which file.
        file: PathBuf,
        /// The operating system's words.
        cause: io::Error,
    },
    /// The process cannot have a thread, a runtime or random numbers.
    Host(io::Error),
    /// The server gave up.
    Stopped(Stop),
    /// It did not end in time when told to stop. Nothing that was acknowledged is lost.
    StopTimeout,
    /// An assert about ourselves broke.
    Panicked,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Dir(e) => e.fmt(f),
            ServeError::Recover(e) => e.fmt(f),
            ServeError::Bind { port, addr, cause } => {
                let name = match port {
                    Port::Client => "client port",
                    Port::Election => "election port",
                    Port::Quorum => "quorum port",
                    Port::ObserverMaster => "observerMasterPort",
                };
                write!(f, "cannot listen on {addr}, the {name}: {cause}")?;
                match (cause.kind(), port) {
                    (io::ErrorKind::AddrInUse, _) => write!(f, "; is another server running there?"),
                    (
                        io::ErrorKind::AddrNotAvailable,
                        Port::Election | Port::Quorum | Port::ObserverMaster,
                    ) => write!(
                        f,
                        "; if this server's line names an address that this machine does not have, \
                         quorumListenOnAllIPs=true listens on those that it has"
                    ),
                    _ => Ok(()),
                }
            }
            ServeError::OwnHost { addr, cause } => write!(
                f,
                "cannot look up {addr}, this server's own address in its server.N line: {cause}; \
                 correct the line, or set quorumListenOnAllIPs=true"
            ),
            ServeError::Record { file, cause } => {
                write!(f, "cannot record into {}: {cause}", file.display())
            }
            ServeError::Host(cause) => write!(f, "cannot start: {cause}"),
            ServeError::Stopped(stop) => stop.fmt(f),
            ServeError::StopTimeout => write!(f, "the stop took too long and was forced"),
            ServeError::Panicked => write!(f, "an assert of the server broke; the message is above"),
        }
    }
}
impl std::error::Error for ServeError {}

impl ServeError {
    /// The exit code of a process that ends so; Java's where it has one.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Dir(_) => 3,
            ServeError::Bind { port: Port::Election, .. } => 14,
            ServeError::Recover(_)
            | ServeError::Bind { .. }
            | ServeError::OwnHost { .. }
            | ServeError::Record { .. }
            | ServeError::Host(_)
            | ServeError::Stopped(_)
            | ServeError::StopTimeout
            | ServeError::Panicked => 1,
        }
    }
}

/// A running server. Dropped, it stops in good order.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: Arc<Notify>,
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts a server on a thread of its own; returns once it serves clients, or, as a member of an ensemble, listens.
    pub fn start(config: ServerConfig) -> Result<Server, ServeError> {
        let stop = Arc::new(Notify::new());
        let (serving, wait) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        let order = stop.clone();
        let thread = std::thread::Builder::new().name("zebu-node".to_owned()).spawn(move || {
            let result = run(config, &order, |addr| {
                // The other side always waits for it.
                let _ = serving.send(addr);
            });
            drop(end);
            result
        });
        let thread = thread.map_err(ServeError::Host)?;
        match wait.recv() {
            Ok(addr) => Ok(Server { addr, stop, ended, thread: Some(thread) }),
            Err(_) => Err(join(thread).err().unwrap_or(ServeError::Panicked)),
        }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until it ends by itself, which is always a failure; see [`Server::stop`] for the reason.
    pub async fn ended(&mut self) {
        // The sender is dropped unused.
        let _ = (&mut self.ended).await;
    }

    /// Stops it in good order, and says how it ended.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.stop.notify_one();
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && let Err(error) = join(thread)
        {
            warn!(%error, "the server did not end well");
        }
    }
}

fn join(thread: JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
    thread.join().unwrap_or(Err(ServeError::Panicked))
}

/// Everything from the lock on the data directory to its release, on this thread.
fn run(config: ServerConfig, stop: &Notify, serving: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let dirs = DataDirs::open(&config.data_dir, &config.data_log_dir, config.autocreate);
    let dirs = Arc::new(dirs.map_err(ServeError::Dir)?);
    let client_addr = Addr::new(&config.client_addr.ip().to_string(), config.client_addr.port());
    let clients = Place::for_clients(&client_addr, config.listen_backlog);
    let mut client = clients.bind(1)?;
    let client = client.pop().expect("an address is one place");
    let addr = client.addr;
    let mut places = Vec::new();
    let mut others = Vec::new();
    if let Some(ensemble) = &config.core.ensemble {
        let me = ensemble.members.member(config.core.server_id).expect("a member is one of its members");
        places.push(clients);
        let master = ensemble.observer_master_port;
        for place in Place::for_members(me, master, config.quorum_listen_on_all_ips) {
            let bound = place.bind(config.election_port_bind_retry)?;
            others.extend(bound.into_iter().map(|bound| (place.port, bound)));
            places.push(place);
        }
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ServeError::Host)?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, async {
        let node = start_node(&config, addr, &dirs)?;
        let signals = node.borrow().signals();
        let member = !others.is_empty();
        for (port, bound) in others {
            listen(&node, port, bound)?;
        }
        if member {
            keep_configuration(&node, &config, places);
        }
        spawn_local(keep_time(node.clone()));
        node.borrow_mut().step(Input::Wake);
        if !member {
            signals.serving().await.map_err(end_error)?;
        }
        listen(&node, Port::Client, client)?;
        spawn_local(feed_gauges(node.clone()));
        serving(addr);
        tokio::select! {
            end = signals.end() => Err(end_error(end)),
            () = stop.notified() => stop_in_order(&node).await,
        }
    });
    // Tasks hold the node, the node holds the storage threads: all of it ends here, then the locks go.
    drop(local);
    // A name that is being looked up may take long, and has nothing of ours.
    runtime.shutdown_background();
    result
}

/// Lets others in.
fn listen(node: &Rc<RefCell<Node>>, port: Port, bound: BoundPort) -> Result<(), ServeError> {
    let addr = bound.addr;
    let listener = bound.listen().map_err(|cause| ServeError::Bind { port, addr, cause })?;
    node.borrow_mut().listen(listener, port);
    Ok(())
}

/// Starts to follow what the configuration becomes.
fn keep_configuration(node: &Rc<RefCell<Node>>, config: &ServerConfig, listening: Vec<Place>) {
    let (send, texts) = mpsc::unbounded_channel();
    let keeper = Keeper::new(Rc::downgrade(node), config.clone(), listening);
    spawn_local(keeper.run(texts));
    let known = config.core.ensemble.as_ref().map_or(0, |e| e.members.version);
    node.borrow_mut().tell_configurations(known, send);
}

fn end_error(end: End) -> ServeError {
    match end {
        End::Stopped(stop) => ServeError::Stopped(stop),
        End::Panicked => ServeError::Panicked,
    }
}

/// Recovers, and joins the core with clock, storage and recorder.
fn start_node(
    config: &ServerConfig,
    addr: SocketAddr,
    dirs: &Arc<DataDirs>,
) -> Result<Rc<RefCell<Node>>, ServeError> {
    let mut core = config.core.clone();
    core.host.client_port = addr.port();
    core.host.data_dir = dirs.path(Dir::Data).display().to_string();
    core.host.data_log_dir = dirs.path(Dir::Log).display().to_string();
    core.host.listen_backlog = config.listen_backlog;
    core.host.environment = host::environment();

    let clock = Clock::start();
    let seed = host::seed().map_err(ServeError::Host)?;
    let now = clock.now();
    let recorder = match &config.record {
        None => None,
        Some(file) => {
            let record_error = |cause| ServeError::Record { file: file.clone(), cause };
            let header = record::Header {
                config: core.clone(),
                seed,
                start: now,
                files: all_files(dirs).map_err(record_error)?,
            };
            Some(Recorder::create(file, &header).map_err(record_error)?)
        }
    };
    let tree_seed = Rng::new(seed).u64();
    let recovered = recover(&**dirs, &core, tree_seed).map_err(ServeError::Recover)?;
    let fresh = recovered.notes.iter().any(|note| matches!(note, RecoverNote::Fresh));
    for note in &recovered.notes {
        match fresh {
            true => info!("{note}"),
            false => warn!("{note}"),
        }
    }
    info!(zxid = %recovered.last_zxid, took = ?Duration::from_nanos(clock.now().mono.0), "data loaded");
    let server = zebu_core::server::Server::new(core, recovered, seed, now);

    let (send, mut reports) = mpsc::unbounded_channel();
    let report = move |r| {
        // A node that has ended needs no reports.
        let _ = send.send(r);
    };
    let storage = Storage::start(dirs, report).map_err(ServeError::Host)?;
    let node = Node::new(server, clock, storage, recorder);
    let listening = Rc::downgrade(&node);
    spawn_local(async move {
        while let Some(report) = reports.recv().await {
            let Some(node) = listening.upgrade() else { break };
            node.borrow_mut().disk(report);
        }
    });
    Ok(node)
}

/// For a recording: the data directories as recovery is about to find them. Where one folder is both, each file is recorded as
/// what recovery looks for there.
fn all_files(dirs: &DataDirs) -> io::Result<Vec<record::File>> {
    let mut files = Vec::new();
    for &dir in dirs.distinct() {
        for (name, _) in dirs.list(dir).map_err(io::Error::other)? {
            let bytes = dirs.read(dir, &name).map_err(io::Error::other)?;
            let is_log = name.starts_with("log.") || name.starts_with("writing.log.");
            let dir = if dirs.distinct().len() == 1 && is_log { Dir::Log } else { dir };
            files.push(record::File { dir, name, bytes });
        }
    }
    Ok(files)
}

async fn feed_gauges(node: Rc<RefCell<Node>>) {
    loop {
        // Counting descriptors takes long when there are many.
        if let Ok(order) = spawn_blocking(host::gauges).await {
            node.borrow_mut().admin(order);
        }
        sleep(GAUGES_EVERY).await;
    }
}

async fn stop_in_order(node: &Rc<RefCell<Node>>) -> Result<(), ServeError> {
    let signals = node.borrow().signals();
    // Whoever comes now is refused and goes elsewhere at once; and who loses this server sees that it is gone for good.
    let ports = node.borrow_mut().shut();
    for port in ports {
        // It has been aborted: there is no other way for it to end.
        let _ = port.await;
    }
    node.borrow_mut().admin(AdminOrder::Shutdown);
    let result = match timeout(STOP_LIMIT, signals.end()).await {
        Ok(End::Stopped(Stop::Ordered)) => Ok(()),
        Ok(end) => Err(end_error(end)),
        Err(_) => Err(ServeError::StopTimeout),
    };
    let drained = async {
        while node.borrow().open_connections() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // Whoever does not read by then loses replies, not data.
    let _ = timeout(DRAIN_LIMIT, drained).await;
    result
}
