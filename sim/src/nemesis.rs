//! Faults: what they are, and which of them a seed brings. Each family is off in half of the seeds and drawn hard or soft in
//! the others; half of all faults fall close behind an operation of a client, and crashes are aimed at moments inside a
//! step, inside a sync or right after a turn of the server's affairs.

use crate::random::{Purpose, Stream};
use crate::workload;
use serde::{Deserialize, Serialize};
use zebu_core::boundary::{DiskAction, Lane};

/// A fault and when it begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// True time, ns.
    pub at: u64,
    /// Names its random stream; stays the same when others are taken away.
    pub id: u32,
    /// It waits from then on for such news of any server.
    pub upon: Option<News>,
    /// What happens.
    pub what: What,
}

/// A server that a fault is aimed at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Whom {
    /// This one.
    Server(u8),
    /// Whoever leads at that moment.
    Leader {
        /// If nobody does: this one.
        or: u8,
    },
    /// Whoever brought the news that the fault waited for.
    Teller {
        /// If it did not wait: this one.
        or: u8,
    },
}

/// What happens. Durations are ns of true time; a fault's effect ends when the run heals, at the latest. Sets of servers are
/// bits, the first server's the lowest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    /// A server dies and starts again.
    Crash {
        /// Which.
        server: Whom,
        /// The machine with it: bytes that were not synced are lost or torn.
        power: bool,
        /// When exactly.
        moment: Moment,
        /// How long it stays down.
        down: u64,
    },
    /// A server is told to stop, and starts again.
    Stop {
        /// Which.
        server: Whom,
        /// How long it stays down.
        down: u64,
    },
    /// The connections between a client and a server break.
    Reset {
        /// The client, or the raw connection behind the clients.
        link: u16,
    },
    /// No byte gets through between a client and a server.
    Stall {
        /// On whose link.
        link: u16,
        /// To this server only, not to all.
        server: Option<u8>,
        /// Towards the server.
        up: bool,
        /// Towards the client.
        down: bool,
        /// For how long.
        time: u64,
    },
    /// Every byte takes longer.
    Slow {
        /// On whose link.
        link: u16,
        /// By how much, ns.
        extra: u64,
        /// For how long.
        time: u64,
    },
    /// A server's host refuses connections.
    Refuse {
        /// Which.
        server: u8,
        /// For how long.
        time: u64,
    },
    /// A lane of a disk does not get on.
    DiskStall {
        /// Whose.
        server: Whom,
        /// Which lane.
        lane: Lane,
        /// For how long.
        time: u64,
    },
    /// The next such operation of a disk fails.
    DiskError {
        /// Whose.
        server: u8,
        /// In which lane.
        lane: Lane,
        /// Which operation.
        action: DiskAction,
    },
    /// A disk is full but for a few bytes.
    DiskFull {
        /// Whose.
        server: u8,
        /// Bytes left.
        room: u64,
        /// For how long.
        time: u64,
    },
    /// Syncs report success and make nothing durable.
    DiskLies {
        /// Whose.
        server: u8,
        /// For how long.
        time: u64,
    },
    /// Reading the files fails when the server starts next.
    ReadError {
        /// Whose disk.
        server: u8,
    },
    /// The wall clock jumps.
    WallJump {
        /// Whose.
        server: u8,
        /// By how much.
        ms: i64,
    },
    /// A server does nothing; its machine goes on.
    Freeze {
        /// Which.
        server: Whom,
        /// For how long.
        time: u64,
    },
    /// A client dies with all it knows; a new one goes on with the program.
    ClientCrash {
        /// Which.
        client: u16,
        /// No one tells the servers.
        silent: bool,
        /// How long it stays down.
        down: u64,
    },
    /// A client does nothing; its machine goes on.
    ClientFreeze {
        /// Which.
        client: u16,
        /// For how long.
        time: u64,
    },
    /// No byte gets from some servers to others; clients see all of them.
    Partition {
        /// From these.
        from: u16,
        /// To these.
        to: u16,
        /// Nor back.
        back: bool,
        /// For how long.
        time: u64,
    },
    /// A server is cut off from all others.
    Isolate {
        /// Which.
        server: Whom,
        /// What is sent to it is.
        into: bool,
        /// What it sends is.
        out: bool,
        /// Clients and it, too.
        clients: bool,
        /// For how long.
        time: u64,
    },
    /// Every byte from some servers to others takes longer.
    SlowPath {
        /// From these.
        from: u16,
        /// To these.
        to: u16,
        /// By how much, ns.
        extra: u64,
        /// For how long.
        time: u64,
    },
    /// The connections between some servers and others break.
    Sever {
        /// Some.
        from: u16,
        /// Others.
        to: u16,
    },
    /// Servers die at once, and start again one after the other.
    Blackout {
        /// Which.
        servers: u16,
        /// Their machines with them.
        power: bool,
        /// How long the first stays down.
        down: u64,
        /// How much longer each further one does.
        apart: u64,
    },
    /// A server loses its machine and gets an empty disk, at the first moment when that loses nothing.
    Wipe {
        /// Which.
        server: Whom,
        /// How long it stays down.
        down: u64,
    },
    /// A bit of a file flips that newer files have made superfluous.
    Rot {
        /// On whose disk.
        server: u8,
    },
}

/// When exactly a server dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Moment {
    /// Between two steps.
    Now,
    /// In the next step that asks for anything, after this many of its outputs.
    Outputs(u8),
    /// In the next step that asks for disk work in this lane, after this many of its outputs.
    DiskOutputs(Lane, u8),
    /// During the last operation (mostly a sync) of the next run of this lane, so many 256ths into it.
    Sync(Lane, u8),
    /// In a step that brings such news, after this many of its outputs.
    News(News, u8),
}

/// Turns of a server's affairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum News {
    /// It took up a role.
    Became,
    /// A transaction was committed.
    Committed,
    /// The log went on in a new file.
    Rolled,
    /// A snapshot began.
    SnapshotBegun,
    /// A snapshot is durable.
    SnapshotDone,
    /// A session expired.
    Expired,
    /// Old files were purged.
    Purged,
    /// An election named a leader.
    Elected,
    /// A leader's epoch is accepted.
    Established,
    /// A member of an ensemble began to serve.
    Activated,
    /// A role ended.
    RoleLost,
    /// It accepted an epoch.
    EpochAcked,
    /// It holds what an epoch begins with.
    LeaderAcked,
    /// It holds a transaction.
    Acked,
    /// It proposed a transaction.
    Proposed,
    /// It logged a transaction.
    Logged,
    /// A quorum holds a transaction.
    QuorumAcked,
    /// Its log was cut off.
    Truncated,
    /// It took a snapshot of its leader.
    Installed,
    /// A session came to it.
    Attached,
    /// It proposed a configuration.
    ConfigProposed,
    /// It logged one.
    ConfigLogged,
    /// It goes by another configuration.
    Reconfigured,
}

/// Families of faults, each with a stream of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Family {
    Kill,
    Power,
    Stop,
    Reset,
    Stall,
    Slow,
    Refuse,
    DiskStall,
    DiskError,
    DiskFull,
    DiskLies,
    ReadError,
    WallJump,
    Freeze,
    ClientCrash,
    ClientFreeze,
    Split,
    OneWay,
    Pair,
    Bridge,
    Isolate,
    Swizzle,
    SlowPath,
    Sever,
    Blackout,
    Rolling,
    Wipe,
    Rot,
    Change,
    Betrayal,
    Depose,
    Interrupted,
}

/// Of 1024 seeds, how many have the family: those of one server, those of an ensemble.
const FAMILIES: [(Family, u32, u32); 32] = [
    (Family::Kill, 512, 400),
    (Family::Power, 512, 400),
    (Family::Stop, 200, 200),
    (Family::Reset, 512, 300),
    (Family::Stall, 400, 300),
    (Family::Slow, 300, 150),
    (Family::Refuse, 200, 150),
    (Family::DiskStall, 400, 250),
    (Family::DiskError, 150, 100),
    (Family::DiskFull, 100, 70),
    (Family::DiskLies, 30, 60),
    (Family::ReadError, 100, 70),
    (Family::WallJump, 400, 200),
    (Family::Freeze, 200, 300),
    (Family::ClientCrash, 400, 300),
    (Family::ClientFreeze, 200, 100),
    (Family::Split, 0, 300),
    (Family::OneWay, 0, 250),
    (Family::Pair, 0, 200),
    (Family::Bridge, 0, 150),
    (Family::Isolate, 0, 400),
    (Family::Swizzle, 0, 150),
    (Family::SlowPath, 0, 200),
    (Family::Sever, 0, 300),
    (Family::Blackout, 0, 250),
    (Family::Rolling, 0, 100),
    (Family::Wipe, 0, 150),
    (Family::Rot, 0, 100),
    (Family::Change, 0, 700),
    (Family::Betrayal, 0, 250),
    // Of those that [`workload::doubts`] names.
    (Family::Depose, 0, 900),
    (Family::Interrupted, 0, 200),
];

/// What the faults of a seed must know of the rest of it.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The seed.
    pub seed: u64,
    /// Servers.
    pub servers: u8,
    /// They are an ensemble.
    pub ensemble: bool,
    /// Their membership changes.
    pub changes: bool,
    /// Client programs.
    pub clients: u16,
    /// Links: clients and raw connections.
    pub links: u16,
    /// Faults begin before this true time.
    pub until: u64,
    /// The tick, ns.
    pub tick: u64,
    /// How long a server waits for the others before it gives up, ns; at least a tick.
    pub patience: u64,
    /// When operations begin: faults gather behind them.
    pub busy: &'a [u64],
}

/// The faults of a seed, in order of time.
pub fn faults(stage: &Stage<'_>) -> Vec<Fault> {
    let mut swarm = Stream::new(stage.seed, Purpose::Swarm, 1, 0);
    let calm = swarm.chance(100);
    let mut out = Vec::new();
    for (family, alone, together) in FAMILIES {
        // Every family draws, so that the others see the same numbers whatever is on.
        let on = swarm.chance(if stage.ensemble { together } else { alone }) && !calm;
        let many = swarm.log_uniform(1, 7);
        let fits = match family {
            Family::Change | Family::Betrayal => stage.changes,
            Family::Depose => workload::doubts(stage.seed),
            _ => true,
        };
        if !on || !fits {
            continue;
        }
        let mut r = Stream::new(stage.seed, Purpose::Faults, family as u64, 0);
        for n in 0..many {
            let at = when(stage, &mut r);
            let id = (family as u32) << 16 | (n as u32) << 8;
            match family {
                Family::Swizzle => swizzle(stage, (at, id), &mut r, &mut out),
                Family::Rolling => rolling(stage, (at, id), &mut r, &mut out),
                Family::Change => change(stage, (at, id), &mut r, &mut out),
                Family::Betrayal => betrayal(stage, (at, id), &mut r, &mut out),
                Family::Interrupted => interrupted(stage, (at, id), &mut r, &mut out),
                _ => {
                    let what = draw(family, stage, &mut r);
                    let upon = (stage.ensemble && r.chance(250)).then(|| news(&mut r));
                    out.push(Fault { at, id, upon, what });
                }
            }
        }
    }
    out.sort_by_key(|f| (f.at, f.id));
    out
}

fn when(stage: &Stage<'_>, r: &mut Stream) -> u64 {
    if stage.busy.is_empty() || r.chance(512) {
        r.below(stage.until)
    } else {
        r.pick(stage.busy) + r.log_uniform(1_000, 100_000_000)
    }
}

/// How long things stay broken: often less than a session timeout, or than servers wait for each other; sometimes more.
fn a_while(stage: &Stage<'_>, r: &mut Stream) -> u64 {
    r.log_uniform(1_000_000, (8 * stage.tick).max(4 * stage.patience))
}

/// Someone of these servers, in an ensemble often whoever leads.
fn whom(stage: &Stage<'_>, server: u8, r: &mut Stream) -> Whom {
    if !stage.ensemble {
        return Whom::Server(server);
    }
    match r.below(8) {
        0..=2 => Whom::Server(server),
        3 => Whom::Teller { or: server },
        _ => Whom::Leader { or: server },
    }
}

/// Some of the servers and the others, each at least one.
fn halves(stage: &Stage<'_>, r: &mut Stream) -> (u16, u16) {
    let all = (1u16 << stage.servers) - 1;
    let some = r.between(1, u64::from(all).saturating_sub(1).max(1)) as u16;
    (some, all & !some)
}

/// Two different servers, if there are.
fn two(stage: &Stage<'_>, r: &mut Stream) -> (u16, u16) {
    let n = u64::from(stage.servers);
    let a = r.below(n);
    let b = (a + 1 + r.below(n.saturating_sub(1))) % n;
    (1 << a, 1 << b)
}

fn draw(family: Family, stage: &Stage<'_>, r: &mut Stream) -> What {
    let server = r.below(u64::from(stage.servers)) as u8;
    let client = r.below(u64::from(stage.clients)) as u16;
    let link = r.below(u64::from(stage.links)) as u16;
    let time = a_while(stage, r);
    let lane = if r.chance(700) { Lane::Log } else { Lane::Bulk };
    match family {
        Family::Kill | Family::Power => {
            let moment = moment(stage, r);
            let server = whom(stage, server, r);
            What::Crash { server, power: family == Family::Power, moment, down: time }
        }
        Family::Stop => What::Stop { server: whom(stage, server, r), down: time },
        Family::Reset => What::Reset { link },
        Family::Stall => {
            let way = r.below(3);
            let server = (stage.ensemble && r.chance(512)).then_some(server);
            What::Stall { link, server, up: way != 0, down: way != 1, time }
        }
        Family::Slow => What::Slow { link, extra: r.log_uniform(100_000, 2 * stage.tick), time },
        Family::Refuse => What::Refuse { server, time },
        Family::DiskStall => What::DiskStall { server: whom(stage, server, r), lane, time },
        Family::DiskError => What::DiskError { server, lane, action: action(r) },
        Family::DiskFull => What::DiskFull { server, room: r.below(4096), time },
        Family::DiskLies => What::DiskLies { server, time },
        Family::ReadError => What::ReadError { server },
        Family::WallJump => {
            let ms = r.log_uniform(1, 1 << 27) as i64;
            What::WallJump { server, ms: if r.chance(512) { ms } else { -ms } }
        }
        Family::Freeze => What::Freeze { server: whom(stage, server, r), time },
        Family::ClientCrash => What::ClientCrash { client, silent: r.chance(512), down: time },
        Family::ClientFreeze => What::ClientFreeze { client, time },
        Family::Split
        | Family::OneWay
        | Family::Pair
        | Family::Bridge
        | Family::Isolate
        | Family::Swizzle
        | Family::SlowPath
        | Family::Sever
        | Family::Blackout
        | Family::Rolling
        | Family::Wipe
        | Family::Rot
        | Family::Change
        | Family::Betrayal
        | Family::Interrupted
        | Family::Depose => draw_of_ensemble(family, stage, (server, time), r),
    }
}

/// Faults that only an ensemble knows.
fn draw_of_ensemble(family: Family, stage: &Stage<'_>, (server, time): (u8, u64), r: &mut Stream) -> What {
    match family {
        Family::Split => {
            let (from, to) = halves(stage, r);
            What::Partition { from, to, back: true, time }
        }
        Family::OneWay => {
            let (from, to) = if r.chance(512) { two(stage, r) } else { halves(stage, r) };
            What::Partition { from, to, back: false, time }
        }
        Family::Pair => {
            let (from, to) = two(stage, r);
            What::Partition { from, to, back: true, time }
        }
        Family::Bridge => {
            // One of the servers sees both halves.
            let (from, to) = halves(stage, r);
            let bridge = !(1 << server);
            What::Partition { from: from & bridge, to: to & bridge, back: true, time }
        }
        Family::Isolate => {
            let way = r.below(4);
            let (server, clients) = (whom(stage, server, r), r.chance(300));
            What::Isolate { server, into: way != 0, out: way != 1, clients, time }
        }
        Family::SlowPath => {
            let (from, to) = if r.chance(512) { two(stage, r) } else { halves(stage, r) };
            What::SlowPath { from, to, extra: r.log_uniform(100_000, 2 * stage.patience), time }
        }
        Family::Sever => {
            let (from, to) = if r.chance(700) { two(stage, r) } else { halves(stage, r) };
            What::Sever { from, to }
        }
        Family::Blackout => {
            let all = (1u16 << stage.servers) - 1;
            let servers = if r.chance(400) { all } else { r.between(1, u64::from(all)) as u16 };
            let apart = if r.chance(512) { 0 } else { r.log_uniform(1_000_000, stage.patience.max(1 << 20)) };
            What::Blackout { servers, power: r.chance(600), down: time, apart }
        }
        Family::Wipe => What::Wipe { server: whom(stage, server, r), down: time },
        Family::Rot => What::Rot { server },
        // The leader is away just long enough for another to take its place, and comes back without knowing.
        Family::Depose => {
            let (leader, time) = (Whom::Leader { or: server }, r.between(stage.patience, 3 * stage.patience));
            match r.chance(700) {
                true => What::Freeze { server: leader, time },
                false => What::Isolate { server: leader, into: true, out: true, clients: false, time },
            }
        }
        _ => unreachable!("the caller sorts out the others"),
    }
}

/// Some servers are cut off one by one, and come back in another order.
fn swizzle(stage: &Stage<'_>, (at, id): (u64, u32), r: &mut Stream, out: &mut Vec<Fault>) {
    let (some, _) = halves(stage, r);
    let (step, whole) = (r.log_uniform(1_000_000, 2 * stage.patience), 4 * stage.patience);
    let mut begin = at;
    for s in (0..stage.servers).filter(|s| some >> s & 1 == 1) {
        let time = r.between(step, step + whole);
        let what = What::Isolate { server: Whom::Server(s), into: true, out: true, clients: false, time };
        out.push(Fault { at: begin, id: id | u32::from(s), upon: None, what });
        begin += step;
    }
}

/// Every server is told to stop and started again, one after the other.
fn rolling(stage: &Stage<'_>, (at, id): (u64, u32), r: &mut Stream, out: &mut Vec<Fault>) {
    let (down, gap) =
        (r.log_uniform(1_000_000, stage.patience), r.log_uniform(stage.tick, 4 * stage.patience));
    for s in 0..stage.servers {
        let what = What::Stop { server: Whom::Server(s), down };
        out.push(Fault { at: at + u64::from(s) * gap, id: id | u32::from(s), upon: None, what });
    }
}

/// Something goes wrong while the configuration changes.
fn change(stage: &Stage<'_>, (at, id): (u64, u32), r: &mut Stream, out: &mut Vec<Fault>) {
    let news = r.pick(&[News::ConfigProposed, News::ConfigLogged, News::ConfigLogged, News::Reconfigured]);
    let server = r.below(u64::from(stage.servers)) as u8;
    let (who, time) = (whom(stage, server, r), a_while(stage, r));
    let what = match r.below(8) {
        0..=2 => {
            let moment = if r.chance(512) { Moment::Now } else { Moment::News(news, r.below(6) as u8) };
            What::Crash { server: who, power: r.chance(512), moment, down: time }
        }
        3 => What::Stop { server: who, down: time },
        4 => What::Isolate { server: who, into: true, out: true, clients: r.chance(300), time },
        5 => What::DiskStall { server: who, lane: Lane::Log, time },
        6 => {
            let (from, to) = halves(stage, r);
            What::Partition { from, to, back: true, time }
        }
        _ => {
            let servers = r.between(1, (1 << stage.servers) - 1) as u16;
            What::Blackout { servers, power: r.chance(512), down: time, apart: 0 }
        }
    };
    out.push(Fault { at, id, upon: Some(news), what });
}

/// Some servers get a configuration and do not store it; if it comes to be in force nevertheless, they lose power, and the
/// others are away for longer than they are.
fn betrayal(stage: &Stage<'_>, (at, id): (u64, u32), r: &mut Stream, out: &mut Vec<Fault>) {
    let (some, others) = halves(stage, r);
    let time = a_while(stage, r);
    for s in (0..stage.servers).filter(|s| some >> s & 1 == 1) {
        let what = What::DiskStall { server: Whom::Server(s), lane: Lane::Log, time };
        out.push(Fault { at, id: id | u32::from(s), upon: Some(News::ConfigProposed), what });
    }
    let mut dark = |n: u32, servers: u16, power: bool, down: u64| {
        let what = What::Blackout { servers, power, down, apart: 0 };
        out.push(Fault { at, id: id | n, upon: Some(News::Reconfigured), what });
    };
    dark(0x40, some, true, r.log_uniform(1_000_000, stage.patience));
    dark(0x41, others, false, r.log_uniform(stage.patience, 8 * stage.patience));
}

/// A server that begins a snapshot of its own does not get on with it, and loses its leader or its followers meanwhile.
fn interrupted(stage: &Stage<'_>, (at, id): (u64, u32), r: &mut Stream, out: &mut Vec<Fault>) {
    let server = Whom::Teller { or: r.below(u64::from(stage.servers)) as u8 };
    let (lane, slow) = (Lane::Bulk, r.between(stage.patience, 8 * stage.patience));
    let (into, to, time) = (r.chance(800), r.chance(800), r.between(stage.tick, 3 * stage.patience));
    let stall = What::DiskStall { server, lane, time: slow };
    let alone = What::Isolate { server, into, out: to || !into, clients: false, time };
    let upon = Some(News::SnapshotBegun);
    out.push(Fault { at, id, upon, what: stall });
    out.push(Fault { at, id: id | 1, upon, what: alone });
}

fn moment(stage: &Stage<'_>, r: &mut Stream) -> Moment {
    let after = if r.chance(700) { r.below(6) } else { r.below(24) } as u8;
    let lane = if r.chance(700) { Lane::Log } else { Lane::Bulk };
    match r.below(8) {
        0 | 1 => Moment::Now,
        2 => Moment::Outputs(after),
        3 => Moment::DiskOutputs(lane, after),
        4 | 5 => Moment::Sync(lane, r.below(256) as u8),
        _ if stage.ensemble && r.chance(700) => Moment::News(news(r), after),
        _ => Moment::News(
            r.pick(&[
                News::Became,
                News::Committed,
                News::Rolled,
                News::SnapshotBegun,
                News::SnapshotDone,
                News::Expired,
                News::Purged,
            ]),
            after,
        ),
    }
}

/// News of an ensemble.
fn news(r: &mut Stream) -> News {
    r.pick(&[
        News::Became,
        News::Committed,
        News::Elected,
        News::Established,
        News::Activated,
        News::RoleLost,
        News::EpochAcked,
        News::LeaderAcked,
        News::Acked,
        News::Proposed,
        News::Logged,
        News::QuorumAcked,
        News::Truncated,
        News::Installed,
        News::Attached,
        News::SnapshotBegun,
    ])
}

fn action(r: &mut Stream) -> DiskAction {
    r.pick(&[
        DiskAction::Create,
        DiskAction::Append,
        DiskAction::Append,
        DiskAction::Sync,
        DiskAction::Sync,
        DiskAction::Truncate,
        DiskAction::Rename,
        DiskAction::Remove,
        DiskAction::SyncDir,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_comes_and_some_seeds_are_calm() {
        let mut seen = std::collections::BTreeSet::new();
        let mut calm = 0;
        for seed in 0..2000 {
            let stage = Stage {
                seed,
                servers: 5,
                ensemble: true,
                changes: true,
                clients: 3,
                links: 4,
                until: 1 << 34,
                tick: 1 << 28,
                patience: 1 << 30,
                busy: &[5, 7 << 30],
            };
            let list = faults(&stage);
            calm += u32::from(list.is_empty());
            assert!(list.is_sorted_by_key(|f| f.at));
            seen.extend(list.iter().map(|f| f.id >> 16));
        }
        assert_eq!(seen.len(), FAMILIES.len());
        assert!((50..500).contains(&calm), "{calm}");
    }
}
