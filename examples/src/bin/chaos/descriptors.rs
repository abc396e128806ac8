//! A daemon that has used up its descriptors.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attack::Attack;
use crate::daemon::{Daemon, Start};
use crate::good::Load;
use crate::report::Row;
use crate::trial::mib;
use crate::{Options, Outcome};

/// Few, so that the processor time that is seen is that of accepting.
const RATE: u32 = 100;
/// What the system lets the daemon have.
const DESCRIPTORS: u32 = 256;

pub(crate) async fn run(options: &Options) -> Outcome<Row> {
    let length = if options.quick {
        Duration::from_secs(2)
    } else {
        Duration::from_secs(10)
    };

    let settings = vec![
        ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
        ("LOG_LEVEL", "error"),
    ];
    let daemon = Daemon::start(&Start {
        settings,
        descriptors_max: Some(DESCRIPTORS),
        ..Start::default()
    })?;

    let load = Load::of_additions(&daemon.process.address, RATE);
    drop(load.window(Duration::from_millis(500)).await);
    let (alone, cpu_alone) = measured(&load, &daemon, length).await?;

    let attack = Attack::start("holds-400", &daemon)?;
    let (under, cpu_under) = measured(&load, &daemon, length).await?;
    let usage = daemon.process.usage()?;
    let seen = attack.end()?.text;
    let back = recovered(&daemon.process.address).await;

    let mut row = Row {
        name: "descriptors-used-up".into(),
        alone: alone.p99(),
        under: under.p99(),
        ratio: under.p99() / alone.p99(),
        errors: alone.errors + under.errors,
        rss_peak_mib: mib(usage.rss_bytes),
        descriptors_peak: usage.descriptors,
        ..Row::default()
    };

    let (more, errors) = ((cpu_under - cpu_alone) * 100.0, row.errors);
    let back_ms = back.map(|back| back.as_millis());
    row.notes =
        format!("{seen}; {more:.1} % of a core more; taking connections {back_ms:?} ms after");

    row.bound(errors == 0, || {
        format!("the good client had {errors} errors")
    });
    row.bound(usage.descriptors + 2 >= DESCRIPTORS as usize, || {
        "the descriptors were not used up".into()
    });
    row.bound(more < 5.0, || {
        format!("accepting took {more:.1} % of a core")
    });
    row.bound(
        back.is_some_and(|back| back < Duration::from_secs(3)),
        || "it did not recover".into(),
    );

    Ok(row)
}

/// The load for some time, and how much of a core the daemon took.
async fn measured(
    load: &Load,
    daemon: &Daemon,
    length: Duration,
) -> Outcome<(crate::good::Window, f64)> {
    let (before, began) = (daemon.process.usage()?.cpu, Instant::now());
    let window = load.window(length).await;
    let cpu = daemon.process.usage()?.cpu.saturating_sub(before);
    Ok((window, cpu.as_secs_f64() / began.elapsed().as_secs_f64()))
}

/// How long it takes until a new connection is served.
async fn recovered(address: &str) -> Option<Duration> {
    let began = Instant::now();
    let ping = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(b"{\"cmdid\":0}\n").await?;
        let mut reply = String::new();
        stream.read_line(&mut reply).await?;
        Ok::<_, std::io::Error>(reply.contains("\"code\":0"))
    };

    let is_served = timeout(Duration::from_secs(10), ping).await;
    matches!(is_served, Ok(Ok(true))).then(|| began.elapsed())
}
