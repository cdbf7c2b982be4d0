//! The tree against what a real server wrote, against a plain copy of itself, and against its own repetition.

use super::*;
use crate::id::Zxid;
use crate::jute::Reader;
use crate::proto::{CreateKind, CreateTxn, ErrorCode, Id, Txn, TxnHeader};
use bytes::BytesMut;
use proptest::prelude::*;

#[test]
fn an_untouched_database() {
    let mut tree = Tree::new(7);
    assert_eq!((tree.digest(), tree.node_count(), tree.approximate_data_size()), (1_371_985_504, 5, 44));
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]);
    let start = tree.image_begin();
    assert_eq!(start.acls, [(1, Arc::from([Acl::read_only()]))]);
    let mut out = BytesMut::new();
    assert!(tree.image_slice(1 << 20, &mut out));
    assert_eq!(out.len(), 0x196 - 0x3b);
    assert_eq!((tree.stat("/").unwrap().cversion, tree.stat("").unwrap().num_children), (-1, 1));
    assert_eq!((tree.descendants("/"), tree.descendants("/zookeeper")), (Some(3), Some(2)));
}

fn header(zxid: i64, session: i64) -> TxnHeader {
    TxnHeader { session: SessionId(session), cxid: 1, zxid: Zxid(zxid), time: 1_000_000 + zxid }
}

fn create(path: &str, kind: CreateKind, parent_cversion: i32) -> Txn {
    Txn::Create(CreateTxn {
        kind,
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"x")),
        acl: vec![Acl::open()],
        parent_cversion,
    })
}

const PLAIN: CreateKind = CreateKind::Node { ephemeral: false, create2: false };
const EPHEMERAL: CreateKind = CreateKind::Node { ephemeral: true, create2: false };

/// Applies one transaction that must succeed and returns what changed.
fn run(tree: &mut Tree, zxid: i64, session: i64, txn: &Txn) -> (Applied, Vec<Change>) {
    let mut changes = Vec::new();
    let applied = tree.apply(&header(zxid, session), txn, &mut changes);
    (applied, changes)
}

#[test]
fn stats_after_create_and_delete() {
    let mut tree = Tree::new(0);
    let (applied, changes) = run(&mut tree, 5, 9, &create("/a", PLAIN, 1));
    let Applied::Stat(stat) = applied else { panic!("{applied:?}") };
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid, stat.ctime), (Zxid(5), Zxid(5), Zxid(5), 1_000_005));
    assert!(matches!(&changes[..], [Change::Created { path, .. }] if &**path == "/a"));
    run(&mut tree, 6, 9, &create("/a/e", EPHEMERAL, 1));
    assert_eq!(tree.stat("/a/e").unwrap().ephemeral_owner, SessionId(9));
    assert_eq!(tree.ephemerals(SessionId(9)).collect::<Vec<_>>(), ["/a/e"]);
    run(&mut tree, 7, 9, &create("/a/c", CreateKind::Container, 2));
    run(&mut tree, 8, 9, &create("/a/t", CreateKind::Ttl(70), 3));
    assert_eq!(tree.containers_and_ttls().collect::<Vec<_>>(), ["/a/c", "/a/t"]);
    assert_eq!(tree.stat("/a/c").unwrap().ephemeral_owner, SessionId::NONE);
    assert_eq!(tree.get("/a/t").unwrap().owner(), Owner::Ttl(70));
    let (_, changes) = run(&mut tree, 9, 9, &Txn::CloseSession { paths: None });
    assert!(matches!(&changes[..], [Change::Deleted { path, .. }] if &**path == "/a/e"));
    let stat = tree.stat("/a").unwrap();
    assert_eq!((stat.cversion, stat.num_children, stat.pzxid), (4, 2, Zxid(9)));
    assert_eq!(tree.last_zxid(), Zxid(9));
    assert_eq!(tree.get("/a").unwrap().children.iter().collect::<Vec<_>>(), ["c", "t"]);
}

#[test]
fn a_failed_multi_changes_nothing_but_the_zxid() {
    let mut tree = Tree::new(0);
    let digest = tree.digest();
    let parts = vec![Txn::Error { err: 0 }, Txn::Error { err: -110 }, Txn::Error { err: -2 }];
    let (applied, changes) = run(&mut tree, 3, 1, &Txn::Multi(parts));
    assert_eq!(applied, Applied::Multi(vec![Applied::Failed(0), Applied::Failed(-110), Applied::Failed(-2)]));
    let parts = vec![create("/a", PLAIN, 1), Txn::Error { err: -101 }, create("/b", PLAIN, 1)];
    let (applied, _) = run(&mut tree, 4, 1, &Txn::Multi(parts));
    assert_eq!(applied, Applied::Multi(vec![Applied::Failed(0), Applied::Failed(-101), Applied::Failed(-2)]));
    assert_eq!((tree.digest(), tree.last_zxid(), changes), (digest, Zxid(4), vec![]));
}

#[test]
fn what_cannot_be_is_refused_without_harm() {
    let mut tree = Tree::new(0);
    let before = state(&tree);
    for txn in [
        create("/", PLAIN, 9),
        create("", PLAIN, 9),
        create("a", PLAIN, 9),
        create("/a/", PLAIN, 9),
        create("/no/b", PLAIN, 9),
        Txn::Delete { path: "/".to_owned() },
        Txn::Delete { path: String::new() },
        Txn::Delete { path: "/zookeeper".to_owned() },
        Txn::CloseSession { paths: Some(vec!["/zookeeper/config".to_owned(), "/no/a".to_owned()]) },
        Txn::SetData { path: "/no".to_owned(), data: None, version: 3 },
        Txn::SetAcl { path: "/no".to_owned(), acl: vec![], version: 3 },
    ] {
        let (applied, changes) = run(&mut tree, 0, 0, &txn);
        assert!(matches!(applied, Applied::Missing(_) | Applied::Nothing) && changes.is_empty(), "{txn:?}");
        assert_eq!(state(&tree), before, "{txn:?}");
    }
}

#[test]
fn the_sequence_counter_sticks_at_its_greatest_value() {
    let mut tree = Tree::new(0);
    run(&mut tree, 1, 1, &create("/a", PLAIN, i32::MAX));
    run(&mut tree, 2, 1, &create("/b", PLAIN, i32::MIN));
    let root = tree.get("/").unwrap().stat;
    assert_eq!((root.cversion, root.pzxid), (i32::MAX, Zxid(1)));
    run(&mut tree, 3, 1, &create("/c", PLAIN, -1));
    assert_eq!(tree.get("/").unwrap().stat.cversion, i32::MAX);
    assert_eq!(tree.stat("/").unwrap().cversion, i32::MAX.wrapping_mul(2).wrapping_sub(4));
}

#[test]
fn loading_refuses_orphans_and_replaces_the_built_in_nodes() {
    let stat = StatPersisted { aversion: 5, ..StatPersisted::default() };
    let mut tree = Tree::new(0);
    assert_eq!(tree.load_node("/a/b", None, -1, stat), Err(LoadError::NoParent));
    assert_eq!(tree.load_node("a", None, -1, stat), Err(LoadError::NoParent));
    assert_eq!(tree.load_node("/zookeeper/", None, -1, stat), Err(LoadError::NoName));
    // The file's key 1 is another list than the one that the built-in /zookeeper/config has.
    let digest_acl = vec![Acl { perms: 1, id: Id::new("digest", "u:x") }];
    tree.load_acl(1, digest_acl.clone());
    tree.load_acl(9, vec![Acl::read_only()]);
    tree.load_acl(4, digest_acl.clone());
    tree.load_acl(i64::MAX, vec![]);
    for (path, acl) in [("", 1), ("/zookeeper", 4), ("/zookeeper/config", 9), ("/zookeeper/quota", -1)] {
        tree.load_node(path, None, acl, stat).unwrap();
    }
    tree.load_done();
    assert_eq!(tree.image_begin().acls.len(), 2);
    tree.image_drop();
    assert_eq!(tree.acl(tree.get("/").unwrap())[..], digest_acl[..]);
    assert_eq!(tree.acl(tree.get("/zookeeper").unwrap())[..], digest_acl[..]);
    assert_eq!((tree.node_count(), tree.unknown_acls()), (5, 0));
    assert_eq!(tree.get("/zookeeper").unwrap().children.len(), 2);
    // Keys go on where the file stopped, and start again after the last one.
    run(&mut tree, 1, 1, &create("/a", PLAIN, 1));
    assert_eq!(recomputed(&tree), (tree.digest(), tree.approximate_data_size()));
}

/// Everything about a tree, in its order; ACLs by content.
type State =
    (Vec<(String, Option<Bytes>, StatPersisted, Vec<Acl>)>, Vec<(SessionId, Vec<String>)>, Vec<String>);
fn state(tree: &Tree) -> State {
    let nodes = tree.iter().map(|(p, n)| (p.to_owned(), n.data.clone(), n.stat, tree.acl(n).to_vec()));
    let ephemerals = tree.sessions_with_ephemerals().map(|(s, count)| {
        let paths: Vec<String> = tree.ephemerals(s).map(str::to_owned).collect();
        assert_eq!(paths.len(), count);
        (s, paths)
    });
    (nodes.collect(), ephemerals.collect(), tree.containers_and_ttls().map(str::to_owned).collect())
}

fn recomputed(tree: &Tree) -> (u64, u64) {
    tree.iter().fold((0, 1), |(digest, size), (path, node)| {
        (
            digest.wrapping_add(node_digest(path, node.data.as_deref(), &node.stat)),
            size + path.encode_utf16().count() as u64 + node.data.as_ref().map_or(0, Bytes::len) as u64,
        )
    })
}

/// A wish of a client; [`lead`] makes a transaction of it that fits the tree.
#[derive(Clone, Debug)]
enum Wish {
    Create { path: String, kind: u8, acl: u8 },
    Delete { path: String },
    SetData { path: String, len: Option<usize> },
    SetAcl { path: String, acl: u8 },
    Close,
    Multi(Vec<Wish>),
}

fn wish() -> impl Strategy<Value = (i64, Wish)> {
    // Names around '/' in the alphabet, so that the walk's order is not that of the whole strings.
    let name = prop::sample::select(vec!["a", "a-", "é"]);
    let path = prop::collection::vec(name, 1..4)
        .prop_map(|names| names.iter().fold(String::new(), |p, n| p + "/" + n));
    let leaf = prop_oneof![
        5 => (path.clone(), 0u8..6, 0u8..4).prop_map(|(path, kind, acl)| Wish::Create { path, kind, acl }),
        3 => path.clone().prop_map(|path| Wish::Delete { path }),
        3 => (path.clone(), prop::option::of(0usize..90)).prop_map(|(path, len)| Wish::SetData { path, len }),
        1 => (path, 0u8..4).prop_map(|(path, acl)| Wish::SetAcl { path, acl }),
        1 => Just(Wish::Close),
    ];
    let multi = prop::collection::vec(leaf.clone(), 0..4).prop_map(Wish::Multi);
    (1i64..4, prop_oneof![6 => leaf, 1 => multi])
}

fn an_acl(n: u8) -> Vec<Acl> {
    vec![Acl { perms: 31, id: Id::new("digest", ["u:1", "u:2", "u:3", "u:4"][n as usize]) }]
}

/// What a leader makes of a wish: a transaction that fits, or an error.
fn lead(tree: &Tree, session: i64, wish: &Wish) -> Txn {
    let missing = Txn::Error { err: ErrorCode::NoNode.code() };
    match wish {
        Wish::Create { path, kind, acl } => {
            let Some(parent) = tree.get(path::parent(path).unwrap()) else { return missing };
            if matches!(parent.owner(), Owner::Session(_)) || tree.get(path).is_some() {
                return missing;
            }
            let kind = match kind {
                0 | 1 => PLAIN,
                2 | 3 => EPHEMERAL,
                4 => CreateKind::Container,
                _ => CreateKind::Ttl(99),
            };
            let data = Some(Bytes::from(format!("{path} of {session}")));
            let (path, acl, parent_cversion) = (path.clone(), an_acl(*acl), parent.stat.cversion + 1);
            Txn::Create(CreateTxn { kind, path, data, acl, parent_cversion })
        }
        Wish::Delete { path } => match tree.get(path) {
            Some(n) if n.children.is_empty() && !path::special(path) => Txn::Delete { path: path.clone() },
            _ => missing,
        },
        Wish::SetData { path, len } => match tree.get(path) {
            Some(n) => {
                let data = len.map(|n| Bytes::from(vec![n as u8; n]));
                Txn::SetData { path: path.clone(), data, version: n.stat.version + 1 }
            }
            None => missing,
        },
        Wish::SetAcl { path, acl } => match tree.get(path) {
            Some(n) => Txn::SetAcl { path: path.clone(), acl: an_acl(*acl), version: n.stat.aversion + 1 },
            None => missing,
        },
        Wish::Close => Txn::CloseSession {
            paths: Some(tree.ephemerals(SessionId(session)).map(str::to_owned).collect()),
        },
        Wish::Multi(wishes) => {
            let mut ahead = tree.clone();
            let lead_one = |w: &Wish| {
                let txn = match w {
                    Wish::Close => Txn::Check { path: "/".to_owned(), version: 1 },
                    _ => lead(&ahead, session, w),
                };
                ahead.apply(&header(ahead.last_zxid.0 + 1, session), &txn, &mut Vec::new());
                txn
            };
            Txn::Multi(wishes.iter().map(lead_one).collect())
        }
    }
}

/// A wish taken at its word, whatever the tree looks like: what a broken log or leader may send.
fn blind(session: i64, wish: &Wish) -> Txn {
    match wish.clone() {
        Wish::Create { path, kind, acl } => {
            let kind = [PLAIN, EPHEMERAL, CreateKind::Container, CreateKind::Ttl(session)][kind as usize % 4];
            let parent_cversion = i32::from(acl) - 1;
            Txn::Create(CreateTxn { kind, path, data: None, acl: an_acl(acl), parent_cversion })
        }
        Wish::Delete { path } => Txn::Delete { path },
        Wish::SetData { path, len } => {
            Txn::SetData { path, data: len.map(|n| Bytes::from(vec![1; n])), version: session as i32 }
        }
        Wish::SetAcl { path, acl } => Txn::SetAcl { path, acl: an_acl(acl), version: i32::MIN },
        Wish::Close => Txn::CloseSession { paths: None },
        Wish::Multi(wishes) => Txn::Multi(wishes.iter().map(|w| blind(session, w)).collect()),
    }
}

/// Sums, indices and use counts are those of the nodes.
fn assert_sound(tree: &Tree) {
    assert_eq!(recomputed(tree), (tree.digest(), tree.approximate_data_size()));
    assert_eq!(tree.iter().count(), tree.node_count() - 1);
    let owned = |tree: &Tree, wanted: fn(Owner) -> bool| {
        tree.iter().filter(|(_, n)| wanted(n.owner())).map(|(p, _)| p.to_owned()).collect::<BTreeSet<_>>()
    };
    let reaped = tree.containers_and_ttls().map(str::to_owned).collect();
    assert_eq!(owned(tree, |o| matches!(o, Owner::Container | Owner::Ttl(_))), reaped);
    let ephemerals = state(tree).1.into_iter().flat_map(|(_, paths)| paths).collect();
    assert_eq!(owned(tree, |o| matches!(o, Owner::Session(_))), ephemerals);
    let keys: BTreeSet<i64> = tree.iter().map(|(_, n)| tree.acls.key(n.acl)).filter(|k| *k != -1).collect();
    assert_eq!(tree.acls.table().into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), keys);
}

/// Leads and applies one wish; the transaction is returned for a replay.
fn step(tree: &mut Tree, (session, wish): &(i64, Wish)) -> (TxnHeader, Txn) {
    let txn = lead(tree, *session, wish);
    let header = header(tree.last_zxid().0 + 1, *session);
    let mut changes = Vec::new();
    let applied = tree.apply(&header, &txn, &mut changes);
    assert!(!matches!(applied, Applied::Missing(_)), "{txn:?} fits");
    assert!(!txn.is_failed() || changes.is_empty());
    assert_sound(tree);
    (header, txn)
}

fn replay(tree: &mut Tree, log: &[(TxnHeader, Txn)]) {
    for (header, txn) in log {
        tree.apply(header, txn, &mut Vec::new());
    }
}

/// Nodes as image and snapshot hold them, with their ACLs looked up in `acls`.
fn parse(
    mut bytes: &[u8],
    acls: &[(i64, Arc<[Acl]>)],
) -> Vec<(String, Option<Bytes>, StatPersisted, Vec<Acl>)> {
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        let mut r = Reader::new(bytes);
        let (path, data, key) = (r.string().unwrap(), r.buffer().unwrap(), r.long().unwrap());
        let stat = StatPersisted::decode(&mut r).unwrap();
        bytes = r.rest();
        let acl = match acls.iter().find(|(k, _)| *k == key) {
            Some((_, acl)) => acl.to_vec(),
            None => {
                assert_eq!(key, -1, "a key that is not in the table");
                vec![Acl::open()]
            }
        };
        nodes.push((path, data, stat, acl));
    }
    nodes
}

proptest! {
    /// Transactions that no leader would make do no harm, also to an image under way.
    #[test]
    fn nothing_that_is_applied_breaks_the_tree(wishes in prop::collection::vec((wish(), 0i64..90, any::<bool>()), 1..90)) {
        let mut tree = Tree::new(1);
        let mut image: Option<(ImageStart, BytesMut, State)> = None;
        for ((session, wish), zxid, slice) in &wishes {
            let (start, mut out, begin) = image.take().unwrap_or_else(|| {
                let begin = state(&tree);
                (tree.image_begin(), BytesMut::new(), begin)
            });
            if *slice && tree.image_slice(150, &mut out) {
                prop_assert_eq!(parse(&out, &start.acls), begin.0);
            } else {
                image = Some((start, out, begin));
            }
            tree.apply(&header(*zxid, *session), &blind(*session, wish), &mut Vec::new());
            assert_sound(&tree);
        }
    }

    /// A second run of the log's end changes nothing.
    #[test]
    fn replay_is_idempotent(wishes in prop::collection::vec(wish(), 1..120), from: prop::sample::Index) {
        let mut tree = Tree::new(1);
        let log: Vec<_> = wishes.iter().map(|w| step(&mut tree, w)).collect();
        let (once, digest) = (state(&tree), tree.digest());
        replay(&mut tree, &log[from.index(log.len())..]);
        prop_assert_eq!(state(&tree), once);
        prop_assert_eq!(tree.digest(), digest);
        assert_sound(&tree);
    }

    /// Java's snapshot, whose nodes are copied one by one while transactions go on, and the log from its start on.
    #[test]
    fn a_fuzzy_snapshot_and_the_log_give_the_tree(
        before in prop::collection::vec(wish(), 0..40),
        during in prop::collection::vec((0usize..3, wish()), 0..80),
    ) {
        let mut tree = Tree::new(1);
        before.iter().for_each(|w| drop(step(&mut tree, w)));
        let mut loaded = Tree::new(2);
        for (key, acl) in tree.acls.table() {
            loaded.load_acl(key, acl.to_vec());
        }
        loaded.set_last_zxid(tree.last_zxid());
        let mut walk = |tree: &Tree, visits: usize, stack: &mut Vec<Arc<str>>| for _ in 0..visits {
            let Some(path) = stack.pop() else { break };
            if let Some(node) = tree.get(&path) {
                loaded.load_node(&path, node.data.clone(), tree.acls.key(node.acl), node.stat).unwrap();
                stack.extend(node.children.after(None).cloned());
            }
        };
        let mut stack = vec![Arc::from("")];
        let mut log = Vec::new();
        for (visits, wish) in &during {
            walk(&tree, *visits, &mut stack);
            log.push(step(&mut tree, wish));
        }
        walk(&tree, usize::MAX, &mut stack);
        loaded.load_done();
        replay(&mut loaded, &log);
        prop_assert_eq!(state(&loaded), state(&tree));
        prop_assert_eq!((loaded.digest(), loaded.last_zxid()), (tree.digest(), tree.last_zxid()));
        prop_assert_eq!(loaded.unknown_acls(), 0);
        assert_sound(&loaded);
    }

    /// The image is the tree at its beginning, in the walk's order, whatever happens between slices; and it loads.
    #[test]
    fn an_image_is_of_one_moment(
        before in prop::collection::vec(wish(), 0..60),
        during in prop::collection::vec((prop::option::of(1usize..400), wish()), 0..90),
    ) {
        let mut tree = Tree::new(1);
        before.iter().for_each(|w| drop(step(&mut tree, w)));
        let begin = state(&tree);
        let start = tree.image_begin();
        let (mut out, mut finished) = (BytesMut::new(), false);
        for (slice, wish) in &during {
            if let Some(max) = slice.filter(|_| !finished) {
                let had = out.len();
                finished = tree.image_slice(max, &mut out);
                prop_assert!(out.len() - had < max + 256);
            }
            step(&mut tree, wish);
        }
        while !finished {
            finished = tree.image_slice(100, &mut out);
        }
        prop_assert!(tree.image.is_none());
        let nodes = parse(&out, &start.acls);
        prop_assert_eq!(&nodes, &begin.0);
        let mut loaded = Tree::new(3);
        start.acls.iter().for_each(|(key, acl)| loaded.load_acl(*key, acl.to_vec()));
        for (path, data, stat, acl) in nodes {
            let key = start.acls.iter().find(|e| e.1[..] == acl[..]).map_or(-1, |e| e.0);
            loaded.load_node(&path, data, key, stat).unwrap();
        }
        loaded.load_done();
        prop_assert_eq!(state(&loaded), begin);
        prop_assert_eq!(loaded.digest(), start.digest);
        assert_sound(&loaded);
    }
}
