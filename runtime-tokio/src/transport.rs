//! Sockets: listeners, dials, and one link a connection. A link queues what cannot leave at once and ends with flush, FIN, and a
//! bounded wait for the other side. Must not know what the bytes mean. Answers to `NIOServerCnxnFactory`, `NIOServerCnxn`
//! and the sockets of `QuorumCnxManager` and `Learner`.

use bytes::{Buf as _, Bytes};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zebu_core::addr::Addr;
use zebu_core::boundary::Conn;
use zebu_core::limits::WRITABLE_EVERY;

/// Bytes read at a time.
pub(crate) const READ_AT_ONCE: usize = 64 << 10;
/// Pieces written at a time.
const WRITE_AT_ONCE: usize = 64;
/// How long a closed connection may take to accept what is queued for it.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait, after FIN, for the other side to close. Closing with unread input would reset the connection, and the
/// reset could overtake our last reply.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// clientPortListenBacklog=-1.
const DEFAULT_BACKLOG: i32 = 1024;

/// A bound port that does not accept yet.
#[derive(Debug)]
pub(crate) struct BoundPort {
    socket: Socket,
    backlog: i32,
    /// With the port that the system chose, if it was to choose.
    pub(crate) addr: SocketAddr,
}

impl BoundPort {
    /// Takes the address. The wildcard address takes IPv4, too; on a machine without IPv6 it means IPv4 only.
    pub(crate) fn bind(addr: SocketAddr, backlog: i32) -> io::Result<BoundPort> {
        let open = |domain| Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
        let (socket, addr) = match open(Domain::for_address(addr)) {
            Err(_) if addr.ip().is_unspecified() && addr.is_ipv6() => {
                (open(Domain::IPV4)?, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
            }
            opened => (opened?, addr),
        };
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        let addr = socket.local_addr()?.as_socket().expect("bound to a socket address");
        Ok(BoundPort { socket, backlog: if backlog < 0 { DEFAULT_BACKLOG } else { backlog }, addr })
    }

    /// Lets others in.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(self.backlog)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Connects. A name is looked up anew, and each of its addresses tried in turn.
pub(crate) async fn connect(to: &Addr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
    let peer = stream.peer_addr()?;
    // The system may choose the very port that is dialled for this side, too, if nobody listens there.
    if stream.local_addr()? == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok((stream, peer))
}

/// The writing side of a connection and what both sides must know.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: Conn,
    write: OwnedWriteHalf,
    queue: RefCell<VecDeque<Bytes>>,
    /// Bytes that have left since the core was last told.
    left: Cell<usize>,
    phase: Cell<Phase>,
    paused: Cell<bool>,
    /// A task waits for the socket to take more.
    pub(crate) flushing: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Open,
    /// The core has closed it: flush, FIN, wait.
    Closing,
    /// Nothing more can be done with it.
    Dead,
}

/// What came of writing.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// The queue is empty. `report`: the core wants to know.
    Empty {
        report: bool,
    },
    /// The socket takes no more at the moment.
    Blocked,
    Failed(io::Error),
}

impl Link {
    pub(crate) fn new(conn: Conn, stream: TcpStream) -> (Link, OwnedReadHalf) {
        // Without it the last small segment of a reply waits for the client's delayed ACK. If it cannot be set, the
        // connection is already gone, and the first read says so.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let link = Link {
            conn,
            write,
            queue: RefCell::default(),
            left: Cell::new(0),
            phase: Cell::new(Phase::Open),
            paused: Cell::new(false),
            flushing: Cell::new(false),
            reader: RefCell::default(),
        };
        (link, read)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Queues bytes. True: someone has to flush.
    pub(crate) fn send(&self, bytes: Bytes) -> bool {
        let mut queue = self.queue.borrow_mut();
        queue.push_back(bytes);
        queue.len() == 1 && !self.flushing.get()
    }

    /// Stops or resumes reading.
    pub(crate) fn pause(&self, on: bool) {
        self.paused.set(on);
        if !on {
            self.wake_reader();
        }
    }

    /// Goes on to a later phase.
    pub(crate) fn leave(&self, phase: Phase) {
        self.phase.set(phase);
        self.wake_reader();
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&self) -> Flushed {
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_AT_ONCE];
            let n = queue.len().min(WRITE_AT_ONCE);
            for (slice, bytes) in slices.iter_mut().zip(queue.iter()) {
                *slice = IoSlice::new(bytes);
            }
            match self.write.try_write_vectored(&slices[..n]) {
                Ok(written) => {
                    self.left.set(self.left.get() + written);
                    advance(&mut queue, written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Flushed::Failed(e),
            }
        }
        let report = self.left.get() >= WRITABLE_EVERY;
        if report {
            self.left.set(0);
        }
        Flushed::Empty { report }
    }

    /// Waits until the socket may take more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.write.writable().await
    }

    /// Reads into `buf`; waits while reading is paused. `Ok(0)`: the other side has ended, or this side has left
    /// [`Phase::Open`].
    pub(crate) fn poll_read(
        &self,
        half: &mut OwnedReadHalf,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.phase.get() != Phase::Open {
            return Poll::Ready(Ok(0));
        }
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
        if self.paused.get() {
            return Poll::Pending;
        }
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(half).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ends a connection that the core has closed: flush, FIN, then read and forget until the other side ends, too.
    pub(crate) async fn finish(&self, mut half: OwnedReadHalf) {
        let flush = async {
            while let Flushed::Blocked = self.flush() {
                self.writable().await?;
            }
            SockRef::from(self.write.as_ref()).shutdown(Shutdown::Write)
        };
        if !matches!(timeout(FLUSH_LIMIT, flush).await, Ok(Ok(()))) {
            return;
        }
        let mut scratch = [0; 4096];
        let linger = async {
            loop {
                let mut buf = ReadBuf::new(&mut scratch);
                let read = poll_fn(|cx| Pin::new(&mut half).poll_read(cx, &mut buf)).await;
                if read.is_err() || buf.filled().is_empty() {
                    break;
                }
            }
        };
        // Either way the sockets are dropped now.
        let _ = timeout(LINGER_LIMIT, linger).await;
    }
}

fn advance(queue: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = queue.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        queue.pop_front();
    }
}
