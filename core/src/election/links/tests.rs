//! The connection rule, one side at a time. Both sides over a network are in the tests of the module above.

use super::*;
use crate::boundary::Dials;
use crate::quorum::{ConfigRules, QuorumVerifier};

/// A side with what it put out.
struct Side {
    links: Links,
    dials: Dials,
    out: Vec<Output>,
    now: Time,
}

/// An output, made short.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Did {
    Dial(u64, String),
    Hello(u64),
    Send(u64, &'static str),
    Close(u64),
}
use Did::{Close, Dial, Hello, Send};

const MESSAGES: [&str; 4] = ["one", "two", "three", "four"];

fn frame(text: &str) -> Bytes {
    let mut f = (text.len() as i32).to_be_bytes().to_vec();
    f.extend_from_slice(text.as_bytes());
    f.into()
}
fn hello(sid: i64, addr: &str) -> Vec<u8> {
    let from = InitialAddress::V1(Addr::parse(addr).expect("an address"));
    let mut w = Vec::new();
    InitialMessage { sid: ServerId(sid), from }.encode(&mut w);
    w
}

impl Side {
    fn new(me: i64) -> Side {
        let text = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888|g3:2888:3888";
        let rules = ConfigRules { multi_address: true, ..ConfigRules::default() };
        let view = QuorumView::settled(QuorumVerifier::parse(text, rules).expect("a configuration"));
        let links = Links::new(ServerId(me), Addr::new("own", 1), Settings::default(), view);
        Side { links, dials: Dials::default(), out: Vec::new(), now: Time(0) }
    }
    fn at(&mut self, ms: u64) -> &mut Side {
        self.now = Time(ms * 1_000_000);
        self
    }
    fn with(&mut self, f: impl FnOnce(&mut Links, &mut Step<'_>)) -> &mut Side {
        let mut step = Step { now: self.now, dials: &mut self.dials, out: &mut self.out };
        f(&mut self.links, &mut step);
        self
    }
    fn send(&mut self, to: i64, text: &str) -> &mut Side {
        self.with(|l, s| l.send(s, ServerId(to), frame(text)))
    }
    fn opened(&mut self, conn: u64) -> &mut Side {
        self.with(|l, s| l.opened(s, Conn(conn)))
    }
    fn closed(&mut self, conn: u64) -> &mut Side {
        self.with(|l, s| l.closed(s, Conn(conn)))
    }
    fn wake(&mut self) -> &mut Side {
        self.with(|l, s| l.wake(s))
    }
    fn receive(&mut self, conn: u64, bytes: &[u8]) -> Vec<(i64, String)> {
        let mut step = Step { now: self.now, dials: &mut self.dials, out: &mut self.out };
        let got = self.links.received(&mut step, Conn(conn), bytes);
        got.into_iter().map(|(sid, m)| (sid.0, String::from_utf8_lossy(&m).into_owned())).collect()
    }
    fn did(&mut self) -> Vec<Did> {
        let short = |o: Output| match o {
            Output::Dial { conn, to, port: Port::Election } => Some(Dial(conn.0, to.to_string())),
            Output::Close { conn } => Some(Close(conn.0)),
            Output::Send { conn, bytes } if bytes.starts_with(&[0xff; 6]) => Some(Hello(conn.0)),
            Output::Send { conn, bytes } => {
                let text = MESSAGES.iter().find(|m| frame(m) == bytes).expect("one of ours");
                Some(Send(conn.0, text))
            }
            Output::Event(Event::ConnClosed { .. }) => None,
            other => panic!("{other:?}"),
        };
        std::mem::take(&mut self.out).into_iter().filter_map(short).collect()
    }
}

#[test]
fn the_larger_one_dials_and_keeps_the_connection() {
    let mut s = Side::new(2);
    assert_eq!(s.send(1, "one").did(), [Dial(1, "h1:3888".into())]);
    assert_eq!(s.send(1, "two").did(), [], "the newer one takes its place");
    assert_eq!(s.opened(1).did(), [Hello(1), Send(1, "two")]);
    assert_eq!(s.send(1, "three").did(), [Send(1, "three")]);
    assert_eq!(s.receive(1, &frame("hi")[..3]), []);
    assert_eq!(
        s.receive(1, &[&frame("hi")[3..], &frame("ho")].concat()),
        [(1, "hi".into()), (1, "ho".into())]
    );
}

#[test]
fn the_smaller_one_only_asks() {
    let mut s = Side::new(1);
    s.send(2, "one");
    s.did();
    assert_eq!(s.opened(1).did(), [Hello(1), Close(1)]);
    // It is dialled back.
    s.opened(4);
    let bytes = [hello(2, "h2:3888"), frame("hi").to_vec()].concat();
    let (a, b) = bytes.split_at(11);
    assert_eq!(s.receive(4, a), []);
    assert_eq!(s.receive(4, b), [(2, "hi".into())]);
    assert_eq!(s.did(), [Send(4, "one")]);
    // A newer connection takes its place, and the last message is told again.
    s.opened(6);
    s.receive(6, &hello(2, "h2:3888"));
    assert_eq!(s.did(), [Close(4), Send(6, "one")]);
}

#[test]
fn a_call_is_answered_by_a_dial_to_the_address_it_gives() {
    let mut s = Side::new(2);
    s.opened(0).receive(0, &hello(1, "elsewhere:9"));
    assert_eq!(s.did(), [Close(0), Dial(1, "elsewhere:9".into())]);
    // Called again while dialling: one dial is enough.
    s.opened(2).receive(2, &hello(1, "elsewhere:9"));
    assert_eq!(s.did(), [Close(2)]);
    assert_eq!(s.opened(1).did(), [Hello(1)]);
    // A call that crossed the connection on its way.
    s.at(400).opened(4).receive(4, &hello(1, "elsewhere:9"));
    assert_eq!(s.did(), [Close(4)]);
    // A call of somebody who lost it.
    s.at(600).opened(6).receive(6, &hello(1, "elsewhere:9"));
    assert_eq!(s.did(), [Close(6), Close(1), Dial(3, "elsewhere:9".into())]);
    // No usable address: the configuration's.
    s.closed(3).did();
    s.opened(8).receive(8, &hello(1, "0.0.0.0:9"));
    assert_eq!(s.did(), [Close(8), Dial(5, "h1:3888".into())]);
}

#[test]
fn simultaneous_dials_leave_one_connection() {
    // The smaller one's dial is under way when the larger one's connection comes in.
    let mut s = Side::new(1);
    s.send(2, "one").did();
    s.opened(4).receive(4, &hello(2, "h2:3888"));
    assert_eq!(s.did(), [Close(1), Send(4, "one")]);
    assert_eq!(s.opened(1).did(), [], "the driver had not heard yet");
    // The larger one's dial is under way when the call comes in.
    let mut s = Side::new(2);
    s.send(1, "one").did();
    s.opened(4).receive(4, &hello(1, "h1:3888"));
    assert_eq!(s.did(), [Close(4)]);
    assert_eq!(s.opened(1).did(), [Hello(1), Send(1, "one")]);
}

#[test]
fn dials_that_fail_are_repeated_while_looking() {
    let mut s = Side::new(2);
    assert_eq!(s.send(3, "one").did(), [Dial(1, "g3:3888".into())]);
    assert_eq!(s.closed(1).did(), [Dial(3, "h3:3888".into())], "the next address");
    assert!(s.links.absent().is_empty());
    assert_eq!(s.closed(3).did(), []);
    assert_eq!(s.links.absent().iter().map(|sid| sid.0).collect::<Vec<_>>(), [3]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let next = s.links.next_wake().expect("a pause");
        pauses.push(next.since(s.now).as_millis());
        s.now = next;
        s.wake();
        while let [Dial(conn, _)] = s.did()[..] {
            s.closed(conn);
        }
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320]);
    // Not any more once there is a leader.
    s.links.set_looking(false);
    assert_eq!(s.links.next_wake(), None);
    let next = s.send(3, "one").did();
    assert_eq!(next.len(), 1);
}

#[test]
fn a_dial_that_hangs_is_given_up() {
    let mut s = Side::new(2);
    s.send(1, "one").did();
    assert_eq!(s.links.next_wake(), Some(Time(5_000_000_000)));
    assert_eq!(s.at(5000).wake().did(), [Close(1)]);
    assert_eq!(s.links.absent().len(), 1);
    assert_eq!(s.at(5100).wake().did(), [Dial(3, "h1:3888".into())]);
    s.opened(3);
    assert!(s.links.absent().is_empty());
}

#[test]
fn a_broken_connection_is_dialled_again_with_the_last_message() {
    let mut s = Side::new(2);
    s.send(1, "one").opened(1).did();
    assert_eq!(s.closed(1).did(), []);
    assert!(s.links.absent().is_empty(), "it may still be there");
    assert_eq!(s.at(10).wake().did(), [Dial(3, "h1:3888".into())]);
    assert_eq!(s.opened(3).did(), [Hello(3), Send(3, "one")]);
    // One that stood for a while is dialled at once: who has ended refuses, and is known to be absent.
    assert_eq!(s.at(600).closed(3).did(), [Dial(5, "h1:3888".into())]);
    assert_eq!(s.opened(5).did(), [Hello(5), Send(5, "one")]);
    assert_eq!(s.at(1200).closed(5).did(), [Dial(7, "h1:3888".into())]);
    s.closed(7);
    assert_eq!(s.links.absent().len(), 1);
    assert_eq!(s.at(1220).wake().did(), [Dial(9, "h1:3888".into())]);
    assert_eq!(s.opened(9).did(), [Hello(9), Send(9, "one")]);
    // With a leader, only when there is something to say; then the stale message is not told.
    s.links.set_looking(false);
    s.closed(9);
    assert_eq!(s.links.next_wake(), None);
    assert_eq!(s.send(1, "two").opened(11).did(), [Dial(11, "h1:3888".into()), Hello(11), Send(11, "two")]);
    s.closed(11).opened(6).receive(6, &hello(1, "h1:3888"));
    assert_eq!(s.opened(13).did(), [Close(6), Dial(13, "h1:3888".into()), Hello(13), Send(13, "two")]);
}

#[test]
fn a_connection_that_takes_nothing_holds_one_message() {
    let mut s = Side::new(2);
    s.send(1, "one").opened(1).did();
    let big = frame(&"x".repeat(limits::WRITABLE_EVERY));
    s.with(|l, step| l.send(step, ServerId(1), big));
    s.out.clear();
    assert_eq!(s.send(1, "two").send(1, "three").did(), []);
    assert_eq!(s.with(|l, step| l.writable(step, Conn(1))).did(), [Send(1, "three")]);
}

#[test]
fn strangers_and_nonsense() {
    let mut s = Side::new(2);
    // Nothing said: closed after a while. Too many: the oldest goes.
    s.opened(0);
    assert_eq!(s.links.next_wake(), Some(Time(10_000_000_000)));
    for i in 1..=limits::ELECTION_OPENING as u64 {
        s.opened(i * 2);
    }
    assert_eq!(s.did(), [Close(0)]);
    assert_eq!(s.at(10_000).wake().did().len(), limits::ELECTION_OPENING);
    assert_eq!(s.links.next_wake(), None);
    // Nonsense, the own id, a frame without measure.
    s.opened(1000).receive(1000, &[0xff; 8]);
    s.opened(1002).receive(1002, &hello(2, "h2:3888"));
    s.opened(1004).receive(1004, &[hello(3, "h3:3888"), vec![0x7f; 4]].concat());
    assert_eq!(s.did(), [Close(1000), Close(1002), Close(1004)]);
    assert!(!s.links.owns(Conn(1004)));
    // Whoever is in no configuration has a place, but not any number of them.
    for i in 0..limits::ELECTION_STRANGERS as u64 {
        s.opened(2000 + i * 2).receive(2000 + i * 2, &hello(100 + i as i64, "far:1"));
    }
    assert_eq!(s.did(), []);
    s.opened(9000).receive(9000, &hello(99, "far:1"));
    s.opened(9002).receive(9002, &hello(3, "h3:3888"));
    assert_eq!(s.did(), [Close(9000)]);
    // Gone, it is forgotten.
    s.send(100, "one").closed(2000);
    assert_eq!(s.did(), [Send(2000, "one")]);
    assert!(!s.links.peers.contains_key(&ServerId(100)));
    assert_eq!(s.links.next_wake(), None);
}

#[test]
fn an_old_hello_has_no_address() {
    let mut s = Side::new(2);
    s.opened(0).receive(0, &1i64.to_be_bytes());
    assert_eq!(s.did(), [Close(0), Dial(1, "h1:3888".into())]);
    s.opened(2).receive(2, &3i64.to_be_bytes());
    assert_eq!(s.send(3, "one").did(), [Send(2, "one")]);
    // A smaller stranger without address cannot be dialled, and is forgotten.
    let mut s = Side::new(2);
    s.opened(0).receive(0, &0i64.to_be_bytes());
    assert_eq!(s.did(), [Close(0)]);
    assert!(s.links.peers.is_empty());
}

#[test]
fn servers_that_are_new_in_a_proposed_configuration_are_dialled() {
    let mut s = Side::new(2);
    let next = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.4=h4:2888:3888\nversion=5";
    let mut view = s.links.view.clone();
    view.last_seen = QuorumVerifier::parse(next, ConfigRules::default()).expect("a configuration").into();
    assert_eq!(s.with(|l, step| l.set_view(step, view)).did(), [Dial(1, "h4:3888".into())]);
}

proptest::proptest! {
    /// Whatever comes in, in whatever order: no panic, and bounded tables.
    #[test]
    fn any_order_of_events_is_survived(events in proptest::collection::vec((0u8..9, 0u64..12, 0i64..5, 0u64..9000), 0..80)) {
        let mut s = Side::new(2);
        for (kind, conn, sid, ms) in events {
            s.now = s.now + Span::from_millis(ms);
            match kind {
                0 => { s.send(sid, "one"); }
                1 => { s.opened(conn); }
                2 => { s.receive(conn, &hello(sid, "h:1")); }
                3 => { s.receive(conn, &frame("two")); }
                4 => { s.receive(conn, &[0x80; 9]); }
                5 => { s.closed(conn); }
                6 => { s.wake(); }
                7 => { s.with(|l, step| l.writable(step, Conn(conn))); }
                _ => s.links.set_looking(conn % 2 == 0),
            }
            let open = s.links.peers.values().filter_map(Peer::conn).collect::<BTreeSet<_>>();
            let whose = s.links.whose.keys().copied().collect::<BTreeSet<_>>();
            proptest::prop_assert_eq!(open, whose);
        }
    }
}
