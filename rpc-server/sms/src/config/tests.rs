use super::*;

fn mistakes(json: serde_json::Value) -> Vec<String> {
    let settings: SmsSettings = serde_json::from_value(json).unwrap();
    settings.mistakes()
}

#[test]
fn the_defaults_are_right_and_limit_codes_only() {
    let settings = SmsSettings::default();
    assert_eq!(settings.mistakes(), Vec::<String>::new());
    assert_eq!(settings.gateways()[0].name, "dry");

    let store = settings.store();
    assert_eq!(store.limits[&Class::Otp].per_number.len(), 3);
    assert_eq!(
        store.limits[&Class::Marketing],
        crate::store::ClassLimits::default()
    );
}

#[test]
fn each_mistake_names_its_place_its_value_and_what_would_be_right() {
    #[track_caller]
    fn check(json: serde_json::Value, expected: &str) {
        let found = mistakes(json);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    use serde_json::json;

    check(
        json!({"default_region": "cn"}),
        "`default_region` = \"cn\" is not a country",
    );
    check(
        json!({"countries": ["DE", "XX"]}),
        "\"XX\" is not a country",
    );
    check(
        json!({"refuse_types": ["premium"]}),
        "did you mean \"premium_rate\"? The kinds are mobile, fixed_line",
    );
    check(json!({"segments_max": 0}), "`segments_max` is 0");
    check(json!({"key_days": 700}), "raise `keep_days` to that");
    check(
        json!({"data": "../sms.sqlite"}),
        "must be the name of a file",
    );
    check(
        json!({"grants": {"reveal": ["*"]}}),
        "[sms.grants] `reveal`",
    );
    check(
        json!({"class": {"otp": {"per_number": ["5/1w"]}}}),
        "[sms.class.otp] `per_number`: \"5/1w\" is not a rate",
    );
    check(
        json!({"class": {"marketing": {"priority": 10}}}),
        "[sms.class.marketing] `priority` is 10",
    );
    let quiet = json!({"hours": "21-9", "zone": "UTC"});
    check(
        json!({"class": {"marketing": {"quiet": quiet}}}),
        "`hours` = \"21-9\"",
    );
    let quiet = json!({"hours": "21:00-09:00", "zone": "UTC"});
    check(
        json!({"class": {"otp": {"quiet": quiet}}}),
        "allowed only for the class marketing",
    );
    check(
        json!({"gateways": [{"name": "a b"}]}),
        "number 1: `name` = \"a b\"",
    );
    check(
        json!({"gateways": [{"name": "a"}, {"name": "a", "file": "a.ndjson"}]}),
        "\"a\" is not unique",
    );
    check(
        json!({"gateways": [{"name": "a", "in_flight_max": 0}]}),
        "`in_flight_max` is 0",
    );
    for public_url in ["sms.example.net", "https://sms.example.net/sms", "https://"] {
        check(
            json!({"receipts": {"public_url": public_url}}),
            "must be an address without a path",
        );
    }
    check(
        json!({"routes": [{"gateways": ["drj"]}]}),
        "there is no gateway \"drj\"; did you mean \"dry\"?",
    );
    check(
        json!({"routes": [{"country": ["CN"]}]}),
        "`gateways` is empty",
    );
    check(
        json!({"routes": [{"country": ["China"], "gateways": ["dry"]}]}),
        "\"China\" is not a country",
    );
}

/// The settings of a gateway over HTTP that lacks nothing, changed.
fn http(change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
    let mut gateway = serde_json::json!({
        "name": "a",
        "kind": "http",
        "http": {
            "url": "https://api.example.net/",
            "secrets": {"token": "env:TOKEN"},
            "auth": {"bearer": "{secret.token}"},
            "form": {"to": "{to}", "text": "{text}"},
            "response": {"rules": [{"status": [200], "class": "sent"}]},
        },
    });
    change(&mut gateway);
    mistakes(serde_json::json!({"countries": ["*"], "gateways": [gateway]}))
}

#[test]
fn each_mistake_in_a_gateway_over_http_names_it_and_what_would_be_right() {
    #[track_caller]
    fn check(place: &str, value: serde_json::Value, expected: &str) {
        let found = http(|gateway| {
            *gateway["http"].pointer_mut(place).unwrap() = value;
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("[[sms.gateways]] \"a\": ") && found[0].contains(expected),
            "{found:?}"
        );
    }
    #[track_caller]
    fn check_new(key: &str, value: serde_json::Value, expected: &str) {
        let found = http(|gateway| gateway["http"][key] = value);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    use serde_json::json;

    assert_eq!(http(|_| ()), Vec::<String>::new());
    check(
        "/url",
        "".into(),
        "`http.url` = \"\": it must be an address",
    );
    check(
        "/url",
        "http://sms.example/".into(),
        "set `http.allow_plaintext`",
    );
    check(
        "/form/to",
        "1".into(),
        "has {to}, {to_digits} or {to_national}",
    );
    check("/form/text", "1".into(), "it could take no message");
    check(
        "/form/to",
        "{to} {text".into(),
        "`http.form.to`: `{` has no counterpart",
    );
    check(
        "/auth/bearer",
        "{secret.tokn}".into(),
        "has no \"tokn\" for {secret.tokn}; did you mean \"token\"?",
    );
    check(
        "/secrets/token",
        "hunter2".into(),
        "\"env:VARIABLE\" or \"file:PATH\"",
    );
    check("/response/rules", json!([]), "no rule of class \"sent\"");
    check(
        "/response/rules",
        json!([{"code": ["0"], "class": "sent"}]),
        "`http.response.code` is empty",
    );
    check_new("json", json!({}), "a request has one body");
    check_new("method", "GET".into(), "which has no body");
    check_new("timeout_ms", 0.into(), "`http.timeout_ms` is 0");
    check_new(
        "headers",
        json!({"a b": ""}),
        "\"a b\" is not the name of a header",
    );
}

#[test]
fn settings_of_a_gateway_that_do_not_fit_together_are_named() {
    let plain = http(|gateway| {
        gateway["http"]["url"] = "http://127.0.0.1:1/".into();
        gateway["http"]["ca_file"] = "ca.pem".into();
    });
    assert!(
        plain[0].contains("`http.ca_file` is for https"),
        "{plain:?}"
    );
    let both = http(|gateway| {
        gateway["http"]["sign"] =
            serde_json::json!({"kind": "tc3", "key": "a", "secret": "{secret.token}"});
    });
    assert!(both[0].contains("are both set"), "{both:?}");
    let path = http(|gateway| {
        gateway["http"]["auth"].take();
        gateway["http"]["url"] = "https://api.example.net/v1".into();
        gateway["http"]["sign"] =
            serde_json::json!({"kind": "aliyun-rpc-v1", "key": "a", "secret": "hunter2"});
    });
    assert_eq!(path.len(), 2, "{path:?}");
    assert!(path[0].contains("signs only requests to /"), "{path:?}");
    assert!(
        path[1].contains("`http.sign.secret` has no {secret.NAME}") && !path[1].contains("hunter2"),
        "{path:?}"
    );
    let pointers = http(|gateway| gateway["http"]["response"]["ref"] = "sid".into());
    assert!(
        pointers[0].contains("must be a JSON pointer"),
        "{pointers:?}"
    );
    let file = http(|gateway| gateway["kind"] = "file".into());
    assert!(
        file[0].contains("`http` is for `kind` = \"http\""),
        "{file:?}"
    );
    let parts = http(|gateway| {
        gateway["http"]["response"]["format"] = "text".into();
        gateway["http"]["response"]["parts"] = "messages".into();
    });
    assert!(
        parts[0].contains("`http.response.parts` = \"messages\" must be a JSON pointer")
            && parts[1].contains("`http.response.format` = \"json\""),
        "{parts:?}"
    );
    let of_parts = http(|gateway| {
        gateway["http"]["response"]["parts"] = "/messages".into();
        gateway["receipt"] = serde_json::json!({"path": "/r", "id": "/id", "state": "/s", "map": {"1": "delivered"}});
    });
    assert!(
        of_parts
            .iter()
            .any(|mistake| mistake.contains("`receipt.ref` is empty, but answers have")),
        "{of_parts:?}"
    );
    let callback = http(|gateway| gateway["http"]["form"]["cb"] = "{callback}".into());
    assert!(callback[0].contains("has no `receipt`"), "{callback:?}");
    let secret = http(|gateway| gateway["http"]["secrets"]["token"] = "hunter2".into());
    assert!(!secret[0].contains("hunter2"), "{secret:?}");
}

#[test]
fn gateways_of_kind_file_have_files_of_their_own() {
    let gateways = |file: &str| {
        let other = serde_json::json!({"name": "b", "file": file});
        mistakes(serde_json::json!({"gateways": [{"name": "a"}, other]}))
    };
    assert_eq!(gateways("b.ndjson"), Vec::<String>::new());
    let expected = "[[sms.gateways]] \"b\": `file` = \"sms-out.ndjson\" is that of gateway \"a\", too; give each gateway a file \
                    of its own";
    assert_eq!(gateways("sms-out.ndjson"), [expected]);

    for file in ["sms.sqlite", "sms.sqlite-wal", "sms.lock", "sms.key"] {
        let found = gateways(file);
        assert!(
            found.len() == 1
                && found[0].contains("is a file of the outbox (`data` = \"sms.sqlite\")"),
            "{found:?}"
        );
    }

    // One over HTTP writes to no file.
    let over_http = serde_json::json!({"name": "b", "kind": "http"});
    let found = mistakes(serde_json::json!({"gateways": [{"name": "a"}, over_http]}));
    assert!(
        !found.iter().any(|mistake| mistake.contains("`file`")),
        "{found:?}"
    );
}

#[test]
fn gateways_that_send_need_the_countries_that_messages_may_go_to() {
    let json = serde_json::json!({"gateways": [{"name": "a", "kind": "http"}]});
    let found = mistakes(json);
    assert!(
        found
            .iter()
            .any(|mistake| mistake.contains("`countries` is empty")),
        "{found:?}"
    );
}

#[test]
fn passwords_are_not_in_the_settings() {
    for auth in [
        serde_json::json!({"basic": ["user", "hunter2"]}),
        serde_json::json!({"bearer": "hunter2"}),
    ] {
        let found = http(|gateway| gateway["http"]["auth"] = auth);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("put it into `http.secrets`") && !found[0].contains("hunter2"),
            "{found:?}"
        );
    }
}

#[test]
fn secrets_and_certificates_that_cannot_be_read_are_all_named() {
    let settings: SmsSettings = serde_json::from_value(serde_json::json!({"gateways": [
        {"name": "a", "kind": "http", "http": {
            "secrets": {"one": "env:NO_SUCH_VARIABLE_4711", "two": "file:/nonexistent/two", "ok": "env:CARGO_PKG_NAME"},
            "ca_file": "/nonexistent/ca.pem",
        }},
        {"name": "dry"},
    ]}))
    .unwrap();

    let found = settings.mistakes_of_files();
    let expected = [
        "\"a\": `http.secrets.one`: the variable NO_SUCH_VARIABLE_4711 is not set",
        "\"a\": `http.secrets.two`: /nonexistent/two: ",
        "\"a\": `http.ca_file` = \"/nonexistent/ca.pem\": ",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}
