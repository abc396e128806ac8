//! Long connections beside short ones, as the articles about keep-alive measured them: 100 callers for ten seconds, plain and
//! under TLS.
//!
//! `short_long` takes a minute, `short_long --quick` a second, for the tests.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rpc_client::{Client, Config, Mode, TlsConfig};
use rpc_examples::process::Outcome;
use rpc_server::{
    ClientCertificates, ListenOptions, Router, Server, ServerHandle, ServerTls, TlsFiles,
};
use tokio::task::{AbortHandle, JoinSet};

const USAGE: &str = "usage: short_long [--quick]";
const EXIT_USAGE: u8 = 2;

/// Callers at once, each with one call at a time.
const CALLERS: usize = 100;

/// What a call asks for: its params.
const NOOP: u32 = 100;

/// The connections of the callers.
#[derive(Clone, Copy)]
enum Connections {
    /// One for each call.
    Short,
    /// One for each caller.
    Long,
    /// One for all callers.
    Shared,
}

impl Connections {
    const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Shared];

    fn name(self) -> &'static str {
        match self {
            Self::Short => "one for each call",
            Self::Long => "one for each caller",
            Self::Shared => "one for all",
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let time = match arguments[..] {
        [] => Duration::from_secs(10),
        ["--quick"] => Duration::from_millis(150),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    match compare(time).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("short_long: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(time: Duration) -> Outcome<()> {
    println!(
        "{CALLERS} callers, {:.1} s for each row; caller and server share this machine\n",
        time.as_secs_f64()
    );
    println!(
        "connections                   calls a second   times   p50 ms   p99 ms   failed   connections"
    );

    let directory = tempfile::tempdir()?;
    let tls = ServerTls::load(certificate(directory.path())?)?;
    for (kind, tls) in [("plain", None), ("TLS", Some(&tls))] {
        let mut shortest = None;
        for connections in Connections::ALL {
            let row = measure(connections, tls, time).await?;
            let base = *shortest.get_or_insert(row.per_second());
            println!("{kind:5}  {row}", row = Compared { row, base });
        }
    }

    println!(
        "\nLook at `times`: the calls of a row beside those of one connection for each call. A short connection pays for its \
         handshake, and under TLS for the keys as well, with each call."
    );
    Ok(())
}

/// What came of a row.
struct Row {
    connections: Connections,
    opened: u64,
    took: Histogram<u64>,
    failed: u64,
    elapsed: Duration,
}

impl Row {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// A row beside the first one of its kind.
struct Compared {
    row: Row,
    base: f64,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, base } = self;
        let took = |quantile| Duration::from_micros(row.took.value_at_quantile(quantile));
        let ms = |quantile| took(quantile).as_secs_f64() * 1_000.0;
        write!(
            f,
            "{:19}  {:17.0}  {:5.1} x  {:7.2}  {:7.2}  {:7}  {:12}",
            row.connections.name(),
            row.per_second(),
            row.per_second() / base,
            ms(0.5),
            ms(0.99),
            row.failed,
            row.opened
        )
    }
}

async fn noop() {}

/// A server of its own, so that all that is counted is one row's.
struct Serving {
    handle: ServerHandle,
    address: String,
    task: AbortHandle,
}

impl Serving {
    async fn start(tls: Option<&ServerTls>) -> Outcome<Self> {
        let mut options = ListenOptions::new("127.0.0.1:0");
        if let Some(tls) = tls {
            options = options.tls(tls.clone());
        }

        let server = Server::builder()
            .listen_with(options)
            .router(Router::new().route(NOOP, noop)?)
            .bind()
            .await?;
        let port = server.addresses()[0]
            .tcp()
            .ok_or("it listens on TCP")?
            .port();
        let handle = server.handle();
        let task = tokio::spawn(server.serve(std::future::pending())).abort_handle();

        Ok(Self {
            handle,
            address: format!("localhost:{port}"),
            task,
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn measure(
    connections: Connections,
    tls: Option<&ServerTls>,
    time: Duration,
) -> Outcome<Row> {
    let serving = Serving::start(tls).await?;
    let client = || {
        let config = Config::default().with(|config| {
            config.pool.mode = match connections {
                Connections::Short => Mode::Short,
                Connections::Long | Connections::Shared => Mode::Single,
            };
            config.tls = tls.map(|tls| TlsConfig {
                ca_file: Some(tls.files().certificate.clone()),
                ..TlsConfig::default()
            });
        });
        Client::with_config(serving.address.clone(), config)
    };

    let shared = client();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = match connections {
            Connections::Shared => shared.clone(),
            Connections::Short | Connections::Long => client(),
        };
        callers.spawn(call_until(client, begun + time));
    }

    let (mut took, mut failed) = (Histogram::new(3)?, 0);
    while let Some(caller) = callers.join_next().await {
        let of_caller = caller??;
        took.add(of_caller.took)?;
        failed += of_caller.failed;
    }

    Ok(Row {
        connections,
        opened: serving.handle.stats().connections_accepted,
        took,
        failed,
        elapsed: begun.elapsed(),
    })
}

/// What came of a caller.
struct Called {
    took: Histogram<u64>,
    failed: u64,
}

async fn call_until(client: Client, end: Instant) -> Outcome<Called> {
    let mut called = Called {
        took: Histogram::new(3)?,
        failed: 0,
    };
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(called);
        }

        match client.call::<_, ()>(NOOP, &()).await {
            Ok(()) => {
                let microseconds = u64::try_from(begun.elapsed().as_micros())?;
                called.took.record(microseconds.max(1))?;
            }
            Err(_) => called.failed += 1,
        }
    }
}

/// A certificate that is made here; elsewhere it comes from your authority.
fn certificate(directory: &Path) -> Outcome<TlsFiles> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (directory.join("server.pem"), directory.join("server.key"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    // A key that others can read is refused.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;

    Ok(TlsFiles {
        certificate,
        key,
        client_ca: None,
        client_certificates: ClientCertificates::Off,
    })
}
