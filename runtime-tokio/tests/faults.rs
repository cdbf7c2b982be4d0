//! Ensembles of real processes on a broken network and on full disks. Each server has a network namespace of its own on one
//! bridge, each test namespaces for all of that. Not every user of every machine gets those; then these tests fail, and say so.

mod cluster;

use cluster::{Cluster, LIMIT};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

/// Set in the process that has its namespaces.
const INSIDE: &str = "ZEBU_TEST_INSIDE";

/// Runs the test of this name again in new namespaces for users, network and mounts, where it may do as it likes.
fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let own: &[&str] = &["--net", "--mount"];
    let mapped: &[&str] = &["--user", "--map-root-user", "--net", "--mount"];
    let works = |ways: &&&[&str]| {
        Command::new("unshare").args(**ways).arg("true").output().is_ok_and(|done| done.status.success())
    };
    let ways = [mapped, own];
    let Some(ways) = ways.iter().find(works) else {
        panic!(
            "this user gets no namespaces (unshare --user --map-root-user --net --mount), so nothing was tested: \
             run it as root, or allow unprivileged user namespaces"
        )
    };
    // A folder of its own for temporary files: a test may mount over it, and hides nothing that others need.
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("unshare")
        .env("TMPDIR", folder.path())
        .args(*ways)
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(done.unwrap().success(), "{name}, in its namespaces");
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// The address of the server with this number.
fn host(n: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, n as u8).into()
}

/// An ensemble whose servers each have a place in a network of their own. The test is in that network, too.
struct Network(Cluster);

impl Network {
    fn start(servers: usize) -> Network {
        let mut network = Network::plan(servers, "");
        network.start_all();
        network
    }

    /// Lays the network and writes the servers' files, with these lines, too.
    fn plan(servers: usize, more: &str) -> Network {
        sh("mount -t tmpfs none /run
            ip link set lo up
            ip link add bridge type bridge
            ip address add 10.77.0.254/24 dev bridge
            ip link set bridge up");
        for n in 1..=servers {
            sh(&format!(
                "ip netns add s{n}
                 ip link add v{n} type veth peer name eth0 netns s{n}
                 ip link set v{n} master bridge up
                 ip -n s{n} link set lo up
                 ip -n s{n} address add {}/24 dev eth0
                 ip -n s{n} link set eth0 up",
                host(n)
            ));
        }
        let cluster = Cluster::plan(|plan| {
            plan.servers = servers;
            plan.hosts = (1..=servers).map(host).collect();
            plan.more = format!("cnxTimeout=500\n{more}");
        });
        Network(cluster)
    }

    fn start_all(&mut self) {
        (0..self.0.ensemble.members.len()).for_each(|i| self.start_one(i));
        self.0.ready();
    }

    /// Changes a server's zoo.cfg.
    fn rewrite(&self, i: usize, from: &str, to: &str) {
        let file = self.0.ensemble.members[i].config();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    fn start_one(&mut self, i: usize) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("s{}", i + 1), env!("CARGO_BIN_EXE_zebu")]);
        let member = &mut self.0.ensemble.members[i];
        member.start(member.command(command)).unwrap();
    }

    /// From now on nothing that one sends reaches the other: it goes to an address that nobody has.
    fn cut(&self, from: usize, to: usize) {
        let (n, to) = (from + 1, host(to + 1));
        sh(&format!("ip -n s{n} neighbour replace {to} lladdr 02:00:00:00:00:ff dev eth0 nud permanent"));
    }
    fn mend(&self, from: usize, to: usize) {
        let (n, to) = (from + 1, host(to + 1));
        sh(&format!("ip -n s{n} neighbour flush to {to} nud permanent dev eth0"));
    }
    fn part(&self, a: usize, b: usize) {
        self.cut(a, b);
        self.cut(b, a);
    }
    fn mend_all(&self) {
        let n = self.0.ensemble.members.len();
        (0..n)
            .flat_map(|a| (0..n).map(move |b| (a, b)))
            .filter(|(a, b)| a != b)
            .for_each(|(a, b)| self.mend(a, b));
    }

    /// Waits until another server than this leads.
    fn another_leads(&self, old: usize) -> usize {
        let until = Instant::now() + LIMIT;
        loop {
            let mode = |i: usize| self.0.ensemble.members[i].mode();
            let leads = |i: &usize| *i != old && mode(*i).is_some_and(|m| m == "leader");
            if let Some(new) = (0..self.0.ensemble.members.len()).find(leads) {
                return new;
            }
            assert!(Instant::now() < until, "another leader");
        }
    }

    /// Waits until it does not serve.
    fn gives_up(&self, i: usize) {
        let until = Instant::now() + LIMIT;
        while self.0.ensemble.members[i].mode().is_some() {
            assert!(Instant::now() < until, "server {} serves without a quorum", i + 1);
        }
    }
}

#[test]
fn a_leader_that_is_cut_off_gives_up_and_comes_back() {
    isolated("a_leader_that_is_cut_off_gives_up_and_comes_back", || {
        let network = Network::start(3);
        let load = network.0.load();
        for _ in 0..2 {
            let old = network.0.ready();
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            let cut = Instant::now();
            (0..3).filter(|i| *i != old).for_each(|i| network.part(old, i));
            network.gives_up(old);
            assert!(cut.elapsed() < Duration::from_secs(5), "syncLimit is one second: {:?}", cut.elapsed());
            network.another_leads(old);
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            network.mend_all();
            network.0.ready();
        }
        network.0.has_all(&load.stop());
    });
}

#[test]
fn a_leader_that_hears_nobody_and_one_that_nobody_hears() {
    isolated("a_leader_that_hears_nobody_and_one_that_nobody_hears", || {
        let network = Network::start(3);
        let load = network.0.load();
        for deaf in [true, false] {
            let old = network.0.ready();
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            for i in (0..3).filter(|i| *i != old) {
                match deaf {
                    true => network.cut(i, old),
                    false => network.cut(old, i),
                }
            }
            network.another_leads(old);
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            network.gives_up(old);
            network.mend_all();
            network.0.ready();
        }
        network.0.has_all(&load.stop());
    });
}

#[test]
fn two_servers_that_cannot_talk_and_one_that_both_can() {
    isolated("two_servers_that_cannot_talk_and_one_that_both_can", || {
        let network = Network::start(3);
        let load = network.0.load();
        let leader = network.0.ready();
        let followers = [(leader + 1) % 3, (leader + 2) % 3];
        // The leader does not need that they talk.
        network.part(followers[0], followers[1]);
        std::thread::sleep(Duration::from_secs(2));
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        assert_eq!(network.0.ensemble.leader(), Some(leader));
        network.mend_all();
        // A follower without its leader stays out, or all agree on another; the others go on in any case.
        network.part(leader, followers[0]);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            assert!(load.goes_on_after(Instant::now(), LIMIT));
        }
        network.mend_all();
        network.0.ready();
        network.0.has_all(&load.stop());
    });
}

#[test]
fn a_server_is_found_where_its_name_has_moved_to() {
    isolated("a_server_is_found_where_its_name_has_moved_to", || {
        let mut network = Network::plan(3, "");
        let hosts = std::env::temp_dir().join("hosts");
        let resolve = |of: [usize; 3]| {
            let line = |(i, n): (usize, &usize)| format!("{} zk{}\n", host(*n), i + 1);
            std::fs::write(&hosts, of.iter().enumerate().map(line).collect::<String>()).unwrap();
        };
        resolve([1, 2, 3]);
        sh(&format!("mount --bind '{}' /etc/hosts", hosts.display()));
        for (i, n) in (0..3).flat_map(|i| (1..=3).map(move |n| (i, n))) {
            network.rewrite(i, &format!("server.{n}={}:", host(n)), &format!("server.{n}=zk{n}:"));
        }
        network.start_all();
        let load = network.0.load();
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        let before = load.stop();
        network.0.ensemble.members[2].kill();
        network.another_leads(2);
        sh(&format!(
            "ip -n s3 address del {}/24 dev eth0; ip -n s3 address add {}/24 dev eth0",
            host(3),
            host(13)
        ));
        resolve([1, 2, 13]);
        network.rewrite(2, &format!(";{}:", host(3)), &format!(";{}:", host(13)));
        network.0.ensemble.members[2].client.set_ip(host(13));
        network.start_one(2);
        // Its number is the highest: without the leader it leads, and the one that is left dials it.
        let old = network.0.ready();
        network.0.ensemble.members[old].kill();
        assert_eq!(network.another_leads(old), 2);
        network.start_one(old);
        network.0.ready();
        let load = network.0.load();
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        [before, load.stop()].iter().for_each(|written| network.0.has_all(written));
    });
}

#[test]
fn servers_that_listen_everywhere_are_found_at_any_of_their_addresses() {
    isolated("servers_that_listen_everywhere_are_found_at_any_of_their_addresses", || {
        let mut network = Network::plan(3, "quorumListenOnAllIPs=true\n");
        for n in 1..=3 {
            sh(&format!("ip -n s{n} address add {}/24 dev eth0", host(20 + n)));
            // The others know it by an address that it does not know itself by.
            for i in (0..3).filter(|i| i + 1 != n) {
                network.rewrite(
                    i,
                    &format!("server.{n}={}:", host(n)),
                    &format!("server.{n}={}:", host(20 + n)),
                );
            }
        }
        network.start_all();
        let load = network.0.load();
        let old = network.0.ready();
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        network.0.ensemble.members[old].kill();
        network.another_leads(old);
        network.start_one(old);
        network.0.ready();
        assert!(load.goes_on_after(Instant::now(), LIMIT));
        network.0.has_all(&load.stop());
    });
}

#[test]
fn five_servers_in_a_network_that_breaks_all_the_time() {
    isolated("five_servers_in_a_network_that_breaks_all_the_time", || {
        let mut network = Network::start(5);
        let load = network.0.load();
        // Always the same faults: a Weyl sequence draws them.
        let mut state = 0u64;
        let mut draw = |n: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            ((state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % n
        };
        for _ in 0..20 {
            for _ in 0..1 + draw(6) {
                let (a, b) = (draw(5) as usize, draw(5) as usize);
                if a != b {
                    network.cut(a, b);
                }
            }
            let victim = draw(5) as usize;
            if draw(3) == 0 {
                network.0.ensemble.members[victim].kill();
            }
            std::thread::sleep(Duration::from_millis(200 + draw(1500)));
            network.mend_all();
            if network.0.ensemble.members[victim].pid().is_none() {
                network.start_one(victim);
            }
            std::thread::sleep(Duration::from_millis(draw(1000)));
        }
        let healed = Instant::now();
        network.0.ready();
        assert!(load.goes_on_after(healed, LIMIT));
        network.0.has_all(&load.stop());
    });
}

#[test]
fn a_full_disk_ends_its_server_and_nobody_else() {
    isolated("a_full_disk_ends_its_server_and_nobody_else", || {
        // All of it in memory, so that nothing of the mounts is left over.
        sh(&format!("ip link set lo up; mount -t tmpfs none '{}'", std::env::temp_dir().display()));
        let mut cluster = Cluster::plan(|plan| plan.more = "snapCount=1000000\n".to_owned());
        for member in &cluster.ensemble.members {
            let dir = member.dir.join("version-2").display().to_string();
            sh(&format!("mkdir '{dir}'; mount -t tmpfs -o size=64m none '{dir}'"));
        }
        cluster.ensemble.start().unwrap();
        for role in ["follower", "leader"] {
            let leader = cluster.ready();
            let i = if role == "leader" { leader } else { (leader + 1) % 3 };
            let load = cluster.load();
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            let dir = cluster.ensemble.members[i].dir.join("version-2").display().to_string();
            // Room for a few hundred writes.
            sh(&format!("used=$(du -sk '{dir}' | cut -f1); mount -o remount,size=$((used + 64))k '{dir}'"));
            let status = cluster.ensemble.members[i].wait(LIMIT).expect("it ends when its disk is full");
            let ended = Instant::now();
            assert_eq!(status.code(), Some(1));
            let log = std::fs::read_to_string(cluster.ensemble.members[i].log()).unwrap();
            let last = log.lines().last().unwrap();
            assert!(last.contains("No space left on device") && last.contains("mend the disk"), "{last}");
            assert!(load.goes_on_after(ended + Duration::from_millis(300), LIMIT));
            sh(&format!("mount -o remount,size=64m '{dir}'"));
            cluster.restart(i);
            assert!(load.goes_on_after(Instant::now(), LIMIT));
            cluster.has_all(&load.stop());
        }
    });
}
