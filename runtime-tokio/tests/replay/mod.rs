//! Steps a server through what another one was told, as `zebu-sim replay` does.

use bytes::Bytes;
use zebu_core::boundary::{Dir, Output};
use zebu_core::disk::{FileError, Files, recover};
use zebu_core::record::{Digest, File, Frame, Player};
use zebu_core::rng::Rng;

/// The files in a recording.
struct Recorded(Vec<File>);
impl Files for Recorded {
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        let of_dir = self.0.iter().filter(|f| f.dir == dir);
        Ok(of_dir.map(|f| (f.name.clone(), f.bytes.len() as u64)).collect())
    }
    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError> {
        let found = self.0.iter().find(|f| f.dir == dir && f.name == name);
        found.map(|f| f.bytes.clone()).ok_or(FileError::Missing)
    }
}

/// The outputs must be the recorded ones, and the end an ordered one.
pub(crate) fn replay(bytes: &[u8]) {
    let (header, mut player) = Player::new(bytes).unwrap();
    // As the program draws it.
    let tree_seed = Rng::new(header.seed).u64();
    let recovered = recover(&Recorded(header.files), &header.config, tree_seed).unwrap();
    let mut server = zebu_core::server::Server::new(header.config, recovered, header.seed, header.start);
    let (mut digest, mut out, mut hashes) = (Digest::default(), Vec::new(), 0);
    let mut stopped = false;
    while let Some(frame) = player.next_frame().unwrap() {
        match frame {
            Frame::Step { now, input } => {
                server.step(now, input, &mut out);
                out.iter().for_each(|o| digest.output(o));
                stopped |= out.iter().any(|o| matches!(o, Output::Stop(_)));
                out.clear();
            }
            Frame::Outputs { hash } => {
                assert_eq!(hash, digest.value());
                hashes += 1;
            }
        }
    }
    assert!(stopped && hashes > 0);
}
