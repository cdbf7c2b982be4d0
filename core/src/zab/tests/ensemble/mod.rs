//! Whole ensembles of leaders and learners in one process, under faults, one seed each: crashes between any two durable
//! writes, lost tails, cut and stalled connections, partitions, elections of anyone. After every step the rules of
//! `check`; at the end everyone serves the same history.
//!
//! `ZAB_SEEDS=from..to` runs those seeds; `ZAB_SEED=n` one, with its story on stderr.

mod check;
mod disk;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{MS, World};

/// One seed: faults, then peace, then silence.
fn run(world: &mut World) {
    world.run(1500 * MS);
    world.heal();
    world.run(2000 * MS);
    world.hush();
    let mut end = 2000;
    while !world.is_whole() {
        end += 200;
        assert!(end < 30_000, "L4: not whole after {end} ms");
        world.run(end * MS);
    }
    world.check_end();
}

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its environment which seeds to run")]
    let wanted = std::env::var("ZAB_SEEDS");
    match wanted.ok().as_deref().and_then(|s| s.split_once("..")) {
        Some((from, to)) => from.parse().expect("a number")..to.parse().expect("a number"),
        None => 0..400,
    }
}

#[test]
fn every_seed_keeps_the_history() {
    let mut tally: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds() {
        let mut world = World::new(seed, false);
        let done = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
        assert!(done.is_ok(), "seed {seed}: run it with ZAB_SEED={seed}");
        for (what, n) in world.tally.0 {
            *tally.entry(what).or_default() += n;
        }
    }
    for (what, n) in tally {
        eprintln!("{n:>10} {what}");
    }
}

#[test]
fn one_seed_with_its_story() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its environment which seed to run")]
    let Some(seed) = std::env::var("ZAB_SEED").ok().and_then(|s| s.parse().ok()) else { return };
    let mut world = World::new(seed, true);
    let done = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    for line in world.log.iter().flatten() {
        eprintln!("{line}");
    }
    done.unwrap_or_else(|e| std::panic::resume_unwind(e));
}
