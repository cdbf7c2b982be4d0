//! The client library and the shell over real sockets, against an embedded server.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use zebu::client::{ClientConfig, ClientState, ConnectError, SessionEvent, Zebu};
use zebu::config::ServerConfig;
use zebu::{Server, client::BadConnectString};
use zebu_core::proto::{Acl, AddWatchMode, CreateMode, ErrorCode, EventKind, OpResult, Request};

fn serve(data: &Path, addr: &str) -> Server {
    Server::start(ServerConfig::new(addr.parse().unwrap(), data)).unwrap()
}
fn open(addr: SocketAddr) -> Zebu {
    let config = ClientConfig::new(&addr.to_string()).unwrap();
    let pause = zebu_core::time::Span::from_millis(10);
    Zebu::open(ClientConfig { round_pause: pause, reconnect_jitter: pause, ..config })
}
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() })
}
async fn create(zebu: &Zebu, path: &str, mode: CreateMode) -> Result<String, ErrorCode> {
    zebu.create(path, Some("x".into()), vec![Acl::open()], mode).await
}

#[test]
fn calls_and_their_errors() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve(temp.path(), "127.0.0.1:0");
    run(async {
        let zebu = Zebu::connect(&server.addr().to_string()).await.unwrap();
        assert_eq!(create(&zebu, "/a", CreateMode::Persistent).await.as_deref(), Ok("/a"));
        assert_eq!(create(&zebu, "/a", CreateMode::Persistent).await, Err(ErrorCode::NodeExists));
        let (data, stat) = zebu.get_data("/a").await.unwrap();
        assert_eq!((data.as_deref(), stat.version), (Some(&b"x"[..]), 0));
        assert_eq!(zebu.set_data("/a", None, 0).await.unwrap().version, 1);
        assert_eq!(zebu.get_data("/a").await.unwrap().0, None, "null is not empty");
        assert_eq!(zebu.exists("/b").await, Ok(None));
        let delete = |path: &str| Request::Delete { path: path.to_owned(), version: -1 };
        let failed = zebu.multi(vec![delete("/a"), delete("/b")]).await.unwrap().unwrap_err();
        assert_eq!((failed.at, failed.code), (1, ErrorCode::NoNode));
        assert_eq!(zebu.multi(vec![delete("/a")]).await, Ok(Ok(vec![OpResult::Delete])));
        let bad = Zebu::connect("a:b").await.err();
        assert_eq!(bad, Some(ConnectError::Config(BadConnectString::Port("a:b".to_owned()))));
    });
}

#[test]
fn a_session_and_its_watches_outlive_the_server() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve(temp.path(), "127.0.0.1:0");
    let addr = server.addr();
    run(async {
        let zebu = open(addr);
        let mut events = zebu.events();
        create(&zebu, "/e", CreateMode::Ephemeral).await.unwrap();
        let (_, _, mut once) = zebu.get_children_and_watch("/").await.unwrap();
        let mut always = zebu.add_watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
        tokio::task::spawn_blocking(move || server.stop()).await.unwrap().unwrap();
        while events.next().await != Some(SessionEvent::State(ClientState::Disconnected)) {}
        let server = serve(temp.path(), &addr.to_string());
        zebu.connected().await.unwrap();
        assert!(matches!(zebu.state(), ClientState::Connected { reattached: true, .. }));
        assert!(zebu.exists("/e").await.unwrap().is_some(), "the ephemeral is still ours");
        let other = open(addr);
        create(&other, "/n", CreateMode::Persistent).await.unwrap();
        assert_eq!(once.next().await.map(|e| e.kind), Some(EventKind::NodeChildrenChanged));
        assert_eq!(once.next().await, None);
        let event = always.next().await.unwrap();
        assert_eq!((event.kind, event.path.as_str()), (EventKind::NodeCreated, "/n"));
        // The last one who holds the session closes it.
        drop((zebu, once, always, events));
        let (_, watcher) = other.exists_and_watch("/e").await.unwrap();
        let mut watcher = watcher;
        if other.exists("/e").await.unwrap().is_some() {
            assert_eq!(watcher.next().await.map(|e| e.kind), Some(EventKind::NodeDeleted));
        }
        drop(server);
    });
}

#[test]
fn many_calls_on_their_way_keep_their_order() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve(temp.path(), "127.0.0.1:0");
    run(async {
        let zebu = Zebu::connect(&server.addr().to_string()).await.unwrap();
        create(&zebu, "/a", CreateMode::Persistent).await.unwrap();
        let data = bytes::Bytes::from(vec![7; 10_000]);
        let sets: Vec<_> = (0..1000).map(|n| zebu.set_data("/a", Some(data.clone()), n)).collect();
        let reads: Vec<_> = (0..1000).map(|_| zebu.get_data("/a")).collect();
        for (n, set) in sets.into_iter().enumerate() {
            assert_eq!(set.await.unwrap().version, n as i32 + 1);
        }
        for read in reads {
            assert_eq!(read.await.unwrap().1.version, 1000);
        }
        zebu.close().await.unwrap();
        assert_eq!(zebu.state(), ClientState::Closed);
        assert_eq!(zebu.exists("/a").await, Err(ErrorCode::SessionExpired));
    });
}

/// What `zebu cli` prints on stdout and stderr, and its exit code.
fn cli(addr: SocketAddr, words: &[&str], input: &str) -> (String, String, i32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_zebu"))
        .args(["cli", "-server", &addr.to_string()])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(done.stdout), text(done.stderr), done.status.code().unwrap())
}

const CONNECTED: &str = "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n";

#[test]
fn the_shell_runs_one_command() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve(temp.path(), "127.0.0.1:0");
    let addr = server.addr();
    let (out, err, code) = cli(addr, &["create", "/a", "hello world"], "");
    assert_eq!(out, format!("Connecting to {addr}\n{CONNECTED}"));
    assert_eq!((err.as_str(), code), ("Created /a\n", 0));
    let (out, _, code) = cli(addr, &["-waitforconnection", "get", "/a"], "");
    assert_eq!(out, format!("Connecting to {addr}\n{CONNECTED}hello world\n"));
    assert_eq!(code, 0);
    let (_, err, code) = cli(addr, &["get", "/none"], "");
    assert_eq!((err.as_str(), code), ("Node does not exist: /none\n", 1));
    let (_, err, code) = cli(addr, &["fly"], "");
    assert!(err.ends_with("Command not found: Command not found fly\n"), "{err}");
    assert_eq!(code, 127);
    server.stop().unwrap();
    let (_, err, code) = cli(addr, &["ls", "/"], "");
    assert_eq!((err.as_str(), code), ("KeeperErrorCode = ConnectionLoss for /\n", 1));
}

#[test]
fn the_shell_reads_lines() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve(temp.path(), "127.0.0.1:0");
    let addr = server.addr();
    let lines = "create /a 1\nget -w /a\nset /a 2\nredo 1\nhistory\nls -R /\nnonsense\ndeleteall /a\n\
                 get /a\nquit\n";
    let (out, err, code) = cli(addr, &[], lines);
    let changed = "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 3";
    let closed = "WatchedEvent state:Closed type:None path:null zxid: -1";
    let head = format!("Connecting to {addr}\nWelcome to ZooKeeper!\nJLine support is disabled\n");
    assert_eq!(
        out,
        format!(
            "{head}{CONNECTED}1\n\nWATCHER::\n\n{changed}\n2\n\
             0 - create /a 1\n1 - get -w /a\n2 - set /a 2\n3 - get -w /a\n4 - history\n\
             /\n/a\n/zookeeper\n/zookeeper/config\n/zookeeper/quota\n\nWATCHER::\n\n\
             WatchedEvent state:SyncConnected type:NodeDeleted path:/a zxid: 4\n\nWATCHER::\n\n{closed}\n"
        )
    );
    assert!(err.starts_with("Created /a\n") && err.ends_with("Node does not exist: /a\n"), "{err}");
    assert_eq!(code, 1, "quitting keeps the code of the last command");
}
