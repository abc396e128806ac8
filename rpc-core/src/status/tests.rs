use super::*;

#[test]
fn details_are_decoded_into_a_type_or_say_that_they_are_not_of_it() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Quota {
        left: u32,
    }

    let status = |details: &serde_json::Value| Status::unknown("x").with_details(details);
    let decode = |status: Status| status.details_as::<Quota>();

    assert_eq!(decode(Status::unknown("x")).unwrap(), None);
    let quota = decode(status(&serde_json::json!({ "left": 7 }))).unwrap();
    assert_eq!(quota, Some(Quota { left: 7 }));
    decode(status(&serde_json::json!({ "left": -7 }))).unwrap_err();
    decode(status(&serde_json::json!([7]))).unwrap_err();
}

#[test]
fn the_canonical_codes_are_grpcs_numbers_without_a_gap() {
    for (number, code) in (0u32..).zip(Code::CANONICAL) {
        assert_eq!(code.number(), number);
        assert!(code.name().is_some() && code.meaning().is_some());
    }

    assert_eq!(Code::CANONICAL.len(), 17);
    assert_eq!(Code::UNAUTHENTICATED.name(), Some("UNAUTHENTICATED"));
    assert_eq!(Code::new(1000).name(), None);
}

#[test]
fn a_status_shows_code_name_and_message_in_one_line() {
    let status = Status::not_found("no user 7");
    assert_eq!(status.to_string(), "code 5 NOT_FOUND: no user 7");
    assert_eq!(Status::internal("").to_string(), "code 13 INTERNAL");
}
