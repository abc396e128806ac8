//! `rpc pipe`: request lines in, reply lines out.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpc_client::Config;
use rpc_client::pipe::{Piped, pipe};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf, Stdin};
use tokio::time::Instant;

use crate::Target;
use crate::exit::Failure;
use crate::output::{Escaped, Output, complain};

/// Lines wait behind thousands of others of the pipe, each with its own write to a disk perhaps; how
/// long a single one may take, the server's own limit says. This is for a server that answers nothing.
const CALL_TIMEOUT_MS: u64 = 10 * 60 * 1_000;

/// Each read goes to a thread and back; this makes it one for some hundred lines.
const INPUT_BYTES: usize = 64 * 1024;

/// How often the progress bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Send request lines from standard input, print reply lines
///
/// Each line is a request, for example {"cmdid":1001,"params":{…}}. Requests without an id run one after another, and
/// their replies are printed in the order of the requests. Requests with an id run concurrently; their replies have the
/// same id, and are printed as they arrive. `rpc pipe` ends when standard input has ended and every request is
/// answered. The reply to a request that fails has an error code, and the exit code is then 1.
///
/// If standard error is a terminal, it shows the progress.
#[derive(Args)]
#[command(after_help = "\
Examples:
  jq -c '{cmdid:1001,params:.}' entries.json | rpc pipe > replies.json
  jq -c '{id:input_line_number,cmdid:1001,params:.}' entries.json | rpc pipe > replies.json")]
pub(crate) struct Pipe {}

impl Pipe {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client_with(
            Config::default().with(|config| config.timeouts.call_timeout_ms = CALL_TIMEOUT_MS),
        );
        // Before anything is read: what was not sent can then be piped again.
        client.connect().await?;

        let bytes_read = Arc::new(AtomicU64::new(0));
        let input = Counted {
            stdin: tokio::io::stdin(),
            bytes_read: Arc::clone(&bytes_read),
        };
        let mut progress = Progress::new(bytes_read);
        let input = BufReader::with_capacity(INPUT_BYTES, input);

        let stdout: Box<dyn AsyncWrite + Unpin> = if Output::is_terminal() {
            Box::new(Escaped::new(tokio::io::stdout()))
        } else {
            Box::new(tokio::io::stdout())
        };
        let piped = pipe(&client, input, stdout, |piped| progress.show(piped)).await;
        progress.bar.finish_and_clear();
        let piped = piped.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::io("the pipe broke", &error),
        })?;

        let Piped {
            requests,
            replies,
            failures,
            ..
        } = piped;
        if failures > 0 || progress.is_wanted {
            complain(&format!(
                "rpc: {}: {requests} requests, {replies} replies, {failures} failures",
                client.address()
            ));
        }

        if failures == 0 {
            Ok(())
        } else {
            Err(Failure::Answered)
        }
    }
}

struct Progress {
    bar: ProgressBar,
    is_wanted: bool,
    /// Where standard input is a file, its size says how much there is to do.
    has_size: bool,
    bytes_read: Arc<AtomicU64>,
    next: Instant,
}

impl Progress {
    fn new(bytes_read: Arc<AtomicU64>) -> Self {
        // Replies on the same terminal are progress enough, and a bar would tear them apart.
        let is_wanted = io::stderr().is_terminal() && !Output::is_terminal();

        let size = stdin_size();
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::hidden());
        let style = match size {
            Some(_) => "{wide_bar} {percent:>3}%  {msg}  {elapsed}, {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        if is_wanted {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }

        Self {
            bar,
            is_wanted,
            has_size: size.is_some(),
            bytes_read,
            next: Instant::now(),
        }
    }

    fn show(&mut self, piped: Piped) {
        // Asked twice for each line: what costs anything is left for when it is due.
        if !self.is_wanted || Instant::now() < self.next {
            return;
        }

        self.next = Instant::now() + DRAW_INTERVAL;

        let Piped {
            requests,
            replies,
            failures,
            ..
        } = piped;
        self.bar.set_message(format!(
            "{replies} of {requests} answered, {failures} failed"
        ));

        if self.has_size {
            // Relaxed: a picture for people. What is read runs ahead of what is answered.
            let bytes_read = u128::from(self.bytes_read.load(Ordering::Relaxed));
            let answered = bytes_read * u128::from(replies) / u128::from(requests.max(1));
            self.bar
                .set_position(u64::try_from(answered).unwrap_or(u64::MAX));
        } else {
            self.bar.tick();
        }
    }
}

/// The size of standard input, where it is a file.
fn stdin_size() -> Option<u64> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    file.metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
}

/// Standard input, and how much of it was read.
struct Counted {
    stdin: Stdin,
    bytes_read: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stdin).poll_read(cx, buf))?;
        self.bytes_read
            .fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}
