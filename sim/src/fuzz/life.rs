//! Bytes as a life in the simulator: a seed, and what is taken out of its scenario. A core that is right stays right under fewer
//! faults and fewer operations, in any selection of them.

use super::Choices;
use crate::scenario::Scenario;
use crate::world::World;

/// The first 8 bytes are a seed; each further pair takes out a fault, or an operation of a client.
pub fn world(data: &[u8]) {
    let mut c = Choices(data);
    let seed = c.bytes(8).iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let mut plan = Scenario::from_seed(seed);
    while !c.is_empty() {
        let (which, at) = (c.byte(), c.byte());
        if which % 2 == 0 && !plan.faults.is_empty() {
            plan.faults.remove(at % plan.faults.len());
        } else {
            let clients = plan.clients.len();
            let ops = &mut plan.clients[which / 2 % clients].ops;
            if !ops.is_empty() {
                ops.remove(at % ops.len());
            }
        }
    }
    if let Some(failure) = World::new().run(plan, false).failure() {
        panic!("seed {seed} with something taken out: {failure:?}");
    }
}
