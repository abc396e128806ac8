//! A file that is followed, through its rotations, from the place in the state file on.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rpc_client::Client;

use super::lines::{BATCH_BYTES_MAX, Origin, Tail, batch_len, entries};
use super::rotated::{Key, files, id_of, is_same, read};
use super::sender::Sender;
use super::state::{FileId, State, StateFile};
use crate::exit::Failure;
use crate::output::complain;

/// Time between looks at a file that has nothing new.
const PAUSE: Duration = Duration::from_millis(200);

/// Time without a new line after which a rotated file is left for the next one.
const QUIET: Duration = Duration::from_secs(2);

/// What to do at the end of the newest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    Wait,
    Stop,
}

/// Sends the lines of the file.
pub(super) async fn ship(
    client: Client,
    path: &Path,
    state: &Path,
    origin: Origin,
    at_end: AtEnd,
) -> Result<(), Failure> {
    let (state_file, state) = StateFile::open(state)?;
    let producer = match &state {
        Some(state) => state.producer.clone(),
        None => Sender::new_producer(),
    };
    let mut shipping = Shipping {
        path,
        state_file,
        sender: Sender::new(client, producer.clone()),
        producer,
        origin,
        batch: 0,
        is_sending: false,
        file: None,
    };

    if let Some(state) = state {
        shipping.resume(state).await?;
    }
    shipping.follow(at_end).await
}

struct Shipping<'p> {
    path: &'p Path,
    state_file: StateFile,
    sender: Sender,
    producer: String,
    origin: Origin,
    /// The number of the last batch.
    batch: u64,
    /// Whether the state file names a batch as one that is sent.
    is_sending: bool,
    /// The file that is read, once there is one.
    file: Option<Open>,
}

/// A file, and the place behind the lines that were sent.
struct Open {
    file: File,
    offset: u64,
}

impl Shipping<'_> {
    /// Goes on where the run before has ended: its last batch is sent again, as it was.
    async fn resume(&mut self, state: State) -> Result<(), Failure> {
        self.batch = state.batch;
        self.is_sending = state.from < state.to;
        let Some(file) = self.find(&state.file)? else {
            complain(&format!(
                "rpc: the file that was sent up to byte {} is neither {} nor beside it; what it had behind that is lost",
                state.to,
                self.path.display()
            ));
            return Ok(());
        };

        let length = usize::try_from(state.to - state.from).unwrap_or(usize::MAX);
        let bytes = read(&file, state.from, length.min(BATCH_BYTES_MAX))
            .map_err(|error| self.cannot_read(&error))?;
        if length == 0 {
            // It was begun, and nothing of it was sent.
        } else if bytes.len() == length {
            let entries = entries(&bytes, &state.origin, state.ts);
            self.sender.send(state.batch, entries).await?;
        } else {
            complain(&format!(
                "rpc: {} was cut; its last batch may be lost",
                self.path.display()
            ));
        }

        self.file = Some(Open {
            file,
            offset: state.to,
        });
        Ok(())
    }

    async fn follow(&mut self, at_end: AtEnd) -> Result<(), Failure> {
        loop {
            let Some(open) = &mut self.file else {
                match File::open(self.path) {
                    Ok(file) => self.begin(file)?,
                    Err(error) if is_missing(&error) && at_end == AtEnd::Wait => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(self.cannot_read(&error)),
                }
                continue;
            };

            if open.was_cut() {
                complain(&format!(
                    "rpc: {} was cut; beginning with its first line",
                    self.path.display()
                ));
                open.offset = 0;
            }
            if self.send_next(Tail::Open).await? {
                continue;
            }

            // A file that was renamed may get lines until its program has opened the new one.
            let next = self.successor()?;
            let is_settled = match at_end {
                AtEnd::Wait => next.is_some() && self.is_quiet(),
                AtEnd::Stop => true,
            };
            if !is_settled {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            while self.send_next(Tail::Closed).await? {}
            let Some(next) = next else {
                return Ok(());
            };
            self.begin(next)?;
        }
    }

    /// Writes down that all that was sent is acknowledged. A batch that is sent again long after its answer would be taken as
    /// a new one: the log remembers it for a day.
    fn settle(&mut self) -> Result<(), Failure> {
        if let Some(open) = &self.file
            && std::mem::take(&mut self.is_sending)
        {
            self.note(&open.file, open.offset..open.offset)?;
        }
        Ok(())
    }

    /// Begins with a file, which the state names from now on: it may be rotated before its first line is sent.
    fn begin(&mut self, file: File) -> Result<(), Failure> {
        self.note(&file, 0..0)?;
        self.file = Some(Open { file, offset: 0 });
        Ok(())
    }

    /// Writes into the state file which bytes of a file are sent now.
    fn note(&self, file: &File, bytes: Range<u64>) -> Result<State, Failure> {
        let state = State {
            version: 1,
            producer: self.producer.clone(),
            batch: self.batch,
            file: id_of(file).map_err(|error| self.cannot_read(&error))?,
            from: bytes.start,
            to: bytes.end,
            ts: now_ms(),
            origin: self.origin.clone(),
        };
        self.state_file.write(&state)?;
        Ok(state)
    }

    /// Whether the file that is read has not been written to for a while.
    fn is_quiet(&self) -> bool {
        let modified = self.file.as_ref().map(|open| open.file.metadata());
        let modified = modified.and_then(|metadata| metadata.ok()?.modified().ok());
        // With a clock that was set back it is taken as quiet.
        modified.is_none_or(|time| {
            time.elapsed().is_ok_and(|quiet| quiet >= QUIET) || time > SystemTime::now()
        })
    }

    /// Sends the next batch of the file; says whether there was one.
    async fn send_next(&mut self, tail: Tail) -> Result<bool, Failure> {
        let Some(open) = &self.file else {
            return Ok(false);
        };
        let from = open.offset;
        let read = read(&open.file, from, BATCH_BYTES_MAX);
        let bytes = read.map_err(|error| self.cannot_read(&error))?;
        let length = batch_len(&bytes, tail);
        if length == 0 {
            self.settle()?;
            return Ok(false);
        }

        self.batch += 1;
        self.is_sending = true;
        let state = self.note(&open.file, from..from + length as u64)?;
        let entries = entries(&bytes[..length], &self.origin, state.ts);
        self.sender.send(state.batch, entries).await?;

        if let Some(open) = &mut self.file {
            open.offset = state.to;
        }
        Ok(true)
    }

    /// The file with this identity: at the path, or beside it.
    fn find(&self, id: &FileId) -> Result<Option<File>, Failure> {
        let files = files(self.path, &self.state_file).map_err(|error| self.cannot_read(&error))?;
        for (path, _) in files.iter().rev() {
            let Ok(file) = File::open(path) else {
                continue;
            };
            if is_same(&file, id).map_err(|error| self.cannot_read(&error))? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// The file that came after the one that is read, if the path has another one by now.
    fn successor(&self) -> Result<Option<File>, Failure> {
        let Some(open) = &self.file else {
            return Ok(None);
        };
        let current = open.key().map_err(|error| self.cannot_read(&error))?;
        if std::fs::metadata(self.path).is_ok_and(|metadata| Key::of(&metadata) == current) {
            return Ok(None);
        }

        let files = files(self.path, &self.state_file).map_err(|error| self.cannot_read(&error))?;
        let at = files.iter().position(|(_, key)| *key == current);
        let next = match at {
            Some(at) => files.get(at + 1),
            // It was deleted: what is there came after it.
            None => files.last().filter(|(path, _)| path == self.path),
        };
        let Some((path, _)) = next else {
            return Ok(None);
        };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            // It was renamed meanwhile.
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.cannot_read(&error)),
        }
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        Failure::io(&format!("cannot read {}", self.path.display()), error)
    }
}

impl Open {
    fn key(&self) -> io::Result<Key> {
        Ok(Key::of(&self.file.metadata()?))
    }

    /// Whether the file is shorter than what was sent of it.
    fn was_cut(&self) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|metadata| metadata.len() < self.offset)
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
