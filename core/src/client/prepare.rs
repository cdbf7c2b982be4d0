//! What happens to a request before it is sent and to a result before it is handed out: the checks that a client makes itself,
//! and the chroot, put in front and taken off. Answers to the upper half of `ZooKeeper`'s methods.

use crate::path;
use crate::proto::{CreateMode, CreateOp, CreateRequest, ErrorCode, MAX_TTL, OpResult, Request, Response};

/// Where the application's root is in the server's tree.
#[derive(Debug)]
pub(super) struct Chroot(pub(super) Option<String>);

impl Chroot {
    /// The server's path of an application's.
    pub(super) fn add(&self, path: &str) -> String {
        match &self.0 {
            None => path.to_owned(),
            Some(root) if path == "/" => root.clone(),
            Some(root) => format!("{root}{path}"),
        }
    }

    /// The application's path of a server's; one outside of the chroot stays as it is.
    pub(super) fn strip(&self, path: String) -> String {
        match self.below(&path) {
            None => path,
            Some("") => "/".to_owned(),
            Some(rest) => rest.to_owned(),
        }
    }

    /// What follows the chroot in a path within it.
    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.0.as_deref()?)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Takes the chroot off the paths in a result.
    pub(super) fn strip_response(&self, response: Response) -> Response {
        if self.0.is_none() {
            return response;
        }
        match response {
            Response::Path(path) => Response::Path(self.strip(path)),
            Response::PathStat { path, stat } => Response::PathStat { path: self.strip(path), stat },
            Response::Sync { path } => Response::Sync { path: path.map(|p| self.strip(p)) },
            Response::Multi(results) => {
                Response::Multi(results.into_iter().map(|r| self.strip_result(r)).collect())
            }
            Response::Ephemerals(paths) => {
                // The prefix was text, not a path: /app finds /apple too.
                let ours = paths.into_iter().filter(|p| self.below(p).is_some());
                Response::Ephemerals(ours.map(|p| self.strip(p)).collect())
            }
            Response::Empty
            | Response::Stat(_)
            | Response::Data { .. }
            | Response::Acl { .. }
            | Response::Children(_)
            | Response::Children2 { .. }
            | Response::Count(_)
            | Response::AddWatch
            | Response::WhoAmI(_)
            | Response::Sasl { .. } => response,
        }
    }

    fn strip_result(&self, result: OpResult) -> OpResult {
        match result {
            OpResult::Create(path) => OpResult::Create(self.strip(path)),
            OpResult::Create2 { path, stat } => OpResult::Create2 { path: self.strip(path), stat },
            OpResult::Delete
            | OpResult::SetData(_)
            | OpResult::Check
            | OpResult::GetData { .. }
            | OpResult::GetChildren(_)
            | OpResult::Error(_) => result,
        }
    }
}

/// Checks an application's request and puts the chroot in front of its paths. What is refused here never leaves the client.
pub(super) fn prepare(chroot: &Chroot, mut request: Request) -> Result<Request, ErrorCode> {
    match &mut request {
        Request::Create(create) => {
            if create.acl.as_ref().is_none_or(Vec::is_empty) {
                return Err(ErrorCode::InvalidAcl);
            }
            check_create(create)?;
            create.path = chroot.add(&create.path);
        }
        Request::SetAcl { path, acl, .. } => {
            check(path)?;
            if acl.as_ref().is_none_or(Vec::is_empty) {
                return Err(ErrorCode::InvalidAcl);
            }
            *path = chroot.add(path);
        }
        Request::Delete { path, .. } => *path = full_to_delete(chroot, path)?,
        Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::SetData { path, .. }
        | Request::GetAcl { path }
        | Request::GetChildren { path, .. }
        | Request::GetChildren2 { path, .. }
        | Request::Sync { path: Some(path) }
        | Request::CheckWatches { path, .. }
        | Request::RemoveWatches { path, .. }
        | Request::GetAllChildrenNumber { path }
        | Request::AddWatch { path: Some(path), .. } => *path = full(chroot, path)?,
        Request::Sync { path: None } | Request::AddWatch { path: None, .. } => {
            return Err(ErrorCode::BadArguments);
        }
        Request::GetEphemerals { prefix } => {
            if let Some(root) = &chroot.0 {
                let prefix = prefix.get_or_insert_default();
                prefix.insert_str(0, root);
            }
        }
        Request::Multi(ops) => ops.iter_mut().try_for_each(|op| prepare_op(chroot, op))?,
        Request::MultiRead(ops) => ops.iter_mut().try_for_each(|op| prepare_read(chroot, op))?,
        Request::Reconfig { .. } | Request::WhoAmI | Request::Auth { .. } => {}
        // The client's own, or the server's.
        Request::Ping
        | Request::Check { .. }
        | Request::DeleteContainer { .. }
        | Request::SetWatches(_)
        | Request::SetWatches2(_)
        | Request::Sasl { .. }
        | Request::CloseSession => return Err(ErrorCode::Unimplemented),
    }
    Ok(request)
}

/// An operation of a multi. Its ACL is the server's to refuse, so that the result says which operation it was.
fn prepare_op(chroot: &Chroot, op: &mut Request) -> Result<(), ErrorCode> {
    if let Request::Create(create) = op {
        check_create(create)?;
        create.path = chroot.add(&create.path);
    } else if let Request::Delete { path, .. } = op {
        *path = full_to_delete(chroot, path)?;
    } else if let Request::SetData { path, .. } | Request::Check { path, .. } = op {
        *path = full(chroot, path)?;
    } else {
        return Err(ErrorCode::BadArguments);
    }
    Ok(())
}

fn prepare_read(chroot: &Chroot, op: &mut Request) -> Result<(), ErrorCode> {
    let (Request::GetData { path, .. } | Request::GetChildren { path, .. }) = op else {
        return Err(ErrorCode::BadArguments);
    };
    *path = full(chroot, path)?;
    Ok(())
}

fn check(path: &str) -> Result<(), ErrorCode> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)
}

fn full(chroot: &Chroot, path: &str) -> Result<String, ErrorCode> {
    check(path)?;
    Ok(chroot.add(path))
}

/// No one deletes the root, nor the chroot by that name.
fn full_to_delete(chroot: &Chroot, path: &str) -> Result<String, ErrorCode> {
    check(path)?;
    Ok(if path == "/" { path.to_owned() } else { chroot.add(path) })
}

fn check_create(create: &CreateRequest) -> Result<(), ErrorCode> {
    let mode = CreateMode::from_int(create.flags).ok_or(ErrorCode::BadArguments)?;
    // A sequential node may be all number: /a/ becomes /a/0000000000.
    if mode.is_sequential() {
        check(&format!("{}1", create.path))?;
    } else {
        check(&create.path)?;
    }
    match create.op {
        CreateOp::Ttl(ttl) if mode.is_ttl() && (1..=MAX_TTL).contains(&ttl) => Ok(()),
        CreateOp::Create | CreateOp::Create2 | CreateOp::Container if !mode.is_ttl() => Ok(()),
        CreateOp::Ttl(_) | CreateOp::Create | CreateOp::Create2 | CreateOp::Container => {
            Err(ErrorCode::BadArguments)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Acl, Stat};

    fn app() -> Chroot {
        Chroot(Some("/app".to_owned()))
    }
    fn create(path: &str, flags: i32, op: CreateOp, acl: Option<Vec<Acl>>) -> Request {
        Request::Create(CreateRequest { op, path: path.to_owned(), data: None, acl, flags })
    }

    #[test]
    fn the_chroot_comes_and_goes() {
        let c = app();
        assert_eq!((c.add("/"), c.add("/x")), ("/app".to_owned(), "/app/x".to_owned()));
        for (server, ours) in [
            ("/app", "/"),
            ("/app/x", "/x"),
            ("/apple", "/apple"),
            ("/zookeeper/config", "/zookeeper/config"),
        ] {
            assert_eq!(c.strip(server.to_owned()), ours);
            assert_eq!(Chroot(None).strip(server.to_owned()), server);
        }
        let delete = |path: &str| Request::Delete { path: path.to_owned(), version: -1 };
        assert_eq!(prepare(&c, delete("/")), Ok(delete("/")), "never the chroot itself");
        assert_eq!(prepare(&c, delete("/a")), Ok(delete("/app/a")));
        assert_eq!(
            prepare(&c, Request::Multi(vec![delete("/a"), create("/b", 0, CreateOp::Create, None)])),
            Ok(Request::Multi(vec![delete("/app/a"), create("/app/b", 0, CreateOp::Create, None)]))
        );
        let stat = Stat::default();
        assert_eq!(
            c.strip_response(Response::Multi(vec![
                OpResult::Create2 { path: "/app/b".to_owned(), stat },
                OpResult::Delete
            ])),
            Response::Multi(vec![OpResult::Create2 { path: "/b".to_owned(), stat }, OpResult::Delete])
        );
        assert_eq!(
            c.strip_response(Response::Ephemerals(vec!["/app/e".to_owned(), "/apple".to_owned()])),
            Response::Ephemerals(vec!["/e".to_owned()])
        );
    }

    #[test]
    fn refusals() {
        let open = || Some(vec![Acl::open()]);
        let refused = |request: Request| prepare(&Chroot(None), request).err();
        let read = |path: &str| Request::GetData { path: path.to_owned(), watch: false };
        assert_eq!(refused(read("a")), Some(ErrorCode::BadArguments));
        assert_eq!(refused(create("/a/", 0, CreateOp::Create, open())), Some(ErrorCode::BadArguments));
        assert_eq!(refused(create("/a/", 2, CreateOp::Create, open())), None);
        assert_eq!(refused(create("/a", 0, CreateOp::Create, None)), Some(ErrorCode::InvalidAcl));
        assert_eq!(refused(create("/a", 0, CreateOp::Create, Some(vec![]))), Some(ErrorCode::InvalidAcl));
        assert_eq!(refused(create("/a", 9, CreateOp::Create, open())), Some(ErrorCode::BadArguments));
        assert_eq!(refused(create("/a", 5, CreateOp::Create, open())), Some(ErrorCode::BadArguments));
        assert_eq!(refused(create("/a", 5, CreateOp::Ttl(0), open())), Some(ErrorCode::BadArguments));
        assert_eq!(refused(create("/a", 5, CreateOp::Ttl(1), open())), None);
        assert_eq!(refused(Request::Sync { path: None }), Some(ErrorCode::BadArguments));
        assert_eq!(refused(Request::Ping), Some(ErrorCode::Unimplemented));
        assert_eq!(refused(Request::Multi(vec![read("/a")])), Some(ErrorCode::BadArguments));
        assert_eq!(refused(Request::MultiRead(vec![read("/a")])), None);
    }
}
