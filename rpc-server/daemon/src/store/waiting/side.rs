//! The readers that wait, by their filters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::Filter;

/// Number of waiters that are looked at under one lock.
const WAITERS_AT_ONCE: usize = 256;

/// Readers that wait, grouped by their filters.
#[derive(Default)]
pub(super) struct Side {
    ids: HashMap<Arc<Filter>, u64>,
    /// By an id that only grows, so that a pass over them can be interrupted and goes on where it was.
    groups: BTreeMap<u64, Group>,
    next_id: u64,
    /// Every filter that was there has been asked about the entries up to this one.
    pub(super) done: u64,
}

struct Group {
    filter: Arc<Filter>,
    waiters: BTreeMap<u64, Entry>,
}

struct Entry {
    after: u64,
    tell: oneshot::Sender<u64>,
}

/// A waiter's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaiterId {
    group: u64,
    waiter: u64,
}

/// The entries that a filter lets pass, of those that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Found {
    /// Adds an entry that comes behind those found before.
    pub(super) fn add(found: &mut Option<Self>, seq: u64) {
        match found {
            Some(found) => found.last = seq,
            None => {
                *found = Some(Self {
                    first: seq,
                    last: seq,
                });
            }
        }
    }
}

/// Wakes one waiter, outside of the lock.
pub(super) struct Wake {
    tell: oneshot::Sender<u64>,
    behind: u64,
}

impl Wake {
    pub(super) fn wake(self) {
        // A reader that has just left does not want to know.
        let _ = self.tell.send(self.behind);
    }
}

/// Waiters that were taken out to be woken.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) wakes: Vec<Wake>,
    /// The waiter to go on behind, if there may be more.
    pub(super) cursor: Option<u64>,
}

impl Side {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds a waiter. `last` is the last durable entry: a filter that comes is asked about later ones only.
    pub(super) fn join(
        &mut self,
        filter: &Arc<Filter>,
        after: u64,
        tell: oneshot::Sender<u64>,
        last: u64,
    ) -> WaiterId {
        if self.is_empty() {
            self.done = self.done.max(last);
        }

        self.next_id += 1;
        let waiter = self.next_id;
        let group = if let Some(group) = self.ids.get(filter) {
            *group
        } else {
            self.ids.insert(Arc::clone(filter), waiter);
            let group = Group {
                filter: Arc::clone(filter),
                waiters: BTreeMap::new(),
            };
            self.groups.insert(waiter, group);
            waiter
        };

        if let Some(group) = self.groups.get_mut(&group) {
            group.waiters.insert(waiter, Entry { after, tell });
        }

        WaiterId { group, waiter }
    }

    pub(super) fn has(&self, id: &WaiterId) -> bool {
        let group = self.groups.get(&id.group);
        group.is_some_and(|group| group.waiters.contains_key(&id.waiter))
    }

    /// Takes a waiter out, if it is there.
    pub(super) fn leave(&mut self, id: &WaiterId) {
        if let Some(group) = self.groups.get_mut(&id.group) {
            group.waiters.remove(&id.waiter);
            self.forget_if_empty(id.group);
        }
    }

    /// The group of exactly this filter.
    pub(super) fn group_of(&self, filter: &Filter) -> Option<u64> {
        self.ids.get(filter).copied()
    }

    /// The next groups behind one, with their filters.
    pub(super) fn groups_after(&self, group: u64, count: usize) -> Vec<(u64, Arc<Filter>)> {
        let groups = self.groups.range(group + 1..).take(count);
        groups
            .map(|(id, group)| (*id, Arc::clone(&group.filter)))
            .collect()
    }

    /// Takes out waiters of a group that wait for one of the entries found, among the next few behind the
    /// waiter `cursor`.
    pub(super) fn wake(&mut self, group: u64, found: Found, cursor: u64) -> Woken {
        let Some(waiters) = self.groups.get_mut(&group).map(|group| &mut group.waiters) else {
            return Woken::default();
        };

        let some: Vec<u64> = waiters
            .range(cursor + 1..)
            .take(WAITERS_AT_ONCE)
            .map(|(waiter, _)| *waiter)
            .collect();
        let cursor = some
            .last()
            .copied()
            .filter(|_| some.len() == WAITERS_AT_ONCE);

        let mut wakes = Vec::new();
        for waiter in some {
            if let Some(Entry { after, tell }) = waiters.remove(&waiter) {
                if after < found.last {
                    let behind = after.max(found.first - 1);
                    wakes.push(Wake { tell, behind });
                } else {
                    waiters.insert(waiter, Entry { after, tell });
                }
            }
        }

        self.forget_if_empty(group);
        Woken { wakes, cursor }
    }

    fn forget_if_empty(&mut self, id: u64) {
        if self
            .groups
            .get(&id)
            .is_some_and(|group| group.waiters.is_empty())
            && let Some(group) = self.groups.remove(&id)
        {
            self.ids.remove(&group.filter);
        }
    }
}
