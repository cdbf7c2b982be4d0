//! What real clients asked a standalone 3.9.3 (`traces/java/client` 01, 02 and 03, which are one life of one server), asked of ours in
//! this process: each reply and each watch event has to be the same, byte for byte, but for what names a moment: zxids, times,
//! session ids and passwords. These are translated: the same one there is the same one here, and order stays order.

use std::collections::{BTreeMap, BTreeSet};
use zebu_core::auth::digest_id;
use zebu_core::boundary::Conn;
use zebu_core::config::Config;
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute::Reader;
use zebu_core::proto::*;
use zebu_sim::inproc::InProcess;
use zebu_tests::capture::{self, Exchange};

/// Lines of the captures that are not asked, the node that Java deleted with it, and why.
const LEFT_OUT: &[(&str, Option<&str>, &str)] = &[
    ("01:119", None, "quotas come later: the server counts what lies below a quota"),
    ("01:122", None, "quotas come later: count"),
    ("01:123", None, "quotas come later: bytes"),
    ("01:124", None, "quotas come later: the count again"),
    (
        "01:125",
        None,
        "createSession is no operation of a client: Java makes a session in the middle of another",
    ),
    ("01:133", Some("/cont"), "deleteContainer is the server's own: refused from clients"),
    ("01:134", None, "the same"),
    ("01:135", None, "the same"),
    ("01:136", Some("/nil"), "the same"),
];

/// A conversation with ours that follows one with Java's.
struct Twin {
    ours: InProcess,
    /// The connection that each label stands for at the moment.
    conns: BTreeMap<String, Conn>,
    /// Java's zxid to ours.
    zxids: BTreeMap<i64, i64>,
    /// Java's session to ours.
    sessions: BTreeMap<i64, (SessionId, [u8; 16])>,
    /// Calls that were sent.
    asked: BTreeSet<String>,
    compared: usize,
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

impl Twin {
    fn new(config: Config) -> Twin {
        Twin {
            ours: InProcess::new(config),
            conns: BTreeMap::new(),
            zxids: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeSet::new(),
            compared: 0,
        }
    }

    /// Plays the first of `rest`.
    fn play(&mut self, rest: &[Exchange]) {
        let x = &rest[0];
        self.ours.pass(10);
        match x.op.as_str() {
            "connect" => self.connect(x),
            "raw" => self.raw(x),
            "notification" if x.request.is_none() => self.notification(x, &rest[1..]),
            _ => self.call(x),
        }
    }

    /// A label may be used again for a new connection; the old one has gone.
    fn connect(&mut self, x: &Exchange) {
        if let Some(old) = self.conns.remove(&x.conn) {
            self.ours.hang_up(old);
        }
        if x.note == "after expiry" || x.conn == "reattach after expiry" {
            self.ours.pass(20_000);
        }
        let conn = self.ours.open();
        self.conns.insert(x.conn.clone(), conn);
        let mut asked =
            ConnectRequest::decode(&mut Reader::new(x.request.as_deref().expect("a request"))).expect(&x.at);
        if let Some((id, password)) = self.sessions.get(&asked.session.0) {
            let right = asked.password.as_deref() == Some(&java_password(asked.session)[..]);
            asked.session = *id;
            if right {
                asked.password = Some(password.to_vec().into());
            }
        }
        self.ours.send(conn, &framed(&encoded(|w| asked.encode(w))));
        let Some(theirs) = &x.response else { return self.ended(x, conn) };
        let theirs = ConnectResponse::decode(&mut Reader::new(theirs)).expect(&x.at);
        let frame = self.ours.frame(conn).unwrap_or_else(|| panic!("{}: no answer to the handshake", x.at));
        let ours = ConnectResponse::decode(&mut Reader::new(&frame)).expect(&x.at);
        if theirs.session != SessionId::NONE {
            let id = self.sessions.entry(theirs.session.0).or_insert((ours.session, ours.password)).0;
            assert_eq!(ours.session, id, "{}", x.at);
        }
        let same = ConnectResponse { session: ours.session, password: ours.password, ..theirs.clone() };
        assert_eq!(ours, same, "{}", x.at);
        assert_eq!(theirs.session == SessionId::NONE, ours.session == SessionId::NONE, "{}", x.at);
        assert_eq!(theirs.password == [0; 16], ours.password == [0; 16], "{}", x.at);
        self.compared += 1;
    }

    /// Bytes outside the protocol: the connection is closed.
    fn raw(&mut self, x: &Exchange) {
        let conn = *self.conns.get(&x.conn).unwrap_or(&Conn(0));
        let conn = if conn == Conn(0) { self.ours.open() } else { conn };
        self.ours.send(conn, x.request.as_deref().expect("bytes"));
        self.ended(x, conn);
    }

    /// Sends the request of a call, unless it is on its way.
    fn ask(&mut self, x: &Exchange) {
        if self.asked.insert(x.at.clone()) {
            let asked = self.translated(x.request.as_deref().expect("a request"));
            self.ours.send(self.conns[&x.conn], &framed(&asked));
        }
    }

    fn call(&mut self, x: &Exchange) {
        self.ask(x);
        let conn = self.conns[&x.conn];
        let Some(theirs) = &x.response else { return self.ended(x, conn) };
        let frame = self.ours.frame(conn).unwrap_or_else(|| panic!("{}: no reply to {}", x.at, x.op));
        self.same_reply(x, theirs, &frame);
    }

    /// A capture has the events that a call causes for its own connection in front of the call, whose reply came after them.
    fn notification(&mut self, x: &Exchange, later: &[Exchange]) {
        let conn = self.conns[&x.conn];
        let frame = self.ours.frame(conn).or_else(|| {
            let call = later.iter().find(|l| l.conn == x.conn && l.request.is_some() && l.op != "connect")?;
            self.ask(call);
            self.ours.frame(conn)
        });
        let frame = frame.unwrap_or_else(|| panic!("{}: no event", x.at));
        let theirs = x.response.as_deref().expect("an event");
        let (mut a, mut b) = (Reader::new(theirs), Reader::new(&frame));
        let (ha, hb) =
            (ReplyHeader::decode(&mut a).expect("header"), ReplyHeader::decode(&mut b).expect("header"));
        self.same_zxid(x, ha.zxid, hb.zxid);
        assert_eq!(ReplyHeader { zxid: ha.zxid, ..hb }, ha, "{}", x.at);
        assert_eq!(WatcherEvent::decode(&mut b), WatcherEvent::decode(&mut a), "{}", x.at);
        assert!(b.is_empty());
        self.compared += 1;
    }

    /// Deletes a node instead of what is left out.
    fn delete(&mut self, label: &str, path: &str) {
        let conn = self.conns[label];
        let request = Request::Delete { path: path.to_owned(), version: -1 };
        let header = RequestHeader { xid: Xid(1), op: request.op() as i32 };
        self.ours.send(
            conn,
            &framed(&encoded(|w| {
                header.encode(w);
                request.encode(w);
            })),
        );
        let reply = self.ours.frame(conn).expect("a reply");
        assert_eq!(ReplyHeader::decode(&mut Reader::new(&reply)).map(|h| h.err), Ok(0));
    }

    fn ended(&mut self, x: &Exchange, conn: Conn) {
        assert_eq!(self.ours.frame(conn), None, "{}: Java closed the connection without a word", x.at);
        assert!(self.ours.is_closed(conn), "{}: Java closed the connection", x.at);
        self.compared += 1;
    }

    /// A request with our zxid where one stands in it.
    fn translated(&self, bytes: &[u8]) -> Vec<u8> {
        let mut r = Reader::new(bytes);
        let header = RequestHeader::decode(&mut r).expect("a header");
        let Some(op @ (OpCode::SetWatches | OpCode::SetWatches2)) = OpCode::from_int(header.op) else {
            return bytes.to_vec();
        };
        let mut request = Request::decode(op, &mut r).expect("setWatches");
        if let Request::SetWatches(w) | Request::SetWatches2(w) = &mut request {
            w.relative_zxid = Zxid(self.zxids[&w.relative_zxid.0]);
        }
        encoded(|w| {
            header.encode(w);
            request.encode(w);
        })
    }

    fn same_zxid(&mut self, x: &Exchange, theirs: Zxid, ours: Zxid) {
        if theirs.0 <= 0 {
            assert_eq!(ours, theirs, "{}", x.at);
            return;
        }
        let known = *self.zxids.entry(theirs.0).or_insert(ours.0);
        assert_eq!(ours.0, known, "{}: {:x} was {known:x} before", x.at, theirs.0);
        let before = self.zxids.range(..theirs.0).next_back().map_or(0, |(_, v)| *v);
        let after = self.zxids.range(theirs.0 + 1..).next().map_or(i64::MAX, |(_, v)| *v);
        assert!(before < ours.0 && ours.0 < after, "{}: order of zxids", x.at);
    }

    fn same_reply(&mut self, x: &Exchange, theirs: &[u8], ours: &[u8]) {
        let (mut a, mut b) = (Reader::new(theirs), Reader::new(ours));
        let (ha, hb) =
            (ReplyHeader::decode(&mut a).expect("header"), ReplyHeader::decode(&mut b).expect("header"));
        assert_eq!((hb.xid, hb.err), (ha.xid, ha.err), "{} {}: xid and error", x.at, x.op);
        self.same_zxid(x, ha.zxid, hb.zxid);
        self.compared += 1;
        if ha.err != 0 {
            assert_eq!(b.rest(), a.rest(), "{} {}: what follows an error", x.at, x.op);
            return;
        }
        let op = RequestHeader::decode(&mut Reader::new(x.request.as_deref().expect("request")))
            .expect("header")
            .op;
        let op = OpCode::from_int(op).expect("a success has an operation");
        let (mut ra, mut rb) =
            (Response::decode(op, &mut a).expect(&x.at), Response::decode(op, &mut b).expect(&x.at));
        assert!(a.is_empty() && b.is_empty(), "{}: bytes after the record", x.at);
        let (sa, sb) = (stats(&mut ra), stats(&mut rb));
        assert_eq!(sa.len(), sb.len(), "{} {}", x.at, x.op);
        for (sa, sb) in sa.into_iter().zip(sb) {
            self.same_moments(x, sa, sb);
        }
        // Children and identities have no order.
        for r in [&mut ra, &mut rb] {
            sort(r);
        }
        assert_eq!(rb, ra, "{} {}", x.at, x.op);
    }

    /// Holds the moments of two stats against each other and takes them out.
    fn same_moments(&mut self, x: &Exchange, theirs: &mut Stat, ours: &mut Stat) {
        for (a, b) in [(theirs.czxid, ours.czxid), (theirs.mzxid, ours.mzxid), (theirs.pzxid, ours.pzxid)] {
            self.same_zxid(x, a, b);
        }
        assert_eq!(ours.ctime > 0, theirs.ctime > 0, "{}: ctime", x.at);
        assert_eq!(ours.mtime > 0, theirs.mtime > 0, "{}: mtime", x.at);
        assert!(ours.mtime >= ours.ctime, "{}: mtime before ctime", x.at);
        let owner = self.sessions.get(&theirs.ephemeral_owner.0).map_or(SessionId::NONE, |s| s.0);
        assert_eq!(ours.ephemeral_owner, owner, "{}: ephemeralOwner", x.at);
        for s in [theirs, ours] {
            (s.czxid, s.mzxid, s.pzxid, s.ctime, s.mtime) = (Zxid(0), Zxid(0), Zxid(0), 0, 0);
            s.ephemeral_owner = SessionId::NONE;
        }
    }

    /// Nothing was sent that Java did not send.
    fn finish(mut self) -> usize {
        for (label, conn) in std::mem::take(&mut self.conns) {
            assert_eq!(self.ours.frame(conn), None, "a frame too many for {label}");
        }
        self.compared
    }
}

/// What Java gave out as the password of a session.
fn java_password(id: SessionId) -> [u8; 16] {
    zebu_core::session::password(id)
}

fn stats(r: &mut Response) -> Vec<&mut Stat> {
    match r {
        Response::PathStat { stat, .. }
        | Response::Stat(stat)
        | Response::Data { stat, .. }
        | Response::Acl { stat, .. }
        | Response::Children2 { stat, .. } => vec![stat],
        Response::Multi(results) => results
            .iter_mut()
            .filter_map(|r| match r {
                OpResult::Create2 { stat, .. } | OpResult::SetData(stat) | OpResult::GetData { stat, .. } => {
                    Some(stat)
                }
                OpResult::Create(_)
                | OpResult::Delete
                | OpResult::Check
                | OpResult::GetChildren(_)
                | OpResult::Error(_) => None,
            })
            .collect(),
        Response::Empty
        | Response::Path(_)
        | Response::Children(_)
        | Response::Sync { .. }
        | Response::Ephemerals(_)
        | Response::Count(_)
        | Response::AddWatch
        | Response::WhoAmI(_)
        | Response::Sasl { .. } => Vec::new(),
    }
}

fn sort(r: &mut Response) {
    if let Response::Children(c) | Response::Children2 { children: c, .. } | Response::Ephemerals(c) = r {
        c.sort();
    }
    if let Response::WhoAmI(ids) = r {
        ids.sort_by(|a, b| (&a.scheme, &a.user).cmp(&(&b.scheme, &b.user)));
    }
    if let Response::Multi(results) = r {
        for result in results {
            if let OpResult::GetChildren(c) = result {
                c.sort();
            }
        }
    }
}

fn config() -> Config {
    Config {
        tick_ms: 2000,
        max_session_timeout_ms: 600_000,
        extended_types: true,
        super_digest: Some(digest_id(b"super:pw")),
        ..Config::default()
    }
}

#[test]
fn a_standalone_server_answers_as_java() {
    let mut twin = Twin::new(config());
    let mut asked = 0;
    for name in ["01-opcodes-and-errors.jsonl", "02-watches.jsonl", "03-connect.jsonl"] {
        let all = capture::read(name).expect("a capture");
        for (i, x) in all.iter().enumerate() {
            let line = format!("{}:{}", &name[..2], x.at.rsplit(':').next().expect("a line"));
            match LEFT_OUT.iter().find(|(l, ..)| *l == line) {
                None => twin.play(&all[i..]),
                Some((_, Some(path), _)) => twin.delete(&x.conn, path),
                Some((_, None, _)) => {}
            }
        }
        asked += all.len();
    }
    println!("{asked} exchanges, {} comparisons", twin.finish());
    assert!(asked > 200);
}

#[test]
fn ttl_nodes_switched_off() {
    let mut twin = Twin::new(Config { extended_types: false, ..config() });
    let mut all = capture::read("06-other-errors.jsonl").expect("a capture");
    all.retain(|x| x.conn == "extendedTypesEnabled=false");
    (0..all.len()).for_each(|i| twin.play(&all[i..]));
    assert_eq!(twin.finish(), 3);
}
