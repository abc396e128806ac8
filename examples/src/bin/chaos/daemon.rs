//! The daemon in a process of its own, and what the system says of it.

use std::process::Command;

use rpc_daemon::DaemonConfig;
use rpc_daemon::config::Overrides;
use rpc_examples::process::{Outcome, Process, parent_is_gone};

/// The role `daemon`: serves with the settings of the environment until its standard input ends.
pub(crate) async fn serve() -> Outcome<()> {
    let config = DaemonConfig::load(None, std::env::vars(), Overrides::default())?.config;
    let daemon = rpc_daemon::Daemon::bind(&config).await?;
    println!("{}", daemon.addresses()[0]);
    daemon.run(parent_is_gone()).await?;
    Ok(())
}

/// A daemon that runs.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    /// Its data, which goes with it.
    _data: tempfile::TempDir,
}

impl Daemon {
    /// Starts one. `settings` are those of the config, as `("LIMITS_CONNECTIONS_MAX", "20000")`;
    /// `descriptors_max` is what the system lets it have.
    pub(crate) fn start(settings: &[(&str, &str)], descriptors_max: Option<u32>) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let limit = descriptors_max
            .map(|most| format!("ulimit -n {most} && "))
            .unwrap_or_default();

        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{limit}exec \"$0\" daemon"))
            .arg(program);
        command
            .env("RPC_SERVER_LISTEN", "127.0.0.1:0")
            .env("RPC_SERVER_SERVICES", "test,log,conformance");
        command.env("RPC_SERVER_DATA_DIR", data.path());

        for (key, value) in settings {
            command.env(format!("RPC_SERVER_{key}"), value);
        }

        Ok(Self {
            process: Process::start(&mut command)?,
            _data: data,
        })
    }
}
