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
    let (state_file, known) = StateFile::open::<State>(state).await?;
    journal.check().await?;

    let is_first = known.is_none();
    let state = known.unwrap_or_else(State::new);
    let mut shipping = Shipping {
        journal,
        state_file,
        sender: Sender::new(client, state.producer.clone()),
        state,
    };

    if is_first {
        shipping.begin(begin).await?;
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
}

impl Shipping {
    /// Chooses where the first run begins. The state says so from now on: this run may end before an entry comes.
    async fn begin(&mut self, begin: Begin) -> Result<(), Failure> {
        match begin {
            Begin::Oldest => Ok(()),
            Begin::Boot => self.begin_with_boot().await,
            Begin::Now => self.begin_now().await,
        }
    }

    /// Begins with the first entry of this boot. If it has none yet, the next one to come is the first.
    async fn begin_with_boot(&mut self) -> Result<(), Failure> {
        let newest = self.journal.newest().await?;
        // Of a directory without an entry, `journalctl` fails to say what the boot has.
        let first = match &newest {
            Some(_) => self.journal.first_of_boot().await?,
            None => None,
        };

        match first {
            Some(first) => self.state.first = Some(first),
            None => self.state.place = newest,
        }
        self.state_file.write(&self.state)
    }

    /// Begins behind the newest entry.
    async fn begin_now(&mut self) -> Result<(), Failure> {
        self.state.first = None;
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

        let (place, known_as) = match (&self.state.place, &self.state.first) {
            (Some(place), _) => (place, "last entry that was sent"),
            (None, Some(first)) => (first, "entry that the first run was to begin with"),
            (None, None) => return Ok(()),
        };
        let found = self.journal.at(place).await?;
        if found.as_ref() == Some(place) {
            return Ok(());
        }

        let time = UNIX_EPOCH + Duration::from_millis(place.ts);
        let time = humantime::format_rfc3339_millis(time);
        let lost = format!(
            "rpc: the journal no longer has the {known_as} ({time}): the entry was deleted by rotation, or this is another \
             journal. Later entries that the journal has also deleted are lost"
        );
        self.go_on_without(&lost, found.is_some()).await
    }

    /// Says that the place in the journal is gone, and goes on.
    async fn go_on_without(&mut self, lost: &str, has_later_ones: bool) -> Result<(), Failure> {
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
        let from = match (&self.state.place, &self.state.first) {
            (Some(place), _) => Start::Behind(place),
            (None, Some(first)) => Start::At(first),
            (None, None) => Start::Oldest,
        };
        let mut entries = self.journal.read(from, run)?;

        while let Some(batch) = entries.next_batch().await? {
            self.send(batch, &mut entries).await?;
        }
        entries.end(run).await
    }

    async fn send(&mut self, batch: Sealed, rest: &mut Entries) -> Result<(), Failure> {
        let Sealed { entries, place } = batch;
        self.state.batch += 1;
        self.state.place = Some(place);
        self.state.first = None;
        self.state.set_entries(&entries);
        self.state_file.write(&self.state)?;

        self.sender.send(self.state.batch, entries).await?;
        // The state of the next batch says that this one is acknowledged. Without a next one it is said now: a batch that is
        // sent again a day after its answer would be taken as a new one.
        let next = rest.has_next().await;
        if !matches!(next, Ok(true)) {
            self.settle()?;
        }
        next.map(drop)
    }

    /// Notes that all that was sent is acknowledged.
    fn settle(&mut self) -> Result<(), Failure> {
        self.state.entries = None;
        self.state_file.write(&self.state)
    }
}
