//! The connections that fill the server before the newcomers come.

use futures::{StreamExt, TryStreamExt, stream};
use rpc_client::Client;
use rpc_examples::process::Outcome;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Sizes;
use crate::line::Connection;
use crate::service::{HOLD, RELEASE};

const FIRST_CALL: &str = r#"{"id":1,"cmdid":0}"#;
const SECOND_CALL: &str = r#"{"id":2,"cmdid":0}"#;
const WITHOUT_ID: &str = r#"{"cmdid":0}"#;

/// Connections that are opened at one time.
const AT_ONCE: usize = 64;

pub(crate) const LATE: &str = "idle, read their goaway when they call again";
pub(crate) const PROMPT: &str = "idle, read their goaway at once";
pub(crate) const WITHOUT_IDS: &str = "idle, without ids";
pub(crate) const BUSY: &str = "with a call in flight";

pub(crate) struct Population {
    /// These rest longest.
    late: Vec<Connection>,
    prompt: JoinSet<Connection>,
    prompt_end: watch::Sender<bool>,
    without_ids: Vec<Connection>,
    busy: Vec<Connection>,
}

/// What has become of some connections.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) connections: usize,
    pub(crate) asked: usize,
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) first_error: Option<String>,
}

impl Tally {
    /// Counts the call of a connection.
    pub(crate) fn count(&mut self, result: Result<(), String>) {
        self.connections += 1;
        self.calls += 1;
        if let Err(error) = result {
            self.failed += 1;
            self.first_error.get_or_insert(error);
        }
    }

    /// Whether it is as it is promised.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let may_be_asked = matches!(name, LATE | PROMPT);
        self.failed == 0 && (may_be_asked || self.asked == 0)
    }
}

impl Population {
    pub(crate) async fn connect(address: &str, sizes: Sizes) -> Outcome<Self> {
        let late = sizes.newcomers / 2;
        let late = open(address, late, FIRST_CALL).await?;
        let prompt = open(address, sizes.idle - late.len(), FIRST_CALL).await?;
        let without_ids = open(address, sizes.untouchable(), WITHOUT_ID).await?;

        let mut busy = Vec::new();
        for _ in 0..sizes.untouchable() {
            let mut connection = Connection::open(address).await?;
            connection
                .send(&format!(r#"{{"id":1,"cmdid":{HOLD}}}"#))
                .await?;
            busy.push(connection);
        }

        let prompt_end = watch::Sender::new(false);
        let prompt = prompt
            .into_iter()
            .map(|connection| read(connection, prompt_end.subscribe()))
            .collect();

        Ok(Self {
            late,
            prompt,
            prompt_end,
            without_ids,
            busy,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.late.len() + self.prompt.len() + self.without_ids.len() + self.busy.len()
    }

    /// Calls with each of them, and says what has become of them.
    pub(crate) async fn call_all(self, client: &Client) -> Vec<(&'static str, Tally)> {
        let late = call_each(self.late, SECOND_CALL).await;

        self.prompt_end.send_replace(true);
        let (gone, open): (Vec<_>, Vec<_>) = self
            .prompt
            .join_all()
            .await
            .into_iter()
            .partition(|connection| connection.is_asked);
        let mut prompt = call_each(open, SECOND_CALL).await;
        // Those that have read their goaway have closed, and open a connection when they have something to call.
        prompt.connections += gone.len();
        prompt.asked += gone.len();

        let without_ids = call_each(self.without_ids, WITHOUT_ID).await;

        let released = client.call::<_, ()>(RELEASE, &()).await;
        let mut busy = Tally::default();
        for mut connection in self.busy {
            let result = match &released {
                Ok(()) => connection.reply().await,
                Err(error) => Err(error.to_string()),
            };
            busy.count(result);
            busy.asked += usize::from(connection.is_asked);
        }

        vec![
            (LATE, late),
            (PROMPT, prompt),
            (WITHOUT_IDS, without_ids),
            (BUSY, busy),
        ]
    }
}

/// Opens connections, each of which makes a call and is idle from then on.
async fn open(address: &str, number: usize, call: &str) -> Outcome<Vec<Connection>> {
    let open = |_| async {
        let mut connection = Connection::open(address).await?;
        connection.call(call).await?;
        Outcome::Ok(connection)
    };
    stream::iter(0..number)
        .map(open)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Reads until the server asks the connection to go, or the end is here.
async fn read(mut connection: Connection, mut end: watch::Receiver<bool>) -> Connection {
    let is_over = async { drop(end.wait_for(|&is_here| is_here).await) };
    let is_asked = tokio::select! {
        () = connection.asked() => true,
        () = is_over => false,
    };
    if is_asked {
        connection.close().await;
    }
    connection
}

async fn call_each(connections: Vec<Connection>, call: &str) -> Tally {
    let mut tally = Tally::default();
    for mut connection in connections {
        tally.count(connection.call(call).await);
        tally.asked += usize::from(connection.is_asked);
    }
    tally
}
