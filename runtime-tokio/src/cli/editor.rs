//! Where lines come from: a terminal with editing, history and completion, or a plain stream. Reads on a thread of its own, so
//! that events are printed while nobody types. Answers to `JLineZNodeCompleter`.

use super::commands;
use crate::client::Zebu;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter as _, Helper};
use std::io::{BufRead as _, IsTerminal as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// Lines, one at a time.
pub(super) struct Lines {
    prompts: Sender<String>,
    lines: mpsc::UnboundedReceiver<String>,
    /// Somebody types at the other end.
    pub(super) terminal: bool,
}

impl Lines {
    /// Reads stdin. Completion asks the session in `zebu`, on the runtime that this is called on.
    pub(super) fn of_stdin(zebu: watch::Receiver<Zebu>, screen: Screen) -> Lines {
        let (prompts, asked) = channel();
        let (said, lines) = mpsc::unbounded_channel();
        let terminal = std::io::stdin().is_terminal();
        let nodes = Nodes { zebu, runtime: Handle::current() };
        std::thread::spawn(move || {
            let edited = if terminal { edit(nodes, &screen, &asked, &said) } else { stream(&asked, &said) };
            if let Err(error) = edited {
                super::complain(error);
            }
        });
        Lines { prompts, lines, terminal }
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self, prompt: String) -> Option<String> {
        self.prompts.send(prompt).ok()?;
        self.lines.recv().await
    }
}

/// Reads a line for each prompt until either side ends. Without a terminal no prompt is shown.
fn stream(asked: &Receiver<String>, said: &mpsc::UnboundedSender<String>) -> Result<(), ReadlineError> {
    let mut stdin = std::io::stdin().lock();
    while asked.recv().is_ok() {
        let mut line = Vec::new();
        if stdin.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&line);
        if said.send(line.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
            break;
        }
    }
    Ok(())
}

fn edit(
    nodes: Nodes,
    screen: &Screen,
    asked: &Receiver<String>,
    said: &mpsc::UnboundedSender<String>,
) -> Result<(), ReadlineError> {
    let mut editor: Editor<Nodes, DefaultHistory> = Editor::new()?;
    editor.set_helper(Some(nodes));
    let mut printer = editor.create_external_printer()?;
    screen.by(Box::new(move |text| drop(printer.print(text))));
    while let Ok(prompt) = asked.recv() {
        match editor.readline(&prompt) {
            Ok(line) => {
                editor.add_history_entry(&line)?;
                if said.send(line).is_err() {
                    break;
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

type Print = Box<dyn FnMut(String) + Send>;

/// Where events are printed: on stdout, or around the line that is being edited.
#[derive(Clone, Default)]
pub(super) struct Screen(Arc<Mutex<Option<Print>>>);

impl Screen {
    fn by(&self, print: Print) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(print);
    }
    /// Prints an event as zkCli does: a blank line before each part.
    pub(super) fn event(&self, text: &str) {
        let text = format!("\nWATCHER::\n\n{text}");
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(print) => print(text + "\n"),
            None => super::say(text),
        }
    }
}

/// Completes commands, and paths from the server's children.
struct Nodes {
    zebu: watch::Receiver<Zebu>,
    runtime: Handle,
}

impl Nodes {
    /// Whole paths that begin with `token`.
    fn paths(&self, token: &str) -> Vec<String> {
        let (dir, prefix) = token.rsplit_once('/').unwrap_or(("", token));
        let zebu = self.zebu.borrow().clone();
        let listed = self.runtime.block_on(zebu.get_children(if dir.is_empty() { "/" } else { dir }));
        let mut names = listed.map(|(names, _)| names).unwrap_or_default();
        names.retain(|name| name.starts_with(prefix));
        names.sort_unstable();
        names.into_iter().map(|name| format!("{dir}/{name}")).collect()
    }
}

impl Completer for Nodes {
    type Candidate = Pair;
    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start = line[..at].rfind(' ').map_or(0, |blank| blank + 1);
        let token = &line[start..at];
        let found = if token.starts_with('/') {
            self.paths(token)
        } else {
            let names = commands::USAGE.iter().map(|(name, _)| *name);
            names.filter(|name| name.starts_with(token)).map(str::to_owned).collect()
        };
        let pair = |text: String| Pair { display: text.clone(), replacement: text };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Helper for Nodes {}
impl Hinter for Nodes {
    type Hint = String;
}
impl Highlighter for Nodes {}
impl Validator for Nodes {}
