//! What an application waits on: a call's outcome, a watcher's events, the session's events.

use super::{Command, Key, Line, WakeOnDrop};
use crate::client::{CallId, ClientState};
use crate::id::Zxid;
use crate::proto::{ErrorCode, EventKind, Response};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::task::{Context, Poll, Waker};

/// Events that may wait for whoever listens. A listener that falls further behind is cut off: it has to look for itself again.
const QUEUE: usize = 1000;

/// A watch event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// Of the transaction; -1 if it is not known.
    pub zxid: Zxid,
    /// What happened.
    pub kind: EventKind,
    /// To which node: of a recursive watch, one below its path.
    pub path: String,
}

/// What happens to a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionEvent {
    /// Its state changed. The first one is the state at the time of asking.
    State(ClientState),
    /// An event of one of its watches, whoever set it.
    Watch(WatchEvent),
}

/// What the driver answers to a call.
pub(super) type Outcome = Result<Response, ErrorCode>;

/// What becomes of the outcome.
pub(super) enum Settle<T> {
    Plain(fn(Outcome) -> Result<T, ErrorCode>),
    Watching(fn(Outcome, Watcher) -> Result<T, ErrorCode>, Watcher),
}

/// A call on its way: it is made already and goes on if this is dropped. Calls of a client take effect in the order in which
/// they were made.
#[must_use = "the outcome is not known before it is awaited"]
pub struct Call<T> {
    id: CallId,
    line: Arc<Line>,
    reply: Receiver<Outcome>,
    parked: Option<Waker>,
    /// There until the outcome is.
    settle: Option<Settle<T>>,
}

impl<T> Call<T> {
    pub(super) fn new(id: CallId, line: Arc<Line>, reply: Receiver<Outcome>, settle: Settle<T>) -> Call<T> {
        Call { id, line, reply, parked: None, settle: Some(settle) }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, ErrorCode>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match self.reply.try_recv() {
            Ok(outcome) => outcome,
            // The driver is gone; what became of the call, nobody knows.
            Err(TryRecvError::Disconnected) => Err(ErrorCode::ConnectionLoss),
            Err(TryRecvError::Empty) => {
                let call = &mut *self;
                park(&call.line, Key::Call(call.id), &mut call.parked, cx);
                return Poll::Pending;
            }
        };
        Poll::Ready(match self.settle.take().expect("not polled again once it is ready") {
            Settle::Plain(settle) => settle(outcome),
            Settle::Watching(settle, watcher) => settle(outcome, watcher),
        })
    }
}

impl<T> Unpin for Call<T> {}

/// The driver keeps a waker until another comes or there is nothing more to wait for.
fn park(line: &Line, key: Key, parked: &mut Option<Waker>, cx: &mut Context<'_>) {
    if !parked.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
        *parked = Some(cx.waker().clone());
        line.send(Command::Park { key, waker: WakeOnDrop(cx.waker().clone()) });
    }
}

/// The listening end of a queue of events.
struct Ear<T> {
    key: Key,
    line: Arc<Line>,
    queue: Receiver<T>,
    queued: Arc<AtomicUsize>,
    parked: Option<Waker>,
}

impl<T> Ear<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.queue.try_recv() {
            Ok(event) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Poll::Ready(Some(event))
            }
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => {
                park(&self.line, self.key, &mut self.parked, cx);
                Poll::Pending
            }
        }
    }
}

/// The driver's end of it.
pub(super) struct Feed<T> {
    queue: Sender<T>,
    queued: Arc<AtomicUsize>,
    waker: Option<WakeOnDrop>,
}

impl<T> Feed<T> {
    /// False if nobody listens, or not fast enough.
    pub(super) fn push(&self, event: T) -> bool {
        let room = self.queued.fetch_add(1, Ordering::AcqRel) < QUEUE;
        let heard = room && self.queue.send(event).is_ok();
        self.wake();
        heard
    }
    pub(super) fn park(&mut self, waker: WakeOnDrop) {
        self.waker = Some(waker);
        // An event may have come before the waker.
        if self.queued.load(Ordering::Acquire) > 0 {
            self.wake();
        }
    }
    fn wake(&self) {
        if let Some(WakeOnDrop(waker)) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

fn queue<T>(key: Key, line: Arc<Line>) -> (Ear<T>, Feed<T>) {
    let (sender, receiver) = channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let ear = Ear { key, line, queue: receiver, queued: queued.clone(), parked: None };
    (ear, Feed { queue: sender, queued, waker: None })
}

/// A watch that this application has set. Dropping it ends the watch.
pub struct Watcher {
    id: CallId,
    /// There until detached.
    ear: Option<Ear<WatchEvent>>,
}

impl Watcher {
    pub(super) fn new(id: CallId, line: Arc<Line>) -> (Watcher, Feed<WatchEvent>) {
        let (ear, feed) = queue(Key::Watch(id), line);
        (Watcher { id, ear: Some(ear) }, feed)
    }

    /// The next event; `None` when there will be no more: a one-shot watch has fired, the watch was removed, the session is
    /// over, or this listener fell a thousand events behind.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        poll_fn(|cx| self.ear.as_mut().map_or(Poll::Ready(None), |ear| ear.poll(cx))).await
    }

    /// Keeps the watch without listening to it here: its events go to [`Events`] only.
    pub fn detach(mut self) {
        if let Some(ear) = self.ear.take() {
            ear.line.send(Command::Detach { id: self.id });
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(ear) = &self.ear {
            ear.line.send(Command::Unwatch { id: self.id });
        }
    }
}

/// Everything that happens to a session, in its order.
pub struct Events {
    ear: Ear<SessionEvent>,
}

impl Events {
    pub(super) fn new(id: CallId, line: Arc<Line>) -> (Events, Feed<SessionEvent>) {
        let (ear, feed) = queue(Key::Events(id), line);
        (Events { ear }, feed)
    }

    /// The next event; `None` after a final state, or when this listener fell a thousand events behind.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        poll_fn(|cx| self.ear.poll(cx)).await
    }
}
