//! `zebu cli`: zkCli.sh's commands, output and exit codes over Zebu's own client. Answers to `ZooKeeperMain`.
//!
//! Reading order: `shell` (a line in, an exit code out), `commands` and `quota` (what each does), `words`, `show`, `editor`.

mod commands;
mod editor;
mod quota;
mod shell;
mod show;
mod words;

use crate::client::ClientConfig;
use shell::Shell;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code of an unknown command.
const NOT_FOUND: u8 = 127;
/// Exit code of options that cannot be followed.
const BAD_INVOCATION: u8 = 2;

/// A command that failed: what to say, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    text: String,
    code: u8,
}

impl<T: Display> From<T> for Failure {
    fn from(text: T) -> Failure {
        Failure { text: text.to_string(), code: 1 }
    }
}

type Done<T = ()> = Result<T, Failure>;

/// A line on stdout. Whoever closed it early does not want the rest.
fn say(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// A line on stderr.
fn complain(text: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// What stands in front of the command.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    server: String,
    timeout_ms: i32,
    read_only: bool,
    wait: bool,
    command: Vec<String>,
}

impl Options {
    /// Options come before the command, whose own follow it. Unknown ones are ignored, as zkCli does.
    fn parse(args: &[String]) -> Done<Options> {
        let mut options = Options {
            server: "localhost:2181".to_owned(),
            timeout_ms: 30_000,
            read_only: false,
            wait: false,
            command: Vec::new(),
        };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().ok_or(format!("Error: no argument found for option {word}"));
            match word.as_str() {
                "-server" => options.server = value()?.clone(),
                "-timeout" => {
                    let text = value()?;
                    options.timeout_ms = text.parse().map_err(|_| format!("For input string: \"{text}\""))?;
                }
                "-client-configuration" => {
                    let text = format!("{}: zebu cli reads no client configuration", value()?);
                    return Err(Failure { text, code: BAD_INVOCATION });
                }
                "-r" => options.read_only = true,
                "-waitforconnection" => options.wait = true,
                other if other.starts_with('-') => {}
                command => {
                    options.command = std::iter::once(command.to_owned()).chain(rest.cloned()).collect();
                    break;
                }
            }
        }
        Ok(options)
    }

    fn config(&self, server: &str) -> Done<ClientConfig> {
        let config = ClientConfig::new(server)?;
        Ok(ClientConfig { session_timeout_ms: self.timeout_ms, read_only: self.read_only, ..config })
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.timeout_ms).unwrap_or(0))
    }
}

/// Runs the shell, or the one command in `args`, which are the words behind `zebu cli`.
pub fn main(args: &[String]) -> ExitCode {
    let run = || {
        let options = Options::parse(args)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Shell::run(options))
    };
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(Failure { text, code }) => {
            complain(text);
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Done<Options> {
        Options::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_end_at_the_command() {
        let options = parse(&[
            "-server",
            "a:1/x",
            "-timeout",
            "5",
            "-zzz",
            "-waitforconnection",
            "get",
            "-server",
            "/a",
        ]);
        assert_eq!(
            options,
            Ok(Options {
                server: "a:1/x".to_owned(),
                timeout_ms: 5,
                read_only: false,
                wait: true,
                command: vec!["get".to_owned(), "-server".to_owned(), "/a".to_owned()],
            })
        );
        assert_eq!(parse(&[]).unwrap().command.len(), 0);
        assert_eq!(parse(&["-server"]).unwrap_err().code, 1);
        assert_eq!(parse(&["-client-configuration", "f"]).unwrap_err().code, 2);
        assert_eq!(parse(&["-timeout", "x"]).unwrap_err().text, "For input string: \"x\"");
    }
}
