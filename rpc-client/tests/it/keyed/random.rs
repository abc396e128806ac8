//! Many calls, and servers and connections that fail at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rpc_client::{CallOptions, Config};
use rpc_server::layers::Deduplicate;
use tokio::time::sleep;

use super::{Gateway, Network, one};

#[tokio::test(start_paused = true)]
async fn of_1000_repetitions_of_a_keyed_call_over_connections_cut_at_random_the_handler_runs_once()
{
    let keys = Deduplicate::default();
    let (network, gateway, client) = one(&keys).await;
    let client = client.with(CallOptions::new().idempotency_key("the order"));
    let left = Arc::new(AtomicU64::new(1_000));

    let cutting = {
        let network = network.clone();
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(fastrand::u64(1..20))).await;
                network.cut("a:1");
            }
        })
    };
    let repeat = || {
        let (client, left) = (client.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            let mut failed = 0;
            while left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                // A call that the client gives up is repeated here.
                loop {
                    match client.send("slow".into()).await {
                        Ok(number) => break assert_eq!(number, 1),
                        Err(_) => failed += 1,
                    }
                }
            }
            failed
        })
    };
    let failed: u32 = join_all((0..64).map(|_| repeat()))
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    cutting.abort();

    let (stats, cuts) = (keys.stats(), network.0.lock().unwrap().cuts);
    assert_eq!((gateway.count(), stats.ran), (1, 1));
    assert!(
        stats.attached > 0 && stats.replayed > 500 && cuts > 10,
        "{stats:?} with {cuts} cuts and {failed} failures says little"
    );
}

/// What became of the calls of a run.
#[derive(Default)]
struct Outcomes {
    answered: u32,
    repeated: u64,
    doubtful: u32,
}

/// Two servers that are cut off, restarted and gone at random, and calls of a client meanwhile.
async fn at_random(seed: u64, outcomes: &mut Outcomes) {
    let network = Network::default();
    let gateways = ["a:1", "b:1"].map(|address| Gateway::new(&network, address));
    let mut stores = Vec::new();
    for gateway in &gateways {
        let keys = Deduplicate::default();
        network.start(gateway.address, gateway, &keys).await;
        stores.push(keys);
    }
    // Older than all calls, so that it is not their age that keeps a wrong server from running one.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let client = network.client("a:1,b:1", Config::default());

    let calls = (0..16).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(fastrand::u64(0..300))).await;
            let pace = if number % 2 == 0 { "slow" } else { "" };
            let text = format!("{number} {pace}");
            let outcome = client.send(text.clone()).await;
            (text, outcome)
        })
    });
    let calls: Vec<_> = calls.collect();

    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        sleep(Duration::from_millis(random.u64(0..60))).await;
        let gateway = &gateways[random.usize(0..2)];
        match random.u8(0..6) {
            0..4 => network.cut(gateway.address),
            4 => network.stop(gateway.address),
            _ => {
                // As a process that was killed, its keys are gone.
                network.stop(gateway.address);
                let keys = Deduplicate::default();
                network.start(gateway.address, gateway, &keys).await;
                stores.push(keys);
            }
        }
    }

    for (text, outcome) in join_all(calls).await.into_iter().map(Result::unwrap) {
        let runs = gateways.each_ref().map(|gateway| {
            let texts = gateway.texts.lock().unwrap();
            texts.get(&text).copied().unwrap_or_default()
        });
        let runs: u32 = runs.iter().sum();

        match outcome {
            Ok(_) => assert_eq!(runs, 1, "seed {seed}: `{text}` was answered"),
            Err(status) if status.is_rejected() => {
                assert_eq!(runs, 0, "seed {seed}: `{text}` was rejected");
            }
            Err(status) => {
                assert!(
                    runs <= 1,
                    "seed {seed}: `{text}` ran {runs} times: {status}"
                );
                outcomes.doubtful += 1;
                continue;
            }
        }
        outcomes.answered += u32::from(runs == 1);
    }
    let stats = stores.iter().map(Deduplicate::stats);
    outcomes.repeated += stats
        .map(|stats| stats.attached + stats.replayed)
        .sum::<u64>();
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_two_servers_no_keyed_call_runs_twice_and_what_is_said_of_it_is_true() {
    let mut outcomes = Outcomes::default();
    for seed in 0..100 {
        fastrand::seed(seed);
        at_random(seed, &mut outcomes).await;
    }

    let Outcomes {
        answered,
        repeated,
        doubtful,
    } = outcomes;
    assert!(
        answered > 500 && repeated > 50 && doubtful > 0,
        "{answered} answered, {repeated} repeated and {doubtful} in doubt say little"
    );
}
