//! The tree against what real servers write, against a plain copy of itself, and against its own repetition.

use super::*;
use bytes::BytesMut;

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
