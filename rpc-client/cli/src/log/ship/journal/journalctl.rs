//! The program `journalctl`: how it is run.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};

use tokio::process::Command;

use super::entries::Entries;
use super::entry::Entry;
use super::state::Place;
use crate::exit::Failure;
use crate::output::complain;

/// Which journal is read, and what of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    /// The directory of its files; without one it is the journal of this machine.
    pub(super) directory: Option<PathBuf>,
    /// Only entries of these units; all if it is empty.
    pub(super) units: Vec<String>,
}

/// What a run of `journalctl` does at the end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    ToEnd,
    Follow,
}

/// Where a run of `journalctl` begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'p> {
    Oldest,
    /// With this entry.
    At(&'p Place),
    /// Behind this entry.
    Behind(&'p Place),
}

impl Journal {
    /// Lets `journalctl` say what it thinks of the journal, if it has to: that it is missing, or that this user may not see all
    /// of it. While it prints JSON it does not.
    ///
    /// # Errors
    /// There is no such program, or it cannot read the journal.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let output = self.output(&["--lines=0"]).await?;
        match output.status.success() {
            true => Ok(()),
            false => Err(cannot_read(output.status)),
        }
    }

    /// The newest entry, of any unit.
    pub(super) async fn newest(&self) -> Result<Option<Place>, Failure> {
        self.one(&[]).await
    }

    /// The first entry since the machine was started, of any unit; with a directory, of the last boot that it has.
    ///
    /// # Errors
    /// As [`check`](Self::check), and if the directory has no entry at all.
    pub(super) async fn first_of_boot(&self) -> Result<Option<Place>, Failure> {
        let flags = ["--output=json", "--output-fields=_BOOT_ID", "--boot"];
        let child = self.command(&flags).spawn();
        let child = child.map_err(|error| cannot_run(&error))?;
        Entries::of(child, None).into_first().await
    }

    /// The first entry that is this one or behind it, of any unit.
    pub(super) async fn at(&self, place: &Place) -> Result<Option<Place>, Failure> {
        let cursor = format!("--cursor={}", place.cursor);
        self.one(&[&cursor]).await
    }

    /// One entry, of which only the place is looked at.
    async fn one(&self, arguments: &[&str]) -> Result<Option<Place>, Failure> {
        let flags = ["--output=json", "--output-fields=_BOOT_ID", "--lines=1"];
        let output = self.output(&[&flags[..], arguments].concat()).await?;
        if !output.status.success() {
            return Err(cannot_read(output.status));
        }

        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        Ok(lines.find_map(Entry::parse).map(|entry| entry.place))
    }

    /// What a run prints that ends by itself. Its words to standard error are passed on.
    async fn output(&self, flags: &[&str]) -> Result<Output, Failure> {
        let output = self.command(flags).output().await;
        let output = output.map_err(|error| cannot_run(&error))?;

        let words = String::from_utf8_lossy(&output.stderr);
        for line in words.lines().filter(|line| !line.is_empty()) {
            complain(&format!("rpc: journalctl: {line}"));
        }
        Ok(output)
    }

    /// Begins to read entries.
    pub(super) fn read(&self, from: Start<'_>, run: Run) -> Result<Entries, Failure> {
        let mut command = self.command(&["--output=json", "--all"]);
        let mut behind = None;
        match from {
            Start::Oldest => {}
            Start::At(place) => {
                command.arg(format!("--cursor={}", place.cursor));
            }
            // With `--after-cursor`, versions before 255 leave out the entry behind a cursor that is not there, or whose unit
            // is not asked for.
            Start::Behind(place) => {
                command.arg(format!("--cursor={}", place.cursor));
                behind = Some(place.cursor.clone());
            }
        }
        for unit in &self.units {
            command.arg(format!("--unit={unit}"));
        }
        if run == Run::Follow {
            command.args(["--follow", "--no-tail"]);
            // Versions from 250 on follow entries of one boot only, which is the last one that a directory had.
            if self.directory.is_some() {
                command.arg("--merge");
            }
        }

        let child = command.spawn().map_err(|error| cannot_run(&error))?;
        Ok(Entries::of(child, behind))
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new("journalctl");
        command.arg("--no-pager").args(flags);
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn cannot_run(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Usage {
            message: "`--journal` needs the program `journalctl`, which is not on the PATH".into(),
            hint: "install systemd, or name where it is with PATH; without a journal, ship the files with --file"
                .into(),
        },
        _ => Failure::io("cannot run journalctl", error),
    }
}

fn cannot_read(status: ExitStatus) -> Failure {
    Failure::Io(format!(
        "journalctl cannot read the journal ({status}): `journalctl -n 1` has to work for this user, as for members of the \
         group systemd-journal"
    ))
}
