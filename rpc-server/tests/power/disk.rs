//! A disk with one directory, which knows what was synced.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use fastrand::Rng;

use super::trace::Call;

/// Bytes that a disk writes as a whole, or not at all.
const SECTOR: usize = 512;

/// Files and names, as the processes see them and as they are synced. What was written is borrowed from the calls.
#[derive(Default)]
pub(crate) struct Disk<'c> {
    files: Vec<File<'c>>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes of names since the directory was synced.
    changes: Vec<NameChange>,
}

#[derive(Default)]
struct File<'c> {
    synced: Vec<u8>,
    /// Changes since it was synced, in their order.
    changes: Vec<Change<'c>>,
    /// Its length as the processes see it.
    len: usize,
    /// Whether it was written at offsets, as pages.
    has_pages: bool,
}

enum Change<'c> {
    Write { at: usize, bytes: &'c [u8] },
    Truncate { len: usize },
}

enum NameChange {
    Made {
        name: String,
        file: usize,
    },
    Renamed {
        from: String,
        to: String,
        file: usize,
    },
    Removed {
        name: String,
    },
}

impl<'c> Disk<'c> {
    pub(crate) fn run(&mut self, call: &'c Call) {
        match call {
            Call::Open { name, empties } => self.open(name, *empties),
            Call::Write { name, bytes } => {
                let file = self.file(name);
                file.write(file.len, bytes);
            }
            Call::WriteAt { name, at, bytes } => {
                let file = self.file(name);
                file.has_pages = true;
                file.write(*at, bytes);
            }
            Call::Truncate { name, len } => self.file(name).truncate(*len),
            Call::SyncFile { name } => self.file(name).sync(),
            Call::SyncDir => {
                self.synced_names.clone_from(&self.names);
                self.changes.clear();
            }
            Call::Rename { from, to } => {
                let file = self.names.remove(from).expect("what is renamed is there");
                self.names.insert(to.clone(), file);
                let (from, to) = (from.clone(), to.clone());
                self.changes.push(NameChange::Renamed { from, to, file });
            }
            Call::Remove { name } => {
                // A process that ended within the call that made the file has left no result of that call.
                if self.names.remove(name).is_some() {
                    self.changes
                        .push(NameChange::Removed { name: name.clone() });
                }
            }
            Call::Say(_) => {}
        }
    }

    fn open(&mut self, name: &str, empties: bool) {
        if let Some(file) = self.names.get(name) {
            if empties {
                self.files[*file].truncate(0);
            }
            return;
        }

        let (name, file) = (name.to_owned(), self.files.len());
        self.files.push(File::default());
        self.names.insert(name.clone(), file);
        self.changes.push(NameChange::Made { name, file });
    }

    fn file(&mut self, name: &str) -> &mut File<'c> {
        let file = self.names[name];
        &mut self.files[file]
    }

    /// Whether a directory has all files as the processes have seen them.
    pub(crate) fn has_kept_all(&self, dir: &Path) -> bool {
        let left = fs::read_dir(dir).unwrap().count();
        let is_kept = |(name, file): (&String, &usize)| {
            fs::read(dir.join(name)).is_ok_and(|left| left == self.files[*file].content())
        };
        left == self.names.len() && self.names.iter().all(is_kept)
    }

    /// Writes what is left after a loss of power into a directory.
    pub(crate) fn after_loss_of_power(&self, random: &mut Rng, dir: &Path) {
        let mut names = self.synced_names.clone();
        let first = random.usize(..=self.changes.len());
        // Mostly those up to one of them, as a journal keeps them; in a third of all cases, any.
        let is_journal = random.u8(..3) > 0;
        for (n, change) in self.changes.iter().enumerate() {
            if if is_journal { n < first } else { random.bool() } {
                change.apply(&mut names);
            }
        }

        for (name, file) in names {
            fs::write(dir.join(name), self.files[file].after_loss_of_power(random)).unwrap();
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Made { name, file } => drop(names.insert(name.clone(), *file)),
            Self::Renamed { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Removed { name } => drop(names.remove(name)),
        }
    }
}

impl<'c> File<'c> {
    fn write(&mut self, at: usize, bytes: &'c [u8]) {
        self.len = self.len.max(at + bytes.len());
        self.changes.push(Change::Write { at, bytes });
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        self.changes.push(Change::Truncate { len });
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.synced);
        }
    }

    /// As the processes see it.
    fn content(&self) -> Vec<u8> {
        let mut content = self.synced.clone();
        for change in &self.changes {
            change.apply(&mut content);
        }
        content
    }

    fn after_loss_of_power(&self, random: &mut Rng) -> Vec<u8> {
        if self.has_pages {
            self.some_of_its_pages(random)
        } else {
            self.some_of_its_end(random)
        }
    }

    /// What is synced, and any part of what was written behind it since then; its end may be zeros, or any of its sectors.
    fn some_of_its_end(&self, random: &mut Rng) -> Vec<u8> {
        let mut content = self.content();
        if !content.starts_with(&self.synced) {
            return if random.bool() {
                self.synced.clone()
            } else {
                content
            };
        }

        let end = match random.u8(..4) {
            0 => self.synced.len(),
            1 => content.len(),
            _ => random.usize(self.synced.len()..=content.len()),
        };
        content.truncate(end);
        match random.u8(..4) {
            0 => {
                let from = random.usize(self.synced.len()..=end);
                content[from..].fill(0);
            }
            1 => {
                for sector in sectors(self.synced.len()..end) {
                    if random.bool() {
                        content[sector].fill(0);
                    }
                }
            }
            _ => {}
        }
        content
    }

    /// What is synced, and of each change since then all, nothing, or some sectors: up to one of them in half of all cases,
    /// otherwise of any. A change is of bytes, so that a neighbour of what was written is as it was.
    fn some_of_its_pages(&self, random: &mut Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let end = match random.u8(..4) {
            0 => 0,
            1 => self.changes.len(),
            _ => random.usize(..=self.changes.len()),
        };
        let is_in_order = random.bool();

        for (n, change) in self.changes.iter().enumerate() {
            let (is_kept, may_tear) = match is_in_order {
                true => (n < end, n == end),
                false => (random.bool(), random.bool()),
            };
            if is_kept {
                change.apply(&mut content);
            } else if may_tear {
                change.tear(&mut content, random);
            }
        }
        content
    }
}

impl Change<'_> {
    fn apply(&self, content: &mut Vec<u8>) {
        match *self {
            Self::Write { at, bytes } => put(content, at, bytes),
            Self::Truncate { len } => content.resize(len, 0),
        }
    }

    /// Writes any of the sectors that it is in.
    fn tear(&self, content: &mut Vec<u8>, random: &mut Rng) {
        let Self::Write { at, bytes } = *self else {
            return;
        };

        for sector in sectors(at..at + bytes.len()) {
            if random.bool() {
                put(
                    content,
                    sector.start,
                    &bytes[sector.start - at..sector.end - at],
                );
            }
        }
    }
}

/// The parts of some bytes that are in one sector each.
fn sectors(bytes: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut from = bytes.start;
    std::iter::from_fn(move || {
        let to = ((from / SECTOR + 1) * SECTOR).min(bytes.end);
        let sector = from..to;
        from = to;
        (!sector.is_empty()).then_some(sector)
    })
}

/// Writes bytes at an offset. What is between the end and them becomes zeros.
fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tempfile::TempDir;

    use super::*;

    fn write_at(at: usize, bytes: &[u8]) -> Call {
        Call::WriteAt {
            name: "f".into(),
            at,
            bytes: bytes.to_vec(),
        }
    }

    /// What may be left of a file, by many losses of power behind these calls.
    fn left(calls: &[Call]) -> BTreeSet<Option<Vec<u8>>> {
        let mut disk = Disk::default();
        for call in calls {
            disk.run(call);
        }

        let seeds = 0..300;
        let left = seeds.map(|seed| {
            let dir = TempDir::new().unwrap();
            disk.after_loss_of_power(&mut Rng::with_seed(seed), dir.path());
            fs::read(dir.path().join("f")).ok()
        });
        left.collect()
    }

    #[test]
    fn what_was_synced_is_left_and_pages_that_were_not_are_there_in_any_order_or_torn() {
        let open = Call::Open {
            name: "f".into(),
            empties: false,
        };
        let sync = Call::SyncFile { name: "f".into() };
        let synced = [open, write_at(0, &[1; 2048]), sync, Call::SyncDir];
        assert_eq!(left(&synced), BTreeSet::from([Some(vec![1; 2048])]));

        let (first, second) = (write_at(0, &[2; 1024]), write_at(1024, &[3; 1024]));
        let calls: Vec<Call> = synced.into_iter().chain([first, second]).collect();
        let left = left(&calls);
        let page = |first: [u8; 2], second: [u8; 2]| {
            let sectors = first.into_iter().chain(second);
            Some(sectors.flat_map(|byte| [byte; SECTOR]).collect::<Vec<u8>>())
        };
        for expected in [
            page([1, 1], [1, 1]),
            page([2, 2], [3, 3]),
            page([2, 2], [1, 1]),
            page([1, 1], [3, 3]),
            page([1, 2], [1, 1]),
            page([2, 2], [1, 3]),
        ] {
            assert!(left.contains(&expected), "{left:?}");
        }
        assert!(left.iter().flatten().all(|bytes| bytes.len() == 2048));
    }

    #[test]
    fn a_truncation_that_was_not_synced_is_there_or_not() {
        let open = Call::Open {
            name: "f".into(),
            empties: false,
        };
        let sync = Call::SyncFile { name: "f".into() };
        let truncate = Call::Truncate {
            name: "f".into(),
            len: 3,
        };
        let calls = [open, write_at(0, &[1; 9]), sync, Call::SyncDir, truncate];
        let expected = [vec![1; 3], vec![1; 9]].map(Some);
        assert_eq!(left(&calls), BTreeSet::from(expected));
    }
}
