//! `zebu bench failover`: an ensemble of processes, clients that write all the time, and a leader that is killed again and
//! again. Measures the longest time without an acknowledged write of each round, says what it consists of, and reads back
//! every acknowledged write from every server.

pub mod load;

use crate::client::ConnectError;
use crate::ensemble::{Ensemble, EnsembleError, Plan};
use jiff::Timestamp;
use load::{Load, ReadError, Written, quick};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything that must happen may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Writes before each kill, and after the first one that follows it.
const SETTLE: Duration = Duration::from_secs(1);

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
    rate: u32,
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
    /// The clients.
    Client(ConnectError),
    /// The process cannot have a thread or a runtime.
    Host(io::Error),
    /// What was written cannot be read back.
    Read(ReadError),
    /// What did not happen in time.
    Late(&'static str),
    /// So many acknowledged writes are missing.
    Lost(usize),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Ensemble(e) => e.fmt(f),
            BenchError::Client(e) => e.fmt(f),
            BenchError::Host(e) => write!(f, "cannot start the clients: {e}"),
            BenchError::Read(e) => e.fmt(f),
            BenchError::Late(what) => write!(f, "{what} took more than {} s", LIMIT.as_secs()),
            BenchError::Lost(n) => write!(f, "{n} acknowledged writes are lost"),
        }
    }
}
impl std::error::Error for BenchError {}

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
    let config = quick(&ensemble.connect_string()).map_err(BenchError::Client)?;
    let load = Load::start(config, args.clients, args.rate).map_err(BenchError::Host)?;
    let mut gaps = Vec::new();
    for round in 1..=args.rounds {
        let (gap, story) = kill_leader(&mut ensemble, &load, args.term)?;
        println!("round {round:2}: {:7.1} ms without an acknowledged write: {story}", ms(gap));
        gaps.push(gap);
    }
    let written = load.stop();
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
    let lost = lost(&ensemble, &written)?;
    println!(
        "{} writes acknowledged, {lost} of them lost; {} without an answer",
        written.acknowledged(),
        written.unanswered
    );
    ensemble.stop(Duration::from_secs(10));
    if lost > 0 { Err(BenchError::Lost(lost)) } else { Ok(()) }
}

/// How many of the acknowledged writes some server does not have.
fn lost(ensemble: &Ensemble, written: &Written) -> Result<usize, BenchError> {
    ready(ensemble)?;
    let mut most = 0;
    for member in &ensemble.members {
        let missing = written.missing_at(member.client, LIMIT).map_err(BenchError::Read)?;
        most = most.max(missing.len());
    }
    Ok(most)
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
fn kill_leader(ensemble: &mut Ensemble, load: &Load, term: bool) -> Result<(Duration, String), BenchError> {
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
    if !load.goes_on_after(killed + SETTLE, LIMIT) {
        return Err(BenchError::Late("a fail-over"));
    }
    let next = ensemble.wait_for_leader(LIMIT).ok_or(BenchError::Late("a fail-over"))?;
    let (gap, first) = load.longest_gap(killed);
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
    story += &format!(", written again {:.1}; server {} leads", ms(first - killed), next + 1);
    if term && ensemble.members[leader].wait(LIMIT).is_none() {
        return Err(BenchError::Late("a stop"));
    }
    ensemble.start().map_err(BenchError::Ensemble)?;
    Ok((gap, story))
}

/// When a server logged a line with these words, behind this place of its log.
fn logged(log: &Path, behind: u64, words: &str) -> Option<Timestamp> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(usize::try_from(behind).ok()?..)?).into_owned();
    let line = text.lines().find(|line| line.contains(words))?;
    line.split_whitespace().next()?.parse().ok()
}
