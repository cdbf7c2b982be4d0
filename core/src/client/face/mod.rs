//! The client for applications: async calls, watchers as values, a stream of the session's states. Knows no runtime: who runs it
//! owns the [`Driver`], feeds it what the network says and carries out what it asks for; the application holds [`Handle`]s, in as
//! many tasks as it likes. Answers to `ZooKeeper`, the class.
//!
//! ```text
//! let (handle, driver) = face::client(config, seed, now, bell);    // the bell wakes whoever steps the driver
//! let (data, stat, mut watcher) = handle.get_data_and_watch("/a").await?;
//! while let Some(event) = watcher.next().await { … }                // dropping the watcher ends the watch
//! ```
//!
//! Nothing is shared between handles and driver but queues, so there is no lock: a task that waits sends its waker down the
//! same queue as its calls.

mod driver;
mod handle;
mod wait;

#[cfg(test)]
mod tests;

pub use driver::{Driver, Input, Output};
pub use handle::{Handle, MultiFailed};
pub use wait::{Call, Events, SessionEvent, WatchEvent, Watcher};

use super::{CallId, Client, ClientConfig};
use crate::proto::{Request, WatcherType};
use crate::time::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::task::Waker;

/// A client in its two halves. `bell` is rung when the driver has to be stepped for the handles' sake.
pub fn client(config: ClientConfig, seed: [u8; 32], now: Time, bell: Waker) -> (Handle, Driver) {
    let (commands, driver) = channel();
    let line = Line { commands: Some(commands), bell, next: AtomicU64::new(1) };
    (Handle::new(Arc::new(line)), Driver::new(Client::new(config, seed, now), driver))
}

/// What a handle wants of the driver.
enum Command {
    Call {
        id: CallId,
        what: What,
        reply: SyncSender<wait::Outcome>,
        watch: Option<wait::Feed<WatchEvent>>,
    },
    Events {
        id: CallId,
        feed: wait::Feed<SessionEvent>,
    },
    /// Whoever waits for this wants to be woken.
    Park {
        key: Key,
        waker: WakeOnDrop,
    },
    /// Nobody listens to the watch of this call any more.
    Unwatch {
        id: CallId,
    },
    /// The same, but the watch stays for [`Events`].
    Detach {
        id: CallId,
    },
    Forget {
        path: String,
        kind: WatcherType,
    },
}

enum What {
    Request(Request),
    Config { watch: bool },
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Call(CallId),
    Watch(CallId),
    Events(CallId),
}

/// A waiting task, woken when this goes: because what it waits for has come, or because nothing will come any more. Behind the
/// sending end of a queue in a struct, it goes after that: whoever is woken finds the queue closed.
struct WakeOnDrop(Waker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// The way from the handles to the driver. With the last one the session ends.
struct Line {
    /// There until dropped.
    commands: Option<Sender<Command>>,
    bell: Waker,
    next: AtomicU64,
}

impl Line {
    fn id(&self) -> CallId {
        CallId(self.next.fetch_add(1, Ordering::Relaxed))
    }
    /// A driver that is gone drops the command, which wakes whoever waits.
    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            drop(commands.send(command));
            self.bell.wake_by_ref();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // First the queue, so that the driver finds it closed.
        self.commands = None;
        self.bell.wake_by_ref();
    }
}
