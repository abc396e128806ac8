//! Commands, layers and the fallback.

use std::sync::{Arc, Mutex};

use rpc_core::{builtins, layer_fn, service_fn};
use rpc_server::{
    BoxService, Code, Descriptor, Kind, Outcome, Reply, Request, Route, Router, Service, State,
    Status,
};
use serde_json::{Value, json};

use super::{call, data, message};
use crate::support::TestServer;

async fn first() {}

async fn second() {}

#[test]
fn a_cmdid_with_two_handlers_names_both_and_their_places() {
    let line = line!() + 1;
    let error = message(Router::new().route(100, first).unwrap().route(100, second));
    let place = format!("tests/it/router/routes.rs:{line}:");
    for part in ["cmdid 100", "routes::first", "routes::second"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(error.matches(&place).count(), 2, "{error}");
}

#[test]
fn the_built_in_cmdids_are_refused_by_name() {
    for cmdid in [0, 6, 7, 99] {
        let error = message(Router::new().route(cmdid, first));
        assert!(
            error.contains(&format!("cmdid {cmdid} ")) && error.contains("routes::first"),
            "{error}"
        );
        assert!(
            error.contains("routes.rs:") && error.contains("100"),
            "{error}"
        );
    }
    assert!(
        Router::new()
            .route(100, first)
            .and_then(|router| router.route(u32::MAX, second))
            .is_ok()
    );
}

#[tokio::test]
async fn merging_keeps_all_commands_and_refuses_those_that_both_have() {
    let one = || {
        Router::with_state(5).route(
            100,
            |State(n): State<i32>| async move { Ok::<_, Status>(n) },
        )
    };
    let two = Router::with_state("five").route(101, |State(s): State<&'static str>| async move {
        Ok::<_, Status>(s)
    });
    let both = Router::new()
        .merge(one().unwrap())
        .unwrap()
        .merge(two.unwrap())
        .unwrap();
    assert_eq!(
        (data(&both, 100, "1").await, data(&both, 101, "1").await),
        (json!(5), json!("five"))
    );
    let error = message(both.merge(one().unwrap()));
    assert!(
        error.contains("cmdid 100") && error.matches("routes.rs:").count() == 2,
        "{error}"
    );
}

#[tokio::test]
async fn merging_takes_the_other_fallback_only_if_it_has_no_own_one() {
    let answering = |code: u32| {
        Router::new().fallback(service_fn(
            move |_| async move { Err(Status::new(code, "")) },
        ))
    };
    let merged = Router::new().merge(answering(1001)).unwrap();
    assert_eq!(
        call(&merged, 100, "1").await.unwrap_err().code(),
        Code::new(1001)
    );
    let merged = answering(1002).merge(merged).unwrap();
    assert_eq!(
        call(&merged, 100, "1").await.unwrap_err().code(),
        Code::new(1002)
    );
}

/// Writes down when a call passes it.
fn note(notes: &Arc<Mutex<Vec<String>>>, name: &'static str) -> impl Fn(BoxService) -> Noting {
    let notes = Arc::clone(notes);
    move |inner| Noting {
        inner,
        notes: Arc::clone(&notes),
        name,
    }
}

struct Noting {
    inner: BoxService,
    notes: Arc<Mutex<Vec<String>>>,
    name: &'static str,
}

impl Service for Noting {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.notes.lock().unwrap().push(format!("{} in", self.name));
        let (inner, notes, name) = (self.inner.call(request), Arc::clone(&self.notes), self.name);
        async move {
            let outcome = inner.await;
            notes.lock().unwrap().push(format!("{name} out"));
            outcome
        }
    }
}

#[tokio::test]
async fn the_layer_that_is_added_last_is_the_outermost_and_later_commands_have_none() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let router = Router::new()
        .route(100, first)
        .unwrap()
        .fallback(service_fn(|_| async { Ok(Reply::empty()) }))
        .layer(layer_fn(note(&notes, "inner")))
        .layer(layer_fn(note(&notes, "outer")))
        .route(101, second)
        .unwrap();
    for cmdid in [100, 102] {
        call(&router, cmdid, "1").await.unwrap();
        assert_eq!(
            std::mem::take(&mut *notes.lock().unwrap()),
            ["outer in", "inner in", "inner out", "outer out"]
        );
    }
    call(&router, 101, "1").await.unwrap();
    assert!(notes.lock().unwrap().is_empty());
}

struct Hostile;

impl Service for Hostile {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        assert_ne!(
            request.params.as_str(),
            "\"panic\"",
            "a secret of the layer"
        );
        let hangs = request.params.as_str() == "\"hang\"";
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            panic!("a secret of the layer");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_or_a_fallback_that_panics_or_hangs_is_held_like_a_handler() {
    let layered = Router::new()
        .route(100, first)
        .unwrap()
        .layer(layer_fn(|_: BoxService| Hostile));
    let fallback = Router::new().fallback(Hostile);
    for router in [layered, fallback] {
        let server = TestServer::start(router).await;
        let mut client = server.connect();
        for params in ["\"panic\"", "1"] {
            let reply = client
                .ask(&format!("{{\"cmdid\":100,\"params\":{params}}}"))
                .await;
            assert_eq!(reply["code"], 13, "{reply}");
            assert!(!reply.to_string().contains("secret"), "{reply}");
        }
        let reply = client
            .ask("{\"cmdid\":100,\"params\":\"hang\",\"timeout_ms\":50}")
            .await;
        assert_eq!(reply["code"], 4, "{reply}");
    }
}

#[tokio::test]
async fn what_no_command_is_there_for_is_code_12_or_the_fallbacks() {
    let unknown = call(&Router::new(), 4242, "1").await.unwrap_err();
    assert_eq!(unknown.code(), Code::UNIMPLEMENTED);
    assert!(unknown.message().contains("4242"), "{unknown}");
    let echo = service_fn(|request| async move { Reply::new(&(request.cmdid, request.params)) });
    let router = Router::new().route(100, first).unwrap().fallback(echo);
    assert_eq!(data(&router, 4242, "[7]").await, json!([4242, [7]]));
    assert_eq!(data(&router, 100, "1").await, Value::Null);
    // The built-in range is the protocol's, whatever the fallback would like.
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    assert_eq!(client.ask("{\"cmdid\":50}").await["code"], 12);
    assert_eq!(
        client.ask("{\"cmdid\":101,\"params\":1}").await["data"],
        json!([101, 1])
    );
}

#[tokio::test]
async fn describe_tells_of_every_command_by_number() {
    mod stock {
        pub(super) async fn count() {}
    }
    let descriptor = Descriptor::new("stock", "watch")
        .doc("Streams what changes.")
        .kind(Kind::Stream)
        .idempotent()
        .params_schema(json!({"type": "object"}))
        .data_schema(json!({"type": "integer"}));
    let router = Router::new()
        .route(3_000_000_000, Route::new(first).describe(descriptor))
        .and_then(|router| router.route(200, stock::count))
        .and_then(|router| router.route(150, || async {}))
        .unwrap();
    assert_eq!(
        router
            .descriptors()
            .iter()
            .map(|d| d.cmdid.number())
            .collect::<Vec<_>>(),
        [150, 200, 3_000_000_000]
    );
    let built = rpc_server::Server::builder()
        .router(router)
        .name("shop", "7.1")
        .bind()
        .await
        .unwrap();
    let server = TestServer::of(built);
    let mut client = server.connect();
    let all = client.ask("{\"cmdid\":1}").await["data"].take();
    assert_eq!(
        (&all["protocol"], &all["server"]),
        (&json!(1), &json!({"name": "shop", "version": "7.1"}))
    );
    let commands = all["commands"].as_array().unwrap();
    let number = |command: &Value| command["cmdid"].as_u64().unwrap();
    let numbers: Vec<_> = commands.iter().map(number).collect();
    let built_in = builtins::TABLE.iter().map(|row| row.cmdid.number().into());
    let all_numbers: Vec<u64> = built_in.chain([150, 200, 3_000_000_000]).collect();
    assert_eq!(numbers, all_numbers);

    let [count, watch] = commands.last_chunk().unwrap();
    assert_eq!(
        *watch,
        json!({
            "cmdid": 3_000_000_000_u32, "service": "stock", "method": "watch", "doc": "Streams what changes.",
            "kind": "stream", "idempotent": true, "params": {"type": "object"}, "data": {"type": "integer"},
        })
    );
    // Who says nothing is described by the name of the function.
    assert_eq!(
        (&count["service"], &count["method"]),
        (&json!("stock"), &json!("count"))
    );
    assert_eq!(
        (&count["kind"], &count["idempotent"]),
        (&json!("unary"), &json!(false))
    );

    let one = client.ask("{\"cmdid\":1,\"params\":{\"cmdid\":200}}").await["data"].take();
    assert_eq!(one["commands"], json!([count]));
    assert_eq!(
        client.ask("{\"cmdid\":1,\"params\":{\"cmdid\":201}}").await["code"],
        5
    );
    assert_eq!(
        client.ask("{\"cmdid\":1,\"params\":null}").await["data"],
        all
    );
    assert_eq!(
        client
            .ask("{\"cmdid\":2,\"params\":{\"service\":\"stock\"}}")
            .await["data"]["status"],
        "serving"
    );
    assert_eq!(
        client
            .ask("{\"cmdid\":2,\"params\":{\"service\":\"stok\"}}")
            .await["code"],
        5
    );
}
