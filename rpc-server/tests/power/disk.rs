//! A disk with one directory, which knows what was synced.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fastrand::Rng;

use super::trace::Call;

/// Files and names, as the processes see them and as they are synced.
#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes of names since the directory was synced.
    changes: Vec<Change>,
}

#[derive(Default)]
struct File {
    content: Vec<u8>,
    synced: Vec<u8>,
}

enum Change {
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

impl Disk {
    pub(crate) fn run(&mut self, call: &Call) {
        match call {
            Call::Open { name, empties } => self.open(name, *empties),
            Call::Write { name, bytes } => self.file(name).content.extend(bytes),
            Call::Truncate { name, len } => self.file(name).content.truncate(*len),
            Call::SyncFile { name } => {
                let file = self.file(name);
                file.synced.clone_from(&file.content);
            }
            Call::SyncDir => {
                self.synced_names.clone_from(&self.names);
                self.changes.clear();
            }
            Call::Rename { from, to } => {
                let file = self.names.remove(from).expect("what is renamed is there");
                self.names.insert(to.clone(), file);
                let (from, to) = (from.clone(), to.clone());
                self.changes.push(Change::Renamed { from, to, file });
            }
            Call::Remove { name } => {
                self.names.remove(name).expect("what is removed is there");
                self.changes.push(Change::Removed { name: name.clone() });
            }
            Call::Say(_) => {}
        }
    }

    fn open(&mut self, name: &str, empties: bool) {
        if let Some(file) = self.names.get(name) {
            if empties {
                self.files[*file].content.clear();
            }
            return;
        }

        let (name, file) = (name.to_owned(), self.files.len());
        self.files.push(File::default());
        self.names.insert(name.clone(), file);
        self.changes.push(Change::Made { name, file });
    }

    fn file(&mut self, name: &str) -> &mut File {
        let file = self.names[name];
        &mut self.files[file]
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

impl Change {
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

impl File {
    /// What is synced, and any part of what was written since then; its end may be zeros.
    fn after_loss_of_power(&self, random: &mut Rng) -> Vec<u8> {
        if !self.content.starts_with(&self.synced) {
            let kept = if random.bool() {
                &self.synced
            } else {
                &self.content
            };
            return kept.clone();
        }

        let end = match random.u8(..4) {
            0 => self.synced.len(),
            1 => self.content.len(),
            _ => random.usize(self.synced.len()..=self.content.len()),
        };
        let mut kept = self.content[..end].to_vec();
        if random.u8(..4) == 0 {
            let from = random.usize(self.synced.len()..=end);
            kept[from..].fill(0);
        }
        kept
    }
}
