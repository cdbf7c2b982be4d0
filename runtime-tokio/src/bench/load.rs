//! Sessions that write all the time while servers come and go. It keeps account of every acknowledged write, and can tell
//! which of them a server does not have. Nothing is written twice: a write without an answer is counted, no more.

use crate::client::{ClientConfig, ConnectError, Zebu};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use zebu_core::proto::{Acl, CreateMode, ErrorCode};
use zebu_core::time::Span;

/// A client without a server tries the next one after a random part of this: it must not hide what the servers take.
const RETRY: Span = Span::from_millis(10);
/// Nodes below one parent: a reply that lists them stays small.
const FOLDER: u64 = 1000;
/// How often it is looked for an acknowledgement.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Settings of a client that loses no time.
pub fn quick(connect_string: &str) -> Result<ClientConfig, ConnectError> {
    let config = ClientConfig::new(connect_string).map_err(ConnectError::Config)?;
    Ok(ClientConfig { round_pause: RETRY, reconnect_jitter: RETRY, ..config })
}

/// An acknowledged write of a session: when, and its number.
struct Ack {
    at: Instant,
    client: usize,
    number: u64,
}

/// What the sessions and their owner share.
#[derive(Default)]
struct Board {
    acks: Mutex<Vec<Ack>>,
    unanswered: AtomicUsize,
    stop: AtomicBool,
}

impl Board {
    fn acks(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().expect("no one panics with this lock")
    }
}

/// Why it cannot be said what a server has.
#[derive(Debug)]
pub enum ReadError {
    /// A client cannot connect.
    Connect(ConnectError),
    /// A read fails.
    Call(ErrorCode),
    /// No answer in time.
    Late,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Connect(e) => write!(f, "cannot connect: {e}"),
            ReadError::Call(code) => write!(f, "cannot read back what was written: {code:?}"),
            ReadError::Late => write!(f, "reading back what was written takes too long"),
        }
    }
}
impl std::error::Error for ReadError {}

/// Sessions that write. Dropped, they end.
pub struct Load {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts so many sessions, with so many writes a second of all together as long as they are answered. They run on a thread
    /// of their own, so that nothing else delays them.
    pub fn start(config: ClientConfig, clients: usize, rate: u32) -> io::Result<Load> {
        let board = Arc::new(Board::default());
        let every = Duration::from_secs(clients as u64) / rate.max(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = board.clone();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..clients)
                    .map(|client| tokio::spawn(write(client, every, config.clone(), shared.clone())))
                    .collect();
                for task in tasks {
                    task.await.expect("a session does not panic");
                }
            });
        })?;
        Ok(Load { board, thread: Some(thread) })
    }

    /// Writes that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.board.acks().len()
    }

    /// Writes whose outcome nobody knows.
    pub fn unanswered(&self) -> usize {
        self.board.unanswered.load(Ordering::Relaxed)
    }

    /// Waits for an acknowledgement that comes after this moment.
    pub fn goes_on_after(&self, moment: Instant, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match self.board.acks().last().is_some_and(|ack| ack.at > moment) {
                false if Instant::now() < until => {}
                goes_on => return goes_on,
            }
            sleep(LOOK_EVERY);
        }
    }

    /// The longest time between two acknowledgements of which the second comes after this moment, and when it ended.
    pub fn longest_gap(&self, since: Instant) -> (Duration, Instant) {
        let acks = self.board.acks();
        let gaps = acks.windows(2).filter(|w| w[1].at >= since).map(|w| (w[1].at - w[0].at, w[1].at));
        gaps.max().unwrap_or_else(|| (since.elapsed(), Instant::now()))
    }

    /// Ends the sessions.
    pub fn stop(mut self) -> Written {
        self.end();
        let mut numbers: BTreeMap<(usize, u64), BTreeSet<u64>> = BTreeMap::new();
        for ack in self.board.acks().iter() {
            numbers.entry((ack.client, ack.number / FOLDER)).or_default().insert(ack.number);
        }
        Written { numbers, unanswered: self.unanswered() }
    }

    fn end(&mut self) {
        self.board.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = joined
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// All that was acknowledged.
pub struct Written {
    /// By session and folder.
    numbers: BTreeMap<(usize, u64), BTreeSet<u64>>,
    /// Writes whose outcome nobody knows.
    pub unanswered: usize,
}

impl Written {
    /// How many writes.
    pub fn acknowledged(&self) -> usize {
        self.numbers.values().map(BTreeSet::len).sum()
    }

    /// Which of them a server does not have, after a sync: their paths. A connection that is lost meanwhile is made anew.
    pub fn missing_at(&self, server: SocketAddr, limit: Duration) -> Result<Vec<String>, ReadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| ReadError::Late)?;
        let reading = async {
            loop {
                match self.missing(server).await {
                    Err(ReadError::Call(ErrorCode::ConnectionLoss)) => {}
                    done => return done,
                }
            }
        };
        runtime.block_on(async { tokio::time::timeout(limit, reading).await }).unwrap_or(Err(ReadError::Late))
    }

    async fn missing(&self, server: SocketAddr) -> Result<Vec<String>, ReadError> {
        let zebu = Zebu::open(quick(&server.to_string()).map_err(ReadError::Connect)?);
        zebu.connected().await.map_err(ReadError::Connect)?;
        zebu.sync("/").await.map_err(ReadError::Call)?;
        let mut missing = Vec::new();
        for (&(client, folder), numbers) in &self.numbers {
            let folder = folder_path(client, folder);
            let found = match zebu.get_children(&folder).await {
                Ok((names, _)) => names.into_iter().collect(),
                Err(ErrorCode::NoNode) => BTreeSet::new(),
                Err(code) => return Err(ReadError::Call(code)),
            };
            let names = numbers.iter().map(u64::to_string);
            missing.extend(names.filter(|n| !found.contains(n)).map(|n| format!("{folder}/{n}")));
        }
        Ok(missing)
    }
}

fn folder_path(client: usize, folder: u64) -> String {
    format!("/load-{client}-{folder}")
}

async fn create(zebu: &Zebu, path: &str) -> Result<String, ErrorCode> {
    zebu.create(path, Some("x".into()), vec![Acl::open()], CreateMode::Persistent).await
}

/// One session that makes one node after another.
async fn write(client: usize, every: Duration, config: ClientConfig, board: Arc<Board>) {
    let mut zebu = Zebu::open(config.clone());
    let mut due = tokio::time::Instant::now();
    let mut number = 0u64;
    while !board.stop.load(Ordering::Relaxed) {
        let folder = folder_path(client, number / FOLDER);
        let made = match number.is_multiple_of(FOLDER) {
            true => match create(&zebu, &folder).await {
                Ok(_) | Err(ErrorCode::NodeExists) => create(&zebu, &format!("{folder}/{number}")).await,
                failed => failed,
            },
            false => create(&zebu, &format!("{folder}/{number}")).await,
        };
        match made {
            Ok(_) => board.acks().push(Ack { at: Instant::now(), client, number }),
            Err(_) => {
                board.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
        // The next number's folder must be there: only a folder's first is tried again.
        match made {
            Err(code) if number.is_multiple_of(FOLDER) && code != ErrorCode::NodeExists => {}
            Ok(_) | Err(_) => number += 1,
        }
        if zebu.state().is_final() {
            zebu = Zebu::open(config.clone());
        }
        due = (due + every).max(tokio::time::Instant::now());
        tokio::time::sleep_until(due).await;
    }
}
