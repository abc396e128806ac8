use std::collections::HashMap;
use std::ops::Range;

use rpc_core::api::log::Level;

use super::super::segments::Segments;
use super::super::walk::{Place, Step, Walk};
use super::super::{Filter, StoreError};
use super::side::Found;

/// How many bytes of entries are looked at together.
const SLICE_BYTES: u64 = 256 * 1024;

/// A few entries that have come, as filters look at them.
pub(super) struct Slice {
    /// The entry before the first one.
    pub(super) after: u64,
    /// The last one.
    pub(super) end: u64,
    entries: Vec<Entry>,
    /// The messages of all entries together: one search tells a filter that matches none of them.
    messages: String,
    /// Each service with its number.
    services: HashMap<String, u32>,
    level_max: Option<Level>,
}

struct Entry {
    seq: u64,
    level: Level,
    service: u32,
    message: Range<usize>,
}

impl Slice {
    /// Reads the entries behind `after`, up to `last` at most. `place` is where the slice before has ended.
    pub(super) fn read(
        segments: &Segments,
        after: u64,
        last: u64,
        place: &mut Option<Place>,
    ) -> Result<Self, StoreError> {
        let mut slice = Self {
            after,
            end: after,
            entries: Vec::new(),
            messages: String::new(),
            services: HashMap::new(),
            level_max: None,
        };

        let never = || false;
        let mut comes_to_last = false;
        let mut walk = Walk::new(segments, after, &never).begin_at(place.take());
        walk.run(
            &mut |entry, _| {
                if entry.seq > last {
                    comes_to_last = true;
                    return Ok(Step::StopBefore);
                }

                slice.add(entry.seq, entry.level, &entry.service, &entry.message);
                Ok(Step::On)
            },
            SLICE_BYTES,
        )?;

        *place = walk.place();
        // Numbers may be missing before the entry at which it stopped, and where it came to the end of a file.
        slice.end = if comes_to_last {
            last
        } else {
            walk.passed.min(last)
        };
        Ok(slice)
    }

    fn add(&mut self, seq: u64, level: Level, service: &str, message: &str) {
        let from = self.messages.len();
        self.messages.push_str(message);

        let service = if let Some(service) = self.services.get(service) {
            *service
        } else {
            let number = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
            self.services.insert(service.to_owned(), number);
            number
        };

        self.level_max = self.level_max.max(Some(level));
        self.entries.push(Entry {
            seq,
            level,
            service,
            message: from..self.messages.len(),
        });
    }

    /// Every filter by level and service that lets one of the entries pass, and which it lets pass.
    pub(super) fn filters_by_name(&self) -> HashMap<Filter, Found> {
        // Entries of one level and service pass the same filters.
        let mut kinds: HashMap<(Level, u32), Found> = HashMap::new();
        for entry in &self.entries {
            let mut found = kinds.get(&(entry.level, entry.service)).copied();
            Found::add(&mut found, entry.seq);
            kinds.extend(found.map(|found| ((entry.level, entry.service), found)));
        }

        let names: HashMap<u32, &String> = self
            .services
            .iter()
            .map(|(name, number)| (*number, name))
            .collect();
        let mut filters: HashMap<Filter, Found> = HashMap::new();
        for ((level, service), found) in kinds {
            let service = names.get(&service).copied();
            let levels = Level::ALL.into_iter().filter(|least| *least <= level);

            for level in levels.map(Some).chain([None]) {
                for service in [None, service] {
                    let filter = Filter {
                        level,
                        service: service.cloned(),
                        contains: None,
                    };
                    let all = filters.entry(filter).or_insert(found);
                    all.first = all.first.min(found.first);
                    all.last = all.last.max(found.last);
                }
            }
        }

        filters
    }

    /// The entries that a filter lets pass.
    pub(super) fn find(&self, filter: &Filter) -> Option<Found> {
        if filter
            .level
            .is_some_and(|level| self.level_max < Some(level))
        {
            return None;
        }

        let service = match &filter.service {
            Some(service) => Some(*self.services.get(service)?),
            None => None,
        };

        let text = filter.contains.as_deref().unwrap_or_default();
        if !self.messages.contains(text) {
            return None;
        }

        let mut found = None;
        for entry in &self.entries {
            if filter.level.is_none_or(|level| entry.level >= level)
                && service.is_none_or(|service| entry.service == service)
                && self.messages[entry.message.clone()].contains(text)
            {
                Found::add(&mut found, entry.seq);
            }
        }

        found
    }
}
