//! Round trips, and files that mean no good.

use super::*;
use crate::proto::{CreateKind, CreateTxn, Txn, TxnHeader};
use proptest::prelude::*;
use std::io::Write as _;

/// Path, data, permissions of a node.
type Spec = (String, Option<Vec<u8>>, Option<i32>);

fn tree_of(nodes: &[Spec]) -> Tree {
    let mut tree = Tree::new(3);
    for (i, (path, data, perms)) in nodes.iter().enumerate() {
        let header = TxnHeader { session: SessionId(5), cxid: 0, zxid: Zxid(i as i64 + 1), time: i as i64 };
        let kind = CreateKind::Node { ephemeral: i % 3 == 0, create2: false };
        let acl = perms.map(|perms| Acl { perms, id: Id::anyone() }).into_iter().collect();
        let data = data.clone().map(Bytes::from);
        let txn = Txn::Create(CreateTxn { kind, path: path.clone(), data, acl, parent_cversion: -1 });
        tree.apply(&header, &txn, &mut Vec::new());
    }
    tree
}

/// Writes a snapshot in slices of about `slice` bytes.
fn write(tree: &mut Tree, sessions: &BTreeMap<SessionId, i32>, slice: usize, digest: bool) -> Vec<u8> {
    let image = tree.image_begin();
    let (mut file, mut out) = (Vec::new(), BytesMut::new());
    let mut writer = Writer::begin(sessions.iter().map(|(id, t)| (*id, *t)), &image, &mut out);
    while !tree.image_slice(slice, &mut out) {
        writer.add(&out);
        file.extend_from_slice(&out.split());
    }
    writer.end(image.zxid, digest.then_some(image.digest), &mut out);
    file.extend_from_slice(&out);
    assert_eq!(writer.len(), file.len() as u64);
    file
}

fn gz(plain: &[u8]) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    w.write_all(plain).unwrap();
    w.finish().unwrap()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for piece in plain.chunks(1000) {
        let block = snap::raw::Encoder::new().compress_vec(piece).unwrap();
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

fn same(a: &Tree, b: &Tree) -> bool {
    let all = |t: &Tree| -> Vec<_> {
        t.iter().map(|(p, n)| (p.to_owned(), n.data.clone(), n.stat, t.acl(n).to_vec())).collect()
    };
    a.digest() == b.digest() && all(a) == all(b)
}

fn nodes() -> impl Strategy<Value = Vec<Spec>> {
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    proptest::collection::vec(("(/[ab\u{e9}]){1,4}", data, proptest::option::of(1..32)), 0..40)
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_every_form(
        nodes in nodes(),
        sessions: BTreeMap<i64, i32>,
        slice in 1usize..4000,
        digest: bool,
    ) {
        let mut tree = tree_of(&nodes);
        let sessions = sessions.into_iter().map(|(id, t)| (SessionId(id), t)).collect();
        let file = write(&mut tree, &sessions, slice, digest);
        prop_assert_eq!(&file, &write(&mut tree, &sessions, 1 << 30, digest), "slices change nothing");
        for (form, bytes) in
            [(Form::Plain, file.clone()), (Form::Gz, gz(&file)), (Form::Snappy, snappy(&file))]
        {
            prop_assert!(looks_whole(&bytes, form));
            let got = load(&bytes, form, Zxid(77), 9).unwrap();
            prop_assert!(same(&got.tree, &tree));
            prop_assert_eq!(&got.sessions, &sessions);
            prop_assert_eq!(got.tree.last_zxid(), Zxid(77));
            prop_assert_eq!(got.digest, digest.then_some((tree.last_zxid(), tree.digest())));
        }
    }

    #[test]
    fn no_damage_is_taken_for_a_snapshot(nodes in nodes(), at: prop::sample::Index, bit in 0u8..8, cut: bool) {
        let mut tree = tree_of(&nodes);
        let whole = write(&mut tree, &BTreeMap::new(), 1 << 20, true);
        for (form, mut bytes) in [(Form::Plain, whole.clone()), (Form::Gz, gz(&whole)), (Form::Snappy, snappy(&whole))] {
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            // What decompression itself does not look at may differ; what comes out may not.
            if let Ok(got) = load(&bytes, form, Zxid(1), 0) {
                prop_assert!(same(&got.tree, &tree), "{form:?} at {at}");
                // The blocks behind the first seal may be cut off exactly: an older server's file.
                prop_assert!(form != Form::Plain || cut, "{form:?} at {at}");
            }
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes: Vec<u8>) {
        for form in [Form::Plain, Form::Gz, Form::Snappy] {
            let _ = load(&bytes, form, Zxid(1), 0);
        }
        let _ = load(&[b"ZKSN\0\0\0\x02", &[0xff; 8][..], &bytes].concat(), Form::Plain, Zxid(1), 0);
        let _ = load(&[b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &bytes[..]].concat(), Form::Snappy, Zxid(1), 0);
    }
}

#[test]
fn an_untouched_database_is_java_s_478_bytes() {
    let mut tree = Tree::new(0);
    let image = tree.image_begin();
    let mut out = BytesMut::new();
    let mut writer = Writer::begin([].into_iter(), &image, &mut out);
    assert!(tree.image_slice(1 << 20, &mut out));
    writer.end(Zxid(0), Some(0), &mut out);
    assert_eq!(out.len(), 478);
    assert_eq!(&out[..16], b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(out[0x19b..0x1a3], 0xb8a2_3b49_u64.to_be_bytes());
    assert_eq!(out[0x1bc..0x1c4], 0x95b9_3d59_u64.to_be_bytes());
    assert_eq!(out[0x1d1..0x1d9], 0xbde8_3f6d_u64.to_be_bytes());
}

#[test]
fn a_bomb_is_seen_early() {
    // 256 MB of zeros in a quarter of a megabyte: not a snapshot from the first bytes on, and never unpacked.
    let bomb = gz(&vec![0; 256 << 20]);
    assert_eq!(load(&bomb, Form::Gz, Zxid(0), 0).unwrap_err().cause, BadCause::Magic);
    let mut claim = snappy(b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0\x7f\xff\xff\xff");
    assert_eq!(load(&claim, Form::Snappy, Zxid(0), 0).unwrap_err().cause, BadCause::Short);
    // A block that claims 4 GB.
    claim.truncate(16);
    claim.extend([0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert_eq!(load(&claim, Form::Snappy, Zxid(0), 0).unwrap_err().cause, BadCause::Compression);
}
