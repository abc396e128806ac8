//! Calls and streams that tell where their time went.

use std::time::{Duration, Instant};

use rpc_client::{Client, Command, LastTiming, ServerTiming};
use rpc_core::RawJson;

use super::print_items;
use crate::exit::Failure;
use crate::output::{Output, complain};

/// Calls, and tells where the time went, also where the call fails.
pub(super) async fn call(
    client: &Client,
    command: &Command<'_>,
    params: &RawJson<'static>,
) -> Result<(), Failure> {
    // Opening the connection is no part of the call.
    client.connect().await?;

    let timed = command.timed_raw(params).await;
    // Before the failure, which is the last line.
    tell_times(timed.total, timed.server);

    let mut output = Output::new();
    if let Some(data) = timed.result? {
        output.value(data.as_str())?;
    }
    output.flush()
}

/// The same for a stream, to its end or its failure.
pub(super) async fn stream(
    client: &Client,
    command: Command<'_>,
    params: &RawJson<'static>,
) -> Result<(), Failure> {
    client.connect().await?;

    let timing = LastTiming::new();
    let begun = Instant::now();
    let result = print_items(&command.timing(&timing), params).await;
    tell_times(begun.elapsed(), timing.get());
    result
}

/// Writes to standard error where the time of a call went.
fn tell_times(total: Duration, server: Option<ServerTiming>) {
    complain(&format!("total    {}", milliseconds(total)));
    let Some(ServerTiming { queue, run }) = server else {
        complain("the reply does not say how much of it was the server's");
        return;
    };

    let network = total.saturating_sub(queue).saturating_sub(run);
    complain(&format!("network  {}", milliseconds(network)));
    complain(&format!("queue    {}", milliseconds(queue)));
    complain(&format!("run      {}", milliseconds(run)));
}

/// Whole microseconds, as milliseconds.
fn milliseconds(time: Duration) -> String {
    let us = time.as_micros();
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}
