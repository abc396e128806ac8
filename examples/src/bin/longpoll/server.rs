//! The server: it takes messages out of Redis, and gives each to the client that waits for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use rpc_examples::process::{Outcome, Process, parent_is_gone};
use rpc_server::{AdminConfig, AdminPage, Config, ListenOptions, Router, Server, Status, service};
use tokio::time::timeout;

use crate::mailboxes::{Mailbox, Mailboxes, Message, Posted};
use crate::redis::List;

/// The list that is popped from.
pub(crate) const LIST: &str = "messages";

/// Messages that are taken out of Redis at one time.
pub(crate) const POPPED_MAX: usize = 256;

/// How long a request waits for a message. A proxy that cuts silent requests does so later.
const WAIT: Duration = Duration::from_secs(20);

/// Messages for those who wait.
#[service]
pub(crate) trait Messages {
    /// The messages for `to` behind number `after`, once there are any; none where none has come within 20 s.
    #[rpc(cmdid = 300, idempotent)]
    async fn wait(&self, to: u32, after: u64) -> Result<Vec<Message>, Status>;

    /// The messages for `to` behind number `after`, as they come.
    #[rpc(
        cmdid = 301,
        idempotent,
        no_timeout,
        resumable(cursor = "seq", param = "after")
    )]
    fn follow(&self, to: u32, after: u64) -> impl Stream<Item = Result<Message, Status>> + Send;
}

impl Messages for Mailboxes {
    async fn wait(&self, to: u32, after: u64) -> Result<Vec<Message>, Status> {
        let mailbox = self.of(to)?;
        let waited = timeout(WAIT, mailbox.behind(after)).await;
        Ok(waited.unwrap_or_default())
    }

    fn follow(&self, to: u32, after: u64) -> impl Stream<Item = Result<Message, Status>> + Send {
        match self.of(to) {
            Ok(mailbox) => messages(mailbox, after).map(Ok).left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        }
    }
}

fn messages(mailbox: Arc<Mailbox>, after: u64) -> impl Stream<Item = Message> + Send {
    let pages = stream::unfold((mailbox, after), async |(mailbox, after)| {
        let page = mailbox.behind(after).await;
        let last = page.last().map_or(after, |message| message.seq);
        Some((stream::iter(page), (mailbox, last)))
    });
    pages.flatten()
}

/// The page for a browser, which waits in both ways.
fn page() -> AdminPage {
    AdminPage::new("/longpoll", "Long polling", include_str!("page.html"))
        .file(
            "/longpoll.js",
            "text/javascript; charset=utf-8",
            include_str!("page.js"),
        )
        .file(
            "/longpoll.css",
            "text/css; charset=utf-8",
            include_str!("page.css"),
        )
}

/// Starts one in a process of its own.
pub(crate) fn start(socket: &Path) -> Outcome<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    Process::start(command.arg("--serve").arg(socket))
}

/// Serves until its standard input ends, and prints its address.
pub(crate) async fn serve(socket: PathBuf) -> Outcome<()> {
    let mailboxes = Mailboxes::default();
    let mut config = Config::default();
    // All clients are on this machine.
    config.limits.connections_per_address = 0;

    let server = Server::builder()
        .config(config)
        .listen_with(ListenOptions::new("127.0.0.1:0").http_calls(true))
        .admin(AdminConfig::default())
        .admin_page(page())
        .router(Router::new().serve(MessagesServer(mailboxes.clone()))?)
        .bind()
        .await?;
    println!("{}", server.addresses()[0]);

    let list = List::open(&socket, LIST).await?;
    let taking = tokio::spawn(take(list, mailboxes));
    server.serve(parent_is_gone()).await?;
    taking.abort();
    Ok(())
}

/// Takes messages out of the list, for ever.
async fn take(mut list: List, mailboxes: Mailboxes) {
    loop {
        let popped = match list.pop(POPPED_MAX).await {
            Ok(popped) => popped,
            Err(error) => return eprintln!("longpoll: no more messages: {error}"),
        };

        for value in popped {
            match serde_json::from_slice::<Posted>(&value) {
                Ok(posted) => {
                    if let Err(status) = mailboxes.post(posted) {
                        eprintln!("longpoll: a message was dropped: {status}");
                    }
                }
                Err(error) => eprintln!("longpoll: not a message: {error}"),
            }
        }
    }
}
