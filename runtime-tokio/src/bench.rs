//! `zebu bench failover`: an ensemble of processes, clients that write all the time, and a leader that is killed again and
//! again. Measures the longest time without an acknowledged write of each round, says what it consists of, and reads back
//! every acknowledged write from every server.

use crate::client::{ClientConfig, ConnectError, Zebu};
use crate::ensemble::{Ensemble, EnsembleError, Plan};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use zebu_core::proto::{Acl, CreateMode, ErrorCode};
use zebu_core::time::Span;

/// How long anything that must happen may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Writes before each kill, and after the first one that follows it.
const SETTLE: Duration = Duration::from_secs(1);
/// A client without a server tries the next one after a random part of this: it must not hide what the servers take.
const RETRY: Span = Span::from_millis(10);

/// What is measured.
#[derive(clap::Args, Debug)]
pub struct FailoverArgs {
    /// How many servers vote.
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// tickTime, ms.
    #[arg(long, default_value_t = 2000)]
    tick: u64,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How many sessions write.
    #[arg(long, default_value_t = 6)]
    clients: usize,
    /// Writes a second, of all sessions together, as long as they are answered.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Kill with SIGTERM instead: the leader hands over.
    #[arg(long)]
    term: bool,
    /// A folder for the servers' files, which then stays.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Why there is no result, or a bad one.
#[derive(Debug)]
pub enum BenchError {
    /// The servers.
    Ensemble(EnsembleError),
    /// A client cannot connect.
    Client(ConnectError),
    /// A read that checks the result fails.
    Read(ErrorCode),
    /// What did not happen in time.
    Late(&'static str),
    /// So many acknowledged writes are missing.
    Lost(usize),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Ensemble(e) => e.fmt(f),
            BenchError::Client(e) => write!(f, "cannot connect: {e}"),
            BenchError::Read(code) => write!(f, "cannot read back what was written: {code:?}"),
            BenchError::Late(what) => write!(f, "{what} took more than {} s", LIMIT.as_secs()),
            BenchError::Lost(n) => write!(f, "{n} acknowledged writes are lost"),
        }
    }
}
impl std::error::Error for BenchError {}

/// An acknowledged write: when, and the node below the round's.
struct Ack {
    at: Instant,
    round: usize,
    name: String,
}

/// What the writers and the one who kills share.
#[derive(Default)]
struct Board {
    acks: Mutex<Vec<Ack>>,
    /// Writes whose outcome nobody knows.
    unknown: AtomicU64,
    round: AtomicUsize,
    stop: AtomicBool,
}

impl Board {
    fn acks(&self) -> std::sync::MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().expect("no one panics with this lock")
    }
    fn last_ack(&self) -> Option<Instant> {
        self.acks().last().map(|ack| ack.at)
    }
}

/// Runs the measurement with servers of this program.
pub fn failover(args: &FailoverArgs, zebu: &Path) -> Result<(), BenchError> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("zebu-bench-{}", std::process::id())),
    };
    let result = run(args, zebu, &dir);
    if args.dir.is_none() && result.is_ok() {
        // What cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&dir);
    } else {
        println!("the servers' files are in {}", dir.display());
    }
    result
}

fn run(args: &FailoverArgs, zebu: &Path, dir: &Path) -> Result<(), BenchError> {
    let plan = Plan { tick_ms: args.tick, ..Plan::new(args.servers, dir) };
    let mut ensemble = Ensemble::create(&plan, zebu).map_err(BenchError::Ensemble)?;
    ensemble.start().map_err(BenchError::Ensemble)?;
    ready(&ensemble)?;
    let board = Arc::new(Board::default());
    let config = client_config(&ensemble.connect_string())?;
    let writers = start_writers(args, config, board.clone())?;
    let mut gaps = Vec::new();
    let mut result = Ok(());
    for round in 0..args.rounds {
        board.round.store(round, Ordering::Relaxed);
        match kill_leader(&mut ensemble, &board, args.term) {
            Ok((gap, story)) => {
                println!("round {:2}: {:7.1} ms without an acknowledged write: {story}", round + 1, ms(gap));
                gaps.push(gap);
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    board.stop.store(true, Ordering::Relaxed);
    writers.join().expect("the writers do not panic");
    result?;
    gaps.sort();
    println!(
        "{} servers, tickTime {}, {} rounds: min {:.1}, median {:.1}, max {:.1} ms without an acknowledged write",
        args.servers,
        args.tick,
        gaps.len(),
        ms(gaps.first().copied().unwrap_or_default()),
        ms(median(&gaps)),
        ms(gaps.last().copied().unwrap_or_default()),
    );
    let lost = read_back(&ensemble, &board, args.rounds)?;
    let (acks, unknown) = (board.acks().len(), board.unknown.load(Ordering::Relaxed));
    println!("{acks} writes acknowledged, {lost} of them lost; {unknown} without an answer");
    ensemble.stop(Duration::from_secs(10));
    if lost > 0 { Err(BenchError::Lost(lost)) } else { Ok(()) }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(sorted: &[Duration]) -> Duration {
    match sorted.len() {
        0 => Duration::ZERO,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
    }
}

fn ready(ensemble: &Ensemble) -> Result<usize, BenchError> {
    let leader = ensemble.wait_for_leader(LIMIT).ok_or(BenchError::Late("an election"))?;
    match ensemble.wait_for_all(LIMIT) {
        true => Ok(leader),
        false => Err(BenchError::Late("the start of a follower")),
    }
}

/// One round. Returns its longest gap, and what happened when.
fn kill_leader(ensemble: &mut Ensemble, board: &Board, term: bool) -> Result<(Duration, String), BenchError> {
    ready(ensemble)?;
    sleep(SETTLE);
    let leader = ready(ensemble)?;
    let logs: Vec<u64> =
        ensemble.members.iter().map(|m| std::fs::metadata(m.log()).map_or(0, |about| about.len())).collect();
    let (killed, killed_wall) = (Instant::now(), Timestamp::now());
    match term {
        true => ensemble.members[leader].ask_to_stop(),
        false => ensemble.members[leader].kill(),
    }
    while board.last_ack().is_none_or(|at| at < killed + SETTLE) || ensemble.leader().is_none() {
        if killed.elapsed() > LIMIT {
            return Err(BenchError::Late("a fail-over"));
        }
        sleep(Duration::from_millis(50));
    }
    let next = ensemble.leader().ok_or(BenchError::Late("a fail-over"))?;
    let (gap, first) = longest_gap(&board.acks(), killed);
    let mut story = format!("server {} killed", leader + 1);
    for (what, line) in [
        ("loss noticed", "the role is over"),
        ("elected", "elected"),
        ("epoch", "a quorum accepts the epoch"),
        ("served", "clients are served"),
    ] {
        if let Some(at) = logged(&ensemble.members[next].log(), logs[next], line) {
            let after = at.duration_since(killed_wall).as_secs_f64() * 1000.0;
            story += &format!(", {what} {after:.1}");
        }
    }
    story += &format!(", first write {:.1}; server {} leads", ms(first - killed), next + 1);
    if ensemble.members[leader].wait(LIMIT).is_none() && term {
        return Err(BenchError::Late("a stop"));
    }
    ensemble.start().map_err(BenchError::Ensemble)?;
    Ok((gap, story))
}

/// The longest time between two acknowledgements that a kill may have made long, and when it ended.
fn longest_gap(acks: &[Ack], killed: Instant) -> (Duration, Instant) {
    let gaps = acks.windows(2).filter(|w| w[1].at >= killed).map(|w| (w[1].at - w[0].at, w[1].at));
    gaps.max().unwrap_or((killed.elapsed(), Instant::now()))
}

/// When a server logged a line with these words, behind this place of its log.
fn logged(log: &Path, behind: u64, words: &str) -> Option<Timestamp> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(usize::try_from(behind).ok()?..)?).into_owned();
    let line = text.lines().find(|line| line.contains(words))?;
    line.split_whitespace().next()?.parse().ok()
}

fn client_config(connect_string: &str) -> Result<ClientConfig, BenchError> {
    let config =
        ClientConfig::new(connect_string).map_err(|bad| BenchError::Client(ConnectError::Config(bad)))?;
    Ok(ClientConfig { round_pause: RETRY, reconnect_jitter: RETRY, ..config })
}

fn runtime() -> Result<tokio::runtime::Runtime, BenchError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|cause| {
        BenchError::Ensemble(EnsembleError::Io { action: "start the clients".to_owned(), cause })
    })
}

/// The writers run on a thread of their own, so that nothing else delays them. Returns once each round has its node.
fn start_writers(
    args: &FailoverArgs,
    config: ClientConfig,
    board: Arc<Board>,
) -> Result<JoinHandle<()>, BenchError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let zebu = Zebu::open(config.clone());
        zebu.connected().await.map_err(BenchError::Client)?;
        for path in std::iter::once("/bench".to_owned()).chain((0..args.rounds).map(round_path)) {
            match create(&zebu, &path).await {
                Ok(_) | Err(ErrorCode::NodeExists) => {}
                Err(code) => return Err(BenchError::Read(code)),
            }
        }
        Ok(())
    })?;
    let every = Duration::from_secs(args.clients as u64) / args.rate.max(1) as u32;
    let clients = args.clients;
    Ok(std::thread::spawn(move || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..clients)
                .map(|client| tokio::spawn(write(client, every, config.clone(), board.clone())))
                .collect();
            for task in tasks {
                task.await.expect("a writer does not panic");
            }
        });
    }))
}

fn round_path(round: usize) -> String {
    format!("/bench/{round}")
}

async fn create(zebu: &Zebu, path: &str) -> Result<String, ErrorCode> {
    zebu.create(path, Some("x".into()), vec![Acl::open()], CreateMode::Persistent).await
}

/// One session that makes one node after another. One that was not acknowledged is not tried again.
async fn write(client: usize, every: Duration, config: ClientConfig, board: Arc<Board>) {
    let mut zebu = Zebu::open(config.clone());
    let mut due = tokio::time::Instant::now();
    for number in 0u64.. {
        if board.stop.load(Ordering::Relaxed) {
            break;
        }
        let round = board.round.load(Ordering::Relaxed);
        let name = format!("{client}-{number}");
        match create(&zebu, &format!("{}/{name}", round_path(round))).await {
            Ok(_) => board.acks().push(Ack { at: Instant::now(), round, name }),
            Err(_) => {
                board.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
        if zebu.state().is_final() {
            zebu = Zebu::open(config.clone());
        }
        due = (due + every).max(tokio::time::Instant::now());
        tokio::time::sleep_until(due).await;
    }
}

/// How many of the acknowledged writes some server does not have.
fn read_back(ensemble: &Ensemble, board: &Board, rounds: usize) -> Result<usize, BenchError> {
    ready(ensemble)?;
    let acks = board.acks();
    let mut lost = BTreeSet::new();
    for member in &ensemble.members {
        let config = client_config(&member.client.to_string())?;
        let found = runtime()?.block_on(async {
            let zebu = Zebu::open(config);
            zebu.connected().await.map_err(BenchError::Client)?;
            zebu.sync("/").await.map_err(BenchError::Read)?;
            let mut found: Vec<BTreeSet<String>> = Vec::new();
            for round in 0..rounds {
                let (names, _) = zebu.get_children(&round_path(round)).await.map_err(BenchError::Read)?;
                found.push(names.into_iter().collect());
            }
            Ok(found)
        })?;
        lost.extend(acks.iter().filter(|a| !found[a.round].contains(&a.name)).map(|a| &a.name));
    }
    Ok(lost.len())
}
