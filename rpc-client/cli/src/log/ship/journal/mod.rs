//! Entries of systemd's journal, each sent once, from the place in the state file on.

mod batch;
mod entries;
mod entry;
mod field;
mod journalctl;
mod state;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use rpc_client::Client;

use self::batch::Sealed;
use self::entries::Entries;
use self::journalctl::{Journal, Run, Start};
use self::state::State;
use super::files::AtEnd;
use super::sender::Sender;
use super::state::StateFile;
use crate::exit::Failure;
use crate::output::complain;

/// What to read of the journal.
#[derive(Args)]
pub(super) struct Flags {
    /// Send the entries of systemd's journal, which `journalctl` reads. They keep their level, service, message, time
    /// and fields. With DIR, send the entries of the journal files in that directory
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "state",
        conflicts_with_all = ["file", "input", "level", "service"]
    )]
    journal: Option<OsString>,
    /// Only entries of this unit, as `journalctl --unit` finds them; may be given several times
    // Without `conflicts_with_all`, what is required would not be, since it conflicts with these.
    #[arg(long = "unit", value_name = "UNIT", requires = "journal", conflicts_with_all = ["file", "input"])]
    units: Vec<String>,
    /// Entry with which the first run begins; each later run continues where the previous one ended [default: oldest]
    #[arg(long, value_name = "WHERE", requires = "journal", conflicts_with_all = ["file", "input"])]
    begin: Option<Begin>,
}

/// Where the first run begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Begin {
    /// The oldest entry that the journal has
    #[default]
    Oldest,
    /// The first entry since the machine was started
    Boot,
    /// The next entry that is written
    Now,
}

/// What [`Flags`] ask for.
pub(super) struct Settings {
    journal: Journal,
    begin: Begin,
}

impl Flags {
    /// `None` without `--journal`.
    pub(super) fn settings(self) -> Option<Settings> {
        // Without DIR it is empty.
        let directory = Some(self.journal?).filter(|directory| !directory.is_empty());
        Some(Settings {
            journal: Journal {
                directory: directory.map(PathBuf::from),
                units: self.units,
            },
            begin: self.begin.unwrap_or_default(),
        })
    }
}

/// Sends the entries of the journal.
pub(super) async fn ship(
    client: Client,
    settings: Settings,
    state: &Path,
    at_end: AtEnd,
) -> Result<(), Failure> {
    let Settings { journal, begin } = settings;
    let (state_file, known) = StateFile::open::<State>(state)?;
    journal.check().await?;

    let is_first = known.is_none();
    let state = known.unwrap_or_else(State::new);
    let mut shipping = Shipping {
        journal,
        state_file,
        sender: Sender::new(client, state.producer.clone()),
        state,
        begins_with_boot: is_first && begin == Begin::Boot,
    };

    if is_first && begin == Begin::Now {
        shipping.begin_now().await?;
    }
    shipping.resume().await?;
    shipping.pass(Run::ToEnd).await?;
    match at_end {
        AtEnd::Stop => Ok(()),
        // What followed from the beginning on would lack entries of earlier boots.
        AtEnd::Wait => shipping.pass(Run::Follow).await,
    }
}

struct Shipping {
    journal: Journal,
    state_file: StateFile,
    sender: Sender,
    /// As it is on the disk, once something was sent or the place was chosen.
    state: State,
    /// Whether entries of earlier boots are left out, until there is a place.
    begins_with_boot: bool,
}

impl Shipping {
    /// Begins behind the newest entry, which the state names from now on: this run may end before the next one comes.
    async fn begin_now(&mut self) -> Result<(), Failure> {
        self.state.place = self.journal.newest().await?;
        self.state_file.write(&self.state)
    }

    /// Goes on where the previous run ended: a batch that may not be in the log is sent again, as it was.
    async fn resume(&mut self) -> Result<(), Failure> {
        if let Some(entries) = &self.state.entries {
            let entries = entries.get().to_owned();
            self.sender.send(self.state.batch, entries).await?;
            self.settle()?;
        }

        let Some(place) = &self.state.place else {
            return Ok(());
        };
        let found = self.journal.at(place).await?;
        if found.as_ref() == Some(place) {
            return Ok(());
        }
        self.go_on_without(found.is_some()).await
    }

    /// Says that the last entry that was sent is no longer in the journal, and goes on.
    async fn go_on_without(&mut self, has_later_ones: bool) -> Result<(), Failure> {
        let ts = self.state.place.as_ref().map_or(0, |place| place.ts);
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ts));
        let lost = format!(
            "rpc: the journal no longer has the last entry that was sent ({time}): the entry was deleted by rotation, or this is \
             another journal. Later entries that the journal has also deleted are lost"
        );

        if has_later_ones {
            complain(&format!(
                "{lost}; ship continues with the first later entry that the journal still has"
            ));
            return Ok(());
        }
        // Behind a clock that was set back, no entry might ever be later.
        complain(&format!(
            "{lost}; ship continues with entries that are written from now on"
        ));
        self.begin_now().await
    }

    /// Sends what a run of `journalctl` prints.
    async fn pass(&mut self, run: Run) -> Result<(), Failure> {
        let from = match &self.state.place {
            Some(place) => Start::Behind(place),
            None if self.begins_with_boot => Start::Boot,
            None => Start::Oldest,
        };
        let mut entries = self.journal.read(from, run)?;

        while let Some(batch) = entries.next_batch().await? {
            self.send(batch, &entries).await?;
        }
        entries.end(run).await
    }

    async fn send(&mut self, batch: Sealed, rest: &Entries) -> Result<(), Failure> {
        let Sealed { entries, place } = batch;
        self.state.batch += 1;
        self.state.place = Some(place);
        self.state.set_entries(&entries);
        self.state_file.write(&self.state)?;

        self.sender.send(self.state.batch, entries).await?;
        // A batch that is sent again a day after its answer would be taken as a new one.
        match rest.has_more() {
            true => Ok(()),
            false => self.settle(),
        }
    }

    /// Notes that all that was sent is acknowledged.
    fn settle(&mut self) -> Result<(), Failure> {
        self.state.entries = None;
        self.state_file.write(&self.state)
    }
}
