//! What a write must do: given the state just before it, either an error, the first in the order of the reference
//! (client protocol, §4.3), or exactly one transaction.

use super::model::{Index, Model};
use super::paths::{self, PathId};
use super::rights::{self, ListId};
use super::txn::{Made, Op};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::Write as _;
use zebu_core::id::SessionId;
use zebu_core::proto::{
    Acl, CreateMode, CreateOp, CreateRequest, ErrorCode, Id, MAX_TTL, Owner, Request, perms,
};

/// Who asks, and how the server is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) session: SessionId,
    pub(super) ids: &'a [Id],
    pub(super) skip_acl: bool,
    pub(super) extended: bool,
}

/// What a write that passes its checks does.
#[derive(Debug)]
pub(super) enum Effect<'r> {
    Create {
        path: PathId,
        data: Option<&'r Bytes>,
        acl: Cow<'r, [Acl]>,
        made: Made,
        parent_cversion: i32,
        sequential: bool,
    },
    Delete {
        path: PathId,
    },
    SetData {
        path: PathId,
        data: Option<&'r Bytes>,
        version: i32,
    },
    SetAcl {
        path: PathId,
        acl: Cow<'r, [Acl]>,
        version: i32,
    },
    Check {
        path: PathId,
    },
    Close,
}

/// What the checks look at of a node.
#[derive(Clone, Copy, Debug)]
struct Node {
    version: i32,
    creates: i32,
    aversion: i32,
    children: i32,
    owner: i64,
    acl: ListId,
}

/// A state, and what earlier operations of the same multi would have changed in it.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) model: &'a mut Model,
    index: Index,
    over: Vec<(PathId, Option<Node>)>,
}

impl<'a> State<'a> {
    pub(super) fn new(model: &'a mut Model, index: Index) -> State<'a> {
        State { model, index, over: Vec::new() }
    }

    fn by_id(&self, path: PathId) -> Option<Node> {
        if let Some((_, node)) = self.over.iter().rev().find(|(p, _)| *p == path) {
            return *node;
        }
        self.model.node(path, self.index).map(|v| Node {
            version: v.version,
            creates: v.creates,
            aversion: v.aversion,
            children: v.children,
            owner: v.owner,
            acl: v.acl,
        })
    }

    fn get(&self, path: &str) -> Option<(PathId, Node)> {
        let id = self.model.paths.find(path)?;
        Some((id, self.by_id(id)?))
    }

    fn may(&self, who: &Asker<'_>, node: &Node, perm: i32) -> Result<(), ErrorCode> {
        let ok = rights::allowed(who.skip_acl, self.model.lists.get(node.acl), perm, who.ids);
        if ok { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn live(&self, who: &Asker<'_>) -> Result<(), ErrorCode> {
        let open = self.model.is_open(who.session, self.index);
        if open { Ok(()) } else { Err(ErrorCode::SessionExpired) }
    }

    /// What `request`, a write other than a multi, must do.
    pub(super) fn demand<'r>(
        &mut self,
        request: &'r Request,
        who: &Asker<'_>,
    ) -> Result<Effect<'r>, ErrorCode> {
        match request {
            Request::Create(c) => self.create(c, who),
            Request::Delete { path, version } => self.delete(path, *version, who),
            Request::SetData { path, data, version } => {
                self.live(who)?;
                valid(path)?;
                let (path, node) = self.get(path).ok_or(ErrorCode::NoNode)?;
                self.may(who, &node, perms::WRITE)?;
                same_version(*version, node.version)?;
                Ok(Effect::SetData { path, data: data.as_ref(), version: node.version.wrapping_add(1) })
            }
            Request::SetAcl { path, acl, version } => {
                self.live(who)?;
                valid(path)?;
                let acl = rights::fix_up(acl.as_deref(), who.ids)?;
                let (path, node) = self.get(path).ok_or(ErrorCode::NoNode)?;
                self.may(who, &node, perms::ADMIN)?;
                same_version(*version, node.aversion)?;
                Ok(Effect::SetAcl { path, acl, version: node.aversion.wrapping_add(1) })
            }
            Request::Check { path, version } => {
                self.live(who)?;
                valid(path)?;
                let (path, node) = self.get(path).ok_or(ErrorCode::NoNode)?;
                self.may(who, &node, perms::READ)?;
                same_version(*version, node.version)?;
                Ok(Effect::Check { path })
            }
            Request::CloseSession => self.live(who).map(|()| Effect::Close),
            other => panic!("{:?} is no write", other.op()),
        }
    }

    fn create<'r>(&mut self, c: &'r CreateRequest, who: &Asker<'_>) -> Result<Effect<'r>, ErrorCode> {
        let mode = CreateMode::from_int(c.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !who.extended {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl = match c.op {
            CreateOp::Ttl(ttl) => ttl,
            CreateOp::Create | CreateOp::Create2 | CreateOp::Container => -1,
        };
        let good_ttl = if mode.is_ttl() { (1..=MAX_TTL).contains(&ttl) } else { ttl < 0 };
        if !good_ttl {
            return Err(ErrorCode::BadArguments);
        }
        self.live(who)?;
        let at = c.path.rfind('/').filter(|_| !c.path.contains('\0')).ok_or(ErrorCode::BadArguments)?;
        let acl = rights::fix_up(c.acl.as_deref(), who.ids)?;
        let (_, parent) = self.get(&c.path[..at]).ok_or(ErrorCode::NoNode)?;
        self.may(who, &parent, perms::CREATE)?;
        let mut numbered = String::new();
        let path = if mode.is_sequential() {
            write!(numbered, "{}{:010}", c.path, parent.creates).expect("a String takes it");
            &numbered
        } else {
            &c.path
        };
        valid(path)?;
        if self.get(path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if let Owner::Session(_) = Owner::from_stored(parent.owner, who.extended) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let made = match c.op {
            CreateOp::Container => Made::Container,
            CreateOp::Ttl(ttl) => Made::Ttl(ttl),
            CreateOp::Create | CreateOp::Create2 if mode.is_ephemeral() => Made::Ephemeral,
            CreateOp::Create | CreateOp::Create2 => Made::Persistent,
        };
        let path = self.model.paths.intern(path);
        let parent_cversion = parent.creates.wrapping_add(1);
        let sequential = mode.is_sequential();
        Ok(Effect::Create { path, data: c.data.as_ref(), acl, made, parent_cversion, sequential })
    }

    fn delete<'r>(&mut self, path: &str, version: i32, who: &Asker<'_>) -> Result<Effect<'r>, ErrorCode> {
        self.live(who)?;
        let at = path.rfind('/').filter(|_| !path.contains('\0')).ok_or(ErrorCode::BadArguments)?;
        if matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config") {
            return Err(ErrorCode::BadArguments);
        }
        let (_, parent) = self.get(&path[..at]).ok_or(ErrorCode::NoNode)?;
        self.may(who, &parent, perms::DELETE)?;
        let (path, node) = self.get(path).ok_or(ErrorCode::NoNode)?;
        same_version(version, node.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        Ok(Effect::Delete { path })
    }

    /// Lets later operations of the same multi see this one.
    pub(super) fn add(&mut self, effect: &Effect<'_>, who: &Asker<'_>) {
        match effect {
            Effect::Create { path, acl, made, parent_cversion, .. } => {
                let mut raw = Vec::new();
                Acl::encode_list(acl, &mut raw);
                let owner = match made {
                    Made::Persistent => 0,
                    Made::Ephemeral => who.session.0,
                    Made::Container => Owner::Container.to_stored(),
                    Made::Ttl(ms) => Owner::Ttl(*ms).to_stored(),
                };
                let acl = self.model.lists.intern(&raw);
                let node = Node { version: 0, creates: 0, aversion: 0, children: 0, owner, acl };
                self.over.push((*path, Some(node)));
                self.touch_parent(*path, |p| {
                    p.creates = *parent_cversion;
                    p.children += 1;
                });
            }
            Effect::Delete { path } => {
                self.over.push((*path, None));
                self.touch_parent(*path, |p| p.children -= 1);
            }
            Effect::SetData { path, version, .. } => {
                if let Some(node) = self.by_id(*path) {
                    self.over.push((*path, Some(Node { version: *version, ..node })));
                }
            }
            Effect::SetAcl { .. } | Effect::Check { .. } | Effect::Close => {}
        }
    }

    fn touch_parent(&mut self, path: PathId, with: impl FnOnce(&mut Node)) {
        if let Some(parent) = self.model.paths.parent(path)
            && let Some(mut node) = self.by_id(parent)
        {
            with(&mut node);
            self.over.push((parent, Some(node)));
        }
    }
}

fn valid(path: &str) -> Result<(), ErrorCode> {
    if paths::is_valid(path) { Ok(()) } else { Err(ErrorCode::BadArguments) }
}

fn same_version(wanted: i32, is: i32) -> Result<(), ErrorCode> {
    if wanted == -1 || wanted == is { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// True if a multi's parts can be read at all; else the whole of it is a MarshallingError.
pub(super) fn parses(parts: &[Request]) -> bool {
    parts.iter().all(|p| match p {
        Request::Create(c) => matches!((c.flags, c.op), (0..=4, _) | (5 | 6, CreateOp::Ttl(_))),
        Request::Delete { .. } | Request::SetData { .. } | Request::Check { .. } => true,
        _ => false,
    })
}

/// The part of a multi as the server takes it: flag 4 makes a container of a create.
pub(super) fn as_part(part: &Request) -> Cow<'_, Request> {
    match part {
        Request::Create(c) if c.flags == 4 && matches!(c.op, CreateOp::Create | CreateOp::Create2) => {
            Cow::Owned(Request::Create(CreateRequest { op: CreateOp::Container, ..c.clone() }))
        }
        other => Cow::Borrowed(other),
    }
}

impl Effect<'_> {
    /// True if `op` is what it should be.
    pub(super) fn is(&self, op: &Op<'_>, model: &mut Model) -> bool {
        let same_path = |model: &Model, id: PathId, text: &str| model.paths.find(text) == Some(id);
        match (self, op) {
            (
                Effect::Create { path, data, acl, made, parent_cversion, .. },
                Op::Create { path: p, data: d, acl: a, made: m, parent_cversion: c },
            ) => {
                same_path(model, *path, p)
                    && data.map(|d| &d[..]) == *d
                    && made == m
                    && parent_cversion == c
                    && same_acl(acl, a, model)
            }
            (Effect::Delete { path }, Op::Delete { path: p, container: false }) => same_path(model, *path, p),
            (Effect::SetData { path, data, version }, Op::SetData { path: p, data: d, version: v }) => {
                same_path(model, *path, p) && data.map(|d| &d[..]) == *d && version == v
            }
            (Effect::SetAcl { path, acl, version }, Op::SetAcl { path: p, acl: a, version: v }) => {
                same_path(model, *path, p) && version == v && same_acl(acl, a, model)
            }
            (Effect::Check { path }, Op::Check { path: p }) => same_path(model, *path, p),
            (Effect::Close, Op::CloseSession { .. }) => true,
            _ => false,
        }
    }
}

fn same_acl(wanted: &[Acl], raw: &[u8], model: &mut Model) -> bool {
    let id = model.lists.intern(raw);
    rights::same(wanted, model.lists.get(id))
}
