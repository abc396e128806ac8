//! `rpc log ship`: the lines of a file or of standard input, or the entries of the journal, as entries of the log.

mod files;
mod identity;
mod input;
mod journal;
mod lines;
mod next;
mod resume;
mod rotated;
mod sender;
mod state;

use std::path::PathBuf;

use clap::Args;
use rpc_core::api::log::Level;

use crate::Target;
use crate::exit::Failure;

/// Send the lines of a file or of standard input, or the entries of systemd's journal, to the log
///
/// Each line becomes an entry. With --file, ship follows the file and sends each line that is appended. After a
/// rotation (a rename and a new file), it sends the rest of the old file until nothing was added to it for 2 s, and
/// then the new file. The state file records what was sent, so that a later run continues there: no line is lost or
/// sent twice, even if the previous run was killed. With --journal, ship does the same with the entries of systemd's
/// journal. While the log cannot be reached, ship waits.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log ship --file /var/log/app.log --state /var/lib/rpc/app.state --service app
  rpc log ship --file old.log --state old.state --once
  rpc log ship --journal --state /var/lib/rpc/journal.state
  rpc log ship --journal --unit nginx --begin now --state nginx.state
  make 2>&1 | rpc log ship --service build -")]
pub(crate) struct Ship {
    /// File to follow
    #[arg(
        long,
        value_name = "PATH",
        requires = "state",
        conflicts_with = "input"
    )]
    file: Option<PathBuf>,
    #[command(flatten)]
    journal: journal::Flags,
    /// File in which ship records what it has sent. The first run creates it, and begins at the first line
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    state: Option<PathBuf>,
    /// Stop at the end of the file or of the journal instead of waiting for more
    #[arg(long, conflicts_with = "input")]
    once: bool,
    /// Level of the entries: trace, debug, info, warn, error or fatal
    #[arg(long, default_value_t = Level::Info)]
    level: Level,
    /// Name of the service that writes the lines
    #[arg(long, value_name = "NAME", default_value = "rpc")]
    service: String,
    /// `-` sends the lines of standard input. At its end, ship waits for the last answers, for 30 s or --timeout, and
    /// prints how many lines were not acknowledged
    #[arg(value_name = "-", required_unless_present_any = ["file", "journal"], value_parser = ["-"])]
    input: Option<String>,
}

impl Ship {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let origin = lines::Origin {
            service: self.service,
            level: self.level,
        };

        let end = if self.once {
            files::AtEnd::Stop
        } else {
            files::AtEnd::Wait
        };

        match (self.file, self.journal.settings(), self.state) {
            (Some(file), _, Some(state)) => files::ship(client, &file, &state, origin, end).await,
            (None, Some(settings), Some(state)) => {
                journal::ship(client, settings, &state, end).await
            }
            _ => input::ship(client, origin, target.timeout).await,
        }
    }
}
