//! The command line of Zebu.

use clap::{Parser, Subcommand};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};
use zebu::bench::{BenchError, FailoverArgs};
use zebu::ensemble::{Ensemble, EnsembleError, Plan};
use zebu::{ServeError, Server, ServerConfig};

/// The core makes many small values; the system's allocator took a third of a write's time and half of a getChildren's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Java's code for bad arguments and configurations.
const EXIT_BAD_CONFIG: u8 = 2;
const EXIT_FAILURE: u8 = 1;
/// How often the servers of an ensemble are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the servers of an ensemble may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A coordination service that speaks ZooKeeper's protocols. Without a command it serves 127.0.0.1:2181, with its data in
/// ./zebu-data.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server: standalone, or a member of the ensemble that its zoo.cfg describes.
    Server(ServerArgs),
    /// Run a whole ensemble on this machine, each of its servers a process; Ctrl-C stops them all.
    Ensemble(EnsembleArgs),
    /// Measure.
    #[command(subcommand)]
    Bench(Bench),
    /// A shell, or one command: zkCli's `[-server HOST:PORT[,…][/CHROOT]] [-timeout MS] [-waitforconnection] [-r] [COMMAND …]`.
    #[command(disable_help_flag = true)]
    Cli {
        /// In zkCli's own syntax.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(clap::Args, Default)]
struct ServerArgs {
    /// A zoo.cfg. Without it: a standalone server on 127.0.0.1:2181, with its data in ./zebu-data.
    config: Option<PathBuf>,
    /// Write all that the server is told to FILE, for `zebu-sim replay FILE`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Stop in good order when standard input ends: for whoever starts servers as child processes.
    #[arg(long)]
    until_eof: bool,
}

#[derive(clap::Args)]
struct EnsembleArgs {
    /// How many servers vote; 3 if nothing is said.
    #[arg(long)]
    servers: Option<usize>,
    /// How many servers only learn.
    #[arg(long)]
    observers: Option<usize>,
    /// The folder of their files; an ensemble that it has already is started again. Without it: a folder that is removed at the
    /// end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Client port of server 1; the others count up from there. Free ones are chosen if it is not given.
    #[arg(long)]
    client_port: Option<u16>,
}

#[derive(Subcommand)]
enum Bench {
    /// Kill the leader of an ensemble again and again under constant writes: how long is no write acknowledged, and is every
    /// acknowledged one there?
    Failover(FailoverArgs),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Some(Command::Server(args)) => server(args),
        Some(Command::Ensemble(args)) => said(ensemble(&args)),
        Some(Command::Bench(Bench::Failover(args))) => said(measure(&args)),
        Some(Command::Cli { words }) => zebu::cli::main(&words),
        None => server(ServerArgs::default()),
    }
}

fn server(args: ServerArgs) -> ExitCode {
    start_log();
    let (mut config, warnings) = match &args.config {
        None => (ServerConfig::local(), Vec::new()),
        Some(file) => match ServerConfig::load(file) {
            Ok(read) => read,
            Err(error) => return fail(&error, EXIT_BAD_CONFIG),
        },
    };
    for warning in warnings {
        warn!("{warning}");
    }
    config.record = args.record;
    let data = config.data_dir.display().to_string();
    let member = match &config.core.ensemble {
        None => String::new(),
        Some(ensemble) => {
            format!(", as server {} of {}", config.core.server_id, ensemble.members.members().count())
        }
    };
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => return fail(&error, error.exit_code()),
    };
    println!("zebu {} serves {}, data in {data}{member}", env!("CARGO_PKG_VERSION"), server.addr());
    match run(server, args.until_eof) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// Runs until a signal, the end of standard input if that counts, or the server itself ends it. A second signal ends the process
/// at once.
fn run(mut server: Server, until_eof: bool) -> Result<(), ServeError> {
    let (runtime, mut signals) = signals().map_err(ServeError::Host)?;
    let (eof, at_eof) = oneshot::channel::<()>();
    if until_eof {
        std::thread::spawn(move || {
            // Whatever comes is thrown away, and a fault is an end, too.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(eof);
        });
    }
    runtime.block_on(async {
        tokio::select! {
            () = server.ended() => {}
            () = signals.either() => info!("stopping"),
            _ = at_eof, if until_eof => info!("standard input has ended: stopping"),
        }
    });
    std::thread::spawn(move || {
        runtime.block_on(signals.either());
        std::process::exit(i32::from(EXIT_FAILURE));
    });
    server.stop()
}

/// The two signals that ask for an end.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn either(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

fn signals() -> std::io::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _in_it = runtime.enter();
        Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? }
    };
    Ok((runtime, signals))
}

/// This very program, for child processes.
fn own_binary() -> Result<PathBuf, EnsembleError> {
    let failed = |cause| EnsembleError::Io { action: "find this program's own file".to_owned(), cause };
    std::env::current_exe().map_err(failed)
}

fn ensemble(args: &EnsembleArgs) -> Result<(), EnsembleError> {
    let failed = |action: &str| {
        let action = action.to_owned();
        |cause| EnsembleError::Io { action, cause }
    };
    let (runtime, mut signals) = signals().map_err(failed("wait for signals"))?;
    let mut temporary = None;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let made = std::env::temp_dir().join(format!("zebu-ensemble-{}", std::process::id()));
            std::fs::create_dir(&made).map_err(failed("make a temporary folder"))?;
            temporary.insert(TemporaryFolder(made)).0.clone()
        }
    };
    let mut ensemble = members(args, &dir)?;
    ensemble.start()?;
    for member in &ensemble.members {
        let pid = member.pid().unwrap_or_default();
        let (config, log) = (member.config(), member.log());
        println!(
            "server {}: pid {pid}, clients {}, {}, {}",
            member.sid,
            member.client,
            config.display(),
            log.display()
        );
    }
    println!("connect string: {}", ensemble.connect_string());
    runtime.block_on(async {
        tokio::select! {
            () = signals.either() => {}
            () = watch(&mut ensemble) => println!("no server is left"),
        }
    });
    println!("stopping");
    ensemble.stop(STOP_LIMIT);
    Ok(())
}

/// Those that the folder has, or new ones.
fn members(args: &EnsembleArgs, dir: &Path) -> Result<Ensemble, EnsembleError> {
    let zebu = own_binary()?;
    if let Some(found) = Ensemble::open(dir, &zebu)? {
        let asked = args.servers.is_some() || args.observers.is_some() || args.client_port.is_some();
        if asked {
            let action = format!("make another ensemble in {}", dir.display());
            let cause = std::io::Error::other(
                "it has one already: leave out --servers, --observers and --client-port, or take another folder",
            );
            return Err(EnsembleError::Io { action, cause });
        }
        return Ok(found);
    }
    let plan = Plan {
        observers: args.observers.unwrap_or(0),
        client_port: args.client_port,
        ..Plan::new(args.servers.unwrap_or(3), dir)
    };
    Ensemble::create(&plan, &zebu)
}

/// Tells when clients are served, and which servers end; returns when none is left.
async fn watch(ensemble: &mut Ensemble) {
    let start = Instant::now();
    let mut leader = None;
    while ensemble.members.iter().any(|m| m.pid().is_some()) {
        let leads = ensemble.leader().map(|i| ensemble.members[i].sid);
        if leads != leader {
            match leads {
                Some(sid) => {
                    println!("server {sid} leads, {:.1} s after the start", start.elapsed().as_secs_f64())
                }
                None => println!("nobody leads"),
            }
            leader = leads;
        }
        for member in &mut ensemble.members {
            if let Some(status) = member.ended() {
                let (sid, config, log) = (member.sid, member.config(), member.log());
                println!("server {sid} has ended ({status}), see {}", log.display());
                println!("  to start it again: zebu server {}", config.display());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Removed with all that is in it.
struct TemporaryFolder(PathBuf);
impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.0) {
            eprintln!("zebu: cannot remove {}: {cause}", self.0.display());
        }
    }
}

/// The log goes to stderr; RUST_LOG chooses what is in it.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn measure(args: &FailoverArgs) -> Result<(), BenchError> {
    let zebu = own_binary().map_err(BenchError::Ensemble)?;
    zebu::bench::failover(args, &zebu)
}

fn said<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("zebu: {error}");
    ExitCode::from(code)
}
