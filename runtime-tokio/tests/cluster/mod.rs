//! An ensemble of processes for a test, with what the tests do to it.

use std::path::Path;
use std::time::Duration;
use zebu::bench::load::{Load, Written, quick};
use zebu::ensemble::{Ensemble, Plan};

/// For everything that must happen: a machine may be slow, and the test still right.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Ticks are short, so that limits are: syncLimit is a second, initLimit two.
pub(crate) const TICK_MS: u64 = 200;

/// Servers and their folder.
pub(crate) struct Cluster {
    pub(crate) ensemble: Ensemble,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Writes the files of one.
    pub(crate) fn plan(change: impl FnOnce(&mut Plan)) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = Plan { tick_ms: TICK_MS, ..Plan::new(3, dir.path()) };
        change(&mut plan);
        let ensemble = Ensemble::create(&plan, Path::new(env!("CARGO_BIN_EXE_zebu"))).unwrap();
        Cluster { ensemble, _dir: dir }
    }

    /// Waits until one leads and all that run serve; returns the leader's index.
    pub(crate) fn ready(&self) -> usize {
        let leader = self.ensemble.wait_for_leader(LIMIT).expect("a leader");
        assert!(self.ensemble.wait_for_all(LIMIT), "all serve");
        leader
    }

    /// Starts it again, and waits until all serve.
    pub(crate) fn restart(&mut self, i: usize) {
        self.ensemble.start_one(i).unwrap();
        self.ready();
    }

    /// Four sessions that write.
    pub(crate) fn load(&self) -> Load {
        Load::start(quick(&self.ensemble.connect_string()).unwrap(), 4, 400).unwrap()
    }

    /// Every server that runs has every acknowledged write.
    pub(crate) fn has_all(&self, written: &Written) {
        for member in self.ensemble.members.iter().filter(|m| m.pid().is_some()) {
            let missing = written.missing_at(member.client, LIMIT).unwrap();
            assert_eq!(missing, Vec::<String>::new(), "server {}", member.sid);
        }
    }
}

/// When a test fails, the servers' last words help.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for member in &self.ensemble.members {
            let log = std::fs::read_to_string(member.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- server {} ({:?}, {:?})\n{last}", member.sid, member.pid(), member.mode());
        }
    }
}
