//! Going on where the previous run ended.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::files::{Open, Shipping};
use super::identity::{before, has_head, is_same, read};
use super::lines::entries;
use super::sender::is_conflict;
use super::state::{FileId, State};
use crate::exit::Failure;
use crate::output::complain;

/// Where the file of a state is.
enum Place {
    /// At the path, or beside it, with all that was sent of it.
    There(File),
    /// It does not have what was sent of it.
    Cut(File),
    Gone,
}

impl Shipping<'_> {
    /// Goes on where the previous run ended: a batch that may not be in the log is sent again, as it was.
    pub(super) async fn resume(&mut self, state: State) -> Result<(), Failure> {
        self.batch = state.batch;
        self.older.clone_from(&state.older);

        match self.find(&state)? {
            Place::There(file) => self.go_on_with(file, state).await,
            Place::Cut(file) => self.begin_anew(file),
            Place::Gone => self.go_on_without(&state),
        }
    }

    async fn go_on_with(&mut self, file: File, state: State) -> Result<(), Failure> {
        if self.older.is_none() {
            self.older = Some(self.older_than(&file)?);
        }
        let metadata = file.metadata();
        let metadata = metadata.map_err(|error| self.cannot_read(&error))?;

        if state.from < state.to {
            let length = usize::try_from(state.to - state.from).unwrap_or(usize::MAX);
            let bytes = read(&file, state.from, length);
            let bytes = bytes.map_err(|error| self.cannot_read(&error))?;
            let entries = entries(&bytes, &state.origin, state.ts);
            match self.sender.send(state.batch, entries).await {
                // The log has the batch with other lines. A later version has looked at them before.
                Err(error) if is_conflict(&error) && state.before.is_none() => {
                    return self.begin_anew(file);
                }
                sent => sent?,
            }
            self.is_sending = true;
        }

        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            ..state.file
        };
        self.file = Some(Open {
            file,
            id,
            offset: state.to,
            before: state.before,
        });
        Ok(())
    }

    /// Says what is lost with a file that is gone, and goes on with the one that came after it.
    fn go_on_without(&mut self, state: &State) -> Result<(), Failure> {
        let path = self.path.display();
        let doubt = match state.to - state.from {
            0 => String::new(),
            bytes => format!("the next {bytes} bytes may be in the log or not; "),
        };
        complain(&format!(
            "rpc: the file that was sent up to byte {} is neither {path} nor in the same folder; {doubt}its later \
             lines are lost",
            state.from
        ));

        let next = self.next_after(None, state.modified_ms.unwrap_or(state.ts))?;
        next.say_skipped();
        match next.file {
            Some(file) => self.begin(file),
            None => Ok(()),
        }
    }

    fn find(&self, state: &State) -> Result<Place, Failure> {
        let files = self.files()?;
        let newest = std::fs::metadata(self.path);
        // A file that was copied and cut is still at the path, and its copy beside it.
        let was_copied = newest.is_ok_and(|newest| {
            newest.dev() == state.file.device && newest.ino() == state.file.inode
        });

        let mut whole = None;
        let mut cut = None;
        let mut copy = None;
        for found in files.iter().rev().filter(|found| !found.is_compressed) {
            let Ok(Some(file)) = found.open() else {
                continue;
            };
            let is_it = is_same(&file, &state.file).map_err(|error| self.cannot_read(&error))?;
            let is_whole = has_all(&file, state).map_err(|error| self.cannot_read(&error))?;
            match (is_it, is_whole) {
                (true, true) if state.to > 0 => return Ok(Place::There(file)),
                (true, true) => whole = Some(file),
                (true, false) => cut = Some(file),
                // A state of the first version cannot tell a copy from an old file.
                (false, true)
                    if was_copied && state.older.is_some() && !self.is_older(&file)? =>
                {
                    copy = Some(file);
                }
                (false, _) => {}
            }
        }

        // Of a file of which nothing was sent, a copy has what it had before it was cut.
        let there = copy.or(whole).map(Place::There);
        Ok(there.or(cut.map(Place::Cut)).unwrap_or(Place::Gone))
    }
}

/// Whether a file has what was sent of that of the state.
fn has_all(file: &File, state: &State) -> std::io::Result<bool> {
    let is_long_enough = file.metadata()?.len() >= state.to;
    Ok(is_long_enough
        && has_head(file, &state.file)?
        && match &state.before {
            Some(known) => *known == before(file, state.to)?,
            None => true,
        })
}
