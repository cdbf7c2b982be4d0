//! The half of a client that is stepped: commands of the handles into the machine, its outcomes back to who waits for them.

use super::wait::{Feed, Outcome, SessionEvent, WatchEvent};
use super::{Command, Key, WakeOnDrop, What};
use crate::boundary::Conn;
use crate::client::{CallId, Client, ClientInput, ClientOutput, ClientState, Disconnect};
use crate::proto::{AddWatchMode, EventKind, Request};
use crate::time::Time;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

/// What the network says: the part of [`ClientInput`] that is not the application's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// Time passed, or the bell was rung.
    Wake,
    /// An [`Output::Dial`] came through.
    Opened {
        /// Its number.
        conn: Conn,
    },
    /// Bytes came in.
    Received {
        /// From which connection.
        conn: Conn,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The connection ended, or never came to be.
    Closed {
        /// Which.
        conn: Conn,
    },
}

/// What the network has to do: the part of [`ClientOutput`] that is not the application's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect to this server.
    Dial {
        /// The number of the new connection.
        conn: Conn,
        /// Index into the configuration's servers.
        server: usize,
    },
    /// Queue these bytes.
    Send {
        /// To which connection.
        conn: Conn,
        /// Whole frames.
        bytes: Bytes,
    },
    /// End the connection, or give up dialing.
    Close {
        /// Which.
        conn: Conn,
    },
    /// A connection is no more; for logs.
    Lost {
        /// Which.
        conn: Conn,
        /// Why.
        cause: Disconnect,
    },
}

/// Owns the machine. Whoever runs it steps it when the network says something, when [`Driver::next_wake`] is due and when the
/// bell rings, until it is [`Driver::is_done`].
pub struct Driver {
    client: Client,
    commands: Receiver<Command>,
    calls: BTreeMap<CallId, Waiting>,
    watchers: BTreeMap<CallId, Listener>,
    events: BTreeMap<CallId, Feed<SessionEvent>>,
    /// The last handle is gone.
    abandoned: bool,
    outcomes: Vec<ClientOutput>,
}

/// A call without an outcome yet. Dropping it wakes its task.
struct Waiting {
    reply: SyncSender<Outcome>,
    waker: Option<WakeOnDrop>,
    /// Its watcher is gone already.
    unwatch: bool,
}

struct Listener {
    feed: Feed<WatchEvent>,
    one_shot: bool,
}

impl Driver {
    pub(super) fn new(client: Client, commands: Receiver<Command>) -> Driver {
        Driver {
            client,
            commands,
            calls: BTreeMap::new(),
            watchers: BTreeMap::new(),
            events: BTreeMap::new(),
            abandoned: false,
            outcomes: Vec::new(),
        }
    }

    /// One step: what the handles want first, then the input.
    pub fn step(&mut self, now: Time, input: Input<'_>, out: &mut Vec<Output>) {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.command(now, command, out),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if !std::mem::replace(&mut self.abandoned, true) {
                        // Nobody is left who could see the outcome.
                        self.feed(now, ClientInput::Close { id: CallId(0) }, out);
                    }
                    break;
                }
            }
        }
        let input = match input {
            Input::Wake => ClientInput::Wake,
            Input::Opened { conn } => ClientInput::Opened { conn },
            Input::Received { conn, bytes } => ClientInput::Received { conn, bytes },
            Input::Closed { conn } => ClientInput::Closed { conn },
        };
        self.feed(now, input, out);
    }

    /// When it wants to be stepped at the latest.
    pub fn next_wake(&self) -> Option<Time> {
        self.client.next_wake()
    }

    /// The session's state.
    pub fn state(&self) -> ClientState {
        self.client.state()
    }

    /// The session is over and nobody can ask for anything any more. A driver may be dropped before that: every call ends in
    /// ConnectionLoss then.
    pub fn is_done(&self) -> bool {
        self.abandoned && self.client.state().is_final()
    }

    fn command(&mut self, now: Time, command: Command, out: &mut Vec<Output>) {
        match command {
            Command::Call { id, what, reply, watch } => {
                if let Some(feed) = watch {
                    self.watchers.insert(id, Listener { feed, one_shot: what.watches_once() });
                }
                self.calls.insert(id, Waiting { reply, waker: None, unwatch: false });
                let input = match what {
                    What::Request(request) => ClientInput::Call { id, request },
                    What::Config { watch } => ClientInput::GetConfig { id, watch },
                    What::Close => ClientInput::Close { id },
                };
                self.feed(now, input, out);
            }
            Command::Events { id, feed } => {
                let state = self.client.state();
                if feed.push(SessionEvent::State(state)) && !state.is_final() {
                    self.events.insert(id, feed);
                }
            }
            Command::Park { key, waker } => self.park(key, waker),
            Command::Unwatch { id } => {
                self.watchers.remove(&id);
                match self.calls.get_mut(&id) {
                    Some(waiting) => waiting.unwatch = true,
                    None => self.feed(now, ClientInput::Unwatch { id }, out),
                }
            }
            Command::Detach { id } => drop(self.watchers.remove(&id)),
            Command::Forget { path, kind } => self.feed(now, ClientInput::Forget { path, kind }, out),
        }
    }

    /// Keeps the waker; what is settled already wakes at once.
    fn park(&mut self, key: Key, waker: WakeOnDrop) {
        match key {
            Key::Call(id) => match self.calls.get_mut(&id) {
                Some(waiting) => waiting.waker = Some(waker),
                None => drop(waker),
            },
            Key::Watch(id) => match self.watchers.get_mut(&id) {
                Some(listener) => listener.feed.park(waker),
                None => drop(waker),
            },
            Key::Events(id) => match self.events.get_mut(&id) {
                Some(feed) => feed.park(waker),
                None => drop(waker),
            },
        }
    }

    fn feed(&mut self, now: Time, input: ClientInput<'_>, out: &mut Vec<Output>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.client.step(now, input, &mut outcomes);
        let mut unwanted = Vec::new();
        for outcome in outcomes.drain(..) {
            match outcome {
                ClientOutput::Dial { conn, server } => out.push(Output::Dial { conn, server }),
                ClientOutput::Send { conn, bytes } => out.push(Output::Send { conn, bytes }),
                ClientOutput::Close { conn } => out.push(Output::Close { conn }),
                ClientOutput::Lost { conn, cause } => out.push(Output::Lost { conn, cause }),
                ClientOutput::Reply { id, result, .. } => unwanted.extend(self.reply(id, result)),
                ClientOutput::Watch { zxid, event, calls } => {
                    let event = WatchEvent { zxid, kind: event.kind, path: event.path };
                    unwanted.extend(calls.into_iter().filter(|id| !self.tell(*id, &event)));
                    self.events.retain(|_, feed| feed.push(SessionEvent::Watch(event.clone())));
                }
                ClientOutput::State(state) => {
                    self.events.retain(|_, feed| feed.push(SessionEvent::State(state)) && !state.is_final());
                    if state.is_final() {
                        self.watchers.clear();
                    }
                }
            }
        }
        self.outcomes = outcomes;
        for id in unwanted {
            self.feed(now, ClientInput::Unwatch { id }, out);
        }
    }

    /// Settles a call; gives its number back if nobody wants the watch that it has set.
    fn reply(&mut self, id: CallId, result: Outcome) -> Option<CallId> {
        let waiting = self.calls.remove(&id)?;
        // Whoever does not wait any more does not need to know.
        drop(waiting.reply.try_send(result));
        waiting.unwatch.then_some(id)
    }

    /// Tells a watcher; false if it could not keep up and its watch is to go.
    fn tell(&mut self, id: CallId, event: &WatchEvent) -> bool {
        let Some(listener) = self.watchers.get(&id) else { return true };
        let heard = listener.feed.push(event.clone());
        let removed = matches!(
            event.kind,
            EventKind::DataWatchRemoved | EventKind::ChildWatchRemoved | EventKind::PersistentWatchRemoved
        );
        if !heard || removed || listener.one_shot {
            self.watchers.remove(&id);
        }
        heard
    }
}

impl What {
    fn watches_once(&self) -> bool {
        match self {
            What::Request(Request::AddWatch { mode, .. }) => match mode {
                AddWatchMode::Persistent | AddWatchMode::PersistentRecursive => false,
            },
            What::Request(_) | What::Config { .. } | What::Close => true,
        }
    }
}
