//! The daemon in a process of its own, and what the system says of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rpc_client::Client;
use rpc_daemon::DaemonConfig;
use rpc_daemon::config::Overrides;
use rpc_examples::process::{Outcome, Process, parent_is_gone};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Virtual memory that a daemon may have, in KiB: one that breaks its bound ends, and not the machine.
const ADDRESS_SPACE_KIB: u32 = 6 << 20;

/// What docs/operations.md recommends: by default glibc keeps freed blocks for each thread, and gives long ones back to the
/// system at once, which delays all threads.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "33554432"),
];

/// Length of the entries that fill a log of few.
const ENTRY_BYTES: usize = 1_000_000;

/// Number of entries of half a kilobyte that fill a log of many, together a megabyte.
const BATCH_ENTRIES: u64 = 2_000;

/// The part of the free disk that a log of many may take.
const DISK_PART: u64 = 8;

/// The role `daemon`: serves with the settings of the environment until its standard input ends.
pub(crate) async fn serve() -> Outcome<()> {
    // The library's own loading takes the file that it is given, and not the variable.
    let file = std::env::var_os("RPC_SERVER_CONFIG").map(PathBuf::from);
    let config =
        DaemonConfig::load(file.as_deref(), std::env::vars(), Overrides::default())?.config;
    let daemon = rpc_daemon::Daemon::bind(&config).await?;

    let addresses: Vec<String> = daemon.addresses().iter().map(ToString::to_string).collect();
    println!("{}", addresses.join(" "));
    daemon.run(parent_is_gone()).await?;
    Ok(())
}

/// A daemon that runs.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    /// The address that the bad peers come to: that with TLS where there is one, else that of the good client.
    pub(crate) attacked: Arc<str>,
    is_tls: bool,
    /// Its data and its certificate, which go with it.
    directory: tempfile::TempDir,
}

/// How a daemon is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Those of the config, as `("LIMITS_CONNECTIONS_MAX", "20000")`.
    pub(crate) settings: Vec<(&'a str, &'a str)>,
    /// What the system lets it have.
    pub(crate) descriptors_max: Option<u32>,
    /// Whether it has a second listener, with TLS, for the bad peers.
    pub(crate) has_tls: bool,
}

impl Daemon {
    /// Starts one.
    pub(crate) fn start(how: &Start<'_>) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let descriptors = how
            .descriptors_max
            .map(|most| format!("ulimit -n {most} && "))
            .unwrap_or_default();

        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(
                "ulimit -v {ADDRESS_SPACE_KIB} && {descriptors}exec \"$0\" daemon"
            ))
            .arg(program);
        command
            .envs(ALLOCATOR)
            .env("RPC_SERVER_LISTEN", "127.0.0.1:0")
            .env("RPC_SERVER_SERVICES", "test,log,conformance")
            .env("RPC_SERVER_DATA_DIR", directory.path().join("data"));

        if how.has_tls {
            command.env("RPC_SERVER_CONFIG", config_with_tls(directory.path())?);
        }
        for (key, value) in &how.settings {
            command.env(format!("RPC_SERVER_{key}"), value);
        }

        let mut process = Process::start(&mut command)?;
        let addresses: Vec<Arc<str>> = process.address.split(' ').map(Arc::from).collect();
        let (good, attacked) = (addresses.first(), addresses.last());
        let (good, attacked) = good.zip(attacked).ok_or("the daemon has no address")?;
        process.address = Arc::clone(good);

        Ok(Self {
            process,
            attacked: Arc::clone(attacked),
            is_tls: how.has_tls,
            directory,
        })
    }

    /// The most bytes that its connections have held together, as it counts them, since its start.
    pub(crate) async fn held_peak_bytes(&self) -> Outcome<u64> {
        const STATS: u32 = 3;

        let client = Client::new(&*self.process.address);
        let stats: Value = client.call(STATS, &json!({})).await?;
        let peak = stats["server"]["limits"]["memory_bytes_peak"].as_u64();
        Ok(peak.ok_or("`stats` has no `memory_bytes_peak`")?)
    }

    /// Appends that many megabytes of entries to its log as services send them, or fewer if the disk has little room.
    pub(crate) async fn fill_log_with_many(&self, megabytes: u64) -> Outcome<()> {
        let client = Client::new(&*self.process.address);
        let megabytes = megabytes.min(free_megabytes(self.directory.path())? / DISK_PART);
        for batch in 1..=megabytes {
            let first = batch * BATCH_ENTRIES;
            let entries: Vec<Value> = (first..first + BATCH_ENTRIES).map(filled_entry).collect();
            let params = json!({ "producer": "chaos", "batch": batch, "entries": entries });
            client.call::<_, Value>(1_003, &params).await?;
        }

        Ok(())
    }

    /// The file of the certificate that it shows, where it has TLS.
    pub(crate) fn authority(&self) -> Option<PathBuf> {
        self.is_tls
            .then(|| self.directory.path().join("certificate.pem"))
    }
}

/// Appends that many megabytes of entries to the log of a daemon.
pub(crate) async fn fill_log(address: &str, megabytes: usize) -> Outcome<()> {
    let client = Client::new(address);
    let entry = json!({ "level": "info", "service": "chaos", "message": "x".repeat(ENTRY_BYTES) });
    for _ in 0..megabytes {
        client.call::<_, Value>(1_001, &entry).await?;
    }

    Ok(())
}

/// Appends an entry.
pub(crate) async fn append_first(address: &str) -> Outcome<()> {
    let appended = Client::new(address).call(1_001, &filled_entry(0)).await;
    Ok(appended.map(|_: Value| ())?)
}

/// Appends entries that have as many fields, and as many values in one, as there may be.
pub(crate) async fn append_many_fields(address: &str) -> Outcome<()> {
    let names: Vec<String> = (0..ENTRY_BYTES / 11)
        .map(|name| format!("\"n{name:05}\":1"))
        .collect();
    let values = vec!["1"; ENTRY_BYTES / 2].join(",");
    let client = Client::new(address);
    for fields in [names.join(","), format!("\"n\":[{values}]")] {
        let params = format!(
            "{{\"level\":\"info\",\"service\":\"chaos\",\"message\":\"m\",\"fields\":{{{fields}}}}}"
        );
        let params = RawValue::from_string(params)?;
        for _ in 0..4 {
            client.call::<_, Value>(1_001, &params).await?;
        }
    }

    Ok(())
}

/// The entry with this number: half a kilobyte, with fields.
pub(crate) fn filled_entry(number: u64) -> Value {
    json!({
        "level": if number.is_multiple_of(50) { "warn" } else { "info" },
        "service": format!("service-{}", number % 9),
        "message": format!("order {number} was paid, {}", "and more is said of it ".repeat(12)),
        "fields": { "user": number % 5_000, "order": number, "path": "/orders/pay", "ms": 1.5, "is_new": true },
    })
}

/// What the disk of a directory has left.
fn free_megabytes(directory: &Path) -> Outcome<u64> {
    let mut df = Command::new("df");
    let output = df
        .args(["--output=avail", "--block-size=1M"])
        .arg(directory)
        .output()?;

    let text = String::from_utf8(output.stdout)?;
    let free = text.lines().nth(1).map(str::trim);
    Ok(free.ok_or("`df` has no figure")?.parse()?)
}

/// Writes a certificate, its key and a config with a listener that has them; returns the file of the config.
fn config_with_tls(directory: &Path) -> Outcome<PathBuf> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;

    let config = directory.join("config.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
        certificate.display(),
        key.display()
    );
    std::fs::write(&config, text)?;
    Ok(config)
}
