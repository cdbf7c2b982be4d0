//! The face against a scripted server, polled by hand.

use super::*;
use crate::boundary::Conn;
use crate::client::{ClientState, Disconnect};
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::{Reader, Write as _, begin_frame, end_frame};
use crate::proto::{
    AddWatchMode, ConnectResponse, ErrorCode, EventKind, OpCode, OpResult, ReplyHeader, RequestHeader, Stat,
    WatcherEvent,
};
use bytes::BytesMut;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake};

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
impl Count {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

struct Rig {
    driver: Driver,
    bell: Arc<Count>,
    task: Arc<Count>,
    conn: Conn,
    out: Vec<Output>,
}

/// Connected.
fn rig() -> (Handle, Rig) {
    let (bell, task) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let config = ClientConfig::new("a").expect("a connect string");
    let (handle, driver) = client(config, [1; 32], Time::default(), bell.clone().into());
    let mut rig = Rig { driver, bell, task, conn: Conn(1), out: Vec::new() };
    rig.step(Input::Wake);
    assert_eq!(rig.out, [Output::Dial { conn: Conn(1), server: 0 }]);
    rig.step(Input::Opened { conn: Conn(1) });
    let (session, password) = (SessionId(5), [0; 16]);
    let answer = ConnectResponse { protocol_version: 0, timeout: 9000, session, password, read_only: None };
    rig.feed(|w| answer.encode(w));
    rig.out.clear();
    (handle, rig)
}

impl Rig {
    fn step(&mut self, input: Input<'_>) {
        self.driver.step(Time::default(), input, &mut self.out);
    }
    fn feed(&mut self, body: impl FnOnce(&mut BytesMut)) {
        let mut w = BytesMut::new();
        let at = begin_frame(&mut w);
        body(&mut w);
        end_frame(&mut w, at);
        self.step(Input::Received { conn: self.conn, bytes: &w });
    }
    fn reply(&mut self, xid: i32, err: i32, body: impl FnOnce(&mut BytesMut)) {
        self.feed(|w| {
            ReplyHeader { xid: Xid(xid), zxid: Zxid(9), err }.encode(w);
            body(w);
        });
    }
    fn event(&mut self, kind: EventKind, path: &str) {
        let event = WatcherEvent { kind, state: 3, path: path.to_owned() };
        self.reply(-1, 0, |w| event.encode(w));
    }
    /// Steps for the handles' sake and answers what was sent.
    fn sent(&mut self) -> Vec<Request> {
        self.step(Input::Wake);
        let mut requests = Vec::new();
        for o in self.out.drain(..) {
            let Output::Send { bytes, .. } = o else { continue };
            let mut rest = &bytes[..];
            while let Some((head, tail)) = rest.split_first_chunk::<4>() {
                let (frame, tail) = tail.split_at(u32::from_be_bytes(*head) as usize);
                let mut r = Reader::new(frame);
                let header = RequestHeader::decode(&mut r).expect("a header");
                let op = OpCode::from_int(header.op).expect("an operation");
                requests.push(Request::decode(op, &mut r).expect("a request"));
                rest = tail;
            }
        }
        requests
    }
    fn poll<T>(&self, future: impl Future<Output = T>) -> Poll<T> {
        let waker = self.task.clone().into();
        pin!(future).poll(&mut Context::from_waker(&waker))
    }
    /// Polls what must be ready.
    fn now<T>(&self, future: impl Future<Output = T>) -> T {
        match self.poll(future) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("not ready"),
        }
    }
}

fn data(w: &mut BytesMut) {
    w.buffer(Some(b"x"));
    Stat::default().encode(w);
}
fn event(kind: EventKind, path: &str) -> WatchEvent {
    WatchEvent { zxid: Zxid(9), kind, path: path.to_owned() }
}

#[test]
fn calls_ring_the_bell_and_outcomes_wake_the_task() {
    let (handle, mut rig) = rig();
    let mut first = handle.get_data("/a");
    let second = handle.sync("/a");
    assert_eq!(rig.bell.take(), 2);
    assert!(rig.poll(&mut first).is_pending());
    assert_eq!(
        rig.sent(),
        [
            Request::GetData { path: "/a".to_owned(), watch: false },
            Request::Sync { path: Some("/a".to_owned()) }
        ]
    );
    assert_eq!(rig.task.take(), 0);
    rig.reply(1, 0, data);
    assert_eq!(rig.task.take(), 1);
    assert_eq!(rig.now(first), Ok((Some("x".into()), Stat::default())));
    rig.reply(2, ErrorCode::NoAuth.code(), |_| {});
    assert_eq!(rig.now(second), Err(ErrorCode::NoAuth));
}

#[test]
fn a_refused_call_needs_no_server() {
    let (handle, mut rig) = rig();
    let mut call = handle.delete("a", -1);
    assert!(rig.poll(&mut call).is_pending());
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.task.take(), 1);
    assert_eq!(rig.now(call), Err(ErrorCode::BadArguments));
}

#[test]
fn a_one_shot_watcher_ends_after_its_event() {
    let (handle, mut rig) = rig();
    let call = handle.exists_and_watch("/a");
    rig.sent();
    rig.reply(1, ErrorCode::NoNode.code(), |_| {});
    let (stat, mut watcher) = rig.now(call).expect("a missing node is an answer");
    assert_eq!(stat, None);
    assert!(rig.poll(watcher.next()).is_pending());
    rig.step(Input::Wake);
    rig.event(EventKind::NodeCreated, "/a");
    assert!(rig.task.take() > 0);
    assert_eq!(rig.now(watcher.next()), Some(event(EventKind::NodeCreated, "/a")));
    assert_eq!(rig.now(watcher.next()), None);
    drop(watcher);
    assert_eq!(rig.sent(), []);
}

#[test]
fn a_watch_lasts_as_long_as_its_watcher() {
    let (handle, mut rig) = rig();
    let mode = AddWatchMode::PersistentRecursive;
    let call = handle.add_watch("/a", mode);
    rig.sent();
    rig.reply(1, 0, |w| w.int(0));
    let mut watcher = rig.now(call).expect("it is set");
    rig.event(EventKind::NodeCreated, "/a/b");
    rig.event(EventKind::NodeDeleted, "/a/b");
    assert_eq!(rig.now(watcher.next()), Some(event(EventKind::NodeCreated, "/a/b")));
    assert_eq!(rig.now(watcher.next()), Some(event(EventKind::NodeDeleted, "/a/b")));
    drop(watcher);
    let remove = || Request::RemoveWatches { path: "/a".to_owned(), kind: WatcherType::PersistentRecursive };
    assert_eq!(rig.sent(), [remove()]);
    rig.reply(2, 0, |_| {});

    // Given up before its reply: the reply still sets it.
    drop(handle.add_watch("/a", mode));
    assert_eq!(rig.sent(), [Request::AddWatch { path: Some("/a".to_owned()), mode }]);
    rig.reply(3, 0, |w| w.int(0));
    assert_eq!(rig.sent(), [remove()]);
    rig.reply(4, 0, |_| {});

    // Removed by name: its watcher hears of that and ends.
    let call = handle.add_watch("/a", mode);
    rig.sent();
    rig.reply(5, 0, |w| w.int(0));
    let mut watcher = rig.now(call).expect("it is set");
    let call = handle.remove_watches("/a", WatcherType::Any);
    rig.sent();
    rig.reply(6, 0, |_| {});
    assert_eq!(rig.now(call), Ok(()));
    let removed = rig.now(watcher.next()).map(|e| e.kind);
    assert_eq!(removed, Some(EventKind::PersistentWatchRemoved));
    assert_eq!(rig.now(watcher.next()), None);
}

#[test]
fn events_tell_everything_in_order() {
    let (handle, mut rig) = rig();
    let mut events = handle.events();
    let call = handle.get_data_and_watch("/a");
    rig.sent();
    rig.reply(1, 0, data);
    rig.now(call).expect("it is there").2.detach();
    rig.sent();
    rig.event(EventKind::NodeDataChanged, "/a");
    rig.step(Input::Closed { conn: Conn(1) });
    assert!(rig.out.contains(&Output::Lost { conn: Conn(1), cause: Disconnect::Closed }));
    let call = handle.close();
    rig.sent();
    assert_eq!(rig.now(call), Err(ErrorCode::ConnectionLoss));
    let connected = ClientState::Connected { session: SessionId(5), timeout_ms: 9000, reattached: false };
    for expected in [
        SessionEvent::State(connected),
        SessionEvent::Watch(event(EventKind::NodeDataChanged, "/a")),
        SessionEvent::State(ClientState::Disconnected),
        SessionEvent::State(ClientState::Closed),
    ] {
        assert_eq!(rig.now(events.next()), Some(expected));
    }
    assert_eq!(rig.now(events.next()), None);
    assert!(!rig.driver.is_done(), "a handle may still ask");
    let (mut late, call) = (handle.events(), handle.sync("/"));
    rig.step(Input::Wake);
    assert_eq!(rig.now(call), Err(ErrorCode::SessionExpired));
    assert_eq!(rig.now(late.next()), Some(SessionEvent::State(ClientState::Closed)));
    assert_eq!(rig.now(late.next()), None);
}

#[test]
fn a_listener_that_falls_behind_is_cut_off() {
    let (handle, mut rig) = rig();
    let call = handle.add_watch("/a", AddWatchMode::Persistent);
    rig.sent();
    rig.reply(1, 0, |w| w.int(0));
    let mut watcher = rig.now(call).expect("it is set");
    for _ in 0..1001 {
        rig.event(EventKind::NodeDataChanged, "/a");
    }
    let kind = WatcherType::Persistent;
    assert_eq!(rig.sent(), [Request::RemoveWatches { path: "/a".to_owned(), kind }]);
    for _ in 0..1000 {
        assert!(rig.now(watcher.next()).is_some());
    }
    assert_eq!(rig.now(watcher.next()), None);
}

#[test]
fn without_handles_the_session_is_closed() {
    let (handle, mut rig) = rig();
    let other = handle.clone();
    let mut call = handle.sync("/");
    drop(handle);
    assert_eq!(rig.sent().len(), 1);
    assert!(rig.poll(&mut call).is_pending());
    rig.reply(1, 0, |w| w.opt_string(None));
    assert_eq!(rig.now(call), Ok(()));
    rig.bell.take();
    drop(other);
    assert_eq!(rig.bell.take(), 1);
    assert_eq!(rig.sent(), [Request::CloseSession]);
    assert_eq!(rig.sent(), [], "once");
    rig.reply(2, 0, |_| {});
    assert!(rig.driver.is_done());
}

#[test]
fn without_a_driver_calls_end() {
    let (handle, mut rig) = rig();
    let (mut sent, mut unsent) = (handle.sync("/"), handle.sync("/"));
    assert!(rig.poll(&mut sent).is_pending());
    rig.sent();
    let mut events = handle.events();
    assert!(rig.poll(&mut unsent).is_pending());
    assert!(rig.poll(events.next()).is_pending());
    let (task, later) = (rig.task.clone(), handle.sync("/"));
    task.take();
    drop(rig);
    assert_eq!(task.take(), 3, "each is woken");
    let waker = task.into();
    let mut cx = Context::from_waker(&waker);
    for mut call in [sent, unsent, later, handle.sync("/")] {
        assert_eq!(pin!(&mut call).poll(&mut cx), Poll::Ready(Err(ErrorCode::ConnectionLoss)));
    }
    assert_eq!(pin!(events.next()).poll(&mut cx), Poll::Ready(None));
}

#[test]
fn a_failed_multi_names_its_culprit() {
    let (handle, mut rig) = rig();
    let ops = || vec![Request::Delete { path: "/a".to_owned(), version: -1 }];
    let call = handle.multi(ops());
    rig.sent();
    rig.feed(|w| {
        w.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0]);
        for err in [0, -101, -2] {
            w.int(-1);
            w.bool(false);
            w.int(err);
            w.int(err);
        }
        w.int(-1);
        w.bool(true);
        w.int(-1);
    });
    assert_eq!(rig.now(call), Ok(Err(MultiFailed { at: 1, code: ErrorCode::NoNode })));
    let call = handle.multi(ops());
    rig.sent();
    rig.reply(2, 0, |w| {
        w.int(2);
        w.bool(false);
        w.int(0);
        w.int(-1);
        w.bool(true);
        w.int(-1);
    });
    assert_eq!(rig.now(call), Ok(Ok(vec![OpResult::Delete])));
}
