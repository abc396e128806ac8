//! Compares the good client's counts with the daemon's, after all that the bad peers have done.

use std::collections::BTreeMap;

use rpc_client::Client;
use serde_json::{Value, json};

use crate::Outcome;
use crate::daemon::Daemon;
use crate::good::{ADD, Load};
use crate::report::Row;

/// The daemon's own counters.
const STATS: u32 = 3;

/// Ends the load, and compares its client's counts with those of the daemon.
pub(crate) async fn compare(row: &mut Row, daemon: &Daemon, load: Load) -> Outcome<()> {
    let report = load.end().await;
    let ours = report
        .commands
        .iter()
        .find(|command| command.cmdid == Some(ADD))
        .ok_or("the good client has called nothing")?;

    let client = Client::new(&*daemon.process.address);
    let stats: Value = client.call(STATS, &json!({})).await?;
    let theirs = calls_of(&stats).ok_or("`stats` has no calls of the good client")?;

    // A call that is turned away is no call of its command to the daemon, and the reply to one may be lost.
    let turned_away = ["RESOURCE_EXHAUSTED", "UNAVAILABLE"];
    let lost: u64 = ours.unanswered.values().sum();
    for code in ours.answered.keys().copied().chain(theirs.keys().copied()) {
        let of = |counts: &BTreeMap<&str, u64>| counts.get(code).copied().unwrap_or(0);
        let (ours, theirs) = (of(&ours.answered), of(&theirs));
        let is_same = ours == theirs || (ours..=ours + lost).contains(&theirs);
        row.bound(is_same || turned_away.contains(&code), || {
            format!("the client has counted {ours} answers with {code}, and the daemon {theirs}")
        });
    }

    row.bound(ours.in_flight == 0, || {
        format!(
            "the client counts {} calls in flight at its end",
            ours.in_flight
        )
    });
    Ok(())
}

/// Ended calls of the good client's command, by the name of their code.
fn calls_of(stats: &Value) -> Option<BTreeMap<&str, u64>> {
    let commands = stats["commands"].as_array()?;
    let command = commands.iter().find(|command| command["cmdid"] == ADD)?;
    let calls = command["calls"].as_object()?;
    calls
        .iter()
        .map(|(code, count)| Some((code.as_str(), count.as_u64()?)))
        .collect()
}
