//! Events of `tracing` that become entries.

use std::fmt;
use std::net::TcpListener;
use std::time::Duration;

use rpc_client::log::{Append, Level, LogGuard, ShipperConfig, layer};
use rpc_core::trace::{TraceContext, TraceParent, otel};
use tracing::{debug_span, error, info, info_span, trace, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::threads::serve;
use super::{LONG, Log};

/// The entries of what is logged by `events`, as they arrive.
fn entries_of(events: impl FnOnce()) -> Vec<Append> {
    let log = Log::default();
    let (_runtime, address) = serve(&log);
    let (layer, guard) = layer(&*address).service("order").build().unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), events);

    let end = guard.close(LONG);
    let entries = std::mem::take(&mut log.book.lock().unwrap().entries);
    assert_eq!((end.sent, end.dropped), (entries.len() as u64, 0));
    entries
}

fn fields(entry: &Append) -> &str {
    entry.fields.as_ref().unwrap().as_str()
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("card \"1\"\nrefused")
    }
}

impl std::error::Error for Refused {}

#[test]
fn an_event_is_an_entry_whose_fields_are_json() {
    let entries = entries_of(|| {
        info!(
            name: "payment",
            target: "shop",
            user = 4211,
            balance = -7,
            huge = u128::MAX,
            price = 1.5,
            rate = f64::INFINITY,
            is_new = true,
            r#type = "a\"b\u{1f}",
            list = ?["x\ny"],
            error = &Refused as &dyn std::error::Error,
            "paid {}",
            "twice\n"
        );
        error!(name: "without a message", target: "shop", n = 1);
        trace!(target: "shop", target = "its own", trace = "4bf9", "t");
        warn!(target: "shop", text = "é".repeat(40_000), "long");
    });

    assert_eq!(
        (entries[0].level, &*entries[0].message),
        (Level::Info, "paid twice\n")
    );
    assert_eq!(entries[0].service, "order");
    assert!(entries[0].ts > Some(1_700_000_000_000));
    assert_eq!(
        fields(&entries[0]),
        concat!(
            r#"{"user":4211,"balance":-7,"huge":340282366920938463463374607431768211455,"price":1.5,"#,
            r#""rate":"inf","is_new":true,"type":"a\"b\u001f","list":"[\"x\\ny\"]","#,
            r#""error":"card \"1\"\nrefused","target":"shop"}"#
        )
    );

    assert_eq!(
        (entries[1].level, &*entries[1].message),
        (Level::Error, "without a message")
    );
    assert_eq!(fields(&entries[1]), r#"{"n":1,"target":"shop"}"#);
    assert_eq!(fields(&entries[2]), r#"{"target":"its own"}"#);
    assert_eq!(
        (entries[2].level, entries[2].trace.as_deref()),
        (Level::Trace, Some("4bf9"))
    );

    let long: String = entries[3]
        .fields
        .as_ref()
        .unwrap()
        .get("text")
        .unwrap()
        .get()
        .into();
    assert_eq!((entries[3].level, long.len()), (Level::Warn, 65_536 + 2));
}

#[test]
fn fields_of_all_spans_are_there_the_innermost_wins_and_explicit_parents_are_honoured() {
    let entries = entries_of(|| {
        let outer = info_span!(
            "request",
            id = 1,
            user = "a",
            late = tracing::field::Empty,
            trace = "outer"
        );
        let _in_outer = outer.enter();
        let inner = debug_span!("query", user = "b", table = "orders");
        outer.record("late", 5);
        inner.in_scope(|| info!(target: "t", id = 9, "within"));
        outer.record("late", 6);
        outer.record("id", 2);
        info!(target: "t", parent: &inner, "by its parent");
        info!(target: "t", parent: None, "of none");
        info!(target: "t", "outside");
    });

    let expected = [
        r#"{"id":9,"user":"b","table":"orders","late":5,"target":"t","span":"query"}"#,
        r#"{"user":"b","table":"orders","late":6,"id":2,"target":"t","span":"query"}"#,
        r#"{"target":"t"}"#,
        r#"{"user":"a","late":6,"id":2,"target":"t","span":"request"}"#,
    ];
    let found: Vec<&str> = entries.iter().map(fields).collect();
    assert_eq!(found, expected);
    let traces: Vec<bool> = entries.iter().map(|entry| entry.trace.is_some()).collect();
    assert_eq!(traces, [true, true, false, true]);
}

#[test]
fn the_trace_of_an_event_is_the_one_that_opentelemetry_knows_for_its_span() {
    let log = Log::default();
    let (_runtime, address) = serve(&log);
    let (layer, guard) = layer(&*address).service("order").build().unwrap();
    let subscriber = Registry::default()
        .with(tracing_opentelemetry::layer())
        .with(layer);

    tracing::subscriber::with_default(subscriber, || {
        let span = info_span!("request");
        let caller = TraceParent::new(0x4bf9_2f35, 7, 1).unwrap();
        otel::set_parent(&span, &TraceContext::new(caller));
        info!(parent: &span, "of the caller's trace");
        info!(parent: &span, trace = "own", "of its own");
        info!("of none");
    });
    guard.close(LONG);

    let book = log.book.lock().unwrap();
    let traces: Vec<Option<&str>> = book.entries.iter().map(|it| it.trace.as_deref()).collect();
    assert_eq!(
        traces,
        [Some("0000000000000000000000004bf92f35"), Some("own"), None]
    );
}

#[test]
fn a_layer_sends_nothing_of_its_own_connection() {
    let log = Log::default();
    let (_runtime, address) = serve(&log);
    let (layer, guard) = layer(&*address).service("order").build().unwrap();

    // All levels of all targets, the client's among them.
    let subscriber =
        Registry::default().with(layer.with_filter(tracing_subscriber::filter::LevelFilter::TRACE));
    tracing::subscriber::with_default(subscriber, || {
        for round in 0..5 {
            info!(round, "sent");
            guard.flush(LONG);
        }
    });
    assert_eq!(log.book.lock().unwrap().entries.len(), 5);
    assert_eq!(guard.stats().sent, 5);
}

/// A layer whose log accepts connections and never answers.
fn silent(config: ShipperConfig, events: impl FnOnce(&LogGuard)) -> LogGuard {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (layer, guard) = layer(&*address).config(config).build().unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), || events(&guard));
    guard
}

#[test]
fn a_log_that_never_answers_costs_entries_and_no_time() {
    let config = ShipperConfig {
        queue_bytes_max: 100_000,
        close_timeout_ms: 1,
        ..ShipperConfig::default()
    };
    let guard = silent(config.clone(), |guard| {
        for number in 0..20_000 {
            info!(number, "again");
        }
        let stats = guard.stats();
        assert_eq!(stats.dropped + stats.queued, 20_000);
        assert!(
            stats.queued_bytes <= 87_500 && stats.dropped > 10_000,
            "{stats:?}"
        );

        // Errors have the room that is left.
        error!("at the end");
        assert_eq!(guard.stats().queued, stats.queued + 1);
    });
    let end = guard.close(Duration::from_millis(20));
    assert_eq!(end.sent, 0);
    assert!(end.unsent > 100, "{end:?}");

    // Dropping it ends by itself, too.
    drop(silent(config, |_| info!("once")));
}

#[test]
fn an_event_after_the_end_of_its_guard_is_dropped() {
    let log = Log::default();
    let (_runtime, address) = serve(&log);
    let (layer, guard) = layer(&*address).service("order").build().unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        info!("before");
        assert_eq!(guard.close(LONG).sent, 1);
        info!("after");
    });
    assert_eq!(log.book.lock().unwrap().entries.len(), 1);
}
