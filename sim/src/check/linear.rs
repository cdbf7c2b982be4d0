//! C1, C3, C5, C6, X1, F1: the order of calls, replies and transactions. Zxids are the witness: the order that they claim is
//! verified, not searched for. Also what is known of each handle and call, which other rules ask for.

use super::demand::Asker;
use super::model::{Committed, Index, Model};
use super::replies::{self, Judge};
use super::rights::Credentials;
use super::watches::{Sight, Watches};
use super::{Cx, Found, Limits, Rule};
use crate::history::{Call, HandleState, History, Who};
use std::collections::{HashMap, VecDeque};
use zebu_core::boundary::Conn;
use zebu_core::id::{Epoch, ServerId, SessionId, Zxid};
use zebu_core::proto::{CreateMode, ErrorCode, Id, OpCode, Request, Response};
use zebu_core::time::Time;

/// How a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// No return, or one that the client made up: it may have happened.
    Unknown,
    /// A server's reply came.
    Answered,
}

#[derive(Clone, Copy, Debug)]
struct CallFacts {
    who: Who,
    fate: Fate,
    returned: bool,
    /// Credentials that were surely presented before it.
    creds: u16,
    /// The newest write returned to anyone before it was made.
    real: Index,
    /// The newest transaction committed before it was made, by the staleness bound.
    fresh: Index,
    /// The newest transaction known before it was made.
    known: Index,
    /// The newest epoch whose leader served when it was made.
    epoch: Epoch,
    /// When it was made.
    at: Time,
    /// When it was given up for lost, by whom it may have been sent: the handle's number of connections so far.
    lost_on: Option<usize>,
}

/// A connection that a server took for a session's. Its leader decided so between the connection's first bytes and now.
#[derive(Clone, Copy, Debug)]
struct Attached {
    came: Time,
    at: Time,
    server: ServerId,
    session: SessionId,
    conn: Conn,
    /// Under the leader of this epoch; another leader knows nothing of it.
    epoch: Option<Epoch>,
}

/// What is known of a handle.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) session: SessionId,
    pub(super) state: Option<HandleState>,
    /// When something last came from a server, or the handle was made.
    pub(super) heard: Time,
    conn: Option<Conn>,
    /// The server behind the last connection.
    server: Option<ServerId>,
    /// When servers took its connections for the session's, in order.
    attached: Vec<(Time, Conn)>,
    /// Largest zxid of a reply.
    floor: Zxid,
    /// Calls without a return, in order.
    open: VecDeque<Call>,
    /// The address, then what credentials added, in order.
    ids: Vec<Id>,
    /// By number of credentials: how many of `ids`.
    upto: Vec<usize>,
    sure: Vec<(Time, usize)>,
    /// From here on `ids` hold a credential that the client itself refused to present: a new connection need not have it.
    never_shown: Option<usize>,
}

/// A call's return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) who: Who,
    pub(super) call: Call,
    pub(super) conn: Option<Conn>,
    pub(super) zxid: Zxid,
    pub(super) result: &'a Result<Response, ErrorCode>,
}

/// Calls, handles and the order between them.
#[derive(Debug, Default)]
pub(super) struct Order {
    handles: Vec<Handle>,
    calls: Vec<CallFacts>,
    credentials: Credentials,
    /// By state: the call that made it.
    makers: Vec<Option<Call>>,
    /// Connections that servers took for a session's.
    attached: Vec<Attached>,
    /// When the first bytes of a connection were taken.
    came: HashMap<Conn, Time>,
    /// The newest write returned.
    returned: Index,
}

/// X1: what the client says by itself is that no one knows, or at once that the call cannot be sent.
fn made_up(cx: Cx<'_>, reply: &Reply<'_>, called: Time, found: &mut Found) {
    let unknown = [ErrorCode::ConnectionLoss, ErrorCode::SessionExpired, ErrorCode::AuthFailed];
    if !matches!(reply.result, Err(code) if unknown.contains(code)) && called != cx.at {
        found.add(Rule::X1, cx.at, || {
            let (who, call) = (reply.who, call(cx.h, reply.call));
            format!("{who:?}: {call} got {:?}, which no server said", reply.result)
        });
    }
}

fn is_write(request: &Request, limits: &Limits) -> bool {
    if let Request::Reconfig { .. } = request {
        return limits.config.ensemble.is_some();
    }
    matches!(
        request.op(),
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::CloseSession
    )
}

impl Order {
    pub(super) fn clear(&mut self) {
        self.handles.clear();
        self.calls.clear();
        self.makers.clear();
        self.attached.clear();
        self.came.clear();
        self.returned = 0;
    }

    pub(super) fn handle(&self, who: Who) -> &Handle {
        &self.handles[usize::from(who.handle)]
    }

    pub(super) fn handles(&self) -> &[Handle] {
        &self.handles
    }

    fn of(&mut self, who: Who) -> &mut Handle {
        &mut self.handles[usize::from(who.handle)]
    }

    pub(super) fn open(&mut self, cx: Cx<'_>, who: Who) {
        let setup = &cx.h.setups[usize::from(who.handle)];
        self.handles.push(Handle {
            session: SessionId::NONE,
            state: None,
            heard: cx.at,
            conn: None,
            server: None,
            attached: Vec::new(),
            floor: Zxid::ZERO,
            open: VecDeque::new(),
            ids: vec![Id::new("ip", &setup.peer.to_string())],
            upto: vec![1],
            sure: Vec::new(),
            never_shown: None,
        });
        for (scheme, auth) in &setup.auth {
            self.add_credential(cx, who, scheme, Some(auth));
        }
        self.all_sure(who);
    }

    fn add_credential(&mut self, cx: Cx<'_>, who: Who, scheme: &str, auth: Option<&bytes::Bytes>) {
        let peer = cx.h.setups[usize::from(who.handle)].peer;
        let ids = self.credentials.get(scheme, auth, peer, cx.limits.config.super_digest.as_deref());
        let handle = self.of(who);
        for id in ids.unwrap_or_default() {
            if !handle.ids.contains(&id) {
                handle.ids.push(id);
            }
        }
        handle.upto.push(handle.ids.len());
    }

    /// The server has every credential before anything else of the connection.
    fn all_sure(&mut self, who: Who) {
        let handle = self.of(who);
        let all = handle.ids.len().min(handle.never_shown.unwrap_or(usize::MAX));
        handle.sure.clear();
        handle.sure.push((Time(0), all));
    }

    /// Who may see which watch events.
    pub(super) fn sight<'a>(&'a self, who: Who, limits: &Limits) -> Sight<'a> {
        let handle = self.handle(who);
        Sight { ids: &handle.ids, sure: &handle.sure, skip_acl: limits.config.skip_acl }
    }

    pub(super) fn invoke(&mut self, cx: Cx<'_>, model: &Model, epoch: Epoch, who: Who, call: Call) {
        let Cx { h, limits, at } = cx;
        if let Request::Auth { scheme, auth } = &h.requests[call.0 as usize] {
            self.add_credential(cx, who, scheme.as_deref().unwrap_or_default(), auth.as_ref());
        }
        let known = model.last();
        let fresh = match limits.staleness {
            None => 0,
            Some(bound) if bound.0 == 0 => known,
            Some(bound) => model.known_before(Time(at.0.saturating_sub(bound.0))),
        };
        let real = self.returned;
        let handle = self.of(who);
        handle.open.push_back(call);
        let creds = handle.upto.len() as u16 - 1;
        let (fate, returned, lost_on) = (Fate::Unknown, false, None);
        let facts = CallFacts { who, fate, returned, creds, real, fresh, known, epoch, at, lost_on };
        assert_eq!(self.calls.len(), call.0 as usize, "calls are numbered in order");
        self.calls.push(facts);
    }

    pub(super) fn heard(&mut self, who: Who, at: Time) {
        self.of(who).heard = at;
    }

    pub(super) fn gone(&mut self, who: Who) {
        self.of(who).open.clear();
    }

    /// A server has answered the setWatches of a session: the state it was in decides what is armed.
    pub(super) fn watches_set(
        &self,
        met: Option<Index>,
        watches: &mut Watches,
        server: ServerId,
        session: SessionId,
    ) {
        // The last handle that had it; ids are not drawn twice. A server that it has left may answer too, late and to no one.
        let handle = self.handles.iter().rposition(|h| h.session == session && h.server == Some(server));
        if let (Some(handle), Some(met)) = (handle, met) {
            watches.set_at(handle, met);
        }
    }

    /// A server took a connection for a session's.
    pub(super) fn attached(
        &mut self,
        at: Time,
        (server, epoch): (ServerId, Option<Epoch>),
        session: SessionId,
        conn: Conn,
    ) {
        let came = self.came.get(&conn).copied().unwrap_or(at);
        self.attached.push(Attached { came, at, server, session, conn, epoch });
    }

    /// A server took bytes of a connection.
    pub(super) fn taken(&mut self, at: Time, conn: Conn) {
        self.came.entry(conn).or_insert(at);
    }

    /// The server that this handle is connected to.
    pub(super) fn server(&self, who: Who) -> Option<ServerId> {
        let handle = self.handle(who);
        handle.conn.and(handle.server)
    }

    pub(super) fn state(
        &mut self,
        model: &mut Model,
        watches: &mut Watches,
        at: Time,
        who: Who,
        state: HandleState,
        found: &mut Found,
    ) {
        match state {
            HandleState::Connected { conn, session, .. } => {
                self.all_sure(who);
                let known = self.attached.iter().rev().find(|a| a.conn == conn).copied();
                let handle = self.of(who);
                (handle.conn, handle.session, handle.heard) = (Some(conn), session, at);
                handle.server = known.map(|a| a.server);
                handle.attached.push((known.map_or(at, |a| a.at), conn));
                watches.connected(model, who, handle.floor);
            }
            HandleState::Disconnected => {
                self.of(who).conn = None;
                watches.disconnected(model, who, at, found);
            }
            HandleState::Expired | HandleState::Closed | HandleState::AuthFailed => {
                self.of(who).conn = None;
                watches.ended(model, who, at, found);
            }
        }
        self.of(who).state = Some(state);
    }

    /// A call returned.
    pub(super) fn ret(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        watches: &mut Watches,
        reply: &Reply<'_>,
        found: &mut Found,
    ) {
        let Cx { h, at, .. } = cx;
        let (who, request) = (reply.who, &h.requests[reply.call.0 as usize]);
        let facts = &mut self.calls[reply.call.0 as usize];
        found.look(Rule::X1);
        if std::mem::replace(&mut facts.returned, true) || facts.who != who {
            return found.add(Rule::X1, at, || {
                format!("{who:?}: {} returned twice or to another", call(h, reply.call))
            });
        }
        let facts = *facts;
        if reply.conn.is_none() {
            made_up(cx, reply, facts.at, found);
        }
        let handle = &mut self.handles[usize::from(who.handle)];
        let first = handle.open.front() == Some(&reply.call);
        handle.open.retain(|c| *c != reply.call);
        let Some(conn) = reply.conn else {
            if matches!(request, Request::Auth { .. }) && *reply.result != Err(ErrorCode::ConnectionLoss) {
                let before = handle.upto[usize::from(facts.creds) - 1];
                handle.never_shown = Some(handle.never_shown.map_or(before, |n| n.min(before)));
            }
            self.calls[reply.call.0 as usize].lost_on = Some(handle.attached.len());
            return;
        };
        self.calls[reply.call.0 as usize].fate = Fate::Answered;
        handle.heard = at;
        if let Request::Auth { scheme, auth } = request {
            // Answered at once, out of order, at no zxid.
            if reply.result.is_ok() {
                handle.sure.push((at, handle.upto[usize::from(facts.creds)]));
            }
            let known =
                scheme.as_deref() == Some("ip") || (scheme.as_deref() == Some("digest") && auth.is_some());
            if known != reply.result.is_ok() {
                found.add(Rule::C2, at, || {
                    format!("{who:?}: {} gave {:?}", call(h, reply.call), reply.result)
                });
            }
            return;
        }
        found.look(Rule::C3);
        let in_order = first || handle.open.iter().all(|c| *c > reply.call || is_auth(h, *c));
        if handle.conn.is_some_and(|c| c != conn) || !in_order {
            found.add(Rule::C3, at, || format!("{who:?}: {} was answered out of order", call(h, reply.call)));
        }
        if let Ok(response) = reply.result
            && !replies::is_answer(request, response)
        {
            return found.add(Rule::X1, at, || {
                format!("{who:?}: {} was answered by another's reply {response:?}", call(h, reply.call))
            });
        }
        if reply.zxid < handle.floor && reply.zxid > Zxid::ZERO {
            found.add(Rule::C3, at, || {
                let floor = self.handles[usize::from(who.handle)].floor;
                format!("{who:?}: {} was answered at {}, after {floor}", call(h, reply.call), reply.zxid)
            });
        }
        let handle = &mut self.handles[usize::from(who.handle)];
        handle.floor = handle.floor.max(reply.zxid);
        self.judge(cx, model, watches, reply, facts, found);
    }

    fn judge(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        watches: &mut Watches,
        reply: &Reply<'_>,
        facts: CallFacts,
        found: &mut Found,
    ) {
        let Cx { h, limits, at } = cx;
        let (who, request) = (reply.who, &h.requests[reply.call.0 as usize]);
        found.look(Rule::C4);
        let Some(index) = model.index(reply.zxid) else {
            if !self.edge(model, who, model.last(), limits).answers(request, reply.result) {
                found.add(Rule::C4, at, || {
                    format!(
                        "{who:?}: {} was answered at {}, which is not committed",
                        call(h, reply.call),
                        reply.zxid
                    )
                });
            }
            return;
        };
        let by_itself =
            matches!(reply.result, Ok(_) | Err(ErrorCode::NotReadOnly | ErrorCode::EphemeralOnLocalSession));
        let free_failure = index > 0 && !by_itself && {
            let (txn, taken) = (model.txn(index), self.makers.get(index as usize).copied().flatten());
            txn.session == self.handle(who).session && txn.failed && taken.is_none()
        };
        let edge = self.edge(model, who, index, limits);
        let read_only = edge.read_only;
        let edge = !free_failure && edge.answers(request, reply.result);
        let write = is_write(request, limits) && !edge;
        if write {
            self.order_write(cx, index, reply, facts, found);
        } else {
            order_read(cx, model, index, reply, facts, read_only, found);
        }
        let (sight, asker) = (self.sight(who, limits), self.asker(who, limits));
        let ensemble = limits.config.ensemble.as_ref();
        found.look(if write && matches!(request, Request::Multi(_)) { Rule::M1 } else { Rule::C2 });
        watches.replied(model, who, index, &sight, at, found);
        let fault = self.by_any_credentials(who, facts, |n| {
            let who = Asker { ids: &asker.ids[..n], ..asker };
            let mut judge = Judge { model: &mut *model, h, who, ensemble };
            match write {
                true if index == 0 => Err((Rule::C4, "is a write without a zxid".to_owned())),
                true => judge.write(index, request, Some(reply.result)),
                // The edge has said why.
                false if *reply.result == Err(ErrorCode::NotReadOnly) => Ok(()),
                false => judge.read(index, request, reply.result),
            }
        });
        if let Err((rule, text)) = fault {
            found.add(rule, at, || format!("{who:?}: {} at {}: {text}", call(h, reply.call), reply.zxid));
        }
        watches.answered(model, who, request, reply.result, at, found);
    }

    /// What of a call its server may refuse, or do, by itself.
    fn edge(&self, model: &Model, who: Who, index: Index, limits: &Limits) -> Edge {
        let handle = self.handle(who);
        let read_only = matches!(handle.state, Some(HandleState::Connected { read_only: true, .. }));
        let unknown = read_only && model.session(handle.session).is_none();
        let local = unknown || model.is_local(handle.session, index);
        let upgrading = limits.config.ensemble.as_ref().is_some_and(|e| e.local_upgrading);
        Edge { extended: limits.config.extended_types, read_only, local, upgrading }
    }

    fn asker<'a>(&'a self, who: Who, limits: &Limits) -> Asker<'a> {
        let handle = self.handle(who);
        Asker {
            session: handle.session,
            ids: &handle.ids,
            skip_acl: limits.config.skip_acl,
            extended: limits.config.extended_types,
        }
    }

    /// A call that waited for a connection is sent behind credentials that were presented later: any number of them may count.
    fn by_any_credentials<E>(
        &self,
        who: Who,
        facts: CallFacts,
        mut judge: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let upto = &self.handle(who).upto;
        let first = judge(upto[usize::from(facts.creds)]);
        if first.is_ok() || upto[usize::from(facts.creds)..].iter().any(|n| judge(*n).is_ok()) {
            return Ok(());
        }
        first
    }

    fn order_write(
        &mut self,
        cx: Cx<'_>,
        index: Index,
        reply: &Reply<'_>,
        facts: CallFacts,
        found: &mut Found,
    ) {
        let (Cx { h, at, .. }, who) = (cx, reply.who);
        found.look(Rule::C1);
        if index <= facts.real {
            found.add(Rule::C1, at, || {
                format!(
                    "{who:?}: {} took zxid {}, not above a write returned before",
                    call(h, reply.call),
                    reply.zxid
                )
            });
        }
        if self.makers.len() <= index as usize {
            self.makers.resize(index as usize + 1, None);
        }
        if let Some(other) = self.makers[index as usize].replace(reply.call) {
            found.add(Rule::C1, at, || {
                let (a, b) = (call(h, reply.call), call(h, other));
                format!("{who:?}: {a} and {b} both have the zxid {}", reply.zxid)
            });
        }
        self.returned = self.returned.max(index);
    }

    /// Every transaction of a handle's session is one call's, in order; at most one each.
    pub(super) fn finish(&mut self, cx: Cx<'_>, model: &mut Model, found: &mut Found) {
        let Cx { h, limits, at } = cx;
        self.makers.resize(model.last() as usize + 1, None);
        // By handle: calls up to here are used up.
        let mut cursor: Vec<u32> = vec![0; self.handles.len()];
        let mut mine: Vec<Vec<Call>> = vec![Vec::new(); self.handles.len()];
        for (number, facts) in self.calls.iter().enumerate() {
            if facts.fate == Fate::Unknown && is_write(&h.requests[number], limits) {
                mine[usize::from(facts.who.handle)].push(Call(number as u32));
            }
        }
        for index in 1..=model.last() {
            let txn = *model.txn(index);
            if txn.kind == -10 {
                continue;
            }
            let Some(n) = self.handles.iter().rposition(|x| x.session == txn.session && x.session.0 != 0)
            else {
                continue;
            };
            if let Some(maker) = self.makers[index as usize] {
                if maker.0 < cursor[n] {
                    found.add(Rule::C3, at, || {
                        format!(
                            "handle {n}: {} at {} took effect after a later call",
                            call(h, maker),
                            txn.zxid
                        )
                    });
                }
                cursor[n] = cursor[n].max(maker.0 + 1);
                continue;
            }
            let late = model.came_late(h, index);
            // Of a local session only its server knows on which connection it is.
            let local = model.is_local(txn.session, index);
            let explains = |model: &mut Model, c: Call| {
                let facts = self.calls[c.0 as usize];
                if index <= facts.known || (txn.born != Time(0) && txn.born < facts.at) {
                    return false;
                }
                // One that came too late may be any, also one before those that came through.
                late || (c.0 >= cursor[n] && self.explains(cx, model, index, c))
            };
            let mut all = mine[n].iter().copied().filter(|c| explains(model, *c));
            // The same may have been asked for twice: who could have done it comes before who must not.
            let first = all.next();
            let stayed = |c: &Call| local || self.left_before(n, *c, &txn).is_none();
            let explained = first.map(|c| if stayed(&c) { c } else { all.find(stayed).unwrap_or(c) });
            found.look(Rule::C1);
            match explained {
                Some(_) if late => {}
                // An expiry closes a session without a call, even when its client has asked for the same.
                _ if txn.kind == OpCode::CloseSession as i32 => {}
                Some(c) => {
                    cursor[n] = c.0 + 1;
                    if !local {
                        self.stayed(cx, n, c, &txn, found);
                    }
                }
                None => found.add(Rule::C1, at, || {
                    format!("handle {n}: no call explains the transaction {} of its session", txn.zxid)
                }),
            }
        }
    }
}

impl Order {
    /// A lost call may have made this state.
    fn explains(&self, cx: Cx<'_>, model: &mut Model, index: Index, lost: Call) -> bool {
        let Cx { h, limits, .. } = cx;
        let facts = self.calls[lost.0 as usize];
        let asker = self.asker(facts.who, limits);
        let ensemble = limits.config.ensemble.as_ref();
        let by = |n: usize| {
            let who = Asker { ids: &asker.ids[..n], ..asker };
            let request = &h.requests[lost.0 as usize];
            Judge { model: &mut *model, h, who, ensemble }.write(index, request, None)
        };
        self.by_any_credentials(facts.who, facts, by).is_ok()
    }

    /// When another connection became the session's after the one that a lost call was sent on: that is where to.
    fn left(&self, handle: usize, lost: Call, epoch: Epoch) -> Option<(Time, ServerId)> {
        let (handle, facts) = (&self.handles[handle], self.calls[lost.0 as usize]);
        let (attached, conn) = *handle.attached.get(facts.lost_on?.checked_sub(1)?)?;
        // One that came before that may have been decided on before it, too.
        let later = |a: &&Attached| {
            let mine = a.session == handle.session && a.epoch == Some(epoch);
            mine && a.conn != conn && a.came > attached
        };
        self.attached.iter().find(later).map(|a| (a.at, a.server))
    }

    /// The session had left the connection of a lost call for this server when the call's transaction was proposed.
    fn left_before(&self, handle: usize, lost: Call, txn: &Committed) -> Option<ServerId> {
        let left = self.left(handle, lost, Epoch::of(txn.zxid));
        left.filter(|(at, _)| txn.born > *at && !txn.failed).map(|(_, server)| server)
    }

    /// S3: a call that was lost with its connection has not taken effect since another one is the session's.
    fn stayed(&self, cx: Cx<'_>, handle: usize, lost: Call, txn: &Committed, found: &mut Found) {
        if self.left(handle, lost, Epoch::of(txn.zxid)).is_some() {
            found.look(Rule::S3);
        }
        if let Some(server) = self.left_before(handle, lost, txn) {
            found.add(Rule::S3, cx.at, || {
                let (call, zxid) = (call(cx.h, lost), txn.zxid);
                format!(
                    "{call} of an old connection became {zxid} when its session had moved to server {server}"
                )
            });
        }
    }
}

/// C5, C6: a read shows what it must, at least.
fn order_read(
    cx: Cx<'_>,
    model: &Model,
    index: Index,
    reply: &Reply<'_>,
    facts: CallFacts,
    read_only: bool,
    found: &mut Found,
) {
    let (Cx { h, limits, at }, who) = (cx, reply.who);
    let sync = matches!(h.requests[reply.call.0 as usize], Request::Sync { .. }) && reply.result.is_ok();
    let (rule, bound) = match sync {
        true => (Rule::C5, facts.real),
        // Who is content with a server that has no leader does not ask how old it is.
        false if read_only => (Rule::C6, 0),
        false => (Rule::C6, facts.fresh),
    };
    found.look(rule);
    // A leader that has been superseded and does not know it yet may have answered: zxids of an epoch begin with it.
    let superseded = Epoch::of(reply.zxid) < facts.epoch;
    let excused = sync && index < bound && superseded && !limits.strict_sync;
    found.looks.excused_syncs += u64::from(excused);
    if index < bound && !excused {
        found.add(rule, at, || {
            let wanted = model.zxid(bound);
            format!("{who:?}: {} was answered at {}, after {wanted}", call(h, reply.call), reply.zxid)
        });
    }
}

fn is_auth(h: &History, call: Call) -> bool {
    matches!(h.requests[call.0 as usize], Request::Auth { .. })
}

/// A call in words.
fn call(h: &History, call: Call) -> String {
    format!("call {} {:?}", call.0, h.requests[call.0 as usize])
}

/// What a server answers without asking its ensemble, so that it takes no zxid.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// Containers and nodes that run out are on.
    extended: bool,
    /// It only reads.
    read_only: bool,
    /// The session is its own.
    local: bool,
    /// An ephemeral would make it everyone's.
    upgrading: bool,
}

impl Edge {
    fn answers(self, request: &Request, result: &Result<Response, ErrorCode>) -> bool {
        match result {
            Err(ErrorCode::MarshallingError) => match request {
                Request::Multi(parts) => !super::demand::parses(parts),
                Request::MultiRead(_) | Request::Reconfig { .. } => true,
                _ => false,
            },
            Err(ErrorCode::Unimplemented) => match request {
                Request::Create(c) => matches!(c.flags, 5 | 6) && !self.extended,
                Request::Check { .. } | Request::DeleteContainer { .. } | Request::Sasl { .. } => true,
                Request::Reconfig { .. } => true,
                _ => false,
            },
            Err(ErrorCode::NotReadOnly) => self.read_only,
            Err(ErrorCode::EphemeralOnLocalSession) => {
                self.local && !self.upgrading && makes_ephemeral(request)
            }
            Err(_) => matches!(request, Request::Reconfig { .. }),
            Ok(_) => self.local && matches!(request, Request::CloseSession),
        }
    }
}

fn makes_ephemeral(request: &Request) -> bool {
    match request {
        Request::Create(c) => CreateMode::from_int(c.flags).is_some_and(CreateMode::is_ephemeral),
        Request::Multi(parts) => parts.iter().any(makes_ephemeral),
        _ => false,
    }
}
