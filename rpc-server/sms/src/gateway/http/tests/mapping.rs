//! Requests to a provider, and the meaning of its answers.

use std::time::Duration;

use super::*;
use crate::testing::Answer;

/// The request that a provider gets of a message.
async fn request_of(mut settings: serde_json::Value, message: &Claimed) -> (String, String) {
    let provider = CountingGateway::start(Mode::answer(200, ACCEPTED))
        .await
        .unwrap();
    let url = settings["url"].as_str().unwrap_or_default();
    settings["url"] = format!("{}{url}", provider.url()).into();
    settings["response"] = json!({"ref": "/id", "rules": [{"status": [200], "class": "sent"}]});

    let submitted = gateway(settings).submit(message).await;
    let expected = Submission::Answered {
        class: RuleClass::Sent,
        reason: Some("HTTP 200".into()),
        parts: Parts::whole(Some("m-1".into())),
        retry_after: None,
    };
    assert_eq!(submitted, expected);
    let request = provider.requests().remove(0);
    (request.head, request.body)
}

#[tokio::test]
async fn rules_about_the_body_see_of_a_part_its_own_piece_of_the_answer() {
    let body = r#"{"note": "barred", "sent": [{"text": "ok", "id": "a"}, {"text": "barred", "id": "b"} ]}"#;
    let provider = CountingGateway::start(Mode::answer(200, body))
        .await
        .unwrap();
    let submit = async |rules: serde_json::Value| {
        let gateway = gateway(json!({
            "url": provider.url(),
            "form": {"To": "{to}"},
            "response": {"ref": "/id", "parts": "/sent", "rules": rules},
        }));
        match gateway.submit(&message("hello")).await {
            Submission::Answered { class, parts, .. } => {
                let names: Vec<String> = parts.references().map(str::to_owned).collect();
                (class, names)
            }
            other => panic!("{other:?}"),
        }
    };

    let contains = json!([
        {"contains": "barred", "class": "permanent"},
        {"contains": "ok", "class": "sent"},
    ]);
    let (class, names) = submit(contains).await;
    assert_eq!((class, names), (RuleClass::Permanent, vec!["a".to_owned()]));
    let prefix = json!([
        {"prefix": r#"{"text": "barred""#, "class": "throttled"},
        {"prefix": r#"{"text":"#, "class": "sent"},
    ]);
    let (class, names) = submit(prefix).await;
    assert_eq!((class, names), (RuleClass::Throttled, vec!["a".to_owned()]));

    // An answer without parts is seen as a whole.
    provider.set_mode(Mode::answer(200, r#"{"note": "barred", "sent": []}"#));
    let whole = json!([{"contains": "note", "class": "permanent"}]);
    assert_eq!(submit(whole).await, (RuleClass::Permanent, Vec::new()));
}

#[tokio::test]
async fn values_are_encoded_where_they_stand_so_that_nothing_breaks_out() {
    let settings = json!({
        "url": "/a/{secret.sid}/messages?v={country}",
        "secrets": {"sid": "env:CARGO_PKG_NAME"},
        "auth": {"basic": ["{secret.sid}", "pass"]},
        "headers": {"x-id": "{id}"},
        "query": {"n": "{to_national}"},
        "form": {"To": "{to}", "Body": "{text}", "From": "{sender}", "Unicode": "{unicode} {unicode2} {segments}"},
        "sender": "Shop & Co",
    });

    let (head, body) = request_of(settings, &message("a&b=ü c\r\nx: y")).await;
    let mut lines = head.lines();
    assert_eq!(
        lines.next(),
        Some("POST /a/rpc-sms/messages?v=CN&n=13800138000 HTTP/1.1")
    );
    let id = message("").id;
    for expected in [
        "authorization: Basic cnBjLXNtczpwYXNz",
        "content-type: application/x-www-form-urlencoded",
        &format!("x-id: {id}"),
    ] {
        assert!(
            head.lines().any(|line| line == expected),
            "{expected}: {head}"
        );
    }
    assert_eq!(
        body,
        "Body=a%26b%3D%C3%BC%20c%0D%0Ax%3A%20y&From=Shop%20%26%20Co&To=%2B8613800138000&Unicode=false%200%201"
    );
}

#[tokio::test]
async fn a_json_body_keeps_each_value_in_its_place() {
    let settings = json!({
        "json": {"messages": [{"to": "{to_digits}", "content": {"text": "{text}"}, "n": 1, "{to}": null}]},
        "auth": {"bearer": "token"},
    });

    let (head, body) = request_of(settings, &message("\",\"to\":\"1\"")).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = json!({"messages": [
        {"to": "8613800138000", "content": {"text": "\",\"to\":\"1\""}, "n": 1, "{to}": null},
    ]});
    assert_eq!(body, expected);
    assert!(
        head.contains("\r\nauthorization: Bearer token\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_template_goes_by_the_providers_name_with_its_variables() {
    let settings = json!({
        "method": "GET",
        "templates": {"login": "SMS_1"},
        "query": {"id": "{template}", "code": "{var.code}", "vars": "{vars_json}", "ref": "{id}", "text": "{text}"},
    });

    let mut login = message("");
    login.attempt = 2;
    login.content = Content::Template {
        name: "login".into(),
        vars: r#"{"code":"4711"}"#.into(),
    };
    let (head, body) = request_of(settings, &login).await;
    let id = login.id;
    let expected = format!(
        "GET /?code=4711&id=SMS_1&ref={id}-2&text=&vars=%7B%22code%22%3A%224711%22%7D HTTP/1.1"
    );
    assert_eq!((head.lines().next(), body.as_str()), (Some(&*expected), ""));
}

#[tokio::test]
async fn a_message_that_does_not_fit_the_request_is_not_tried() {
    let provider = CountingGateway::start(Mode::answer(200, ACCEPTED))
        .await
        .unwrap();
    let gateway = gateway(json!({"url": provider.url(), "headers": {"x-text": "{text}"}}));

    let submitted = gateway.submit(&message("a\r\nx-other: b")).await;
    let Submission::Unsendable { error } = submitted else {
        panic!("{submitted:?}");
    };
    assert!(
        error.contains("`x-text`") && !error.contains("other"),
        "{error}"
    );
    assert_eq!(provider.requests(), []);
}

#[tokio::test]
async fn refusals_and_throttling_are_told_with_their_reasons() {
    let check = async |answer: Answer, class: RuleClass, reason: &str, wait_s: Option<u64>| {
        let provider = CountingGateway::start(Mode::Answer(answer)).await.unwrap();
        let submitted = simple(provider.url()).submit(&message("hello")).await;
        let expected = Submission::Answered {
            class,
            reason: Some(reason.into()),
            parts: Parts::default(),
            retry_after: wait_s.map(Duration::from_secs),
        };
        assert_eq!(submitted, expected);
    };
    let answer = |status: u16, header: &str, body: &str| Answer {
        status,
        headers: vec![header.into()],
        body: body.into(),
    };

    let refused = answer(400, "x-a: b", r#"{"code":21211}"#);
    check(refused, RuleClass::Permanent, "HTTP 400, code 21211", None).await;
    let throttled = answer(429, "retry-after: 7", "");
    check(throttled, RuleClass::Throttled, "HTTP 429", Some(7)).await;
    let until = "retry-after: Wed, 21 Oct 2015 07:28:00 GMT";
    check(
        answer(429, until, ""),
        RuleClass::Throttled,
        "HTTP 429",
        Some(0),
    )
    .await;
    check(
        answer(500, "x-a: b", ""),
        RuleClass::Unknown,
        "HTTP 500",
        None,
    )
    .await;
    check(
        answer(301, "location: /", ""),
        RuleClass::Unknown,
        "HTTP 301",
        None,
    )
    .await;

    // A code that repeats the number, or is no word, is not kept.
    for code in [
        r#"{"code":"8613800138000"}"#,
        r#"{"code":"no such number"}"#,
    ] {
        let refused = answer(400, "x-a: b", code);
        check(refused, RuleClass::Permanent, "HTTP 400", None).await;
    }
}

#[tokio::test]
async fn a_gateway_says_whether_it_takes_texts_and_which_templates() {
    let templates = gateway(json!({
        "url": "http://127.0.0.1:1/",
        "form": {"to": "{to}", "id": "{template}", "vars": "{vars_json}"},
        "templates": {"login": "SMS_1"},
    }));
    assert!(!templates.takes_text());
    assert!(templates.takes_template("login") && !templates.takes_template("other"));

    for place in [
        json!({"url": "http://127.0.0.1:1/{text}"}),
        json!({"url": "http://127.0.0.1:1/", "json": [{"t": "{text}"}]}),
        json!({"url": "http://127.0.0.1:1/", "query": {"t": "a {text}"}}),
    ] {
        let texts = gateway(place);
        assert!(texts.takes_text() && !texts.takes_template("login"));
    }
}
