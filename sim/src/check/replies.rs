//! C2, M1, N1 and the content half of C4: every reply says what the model says at the reply's zxid, and what the log holds
//! at a write's zxid is what its request demands of the state just before.

use super::Rule;
use super::demand::{self, Asker, Effect, State};
use super::members;
use super::model::{Index, Model, Version};
use super::paths::PathId;
use super::rights;
use super::txn::{Head, Op, Parts};
use crate::history::History;
use bytes::Bytes;
use zebu_core::config::EnsembleConfig;
use zebu_core::proto::{ClientInfo, ErrorCode, OpCode, OpResult, Request, Response, Stat, perms};

/// What is wrong, and by which rule.
pub(super) type Fault = (Rule, String);

type Reply = Result<Response, ErrorCode>;

/// One question to the model.
pub(super) struct Judge<'a> {
    pub(super) model: &'a mut Model,
    pub(super) h: &'a History,
    pub(super) who: Asker<'a>,
    /// Its settings, if it is a member of an ensemble that answers.
    pub(super) ensemble: Option<&'a EnsembleConfig>,
}

/// The node that shows the configuration.
const CONFIG: &str = "/zookeeper/config";

fn is_of_config(op: &Op<'_>) -> bool {
    matches!(op, Op::SetData { path: CONFIG, .. } | Op::SetAcl { path: CONFIG, .. })
}

impl Judge<'_> {
    /// The transaction that made state `index` is what `request` demands. `reply`: `None` if it was lost.
    pub(super) fn write(
        &mut self,
        index: Index,
        request: &Request,
        reply: Option<&Reply>,
    ) -> Result<(), Fault> {
        let body = self.model.txn(index).place.body(self.h);
        let parsed = Head::read(body).and_then(|head| Ok((head, head.record()?.0)));
        let Ok((head, op)) = parsed else {
            return Ok(()); /* reported when it was folded */
        };
        if head.session != self.who.session {
            let text = format!("its zxid {} belongs to session {}", head.zxid, head.session);
            return Err((Rule::C1, text));
        }
        if let Request::Multi(parts) = request {
            return self.multi(index, parts, &op, reply);
        }
        if let Request::Reconfig { .. } = request {
            return self.reconfig(index, request, (head, op), reply);
        }
        let mut state = State::new(self.model, index - 1);
        match state.demand(request, &self.who) {
            Err(code) => {
                if !matches!(op, Op::Error { code: c } if c == code.code()) {
                    return Err((Rule::C2, format!("must fail with {code:?}, but the log has {op:?}")));
                }
                expect_error(code, reply)
            }
            Ok(effect) => {
                if !effect.is(&op, self.model) || head.kind != request.op() as i32 {
                    return Err(wrong_txn(&effect, &op));
                }
                match reply {
                    None => Ok(()),
                    // Its data is no part of what they replicate, see below.
                    Some(Ok(_)) if self.ensemble.is_some() && is_of_config(&op) => Ok(()),
                    Some(Ok(response)) => self.written(index, &effect, &op, response),
                    Some(Err(e)) => Err((Rule::C2, format!("succeeded, but was answered by {e:?}"))),
                }
            }
        }
    }

    /// A configuration is what was asked for by someone who may; which errors a request must get is not judged.
    fn reconfig(
        &self,
        index: Index,
        request: &Request,
        (head, op): (Head<'_>, Op<'_>),
        reply: Option<&Reply>,
    ) -> Result<(), Fault> {
        let text = match (&op, reply) {
            (Op::Error { .. }, None) => return Ok(()),
            (Op::Error { code }, Some(Err(e))) if e.code() == *code => return Ok(()),
            (Op::SetData { path: CONFIG, data: Some(text), .. }, None) => text,
            (Op::SetData { path: CONFIG, data: Some(text), .. }, Some(Ok(Response::Data { data, stat })))
                if data.as_deref() == Some(*text) && stat.mzxid == head.zxid =>
            {
                text
            }
            _ => {
                let text = format!("asks for a configuration, but the log has {op:?}, the reply {reply:?}");
                return Err((Rule::C2, text));
            }
        };
        let node = self.model.paths.find(CONFIG).and_then(|id| self.model.node(id, index - 1));
        if !node.is_some_and(|v| self.may(v, perms::WRITE)) {
            return Err((Rule::C2, "was granted to someone who may not write the node".to_owned()));
        }
        let text = String::from_utf8_lossy(text);
        let before = (1..index).rev().find_map(|i| {
            let head = Head::read(self.model.txn(i).place.body(self.h)).ok()?;
            match head.record().ok()?.0 {
                Op::SetData { data: Some(text), .. } if head.kind == OpCode::Reconfig as i32 => {
                    Some((String::from_utf8_lossy(text).into_owned(), Some(head.zxid)))
                }
                _ => None,
            }
        });
        let initial = || (self.ensemble.map(|e| e.members.to_string()).unwrap_or_default(), None);
        let (old, made) = before.unwrap_or_else(initial);
        members::follows(request, (&old, made), (head.zxid, &text)).map_err(|text| (Rule::C2, text))
    }

    fn stat_after(&self, path: PathId, index: Index, op: usize) -> Option<Stat> {
        let v = self.model.node_after(path, index, op)?;
        Some(self.model.stat(v, self.who.extended))
    }

    /// The answer to a single write that succeeded.
    fn written(&self, index: Index, effect: &Effect<'_>, op: &Op<'_>, got: &Response) -> Result<(), Fault> {
        let stat = |path: &PathId| self.stat_after(*path, index, 0);
        let (fine, wanted) = match (effect, op) {
            (Effect::Create { path: id, .. }, Op::Create { path, .. }) => match got {
                Response::Path(p) => (p == path, None),
                Response::PathStat { path: p, stat: s } => (p == path && stat(id) == Some(*s), stat(id)),
                _ => (false, None),
            },
            (Effect::SetData { path, .. } | Effect::SetAcl { path, .. }, _) => {
                (matches!(got, Response::Stat(s) if stat(path) == Some(*s)), stat(path))
            }
            _ => (*got == Response::Empty, None),
        };
        if fine {
            return Ok(());
        }
        Err((Rule::C2, format!("did {op:?}{}, but was answered by {got:?}", shown(wanted))))
    }

    fn multi(
        &mut self,
        index: Index,
        parts: &[Request],
        op: &Op<'_>,
        reply: Option<&Reply>,
    ) -> Result<(), Fault> {
        let Op::Multi(logged) = op else {
            let open = self.model.is_open(self.who.session, index - 1);
            let fits = |code: ErrorCode| match code {
                ErrorCode::MarshallingError => !demand::parses(parts),
                // Not even looked at.
                ErrorCode::SessionExpired => !open,
                _ => false,
            };
            if let Op::Error { code } = op
                && let Some(code) = ErrorCode::from_code(*code).filter(|c| fits(*c))
            {
                return expect_error(code, reply);
            }
            return Err((Rule::C2, format!("is a multi, but the log has {op:?}")));
        };
        if logged.count != parts.len() {
            return Err((Rule::M1, format!("has {} parts, the log {}", parts.len(), logged.count)));
        }
        let mut state = State::new(self.model, index - 1);
        for (number, (part, op)) in parts.iter().zip(logged.iter()).enumerate() {
            let part = demand::as_part(part);
            match state.demand(&part, &self.who) {
                Err(code) => return self.multi_failed(number, code, *logged, reply),
                Ok(effect) => {
                    if logged.failed() {
                        let expected = matches!(op, Op::Error { code: 0 });
                        if !expected {
                            return Err((Rule::M1, format!("part {number} passes, but the log has {op:?}")));
                        }
                    } else if !effect.is(&op, state.model) {
                        let (rule, text) = wrong_txn(&effect, &op);
                        return Err((rule, format!("part {number}: {text}")));
                    }
                    state.add(&effect, &self.who);
                }
            }
        }
        if logged.failed() {
            return Err((Rule::M1, "no part fails, but the log has a failed multi".to_owned()));
        }
        let results = match reply {
            None => return Ok(()),
            Some(Ok(Response::Multi(results))) if results.len() == parts.len() => results,
            Some(other) => return Err((Rule::M1, format!("succeeded, but was answered by {other:?}"))),
        };
        for (number, (op, got)) in logged.iter().zip(results).enumerate() {
            let stat = |path: &str| self.stat_after(self.model.paths.find(path)?, index, number);
            let fine = match (&op, got) {
                (Op::Create { path, .. }, OpResult::Create(p)) => path == p && is_plain(&parts[number]),
                (Op::Create { path, .. }, OpResult::Create2 { path: p, stat: s }) => {
                    path == p && stat(path) == Some(*s) && !is_plain(&parts[number])
                }
                (Op::SetData { path, .. }, OpResult::SetData(s)) => stat(path) == Some(*s),
                (Op::Delete { .. }, OpResult::Delete) | (Op::Check { .. }, OpResult::Check) => true,
                _ => false,
            };
            if !fine {
                let rule = if matches!(got, OpResult::Error(_)) { Rule::M1 } else { Rule::C2 };
                return Err((rule, format!("part {number} did {op:?}, but was answered by {got:?}")));
            }
        }
        Ok(())
    }

    /// Part `culprit` fails with `code`: nothing happens, every result is an error.
    fn multi_failed(
        &self,
        culprit: usize,
        code: ErrorCode,
        logged: Parts<'_>,
        reply: Option<&Reply>,
    ) -> Result<(), Fault> {
        let wanted = |number: usize| match number.cmp(&culprit) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(code),
            std::cmp::Ordering::Greater => Some(ErrorCode::RuntimeInconsistency),
        };
        for (number, op) in logged.iter().enumerate() {
            let want = wanted(number).map_or(0, ErrorCode::code);
            if !matches!(op, Op::Error { code } if code == want) {
                let text = format!(
                    "part {culprit} must fail with {code:?}, but the log has {op:?} as part {number}"
                );
                return Err((if logged.failed() { Rule::C2 } else { Rule::M1 }, text));
            }
        }
        let results = match reply {
            None => return Ok(()),
            Some(Ok(Response::Multi(results))) if results.len() == logged.count => results,
            Some(other) => return Err((Rule::M1, format!("failed, but was answered by {other:?}"))),
        };
        for (number, got) in results.iter().enumerate() {
            match got {
                OpResult::Error(e) if *e == wanted(number) => {}
                OpResult::Error(e) => {
                    let text = format!("part {number} must say {:?}, not {e:?}", wanted(number));
                    return Err((Rule::C2, text));
                }
                other => return Err((Rule::M1, format!("failed, but part {number} says {other:?}"))),
            }
        }
        Ok(())
    }

    fn may(&self, v: &Version, perm: i32) -> bool {
        rights::allowed(self.who.skip_acl, self.model.acl(v), perm, self.who.ids)
    }

    /// The reply to a read is what state `index` says.
    pub(super) fn read(&mut self, index: Index, request: &Request, reply: &Reply) -> Result<(), Fault> {
        let found = |path: &str| self.model.paths.find(path);
        let path = match request {
            Request::Exists { path, .. } if path.contains('\0') => {
                return must(Err(ErrorCode::BadArguments), reply);
            }
            Request::Exists { path, .. }
            | Request::GetData { path, .. }
            | Request::GetChildren { path, .. }
            | Request::GetChildren2 { path, .. }
            | Request::GetAcl { path }
            | Request::GetAllChildrenNumber { path } => path,
            Request::GetEphemerals { prefix } => return self.ephemerals(index, prefix.as_deref(), reply),
            Request::WhoAmI => return self.who_am_i(reply),
            Request::Sync { path } => return must(Ok(Response::Sync { path: path.clone() }), reply),
            Request::MultiRead(parts) => return self.multi_read(index, parts, reply),
            _ => return Ok(()),
        };
        if path == CONFIG && self.ensemble.is_some() {
            // Servers show there what they were started with; it is no part of what they replicate.
            return Ok(());
        }
        let Some((id, v)) = found(path).and_then(|id| Some((id, *self.model.node(id, index)?))) else {
            return must(Err(ErrorCode::NoNode), reply);
        };
        if let Request::GetAcl { .. } = request {
            return match rights::shown(self.who.skip_acl, self.model.acl(&v), self.who.ids) {
                None => must(Err(ErrorCode::NoAuth), reply),
                Some(acl) => {
                    must(Ok(Response::Acl { acl, stat: self.model.stat(&v, self.who.extended) }), reply)
                }
            };
        }
        if !self.may(&v, perms::READ) {
            return must(Err(ErrorCode::NoAuth), reply);
        }
        let stat = self.model.stat(&v, self.who.extended);
        let fine = match reply {
            Ok(Response::Stat(s)) => *s == stat,
            Ok(Response::Data { data, stat: s }) => *s == stat && self.same_data(&v, data),
            Ok(Response::Children(names)) => self.same_children(id, index, names, v.children),
            Ok(Response::Children2 { children, stat: s }) => {
                *s == stat && self.same_children(id, index, children, v.children)
            }
            Ok(Response::Count(n)) => *n == self.model.descendants(id, index) as i32,
            _ => false,
        };
        if fine {
            return Ok(());
        }
        let children = self.children_text(id, index);
        let data = self.model.data(&v, self.h).map(Bytes::copy_from_slice);
        Err((
            Rule::C2,
            format!("is {stat:?}, data {data:?}, children {children}, but was answered by {reply:?}"),
        ))
    }

    fn same_data(&self, v: &Version, got: &Option<Bytes>) -> bool {
        self.model.data(v, self.h) == got.as_deref()
    }

    fn same_children(&mut self, parent: PathId, index: Index, names: &[String], count: i32) -> bool {
        if names.len() != count as usize {
            return false;
        }
        self.model.paths.new_set();
        let mut path = self.model.paths.text(parent).trim_end_matches('/').to_owned();
        path.push('/');
        let prefix = path.len();
        names.iter().all(|name| {
            path.truncate(prefix);
            path.push_str(name);
            !name.contains('/')
                && self
                    .model
                    .paths
                    .find(&path)
                    .is_some_and(|id| self.model.paths.mark(id) && self.model.node(id, index).is_some())
        })
    }

    fn children_text(&self, parent: PathId, index: Index) -> String {
        let m = &self.model;
        let children = m.paths.ids().filter(|id| m.paths.parent(*id) == Some(parent));
        let alive: Vec<&str> =
            children.filter(|id| m.node(*id, index).is_some()).map(|id| m.paths.text(id)).collect();
        format!("{alive:?}")
    }

    fn ephemerals(&self, index: Index, prefix: Option<&str>, reply: &Reply) -> Result<(), Fault> {
        let prefix = prefix.filter(|p| !p.trim().is_empty() && *p != "/").unwrap_or_default();
        let m = &self.model;
        let mine = m.ephemerals(self.who.session, index).map(|id| m.paths.text(id));
        let mut wanted: Vec<&str> = mine.filter(|p| p.starts_with(prefix)).collect();
        wanted.sort_unstable();
        if let Ok(Response::Ephemerals(got)) = reply {
            let mut got: Vec<&str> = got.iter().map(String::as_str).collect();
            got.sort_unstable();
            if got == wanted {
                return Ok(());
            }
        }
        Err((Rule::C2, format!("the session owns {wanted:?}, but was answered by {reply:?}")))
    }

    fn who_am_i(&self, reply: &Reply) -> Result<(), Fault> {
        let key = |c: &ClientInfo| (c.scheme.clone(), c.user.clone());
        let mut wanted: Vec<(String, String)> =
            self.who.ids.iter().map(|id| (id.scheme.clone(), rights::user(id).to_owned())).collect();
        wanted.sort();
        if let Ok(Response::WhoAmI(got)) = reply {
            let mut got: Vec<(String, String)> = got.iter().map(key).collect();
            got.sort();
            if got == wanted {
                return Ok(());
            }
        }
        Err((Rule::C2, format!("is {wanted:?}, but was answered by {reply:?}")))
    }

    fn multi_read(&mut self, index: Index, parts: &[Request], reply: &Reply) -> Result<(), Fault> {
        let readable = |p: &Request| matches!(p, Request::GetData { .. } | Request::GetChildren { .. });
        if !parts.iter().all(readable) {
            return must(Err(ErrorCode::MarshallingError), reply);
        }
        let results = match reply {
            Ok(Response::Multi(results)) if results.len() == parts.len() => results,
            other => return Err((Rule::C2, format!("has {} parts, was answered by {other:?}", parts.len()))),
        };
        for (number, (part, result)) in parts.iter().zip(results).enumerate() {
            let single = match (part, result) {
                (Request::GetData { .. }, OpResult::GetData { data, stat }) => {
                    Ok(Response::Data { data: data.clone(), stat: *stat })
                }
                (Request::GetChildren { .. }, OpResult::GetChildren(c)) => Ok(Response::Children(c.clone())),
                (_, OpResult::Error(Some(code))) => Err(*code),
                _ => return Err((Rule::C2, format!("part {number} was answered by {result:?}"))),
            };
            let judged = self.read(index, part, &single);
            judged.map_err(|(rule, text)| (rule, format!("part {number} {text}")))?;
        }
        Ok(())
    }
}

fn is_plain(part: &Request) -> bool {
    matches!(demand::as_part(part).op(), zebu_core::proto::OpCode::Create)
}

fn wrong_txn(effect: &Effect<'_>, op: &Op<'_>) -> Fault {
    let rule = match (effect, op) {
        (Effect::Create { sequential: true, .. }, Op::Create { .. }) => Rule::N1,
        _ => Rule::C2,
    };
    (rule, format!("must do {effect:?}, but the log has {op:?}"))
}

fn shown(stat: Option<Stat>) -> String {
    stat.map_or_else(String::new, |s| format!(", which gives {s:?}"))
}

fn expect_error(code: ErrorCode, reply: Option<&Reply>) -> Result<(), Fault> {
    match reply {
        None => Ok(()),
        Some(reply) => must(Err(code), reply),
    }
}

fn must(wanted: Reply, got: &Reply) -> Result<(), Fault> {
    if wanted == *got {
        return Ok(());
    }
    Err((Rule::C2, format!("must be answered by {wanted:?}, not {got:?}")))
}

/// X1: the reply's record is of the kind that the request asks for.
pub(super) fn is_answer(request: &Request, response: &Response) -> bool {
    use zebu_core::proto::CreateOp;
    match (request, response) {
        (Request::Create(c), Response::Path(p)) => c.op == CreateOp::Create && p.starts_with(&c.path),
        (Request::Create(c), Response::PathStat { path, .. }) => {
            c.op != CreateOp::Create && path.starts_with(&c.path)
        }
        (Request::Exists { .. } | Request::SetData { .. } | Request::SetAcl { .. }, Response::Stat(_)) => {
            true
        }
        (Request::GetData { .. } | Request::Reconfig { .. }, Response::Data { .. }) => true,
        (Request::GetAcl { .. }, Response::Acl { .. }) => true,
        (Request::GetChildren { .. }, Response::Children(_)) => true,
        (Request::GetChildren2 { .. }, Response::Children2 { .. }) => true,
        (Request::Sync { path }, Response::Sync { path: p }) => path == p,
        (Request::Multi(parts) | Request::MultiRead(parts), Response::Multi(results)) => {
            parts.len() == results.len()
        }
        (Request::GetEphemerals { .. }, Response::Ephemerals(_)) => true,
        (Request::GetAllChildrenNumber { .. }, Response::Count(_)) => true,
        (Request::AddWatch { .. }, Response::AddWatch) => true,
        (Request::WhoAmI, Response::WhoAmI(_)) => true,
        (Request::Sasl { .. }, Response::Sasl { .. }) => true,
        (
            Request::Delete { .. }
            | Request::Ping
            | Request::Check { .. }
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::DeleteContainer { .. }
            | Request::Auth { .. }
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::CloseSession,
            Response::Empty,
        ) => true,
        _ => false,
    }
}
