//! Two network namespaces joined by a virtual cable.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::Result;
use crate::fault::Fault;

/// Of TEST-NET-1 (RFC 5737), so that nothing real is meant, whatever goes wrong.
pub(crate) const SERVER: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";

/// Whether this user may make namespaces, and has the tools; if not, what is missing.
pub(crate) async fn is_possible() -> std::result::Result<(), String> {
    for (tool, argument) in [("ip", "-V"), ("nft", "--version"), ("setpriv", "--version")] {
        let found = Command::new(tool)
            .arg(argument)
            .stdout(Stdio::null())
            .status()
            .await;
        found.map_err(|error| format!("`{tool}` cannot be run: {error}"))?;
    }
    clear_up();
    let name = format!("rpc-{}-try", std::process::id());
    ip(&["netns", "add", &name])
        .await
        .map_err(|error| format!("network namespaces need root: {error}"))?;
    ip(&["netns", "delete", &name])
        .await
        .map_err(|error| error.to_string())
}

/// Takes away what a run has left that was killed: namespaces named after a process that is gone.
fn clear_up() {
    let Ok(names) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let owner = name
            .strip_prefix("rpc-")
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            delete(&name);
        }
    }
}

/// Deletes a namespace, which may not be there.
fn delete(name: &str) {
    let _ = std::process::Command::new("ip")
        .args(["netns", "delete", name])
        .stderr(Stdio::null())
        .status();
}

/// The two ends of a cable. They are gone when this is dropped, with rules and cable.
pub(crate) struct Pair {
    server: String,
    client: String,
}

impl Pair {
    pub(crate) async fn new(number: usize) -> Result<Self> {
        let name = |end| format!("rpc-{}-{number}{end}", std::process::id());
        let pair = Self {
            server: name('s'),
            client: name('c'),
        };
        let (server, client) = (&*pair.server, &*pair.client);
        ip(&["netns", "add", server]).await?;
        ip(&["netns", "add", client]).await?;
        let cable = [
            "link", "add", "eth0", "netns", server, "type", "veth", "peer", "eth0", "netns", client,
        ];
        ip(&cable).await?;
        for (name, address) in [(server, SERVER), (client, CLIENT)] {
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &format!("{address}/24"),
                "dev",
                "eth0",
            ])
            .await?;
            ip(&["-n", name, "link", "set", "eth0", "up"]).await?;
        }
        Ok(pair)
    }

    /// Runs this program again at one end, and ends it with this one.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        let namespace = if arguments[0].starts_with("server") {
            &self.server
        } else {
            &self.client
        };
        // Each of these becomes the next one, so the child's process id is that of this program. A
        // frozen process would not notice the end of its input, so the system is asked to end it.
        let child = Command::new("ip")
            .args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL"])
            .arg(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    pub(crate) async fn break_with(&self, fault: Fault) -> Result<()> {
        for rule in fault.rules() {
            let namespace = if rule.is_at_server {
                &self.server
            } else {
                &self.client
            };
            let rules = format!(
                "table ip fault {{ chain arriving {{ type filter hook input priority 0; ip protocol tcp {}; }}; }}",
                rule.verdict
            );
            self.nft(namespace, &rules).await?;
        }
        Ok(())
    }

    pub(crate) async fn heal(&self) -> Result<()> {
        for namespace in [&self.server, &self.client] {
            self.nft(namespace, "flush ruleset").await?;
        }
        Ok(())
    }

    async fn nft(&self, namespace: &str, rules: &str) -> Result<()> {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", namespace, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        let mut nft = nft.spawn()?;
        nft.stdin
            .take()
            .expect("it is piped")
            .write_all(rules.as_bytes())
            .await?;
        let status = nft.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("nft: {status} for {rules}").into())
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            delete(name);
        }
    }
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), why.trim()).into())
}
