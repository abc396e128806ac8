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
        "the kinds are mobile, fixed_line",
    );
    check(json!({"segments_max": 0}), "`segments_max` is 0");
    check(json!({"key_days": 700}), "raise it to that");
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
        "for marketing alone",
    );
    check(
        json!({"gateways": [{"name": "a b"}]}),
        "number 1: `name` = \"a b\"",
    );
    check(
        json!({"gateways": [{"name": "a"}, {"name": "a"}]}),
        "\"a\" is not unique",
    );
    check(
        json!({"gateways": [{"name": "a", "in_flight_max": 0}]}),
        "`in_flight_max` is 0",
    );
    check(
        json!({"routes": [{"gateways": ["b"]}]}),
        "there is no gateway \"b\"; the gateways are dry",
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
