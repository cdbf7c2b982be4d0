//! The client library: the core's client on tokio's sockets and clock. Decides nothing; see [`zebu_core::client`] for what holds.

use bytes::{Bytes, BytesMut};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Deref;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::debug;
use zebu_core::boundary::Conn;
use zebu_core::time::Time;

pub use zebu_core::client::face::{Call, Events, Handle, MultiFailed, SessionEvent, WatchEvent, Watcher};
pub use zebu_core::client::{BadConnectString, ClientConfig, ClientState, ServerAddr};

use zebu_core::client::face::{Driver, Input, Output, client};

/// Bytes taken from a socket at a time.
const READ: usize = 64 << 10;

/// A session with an ensemble. Its calls are those of [`Handle`]; clones share the session, and with the last one it is closed.
#[derive(Clone)]
pub struct Zebu {
    handle: Handle,
    state: watch::Receiver<ClientState>,
}

/// Why there is no session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// The connect string is none.
    Config(BadConnectString),
    /// The session ended before it began.
    Ended(ClientState),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Config(bad) => bad.fmt(f),
            ConnectError::Ended(state) => write!(f, "the session ended before it began: {state:?}"),
        }
    }
}
impl std::error::Error for ConnectError {}

impl Zebu {
    /// Connects to one of the servers of `host:port,host:port…/chroot`. Tries until one answers.
    pub async fn connect(connect_string: &str) -> Result<Zebu, ConnectError> {
        let zebu = Zebu::open(ClientConfig::new(connect_string).map_err(ConnectError::Config)?);
        zebu.connected().await?;
        Ok(zebu)
    }

    /// Starts a session without waiting for a server. Must be called on a tokio runtime, which runs the session from then on.
    pub fn open(config: ClientConfig) -> Zebu {
        let servers = config.servers.clone();
        let bell = Arc::new(Bell(Notify::new()));
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&RandomState::new().hash_one(()).to_ne_bytes());
        }
        let (handle, driver) = client(config, seed, Time::default(), bell.clone().into());
        let (told, state) = watch::channel(driver.state());
        tokio::spawn(drive(driver, servers, bell, told));
        Zebu { handle, state }
    }

    /// The session's state.
    pub fn state(&self) -> ClientState {
        *self.state.borrow()
    }

    /// Waits until the session is in touch with a server.
    pub async fn connected(&self) -> Result<(), ConnectError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|s| s.is_connected() || s.is_final()).await.map(|s| *s);
        match settled {
            Ok(state) if state.is_connected() => Ok(()),
            Ok(state) => Err(ConnectError::Ended(state)),
            Err(_runtime_ended) => Err(ConnectError::Ended(ClientState::Closed)),
        }
    }
}

impl Deref for Zebu {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// Wakes the driver's task.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// What a connection's task reports.
enum News {
    Opened(Conn),
    Received(Conn, Bytes),
    Closed(Conn),
}

/// Steps the machine until its session is over and its last handle dropped.
async fn drive(
    mut driver: Driver,
    servers: Vec<ServerAddr>,
    bell: Arc<Bell>,
    state: watch::Sender<ClientState>,
) {
    let start = Instant::now();
    let (reports, mut news) = mpsc::channel(16);
    // To the one connection that there is; dropping it ends that.
    let mut queue: Option<mpsc::UnboundedSender<Bytes>> = None;
    let mut out = Vec::new();
    let mut event = None;
    loop {
        let now = Time(u64::try_from(start.elapsed().as_nanos()).expect("a process ends within 500 years"));
        let input = match &event {
            None => Input::Wake,
            Some(News::Opened(conn)) => Input::Opened { conn: *conn },
            Some(News::Received(conn, bytes)) => Input::Received { conn: *conn, bytes },
            Some(News::Closed(conn)) => Input::Closed { conn: *conn },
        };
        driver.step(now, input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Dial { conn, server } => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    queue = Some(sender);
                    tokio::spawn(connection(conn, servers[server].clone(), receiver, reports.clone()));
                }
                Output::Send { bytes, .. } => {
                    // A connection that has ended reports it.
                    queue.as_ref().map(|queue| queue.send(bytes));
                }
                Output::Close { .. } => queue = None,
                Output::Lost { conn, cause } => {
                    debug!(conn = conn.0, "{cause}");
                    queue = None;
                }
            }
        }
        state.send_if_modified(|s| std::mem::replace(s, driver.state()) != driver.state());
        if driver.is_done() {
            return;
        }
        // A session that is over has no timer, but handles that still ask.
        let wake = driver.next_wake().map(|at| start + Duration::from_nanos(at.0));
        event = tokio::select! {
            report = news.recv() => report,
            () = bell.0.notified() => None,
            () = tokio::time::sleep_until(wake.unwrap_or(start)), if wake.is_some() => None,
        };
    }
}

/// One connection, from dialing to its end. Gives up when `queue` is closed.
async fn connection(
    conn: Conn,
    to: ServerAddr,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    reports: mpsc::Sender<News>,
) {
    let dialed = tokio::select! {
        dialed = TcpStream::connect((to.host.as_str(), to.port)) => dialed,
        _given_up = queue.recv() => return,
    };
    match dialed {
        Ok(stream) => {
            if reports.send(News::Opened(conn)).await.is_ok() {
                carry(conn, stream, queue, &reports).await;
            }
        }
        Err(error) => debug!(conn = conn.0, "{to}: {error}"),
    }
    // Fails if the driver is done.
    drop(reports.send(News::Closed(conn)).await);
}

/// Reads and writes until either ends.
async fn carry(
    conn: Conn,
    mut stream: TcpStream,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    reports: &mpsc::Sender<News>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(conn = conn.0, "nodelay: {error}");
    }
    let (mut from, mut to) = stream.split();
    let reading = async {
        let mut buffer = BytesMut::with_capacity(READ);
        while from.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
            if reports.send(News::Received(conn, buffer.split().freeze())).await.is_err() {
                return;
            }
            buffer.reserve(READ);
        }
    };
    let writing = async {
        while let Some(bytes) = queue.recv().await {
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
