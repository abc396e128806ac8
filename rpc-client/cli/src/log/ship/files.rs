//! A file that is followed, through its rotations, from the place in the state file on.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rpc_client::Client;

use super::identity::{before, id_of, is_same, modified_ms, now_ms, read};
use super::lines::{BATCH_BYTES_MAX, Origin, Tail, batch_len, entries};
use super::rotated::{Found, files};
use super::sender::Sender;
use super::state::{FileId, State, StateFile, VERSION};
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
    let (state_file, state) = StateFile::open::<State>(state).await?;
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
        older: None,
        file: None,
    };

    if let Some(state) = state {
        shipping.resume(state).await?;
    }
    shipping.follow(at_end).await
}

pub(super) struct Shipping<'p> {
    pub(super) path: &'p Path,
    state_file: StateFile,
    pub(super) sender: Sender,
    producer: String,
    origin: Origin,
    /// The number of the last batch.
    pub(super) batch: u64,
    /// Whether the state file names a batch as one that is sent.
    pub(super) is_sending: bool,
    /// The files beside the one that is read that are older: none of them is begun. `None` behind a state of the first
    /// version, which does not have them.
    pub(super) older: Option<Vec<FileId>>,
    /// The file that is read, once there is one.
    pub(super) file: Option<Open>,
}

/// A file, and the place behind the lines that were sent.
pub(super) struct Open {
    pub(super) file: File,
    /// As it was recognised when the last lines were read.
    pub(super) id: FileId,
    pub(super) offset: u64,
    /// The fingerprint of what is before the place. `None` behind a state of the first version.
    pub(super) before: Option<String>,
}

/// The next bytes of a file that make a batch, if there are any.
struct Piece {
    file: FileId,
    modified_ms: u64,
    from: u64,
    bytes: Vec<u8>,
    /// The fingerprint of what is before their end.
    before: String,
}

impl Shipping<'_> {
    async fn follow(&mut self, at_end: AtEnd) -> Result<(), Failure> {
        loop {
            if self.file.is_none() {
                match File::open(self.path) {
                    Ok(file) => self.begin(file)?,
                    Err(error) if is_missing(&error) && at_end == AtEnd::Wait => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(self.cannot_read(&error)),
                }
                continue;
            }

            if self.send_next(Tail::Open).await? {
                continue;
            }

            // A file that was renamed may get lines until its program has opened the new one.
            let next = self.successor()?;
            let is_settled = match at_end {
                _ if next.file.is_some() => self.is_quiet(),
                AtEnd::Wait => false,
                AtEnd::Stop => true,
            };
            if !is_settled {
                tokio::time::sleep(PAUSE).await;
                continue;
            }

            while self.send_next(Tail::Closed).await? {}
            next.say_skipped();
            let Some(next) = next.file else {
                return Ok(());
            };
            self.begin(next)?;
        }
    }

    /// Begins with a file, which the state names from now on: it may be rotated before its first line is sent.
    pub(super) fn begin(&mut self, file: File) -> Result<(), Failure> {
        self.older = Some(self.older_than(&file)?);
        let open = Open::new(file).map_err(|error| self.cannot_read(&error))?;
        let piece = open.piece_of(Vec::new());
        self.note(&piece.map_err(|error| self.cannot_read(&error))?)?;

        self.is_sending = false;
        self.file = Some(open);
        Ok(())
    }

    /// Begins anew with a file that was cut, and says so.
    pub(super) fn begin_anew(&mut self, file: File) -> Result<(), Failure> {
        complain(&format!(
            "rpc: {} was cut; beginning with its first line",
            self.path.display()
        ));
        self.begin(file)
    }

    /// Writes into the state file which bytes of a file are sent now.
    fn note(&self, piece: &Piece) -> Result<State, Failure> {
        let state = State {
            version: VERSION,
            producer: self.producer.clone(),
            batch: self.batch,
            file: piece.file.clone(),
            from: piece.from,
            to: piece.from + piece.bytes.len() as u64,
            before: Some(piece.before.clone()),
            modified_ms: Some(piece.modified_ms),
            older: self.older.clone(),
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

    /// Sends the next batch of the file; says whether there may be another one.
    async fn send_next(&mut self, tail: Tail) -> Result<bool, Failure> {
        let Some(open) = self.file.take() else {
            return Ok(false);
        };
        let piece = open.next_piece(tail);
        let Some(piece) = piece.map_err(|error| self.cannot_read(&error))? else {
            self.begin_anew(open.file)?;
            return Ok(true);
        };
        self.file = Some(open);

        if piece.bytes.is_empty() {
            // All is acknowledged. A batch that is sent again a day after its answer would be taken as a new one.
            if std::mem::take(&mut self.is_sending) {
                self.note(&piece)?;
            }
            return Ok(false);
        }

        self.batch += 1;
        self.is_sending = true;
        let state = self.note(&piece)?;
        let entries = entries(&piece.bytes, &self.origin, state.ts);
        self.sender.send(state.batch, entries).await?;

        if let Some(open) = &mut self.file {
            open.id = state.file;
            open.offset = state.to;
            open.before = state.before;
        }
        Ok(true)
    }

    /// The file at the path and those beside it that were rotated, the oldest first.
    pub(super) fn files(&self) -> Result<Vec<Found>, Failure> {
        files(self.path, &self.state_file).map_err(|error| self.cannot_read(&error))
    }

    pub(super) fn cannot_read(&self, error: &io::Error) -> Failure {
        Failure::io(&format!("cannot read {}", self.path.display()), error)
    }
}

impl Open {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            id: id_of(&file)?,
            before: Some(before(&file, 0)?),
            offset: 0,
            file,
        })
    }

    /// The bytes of the next batch, none if there is no whole line yet; `None` if the file was cut.
    fn next_piece(&self, tail: Tail) -> io::Result<Option<Piece>> {
        let mut bytes = read(&self.file, self.offset, BATCH_BYTES_MAX)?;
        bytes.truncate(batch_len(&bytes, tail));
        let piece = self.piece_of(bytes)?;

        // Looked at last, so that all that was read is of the file that was followed. One that was cut may have grown again.
        let end = piece.from + piece.bytes.len() as u64;
        let is_whole = self.file.metadata()?.len() >= end
            && is_same(&self.file, &self.id)?
            && match &self.before {
                Some(known) => *known == before(&self.file, self.offset)?,
                None => true,
            };
        Ok(is_whole.then_some(piece))
    }

    /// These bytes, which are those at the place.
    fn piece_of(&self, bytes: Vec<u8>) -> io::Result<Piece> {
        let end = self.offset + bytes.len() as u64;
        Ok(Piece {
            file: id_of(&self.file)?,
            modified_ms: modified_ms(&self.file.metadata()?),
            from: self.offset,
            bytes,
            before: before(&self.file, end)?,
        })
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
