//! A line in, an exit code out: the shell's own commands, its session, and the events that it prints.

use super::editor::{Lines, Screen};
use super::{Done, Failure, NOT_FOUND, Options, commands, complain, say, show, words};
use crate::client::{Events, SessionEvent, Zebu};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zebu_core::proto::ErrorCode;

/// How many lines `history` shows beside itself.
const HISTORY: usize = 10;

pub(super) struct Shell {
    options: Options,
    server: String,
    zebu: Zebu,
    /// For completion: the same.
    present: watch::Sender<Zebu>,
    screen: Screen,
    print_watches: Arc<AtomicBool>,
    printing: JoinHandle<()>,
    history: Vec<String>,
    exit: u8,
}

/// What comes after a command.
enum Next {
    Line,
    Quit,
}

impl Shell {
    /// Connects, runs the one command that `options` has, or lines until the end. Answers the last command's exit code.
    pub(super) async fn run(options: Options) -> Done<u8> {
        let server = options.server.clone();
        say(format!("Connecting to {server}"));
        let (screen, print_watches) = (Screen::default(), Arc::new(AtomicBool::new(true)));
        let (zebu, printing) = connect(&options, &server, &screen, &print_watches).await?;
        let (present, shown) = watch::channel(zebu.clone());
        let command = options.command.clone();
        let (history, exit) = (Vec::new(), 0);
        let mut shell =
            Shell { options, server, zebu, present, screen, print_watches, printing, history, exit };
        if command.is_empty() {
            say("Welcome to ZooKeeper!");
            let lines = Lines::of_stdin(shown, shell.screen.clone());
            say(if lines.terminal { "JLine support is enabled" } else { "JLine support is disabled" });
            shell.read(lines).await;
        } else {
            shell.execute(&command).await;
            shell.print_watches.store(false, Ordering::Relaxed);
        }
        shell.close().await;
        Ok(shell.exit)
    }

    async fn read(&mut self, mut lines: Lines) {
        while let Some(line) = lines.next(self.prompt()).await {
            let words = words::split(&line);
            if words.is_empty() {
                continue;
            }
            self.history.push(line);
            match self.execute(&words).await {
                Next::Line => {}
                Next::Quit => return,
            }
        }
        // Only who quits is told of the end.
        self.print_watches.store(false, Ordering::Relaxed);
    }

    fn prompt(&self) -> String {
        let state = show::state(self.zebu.state());
        format!("[zk: {}({state}) {}] ", self.server, self.history.len())
    }

    /// Runs a command and sets the exit code.
    async fn execute(&mut self, words: &[String]) -> Next {
        match self.command(words).await {
            Ok(Next::Line) => self.exit = 0,
            // Quitting is no command of its own: the code is that of the one before.
            Ok(Next::Quit) => return Next::Quit,
            Err(Failure { text, code }) => {
                complain(text);
                self.exit = code;
            }
        }
        Next::Line
    }

    async fn command(&mut self, words: &[String]) -> Done<Next> {
        let [name, args @ ..] = words else { return Ok(Next::Line) };
        if !commands::exists(name) {
            commands::usage();
            let text = format!("Command not found: Command not found {name}");
            return Err(Failure { text, code: NOT_FOUND });
        }
        match (name.as_str(), args) {
            ("quit" | "exit", _) => return Ok(Next::Quit),
            ("redo", [number, ..]) => {
                let line = self.line_to_redo(number)?;
                return Box::pin(async { Ok(self.execute(&words::split(&line)).await) }).await;
            }
            ("history", _) => self.show_history(),
            ("printwatches", []) => {
                let on = self.print_watches.load(Ordering::Relaxed);
                say(format!("printwatches is {}", if on { "on" } else { "off" }));
            }
            ("printwatches", [word, ..]) => self.print_watches.store(word == "on", Ordering::Relaxed),
            ("connect", _) => self.connect(args.first().cloned()).await?,
            _ => {}
        }
        if self.zebu.state().is_final() {
            say("Not connected");
        } else if name == "close" {
            self.close().await;
        } else {
            commands::run(&self.zebu, name, args).await?;
        }
        Ok(Next::Line)
    }

    fn line_to_redo(&mut self, number: &str) -> Done<String> {
        let n: i64 = number.parse().map_err(|_| format!("For input string: \"{number}\""))?;
        let present = self.history.len().saturating_sub(1);
        let n = usize::try_from(n).ok().filter(|n| *n < present).ok_or("Command index out of range")?;
        let line = self.history[n].clone();
        if words::split(&line).first().is_some_and(|w| w == "redo") {
            return Err("No redoing redos".into());
        }
        self.history[present].clone_from(&line);
        Ok(line)
    }

    fn show_history(&self) {
        // A command that was given to the program itself is in no history.
        if self.history.is_empty() {
            return say("0 - null");
        }
        let skip = self.history.len().saturating_sub(HISTORY + 1);
        for (n, line) in self.history.iter().enumerate().skip(skip) {
            say(format!("{n} - {line}"));
        }
    }

    async fn connect(&mut self, server: Option<String>) -> Done {
        self.close().await;
        let server = server.unwrap_or_else(|| self.server.clone());
        let made = connect(&self.options, &server, &self.screen, &self.print_watches).await?;
        (self.zebu, self.printing) = made;
        self.server = server;
        self.present.send_replace(self.zebu.clone());
        Ok(())
    }

    /// Ends the session, if it has not ended, and waits until all of its events are printed.
    async fn close(&mut self) {
        // Whether or not the server knows: the client is over.
        let _ = self.zebu.close().await;
        let _ = (&mut self.printing).await;
        self.printing = tokio::spawn(async {});
    }
}

async fn connect(
    options: &Options,
    server: &str,
    screen: &Screen,
    print_watches: &Arc<AtomicBool>,
) -> Done<(Zebu, JoinHandle<()>)> {
    let zebu = Zebu::open(options.config(server)?);
    let printing = tokio::spawn(print(zebu.events(), screen.clone(), print_watches.clone()));
    if options.wait {
        let connected = tokio::time::timeout(options.patience(), zebu.connected()).await;
        if !matches!(connected, Ok(Ok(()))) {
            let _ = zebu.close().await;
            return Err(ErrorCode::ConnectionLoss.into());
        }
    }
    Ok((zebu, printing))
}

/// The default watcher: prints everything that happens to a session.
async fn print(mut events: Events, screen: Screen, on: Arc<AtomicBool>) {
    while let Some(event) = events.next().await {
        let text = match event {
            SessionEvent::State(state) => show::state_event(state),
            SessionEvent::Watch(event) => Some(show::watch_event(&event)),
        };
        if let Some(text) = text.filter(|_| on.load(Ordering::Relaxed)) {
            screen.event(&text);
        }
    }
}
