//! Interned access control lists: nodes share few, and a snapshot holds each once. Answers to `ReferenceCountedACLCache`.

use super::Fixed;
use crate::proto::Acl;
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of world:anyone with all permissions, as the built-in nodes have it; no table holds it.
const OPEN_KEY: i64 = -1;
/// Place of the list of [`OPEN_KEY`]; it stays, used or not.
const OPEN: Place = Place(0);

/// A list's place in the map; a node holds one and counts as one use of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

#[derive(Clone, Debug)]
struct Slot {
    /// What files call it.
    key: i64,
    acl: Arc<[Acl]>,
    uses: usize,
    /// A snapshot named the key but lacks the list.
    unknown: bool,
}

#[derive(Clone, Debug)]
pub(super) struct AclMap {
    slots: Vec<Slot>,
    free: Vec<Place>,
    by_list: IndexMap<Arc<[Acl]>, Place, Fixed>,
    by_key: BTreeMap<i64, Place>,
    next_key: i64,
}

impl AclMap {
    pub(super) fn new(hasher: Fixed) -> AclMap {
        let open = Slot { key: OPEN_KEY, acl: Arc::from([Acl::open()]), uses: 1, unknown: false };
        AclMap {
            slots: vec![open],
            free: Vec::new(),
            by_list: IndexMap::with_hasher(hasher),
            by_key: BTreeMap::new(),
            next_key: 1,
        }
    }

    pub(super) fn get(&self, place: Place) -> &Arc<[Acl]> {
        &self.slots[place.0 as usize].acl
    }
    pub(super) fn key(&self, place: Place) -> i64 {
        self.slots[place.0 as usize].key
    }
    /// Every list that a file must hold, by key.
    pub(super) fn table(&self) -> Vec<(i64, Arc<[Acl]>)> {
        self.by_key.iter().map(|(key, place)| (*key, self.get(*place).clone())).collect()
    }
    /// Uses of keys whose list is unknown.
    pub(super) fn unknown_uses(&self) -> usize {
        self.slots.iter().filter(|s| s.unknown).map(|s| s.uses).sum()
    }

    /// One more use of a list. No entries at all is what Java takes for the open list.
    pub(super) fn intern(&mut self, acl: &[Acl]) -> Place {
        let place = match self.by_list.get(acl) {
            _ if acl.is_empty() => OPEN,
            Some(place) => *place,
            None => {
                let key = self.fresh_key();
                self.add(key, Arc::from(acl), false)
            }
        };
        self.slots[place.0 as usize].uses += 1;
        place
    }

    /// One use less; an unused list goes.
    pub(super) fn release(&mut self, place: Place) {
        let slot = &mut self.slots[place.0 as usize];
        assert!(slot.uses > 0, "an ACL is released as often as it was taken");
        slot.uses -= 1;
        if slot.uses == 0 {
            self.remove(place);
        }
    }

    /// A list as a snapshot names it; whoever has the key now gets another.
    pub(super) fn load(&mut self, key: i64, acl: Vec<Acl>) {
        if key == OPEN_KEY {
            return;
        }
        if let Some(place) = self.by_key.get(&key).copied() {
            let fresh = self.fresh_key();
            self.slots[place.0 as usize].key = fresh;
            self.by_key.insert(fresh, place);
            self.by_key.remove(&key);
        }
        match self.by_list.get(&acl[..]) {
            // Two keys of one list: the second is an alias while loading.
            Some(place) => {
                self.by_key.insert(key, *place);
            }
            None => {
                self.add(key, acl.into(), false);
            }
        }
    }

    /// One more use of the list that a snapshot names. An unknown key (a fuzzy snapshot's table may be older than its
    /// nodes) stands for a list that grants nothing, until the log tells the right one.
    pub(super) fn by_key(&mut self, key: i64) -> Place {
        let place = match self.by_key.get(&key) {
            _ if key == OPEN_KEY => OPEN,
            Some(place) => *place,
            None => self.add(key, Arc::from([Acl { perms: 0, id: crate::proto::Id::anyone() }]), true),
        };
        self.slots[place.0 as usize].uses += 1;
        place
    }

    /// Drops what no node uses, aliases too.
    pub(super) fn prune(&mut self) {
        let slots = &self.slots;
        self.by_key.retain(|key, place| slots[place.0 as usize].key == *key);
        let unused: Vec<Place> =
            self.by_key.values().copied().filter(|p| slots[p.0 as usize].uses == 0).collect();
        unused.into_iter().for_each(|p| self.remove(p));
    }

    /// Counts on from the highest key, and starts again where a file has used them up.
    fn fresh_key(&mut self) -> i64 {
        while self.by_key.contains_key(&self.next_key) {
            self.next_key = self.next_key.checked_add(1).unwrap_or(1);
        }
        self.next_key
    }

    fn add(&mut self, key: i64, acl: Arc<[Acl]>, unknown: bool) -> Place {
        self.next_key = self.next_key.max(key.saturating_add(1));
        let slot = Slot { key, acl: acl.clone(), uses: 0, unknown };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place.0 as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                Place(u32::try_from(self.slots.len() - 1).expect("fewer ACLs than nodes"))
            }
        };
        self.by_key.insert(key, place);
        if !unknown {
            self.by_list.insert(acl, place);
        }
        place
    }

    fn remove(&mut self, place: Place) {
        let slot = &mut self.slots[place.0 as usize];
        self.by_key.remove(&slot.key);
        if !std::mem::take(&mut slot.unknown) {
            self.by_list.swap_remove(&slot.acl[..]);
        }
        slot.acl = Arc::from([]);
        self.free.push(place);
    }
}
