//! Many seeds over many threads, one world a thread. What comes out does not depend on how many threads there are.

use crate::check::{Judges, Looks};
use crate::outcome::{Coverage, Failure, Outcome};
use crate::scenario::Scenario;
use crate::world::World;
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use zebu_core::record::Digest;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic of this process is kept as the words of its run instead of printed.
pub fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |l| format!("{}:{}: ", l.file(), l.line()));
        let words = info.payload_as_str().unwrap_or("no words");
        PANIC.with_borrow_mut(|p| *p = Some(format!("{place}{words}")));
    }));
}

/// Runs a scenario; a panic is an outcome too, and costs the world its allocations.
pub fn run_caught(world: &mut World, plan: Scenario) -> Outcome {
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run(plan, false)));
    result.unwrap_or_else(|_| {
        *world = World::judged_by(world.judges());
        let words = PANIC.with_borrow_mut(Option::take);
        Outcome { panic: Some(words.unwrap_or_else(|| "no words".to_owned())), ..Outcome::default() }
    })
}

/// Runs a scenario in a world of its own.
pub fn run(plan: &Scenario) -> Outcome {
    run_caught(&mut World::new(), plan.clone())
}

/// What a sweep came to.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Seeds run.
    pub seeds: u64,
    /// Of those run twice for the hash.
    pub twice: u64,
    /// Failures, by seed.
    pub failed: Vec<(u64, Failure)>,
    /// Over all seeds' hashes, in order.
    pub hash: u64,
    /// Events of all worlds.
    pub events: u64,
    /// Simulated time, ns.
    pub time: u64,
    /// Operations in all programs.
    pub operations: u64,
    /// What was reached.
    pub coverage: Coverage,
    /// What the rules judged.
    pub looks: Looks,
    /// Of every ensemble: how long after the healing its leader served, ms, and the seed. Sorted.
    pub leaders: Vec<(u32, u64)>,
    /// Of every ensemble: leaders that began to serve after the healing, and the seed. Sorted.
    pub elections: Vec<(u32, u64)>,
}

/// Seeds handed to a thread at once.
const CHUNK: u64 = 64;
/// One seed in so many runs twice.
const TWICE: u64 = 50;

#[derive(Default)]
struct Part {
    seeds: u64,
    chunks: Vec<(u64, u64)>,
    failed: Vec<(u64, Failure)>,
    twice: u64,
    events: u64,
    time: u64,
    operations: u64,
    coverage: Coverage,
    looks: Looks,
    leaders: Vec<(u32, u64)>,
    elections: Vec<(u32, u64)>,
}

/// Runs these seeds; with `first`, up to the first failure and a little further. `progress` is called now and then with the
/// number of seeds done and of failures so far.
pub fn sweep(
    seeds: Range<u64>,
    jobs: usize,
    first: bool,
    judges: Judges,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Sweep {
    keep_panics();
    let next = AtomicU64::new(seeds.start);
    let (done, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let parts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                let mut world = World::judged_by(judges);
                let mut part = Part::default();
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    // Every seed before a failing one has been handed out when it fails.
                    if from >= seeds.end || (first && bad.load(Ordering::Relaxed) > 0) {
                        break;
                    }
                    let failures = part.failed.len();
                    let to = (from + CHUNK).min(seeds.end);
                    part.chunk(&mut world, from..to);
                    let total = done.fetch_add(to - from, Ordering::Relaxed) + to - from;
                    let news = (part.failed.len() - failures) as u64;
                    progress(total, bad.fetch_add(news, Ordering::Relaxed) + news);
                }
                parts.lock().expect("no thread dies with it").push(part);
            });
        }
    });
    Sweep::of(parts.into_inner().expect("no thread dies with it"))
}

impl Part {
    fn chunk(&mut self, world: &mut World, seeds: Range<u64>) {
        let mut digest = Digest::default();
        let first = seeds.start;
        for seed in seeds {
            let plan = Scenario::from_seed(seed);
            self.seeds += 1;
            self.operations += plan.operations() as u64;
            let outcome = if seed % TWICE == 0 { self.twice(world, plan) } else { run_caught(world, plan) };
            digest.word(outcome.hash);
            self.events += outcome.events;
            self.time += outcome.time;
            self.coverage.add(&outcome.coverage);
            self.looks.add(&outcome.looks);
            if let Some(after) = outcome.leader_after {
                self.leaders.push((after, seed));
                self.elections.push((outcome.elections_since, seed));
            }
            // Clients do not see why a server ends.
            let seen = outcome.panic.is_none() || world.judges() == Judges::All;
            if let Some(failure) = outcome.failure().filter(|_| seen) {
                self.failed.push((seed, failure));
            }
        }
        self.chunks.push((first, digest.value()));
    }

    /// Runs it in this world and in a fresh one: nothing of an earlier run may show.
    fn twice(&mut self, world: &mut World, plan: Scenario) -> Outcome {
        self.twice += 1;
        let again = run(&plan);
        let mut outcome = run_caught(world, plan);
        if again.hash != outcome.hash && outcome.panic.is_none() {
            outcome.panic = Some(format!("not determined: {:x} and {:x}", outcome.hash, again.hash));
        }
        outcome
    }
}

impl Sweep {
    fn of(parts: Vec<Part>) -> Sweep {
        let mut sweep = Sweep {
            seeds: 0,
            twice: 0,
            failed: Vec::new(),
            hash: 0,
            events: 0,
            time: 0,
            operations: 0,
            coverage: Coverage::default(),
            looks: Looks::default(),
            leaders: Vec::new(),
            elections: Vec::new(),
        };
        let mut chunks = Vec::new();
        for part in parts {
            sweep.seeds += part.seeds;
            sweep.twice += part.twice;
            sweep.failed.extend(part.failed);
            sweep.events += part.events;
            sweep.time += part.time;
            sweep.operations += part.operations;
            sweep.coverage.add(&part.coverage);
            sweep.looks.add(&part.looks);
            sweep.leaders.extend(part.leaders);
            sweep.elections.extend(part.elections);
            chunks.extend(part.chunks);
        }
        sweep.failed.sort_by_key(|(seed, _)| *seed);
        sweep.leaders.sort_unstable();
        sweep.elections.sort_unstable();
        chunks.sort_unstable();
        let mut digest = Digest::default();
        chunks.iter().for_each(|(_, hash)| digest.word(*hash));
        sweep.hash = digest.value();
        sweep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_run_clean_and_alike_on_any_number_of_threads() {
        let one = sweep(0..150, 1, false, Judges::All, &|_, _| {});
        let three = sweep(0..150, 3, false, Judges::All, &|_, _| {});
        assert_eq!(one.failed, []);
        assert_eq!((one.seeds, one.twice), (150, 3));
        assert_eq!((one.hash, one.events, one.coverage), (three.hash, three.events, three.coverage));
    }
}
