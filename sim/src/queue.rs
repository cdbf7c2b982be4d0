//! What is due when: a heap of (true time, sequence number, event). The sequence number breaks ties, so the order is total
//! and the same in every run. Events are small plain values; nothing is allocated for one.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use zebu_core::boundary::Lane;

/// Something due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A server's deadline may have come.
    ServerWake {
        /// Which.
        server: u8,
    },
    /// A client's deadline may have come.
    ClientWake {
        /// Which.
        client: u16,
    },
    /// The next operation of a client's program.
    Act {
        /// Which client.
        client: u16,
    },
    /// A client makes a new handle.
    Reopen {
        /// Which client.
        client: u16,
    },
    /// A connection request reaches a host.
    Dial {
        /// Which connection.
        wire: u32,
    },
    /// A server may be told of a connection that its host has accepted.
    Accept {
        /// Which connection.
        wire: u32,
    },
    /// The answer to it reaches the one who asked.
    Dialed {
        /// Which connection.
        wire: u32,
    },
    /// Bytes are due at the server's end.
    Up {
        /// Of which connection.
        wire: u32,
    },
    /// Bytes are due at the client's end.
    Down {
        /// Of which connection.
        wire: u32,
    },
    /// Bytes of a connection that its server has closed are handed over.
    Late {
        /// Index into the world's list of those.
        index: u32,
    },
    /// A run of disk operations ends.
    Disk {
        /// Of which server.
        server: u8,
        /// In which lane.
        lane: Lane,
    },
    /// A piece of a file is there.
    Read {
        /// Of which server.
        server: u8,
        /// Which piece, of those that it has asked for.
        read: u32,
    },
    /// A fault begins, or begins to wait for its news.
    Fault {
        /// Index into the scenario's list.
        index: u16,
        /// The server whose news it waited for.
        teller: Option<u8>,
    },
    /// A server that was armed to die inside an operation does so.
    Die {
        /// Which.
        server: u8,
        /// Index into the scenario's list.
        fault: u16,
    },
    /// A server starts.
    Start {
        /// Which.
        server: u8,
    },
    /// A pause of a server or client ends.
    Resume {
        /// Which server, or which client.
        who: Paused,
    },
    /// The next move of a raw connection.
    Raw {
        /// Which.
        raw: u16,
    },
    /// The phase of the run may change.
    Phase,
}

impl Due {
    /// The server whose affair it is, if it is one's.
    pub fn server(self) -> Option<u8> {
        match self {
            Due::ServerWake { server }
            | Due::Disk { server, .. }
            | Due::Read { server, .. }
            | Due::Die { server, .. }
            | Due::Start { server }
            | Due::Resume { who: Paused::Server(server) } => Some(server),
            Due::ClientWake { .. }
            | Due::Act { .. }
            | Due::Reopen { .. }
            | Due::Dial { .. }
            | Due::Accept { .. }
            | Due::Dialed { .. }
            | Due::Late { .. }
            | Due::Up { .. }
            | Due::Down { .. }
            | Due::Fault { .. }
            | Due::Resume { who: Paused::Client(_) }
            | Due::Raw { .. }
            | Due::Phase => None,
        }
    }
}

/// Whom a pause holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paused {
    /// A server.
    Server(u8),
    /// A client.
    Client(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    at: u64,
    seq: u64,
    due: Due,
}
impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Slot) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Slot {
    fn cmp(&self, other: &Slot) -> Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// The queue.
#[derive(Default, Debug)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Slot>>,
    seq: u64,
}

impl Queue {
    /// Empties it; keeps the allocation.
    pub fn reset(&mut self) {
        self.heap.clear();
        self.seq = 0;
    }

    /// Adds something due at this true time.
    pub fn push(&mut self, at: u64, due: Due) {
        self.heap.push(Reverse(Slot { at, seq: self.seq, due }));
        self.seq += 1;
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<(u64, Due)> {
        self.heap.pop().map(|Reverse(s)| (s.at, s.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order() {
        let mut q = Queue::default();
        q.push(5, Due::Phase);
        q.push(3, Due::Start { server: 0 });
        q.push(5, Due::Act { client: 1 });
        assert_eq!(q.pop(), Some((3, Due::Start { server: 0 })));
        assert_eq!(q.pop(), Some((5, Due::Phase)));
        assert_eq!(q.pop(), Some((5, Due::Act { client: 1 })));
        assert_eq!(q.pop(), None);
        assert!(size_of::<Slot>() <= 24);
    }
}
