//! A local ensemble: `zebu server` as a child process for each of its members, with a zoo.cfg, a log and data in a folder of
//! its own. What can be done to a process can be done to a member. Knows nothing of what the servers say to each other;
//! for tests, measurements and a first look.

use crate::config::{ConfigError, ServerConfig};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zebu_core::addr::Addr;

/// Ports are chosen from here: below those that the system gives to clients, which could take a member's port while it is
/// down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How often a process that should end, or a server that should serve, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a four-letter word may take.
const WORD_LIMIT: Duration = Duration::from_millis(500);

/// What an ensemble is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many vote. Their numbers begin with 1.
    pub servers: usize,
    /// How many only learn; their numbers follow.
    pub observers: usize,
    /// The folder that gets a folder for each of them.
    pub dir: PathBuf,
    /// Client port of server 1; the others count up from there. Free ones are chosen if it is not given.
    pub client_port: Option<u16>,
    /// Where each of them listens, in turn; 127.0.0.1 for those that have none.
    pub hosts: Vec<IpAddr>,
    /// tickTime, ms.
    pub tick_ms: u64,
    /// More lines for each zoo.cfg.
    pub more: String,
}

impl Plan {
    /// So many servers in this folder, with the limits of ZooKeeper's sample file.
    pub fn new(servers: usize, dir: impl Into<PathBuf>) -> Plan {
        let (hosts, more) = (Vec::new(), String::new());
        Plan { servers, observers: 0, dir: dir.into(), client_port: None, hosts, tick_ms: 2000, more }
    }
}

/// Why there is no ensemble.
#[derive(Debug)]
pub enum EnsembleError {
    /// A file, a port or a process cannot be had.
    Io {
        /// What was tried.
        action: String,
        /// The operating system's words.
        cause: io::Error,
    },
    /// A folder that has an ensemble already has a bad zoo.cfg.
    Config(ConfigError),
}

impl std::fmt::Display for EnsembleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EnsembleError::Io { action, cause } => write!(f, "cannot {action}: {cause}"),
            EnsembleError::Config(bad) => bad.fmt(f),
        }
    }
}
impl std::error::Error for EnsembleError {}

fn io_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> EnsembleError {
    move |cause| EnsembleError::Io { action: action.into(), cause }
}

/// One server of an ensemble. Dropped, it is killed.
#[derive(Debug)]
pub struct Member {
    /// Its number.
    pub sid: i64,
    /// Its folder: `zoo.cfg`, `myid`, `zebu.log`, `version-2`.
    pub dir: PathBuf,
    /// Where clients connect.
    pub client: SocketAddr,
    process: Option<Child>,
}

impl Member {
    /// Its zoo.cfg.
    pub fn config(&self) -> PathBuf {
        self.dir.join("zoo.cfg")
    }
    /// Where its process writes its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("zebu.log")
    }
    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// What starts it: `zebu` may stand behind words that put it somewhere, and more words may follow.
    pub fn command(&self, mut zebu: Command) -> Command {
        zebu.arg("server").arg("--until-eof").arg(self.config());
        zebu
    }

    /// Starts its process.
    pub fn start(&mut self, mut command: Command) -> Result<(), EnsembleError> {
        assert!(self.process.is_none(), "server {} runs already", self.sid);
        let opened = File::options().create(true).append(true).open(self.log());
        let log = opened.map_err(io_error(format!("write {}", self.log().display())))?;
        let also = log.try_clone().map_err(io_error("have one more file open"))?;
        command.stdin(Stdio::piped()).stdout(also).stderr(log);
        // A Ctrl-C in the terminal is the parent's business.
        command.process_group(0);
        self.process = Some(command.spawn().map_err(io_error(format!("start server {}", self.sid)))?);
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended by itself is gone just as well.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Tells it to stop in good order.
    pub fn ask_to_stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stdin = None;
        }
    }

    /// Its end, if it has come.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }

    /// Waits for its end; `None` if it does not come in time.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            sleep(LOOK_EVERY);
        }
        None
    }

    /// What `Mode:` of its `srvr` says: leader, follower, observer, standalone. `None`: it does not serve.
    pub fn mode(&self) -> Option<String> {
        let answer = word(self.client, "srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The servers of an ensemble, by number.
#[derive(Debug)]
pub struct Ensemble {
    binary: PathBuf,
    /// Voters first.
    pub members: Vec<Member>,
}

impl Ensemble {
    /// Writes the files of a new one. Data that lies in the folders stays. `binary` is a `zebu`.
    pub fn create(plan: &Plan, binary: &Path) -> Result<Ensemble, EnsembleError> {
        fs::create_dir_all(&plan.dir).map_err(io_error(format!("make {}", plan.dir.display())))?;
        let dir = plan.dir.canonicalize().map_err(io_error(format!("open {}", plan.dir.display())))?;
        let (lines, clients) = server_lines(plan)?;
        let mut members = Vec::new();
        for (i, client) in clients.into_iter().enumerate() {
            let member =
                Member { sid: i as i64 + 1, dir: dir.join((i + 1).to_string()), client, process: None };
            write_member(&member, plan, &lines)
                .map_err(io_error(format!("write to {}", member.dir.display())))?;
            members.push(member);
        }
        Ok(Ensemble { binary: binary.to_owned(), members })
    }

    /// Reads what [`Ensemble::create`] has written; `None` if there is nothing.
    pub fn open(dir: &Path, binary: &Path) -> Result<Option<Ensemble>, EnsembleError> {
        let mut members = Vec::new();
        for sid in 1.. {
            let dir = dir.join(sid.to_string());
            let file = dir.join("zoo.cfg");
            if !file.is_file() {
                break;
            }
            let (config, _) = ServerConfig::load(&file).map_err(EnsembleError::Config)?;
            members.push(Member { sid, dir, client: config.client_addr, process: None });
        }
        Ok((!members.is_empty()).then_some(Ensemble { binary: binary.to_owned(), members }))
    }

    /// Starts those that do not run.
    pub fn start(&mut self) -> Result<(), EnsembleError> {
        for i in 0..self.members.len() {
            if self.members[i].pid().is_none() {
                self.start_one(i)?;
            }
        }
        Ok(())
    }

    /// Starts the one at this index.
    pub fn start_one(&mut self, i: usize) -> Result<(), EnsembleError> {
        let member = &mut self.members[i];
        member.start(member.command(Command::new(&self.binary)))
    }

    /// For clients.
    pub fn connect_string(&self) -> String {
        let all: Vec<String> = self.members.iter().map(|m| m.client.to_string()).collect();
        all.join(",")
    }

    /// The index of the one that leads and serves.
    pub fn leader(&self) -> Option<usize> {
        let leads = |m: &Member| m.mode().is_some_and(|mode| mode == "leader");
        self.members.iter().position(|m| m.pid().is_some() && leads(m))
    }

    /// Waits until one leads; `None` if that does not come in time.
    pub fn wait_for_leader(&self, limit: Duration) -> Option<usize> {
        let until = Instant::now() + limit;
        loop {
            match self.leader() {
                None if Instant::now() < until => sleep(LOOK_EVERY),
                found => return found,
            }
        }
    }

    /// Waits until all that run serve.
    pub fn wait_for_all(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let serves = |m: &Member| m.pid().is_none() || m.mode().is_some();
            match self.members.iter().all(serves) {
                false if Instant::now() < until => sleep(LOOK_EVERY),
                all => return all,
            }
        }
    }

    /// Stops all in good order, and kills what does not stop in time.
    pub fn stop(&mut self, limit: Duration) {
        self.members.iter_mut().for_each(Member::ask_to_stop);
        let until = Instant::now() + limit;
        for member in &mut self.members {
            // Whoever is left over is killed.
            let _ = member.wait(until.saturating_duration_since(Instant::now()));
            member.kill();
        }
    }
}

/// The `server.N` lines, the same for all, and each one's client address.
fn server_lines(plan: &Plan) -> Result<(String, Vec<SocketAddr>), EnsembleError> {
    let many = plan.servers + plan.observers;
    let host = |i: usize| plan.hosts.get(i).copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
    let free = free_ports(if plan.client_port.is_some() { 2 * many } else { 3 * many })
        .map_err(io_error("find free ports"))?;
    let (mut lines, mut clients) = (String::new(), Vec::new());
    for i in 0..many {
        let client = match plan.client_port {
            Some(first) => usize::from(first).checked_add(i).and_then(|p| u16::try_from(p).ok()),
            None => Some(free[2 * many + i]),
        };
        let no_port = || io::Error::other("the client ports go beyond 65535");
        let port = client.ok_or_else(no_port).map_err(io_error("count up the client ports"))?;
        let client = SocketAddr::new(host(i), port);
        let name = Addr::new(&host(i).to_string(), free[2 * i]);
        let role = if i < plan.servers { "participant" } else { "observer" };
        writeln!(lines, "server.{}={name}:{}:{role};{client}", i + 1, free[2 * i + 1])
            .expect("writing to a string");
        clients.push(client);
    }
    Ok((lines, clients))
}

fn write_member(member: &Member, plan: &Plan, lines: &str) -> io::Result<()> {
    fs::create_dir_all(&member.dir)?;
    let data =
        member.dir.to_str().ok_or_else(|| io::Error::other("the path is no text"))?.replace('\\', "\\\\");
    let alone = if plan.servers == 1 { "standaloneEnabled=false\n" } else { "" };
    let text = format!(
        "# Server {} of a local ensemble, written by `zebu ensemble`.\n\
         tickTime={}\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n4lw.commands.whitelist=*\n{alone}{lines}{}",
        member.sid, plan.tick_ms, plan.more
    );
    fs::write(member.config(), text)?;
    fs::write(member.dir.join("myid"), format!("{}\n", member.sid))
}

/// So many ports that nobody has at the moment, each another one.
fn free_ports(n: usize) -> io::Result<Vec<u16>> {
    use std::hash::{BuildHasher as _, RandomState};
    let mut held: Vec<(u16, TcpListener)> = Vec::new();
    let size = u64::from(PORTS.end - PORTS.start);
    for _ in 0..50 * n {
        if held.len() == n {
            break;
        }
        let port = PORTS.start + (RandomState::new().hash_one(held.len()) % size) as u16;
        // Taken on every address, so that it is free on each.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            held.push((port, listener));
        }
    }
    match held.len() == n {
        true => Ok(held.into_iter().map(|(port, _)| port).collect()),
        false => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// What a server answers to a four-letter word.
pub fn word(addr: SocketAddr, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, WORD_LIMIT)?;
    stream.set_read_timeout(Some(WORD_LIMIT))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zebu_core::id::ServerId;
    use zebu_core::quorum::LearnerType;

    #[test]
    fn what_is_written_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let zebu = Path::new("zebu");
        assert!(Ensemble::open(temp.path(), zebu).unwrap().is_none());
        let plan = Plan {
            observers: 1,
            client_port: Some(2181),
            tick_ms: 200,
            more: "snapCount=7\n".to_owned(),
            ..Plan::new(3, temp.path().join("with \\ and space"))
        };
        let made = Ensemble::create(&plan, zebu).unwrap();
        assert_eq!(made.connect_string(), "127.0.0.1:2181,127.0.0.1:2182,127.0.0.1:2183,127.0.0.1:2184");
        let read = Ensemble::open(&plan.dir, zebu).unwrap().unwrap();
        assert_eq!(read.connect_string(), made.connect_string());
        let (config, warnings) = ServerConfig::load(&made.members[3].config()).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.data_dir, made.members[3].dir);
        assert_eq!((config.core.server_id, config.core.tick_ms), (ServerId(4), 200));
        assert_eq!(config.core.snap_count, 7);
        let members = config.core.ensemble.unwrap().members;
        assert_eq!(members.voters().count(), 3);
        assert_eq!(members.learner_type(ServerId(4)), LearnerType::Observer);
        let alone = Ensemble::create(&Plan::new(1, temp.path().join("one")), zebu).unwrap();
        assert!(ServerConfig::load(&alone.members[0].config()).unwrap().0.core.ensemble.is_some());
        let beyond = Plan { client_port: Some(65_535), ..Plan::new(2, temp.path()) };
        assert!(Ensemble::create(&beyond, zebu).is_err());
    }
}
