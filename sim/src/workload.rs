//! Client programs: operations with times, over few contended paths. Which operations, watches, lists of permissions and
//! sizes a seed uses at all, and how often, is drawn once for all its clients. Every payload names its call.

use crate::random::{Purpose, Stream};
use crate::scenario::{SUPER, USERS};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zebu_core::auth;
use zebu_core::config::Config;
use zebu_core::limits;
use zebu_core::proto::{Acl, AddWatchMode, CreateOp, CreateRequest, Id, Request, WatcherType, perms};

/// One client program.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Its number: names its random streams and its address, also after other clients were cut away.
    pub name: u16,
    /// The session timeout it asks for, ms.
    pub timeout_ms: i32,
    /// Pauses of its client machine: after a round of all servers, and at most before a reconnect, ns.
    pub patience: u64,
    /// It puts up with servers that can only read.
    #[serde(default)]
    pub read_only: bool,
    /// Path text in one of its setWatches requests.
    #[serde(default = "set_watches")]
    pub set_watches: usize,
    /// The servers that it knows.
    pub servers: Vec<u8>,
    /// Credentials of each handle.
    pub auth: Vec<(String, Bytes)>,
    /// How long after the end of a handle it makes the next, ns.
    pub reopen_after: u64,
    /// What it does, in order of time.
    pub ops: Vec<Op>,
}

fn set_watches() -> usize {
    limits::SET_WATCHES
}

/// An operation and when it begins. Operations with the same time are one burst.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// True time, ns.
    pub at: u64,
    /// What.
    pub act: Act,
}

/// What a client does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// It calls this; dropped if its handle is dead.
    Call(Request),
    /// It closes its handle.
    Close,
}

/// Kinds of operations, each with a weight that a seed draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Create,
    Delete,
    Exists,
    GetData,
    SetData,
    GetAcl,
    SetAcl,
    GetChildren,
    GetChildren2,
    Sync,
    Multi,
    MultiRead,
    CheckWatches,
    RemoveWatches,
    AddWatch,
    Auth,
    GetEphemerals,
    GetAllChildrenNumber,
    WhoAmI,
    Close,
}

const KINDS: [(Kind, u32); 20] = [
    (Kind::Create, 40),
    (Kind::Delete, 16),
    (Kind::Exists, 12),
    (Kind::GetData, 16),
    (Kind::SetData, 16),
    (Kind::GetAcl, 2),
    (Kind::SetAcl, 3),
    (Kind::GetChildren, 6),
    (Kind::GetChildren2, 6),
    (Kind::Sync, 4),
    (Kind::Multi, 10),
    (Kind::MultiRead, 3),
    (Kind::CheckWatches, 2),
    (Kind::RemoveWatches, 3),
    (Kind::AddWatch, 5),
    (Kind::Auth, 1),
    (Kind::GetEphemerals, 2),
    (Kind::GetAllChildrenNumber, 2),
    (Kind::WhoAmI, 1),
    (Kind::Close, 2),
];

/// What all programs of a seed have in common.
#[derive(Debug)]
pub struct Mix {
    seed: u64,
    /// Operations begin before this, ns.
    until: u64,
    tick_ms: u64,
    /// In an ensemble, how long a write takes at most when all is well, ms: a client has more patience than that with each
    /// server, or it would never get a session.
    write_ms: u64,
    ops_per_client: u64,
    weights: Vec<u32>,
    paths: Vec<String>,
    /// Of 1024 operations, how many share the time of the one before.
    burst: u32,
    /// Of 1024 reads, how many leave a watch.
    watch: u32,
    /// Of 1024 creates: ephemeral, sequential, with a list other than open.
    ephemeral: u32,
    sequential: u32,
    lists: u32,
    /// Of 1024 creates that are not ephemeral, how many make a container or a TTL node.
    reaped: u32,
    /// Of 1024 payloads, how many are big, and how big.
    big: u32,
    big_size: u64,
    /// Of 1024 operations, how many are on a path that is none, or a built-in one.
    strange: u32,
    /// The first client begins with creating every path.
    planted: bool,
    /// Of 1024 clients, how many put up with servers that can only read.
    read_only: u32,
    /// Every client knows all servers: any of them may leave the ensemble.
    all_known: bool,
}

impl Mix {
    /// What the programs of this seed have in common.
    pub fn draw(seed: u64, config: &Config, until: u64, clients: u16, write_ms: u64) -> Mix {
        let mut r = Stream::new(seed, Purpose::Swarm, 2, 0);
        let total = r.log_uniform(20, 260);
        let mut weights: Vec<u32> = KINDS
            .iter()
            .map(|(kind, weight)| {
                let on = *kind == Kind::Create || r.chance(700);
                if on { weight * r.log_uniform(1, 8) as u32 } else { 0 }
            })
            .collect();
        if doubts(seed) {
            let sync = KINDS.iter().position(|(kind, _)| *kind == Kind::Sync).expect("one of them");
            weights[sync] = weights.iter().sum::<u32>() / 3;
        }
        let families = |r: &mut Stream, chance: u32, max: u64| {
            if r.chance(chance) { r.log_uniform(16, max) as u32 } else { 0 }
        };
        Mix {
            seed,
            until,
            tick_ms: config.tick_ms,
            write_ms,
            ops_per_client: (total / u64::from(clients)).max(4),
            weights,
            paths: paths(&mut r),
            burst: families(&mut r, 800, 800),
            watch: families(&mut r, 800, 1000),
            ephemeral: families(&mut r, 700, 700),
            sequential: families(&mut r, 600, 600),
            lists: families(&mut r, 400, 400),
            reaped: reaped(seed),
            big: families(&mut r, 150, 200),
            big_size: r.log_uniform(500, 60_000),
            strange: families(&mut r, 400, 64),
            planted: r.chance(512),
            read_only: config.ensemble.as_ref().map_or(0, |e| 600 * u32::from(e.read_only_mode)),
            all_known: config.ensemble.as_ref().is_some_and(|e| e.reconfig_enabled),
        }
    }
}

/// Of 1024 creates, how many make a node that servers delete by themselves. A name of its own: the rest of the seed is as it
/// would be without them.
pub fn reaped(seed: u64) -> u32 {
    let mut r = Stream::new(seed, Purpose::Swarm, 4, 0);
    if r.chance(350) { r.log_uniform(150, 900) as u32 } else { 0 }
}

/// This seed is about who leads, and who thinks so: leaders are away for a while, and programs ask for many syncs.
pub fn doubts(seed: u64) -> bool {
    Stream::new(seed, Purpose::Swarm, 6, 0).chance(180)
}

/// A few paths, some below others.
fn paths(r: &mut Stream) -> Vec<String> {
    let mut all = vec!["/a".to_owned()];
    let count = r.between(2, 9) as usize;
    while all.len() < count {
        let name = r.pick(&["a", "b", "c", "q", "q-", "é"]);
        let below = r.below(all.len() as u64 + 1) as usize;
        let path = match all.get(below) {
            Some(parent) if parent.len() < 8 => format!("{parent}/{name}"),
            Some(_) | None => format!("/{name}"),
        };
        if !all.contains(&path) {
            all.push(path);
        } else if all.len() > 3 && r.chance(300) {
            break;
        }
    }
    all
}

/// The program of one client that knows some of so many servers; one at least that is not `left` broken in the end.
pub fn plan(mix: &Mix, name: u16, servers: u8, left: u16) -> ClientPlan {
    let mut r = Stream::new(mix.seed, Purpose::Program, u64::from(name), 0);
    let mut timeout_ms = r.log_uniform(mix.tick_ms, 24 * mix.tick_ms) as i32;
    let auth = if r.chance(400) { vec![credentials(&mut r)] } else { Vec::new() };
    let reopen_after = r.log_uniform(1_000_000, 1_000_000_000);
    let patience = r.log_uniform(20_000_000, 1_000_000_000);
    let reaps = Stream::new(mix.seed, Purpose::Program, u64::from(name), 1);
    let mut writer = Writer { mix, r, reaps, client: name, serial: 0 };
    let ops = writer.program();
    let servers: Vec<u8> = match mix.all_known {
        true => (0..servers).collect(),
        false => known(servers, left, &mut writer.r),
    };
    if mix.write_ms > 0 {
        let least = (2 * mix.tick_ms).max(servers.len() as u64 * mix.write_ms);
        timeout_ms = writer.r.log_uniform(least, 6 * least) as i32;
    }
    let read_only = writer.r.chance(mix.read_only);
    let mut r = Stream::new(mix.seed, Purpose::Program, u64::from(name), 2);
    let set_watches = if r.chance(300) { r.log_uniform(1, 100) as usize } else { limits::SET_WATCHES };
    ClientPlan { name, timeout_ms, patience, read_only, set_watches, servers, auth, reopen_after, ops }
}

/// Often all servers, else some.
fn known(servers: u8, left: u16, r: &mut Stream) -> Vec<u8> {
    let all = (1u16 << servers) - 1;
    let mut some = if r.chance(700) { all } else { r.between(1, u64::from(all)) as u16 };
    if some & !left == 0 {
        some = all;
    }
    (0..servers).filter(|s| some >> s & 1 == 1).collect()
}

fn credentials(r: &mut Stream) -> (String, Bytes) {
    let user = match r.below(8) {
        0 => SUPER,
        n => USERS[n as usize % USERS.len()],
    };
    ("digest".to_owned(), Bytes::from_static(user.as_bytes()))
}

struct Writer<'a> {
    mix: &'a Mix,
    r: Stream,
    /// Which creates make containers and TTL nodes.
    reaps: Stream,
    client: u16,
    serial: u16,
}

impl Writer<'_> {
    fn program(&mut self) -> Vec<Op> {
        let mut times: Vec<u64> =
            (0..self.mix.ops_per_client).map(|_| self.r.below(self.mix.until)).collect();
        times.sort_unstable();
        let mut ops: Vec<Op> = Vec::with_capacity(times.len());
        for mut at in times {
            if let Some(last) = ops.last().filter(|_| self.r.chance(self.mix.burst)) {
                at = last.at;
            }
            let act = self.act();
            ops.push(Op { at, act });
        }
        if self.mix.planted && self.client == 0 {
            ops.splice(0..0, self.plant(ops.first().map_or(0, |o| o.at)));
        }
        // The first operations come early: a seed without a tree tells little.
        if let Some(first) = ops.first().map(|o| o.at) {
            ops.iter_mut().for_each(|o| o.at -= first);
        }
        ops
    }

    /// Creates every path, parents first.
    fn plant(&mut self, at: u64) -> Vec<Op> {
        let mix = self.mix;
        let create = |path: &String| {
            self.serial += 1;
            let acl = Some(vec![Acl::open()]);
            let request =
                CreateRequest { op: CreateOp::Create, path: path.clone(), data: self.data(), acl, flags: 0 };
            Op { at, act: Act::Call(Request::Create(request)) }
        };
        mix.paths.iter().map(create).collect()
    }

    fn act(&mut self) -> Act {
        let kind = KINDS[self.r.weighted(&self.mix.weights)].0;
        self.serial += 1;
        let watch = self.r.chance(self.mix.watch);
        Act::Call(match kind {
            Kind::Create => Request::Create(self.create()),
            Kind::Delete => Request::Delete { path: self.path(), version: self.version() },
            Kind::Exists => Request::Exists { path: self.path(), watch },
            Kind::GetData => Request::GetData { path: self.path(), watch },
            Kind::SetData => {
                Request::SetData { path: self.path(), data: self.data(), version: self.version() }
            }
            Kind::GetAcl => Request::GetAcl { path: self.path() },
            Kind::SetAcl => {
                Request::SetAcl { path: self.path(), acl: Some(self.acl()), version: self.version() }
            }
            Kind::GetChildren => Request::GetChildren { path: self.path(), watch },
            Kind::GetChildren2 => Request::GetChildren2 { path: self.path(), watch },
            Kind::Sync => Request::Sync { path: Some(self.path()) },
            Kind::Multi => self.multi(),
            Kind::MultiRead => self.multi_read(),
            Kind::CheckWatches => Request::CheckWatches { path: self.path(), kind: self.watcher() },
            Kind::RemoveWatches => Request::RemoveWatches { path: self.path(), kind: self.watcher() },
            Kind::AddWatch => {
                let mode = self.r.pick(&[AddWatchMode::Persistent, AddWatchMode::PersistentRecursive]);
                Request::AddWatch { path: Some(self.path()), mode }
            }
            Kind::Auth => self.auth(),
            Kind::GetEphemerals => {
                let prefix = if self.r.chance(512) { "/".to_owned() } else { self.path() };
                Request::GetEphemerals { prefix: Some(prefix) }
            }
            Kind::GetAllChildrenNumber => Request::GetAllChildrenNumber { path: self.path() },
            Kind::WhoAmI => Request::WhoAmI,
            Kind::Close => return Act::Close,
        })
    }

    fn path(&mut self) -> String {
        if self.r.chance(self.mix.strange) {
            let strange = [
                "/",
                "/zookeeper",
                "/zookeeper/config",
                "/zookeeper/quota",
                "/a/",
                "/a//b",
                "foo",
                "/a/..",
                "/\u{1}",
            ];
            return self.r.pick(&strange).to_owned();
        }
        // The first paths are the most contended.
        let n = self.mix.paths.len() as u64;
        let path = &self.mix.paths[self.r.below(n).min(self.r.below(n)) as usize];
        if self.r.chance(self.mix.sequential / 3) {
            return format!("{path}{:010}", self.r.below(6));
        }
        path.clone()
    }

    /// Any version that often fits.
    fn version(&mut self) -> i32 {
        match self.r.below(16) {
            0..=8 => -1,
            9..=14 => self.r.below(3) as i32,
            _ => self.r.pick(&[-2, i32::MAX, i32::MIN, 7]),
        }
    }

    /// Data that names its call.
    fn data(&mut self) -> Option<Bytes> {
        match self.r.below(40) {
            0 => return None,
            1 => return Some(Bytes::new()),
            _ => {}
        }
        let size =
            if self.r.chance(self.mix.big) { self.r.below(self.mix.big_size) } else { self.r.below(24) };
        let mut bytes = vec![0; 6 + size as usize];
        bytes[..2].copy_from_slice(&self.client.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.serial.to_be_bytes());
        // Parts of one multi differ too.
        bytes[4..6].copy_from_slice(&(self.r.u64() as u16).to_be_bytes());
        let fill = self.serial as u8;
        bytes[6..].fill(fill);
        Some(Bytes::from(bytes))
    }

    fn create(&mut self) -> CreateRequest {
        let ephemeral = self.r.chance(self.mix.ephemeral);
        let sequential = self.r.chance(self.mix.sequential);
        let flags = i32::from(ephemeral) + 2 * i32::from(sequential);
        let op = if self.r.chance(512) { CreateOp::Create } else { CreateOp::Create2 };
        let acl = Some(if self.r.chance(self.mix.lists) { self.acl() } else { vec![Acl::open()] });
        let mut path = self.path();
        if sequential && self.r.chance(512) {
            path.push('/');
        }
        let (op, flags) = match !ephemeral && self.reaps.chance(self.mix.reaped) {
            true => self.reaped(sequential),
            false => (op, flags),
        };
        CreateRequest { op, path, data: self.data(), acl, flags }
    }

    /// A container, or a TTL node that lives for a moment or longer than the run.
    fn reaped(&mut self, sequential: bool) -> (CreateOp, i32) {
        let ttl = CreateOp::Ttl(self.reaps.log_uniform(1, 5000) as i64);
        match self.reaps.below(16) {
            0 => (self.reaps.pick(&[CreateOp::Create, CreateOp::Ttl(0), CreateOp::Ttl(-1)]), 5),
            1..=7 => (CreateOp::Container, 4),
            _ => (ttl, 5 + i32::from(sequential)),
        }
    }

    fn acl(&mut self) -> Vec<Acl> {
        let count = self.r.pick(&[1, 1, 1, 2, 3]);
        (0..count).map(|_| self.acl_entry()).collect()
    }

    fn acl_entry(&mut self) -> Acl {
        let part = self.r.below(32) as i32;
        let perms = self.r.pick(&[perms::ALL, perms::ALL, perms::READ, part]);
        let user = self.r.pick(&USERS);
        let id = match self.r.below(12) {
            0..=3 => Id::anyone(),
            4 | 5 => Id::new("auth", ""),
            6 | 7 => Id::new("digest", &auth::digest_id(user.as_bytes())),
            8 => Id::new("ip", "10.0.0.1"),
            9 => Id::new("ip", self.r.pick(&["10.0.0.0/30", "10.0.0.2/31", "0.0.0.0/0"])),
            10 => Id::new(
                self.r.pick(&["none", "digest", "ip", "world"]),
                self.r.pick(&["", "x", "anyone", "10.0.0.1/99"]),
            ),
            _ => Id::new("digest", &auth::digest_id(user.as_bytes())),
        };
        Acl { perms, id }
    }

    fn multi(&mut self) -> Request {
        let count = self.r.between(1, 4);
        let mut ops: Vec<Request> = (0..count)
            .map(|_| match self.r.below(8) {
                0..=3 => Request::Create(self.create()),
                4 => Request::Delete { path: self.path(), version: self.version() },
                5 | 6 => Request::SetData { path: self.path(), data: self.data(), version: self.version() },
                _ => Request::Check { path: self.path(), version: self.version() },
            })
            .collect();
        if self.r.chance(200) {
            ops.push(Request::Check { path: self.path(), version: 77 });
        }
        Request::Multi(ops)
    }

    fn multi_read(&mut self) -> Request {
        let count = self.r.between(1, 4);
        Request::MultiRead(
            (0..count)
                .map(|_| match self.r.chance(512) {
                    true => Request::GetData { path: self.path(), watch: false },
                    false => Request::GetChildren { path: self.path(), watch: false },
                })
                .collect(),
        )
    }

    fn watcher(&mut self) -> WatcherType {
        self.r.pick(&[
            WatcherType::Children,
            WatcherType::Data,
            WatcherType::Any,
            WatcherType::Persistent,
            WatcherType::PersistentRecursive,
        ])
    }

    fn auth(&mut self) -> Request {
        let (scheme, auth) = match self.r.below(12) {
            0 => ("none".to_owned(), Bytes::from_static(b"x")),
            1 => ("ip".to_owned(), Bytes::new()),
            _ => credentials(&mut self.r),
        };
        Request::Auth { scheme: Some(scheme), auth: Some(auth) }
    }
}
