//! Counts of the entries of each service, and its budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use rpc_core::api::log::{SERVICE_BYTES_MAX, ServiceStats};
use tokio::time::Instant;

use super::super::{StoreError, lock};
use super::room::{Room, bytes_of_entry};

/// Number of services that are told apart. All further ones, and those with longer names than filters take, are one.
pub(super) const SERVICES_MAX: usize = 1000;

/// The longest time after which a service that is over its budget is asked to come again.
const OVER_BUDGET_MAX: Duration = Duration::from_secs(60);

/// Time after which drops that do not end are told nevertheless.
const TOLD_AFTER: Duration = Duration::from_secs(60);

/// The place of all services that are not told apart.
const OTHERS: usize = 0;

/// The services that have appended since the start.
pub(in crate::store) struct Services {
    /// Held for a few look-ups, never while entries are written or encoded.
    state: Mutex<State>,
    /// What a service may append in a second; 0: no limit.
    bytes_per_second: u64,
}

/// What services may send.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct ServiceLimits {
    /// How many bytes each may append in a second; 0 for any number.
    pub(in crate::store) bytes_per_second: u64,
    /// How many bytes of emitted entries of all of them may wait for the disk.
    pub(in crate::store) emit_queue_bytes_max: usize,
}

struct State {
    /// For what is emitted.
    room: Room,
    places: HashMap<Box<str>, usize>,
    usages: Vec<Usage>,
}

struct Usage {
    name: Box<str>,
    stats: ServiceStats,
    /// The bytes that it may append now. Below zero it waits: the last entry was larger than what was left.
    left: i64,
    /// When `left` was right.
    at: Instant,
    drops: Drops,
}

/// The drops of a service, as far as the log tells of them.
#[derive(Default)]
struct Drops {
    told: u64,
    /// The number at the last look.
    seen: u64,
    /// When the first of them was seen that the log does not tell of yet.
    since: Option<Instant>,
}

/// Entries of one service that were taken together.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Share {
    pub(super) place: usize,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Share {
    pub(super) fn entries_of(shares: &[Self]) -> u64 {
        shares.iter().map(|share| share.entries).sum()
    }
}

/// Entries of one service that are to be taken together.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Amount<'a> {
    pub(in crate::store) service: &'a str,
    pub(in crate::store) entries: u64,
    pub(in crate::store) bytes: u64,
}

/// Entries of which some were dropped.
pub(super) struct Sifted {
    /// Of each entry, whether it is kept.
    pub(super) is_kept: Vec<bool>,
    /// Whose entries are kept.
    pub(super) shares: Vec<Share>,
    pub(super) dropped: u64,
}

/// Entries that were dropped since the log has told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Dropped {
    /// The service; `None` for those that are not told apart.
    pub(in crate::store) service: Option<String>,
    pub(in crate::store) entries: u64,
}

/// Figures of services.
pub(in crate::store) struct ByService {
    /// Those of each service that is told apart.
    pub(in crate::store) named: BTreeMap<String, ServiceStats>,
    /// Those of all others together.
    pub(in crate::store) others: ServiceStats,
}

impl Services {
    pub(in crate::store) fn new(limits: ServiceLimits, now: Instant) -> Self {
        let bytes_per_second = limits.bytes_per_second;
        let mut state = State {
            room: Room::new(limits.emit_queue_bytes_max),
            places: HashMap::new(),
            usages: Vec::new(),
        };
        state.add("", bytes_per_second, now);

        Self {
            state: Mutex::new(state),
            bytes_per_second,
        }
    }

    /// Takes entries if all of their services are within their budgets.
    pub(in crate::store) fn take<'a>(
        &self,
        amounts: impl Iterator<Item = Amount<'a>>,
        now: Instant,
    ) -> Result<Vec<Share>, StoreError> {
        let mut state = lock(&self.state);
        let shares = state.shares_of(amounts, self.bytes_per_second, now);

        for share in &shares {
            let wait = state.usages[share.place].refill(self.bytes_per_second, now);
            if let Some(wait) = wait {
                return Err(StoreError::OverBudget {
                    service: state.usages[share.place].name.to_string(),
                    bytes_per_second: self.bytes_per_second,
                    wait,
                });
            }
        }

        for share in &shares {
            state.count(*share);
        }
        Ok(shares)
    }

    /// Takes emitted entries, and room in the queue for them, where [`sift`](Self::sift) would drop none: no service has a
    /// budget, and there is room for all of them in what is for every service. Otherwise it takes none.
    pub(super) fn take_at_once<'a>(
        &self,
        amounts: impl Iterator<Item = Amount<'a>>,
        now: Instant,
    ) -> Option<Vec<Share>> {
        if self.bytes_per_second > 0 {
            return None;
        }

        let mut state = lock(&self.state);
        let shares = state.shares_of(amounts, self.bytes_per_second, now);
        if !state.room.take_open(&shares) {
            return None;
        }
        for share in &shares {
            state.count(*share);
        }

        Some(shares)
    }

    /// Takes room in the queue for emitted entries, for all of them or none.
    ///
    /// # Errors
    /// As [`Room::take_all`].
    pub(super) fn enter_queue(&self, shares: &[Share]) -> Result<(), StoreError> {
        lock(&self.state).room.take_all(shares)
    }

    /// Gives back the room of emitted entries, which do not wait any more.
    pub(super) fn leave_queue(&self, shares: &[Share]) {
        if !shares.is_empty() {
            let mut state = lock(&self.state);
            let room = &mut state.room;
            for share in shares {
                room.give_back(*share);
            }
        }
    }

    /// Takes the entries whose services are within their budgets and for which the queue has room, and drops the others
    /// and those that are too long.
    pub(super) fn sift<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, usize)>,
        is_too_long: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Sifted {
        let mut state = lock(&self.state);
        let (mut shares, mut dropped) = (Vec::new(), 0);

        let is_kept = entries.map(|(service, bytes)| {
            let place = state.place(service, self.bytes_per_second, now);
            let share = share_of(&shares, place).ok().map(|at| &shares[at]);
            let queued = bytes_of_entry(share, bytes);

            let usage = &mut state.usages[place];
            let is_over = is_too_long(bytes) || usage.refill(self.bytes_per_second, now).is_some();
            if is_over || !state.room.take(place, queued) {
                state.usages[place].stats.dropped += 1;
                dropped += 1;
                return false;
            }

            let share = Share {
                place,
                entries: 1,
                bytes: bytes as u64,
            };
            add_to(&mut shares, share);
            state.count(share);
            true
        });
        let is_kept = is_kept.collect();

        Sifted {
            is_kept,
            shares,
            dropped,
        }
    }

    /// Takes back that entries were taken.
    pub(in crate::store) fn give_back(&self, shares: &[Share]) {
        let mut state = lock(&self.state);
        for share in shares {
            let usage = &mut state.usages[share.place];
            usage.stats.entries -= share.entries;
            usage.stats.bytes -= share.bytes;
            usage.left = usage.left.saturating_add_unsigned(share.bytes);
        }
    }

    /// Notes that entries which were taken were dropped nevertheless.
    pub(super) fn drop_taken(&self, shares: &[Share]) {
        if shares.is_empty() {
            return;
        }

        self.give_back(shares);
        let mut state = lock(&self.state);
        for share in shares {
            state.usages[share.place].stats.dropped += share.entries;
        }
    }

    /// The drops that the log is to tell of: those that have ended, and those that have lasted for long. With `all` each
    /// that it does not tell of yet.
    pub(super) fn drops_to_tell(&self, due: super::Due, now: Instant) -> Vec<Dropped> {
        let mut state = lock(&self.state);
        let mut found = Vec::new();
        for (place, usage) in state.usages.iter_mut().enumerate() {
            let (dropped, drops) = (usage.stats.dropped, &mut usage.drops);
            if dropped == drops.told {
                continue;
            }

            let since = *drops.since.get_or_insert(now);
            let has_ended = std::mem::replace(&mut drops.seen, dropped) == dropped;
            if has_ended || due == super::Due::All || now - since >= TOLD_AFTER {
                found.push(Dropped {
                    service: (place != OTHERS).then(|| usage.name.to_string()),
                    entries: dropped - drops.told,
                });
                drops.told = dropped;
                drops.since = None;
            }
        }

        found
    }

    /// Has the log tell again of drops: what should have told of them was not written.
    pub(super) fn note_untold(&self, dropped: &Dropped) {
        let mut state = lock(&self.state);
        let place = match &dropped.service {
            Some(service) => state.places.get(service.as_str()).copied(),
            None => Some(OTHERS),
        };
        if let Some(place) = place {
            state.usages[place].drops.told -= dropped.entries;
        }
    }

    /// The figures of all services.
    pub(in crate::store) fn stats(&self) -> ByService {
        let state = lock(&self.state);
        let named = state.usages.iter().skip(OTHERS + 1);
        let named = named.map(|usage| (usage.name.to_string(), usage.stats));
        ByService {
            named: named.collect(),
            others: state.usages[OTHERS].stats,
        }
    }
}

impl State {
    /// The share of each service in entries.
    fn shares_of<'a>(
        &mut self,
        amounts: impl Iterator<Item = Amount<'a>>,
        bytes_per_second: u64,
        now: Instant,
    ) -> Vec<Share> {
        let mut shares = Vec::new();
        for amount in amounts {
            let share = Share {
                place: self.place(amount.service, bytes_per_second, now),
                entries: amount.entries,
                bytes: amount.bytes,
            };
            add_to(&mut shares, share);
        }
        shares
    }

    /// The place of a service, which gets one if there is room.
    fn place(&mut self, service: &str, bytes_per_second: u64, now: Instant) -> usize {
        if let Some(place) = self.places.get(service) {
            return *place;
        }
        if self.places.len() >= SERVICES_MAX || service.len() > SERVICE_BYTES_MAX {
            return OTHERS;
        }

        let place = self.add(service, bytes_per_second, now);
        self.places.insert(service.into(), place);
        place
    }

    fn add(&mut self, name: &str, bytes_per_second: u64, now: Instant) -> usize {
        self.usages.push(Usage {
            name: name.into(),
            stats: ServiceStats::default(),
            left: budget(bytes_per_second),
            at: now,
            drops: Drops::default(),
        });
        self.usages.len() - 1
    }

    fn count(&mut self, share: Share) {
        let usage = &mut self.usages[share.place];
        usage.stats.entries += share.entries;
        usage.stats.bytes += share.bytes;
        usage.left = usage.left.saturating_sub_unsigned(share.bytes);
    }
}

impl Usage {
    /// Adds what has become free since the last time; the time to wait if nothing is left.
    fn refill(&mut self, bytes_per_second: u64, now: Instant) -> Option<Duration> {
        if bytes_per_second == 0 {
            return None;
        }

        let passed = now.saturating_duration_since(self.at).as_micros();
        let free = passed.saturating_mul(u128::from(bytes_per_second)) / 1_000_000;
        if free > 0 {
            let free = i64::try_from(free).unwrap_or(i64::MAX);
            self.left = self.left.saturating_add(free).min(budget(bytes_per_second));
            self.at = now;
        }

        let missing = u64::try_from(1_i64.saturating_sub(self.left)).ok();
        missing.filter(|missing| *missing > 0).map(|missing| {
            let us = u128::from(missing) * 1_000_000 / u128::from(bytes_per_second);
            Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX) + 1).min(OVER_BUDGET_MAX)
        })
    }
}

/// What a service may append at once: as much as in a second.
fn budget(bytes_per_second: u64) -> i64 {
    i64::try_from(bytes_per_second).unwrap_or(i64::MAX)
}

fn add_to(shares: &mut Vec<Share>, more: Share) {
    match share_of(shares, more.place) {
        Ok(at) => {
            shares[at].entries += more.entries;
            shares[at].bytes += more.bytes;
        }
        Err(at) => shares.insert(at, more),
    }
}

/// Where the share of a service is, or belongs: shares are in the order of their places, as there may be a thousand.
fn share_of(shares: &[Share], place: usize) -> Result<usize, usize> {
    shares.binary_search_by_key(&place, |share| share.place)
}
