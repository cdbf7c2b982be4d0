//! `zebu-sim`: sweeps of seeds, single runs, replays and shrinking, for people and scripts.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use zebu_core::record::MAGIC;
use zebu_sim::check::Judges;
use zebu_sim::outcome::Outcome;
use zebu_sim::replay::{self, ScenarioFile};
use zebu_sim::scenario::Scenario;
use zebu_sim::sweep::{self, Sweep};
use zebu_sim::world::World;
use zebu_sim::{shrink, trace};

/// The seeded simulator of Zebu.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds. Exit code 0: clean; 3: failures found; other: could not run.
    Sweep {
        /// Which seeds: A..B, B not included.
        #[arg(long, default_value = "0..10000", value_parser = parse_range)]
        seeds: Range<u64>,
        /// Threads; as many as there are processors if not given.
        #[arg(long)]
        jobs: Option<usize>,
        /// Stop at the first failure.
        #[arg(long)]
        first: bool,
        /// Print one JSON object on standard output.
        #[arg(long)]
        json: bool,
        /// Which rules judge: all; or those of clients alone, which look at no server's insides.
        #[arg(long, value_enum, default_value = "all")]
        rules: Rules,
    },
    /// Run one seed.
    Run {
        /// Which.
        seed: u64,
    },
    /// Run a seed, a scenario file, or a recording of a server again.
    Replay {
        /// A seed or a file.
        what: String,
        /// Print every event.
        #[arg(long)]
        events: bool,
        /// Which rules judge.
        #[arg(long, value_enum, default_value = "all")]
        rules: Rules,
    },
    /// Make a failing scenario small.
    Shrink {
        /// A seed or a scenario file.
        what: String,
        /// Where to write the small one.
        #[arg(short)]
        out: PathBuf,
    },
}

/// Rules by the names that the command line knows them by.
#[derive(Clone, Copy, ValueEnum)]
enum Rules {
    All,
    History,
}

impl From<Rules> for Judges {
    fn from(rules: Rules) -> Judges {
        match rules {
            Rules::All => Judges::All,
            Rules::History => Judges::Clients,
        }
    }
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write A..B")?;
    let number = |t: &str| t.replace('_', "").parse::<u64>().map_err(|e| format!("{t}: {e}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("B must be above A".to_owned()) } else { Ok(range) }
}

/// Failures were found.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Sweep { seeds, jobs, first, json, rules } => {
            run_sweep(seeds, jobs, (first, rules.into()), json)
        }
        Command::Run { seed } => run_one(Scenario::from_seed(seed), false, Judges::All),
        Command::Replay { what, events, rules } => run_replay(&what, events, rules.into()),
        Command::Shrink { what, out } => run_shrink(&what, &out),
    };
    match result {
        Ok(code) => code,
        // Whoever reads our output may leave early.
        Err(e)
            if e.downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("zebu-sim: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_sweep(
    seeds: Range<u64>,
    jobs: Option<usize>,
    (first, judges): (bool, Judges),
    json: bool,
) -> Result<ExitCode> {
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(seeds.end - seeds.start)
    } else {
        ProgressBar::hidden()
    };
    let style = "{bar:40} {pos}/{len} seeds  {per_sec}  {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style).context("progress bar")?);
    let began = Instant::now();
    let sweep = sweep::sweep(seeds, jobs, first, judges, &|done, bad| {
        bar.set_position(done);
        if bad > 0 {
            bar.set_message(format!("{bad} failed"));
        }
    });
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", as_json(&sweep, seconds))?;
    } else {
        print_sweep(&mut out, &sweep, seconds)?;
    }
    Ok(if sweep.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn as_json(sweep: &Sweep, seconds: f64) -> serde_json::Value {
    let rate = |n: u64| (n as f64 / seconds * 10.0).round() / 10.0;
    let coverage: serde_json::Map<_, _> =
        sweep.coverage.iter().map(|(name, n)| (name.to_owned(), n.into())).collect();
    let judged: serde_json::Map<_, _> = sweep.looks.iter().map(|(name, n)| (name, n.into())).collect();
    let failures: Vec<_> = sweep
        .failed
        .iter()
        .map(|(seed, f)| serde_json::json!({ "seed": seed, "rule": f.rule, "text": f.text, "clients": f.clients }))
        .collect();
    serde_json::json!({
        "leader_after_ms": spread(&sweep.leaders).map(|s| s.json()),
        "elections_after": spread(&sweep.elections).map(|s| s.json()),
        "seeds": sweep.seeds,
        "failed": sweep.failed.len(),
        "seeds_per_s": rate(sweep.seeds),
        "events_per_s": rate(sweep.events),
        "simulated_s_per_s": rate(sweep.time / 1_000_000_000),
        "hash": format!("{:016x}", sweep.hash),
        "events": sweep.events,
        "operations": sweep.operations,
        "run_twice": sweep.twice,
        "coverage": coverage,
        "judged": judged,
        "failures": failures,
    })
}

/// How a number is spread over seeds.
struct Spread {
    least: u32,
    median: u32,
    p99: u32,
    most: (u32, u64),
}

/// Of a sorted list.
fn spread(sorted: &[(u32, u64)]) -> Option<Spread> {
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 100].0;
    let most = *sorted.last()?;
    Some(Spread { least: at(0), median: at(50), p99: at(99), most })
}

impl Spread {
    fn json(&self) -> serde_json::Value {
        let (max, seed) = self.most;
        serde_json::json!({ "min": self.least, "median": self.median, "p99": self.p99, "max": max, "seed": seed })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { least, median, p99, most: (most, seed) } = self;
        write!(f, "min {least}, median {median}, p99 {p99}, max {most} (seed {seed})")
    }
}

/// Failures shown one by one; the rest is counted.
const SHOWN: usize = 20;

fn print_sweep(out: &mut impl std::io::Write, sweep: &Sweep, seconds: f64) -> std::io::Result<()> {
    let per_s = |n: u64| (n as f64 / seconds) as u64;
    writeln!(
        out,
        "{} seeds in {seconds:.1} s: {} seeds/s, {} events/s, {} simulated s/s; hash {:016x}",
        sweep.seeds,
        per_s(sweep.seeds),
        per_s(sweep.events),
        per_s(sweep.time / 1_000_000_000),
        sweep.hash
    )?;
    writeln!(out, "{} operations; {} seeds ran twice", sweep.operations, sweep.twice)?;
    let reached: Vec<String> = sweep.coverage.iter().map(|(name, n)| format!("{name} {n}")).collect();
    for line in reached.chunks(6) {
        writeln!(out, "  {}", line.join(", "))?;
    }
    let judged: Vec<String> = sweep.looks.iter().map(|(name, n)| format!("{name} {n}")).collect();
    writeln!(out, "judged, by rule:")?;
    for line in judged.chunks(10) {
        writeln!(out, "  {}", line.join(", "))?;
    }
    if let Some(s) = spread(&sweep.leaders) {
        writeln!(out, "from healing to a leader that serves, ms: {s}")?;
    }
    if let Some(s) = spread(&sweep.elections) {
        writeln!(out, "leaders after healing: {s}")?;
    }
    for (seed, failure) in sweep.failed.iter().take(SHOWN) {
        writeln!(out, "seed {seed}: {}: {}", failure.rule, failure.text)?;
        writeln!(out, "  cargo run --release --bin zebu-sim -- replay {seed} --events")?;
    }
    if sweep.failed.len() > SHOWN {
        writeln!(out, "… and {} more", sweep.failed.len() - SHOWN)?;
    }
    let verdict =
        if sweep.failed.is_empty() { "clean".to_owned() } else { format!("{} failed", sweep.failed.len()) };
    writeln!(out, "{verdict}")
}

/// A scenario by its seed, or out of its file.
fn scenario(what: &str) -> Result<ScenarioFile> {
    if let Ok(seed) = what.parse() {
        return Ok(ScenarioFile { notes: Vec::new(), plan: Scenario::from_seed(seed) });
    }
    let text = std::fs::read_to_string(what).with_context(|| format!("cannot read {what}"))?;
    ScenarioFile::decode(&text).with_context(|| what.to_owned())
}

fn run_one(plan: Scenario, loud: bool, judges: Judges) -> Result<ExitCode> {
    let outcome = if loud {
        // A panic is printed where it happens, after the events that led to it.
        World::judged_by(judges).run(plan, true)
    } else {
        sweep::keep_panics();
        sweep::run_caught(&mut World::judged_by(judges), plan)
    };
    report(&outcome)?;
    Ok(if outcome.failure().is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn report(outcome: &Outcome) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "hash {:016x}, {} events, {} simulated seconds",
        outcome.hash,
        outcome.events,
        trace::clock(outcome.time).trim()
    )?;
    let reached: Vec<String> =
        outcome.coverage.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    writeln!(out, "{}", reached.join(", "))?;
    for violation in &outcome.violations {
        writeln!(out, "{violation}")?;
    }
    if let Some(words) = &outcome.panic {
        writeln!(out, "panic: {words}")?;
    }
    writeln!(out, "{}", if outcome.failure().is_none() { "clean" } else { "failed" })
}

fn run_replay(what: &str, events: bool, judges: Judges) -> Result<ExitCode> {
    if what.parse::<u64>().is_err() {
        let bytes = std::fs::read(what).with_context(|| format!("cannot read {what}"))?;
        if bytes.starts_with(MAGIC) {
            return replay_recording(&bytes, events);
        }
    }
    let file = scenario(what)?;
    file.notes.iter().for_each(|line| trace::say(format_args!("# {line}")));
    run_one(file.plan, events, judges)
}

fn replay_recording(bytes: &[u8], events: bool) -> Result<ExitCode> {
    let done = replay::replay(bytes, |frame, outputs| {
        if events {
            trace::say(format_args!("{frame:?}"));
            outputs.iter().for_each(|o| trace::say(format_args!("    {o:?}")));
        }
    })?;
    let replay::Replayed { steps, outputs, checked } = done;
    trace::say(format_args!("{steps} steps, {outputs} outputs, {checked} hashes met"));
    Ok(ExitCode::SUCCESS)
}

fn run_shrink(what: &str, out: &PathBuf) -> Result<ExitCode> {
    let file = scenario(what)?;
    sweep::keep_panics();
    let began = Instant::now();
    let shrunk = shrink::shrink(&file.plan).context("it does not fail")?;
    let (from, to) = (&file.plan, &shrunk.plan);
    trace::say(format_args!(
        "{} faults, {} operations, {} clients → {}, {}, {} after {} runs in {:.2} s",
        from.faults.len(),
        from.operations(),
        from.clients.len(),
        to.faults.len(),
        to.operations(),
        to.clients.len(),
        shrunk.runs,
        began.elapsed().as_secs_f64()
    ));
    trace::say(format_args!("{}: {}", shrunk.failure.rule, shrunk.failure.text));
    let mut notes = vec![format!("seed {}: {}: {}", from.seed, shrunk.failure.rule, shrunk.failure.text)];
    notes.extend(file.notes);
    std::fs::write(out, ScenarioFile { notes, plan: shrunk.plan }.encode())
        .with_context(|| format!("cannot write {}", out.display()))?;
    trace::say(format_args!("written to {}", out.display()));
    Ok(ExitCode::SUCCESS)
}
