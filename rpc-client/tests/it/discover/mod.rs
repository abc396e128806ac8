//! Sources of endpoints: real DNS packets, real files, a real etcd.

mod dns;
mod etcd;
mod file;

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rpc_client::discover::{Address, Discover, Error};
use rpc_client::{Client, Config, Target};
use serde_json::json;

use crate::support::{Seen, tcp};

/// The endpoints of a target, as a test asks for them.
struct Endpoints(BoxStream<'static, Result<Vec<Address>, Error>>);

impl Endpoints {
    fn of(target: &str, config: Config) -> Self {
        Self(target.parse::<Target>().unwrap().endpoints(&config))
    }

    /// The next list, as `ADDRESS`, or `ADDRESS priority weight` where these are not the usual ones.
    async fn next(&mut self) -> Vec<String> {
        self.item().await.unwrap().iter().map(text).collect()
    }

    async fn next_error(&mut self) -> String {
        self.item().await.unwrap_err().to_string()
    }

    /// Only a test that has failed waits for so long.
    async fn item(&mut self) -> Result<Vec<Address>, Error> {
        tokio::time::timeout(Duration::from_secs(60), self.0.next())
            .await
            .unwrap()
            .unwrap()
    }
}

fn text(address: &Address) -> String {
    match address {
        Address {
            text,
            priority: 0,
            weight: 1,
        } => text.to_string(),
        Address {
            text,
            priority,
            weight,
        } => format!("{text} {priority} {weight}"),
    }
}

/// Looks as often as it can.
fn eager() -> Config {
    Config::default().with(|config| {
        config.discovery.resolve_interval_ms = 10;
        config.discovery.resolve_interval_min_ms = 1;
        config.discovery.file_interval_ms = 1;
    })
}

/// A source that says what it is told to.
struct Told(Vec<Result<Vec<Address>, &'static str>>);

impl Discover for Told {
    fn watch(&self, _config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        let items = self
            .0
            .clone()
            .into_iter()
            .map(|item| item.map_err(Error::from));
        // The reader has its turn between two of them.
        let told = stream::iter(items).then(|item| async {
            tokio::task::yield_now().await;
            item
        });
        told.boxed()
    }
}

#[tokio::test]
async fn a_fixed_target_has_its_addresses_and_no_others() {
    let mut endpoints = Endpoints::of("a:1, unix:/run/rpc.sock", Config::default());
    assert_eq!(endpoints.next().await, ["a:1", "unix:/run/rpc.sock"]);
    assert!(endpoints.0.next().await.is_none());
}

#[tokio::test]
async fn the_last_good_list_stays_whatever_a_source_says_after_it() {
    let list = |texts: &[&str]| Ok(texts.iter().map(|&text| Address::from(text)).collect());
    let items = vec![
        Err("not yet"),
        list(&["b:2", "a:1", "b:2"]),
        Err("down"),
        list(&[]),
        list(&["a:1", "b:2", "c:3", "d:4"]),
        list(&["a:1", "b:2"]),
        list(&["c:3"]),
    ];
    let target = Target::discovered("told", Told(items));
    let config = Config::default().with(|config| config.discovery.endpoints_max = 3);
    let mut said = Vec::new();
    let mut endpoints = Endpoints(target.endpoints(&config));
    while let Some(item) = endpoints.0.next().await {
        said.push(
            item.map(|list| list.iter().map(text).collect::<Vec<_>>())
                .map_err(|error| error.to_string()),
        );
    }
    // A reader that is slow may miss what was replaced since, never the last.
    let good = [
        vec!["a:1".to_owned(), "b:2".to_owned()],
        vec!["c:3".to_owned()],
    ];
    let before = "cannot find the endpoints of told: not yet".to_owned();
    assert!(
        said.iter().all(|item| match item {
            Ok(list) => good.contains(list),
            Err(error) => *error == before,
        }),
        "{said:?}"
    );
    assert_eq!(said.last().unwrap().as_ref().unwrap(), &good[1]);
}

#[tokio::test]
async fn a_list_over_the_limit_fails_by_its_name() {
    let target = Target::discovered("told", Told(vec![Ok(vec!["a:1".into(), "b:2".into()])]));
    let config = Config::default().with(|config| config.discovery.endpoints_max = 1);
    let error = Endpoints(target.endpoints(&config)).next_error().await;
    assert_eq!(
        error,
        "cannot find the endpoints of told: the list has 2 endpoints, more than `discovery.endpoints_max` = 1"
    );
}

/// A source that says nothing: it ends at once, or panics.
struct Mute {
    panics: bool,
}

impl Discover for Mute {
    fn watch(&self, _config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        let panics = self.panics;
        // Asked again after its end, it panics.
        stream::unfold((), move |()| async move {
            assert!(!panics, "on purpose");
            None
        })
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stops_without_a_word_fails_the_calls_and_keeps_no_thread_busy() {
    for (panics, reason) in [
        (true, "has ended and named no endpoint"),
        (false, "its source has ended"),
    ] {
        let client = Client::new(Target::discovered("mute", Mute { panics }));
        let begin = tokio::time::Instant::now();
        let error = client.call::<_, ()>(100, &()).await.unwrap_err();
        assert!(
            error.is_unreachable() && error.to_string().contains(reason),
            "{error}"
        );
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
    }
}

#[tokio::test]
async fn a_client_follows_its_file_from_server_to_server() {
    let (before, after) = (Seen::default(), Seen::default());
    let ((old, _old), (new, _new)) = (tcp(before.clone()).await, tcp(after.clone()).await);
    let directory = tempfile::tempdir().unwrap();
    let write = |address: &str| {
        fs::write(directory.path().join("next"), address).unwrap();
        fs::rename(
            directory.path().join("next"),
            directory.path().join("endpoints"),
        )
        .unwrap();
    };
    write(&old);
    let target = format!("file:{}", directory.path().join("endpoints").display());
    let client = Client::with_config(target, eager());
    let count = async || client.call::<_, u64>(102, &json!({})).await.unwrap();
    assert_eq!(count().await, 1);
    write(&new);
    while after.ran.load(Ordering::SeqCst) == 0 {
        count().await;
    }
    let calls_of_old = before.ran.load(Ordering::SeqCst);
    for _ in 0..20 {
        count().await;
    }
    assert_eq!(
        (
            before.ran.load(Ordering::SeqCst),
            after.ran.load(Ordering::SeqCst)
        ),
        (calls_of_old, 21)
    );
}

#[tokio::test]
async fn a_target_that_is_not_found_fails_the_call_with_its_reason() {
    let client = Client::with_config(
        "file:/none/endpoints",
        eager().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let error = client.call::<_, u64>(102, &json!({})).await.unwrap_err();
    assert!(error.is_unreachable() && !error.may_have_run(), "{error}");
    assert!(
        error
            .to_string()
            .contains("cannot read /none/endpoints: No such file"),
        "{error}"
    );
}
