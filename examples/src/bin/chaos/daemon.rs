//! The daemon in a process of its own, and what the system says of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rpc_server::daemon::config::Overrides;
use rpc_server::daemon::{Daemon, DaemonConfig};
use tokio::io::AsyncReadExt;

use crate::Outcome;

/// The role `daemon`: serves with the settings of the environment until its standard input ends.
pub(crate) async fn serve() -> Outcome<()> {
    let config = DaemonConfig::load(None, std::env::vars(), Overrides::default())?;
    let daemon = Daemon::bind(&config).await?;
    println!("{}", daemon.addresses()[0]);
    let parent_is_gone = async {
        let mut rest = Vec::new();
        drop(tokio::io::stdin().read_to_end(&mut rest).await);
    };
    daemon.run(parent_is_gone).await?;
    Ok(())
}

/// A daemon that runs.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
    /// Its data, which goes with it.
    _data: tempfile::TempDir,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: usize,
    /// Processor time since its start.
    pub(crate) cpu: Duration,
}

impl Process {
    /// Starts one. `settings` are those of the config, as `("LIMITS_CONNECTIONS_MAX", "20000")`;
    /// `descriptors_max` is what the system lets it have.
    pub(crate) fn start(settings: &[(&str, &str)], descriptors_max: Option<u32>) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let limit = descriptors_max.map(|most| format!("ulimit -n {most} && ")).unwrap_or_default();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limit}exec \"$0\" daemon")).arg(program);
        command.env("RPC_SERVER_LISTEN", "127.0.0.1:0").env("RPC_SERVER_SERVICES", "test,log,conformance");
        command.env("RPC_SERVER_DATA_DIR", data.path());
        for (key, value) in settings {
            command.env(format!("RPC_SERVER_{key}"), value);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut address)?;
        let address = address.trim().to_owned();
        if address.is_empty() {
            child.wait()?;
            return Err("the daemon did not start".into());
        }
        Ok(Self { child, address, _data: data })
    }

    pub(crate) fn usage(&self) -> Outcome<Usage> {
        let proc = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{proc}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = rss.trim().trim_end_matches(" kB").parse()?;
        let stat = std::fs::read_to_string(format!("{proc}/stat"))?;
        // The name may hold anything; behind it, `utime` and `stime` are the 12th and 13th.
        let fields = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Usage {
            rss_bytes: kib * 1024,
            descriptors: std::fs::read_dir(format!("{proc}/fd"))?.count(),
            // Linux counts in hundredths of a second towards programs.
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
