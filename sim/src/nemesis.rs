//! Faults: what they are, and which of them a seed brings. Each family is off in half of the seeds and drawn hard or soft in
//! the others; half of all faults fall close behind an operation of a client, and crashes are aimed at moments inside a
//! step, inside a sync or right after a turn of the server's affairs.

use crate::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use zebu_core::boundary::{DiskAction, Lane};

/// A fault and when it begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// True time, ns.
    pub at: u64,
    /// Names its random stream; stays the same when others are taken away.
    pub id: u32,
    /// What happens.
    pub what: What,
}

/// What happens. Durations are ns of true time; a fault's effect ends when the run heals, at the latest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    /// A server dies and starts again.
    Crash {
        /// Which.
        server: u8,
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
        server: u8,
        /// How long it stays down.
        down: u64,
    },
    /// The connections between a client and a server break.
    Reset {
        /// The client, or the raw connection behind the clients.
        link: u16,
    },
    /// No byte gets through.
    Stall {
        /// On whose link.
        link: u16,
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
        server: u8,
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
        server: u8,
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
    /// It began to serve.
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
}

const FAMILIES: [(Family, u32); 16] = [
    (Family::Kill, 512),
    (Family::Power, 512),
    (Family::Stop, 200),
    (Family::Reset, 512),
    (Family::Stall, 400),
    (Family::Slow, 300),
    (Family::Refuse, 200),
    (Family::DiskStall, 400),
    (Family::DiskError, 150),
    (Family::DiskFull, 100),
    (Family::DiskLies, 30),
    (Family::ReadError, 100),
    (Family::WallJump, 400),
    (Family::Freeze, 200),
    (Family::ClientCrash, 400),
    (Family::ClientFreeze, 200),
];

/// What the faults of a seed must know of the rest of it.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The seed.
    pub seed: u64,
    /// Servers.
    pub servers: u8,
    /// Client programs.
    pub clients: u16,
    /// Links: clients and raw connections.
    pub links: u16,
    /// Faults begin before this true time.
    pub until: u64,
    /// The tick, ns.
    pub tick: u64,
    /// When operations begin: faults gather behind them.
    pub busy: &'a [u64],
}

/// The faults of a seed, in order of time.
pub fn faults(stage: &Stage<'_>) -> Vec<Fault> {
    let mut swarm = Stream::new(stage.seed, Purpose::Swarm, 1, 0);
    let calm = swarm.chance(100);
    let mut out = Vec::new();
    for (family, chance) in FAMILIES {
        // Every family draws, so that the others see the same numbers whatever is on.
        let on = swarm.chance(chance) && !calm;
        let many = swarm.log_uniform(1, 7);
        if !on {
            continue;
        }
        let mut r = Stream::new(stage.seed, Purpose::Faults, family as u64, 0);
        for n in 0..many {
            let at = when(stage, &mut r);
            let what = draw(family, stage, &mut r);
            out.push(Fault { at, id: (family as u32) << 8 | n as u32, what });
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

/// How long things stay broken: often less than a session timeout, sometimes more.
fn a_while(stage: &Stage<'_>, r: &mut Stream) -> u64 {
    r.log_uniform(1_000_000, 8 * stage.tick)
}

fn draw(family: Family, stage: &Stage<'_>, r: &mut Stream) -> What {
    let server = r.below(u64::from(stage.servers)) as u8;
    let client = r.below(u64::from(stage.clients)) as u16;
    let link = r.below(u64::from(stage.links)) as u16;
    let time = a_while(stage, r);
    let lane = if r.chance(700) { Lane::Log } else { Lane::Bulk };
    match family {
        Family::Kill | Family::Power => {
            What::Crash { server, power: family == Family::Power, moment: moment(r), down: time }
        }
        Family::Stop => What::Stop { server, down: time },
        Family::Reset => What::Reset { link },
        Family::Stall => {
            let way = r.below(3);
            What::Stall { link, up: way != 0, down: way != 1, time }
        }
        Family::Slow => What::Slow { link, extra: r.log_uniform(100_000, 2 * stage.tick), time },
        Family::Refuse => What::Refuse { server, time },
        Family::DiskStall => What::DiskStall { server, lane, time },
        Family::DiskError => What::DiskError { server, lane, action: action(r) },
        Family::DiskFull => What::DiskFull { server, room: r.below(4096), time },
        Family::DiskLies => What::DiskLies { server, time },
        Family::ReadError => What::ReadError { server },
        Family::WallJump => {
            let ms = r.log_uniform(1, 1 << 27) as i64;
            What::WallJump { server, ms: if r.chance(512) { ms } else { -ms } }
        }
        Family::Freeze => What::Freeze { server, time },
        Family::ClientCrash => What::ClientCrash { client, silent: r.chance(512), down: time },
        Family::ClientFreeze => What::ClientFreeze { client, time },
    }
}

fn moment(r: &mut Stream) -> Moment {
    let after = if r.chance(700) { r.below(6) } else { r.below(24) } as u8;
    let lane = if r.chance(700) { Lane::Log } else { Lane::Bulk };
    match r.below(8) {
        0 | 1 => Moment::Now,
        2 => Moment::Outputs(after),
        3 => Moment::DiskOutputs(lane, after),
        4 | 5 => Moment::Sync(lane, r.below(256) as u8),
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
                servers: 1,
                clients: 3,
                links: 4,
                until: 1 << 34,
                tick: 1 << 28,
                busy: &[5, 7 << 30],
            };
            let list = faults(&stage);
            calm += u32::from(list.is_empty());
            assert!(list.is_sorted_by_key(|f| f.at));
            seen.extend(list.iter().map(|f| f.id >> 8));
        }
        assert_eq!(seen.len(), FAMILIES.len());
        assert!((50..500).contains(&calm), "{calm}");
    }
}
