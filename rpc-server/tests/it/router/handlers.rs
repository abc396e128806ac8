//! Handlers: what they take, and what they return.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_server::{
    Code, Context, FromRequest, Params, RawJson, Reply, Request, Router, State, Status, service,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{OutOfStock, call, data};
use crate::support::TestServer;

#[tokio::test]
async fn params_that_do_not_fit_are_refused_by_field_before_the_handler_runs() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[allow(dead_code)] // only whether it can be read matters
        count: u8,
    }
    async fn order(Params(_): Params<Order>) -> Status {
        Status::internal("it ran")
    }
    let router = Router::new().route(100, order).unwrap();
    for (params, expected) in [
        ("{}", "`params`: missing field `count`"),
        (
            "{\"count\":256}",
            "`params.count`: invalid value: integer `256`, expected u8",
        ),
        (
            "{\"count\":1,\"cuont\":1}",
            "`params.cuont`: unknown field `cuont`, expected `count`",
        ),
        (
            "null",
            "`params`: invalid type: null, expected struct Order",
        ),
    ] {
        let refused = call(&router, 100, params).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::INVALID_ARGUMENT, expected),
            "{params}"
        );
    }
    assert_eq!(
        call(&router, 100, "{\"count\":1}")
            .await
            .unwrap_err()
            .message(),
        "it ran"
    );
}

#[tokio::test]
async fn several_arguments_that_are_not_an_object_are_refused_with_the_name_of_their_method() {
    /// A shelf of items.
    #[service]
    trait Stock {
        /// Adds pieces of an item.
        #[rpc(cmdid = 100)]
        async fn add(&self, item: String, count: u32) -> Result<u32, Status>;
    }

    struct Shelf;

    impl Stock for Shelf {
        async fn add(&self, _item: String, count: u32) -> Result<u32, Status> {
            Ok(count)
        }
    }

    let router = Router::new().serve(StockServer(Shelf)).unwrap();
    for (params, found) in [("[\"pear\",1]", "sequence"), ("null", "null")] {
        let refused = call(&router, 100, params).await.unwrap_err();
        assert_eq!(
            refused.message(),
            format!(
                "`params`: invalid type: {found}, expected an object with the arguments of `add`"
            ),
            "{params}"
        );
    }
}

/// Wants a token in the metadata.
struct Identity(String);

impl<S> FromRequest<S> for Identity {
    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        request
            .meta
            .get("token")
            .map(Self)
            .ok_or_else(|| Status::unauthenticated("`meta.token` is missing"))
    }
}

#[tokio::test]
async fn the_first_extractor_that_refuses_decides() {
    async fn who(Identity(token): Identity, Params(n): Params<u8>) -> Result<String, Status> {
        Ok(format!("{token} {n}"))
    }
    let server = TestServer::start(Router::new().route(100, who).unwrap()).await;
    let mut client = server.connect();
    assert_eq!(
        client.ask("{\"cmdid\":100,\"params\":\"x\"}").await["code"],
        16
    );
    let known = "\"meta\":{\"token\":\"me\"}";
    assert_eq!(
        client
            .ask(&format!("{{\"cmdid\":100,\"params\":\"x\",{known}}}"))
            .await["code"],
        3
    );
    assert_eq!(
        client
            .ask(&format!("{{\"cmdid\":100,\"params\":7,{known}}}"))
            .await["data"],
        "me 7"
    );
}

#[tokio::test]
async fn a_handler_may_take_eight_arguments_and_the_context_of_its_call() {
    #[allow(clippy::too_many_arguments, clippy::many_single_char_names)] // eight is what there may be
    async fn all(
        a: Context,
        b: RawJson<'static>,
        c: Params<Value>,
        d: State<&'static str>,
        e: Context,
        f: RawJson<'static>,
        g: Params<Vec<u8>>,
        h: State<&'static str>,
    ) -> Result<Value, Status> {
        let call = json!([
            a.id(),
            a.cmdid(),
            a.timestamp(),
            a.is_oneway(),
            a.credit(),
            a.timeout(),
            a.meta("k")
        ]);
        let deadline = a.deadline().unwrap() - std::time::Instant::now();
        assert!(
            deadline <= Duration::from_secs(9),
            "the caller's own limit: {deadline:?}"
        );
        assert_eq!(a.peer().unwrap().address, "pipe");
        assert_eq!(e.meta_entries(), BTreeMap::from([("k".into(), "v".into())]));
        Ok(json!([call, b.as_str(), c.0, d.0, f.as_str(), g.0, h.0]))
    }
    let server = TestServer::start(Router::with_state("state").route(100, all).unwrap()).await;
    let mut client = server.connect();
    let line = r#"{"id":3,"cmdid":100,"timestamp":-5,"timeout_ms":9000,"credit":2,"meta":{"k":"v"},"params":[1, 2]}"#;
    let expected = json!([
        [3, 100, -5, false, 2, {"secs": 9, "nanos": 0}, "v"], "[1, 2]", [1, 2], "state", "[1, 2]", [1, 2], "state"
    ]);
    assert_eq!(client.ask(line).await["data"], expected);
}

#[tokio::test]
async fn without_a_connection_there_is_no_peer_and_no_deadline() {
    async fn look(context: Context) -> Result<(bool, bool, bool), Status> {
        let cancelled = context.cancellation().is_cancelled();
        Ok((
            context.peer().is_some(),
            context.deadline().is_some(),
            cancelled,
        ))
    }
    let router = Router::new().route(100, look).unwrap();
    assert_eq!(data(&router, 100, "1").await, json!([false, false, false]));
}

/// Has no JSON form.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a secret of the value"))
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_handler_may_return_has_its_line() {
    let router = Router::new()
        .route(100, || async {})
        .and_then(|r| r.route(101, || async { Ok::<(), Status>(()) }))
        .and_then(|r| r.route(102, || async { Ok::<Option<u8>, Status>(None) }))
        .and_then(|r| r.route(103, || async { Err::<u8, _>(OutOfStock) }))
        .and_then(|r| {
            r.route(104, || async {
                Status::not_found("no such thing").with_details(&[1])
            })
        })
        .and_then(|r| r.route(105, || async { Reply::new(&json!({"a": 1})).unwrap() }))
        .and_then(|r| r.route(106, || async { Ok::<_, OutOfStock>(Reply::empty()) }))
        .and_then(|r| {
            r.route(107, || async {
                Reply::stream(futures::stream::iter([Ok("item")]))
            })
        })
        .and_then(|r| {
            r.route(108, || async {
                Ok::<_, Status>(BTreeMap::from([((1, 2), 3)]))
            })
        })
        .and_then(|r| r.route(109, || async { Ok::<_, Status>(Unwritable) }))
        .and_then(|r| {
            r.route(110, || async {
                Status::unavailable("later")
                    .with_rejected()
                    .with_retry_after(Duration::from_millis(250))
            })
        })
        .and_then(|r| {
            let items = || futures::stream::iter([Ok(0.5), Err(Status::aborted("torn"))]);
            r.route(111, move || async move { Reply::stream(items()) })
        })
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    let unwritable =
        "{\"code\":13,\"message\":\"the result of the command cannot be written as JSON\"}";
    for (cmdid, lines) in [
        (100, &["{\"code\":0}"][..]),
        (101, &["{\"code\":0}"]),
        (102, &["{\"code\":0,\"data\":null}"]),
        (103, &["{\"code\":1042,\"message\":\"out of stock\"}"]),
        (
            104,
            &["{\"code\":5,\"message\":\"no such thing\",\"details\":[1]}"],
        ),
        (105, &["{\"code\":0,\"data\":{\"a\":1}}"]),
        (106, &["{\"code\":0}"]),
        (
            107,
            &[
                "{\"code\":0,\"more\":true,\"data\":\"item\"}",
                "{\"code\":0}",
            ],
        ),
        (108, &[unwritable]),
        (109, &[unwritable]),
        (
            110,
            &["{\"code\":14,\"message\":\"later\",\"rejected\":true,\"retry_after_ms\":250}"],
        ),
        (
            111,
            &[
                "{\"code\":0,\"more\":true,\"data\":0.5}",
                "{\"code\":10,\"message\":\"torn\"}",
            ],
        ),
    ] {
        client.send(format!("{{\"cmdid\":{cmdid}}}\n")).await;
        for line in lines {
            client.expect(line).await;
        }
    }
}
