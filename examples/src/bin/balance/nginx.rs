//! nginx before the servers: its own file, its own socket, no daemon, no rights.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rpc_examples::process::Outcome;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Where Debian has the modules that are loaded.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Nginx {
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
    /// Its files.
    _dir: TempDir,
}

/// Whether it is installed, with the module for connections.
pub(crate) fn is_there() -> bool {
    program().is_some() && Path::new(STREAM_MODULE).exists()
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // It is a daemon's, which the paths of users often lack.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("nginx"))
        .find(|program| program.exists())
}

impl Nginx {
    /// Starts it before these servers, and waits until it listens.
    pub(crate) async fn before(servers: &[String]) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("nginx.sock");
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, settings(dir.path(), &socket, servers))?;

        let child = Command::new(program().ok_or("nginx is not installed")?)
            .args(["-e", "stderr", "-p"])
            .arg(dir.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;

        // A connection would take the first server's turn.
        let listens = async {
            while !socket.exists() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listens)
            .await
            .map_err(|_| format!("nginx does not listen within {PATIENCE:?}"))?;

        Ok(Self {
            address: format!("unix:{}", socket.display()),
            child,
            _dir: dir,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It is one process, which holds nothing that has to be written.
        drop(self.child.start_kill());
    }
}

/// One process in the foreground; each server in its turn.
fn settings(dir: &Path, socket: &Path, servers: &[String]) -> String {
    let servers: String = servers
        .iter()
        .map(|server| format!("        server {server};\n"))
        .collect();
    format!(
        "load_module {STREAM_MODULE};
daemon off;
master_process off;
pid {pid};
events {{ worker_connections 4096; }}
stream {{
    upstream four {{
{servers}    }}
    server {{
        listen unix:{socket} backlog=4096;
        proxy_pass four;
        proxy_half_close on;
    }}
}}
",
        pid = dir.join("nginx.pid").display(),
        socket = socket.display(),
    )
}
