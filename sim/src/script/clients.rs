//! Clients of a story: they say one thing at a time and write down what they are told.

use super::cluster::{Cluster, End, ToClient};
use super::words;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute::{Reader, begin_frame, end_frame};
use zebu_core::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateOp, CreateRequest, ReplyHeader, Request, RequestHeader,
    Response,
};

/// ms; no story lasts so long without a word of its clients that matter.
const TIMEOUT: i32 = 40_000;

#[derive(Debug, Default)]
struct Client {
    name: String,
    connected: bool,
    session: Option<ConnectResponse>,
    got: BytesMut,
    handshake: bool,
    /// What it waits for, in its own words.
    asked: VecDeque<(String, Request)>,
    last_seen: Zxid,
    xid: i32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients(Vec<Client>);

impl Clients {
    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().rposition(|c| c.name == name)
    }

    /// Is there one of this name?
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Connects a client, with the session of `of` if that has one.
    pub(super) fn connect(&mut self, cluster: &mut Cluster, name: &str, s: usize, of: &str) {
        let before = self.find(of).map(|c| &self.0[c]);
        let (session, last_seen) = before.map_or((None, Zxid::ZERO), |c| (c.session.clone(), c.last_seen));
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: last_seen,
            timeout: TIMEOUT,
            session: session.as_ref().map_or(SessionId::NONE, |s| s.session),
            password: Some(Bytes::copy_from_slice(session.as_ref().map_or(&[0; 16], |s| &s.password))),
            read_only: Some(false),
        };
        let c = self.0.len();
        self.0.push(Client {
            name: name.to_owned(),
            connected: true,
            session,
            last_seen,
            ..Client::default()
        });
        cluster.client(c, s);
        say(cluster, c, |w| request.encode(w));
    }

    /// A client is gone without a word.
    pub(super) fn leave(&mut self, cluster: &mut Cluster, name: &str) {
        if let Some(c) = self.find(name) {
            self.0[c].connected = false;
            cluster.close(End::Client(c));
        }
    }

    /// A client asks for something.
    pub(super) fn ask(&mut self, cluster: &mut Cluster, name: &str, words: &[&str]) -> Result<(), String> {
        let c = self.find(name).ok_or("there is no such client")?;
        let request = request(words)?;
        let client = &mut self.0[c];
        if !client.connected {
            return Err(format!("{name} is not connected"));
        }
        client.xid += 1;
        let header = RequestHeader { xid: Xid(client.xid), op: request.op() as i32 };
        client.asked.push_back((words[..words.len().min(2)].join(" "), request.clone()));
        say(cluster, c, |w| {
            header.encode(w);
            request.encode(w);
        });
        Ok(())
    }

    /// Takes in what came for them; their lines take the places that the log has kept.
    pub(super) fn listen(&mut self, cluster: &mut Cluster) {
        while let Some(ToClient { client, bytes, at }) = cluster.to_clients.pop_front() {
            let lines = self.0[client].hear(bytes);
            if cluster.loud {
                cluster.log[at] = lines.join("\n");
            }
        }
        cluster.log.retain(|line| !line.is_empty());
    }
}

impl Client {
    fn hear(&mut self, bytes: Option<Bytes>) -> Vec<String> {
        let Some(bytes) = bytes else {
            self.connected = false;
            let mut line = format!("{}: disconnected", self.name);
            if !self.asked.is_empty() {
                let unanswered: Vec<String> = self.asked.drain(..).map(|(what, _)| what).collect();
                line += &format!(", without an answer to {}", unanswered.join(", "));
            }
            return vec![line];
        };
        self.got.extend_from_slice(&bytes);
        let mut lines = Vec::new();
        while let Some(frame) = self.frame() {
            lines.push(self.told(&frame));
        }
        lines
    }

    fn frame(&mut self) -> Option<BytesMut> {
        let len = u32::from_be_bytes(*self.got.first_chunk()?) as usize;
        (self.got.len() >= 4 + len).then(|| self.got.split_to(4 + len).split_off(4))
    }

    fn told(&mut self, frame: &[u8]) -> String {
        const READABLE: &str = "servers say what can be read";
        let mut r = Reader::new(frame);
        if !std::mem::replace(&mut self.handshake, true) {
            let answer = ConnectResponse::decode(&mut r).expect(READABLE);
            if answer.session == SessionId::NONE {
                self.session = None;
                return format!("{}: no such session", self.name);
            }
            let known = self.session.replace(answer).is_some();
            return format!("{}: connected{}", self.name, if known { " again" } else { "" });
        }
        let header = ReplyHeader::decode(&mut r).expect(READABLE);
        if header.zxid > self.last_seen {
            self.last_seen = header.zxid;
        }
        if header.xid == Xid::NOTIFICATION {
            return format!("{}: a watch fires", self.name);
        }
        let Some((what, request)) = self.asked.pop_front() else {
            return format!("{}: an answer to nothing", self.name);
        };
        let response = (header.err == 0).then(|| Response::decode(request.op(), &mut r).expect(READABLE));
        format!("{}: {what}: {}", self.name, words::reply(header, response.as_ref()))
    }
}

fn say(cluster: &mut Cluster, c: usize, write: impl FnOnce(&mut BytesMut)) {
    let mut frame = BytesMut::new();
    let at = begin_frame(&mut frame);
    write(&mut frame);
    end_frame(&mut frame, at);
    cluster.send(End::Client(c), &frame);
}

/// A request in a story's words.
fn request(words: &[&str]) -> Result<Request, String> {
    let data = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let create = |path: &str, text: &str, flags| {
        Request::Create(CreateRequest {
            op: CreateOp::Create,
            path: path.to_owned(),
            data: data(text),
            acl: Some(vec![Acl::open()]),
            flags,
        })
    };
    let reconfig =
        |joining, leaving| Request::Reconfig { joining, leaving, new_members: None, config_id: -1 };
    Ok(match *words {
        ["create", path] => create(path, "", 0),
        ["create", path, "ephemeral"] => create(path, "", 1),
        ["create", path, text] => create(path, text, 0),
        ["set", path, text] => Request::SetData { path: path.to_owned(), data: data(text), version: -1 },
        ["get", path] => Request::GetData { path: path.to_owned(), watch: false },
        ["ls", path] => Request::GetChildren { path: path.to_owned(), watch: false },
        ["delete", path] => Request::Delete { path: path.to_owned(), version: -1 },
        ["sync"] => Request::Sync { path: Some("/".to_owned()) },
        ["close"] => Request::CloseSession,
        ["admit", sid] => {
            let sid = sid.parse().map_err(|_| format!("{sid} is no server"))?;
            reconfig(Some(super::cluster::member(sid, "participant")), None)
        }
        ["dismiss", sid] => reconfig(None, Some(sid.to_owned())),
        _ => return Err(format!("a client cannot {}", words.join(" "))),
    })
}
