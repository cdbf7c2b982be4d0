//! A blocking client of a few lines, made of the core's records only.

use bytes::{Bytes, BytesMut};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute::{Reader, begin_frame, end_frame};
use zebu_core::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateOp, CreateRequest, ReplyHeader, Request, RequestHeader,
    Response,
};

/// One session over one connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    next_xid: i32,
}

impl Wire {
    /// Connects and shakes hands.
    pub(crate) fn connect(addr: SocketAddr) -> Wire {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut wire = Wire { stream, next_xid: 1 };
        let mut out = BytesMut::new();
        let at = begin_frame(&mut out);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout: 30_000,
            session: SessionId::NONE,
            password: None,
            read_only: Some(false),
        };
        request.encode(&mut out);
        end_frame(&mut out, at);
        wire.stream.write_all(&out).unwrap();
        let frame = wire.frame().unwrap();
        let response = ConnectResponse::decode(&mut Reader::new(&frame)).unwrap();
        assert_ne!(response.session, SessionId::NONE);
        wire
    }

    /// The bytes of a request, with its xid.
    pub(crate) fn encode(&mut self, request: &Request) -> (Xid, BytesMut) {
        let xid = Xid(self.next_xid);
        self.next_xid += 1;
        let mut out = BytesMut::new();
        let at = begin_frame(&mut out);
        RequestHeader { xid, op: request.op() as i32 }.encode(&mut out);
        request.encode(&mut out);
        end_frame(&mut out, at);
        (xid, out)
    }

    /// Sends a request; returns its xid, if the connection still takes it.
    pub(crate) fn send(&mut self, request: &Request) -> std::io::Result<Xid> {
        let (xid, bytes) = self.encode(request);
        self.stream.write_all(&bytes)?;
        Ok(xid)
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let mut frame = vec![0; i32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// The next reply: header, and the record if it went well.
    pub(crate) fn reply(&mut self, request: &Request) -> std::io::Result<(ReplyHeader, Option<Response>)> {
        let frame = self.frame()?;
        let mut reader = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut reader).unwrap();
        let response = (header.err == 0).then(|| Response::decode(request.op(), &mut reader).unwrap());
        Ok((header, response))
    }

    /// Request and reply; must succeed.
    pub(crate) fn call(&mut self, request: &Request) -> Response {
        let xid = self.send(request).unwrap();
        let (header, response) = self.reply(request).unwrap();
        assert_eq!(header.xid, xid);
        response.unwrap_or_else(|| panic!("{request:?} answered {}", header.err))
    }
}

/// A create of a persistent node.
pub(crate) fn create(path: &str, data: &[u8]) -> Request {
    Request::Create(CreateRequest {
        op: CreateOp::Create,
        path: path.to_owned(),
        data: Some(Bytes::copy_from_slice(data)),
        acl: Some(vec![Acl::open()]),
        flags: 0,
    })
}

/// A getData without a watch.
pub(crate) fn get(path: &str) -> Request {
    Request::GetData { path: path.to_owned(), watch: false }
}

/// A getChildren without a watch.
pub(crate) fn children(path: &str) -> Request {
    Request::GetChildren { path: path.to_owned(), watch: false }
}

/// Sends a four-letter word and reads all of the answer.
pub(crate) fn word(addr: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
