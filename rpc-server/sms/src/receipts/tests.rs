use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::hmac;
use rpc_server::blocking::BlockingPool;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::SmsSettings;
use crate::outbox::Outbox;
use crate::states::State;
use crate::store::{ReceiptScope, ReceiptState};
use crate::testing::{CountingGateway, Mode};

const PUBLIC: &str = "https://sms.example.net/sms/receipts/one";

/// An outbox with a gateway over HTTP and a listener for its receipts.
struct Bench {
    outbox: Outbox,
    address: SocketAddr,
    /// The gateway's name of the only message is `m-1`.
    provider: CountingGateway,
    _dir: TempDir,
}

impl Bench {
    async fn with(receipt: serde_json::Value) -> Self {
        Self::changed(receipt, |_| ()).await
    }

    async fn changed(receipt: serde_json::Value, change: impl Fn(&mut SmsSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = CountingGateway::start(Mode::answer(200, r#"{"id":"m-1"}"#))
            .await
            .unwrap();
        let mut settings = settings(&dir.path().join("token"), provider.url(), receipt);
        change(&mut settings);
        assert_eq!(settings.mistakes(), Vec::<String>::new());

        let outbox = Outbox::open(dir.path(), &settings, &BlockingPool::default()).unwrap();
        let paths = ReceiptPaths::of(&settings).unwrap();
        let listener = ReceiptListener::bind(&settings.receipts.listen, paths)
            .await
            .unwrap();
        let address = listener.address().unwrap();
        outbox.start();
        listener.start(&outbox);
        Self {
            outbox,
            address,
            provider,
            _dir: dir,
        }
    }

    /// Asks the listener, and answers its status and body.
    async fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        // What is too long is refused before it is read to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// A receipt as Twilio sends it, signed with this token.
    async fn twilio(&self, state: &str, token: &str) -> u16 {
        let text = format!("{PUBLIC}MessageSidm-1MessageStatus{state}");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        let signature = base64::Engine::encode(
            &base64::prelude::BASE64_STANDARD,
            hmac::sign(&key, text.as_bytes()),
        );
        let form = format!("MessageStatus={state}&MessageSid=m-1");
        let headers = format!("x-twilio-signature: {signature}\r\n");
        self.ask("POST /sms/receipts/one", &headers, &form).await.0
    }
}

fn settings(secret: &Path, url: &str, receipt: serde_json::Value) -> SmsSettings {
    std::fs::write(secret, "s3cret").unwrap();
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    serde_json::from_value(json!({
        "countries": ["*"],
        "receipts": {"listen": "127.0.0.1:0"},
        "gateways": [{
            "name": "one",
            "kind": "http",
            "http": {
                "url": url,
                "secrets": {"token": format!("file:{}", secret.display())},
                "form": {"to": "{to}", "text": "{text}", "id": "{id}"},
                "response": {"ref": "/id", "rules": [{"status": [200], "class": "sent"}]},
            },
            "receipt": receipt,
        }],
    }))
    .unwrap()
}

fn twilio() -> serde_json::Value {
    json!({
        "path": "/sms/receipts/one",
        "format": "form",
        "ref": "/MessageSid",
        "state": "/MessageStatus",
        "code": "/ErrorCode",
        "map": {"delivered": "delivered", "undelivered": "undelivered", "sent": "sent", "queued": "ignore"},
        "verify": {"twilio": {"token": "{secret.token}", "public_url": PUBLIC}},
    })
}

#[tokio::test]
async fn a_provider_is_given_the_address_of_its_receipts_with_the_secret_of_its_path() {
    let provider = CountingGateway::start(Mode::answer(200, r#"{"id":"m-1"}"#))
        .await
        .unwrap();
    let callback = async |public_url: &str| {
        let settings: SmsSettings = serde_json::from_value(json!({
            "receipts": {"listen": "127.0.0.1:8891", "public_url": public_url},
            "gateways": [{
                "name": "one",
                "kind": "http",
                "http": {
                    "url": provider.url(),
                    "secrets": {"path": "env:CARGO_PKG_NAME"},
                    "json": {"to": "{to}", "text": "{text}", "cb": "{callback}?id={id}"},
                    "response": {"ref": "/id", "rules": [{"status": [200], "class": "sent"}]},
                },
                "receipt": {"path": "/receipts/one", "verify": {"path_token": "{secret.path}"}},
            }],
        }))
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path(), &settings, &BlockingPool::default()).unwrap();
        outbox.start();

        let before = provider.requests().len();
        let id = outbox.accept("hello").await;
        let request = provider.until(before + 1).await.pop().unwrap();
        outbox.stop().await;
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let callback = body["cb"].as_str().unwrap();
        callback
            .strip_suffix(&format!("?id={id}"))
            .unwrap()
            .to_owned()
    };

    // The secret is the name of this crate, which cargo sets for tests.
    assert_eq!(
        callback("https://sms.example.net/").await,
        "https://sms.example.net/receipts/one/rpc-sms"
    );
    assert_eq!(
        callback("").await,
        "http://127.0.0.1:8891/receipts/one/rpc-sms"
    );
}

#[tokio::test]
async fn of_a_gateway_whose_answers_have_parts_each_receipt_is_of_one_part() {
    let receipt = json!({
        "path": "/sms/receipts/one",
        "format": "query",
        "id": "/id",
        "ref": "/part",
        "state": "/state",
        "map": {"1": "delivered", "2": "undelivered"},
    });
    let bench = Bench::changed(receipt, |settings| {
        settings.gateways[0].http.response.parts = Some("/messages".into());
    })
    .await;
    let lane = bench.outbox.lane("one").unwrap();
    assert_eq!(lane.receipt_scope(), ReceiptScope::Part);

    // The answer does not come, and the receipts do.
    bench.provider.set_mode(Mode::Hang);
    let id = bench.outbox.accept(&"a".repeat(200)).await;
    bench.provider.until(1).await;
    for (part, state, expected) in [("a", 1, State::Sending), ("b", 2, State::Undelivered)] {
        let request = format!("GET /sms/receipts/one?id={id}&part={part}&state={state}");
        assert_eq!(bench.ask(&request, "", "").await.0, 200);
        assert_eq!(bench.outbox.message(id).state, expected);
    }
}

#[tokio::test]
async fn a_signed_receipt_is_taken_twice_and_in_any_order_and_another_one_changes_nothing() {
    let bench = Bench::with(twilio()).await;
    let id = bench.outbox.accept("hello").await;
    bench.outbox.until(id, State::Sent).await;

    assert_eq!(bench.twilio("delivered", "wrong").await, 403);
    let unsigned = bench
        .ask(
            "POST /sms/receipts/one",
            "",
            "MessageStatus=delivered&MessageSid=m-1",
        )
        .await;
    assert_eq!(unsigned.0, 403);
    assert_eq!(bench.twilio("queued", "s3cret").await, 200);
    assert_eq!(bench.twilio("a-new-state", "s3cret").await, 200);
    assert_eq!(bench.outbox.message(id).state, State::Sent);

    for state in ["delivered", "delivered", "sent", "undelivered"] {
        assert_eq!(bench.twilio(state, "s3cret").await, 200);
        // It is on disk before the provider gets its answer.
        assert_eq!(bench.outbox.message(id).state, State::Delivered);
    }
    bench.outbox.stop().await;
}

#[tokio::test]
async fn a_receipt_that_comes_before_the_gateways_answer_is_kept_for_it() {
    let bench = Bench::with(twilio()).await;
    assert_eq!(bench.twilio("delivered", "s3cret").await, 200);
    let id = bench.outbox.accept("hello").await;
    bench.outbox.until(id, State::Delivered).await;
    bench.outbox.stop().await;
}

#[tokio::test]
async fn receipts_in_a_list_are_taken_together_and_answered_as_the_provider_wants_it() {
    // As Aliyun sends them, with a secret in the path.
    let bench = Bench::with(json!({
        "path": "/sms/receipts/one",
        "list": "",
        "id": "/out_id",
        "ref": "/biz_id",
        "state": "/success",
        "code": "/err_code",
        "map": {"true": "delivered", "false": "undelivered"},
        "answer": r#"{"code":0,"msg":"ok"}"#,
        "verify": {"path_token": "{secret.token}"},
    }))
    .await;
    let id = bench.outbox.accept("hello").await;
    bench.outbox.until(id, State::Sent).await;

    let reports = json!([
        {"out_id": id, "biz_id": "other", "success": false, "err_code": "DELIVRD:0", "phone_number": "13800138000"},
        {"biz_id": "unknown-yet", "success": true},
        {"success": true},
    ]);
    let (status, body) = bench
        .ask("POST /sms/receipts/one/s3cret", "", &reports.to_string())
        .await;
    assert_eq!((status, body.as_str()), (200, r#"{"code":0,"msg":"ok"}"#));
    let message = bench.outbox.message(id);
    assert_eq!(
        (message.state, message.error.as_deref()),
        (State::Undelivered, Some("DELIVRD:0"))
    );

    for path in [
        "/sms/receipts/one",
        "/sms/receipts/one/",
        "/sms/receipts/one/wrong",
    ] {
        let (status, _) = bench.ask(&format!("POST {path}"), "", "[]").await;
        assert_eq!(status, 404, "{path}");
    }
    bench.outbox.stop().await;
}

#[tokio::test]
async fn a_receipt_in_a_query_names_our_own_id_and_attempt() {
    // As Kannel's `dlr-url` is asked for.
    let bench = Bench::with(json!({
        "path": "/kannel",
        "format": "query",
        "id": "/id",
        "state": "/type",
        "map": {"1": "delivered", "2": "undelivered", "4": "ignore", "8": "sent", "16": "undelivered"},
    }))
    .await;
    let id = bench.outbox.accept("hello").await;
    bench.outbox.until(id, State::Sent).await;

    let ask = async |kind: u8, id: &str| {
        bench
            .ask(&format!("GET /kannel?id={id}&type={kind}"), "", "")
            .await
            .0
    };
    assert_eq!(ask(8, &id.to_string()).await, 200);
    assert_eq!(ask(1, "nonsense").await, 400);
    assert_eq!(bench.outbox.message(id).state, State::Sent);
    assert_eq!(ask(1, &format!("{id}-1")).await, 200);
    assert_eq!(bench.outbox.message(id).state, State::Delivered);
    bench.outbox.stop().await;
}

#[tokio::test]
async fn receipts_from_addresses_that_are_not_allowed_are_refused() {
    for (allow, status) in [("192.0.2.0/24", 403), ("127.0.0.0/8", 200)] {
        let bench = Bench::with(json!({
            "path": "/one",
            "ref": "/id",
            "state": "/state",
            "map": {"ok": "delivered"},
            "verify": {"path_token": "{secret.token}", "allow": [allow, "192.0.2.7"]},
        }))
        .await;
        let id = bench.outbox.accept("hello").await;
        bench.outbox.until(id, State::Sent).await;

        let body = r#"{"id":"m-1","state":"ok"}"#;
        assert_eq!(
            bench.ask("POST /one/s3cret", "", body).await.0,
            status,
            "{allow}"
        );
        let expected = if status == 200 {
            State::Delivered
        } else {
            State::Sent
        };
        assert_eq!(bench.outbox.message(id).state, expected);

        // Also from there, the secret is needed.
        assert_eq!(bench.ask("POST /one/wrong", "", body).await.0, 404);
        bench.outbox.stop().await;
    }
}

#[tokio::test]
async fn everything_else_is_refused_and_nothing_is_read_without_end() {
    let bench = Bench::with(json!({
        "path": "/one",
        "ref": "/id",
        "state": "/state",
        "map": {"ok": "delivered"},
    }))
    .await;

    for line in [
        "GET /one",
        "POST /",
        "POST /one/",
        "POST /other",
        "PUT /one",
        "GET /metrics",
    ] {
        assert_eq!(bench.ask(line, "", "").await.0, 404, "{line}");
    }
    for body in ["", "{", "[]", "{}", r#"{"id":"a"}"#, r#"{"state":"ok"}"#] {
        assert_eq!(bench.ask("POST /one", "", body).await.0, 400, "{body}");
    }
    let long = format!(r#"{{"id":"{}","state":"ok"}}"#, "a".repeat(64 * 1024));
    assert_eq!(bench.ask("POST /one", "", &long).await.0, 413);
    bench.outbox.stop().await;
}

#[test]
fn each_mistake_in_the_settings_of_receipts_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut SmsSettings), expected: &str| {
        let mut settings = settings(&dir.path().join("token"), "http://127.0.0.1:1", twilio());
        change(&mut settings);
        let found = settings.mistakes();
        let is_there = found.iter().any(|mistake| mistake.contains(expected));
        assert!(is_there, "{expected}: {found:?}");
    };
    let receipt = |change: fn(&mut crate::config::ReceiptSettings)| {
        move |settings: &mut SmsSettings| change(settings.gateways[0].receipt.as_mut().unwrap())
    };

    check(&|all| all.receipts.listen.clear(), "`listen` is empty");
    check(
        &|all| all.receipts.listen = "localhost:1".into(),
        "must be an IP address and a port",
    );
    check(
        &|all| all.receipts.listen = "0.0.0.0:1".into(),
        "behind a proxy",
    );
    check(
        &|all| {
            all.receipts.listen = "0.0.0.0:1".into();
            all.receipts.allow_plaintext = true;
            all.gateways[0].receipt.as_mut().unwrap().verify = None;
        },
        "`receipt.verify` is missing",
    );
    check(
        &|all| all.gateways.push(all.gateways[0].clone()),
        "is used by another gateway, too",
    );
    check(
        &|all| all.gateways[0].kind = crate::config::GatewayKind::File,
        "`receipt` is for `kind` = \"http\"",
    );
    check(
        &|all| all.gateways[0].http.secrets.clear(),
        "has no \"token\" for `receipt.verify.twilio.token`",
    );
    check(&receipt(|one| one.path = "a".into()), "must be a path");
    check(
        &receipt(|one| one.state = "state".into()),
        "must be a JSON pointer",
    );
    check(
        &receipt(|one| one.reference.clear()),
        "set one of them, which names the message",
    );
    check(&receipt(|one| one.map.clear()), "must say what happened");
    check(
        &receipt(|one| one.list = Some(String::new())),
        "`receipt.list` is for",
    );
    check(
        &receipt(|one| one.format = crate::config::ReceiptFormat::Json),
        "is for `receipt.format` = \"form\"",
    );
    check(
        &receipt(|one| one.path = "/other".into()),
        "which ends with `receipt.path`",
    );
    check(
        &receipt(|one| {
            let proof = one.verify.as_mut().unwrap();
            (proof.twilio, proof.path_token) = (None, Some("hunter2".into()));
        }),
        "`receipt.verify.path_token` must be a secret",
    );
}

#[test]
fn a_proof_that_is_empty_twofold_or_no_address_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let check = |change: fn(&mut crate::config::ReceiptProof), expected: &str| {
        let mut settings = settings(&dir.path().join("token"), "http://127.0.0.1:1", twilio());
        let receipt = settings.gateways[0].receipt.as_mut().unwrap();
        change(receipt.verify.as_mut().unwrap());

        let found = settings.mistakes();
        assert!(found.iter().any(|one| one.contains(expected)), "{found:?}");
    };

    check(
        |proof| proof.path_token = Some("{secret.token}".into()),
        "set only one of them",
    );
    check(
        |proof| proof.twilio = None,
        "give `twilio`, `path_token` or `allow`",
    );
    check(
        |proof| proof.allow = vec!["203.0.113.0/33".into()],
        "`receipt.verify.allow` has \"203.0.113.0/33\"",
    );
}

/// What the settings of docs/sms.md for a provider make of a receipt: the reference or id, the state, the error.
fn documented(
    heading: &str,
    query: &str,
    body: &str,
) -> Vec<(String, ReceiptState, Option<String>)> {
    let document = include_str!("../../../../docs/sms.md");
    let (_, below) = document.split_once(&format!("\n### {heading}\n")).unwrap();
    let (_, block) = below.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let document: toml::Value = toml::from_str(block).unwrap();
    let settings: SmsSettings = document["sms"].clone().try_into().unwrap();

    let receipt = settings.gateways[0].receipt.clone().unwrap();
    let source = super::report::Source {
        gateway: "one",
        settings: &receipt,
        scope: settings.gateways[0].http.response.receipt_scope(),
    };
    let reports = super::report::read(source, query, body.as_bytes()).unwrap();
    let receipts = reports.into_iter().map(|report| match report {
        super::report::Report::Receipt(receipt) => {
            let id = receipt.id.map(|of| of.id.to_string());
            (
                receipt.reference.or(id).unwrap(),
                receipt.state,
                receipt.error,
            )
        }
        other => panic!("{other:?}"),
    });
    receipts.collect()
}

#[test]
fn receipts_are_read_as_their_providers_document_them() {
    let check = |heading: &str, query: &str, body: &str, name: &str, state, error: Option<&str>| {
        let expected = vec![(name.to_owned(), state, error.map(str::to_owned))];
        assert_eq!(documented(heading, query, body), expected, "{heading}");
    };
    let (delivered, undelivered) = (ReceiptState::Delivered, ReceiptState::Undelivered);

    let twilio = "SmsSid=SM1&SmsStatus=undelivered&MessageStatus=undelivered&To=%2B15558675310&MessageSid=SM1&\
                  AccountSid=AC1&From=%2B15017250604&ApiVersion=2010-04-01&ErrorCode=30005";
    check("Twilio", "", twilio, "SM1", undelivered, Some("30005"));
    let vonage = r#"{"msisdn":"447700900000","to":"AcmeInc","network-code":"12345","messageId":"0A0000001234567B",
        "price":"0.03330000","status":"delivered","scts":"2001011400","err-code":"0"}"#;
    check(
        "Vonage",
        "",
        vonage,
        "0A0000001234567B",
        delivered,
        Some("0"),
    );
    let infobip = r#"{"results":[{"bulkId":"B1","messageId":"M1","to":"41793026727","smsCount":1,
        "status":{"groupId":2,"groupName":"UNDELIVERABLE","id":9,"name":"UNDELIVERABLE_NOT_DELIVERED"},
        "error":{"groupId":1,"groupName":"HANDSET_ERRORS","id":27,"name":"EC_ABSENT_SUBSCRIBER"}}]}"#;
    check(
        "Infobip",
        "",
        infobip,
        "M1",
        undelivered,
        Some("EC_ABSENT_SUBSCRIBER"),
    );
    let kannel = "id=01KDVDNA0000000000000004HM&type=16";
    check(
        "Kannel",
        kannel,
        "",
        "01KDVDNA0000000000000004HM",
        undelivered,
        None,
    );
    let aliyun = r#"[{"phone_number":"13900000001","send_time":"2017-01-01 00:00:00","report_time":"2017-01-01 00:00:00",
        "success":true,"err_code":"DELIVERED","err_msg":"…","sms_size":"1","biz_id":"12345","out_id":"67890"}]"#;
    check("Aliyun", "", aliyun, "12345", delivered, Some("DELIVERED"));
    let tencent = r#"[{"user_receive_time":"2015-10-17 08:03:04","nationcode":"86","mobile":"13xxxxxxxxx",
        "report_status":"FAIL","errmsg":"UNDELIV","description":"…","sid":"5000:1045710669157053657849499619"}]"#;
    check(
        "Tencent",
        "",
        tencent,
        "5000:1045710669157053657849499619",
        undelivered,
        Some("UNDELIV"),
    );
}
