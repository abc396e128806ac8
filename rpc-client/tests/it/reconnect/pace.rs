//! The pace of attempts to connect.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use rpc_client::{Client, Config, ConnectionEvent, Mode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Island, in_use, short_lived};

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_followed_at_once_and_the_others_after_a_window_that_grows_to_the_cap()
{
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let began = Instant::now();
    island.sink();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = island.attempts();
    assert_eq!((attempts[0], attempts[1]), (began, began));
    for pair in attempts.windows(2) {
        let window =
            ((pair[0] - began) / 2).clamp(Duration::from_millis(50), Duration::from_secs(5));
        // The timer's own resolution is a millisecond.
        assert!(
            pair[1] - pair[0] <= window + Duration::from_millis(2),
            "{pair:?}"
        );
    }
    // Half a window on average, for ever.
    assert!((150..400).contains(&attempts.len()), "{}", attempts.len());
    island.rise();
    let back = Instant::now();
    client.events().next().await.unwrap();
    assert!(
        back.elapsed() <= Duration::from_millis(5_002),
        "{:?}",
        back.elapsed()
    );

    drop(client);
    let attempts = island.attempts().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        island.attempts().len(),
        attempts,
        "no connection is opened for a client that is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_down_calls_fail_at_once_and_it_is_found_again_within_two_seconds() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let mut events = client.events();
    // Whatever the wait for the next attempt that the end of the time falls into.
    for seconds in [60, 120, 180].into_iter().chain(60..90) {
        let unanswered = client.call::<_, ()>(101, &());
        let cut = async {
            tokio::task::yield_now().await;
            island.sink();
        };
        assert!(tokio::join!(unanswered, cut).0.is_err());
        assert!(matches!(
            events.next().await,
            Some(ConnectionEvent::Disconnected { .. })
        ));
        let lost = Instant::now();
        let call = async || client.call::<_, u64>(100, &json!({"value": 1})).await;
        assert!(call().await.is_err());
        assert_eq!(
            lost.elapsed().as_millis() / 10,
            100,
            "the first one waits for a second"
        );
        while lost.elapsed() < Duration::from_secs(seconds) {
            let began = Instant::now();
            let error = call().await.unwrap_err();
            assert_eq!(began.elapsed(), Duration::ZERO);
            assert!(
                error.is_unreachable() && error.address() == "island",
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("cannot connect: connection refused"),
                "{error}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        island.rise();
        let back = Instant::now();
        while call().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(
            events.next().await,
            Some(ConnectionEvent::Connected { .. })
        ));
        assert!(
            back.elapsed() <= Duration::from_secs(2),
            "{:?}",
            back.elapsed()
        );
    }
}

const CLIENTS: usize = 1_000;

/// What the clients do while their server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Rest,
    Call,
}

/// How many of 1,000 clients that lose one server together return in each 100 ms after it is back, which
/// is after `down_ms`.
async fn stampede(down_ms: u64, meanwhile: Meanwhile) -> Vec<usize> {
    let island = Island::new().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(in_use(&island, Config::default()).await);
    }
    island.sink();
    let mut calling = JoinSet::new();
    if meanwhile == Meanwhile::Call {
        for client in &clients {
            let client = client.clone();
            calling.spawn(async move {
                loop {
                    let _ = client.call::<_, u64>(100, &json!({"value": 1})).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    let back = Instant::now();
    island.rise();
    let limit_s = match meanwhile {
        Meanwhile::Call => 2,
        Meanwhile::Rest => 6,
    };
    let mut tick = pin!(tokio::time::sleep(Duration::from_secs(limit_s)));
    tick.as_mut().await;

    let accepted = island.accepted();
    assert_eq!(accepted.len(), CLIENTS, "each is back, once");
    let window = |at: &Instant| usize::try_from((*at - back).as_millis() / 100).unwrap();
    let mut windows = vec![0; accepted.iter().map(window).max().unwrap() + 1];
    for at in &accepted {
        windows[window(at)] += 1;
    }
    windows
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_that_lose_one_server_come_back_spread_over_time() {
    fastrand::seed(1);
    for (down_ms, meanwhile) in [1_000, 5_000, 20_000]
        .into_iter()
        .flat_map(|down_ms| [(down_ms, Meanwhile::Rest), (down_ms, Meanwhile::Call)])
    {
        // The mean of five losses: in a single one, chance alone may bring a few more together.
        const LOSSES: usize = 5;
        let mut windows = Vec::new();
        for _ in 0..LOSSES {
            for (n, count) in stampede(down_ms, meanwhile).await.into_iter().enumerate() {
                windows.resize(windows.len().max(n + 1), 0);
                windows[n] += count;
            }
        }
        let (most, count) = (*windows.iter().max().unwrap(), windows.len());
        let what = format!("down for {down_ms} ms, clients {meanwhile:?}: {windows:?}");
        println!("{what}");
        assert!(
            most * count <= 3 * LOSSES * CLIENTS,
            "{most} in 100 ms. {what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_each_connection_is_not_connected_to_without_a_pause() {
    const REJECTED: &str = "{\"id\":ID,\"code\":14,\"message\":\"elsewhere\",\"rejected\":true}\n";
    const SERVED: &str = "{\"id\":ID,\"code\":0,\"data\":null}\n";
    const GOAWAY: &str = "{\"event\":\"goaway\",\"message\":\"elsewhere\"}\n";
    let seconds = 60;

    for (mode, answers, per_minute) in [
        // Nothing is ever served: the back-off of failing to connect.
        (Mode::Single, vec![GOAWAY, REJECTED], 10..=140),
        (Mode::Single, vec![REJECTED, GOAWAY], 10..=140),
        (Mode::Single, vec![REJECTED, " "], 10..=140),
        (Mode::Single, vec![GOAWAY, " "], 10..=140),
        (Mode::Pooled(2), vec![REJECTED, GOAWAY], 10..=280),
        // All is served, so the calls go on, at a pace.
        (Mode::Single, vec![SERVED, GOAWAY], 1_000..=2_400),
        (Mode::Single, vec![GOAWAY, SERVED], 1_000..=2_400),
        (Mode::Single, vec![SERVED, " "], 1_000..=2_400),
    ] {
        let answer = answers.concat();
        let (connect, opened) = short_lived(answer.clone().leak());
        let client = Client::builder("memory")
            .connector(connect)
            .config(Config::default().with(|config| config.pool.mode = mode))
            .build();

        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let result = client.call::<_, ()>(100, &()).await;
            let is_served = answers.contains(&SERVED);
            assert_eq!(result.is_ok(), is_served, "{answer}: {result:?}");
            if !is_served {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        let opened = opened.lock().unwrap().len();
        assert!(
            per_minute.contains(&opened),
            "{mode:?} {answer}: {opened} in a minute"
        );
    }
}
