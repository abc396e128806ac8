//! A real daemon under every kind of bad peer, while a good client goes on calling it.
//!
//! `cargo run --release -p rpc-examples --bin chaos` starts a daemon in a process of its own, keeps a constant
//! open-loop load on it, and runs one fault after another from further processes. For each it prints the
//! good client's p99 alone and under the fault (in turns, so that a noisy machine hits both alike), its
//! errors, the daemon's memory and descriptors, and a verdict. Where a fault keeps the processor busy, it is
//! compared with the p99 beside it, while another daemon of the machine is attacked: that is what the machine is good
//! for then. It ends with 1 where a bound is missed.
//!
//! The daemon is this program in another role; two rows, which send signals, have the program `rpc-server` beside this one
//! (`cargo build --release -p rpc-daemon`).
//!
//! `--quick` takes about a minute, of which the rows of the log's commands have 5 s, and judges nothing that depends on speed; `--only NAME` runs the rows
//! whose names hold NAME; `--out FILE` writes the table as Markdown.

mod aftermath;
mod attack;
mod counts;
mod daemon;
mod descriptors;
mod emits;
mod good;
mod holding;
mod overload;
mod report;
mod rows;
mod times;
mod trial;

use std::process::ExitCode;

use report::Report;

pub(crate) use rpc_examples::process::Outcome;

/// What the command line says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    only: Option<String>,
    out: Option<String>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--only" => options.only = Some(arguments.next().ok_or("--only needs a NAME")?),
                "--out" => options.out = Some(arguments.next().ok_or("--out needs a FILE")?),
                other => {
                    return Err(format!(
                        "unknown argument {other}; there are --quick, --only NAME and --out FILE"
                    )
                    .into());
                }
            }
        }

        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();

    // The peers of an attack have machines of their own; here they get one thread of this one's.
    let is_attack = arguments.first().is_some_and(|role| role == "attack");
    let threads = if is_attack { 1 } else { 2 };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();

    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            // The other roles of this program, each a process of its own.
            match arguments.first().map(String::as_str) {
                Some("daemon") => daemon::serve().await.map(|()| true),
                Some("attack") => attack::run(&arguments[1..]).await.map(|()| true),
                _ => run(Options::read(arguments.into_iter())?).await,
            }
        })
    });

    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the rows. False where a bound is missed.
async fn run(options: Options) -> Outcome<bool> {
    let mut report = Report::new(options.quick);
    rows::run(&options, &mut report).await?;

    for after in aftermath::ROWS {
        if options.wants(after.name) && (after.is_quick || !options.quick) {
            report.add(after.run().await?);
        }
    }
    if options.wants("descriptors-used-up") {
        report.add(descriptors::run(&options).await?);
    }
    if options.wants("overload-three-times") {
        report.add(overload::run(&options).await?);
    }

    if report.is_empty() {
        return Err("no row has a name like that".into());
    }

    if let Some(file) = &options.out {
        std::fs::write(file, report.markdown())?;
    }

    println!("{}", report.last_line());
    Ok(report.is_passed())
}
