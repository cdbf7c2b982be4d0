//! The client machine against scripted servers, and against servers that say anything.

use super::*;
use crate::jute::{Reader, Write as _, begin_frame, end_frame};
use crate::proto::{
    Acl, AddWatchMode, ConnectRequest, ConnectResponse, CreateOp, CreateRequest, EventKind, OpCode,
    ReplyHeader, RequestHeader, SetWatches, Stat,
};
use crate::time::{Span, Time};
use bytes::BytesMut;
use proptest::prelude::*;

const SESSION: SessionId = SessionId(0x0100_001f_af99_0003);

/// A client, its clock, and what it has said since it was last asked.
struct Rig {
    client: Client,
    now: Time,
    out: Vec<ClientOutput>,
    conn: Conn,
    calls: u64,
}

impl Rig {
    fn new(config: ClientConfig) -> Rig {
        let client = Client::new(config, [7; 32], Time::default());
        Rig { client, now: Time::default(), out: Vec::new(), conn: Conn(0), calls: 0 }
    }
    /// Connected with a timeout of 9 s.
    fn up() -> Rig {
        let mut rig = Rig::new(config("a"));
        rig.connect();
        rig.take();
        rig
    }
    fn step(&mut self, input: ClientInput<'_>) {
        self.client.step(self.now, input, &mut self.out);
        for o in &self.out {
            if let ClientOutput::Dial { conn, .. } = o {
                self.conn = *conn;
            }
        }
    }
    fn take(&mut self) -> Vec<ClientOutput> {
        std::mem::take(&mut self.out)
    }
    fn wait(&mut self, ms: u64) {
        self.now = self.now + Span::from_millis(ms);
        self.step(ClientInput::Wake);
    }
    /// Lets time pass until the client dials.
    fn dialed(&mut self) {
        while !matches!(self.client.link, link::Link::Dialing { .. }) {
            self.now = self.now.max(self.client.next_wake().expect("it goes on trying"));
            self.step(ClientInput::Wake);
        }
    }
    fn connect(&mut self) {
        self.dialed();
        self.step(ClientInput::Opened { conn: self.conn });
        self.answer(&welcome(SESSION, 9000));
    }
    fn answer(&mut self, response: &ConnectResponse) {
        self.feed(&frame(|w| response.encode(w)));
    }
    fn feed(&mut self, bytes: &[u8]) {
        self.step(ClientInput::Received { conn: self.conn, bytes });
    }
    fn call(&mut self, request: Request) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.step(ClientInput::Call { id, request });
        id
    }
    fn close(&mut self) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.step(ClientInput::Close { id });
        id
    }
    fn reply(&mut self, xid: i32, zxid: i64, err: i32, body: impl Fn(&mut BytesMut)) {
        self.feed(&frame(|w| {
            ReplyHeader { xid: Xid(xid), zxid: Zxid(zxid), err }.encode(w);
            body(w);
        }));
    }
    fn event(&mut self, zxid: i64, kind: EventKind, path: &str) {
        let event = WatcherEvent { kind, state: 3, path: path.to_owned() };
        self.reply(-1, zxid, 0, |w| event.encode(w));
    }
    /// The requests sent since it was last asked.
    fn sent(&mut self) -> Vec<(i32, Request)> {
        let mut requests = Vec::new();
        for o in self.take() {
            if let ClientOutput::Send { bytes, .. } = o {
                let mut frames = link::Frames::default();
                frames.push(&bytes);
                while let Some(f) = frames.next(usize::MAX >> 1).expect("it sends whole frames") {
                    let mut r = Reader::new(&f);
                    let header = RequestHeader::decode(&mut r).expect("a header");
                    let op = OpCode::from_int(header.op).expect("a known operation");
                    requests.push((header.xid.0, Request::decode(op, &mut r).expect("a request")));
                }
            }
        }
        requests
    }
    fn replies(&mut self) -> Vec<(CallId, Result<Response, ErrorCode>)> {
        let replies = self.take().into_iter().filter_map(|o| match o {
            ClientOutput::Reply { id, result, .. } => Some((id, result)),
            _ => None,
        });
        replies.collect()
    }
    fn lost(&mut self) -> Option<Disconnect> {
        self.take().into_iter().find_map(|o| match o {
            ClientOutput::Lost { cause, .. } => Some(cause),
            _ => None,
        })
    }
}

fn config(connect_string: &str) -> ClientConfig {
    let config = ClientConfig::new(connect_string).expect("a connect string");
    ClientConfig { session_timeout_ms: 9000, ..config }
}
fn frame(body: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut w = BytesMut::new();
    let at = begin_frame(&mut w);
    body(&mut w);
    end_frame(&mut w, at);
    w.to_vec()
}
fn welcome(session: SessionId, timeout: i32) -> ConnectResponse {
    let password = crate::session::password(session);
    ConnectResponse { protocol_version: 0, timeout, session, password, read_only: Some(false) }
}
fn get(path: &str, watch: bool) -> Request {
    Request::GetData { path: path.to_owned(), watch }
}
fn data() -> Response {
    Response::Data { data: None, stat: Stat::default() }
}
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_handshake_is_java_s_to_the_byte() {
    let mut rig = Rig::new(config("a"));
    let queued = rig.call(get("/rwroot/rw", true));
    assert_eq!(rig.take(), [ClientOutput::Dial { conn: Conn(1), server: 0 }]);
    rig.step(ClientInput::Opened { conn: Conn(1) });
    let first = "0000002d 00000000 0000000000000000 00002328 0000000000000000 00000010
                 00000000000000000000000000000000 00";
    assert_eq!(rig.take(), [ClientOutput::Send { conn: Conn(1), bytes: hex(first).into() }]);
    let answer = "00000025 00000000 00002328 0100001faf990003 00000010 5a514d7c568c6ba59e8046e75c17c49f 00";
    rig.feed(&hex(answer)[..9]);
    assert_eq!(rig.take(), [], "half an answer is none");
    rig.feed(&hex(answer)[9..]);
    let state = ClientState::Connected { session: SESSION, timeout_ms: 9000, reattached: false };
    let request = hex("00000017 00000001 00000004 0000000a 2f7277726f6f742f7277 01");
    assert_eq!(
        rig.take(),
        [ClientOutput::State(state), ClientOutput::Send { conn: Conn(1), bytes: request.into() }]
    );
    rig.reply(1, 0x14b, 0, |w| data().encode(w));
    assert_eq!(rig.take(), [ClientOutput::Reply { id: queued, zxid: Zxid(0x14b), result: Ok(data()) }]);
    rig.step(ClientInput::Closed { conn: Conn(1) });
    rig.dialed();
    rig.take();
    rig.step(ClientInput::Opened { conn: rig.conn });
    let again = "0000002d 00000000 000000000000014b 00002328 0100001faf990003 00000010
                 5a514d7c568c6ba59e8046e75c17c49f 00";
    assert_eq!(rig.take(), [ClientOutput::Send { conn: rig.conn, bytes: hex(again).into() }]);
}

#[test]
fn pings_keep_a_silent_connection_and_silence_ends_it() {
    let mut rig = Rig::up();
    rig.wait(2999);
    assert_eq!(rig.take(), []);
    rig.wait(1);
    assert_eq!(rig.sent(), [(-2, Request::Ping)]);
    rig.reply(-2, 5, 0, |_| {});
    rig.wait(2000);
    rig.call(get("/a", false));
    assert_eq!(rig.sent(), [(1, get("/a", false))]);
    rig.wait(2000);
    assert_eq!(rig.take(), [], "a request is a sign of life too");
    rig.wait(1999);
    assert_eq!(rig.sent(), [(-2, Request::Ping)]);
    rig.wait(1);
    let state = ClientOutput::State(ClientState::Disconnected);
    let out = rig.take();
    assert!(out.contains(&ClientOutput::Lost { conn: Conn(1), cause: Disconnect::ReadTimeout }), "{out:?}");
    assert!(out.contains(&ClientOutput::Close { conn: Conn(1) }) && out.contains(&state), "{out:?}");
}

#[test]
fn a_long_timeout_is_pinged_every_ten_seconds() {
    let mut rig = Rig::new(config("a"));
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.answer(&welcome(SESSION, 90_000));
    rig.take();
    rig.wait(10_000);
    assert_eq!(rig.sent(), [(-2, Request::Ping)]);
}

#[test]
fn servers_get_their_share_of_the_timeout_each() {
    let mut rig = Rig::new(config("a,b,c"));
    let mut tried = Vec::new();
    for round in 0..3 {
        rig.dialed();
        let dials = rig.take().into_iter().filter_map(|o| match o {
            ClientOutput::Dial { server, .. } => Some(server),
            _ => None,
        });
        tried.extend(dials);
        // Half of them refuse, half are silent.
        if round == 1 {
            rig.step(ClientInput::Closed { conn: rig.conn });
        } else {
            rig.wait(2999);
            assert_eq!(rig.take(), []);
            rig.wait(1);
            assert_eq!(rig.client.state(), ClientState::Connecting);
        }
    }
    assert_eq!(rig.client.next_wake(), Some(rig.now + Span::from_millis(1000)), "a round is over");
    tried.sort_unstable();
    assert_eq!(tried, [0, 1, 2]);
}

#[test]
fn out_of_touch_for_too_long_the_client_gives_up_itself() {
    let mut rig = Rig::up();
    rig.step(ClientInput::Closed { conn: rig.conn });
    while !rig.client.state().is_final() {
        rig.now = rig.client.next_wake().expect("not final");
        rig.step(ClientInput::Wake);
    }
    assert_eq!(rig.client.state(), ClientState::Expired);
    assert_eq!(rig.now, Time::default() + Span::from_millis(12_000));
    assert_eq!(rig.client.next_wake(), None);
    rig.take();
    let id = rig.call(get("/a", false));
    assert_eq!(rig.replies(), [(id, Err(ErrorCode::SessionExpired))]);
}

#[test]
fn a_lost_connection_loses_every_call_and_repeats_none() {
    let mut rig = Rig::up();
    let id = rig.call(get("/w", true));
    rig.reply(1, 7, 0, |w| data().encode(w));
    let add =
        rig.call(Request::AddWatch { path: Some("/p".to_owned()), mode: AddWatchMode::PersistentRecursive });
    rig.reply(2, 8, 0, |w| w.int(0));
    let auth = rig.call(Request::Auth { scheme: Some("digest".to_owned()), auth: Some("u:p".into()) });
    rig.reply(-4, 0, 0, |_| {});
    let done = |id| (id, Ok::<_, ErrorCode>(Response::Empty));
    assert_eq!(rig.replies(), [(id, Ok(data())), (add, Ok(Response::AddWatch)), done(auth)]);
    let flying = rig.call(get("/x", true));
    rig.step(ClientInput::Closed { conn: rig.conn });
    let waiting = rig.call(get("/y", false));
    let lost = |id| (id, Err::<Response, _>(ErrorCode::ConnectionLoss));
    assert_eq!(rig.replies(), [lost(flying)]);
    rig.dialed();
    rig.step(ClientInput::Closed { conn: rig.conn });
    assert_eq!(rig.replies(), [lost(waiting)], "a failed attempt fails what waited for it");
    let later = rig.call(get("/z", false));
    rig.take();
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.take();
    rig.answer(&welcome(SESSION, 9000));
    let reattached = ClientState::Connected { session: SESSION, timeout_ms: 9000, reattached: true };
    assert_eq!(rig.client.state(), reattached);
    let again = SetWatches {
        relative_zxid: Zxid(8),
        data: vec!["/w".to_owned()],
        recursive: vec!["/p".to_owned()],
        ..SetWatches::default()
    };
    assert_eq!(
        rig.sent(),
        [
            (-4, Request::Auth { scheme: Some("digest".to_owned()), auth: Some("u:p".into()) }),
            (4, Request::SetWatches2(again)),
            (5, get("/z", false)),
        ]
    );
    rig.event(-1, EventKind::NodeDataChanged, "/w");
    rig.reply(4, 9, 0, |_| {});
    rig.reply(-4, 0, 0, |_| {});
    rig.reply(5, 9, 0, |w| data().encode(w));
    let event = WatcherEvent { kind: EventKind::NodeDataChanged, state: 3, path: "/w".to_owned() };
    assert_eq!(
        rig.take(),
        [
            ClientOutput::Watch { zxid: Zxid::NONE, event, calls: BTreeSet::from([id]) },
            ClientOutput::Reply { id: later, zxid: Zxid(9), result: Ok(data()) },
        ]
    );
}

#[test]
fn a_chroot_is_invisible() {
    let mut rig = Rig::new(config("a/app"));
    rig.connect();
    rig.take();
    let create = CreateRequest {
        op: CreateOp::Create,
        path: "/n".to_owned(),
        data: None,
        acl: Some(vec![Acl::open()]),
        flags: 0,
    };
    let id = rig.call(Request::Create(create.clone()));
    assert_eq!(rig.sent(), [(1, Request::Create(CreateRequest { path: "/app/n".to_owned(), ..create }))]);
    rig.reply(1, 3, 0, |w| w.string("/app/n"));
    assert_eq!(rig.replies(), [(id, Ok(Response::Path("/n".to_owned())))]);
    let watch = rig.call(Request::GetChildren { path: "/".to_owned(), watch: true });
    assert_eq!(rig.sent(), [(2, Request::GetChildren { path: "/app".to_owned(), watch: true })]);
    rig.reply(2, 3, 0, |w| w.count(0));
    rig.take();
    rig.event(4, EventKind::NodeChildrenChanged, "/app");
    let event = WatcherEvent { kind: EventKind::NodeChildrenChanged, state: 3, path: "/".to_owned() };
    assert_eq!(rig.take(), [ClientOutput::Watch { zxid: Zxid(4), event, calls: BTreeSet::from([watch]) }]);
    rig.step(ClientInput::GetConfig { id: CallId(100), watch: false });
    assert_eq!(rig.sent(), [(3, get("/zookeeper/config", false))]);
}

#[test]
fn removed_watches_tell_their_owners() {
    let mut rig = Rig::up();
    let id = rig.call(get("/a", true));
    rig.reply(1, 1, 0, |w| data().encode(w));
    let kind = WatcherType::Any;
    let remove = rig.call(Request::RemoveWatches { path: "/a".to_owned(), kind });
    rig.take();
    rig.reply(2, 1, 0, |_| {});
    let event = |kind| WatcherEvent { kind, state: 3, path: "/a".to_owned() };
    let told = ClientOutput::Watch {
        zxid: Zxid::NONE,
        event: event(EventKind::DataWatchRemoved),
        calls: BTreeSet::from([id]),
    };
    let reply = ClientOutput::Reply { id: remove, zxid: Zxid(1), result: Ok(Response::Empty) };
    assert_eq!(rig.take(), [told.clone(), reply]);
    let remove = rig.call(Request::RemoveWatches { path: "/a".to_owned(), kind });
    rig.reply(3, 1, 0, |_| {});
    assert_eq!(rig.replies(), [(remove, Err(ErrorCode::NoWatcher))], "none of ours");
    rig.event(2, EventKind::NodeDataChanged, "/a");
    assert_eq!(rig.take(), [], "nobody listens");

    let id = rig.call(Request::AddWatch { path: Some("/a".to_owned()), mode: AddWatchMode::Persistent });
    rig.reply(4, 2, 0, |w| w.int(0));
    rig.take();
    rig.step(ClientInput::Unwatch { id });
    let kind = WatcherType::Persistent;
    assert_eq!(rig.sent(), [(5, Request::RemoveWatches { path: "/a".to_owned(), kind })]);
    rig.reply(5, 2, ErrorCode::NoWatcher.code(), |_| {});
    assert_eq!(rig.take(), [], "our own word has no caller");

    rig.call(get("/a", true));
    rig.reply(6, 1, 0, |w| data().encode(w));
    rig.take();
    rig.step(ClientInput::Forget { path: "/a".to_owned(), kind: WatcherType::Data });
    assert!(matches!(&rig.take()[..], [ClientOutput::Watch { .. }]));
}

#[test]
fn close_waits_for_its_reply() {
    let mut rig = Rig::up();
    let call = rig.call(get("/a", false));
    let close = rig.close();
    let late = rig.call(get("/b", false));
    assert_eq!(rig.replies(), [(late, Err(ErrorCode::SessionExpired))]);
    rig.reply(1, 1, ErrorCode::NoNode.code(), |_| {});
    rig.reply(2, 2, 0, |_| {});
    assert_eq!(
        rig.take(),
        [
            ClientOutput::Reply { id: call, zxid: Zxid(1), result: Err(ErrorCode::NoNode) },
            ClientOutput::Reply { id: close, zxid: Zxid(2), result: Ok(Response::Empty) },
            ClientOutput::Close { conn: Conn(1) },
            ClientOutput::Lost { conn: Conn(1), cause: Disconnect::Final },
            ClientOutput::State(ClientState::Closed),
        ]
    );
    let again = rig.close();
    assert_eq!(rig.replies(), [(again, Err(ErrorCode::SessionExpired))]);
}

#[test]
fn close_without_a_server_does_not_wait() {
    let mut rig = Rig::up();
    rig.step(ClientInput::Closed { conn: rig.conn });
    rig.take();
    let close = rig.close();
    assert_eq!(rig.replies(), [(close, Err(ErrorCode::ConnectionLoss))]);
    assert_eq!(rig.client.state(), ClientState::Closed);

    let mut rig = Rig::new(config("a"));
    rig.dialed();
    let call = rig.call(get("/a", false));
    let close = rig.close();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.take();
    rig.answer(&welcome(SESSION, 9000));
    assert_eq!(rig.sent(), [(1, get("/a", false)), (2, Request::CloseSession)]);
    rig.step(ClientInput::Closed { conn: rig.conn });
    let lost = |id| (id, Err(ErrorCode::ConnectionLoss));
    assert_eq!(rig.replies(), [lost(call), lost(close)]);
    assert_eq!(rig.client.state(), ClientState::Closed);
}

#[test]
fn an_expired_answer_is_final() {
    let mut rig = Rig::up();
    rig.step(ClientInput::Closed { conn: rig.conn });
    let waiting = rig.call(get("/a", false));
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.take();
    rig.answer(&ConnectResponse::invalid(Some(false)));
    assert_eq!(
        rig.take(),
        [
            ClientOutput::Close { conn: rig.conn },
            ClientOutput::Lost { conn: rig.conn, cause: Disconnect::Final },
            ClientOutput::Reply { id: waiting, zxid: Zxid::NONE, result: Err(ErrorCode::SessionExpired) },
            ClientOutput::State(ClientState::Expired),
        ]
    );
}

#[test]
fn refused_credentials_are_final() {
    let mut rig = Rig::up();
    let call = rig.call(get("/a", false));
    let auth = rig.call(Request::Auth { scheme: Some("bogus".to_owned()), auth: None });
    rig.reply(-4, 0, ErrorCode::AuthFailed.code(), |_| {});
    let failed = |id| (id, Err(ErrorCode::AuthFailed));
    assert_eq!(rig.replies(), [failed(auth), failed(call)]);
    assert_eq!(rig.client.state(), ClientState::AuthFailed);
    let call = rig.call(get("/a", false));
    assert_eq!(rig.replies(), [failed(call)]);
}

#[test]
fn what_makes_no_sense_costs_the_connection() {
    type Feed = fn(&mut Rig);
    let cases: [(Feed, Disconnect); 9] = [
        (|r| r.reply(2, 1, 0, |_| {}), Disconnect::XidOutOfOrder { expected: Some(Xid(1)), got: Xid(2) }),
        (|r| r.reply(1, 1, -99, |_| {}), Disconnect::UnknownError(-99)),
        (|r| r.reply(1, 1, 0, |w| w.int(9)), Disconnect::BadFrame(Bad::Length(9))),
        (|r| r.feed(&[0, 0, 0, 1, 5]), Disconnect::BadFrame(Bad::Short)),
        (|r| r.feed(&[0xff, 0, 0, 0]), Disconnect::FrameLength(-0x0100_0000)),
        (|r| r.feed(&[0x10, 0, 0, 0]), Disconnect::FrameLength(0x1000_0000)),
        (|r| r.reply(-1, 1, 0, |w| w.int(8)), Disconnect::BadFrame(Bad::Tag(8))),
        (|r| r.reply(-4, 1, 0, |_| {}), Disconnect::XidOutOfOrder { expected: None, got: Xid(-4) }),
        (|r| r.reply(-8, 1, 0, |_| {}), Disconnect::XidOutOfOrder { expected: Some(Xid(1)), got: Xid(-8) }),
    ];
    for (feed, cause) in cases {
        let mut rig = Rig::up();
        let id = rig.call(get("/a", false));
        rig.take();
        feed(&mut rig);
        let out = rig.take();
        assert!(out.contains(&ClientOutput::Lost { conn: Conn(1), cause }), "{cause:?}: {out:?}");
        let result = Err(ErrorCode::ConnectionLoss);
        assert!(out.contains(&ClientOutput::Reply { id, zxid: Zxid::NONE, result }), "{cause:?}: {out:?}");
    }
}

#[test]
fn a_session_of_another_is_not_taken() {
    let mut rig = Rig::up();
    rig.step(ClientInput::Closed { conn: rig.conn });
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.take();
    rig.answer(&welcome(SessionId(4), 9000));
    assert_eq!(rig.lost(), Some(Disconnect::ForeignSession(SessionId(4))));
}

#[test]
fn a_read_only_server_lends_a_session() {
    let mut rig = Rig::new(config("a"));
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    let read_only = ConnectResponse { read_only: Some(true), ..welcome(SESSION, 9000) };
    rig.answer(&read_only);
    assert_eq!(rig.lost(), Some(Disconnect::ReadOnlyServer));

    let mut rig = Rig::new(ClientConfig { read_only: true, ..config("a") });
    rig.dialed();
    rig.step(ClientInput::Opened { conn: rig.conn });
    rig.answer(&read_only);
    assert_eq!(
        rig.client.state(),
        ClientState::ConnectedReadOnly { session: SESSION, timeout_ms: 9000, reattached: false }
    );
    rig.step(ClientInput::Closed { conn: rig.conn });
    rig.dialed();
    rig.take();
    rig.step(ClientInput::Opened { conn: rig.conn });
    let [ClientOutput::Send { bytes, .. }] = &rig.take()[..] else { panic!("the handshake goes out") };
    let request = ConnectRequest::decode(&mut Reader::new(&bytes[4..])).expect("a handshake");
    assert_eq!((request.session, request.read_only), (SessionId::NONE, Some(true)));
    rig.answer(&welcome(SessionId(9), 9000));
    let state = ClientState::Connected { session: SessionId(9), timeout_ms: 9000, reattached: false };
    assert_eq!(rig.client.state(), state);
}

#[test]
fn calls_have_a_limit() {
    let mut rig = Rig::new(ClientConfig { max_calls: 1, ..config("a") });
    let first = rig.call(get("/a", false));
    let second = rig.call(get("/a", false));
    assert_eq!(rig.replies(), [(second, Err(ErrorCode::ThrottledOp))]);
    rig.connect();
    rig.reply(1, 1, 0, |w| data().encode(w));
    assert_eq!(rig.replies(), [(first, Ok(data()))]);
    rig.call(get("/a", false));
    rig.close();
    assert_eq!(rig.sent(), [(2, get("/a", false)), (3, Request::CloseSession)], "closing is always possible");
}

/// One thing that happens to a client.
#[derive(Clone, Debug)]
enum Happening {
    Wait(u64),
    Opened,
    Closed,
    Bytes(Vec<u8>),
    Welcome(i64, i32),
    Reply { xid: i32, err: i32, body: Vec<u8> },
    InTurn { err: i32, body: Vec<u8> },
    Call(u8, bool),
    Unwatch(u64),
    Close,
}

fn happening() -> impl Strategy<Value = Happening> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let err = || prop_oneof![3 => Just(0), 2 => prop::sample::select(&[-101, -4, -115, -112][..]), 1 => any::<i32>()];
    prop_oneof![
        6 => (0u64..4000).prop_map(Happening::Wait),
        6 => Just(Happening::Opened),
        1 => Just(Happening::Closed),
        2 => bytes().prop_map(Happening::Bytes),
        6 => (prop_oneof![Just(5i64), any::<i64>()], prop_oneof![4 => Just(9000), 1 => any::<i32>()])
            .prop_map(|(s, t)| Happening::Welcome(s, t)),
        2 => (-9i32..9, err(), bytes()).prop_map(|(xid, err, body)| Happening::Reply { xid, err, body }),
        4 => (err(), bytes()).prop_map(|(err, body)| Happening::InTurn { err, body }),
        6 => (0u8..6, any::<bool>()).prop_map(|(what, watch)| Happening::Call(what, watch)),
        2 => (0u64..20).prop_map(Happening::Unwatch),
        1 => Just(Happening::Close),
    ]
}

fn some_request(what: u8, watch: bool) -> Request {
    let path = "/a".to_owned();
    match what {
        0 => Request::Exists { path, watch },
        1 => Request::GetChildren2 { path, watch },
        2 => Request::AddWatch { path: Some(path), mode: AddWatchMode::PersistentRecursive },
        3 => Request::Multi(vec![Request::Delete { path, version: 1 }]),
        4 => Request::Auth { scheme: Some("digest".to_owned()), auth: None },
        5.. => Request::RemoveWatches { path, kind: WatcherType::Any },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_server_says(steps in prop::collection::vec(happening(), 0..60)) {
        let mut rig = Rig::new(ClientConfig { max_calls: 8, ..config("a,b") });
        let mut next_xid = 1;
        let (mut answered, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            match step {
                Happening::Wait(ms) => rig.wait(ms),
                Happening::Opened => rig.step(ClientInput::Opened { conn: rig.conn }),
                Happening::Closed => rig.step(ClientInput::Closed { conn: rig.conn }),
                Happening::Bytes(bytes) => rig.feed(&bytes),
                Happening::Welcome(session, timeout) => rig.answer(&welcome(SessionId(session), timeout)),
                Happening::Reply { xid, err, body } => rig.reply(xid, 1, err, |w| w.extend_from_slice(&body)),
                Happening::InTurn { err, body } => rig.reply(next_xid, 1, err, |w| w.extend_from_slice(&body)),
                Happening::Call(what, watch) => {
                    rig.call(some_request(what, watch));
                }
                Happening::Unwatch(id) => rig.step(ClientInput::Unwatch { id: CallId(id) }),
                Happening::Close => {
                    rig.close();
                }
            }
            next_xid = rig.client.pending.front().map_or(1, |p| p.xid.0);
            let wake = rig.client.next_wake();
            prop_assert!(wake.is_none_or(|at| at > rig.now), "what is due is done");
            prop_assert_eq!(wake.is_none(), rig.client.state().is_final());
            for o in rig.take() {
                match o {
                    ClientOutput::Reply { id, .. } => prop_assert!(answered.insert(id), "{id:?} twice"),
                    ClientOutput::Lost { conn, .. } => prop_assert!(closed.insert(conn), "{conn:?} twice"),
                    ClientOutput::Send { conn, .. } => prop_assert!(!closed.contains(&conn), "{conn:?} is gone"),
                    ClientOutput::Watch { calls, .. } => prop_assert!(!calls.is_empty()),
                    ClientOutput::Dial { .. } | ClientOutput::Close { .. } | ClientOutput::State(_) => {}
                }
            }
        }
        if !rig.client.state().is_final() {
            rig.close();
            rig.step(ClientInput::Closed { conn: rig.conn });
            let ids = rig.replies().into_iter().map(|(id, _)| id);
            answered.extend(ids);
        }
        prop_assert_eq!(answered.len() as u64, rig.calls, "every call has its outcome");
    }
}
