//! Stories of an ensemble: a text of commands, each block with the log that it brings about below it.
//!
//! ```text
//! # What the story is about.
//!
//! ensemble 3
//! start
//! run 1000
//! ----
//! 1 starts: log ends at 0|0, accepted epoch -, current epoch -
//! ```
//!
//! A block is commands, `----`, log, and a blank line. What the servers say to each other is delivered at once, and disks
//! are as quick, but where the story holds them:
//!
//! - `ensemble N [observers N] [window N] [counter N] [snap N] [factor N] [force snapshot] [masters followers] [leader aside]`:
//!   commitLogCount, the last counter of an epoch, snapCount, snapshotSizeFactor in thousandths, forceSnapshotSync, observers
//!   learn from followers, leaderServes=no
//! - `start [N…]`, `kill N…` (the page cache stays), `power N…` (what was not synced is lost), `stop N` (in order), `wipe N`,
//!   `join N` (a server that no configuration knows yet)
//! - `run [ms]`: time passes; `log none|all`: write less of what happens
//! - `hold A>B`: what leader and learner say on this way waits; `deliver A>B [WORD] [N]`: up to the Nth packet that begins
//!   so; `release A>B`; `lose A>B`: what waits never arrives; `cut A B`: their connections
//!   break, and none comes through; `silence A B`: what they say is lost, and nobody is told; `heal`
//! - `hold disk N`: its syncs wait; `sync disk N [count]`: lets some through; `release disk N`
//! - `client NAME at N [as NAME]`: connects, with the session of its former self or of another one; `gone NAME`
//! - `NAME create /p [data|ephemeral]`, `set`, `get`, `ls`, `delete`, `sync`, `close`, `admit N`, `dismiss N` (reconfig)
//! - `status`: what everyone is and has, in memory and on disk
//!
//! Packets are written as they arrive. A zxid is epoch|counter, both decimal. Pings and votes are left out.

mod clients;
mod cluster;
mod words;

use clients::Clients;
use cluster::{Cluster, Shape};
use std::fmt::Write;

/// In the log of a `status`, if servers have other trees after the same transaction.
pub const TREES_DIFFER: &str = "TREES DIFFER";
/// Below the commands of a block.
const RULE: &str = "----";

/// Runs a story; its text again, with the logs as they are.
pub fn run(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut story = Story::default();
    let mut block = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        out += line;
        out.push('\n');
        if line == RULE {
            let log = story.block(&block)?;
            block.clear();
            out += &log.join("\n");
            out += "\n";
            // What it was.
            let old = lines.by_ref().take_while(|(_, l)| !l.is_empty()).count();
            if old > 0 || lines.clone().next().is_some() {
                out += "\n";
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            block.push((at + 1, line));
        }
    }
    if !block.is_empty() {
        return Err(format!("the last block has no {RULE}"));
    }
    Ok(out.trim_end().to_owned() + "\n")
}

#[derive(Debug, Default)]
struct Story {
    cluster: Option<Cluster>,
    clients: Clients,
}

impl Story {
    /// Carries out a block; its log.
    fn block(&mut self, lines: &[(usize, &str)]) -> Result<Vec<String>, String> {
        for (at, line) in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            self.command(&words).map_err(|why| format!("line {at}: {line}: {why}"))?;
        }
        let log = self.cluster.as_mut().map(|c| std::mem::take(&mut c.log)).unwrap_or_default();
        Ok(if log.is_empty() { vec!["ok".to_owned()] } else { log })
    }

    fn command(&mut self, words: &[&str]) -> Result<(), String> {
        if let ["ensemble", rest @ ..] = words {
            self.cluster = Some(Cluster::new(shape(rest)?)?);
            return Ok(());
        }
        let cluster = self.cluster.as_mut().ok_or("there is no ensemble yet")?;
        match *words {
            ["start"] => (0..cluster.count()).try_for_each(|s| cluster.start(s))?,
            ["start", ref all @ ..] => each(cluster, all)?.into_iter().try_for_each(|s| cluster.start(s))?,
            ["kill", ref all @ ..] => each(cluster, all)?.into_iter().for_each(|s| cluster.kill(s, false)),
            ["power", ref all @ ..] => each(cluster, all)?.into_iter().for_each(|s| cluster.kill(s, true)),
            ["wipe", s] => cluster.wipe(cluster.index(s)?),
            ["stop", s] => cluster.shut_down(cluster.index(s)?),
            ["join", s] => {
                let sid = number(s)?;
                if sid != cluster.count() + 1 {
                    return Err("the next number is free".to_owned());
                }
                cluster.add(sid, &cluster.members(Some(sid)))?;
                cluster.start(sid - 1)?;
            }
            ["run"] => {}
            ["run", ms] => {
                cluster.pass(number(ms)? as u64);
            }
            ["log", "all"] => cluster.loud = true,
            ["log", "none"] => cluster.loud = false,
            ["hold", "disk", s] => cluster.hold_disk(cluster.index(s)?, true),
            ["release", "disk", s] => cluster.hold_disk(cluster.index(s)?, false),
            ["sync", "disk", s] => cluster.sync_disk(cluster.index(s)?, 1)?,
            ["sync", "disk", s, n] => cluster.sync_disk(cluster.index(s)?, number(n)?)?,
            ["hold", w] => cluster.hold(way(cluster, w)?),
            ["release", w] => cluster.release(way(cluster, w)?),
            ["deliver", w] => cluster.deliver(way(cluster, w)?, "", 1)?,
            ["deliver", w, kind] => cluster.deliver(way(cluster, w)?, kind, 1)?,
            ["deliver", w, kind, n] => cluster.deliver(way(cluster, w)?, kind, number(n)?)?,
            ["lose", w] => cluster.lose(way(cluster, w)?),
            ["cut", a, b] => cluster.cut(cluster.index(a)?, cluster.index(b)?),
            ["silence", a, b] => cluster.silence(cluster.index(a)?, cluster.index(b)?),
            ["heal"] => cluster.heal(),
            ["client", name, "at", s] => {
                let s = cluster.index(s)?;
                self.clients.connect(cluster, name, s, name);
            }
            ["client", name, "at", s, "as", of] => {
                let s = cluster.index(s)?;
                self.clients.connect(cluster, name, s, of);
            }
            ["gone", name] => self.clients.leave(cluster, name),
            ["status"] => status(cluster),
            [name, ref rest @ ..] if self.clients.has(name) => self.clients.ask(cluster, name, rest)?,
            _ => return Err("no such command".to_owned()),
        }
        cluster.settle();
        self.clients.listen(cluster);
        Ok(())
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn each(cluster: &Cluster, words: &[&str]) -> Result<Vec<usize>, String> {
    words.iter().map(|w| cluster.index(w)).collect()
}

fn way(cluster: &Cluster, word: &str) -> Result<(usize, usize), String> {
    let (a, b) = word.split_once('>').ok_or_else(|| format!("{word} is no way: A>B"))?;
    Ok((cluster.index(a)?, cluster.index(b)?))
}

fn shape(words: &[&str]) -> Result<Shape, String> {
    let [voters, rest @ ..] = words else { return Err("how many?".to_owned()) };
    let mut shape = Shape {
        voters: number(voters)?,
        observers: 0,
        window: 500,
        counter: u32::MAX - 1,
        snap: 100_000,
        factor: 330,
        force: false,
        masters: false,
        serves: true,
    };
    for pair in rest.chunks(2) {
        match *pair {
            ["factor", n] => shape.factor = number(n)? as u64,
            ["leader", "aside"] => shape.serves = false,
            ["force", "snapshot"] => shape.force = true,
            ["observers", n] => shape.observers = number(n)?,
            ["window", n] => shape.window = number(n)?,
            ["counter", n] => shape.counter = number(n)? as u32,
            ["masters", "followers"] => shape.masters = true,
            ["snap", n] => shape.snap = number(n)? as u64,
            _ => return Err(format!("{} is no setting", pair.join(" "))),
        }
    }
    Ok(shape)
}

/// What everyone is and has.
fn status(cluster: &mut Cluster) {
    let mut digests = Vec::new();
    for s in 0..cluster.count() {
        let mut line = format!("{} ", s + 1);
        match cluster.view(s) {
            None => line += "is down",
            Some(view) => {
                digests.push((view.tree.last_zxid(), view.tree.digest()));
                let idle = if view.serving { "" } else { ", not serving" };
                let nodes: Vec<&str> =
                    view.tree.iter().map(|(path, _)| path).filter(|p| is_of_a_client(p)).collect();
                let _ = write!(
                    line,
                    "{}{idle}, log {}, tree {} [{}]",
                    words::role(view.role),
                    words::z(view.last_proposed),
                    words::z(view.tree.last_zxid()),
                    nodes.join(" ")
                );
            }
        }
        let image = cluster.disk(s).durable_image();
        let _ = write!(
            line,
            "; on disk {}, accepted epoch {}, current epoch {}",
            words::z(image.last),
            image.accepted.0,
            image.current.0
        );
        cluster.log.push(line);
    }
    let mut trees = digests.clone();
    trees.sort_unstable();
    trees.dedup();
    cluster.log.push(match (trees.len(), trees.windows(2).any(|t| t[0].0 == t[1].0)) {
        (0 | 1, _) => "the trees are the same".to_owned(),
        (_, false) => "some trees are behind".to_owned(),
        (_, true) => TREES_DIFFER.to_owned(),
    });
}

fn is_of_a_client(path: &str) -> bool {
    !path.is_empty() && path != "/" && !path.starts_with("/zookeeper")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "# A story.\n\nensemble 3\nstart\nrun 1000\n----\nold log\nof two lines\n\nclient c at 1\nc create /a x\n\
        # Amid a block.\nc get /a\nstatus\n----\n";

    #[test]
    fn a_log_is_written_below_its_block_and_stays() {
        let told = run(STORY).expect("it runs");
        assert!(!told.contains("old log"));
        assert!(told.starts_with("# A story.\n\nensemble 3\nstart\nrun 1000\n----\n1 starts: "), "{told}");
        for line in ["3>1 LEADERINFO epoch 1", "3 commits 1|2", "# Amid a block.", "c: get /a: x"] {
            assert!(told.lines().any(|l| l == line), "{line}: {told}");
        }
        assert!(told.ends_with("the trees are the same\n"), "{told}");
        assert_eq!(run(&told).as_ref(), Ok(&told));
    }

    #[test]
    fn what_is_no_command_is_told_with_its_line() {
        let refused = |commands: &str| run(&format!("# X\n\n{commands}\n----\n")).expect_err(commands);
        assert_eq!(refused("start"), "line 3: start: there is no ensemble yet");
        assert_eq!(refused("ensemble 3\nkill 4"), "line 4: kill 4: 4 is no server");
        assert_eq!(refused("ensemble 3\ndance"), "line 4: dance: no such command");
        assert_eq!(refused("ensemble 3\nstart\nstart 1"), "line 5: start 1: it runs already");
        assert_eq!(
            refused("ensemble 3\nhold 1>2\ndeliver 1>2 DIFF"),
            "line 5: deliver 1>2 DIFF: no DIFF waits there"
        );
        assert_eq!(run("ensemble 3\nstart\n"), Err("the last block has no ----".to_owned()));
    }
}
