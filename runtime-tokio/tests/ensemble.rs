//! Ensembles of real processes on this machine: they serve, lose servers of every kind under constant writes, and lose no write
//! that was acknowledged.

mod cluster;
mod replay;

use bytes::Bytes;
use cluster::{Cluster, LIMIT};
use replay::replay;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use zebu::bench::load::quick;
use zebu::client::{ClientState, Zebu};
use zebu_core::proto::{Acl, CreateMode};

/// Starts one and waits until all serve.
fn start(servers: usize, observers: usize) -> Cluster {
    let mut cluster = Cluster::plan(|plan| {
        plan.servers = servers;
        plan.observers = observers;
    });
    cluster.ensemble.start().unwrap();
    cluster.ready();
    cluster
}
/// `kill SIGNAL` of the one at this index.
fn signal(cluster: &Cluster, i: usize, signal: &str) {
    let pid = cluster.ensemble.members[i].pid().expect("it runs").to_string();
    assert!(Command::new("kill").arg(signal).arg(pid).status().unwrap().success());
}
/// Runs async code with an end.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("in time") })
}
/// A session with the one at this index alone.
async fn session(cluster: &Cluster, i: usize) -> Zebu {
    let zebu = Zebu::open(quick(&cluster.ensemble.members[i].client.to_string()).unwrap());
    zebu.connected().await.unwrap();
    zebu
}
async fn create(zebu: &Zebu, path: &str, data: &str, mode: CreateMode) -> String {
    let data = Bytes::copy_from_slice(data.as_bytes());
    zebu.create(path, Some(data), vec![Acl::open()], mode).await.unwrap()
}
async fn read(zebu: &Zebu, path: &str) -> String {
    zebu.sync(path).await.unwrap();
    String::from_utf8(zebu.get_data(path).await.unwrap().0.unwrap().to_vec()).unwrap()
}

#[test]
fn what_is_written_at_one_server_is_read_at_the_others() {
    let cluster = start(3, 1);
    run(async {
        let mut sessions = Vec::new();
        for i in 0..4 {
            sessions.push(session(&cluster, i).await);
        }
        for (i, zebu) in sessions.iter().enumerate() {
            create(zebu, &format!("/{i}"), &i.to_string(), CreateMode::Persistent).await;
        }
        for zebu in &sessions {
            for i in 0..4 {
                assert_eq!(read(zebu, &format!("/{i}")).await, i.to_string());
            }
        }
        // A watch at one, a write at another.
        let (_, _, mut watcher) = sessions[3].get_data_and_watch("/0").await.unwrap();
        sessions[0].set_data("/0", Some("new".into()), -1).await.unwrap();
        let event = watcher.next().await.expect("an event");
        assert_eq!(event.path, "/0");
        assert_eq!(read(&sessions[3], "/0").await, "new");
    });
    let modes: Vec<String> = cluster.ensemble.members.iter().map(|m| m.mode().unwrap()).collect();
    assert_eq!(modes.iter().filter(|m| *m == "leader").count(), 1, "{modes:?}");
    assert_eq!(modes.iter().filter(|m| *m == "follower").count(), 2, "{modes:?}");
    assert_eq!(modes[3], "observer");
}

#[test]
fn kill_9_of_each_in_turn_loses_nothing() {
    let mut cluster = start(3, 0);
    let load = cluster.load();
    for round in 0..3 {
        let leader = cluster.ready();
        let killed = Instant::now();
        cluster.ensemble.members[leader].kill();
        assert!(load.goes_on_after(killed + Duration::from_millis(500), LIMIT), "round {round}");
        let next = cluster.ensemble.wait_for_leader(LIMIT).expect("a leader");
        assert_ne!(next, leader);
        cluster.restart(leader);
        let leader = cluster.ready();
        let follower = (leader + 1 + round % 2) % 3;
        let killed = Instant::now();
        cluster.ensemble.members[follower].kill();
        assert!(load.goes_on_after(killed + Duration::from_millis(500), LIMIT), "round {round}");
        cluster.restart(follower);
    }
    let written = load.stop();
    // A slow disk makes few; but there must be some to lose.
    assert!(written.acknowledged() > 50, "{}", written.acknowledged());
    cluster.has_all(&written);
    // All at once, as in a power cut of the room.
    cluster.ensemble.members.iter_mut().for_each(|m| m.kill());
    cluster.ensemble.start().unwrap();
    cluster.ready();
    cluster.has_all(&written);
}

#[test]
fn a_leader_that_was_away_for_long_is_told_so() {
    let cluster = start(3, 0);
    let old = cluster.ready();
    let load = cluster.load();
    let at_old = run(async {
        let zebu = session(&cluster, old).await;
        create(&zebu, "/x", "before", CreateMode::Persistent).await;
        zebu
    });
    drop(at_old);
    signal(&cluster, old, "-STOP");
    let stopped = Instant::now();
    // syncLimit is a second; its followers notice, the clients that were connected to it do by their own time-outs.
    let others = [(old + 1) % 3, (old + 2) % 3];
    let leads = |i: &usize| cluster.ensemble.members[*i].mode().is_some_and(|m| m == "leader");
    while !others.iter().any(leads) {
        assert!(stopped.elapsed() < LIMIT, "another leader");
        std::thread::sleep(Duration::from_millis(20));
    }
    run(async {
        let zebu = session(&cluster, others[0]).await;
        zebu.set_data("/x", Some("after".into()), -1).await.unwrap();
    });
    signal(&cluster, old, "-CONT");
    run(async {
        let zebu = session(&cluster, old).await;
        assert_eq!(read(&zebu, "/x").await, "after");
    });
    cluster.ready();
    assert_eq!(cluster.ensemble.members[old].mode().as_deref(), Some("follower"));
    assert!(load.goes_on_after(Instant::now(), LIMIT));
    cluster.has_all(&load.stop());
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over() {
    let mut cluster = start(3, 0);
    let load = cluster.load();
    for _ in 0..3 {
        let leader = cluster.ready();
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        let told = Instant::now();
        signal(&cluster, leader, "-TERM");
        let status = cluster.ensemble.members[leader].wait(LIMIT).expect("it ends");
        assert_eq!(status.code(), Some(0));
        assert!(told.elapsed() < Duration::from_secs(5), "it took {:?}", told.elapsed());
        assert!(load.goes_on_after(told + Duration::from_millis(500), LIMIT));
        let (gap, _) = load.longest_gap(told);
        // Far below syncLimit, whatever else the machine does.
        assert!(gap < Duration::from_millis(900), "{gap:?} without an acknowledged write");
        cluster.restart(leader);
    }
    cluster.has_all(&load.stop());
}

#[test]
fn a_session_outlives_every_server_that_it_is_connected_to() {
    let mut cluster = start(3, 0);
    // It is driven on a thread of its own, so that it lives while this one waits for servers.
    let background = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let zebu = {
        let _in_it = background.enter();
        Zebu::open(quick(&cluster.ensemble.connect_string()).unwrap())
    };
    std::thread::spawn(move || background.block_on(std::future::pending::<()>()));
    run(async {
        zebu.connected().await.unwrap();
        create(&zebu, "/mine", "", CreateMode::Ephemeral).await;
    });
    let ClientState::Connected { session: mine, .. } = zebu.state() else { panic!("{:?}", zebu.state()) };
    for i in 0..3 {
        cluster.ensemble.members[i].kill();
        cluster.ready();
        run(async {
            while zebu.exists("/mine").await.is_err() {}
            let (_, stat) = zebu.get_data("/mine").await.unwrap();
            assert_eq!(stat.ephemeral_owner, mine);
            zebu.set_data("/mine", Some(i.to_string().into()), -1).await.unwrap();
        });
        cluster.restart(i);
    }
    assert!(matches!(zebu.state(), ClientState::Connected { session: same, .. } if same == mine));
    run(async {
        zebu.close().await.unwrap();
        let other = session(&cluster, 0).await;
        other.sync("/").await.unwrap();
        assert_eq!(other.exists("/mine").await, Ok(None), "an ephemeral ends with its session");
    });
}

#[test]
fn an_observer_comes_and_goes_unnoticed() {
    let mut cluster = start(3, 1);
    let load = cluster.load();
    cluster.ensemble.members[3].kill();
    assert!(load.goes_on_after(Instant::now(), LIMIT));
    cluster.restart(3);
    assert_eq!(cluster.ensemble.members[3].mode().as_deref(), Some("observer"));
    cluster.has_all(&load.stop());
    run(async {
        let zebu = session(&cluster, 3).await;
        create(&zebu, "/a", "x", CreateMode::Persistent).await;
        assert_eq!(read(&zebu, "/a").await, "x");
    });
}

#[test]
fn without_a_quorum_nobody_serves_and_with_one_all_do_again() {
    let mut cluster = start(3, 0);
    let leader = cluster.ready();
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    followers.iter().for_each(|&i| cluster.ensemble.members[i].kill());
    let until = Instant::now() + LIMIT;
    while cluster.ensemble.members[leader].mode().is_some() {
        assert!(Instant::now() < until, "a leader alone stops serving");
    }
    cluster.restart(followers[0]);
    run(async {
        let zebu = session(&cluster, leader).await;
        create(&zebu, "/a", "x", CreateMode::Persistent).await;
    });
}

#[test]
fn recordings_of_members_replay_to_the_same_outputs() {
    let mut cluster = Cluster::plan(|plan| plan.observers = 1);
    let record = |cluster: &mut Cluster, i: usize| {
        let member = &mut cluster.ensemble.members[i];
        let mut command = member.command(Command::new(env!("CARGO_BIN_EXE_zebu")));
        command.arg("--record").arg(member.dir.join("recording"));
        member.start(command).unwrap();
    };
    (0..4).for_each(|i| record(&mut cluster, i));
    let leader = cluster.ready();
    let load = cluster.load();
    assert!(load.goes_on_after(Instant::now(), LIMIT));
    cluster.ensemble.members[leader].kill();
    assert!(load.goes_on_after(Instant::now() + Duration::from_millis(300), LIMIT));
    record(&mut cluster, leader);
    cluster.ready();
    assert!(load.goes_on_after(Instant::now() + Duration::from_millis(300), LIMIT));
    cluster.has_all(&load.stop());
    cluster.ensemble.stop(LIMIT);
    for member in &cluster.ensemble.members {
        replay(&std::fs::read(member.dir.join("recording")).unwrap());
    }
}

#[test]
fn servers_join_and_move_and_their_files_say_so() {
    let mut cluster = Cluster::plan(|plan| {
        plan.servers = 4;
        plan.more = "reconfigEnabled=true\nskipACL=yes\nclientPortListenBacklog=9\n".to_owned();
    });
    // The first three begin alone; the fourth knows of all.
    for i in 0..3 {
        let file = cluster.ensemble.members[i].config();
        let text = std::fs::read_to_string(&file).unwrap();
        let three: Vec<&str> = text.lines().filter(|l| !l.starts_with("server.4=")).collect();
        std::fs::write(file, three.join("\n")).unwrap();
        cluster.ensemble.start_one(i).unwrap();
    }
    cluster.ready();
    let line = |cluster: &Cluster, i: usize| {
        let text = std::fs::read_to_string(cluster.ensemble.members[i].config()).unwrap();
        let file = text.lines().find_map(|l| l.strip_prefix("dynamicConfigFile=")).map(str::to_owned);
        (text.contains("server."), file.map(|f| (std::fs::read_to_string(&f).unwrap(), f)))
    };
    let wait_for = |cluster: &Cluster, i: usize, what: &dyn Fn(&str) -> bool| {
        let until = Instant::now() + LIMIT;
        while !line(cluster, i).1.is_some_and(|(text, _)| what(&text)) {
            assert!(Instant::now() < until, "{:?}", line(cluster, i));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!line(cluster, i).0, "no member is left in zoo.cfg");
    };
    (0..3).for_each(|i| wait_for(&cluster, i, &|text| text.lines().count() == 3));
    let fourth = std::fs::read_to_string(cluster.ensemble.members[3].config()).unwrap();
    let fourth = fourth.lines().find(|l| l.starts_with("server.4=")).unwrap().to_owned();
    cluster.ensemble.start_one(3).unwrap();
    cluster.ready();
    run(async {
        let zebu = session(&cluster, 0).await;
        create(&zebu, "/before", "x", CreateMode::Persistent).await;
        zebu.reconfig(Some(fourth.clone()), None, None, -1).await.unwrap();
        assert_eq!(read(&session(&cluster, 3).await, "/before").await, "x");
    });
    (0..4).for_each(|i| wait_for(&cluster, i, &|text| text.contains(&fourth)));
    // The client port of the second moves.
    let second = line(&cluster, 1).1.unwrap().0;
    let second = second.lines().find(|l| l.starts_with("server.2=")).unwrap().to_owned();
    let (old, free) = (cluster.ensemble.members[1].client, TcpListener::bind("127.0.0.1:0").unwrap());
    let new = free.local_addr().unwrap();
    drop(free);
    run(async {
        let moved = second.replace(&format!(";{old}"), &format!(";{new}"));
        assert_ne!(moved, second);
        session(&cluster, 0).await.reconfig(Some(moved), None, None, -1).await.unwrap();
    });
    (0..4).for_each(|i| wait_for(&cluster, i, &|text| text.contains(&new.to_string())));
    cluster.ensemble.members[1].client = new;
    cluster.ready();
    let until = Instant::now() + LIMIT;
    while std::net::TcpStream::connect(old).is_ok() {
        assert!(Instant::now() < until, "nobody listens where it was");
    }
    // All start again from what was written.
    cluster.ensemble.members.iter_mut().for_each(|m| m.kill());
    cluster.ensemble.start().unwrap();
    cluster.ready();
    run(async {
        let zebu = session(&cluster, 1).await;
        assert_eq!(read(&zebu, "/before").await, "x");
        let (config, _) = zebu.get_config().await.unwrap();
        let config = String::from_utf8(config.unwrap().to_vec()).unwrap();
        assert!(config.contains(&fourth) && config.contains(&new.to_string()), "{config}");
    });
}

#[test]
fn one_command_makes_an_ensemble_and_one_signal_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let zebu = env!("CARGO_BIN_EXE_zebu");
    let mut before = String::new();
    for round in 0..2 {
        let mut command = Command::new(zebu);
        command.arg("ensemble").arg("--dir").arg(dir.path()).stdout(Stdio::piped());
        if round == 0 {
            command.args(["--servers", "3", "--observers", "1"]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut pids, mut connect_string) = (Vec::new(), String::new());
        for line in lines.by_ref() {
            if let Some((_, rest)) = line.split_once(": pid ") {
                pids.push(rest.split_once(',').unwrap().0.to_owned());
            } else if let Some(rest) = line.strip_prefix("connect string: ") {
                connect_string = rest.to_owned();
            } else if line.contains(" leads") {
                break;
            }
        }
        assert_eq!(pids.len(), 4);
        run(async {
            let zebu = Zebu::connect(&connect_string).await.unwrap();
            match round {
                0 => drop(create(&zebu, "/kept", "yes", CreateMode::Persistent).await),
                _ => assert_eq!(read(&zebu, "/kept").await, "yes"),
            }
        });
        assert!(round == 0 || connect_string == before, "the second start finds the first one's files");
        before = connect_string;
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        for pid in pids {
            assert!(!Path::new("/proc").join(&pid).exists(), "server process {pid} is left over");
        }
    }
    let other =
        Command::new(zebu).args(["ensemble", "--servers", "5", "--dir"]).arg(dir.path()).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("it has one already"), "{said}");
}

#[test]
fn what_a_member_cannot_start_with() {
    let cluster = Cluster::plan(|plan| plan.more = "electionPortBindRetry=1\n".to_owned());
    let member = &cluster.ensemble.members[0];
    let run = || {
        let mut command = member.command(Command::new(env!("CARGO_BIN_EXE_zebu")));
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let text = std::fs::read_to_string(member.config()).unwrap();
    let line = text.lines().find(|l| l.starts_with("server.1=")).unwrap();
    let port = |n: usize| line.split(':').nth(n).unwrap().parse::<u16>().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port(2))).unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(14), "{said}");
    assert!(said.contains(", the election port: Address already in use"), "{said}");
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", port(1))).unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(", the quorum port: Address already in use"), "{said}");
    drop(taken);
    std::fs::write(member.config(), text.replace("server.1=127.0.0.1", "server.1=no-such-host.invalid"))
        .unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot look up no-such-host.invalid:"), "{said}");
    std::fs::write(member.dir.join("myid"), "9").unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("myid holds 9, which is no server of the configuration"), "{said}");
}
