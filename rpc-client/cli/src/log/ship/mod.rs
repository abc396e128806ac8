//! `rpc log ship`: the lines of a file, or of standard input, as entries of the log.

mod files;
mod identity;
mod input;
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

/// Send the lines of a file to the log as they are written, each once, or those of standard input
///
/// Each line is an entry. A file is followed: what is appended is sent, and after a rotation (a rename and a new file) first
/// the rest of the old file, until it has been silent for 2 s, then the new one. The state file says what was sent, so that a later run goes on there: no line
/// is lost or sent twice, however the one before has ended. While the log is away, ship waits.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log ship --file /var/log/app.log --state /var/lib/rpc/app.state --service app
  rpc log ship --file old.log --state old.state --once
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
    /// File in which ship keeps its place; made by the first run, which begins at the first line
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    state: Option<PathBuf>,
    /// End at the end of the file instead of waiting for more
    #[arg(long, conflicts_with = "input")]
    once: bool,
    /// trace, debug, info, warn, error or fatal
    #[arg(long, default_value_t = Level::Info)]
    level: Level,
    /// Name of the service that writes the lines
    #[arg(long, value_name = "NAME", default_value = "rpc")]
    service: String,
    /// `-`: each line of standard input. At its end ship waits for the last answers, for 30 s or --timeout, and says
    /// how many lines were not acknowledged
    #[arg(value_name = "-", required_unless_present = "file", value_parser = ["-"])]
    input: Option<String>,
}

impl Ship {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let origin = lines::Origin {
            service: self.service,
            level: self.level,
        };

        match (self.file, self.state) {
            (Some(file), Some(state)) => {
                let end = if self.once {
                    files::AtEnd::Stop
                } else {
                    files::AtEnd::Wait
                };
                files::ship(client, &file, &state, origin, end).await
            }
            _ => input::ship(client, origin, target.timeout).await,
        }
    }
}
