//! A slice of new entries, against which filters are asked.

use std::collections::HashMap;
use std::ops::Range;

use rpc_core::api::log::Level;

use super::super::entry::EntryRef;
use super::super::segments::Segments;
use super::super::walk::{Step, Walk, WalkPosition};
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
    /// The lines of all entries together, for filters that need the whole of an entry.
    lines: Vec<u8>,
}

struct Entry {
    seq: u64,
    level: Level,
    service: u32,
    message: Range<usize>,
    line: Range<usize>,
}

impl Slice {
    /// Reads the entries behind `after`, up to `last` at most. `place` is where the slice before has ended.
    pub(super) fn read(
        segments: &Segments,
        after: u64,
        last: u64,
        place: &mut Option<WalkPosition>,
    ) -> Result<Self, StoreError> {
        let mut slice = Self {
            after,
            end: after,
            entries: Vec::new(),
            messages: String::new(),
            services: HashMap::new(),
            level_max: None,
            lines: Vec::new(),
        };

        let never = || false;
        let mut comes_to_last = false;
        let mut walk = Walk::new(segments, after, &never).begin_at(place.take());
        walk.run(
            &mut |entry, line| {
                if entry.seq > last {
                    comes_to_last = true;
                    return Ok(Step::StopBefore);
                }

                slice.add(entry, line.text);
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

    fn add(&mut self, entry: &EntryRef<'_>, line: &[u8]) {
        let (message, text) = (self.messages.len(), self.lines.len());
        self.messages.push_str(&entry.message);
        self.lines.extend_from_slice(line);

        let service = if let Some(service) = self.services.get(&*entry.service) {
            *service
        } else {
            let number = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
            self.services.insert(entry.service.to_string(), number);
            number
        };

        self.level_max = self.level_max.max(Some(entry.level));
        self.entries.push(Entry {
            seq: entry.seq,
            level: entry.level,
            service,
            message: message..self.messages.len(),
            line: text..self.lines.len(),
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
                        ..Filter::default()
                    };
                    let all = filters.entry(filter).or_insert(found);
                    all.first = all.first.min(found.first);
                    all.last = all.last.max(found.last);
                }
            }
        }

        filters
    }

    /// Whether the whole of an entry passes, where a filter needs that.
    fn passes_rest(&self, filter: &Filter, entry: &Entry) -> bool {
        let line = &self.lines[entry.line.clone()];
        filter.rest.is_empty() || EntryRef::parse(line).is_some_and(|entry| filter.matches(&entry))
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
                && self.passes_rest(filter, entry)
            {
                Found::add(&mut found, entry.seq);
            }
        }

        found
    }
}
