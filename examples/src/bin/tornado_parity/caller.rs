//! A client that is only a client: in order and without ids, for servers that know none.

use std::time::{Duration, Instant};

use rpc_client::{Client, Config};
use serde_json::{Value, json};

use crate::Error;
use crate::service::{HANDLED, TEST};

/// How long a call may take: a server as tornado-TCP was leaves some without a reply.
const TIMEOUT: Duration = Duration::from_millis(300);
/// How long the throughput is measured.
const MEASURED: Duration = Duration::from_millis(500);

/// Where a reply of the server ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// At a line break.
    Lines,
    /// Where its JSON object ends.
    Undelimited,
}

/// Calls the server at this address, and prints what comes of it.
pub(crate) async fn call(address: &str, replies: Replies) -> Result<(), Error> {
    let config = Config::default().with(|config| {
        config.pool.ordered = true;
        config.pool.undelimited_replies = replies == Replies::Undelimited;
    });
    config.check()?;
    let client = Client::with_config(address, config);

    let calls = [
        ("the test command", TEST, json!({"content": "Hello world!"})),
        (
            "params that its handler cannot read",
            TEST,
            json!({"text": "Hello world!"}),
        ),
        ("how often it has run", HANDLED, json!({})),
    ];
    for (what, cmdid, params) in calls {
        println!("{what}: {}", outcome(&client, cmdid, &params).await);
    }

    // Without ids calls do not run side by side: this is what one connection carries.
    let (started, mut answered) = (Instant::now(), 0);
    while started.elapsed() < MEASURED {
        client.call::<_, Value>(HANDLED, &json!({})).await?;
        answered += 1;
    }
    let rate = f64::from(answered) / started.elapsed().as_secs_f64();
    println!("one call after another: {rate:.0} a second on one connection");
    Ok(())
}

/// What became of a call, in words.
async fn outcome(client: &Client, cmdid: u32, params: &Value) -> String {
    let command = client.command(cmdid).timeout(TIMEOUT);
    match command.call::<_, Value>(params).await {
        Ok(Value::Null) => "done".to_owned(),
        Ok(data) => data.to_string(),
        Err(error) => error.to_string(),
    }
}
