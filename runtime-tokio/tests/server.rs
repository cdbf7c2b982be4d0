//! The server as a whole, over real sockets and real files.

mod replay;
mod wire;

use bytes::Bytes;
use replay::replay;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wire::{Wire, children, create, get, word};
use zebu::config::ServerConfig;
use zebu::{DirError, ServeError, Server};
use zebu_core::boundary::Dir;
use zebu_core::config::FourLetterWords;
use zebu_core::proto::{Request, Response};
use zebu_core::record::{File, Player};

fn config(data: &Path) -> ServerConfig {
    let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap(), data);
    config.core.four_letter_words = FourLetterWords::All;
    config.core.max_client_cnxns = 0;
    config
}
fn data(response: Response) -> Bytes {
    let Response::Data { data, .. } = response else { panic!("{response:?}") };
    data.unwrap()
}

#[test]
fn an_embedded_server_serves_and_keeps_what_it_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start(config(temp.path())).unwrap();
    let mut client = Wire::connect(server.addr());
    assert_eq!(client.call(&create("/a", b"1")), Response::Path("/a".into()));
    assert_eq!(data(client.call(&get("/a"))), "1");
    server.stop().unwrap();
    assert!(client.frame().is_err(), "the server closes its connections when it stops");

    let server = Server::start(config(temp.path())).unwrap();
    let mut client = Wire::connect(server.addr());
    assert_eq!(data(client.call(&get("/a"))), "1");
    client.call(&create("/b", b""));
}

#[test]
fn four_letter_words_are_answered_and_the_connection_ends() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start(config(temp.path())).unwrap();
    assert_eq!(word(server.addr(), "ruok"), "imok");
    // What follows the word is not read; the answer must get through all the same.
    assert_eq!(word(server.addr(), &format!("ruok{}", "x".repeat(10_000))), "imok");
    let port = server.addr().port();
    let conf = word(server.addr(), "conf");
    assert!(conf.starts_with(&format!("clientPort={port}\n")), "{conf}");
    assert!(conf.contains(&format!("dataDir={}/version-2\n", temp.path().canonicalize().unwrap().display())));
    assert!(word(server.addr(), "srvr").contains("Mode: standalone\n"));
    assert!(word(server.addr(), "envi").contains("user.dir="));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !word(server.addr(), "mntr").contains("zk_max_file_descriptor_count\t") {
        assert!(Instant::now() < deadline, "the host's gauges arrive");
    }
}

#[test]
fn any_split_of_the_stream_and_pipelining() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start(config(temp.path())).unwrap();
    let mut client = Wire::connect(server.addr());
    let big = vec![7; 500_000];
    let requests = [create("/big", &big), get("/big"), get("/big"), children("/")];
    let all: Vec<u8> = requests.iter().flat_map(|r| client.encode(r).1).collect();
    for piece in all[..40].chunks(1).chain(all[40..].chunks(100_000)) {
        client.stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.reply(&requests[0]).unwrap().1, Some(Response::Path("/big".into())));
    for request in &requests[1..3] {
        assert_eq!(data(client.reply(request).unwrap().1.unwrap()), big);
    }
    assert!(client.reply(&requests[3]).unwrap().1.is_some());
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start(config(temp.path())).unwrap();
    let mut client = Wire::connect(server.addr());
    client.call(&create("/big", &vec![7; 900_000]));
    let request = get("/big");
    let many = 40; // far more than the socket's buffers and the server's own limit hold
    for _ in 0..many {
        client.send(&request).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..many {
        assert_eq!(data(client.reply(&request).unwrap().1.unwrap()).len(), 900_000);
    }
    client.call(&create("/after", b""));
}

#[test]
fn start_errors_are_told_apart() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start(config(temp.path())).unwrap();
    let locked = Server::start(config(temp.path())).unwrap_err();
    assert!(matches!(locked, ServeError::Dir(DirError::Locked { .. })), "{locked}");
    let other = tempfile::tempdir().unwrap();
    let taken = Server::start(ServerConfig::new(server.addr(), other.path())).unwrap_err();
    assert!(matches!(taken, ServeError::Bind { addr, .. } if addr == server.addr()), "{taken}");
    assert!(taken.to_string().contains("Address already in use"), "{taken}");
    drop(server);
    let data = other.path().join("version-2");
    std::fs::remove_file(data.join("snapshot.0")).ok();
    std::fs::write(data.join("snapshot.5"), "no snapshot").unwrap();
    let refused = Server::start(config(other.path()));
    assert!(matches!(refused, Err(ServeError::Recover(_))), "{refused:?}");
}

/// `zebu server` as a process.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn spawn(dir: &Path, more: &str, args: &[&str]) -> Process {
        let cfg = dir.join("zoo.cfg");
        let text = format!(
            "dataDir={}/data\nclientPort=0\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n{more}",
            dir.display()
        );
        std::fs::write(&cfg, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_zebu"))
            .arg("server")
            .arg(&cfg)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix(&format!("zebu {} serves ", env!("CARGO_PKG_VERSION")));
        let addr =
            addr.and_then(|rest| rest.split_once(", data in ")).and_then(|(addr, _)| addr.parse().ok());
        let Some(addr) = addr else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("no line that it serves: {line:?}\n{log}");
        };
        Process { child, addr }
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end; returns its code and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..3 {
        let server = Process::spawn(temp.path(), "snapCount=100\n", &[]);
        let mut client = Wire::connect(server.addr);
        for i in 0..acknowledged {
            assert_eq!(data(client.call(&get(&format!("/n{i}")))), i.to_string(), "after kill {round}");
        }
        // Leave one that was not acknowledged where it may be, so that the next round's names are free.
        let before = acknowledged;
        while let Response::Children(names) = client.call(&children("/")) {
            if !names.contains(&format!("n{acknowledged}")) {
                break;
            }
            acknowledged += 1;
        }
        assert!(acknowledged - before <= 20, "no more than were under way");
        let requests: Vec<Request> = (acknowledged..acknowledged + 400)
            .map(|i| create(&format!("/n{i}"), i.to_string().as_bytes()))
            .collect();
        let mut sent = requests.iter();
        for request in sent.by_ref().take(20) {
            client.send(request).unwrap();
        }
        for (i, request) in requests.iter().enumerate() {
            if i == 300 {
                server.signal("-KILL");
            }
            let Ok((header, _)) = client.reply(request) else { break };
            assert_eq!(header.err, 0);
            acknowledged += 1;
            if sent.next().is_some_and(|r| client.send(r).is_err()) {
                continue; // what is already in the socket can still be read
            }
        }
        let (status, _) = server.end();
        assert_eq!(status.code(), None, "killed");
    }
    assert!(acknowledged >= 900, "{acknowledged}");
}

#[test]
fn sigterm_ends_cleanly() {
    let temp = tempfile::tempdir().unwrap();
    let server = Process::spawn(temp.path(), "", &[]);
    let mut client = Wire::connect(server.addr);
    client.call(&create("/a", b""));
    server.signal("-TERM");
    assert!(client.frame().is_err());
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn bad_configurations_and_taken_folders_have_their_exit_codes() {
    let temp = tempfile::tempdir().unwrap();
    let cfg = temp.path().join("bad.cfg");
    std::fs::write(&cfg, "dataDir=/d\nclientPort=x\n").unwrap();
    let run = |cfg: &Path| Command::new(env!("CARGO_BIN_EXE_zebu")).arg("server").arg(cfg).output().unwrap();
    let bad = run(&cfg);
    assert_eq!(bad.status.code(), Some(2));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(said.contains("bad.cfg, line 2: clientPort=x is not valid"), "{said}");

    let server = Process::spawn(temp.path(), "foo=1\n", &[]);
    let taken = run(&temp.path().join("zoo.cfg"));
    assert_eq!(taken.status.code(), Some(3));
    let said = String::from_utf8(taken.stderr).unwrap();
    assert!(said.contains("in use by another server"), "{said}");
    server.signal("-INT");
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("line 5: unknown key 'foo' is ignored"), "{log}");
}

#[test]
fn a_recording_replays_to_the_same_outputs() {
    for own_log_folder in [true, false] {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("recording");
        let args = ["--record", file.to_str().unwrap()];
        let logs = match own_log_folder {
            true => format!("dataLogDir={}/log\n", temp.path().display()),
            false => String::new(),
        };
        for round in 0..2 {
            let server = Process::spawn(temp.path(), &logs, &args);
            let mut client = Wire::connect(server.addr);
            for i in 0..50 {
                client.call(&create(&format!("/{round}-{i}"), b"x"));
                client.call(&get("/zookeeper"));
            }
            server.signal("-TERM");
            assert_eq!(server.end().0.code(), Some(0));
        }
        let bytes = std::fs::read(&file).unwrap();
        let (header, _) = Player::new(&bytes).unwrap();
        let found = |f: &File| f.dir == Dir::Log && f.name == "log.1";
        assert!(header.files.iter().any(found), "the second round's files");
        replay(&bytes);
    }
}
