//! The command line of Zebu.

use clap::{Parser, Subcommand};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use zebu::{ServeError, Server, ServerConfig};

/// The core makes many small values; the system's allocator took a third of a write's time and half of a getChildren's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Java's code for bad arguments and configurations.
const EXIT_BAD_CONFIG: u8 = 2;
const EXIT_FAILURE: u8 = 1;

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
    /// Run a server.
    Server(ServerArgs),
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
}

fn main() -> ExitCode {
    match Args::parse().command {
        Some(Command::Server(args)) => server(args),
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
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => return fail(&error, error.exit_code()),
    };
    println!("zebu {} serves {}, data in {data}", env!("CARGO_PKG_VERSION"), server.addr());
    match run(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// Runs until a signal or the server itself ends it. A second signal ends the process at once.
fn run(mut server: Server) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ServeError::Host)?;
    let (mut term, mut int) = runtime.block_on(async { signals() }).map_err(ServeError::Host)?;
    runtime.block_on(async {
        tokio::select! {
            () = server.ended() => {}
            () = either(&mut term, &mut int) => info!("stopping"),
        }
    });
    std::thread::spawn(move || {
        runtime.block_on(either(&mut term, &mut int));
        std::process::exit(i32::from(EXIT_FAILURE));
    });
    server.stop()
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
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

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("zebu: {error}");
    ExitCode::from(code)
}
