//! What the sequence turns into.

use super::*;

struct Bench {
    a: Appender,
    catalog: Catalog,
    out: Vec<Output>,
    vouches: Vec<Vouch>,
}

impl Bench {
    fn new(last: i64) -> Bench {
        let a = Appender::new(Zxid(last), LogIndex::new(Zxid(last), Zxid(last), Vec::new()));
        Bench { a, catalog: Catalog::default(), out: Vec::new(), vouches: Vec::new() }
    }

    /// Appends an entry and parks a promise of it.
    fn log(&mut self, zxid: i64, len: usize) {
        self.a.append(Zxid(zxid), &vec![1; len]);
        self.a.park(Vouch::OwnAck(Zxid(zxid)));
    }

    /// Hands over what may be; what that is.
    fn flush(&mut self) -> Vec<String> {
        self.a.flush(&mut self.catalog, true, &mut self.out);
        ops(&mut self.out)
    }

    fn durable(&mut self, upto: u64) -> Vec<Vouch> {
        self.a.durable(Ticket(upto), Zxid::ZERO, &mut self.vouches);
        std::mem::take(&mut self.vouches)
    }
}

fn acks(zxids: impl IntoIterator<Item = i64>) -> Vec<Vouch> {
    zxids.into_iter().map(|z| Vouch::OwnAck(Zxid(z))).collect()
}

/// The operations, in short.
fn ops(out: &mut Vec<Output>) -> Vec<String> {
    let word = |o: Output| match o {
        Output::Disk { lane: Lane::Log, op } => Some(match op {
            DiskOp::Create { file } => format!("create {file}"),
            DiskOp::Append { file, .. } => format!("append {file}"),
            DiskOp::Sync { file, ticket } => format!("sync {file} {}", ticket.0),
            DiskOp::Rename { from, to } => format!("rename {from} {to}"),
            DiskOp::SyncDir { ticket, .. } => format!("syncdir {}", ticket.0),
            DiskOp::Truncate { file, len } => format!("truncate {file} {len}"),
            DiskOp::Remove { file } => format!("remove {file}"),
        }),
        _ => None,
    };
    out.drain(..).filter_map(word).collect()
}

const BEGIN_7: [&str; 5] = [
    "create writing.log.7",
    "append writing.log.7",
    "sync writing.log.7 1",
    "rename writing.log.7 log.7",
    "syncdir 2",
];

#[test]
fn a_step_is_one_append_and_one_sync() {
    let mut b = Bench::new(6);
    (7..10).for_each(|z| b.log(z, 10));
    assert_eq!(b.flush(), BEGIN_7);
    (10..15).for_each(|z| b.log(z, 10));
    assert_eq!(b.flush(), ["append log.7", "sync log.7 3"]);
    assert_eq!(b.durable(1), []);
    assert_eq!(b.durable(2), acks(7..10));
    assert_eq!(b.flush(), [""; 0]);
    assert_eq!(b.durable(3), acks(10..15));
}

#[test]
fn no_more_than_the_limit_is_in_flight_and_giants_begin_a_file() {
    let mut b = Bench::new(0);
    b.log(1, 10);
    b.flush();
    let third = LOG_IN_FLIGHT / 3;
    (2..7).for_each(|z| b.log(z, third - 100));
    b.log(7, LOG_IN_FLIGHT);
    assert_eq!(b.flush(), ["append log.1", "sync log.1 3"]);
    assert_eq!(b.flush(), [""; 0]);
    assert_eq!(b.durable(3), acks(1..=4));
    let seen = b.flush();
    assert_eq!(seen[..3], ["append log.1", "sync log.1 4", "create writing.log.7"]);
    assert_eq!(b.durable(6), acks(5..=7));
}
