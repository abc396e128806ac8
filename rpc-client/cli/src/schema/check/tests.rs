use serde_json::json;

use super::*;

fn order() -> Value {
    json!({
        "type": "object",
        "required": ["level", "items"],
        "additionalProperties": false,
        "properties": {
            "level": {"$ref": "#/$defs/Level"},
            "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Item"}},
            "note": {"type": ["string", "null"], "maxLength": 4},
            "ship": {"anyOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}]},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "$defs": {
            "Level": {"oneOf": [{"const": "low"}, {"enum": ["high", "highest"]}]},
            "Item": {
                "type": "object",
                "required": ["count"],
                "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 9}},
            },
        },
    })
}

#[track_caller]
fn check(value: &Value, misfit: &str) {
    let schema = order();
    let found = Schema::new(&schema).check(value, "params");
    let found = found.map_or_else(
        |it| format!("{}: {}", it.field, it.reason),
        |()| String::new(),
    );
    assert_eq!(found, misfit, "{value}");
}

#[test]
fn a_value_that_fits_has_no_misfit() {
    check(&json!({"level": "low", "items": [{"count": 1}]}), "");
    check(
        &json!({
            "level": "highest", "items": [{"count": 2, "unknown": 1}], "note": null,
            "ship": null, "more": {"a": 1}
        }),
        "",
    );
}

#[test]
fn a_misfit_names_the_field_and_what_it_takes() {
    let items = json!([{"count": 1}]);
    check(
        &json!({"items": items}),
        "params.level: missing; it is one of low, high, highest",
    );
    check(
        &json!({"level": "loud", "items": items}),
        "params.level: \"loud\" is not one of low, high, highest",
    );
    check(
        &json!({"level": "low", "items": [{"count": 1}, {"count": "x"}]}),
        "params.items[1].count: \"x\" is not an integer from 1 to 9",
    );
    check(
        &json!({"level": "low", "items": [{"count": 10}]}),
        "params.items[0].count: 10 is more than 9",
    );
    check(
        &json!({"level": "low", "items": []}),
        "params.items: it has 0 items, and at least 1 are needed",
    );
    check(
        &json!({"level": "low", "items": items, "levle": 1}),
        "params.levle: unknown; did you mean `level`? The fields are items, level, more, note, ship",
    );
    check(
        &json!({"level": "low", "items": items, "note": "Hello"}),
        "params.note: it has 5 characters, and at most 4 are allowed",
    );
    check(
        &json!({"level": "low", "items": items, "ship": {"count": 0}}),
        "params.ship.count: 0 is less than 1",
    );
    check(
        &json!({"level": "low", "items": items, "more": {"a": "b"}}),
        "params.more.a: \"b\" is not an integer",
    );
    check(&json!([]), "params: [] is not an object");
}

/// Checks a value against a schema that forbids no field.
#[track_caller]
fn check_open(value: &Value, misfit: &str) {
    let item = json!({
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": "string"}, "to": {"type": "string"}},
    });
    let more = json!({"properties": {"massage": {"type": "integer"}}});
    let schemas = [
        item.clone(),
        json!({"anyOf": [item, {"type": "null"}]}),
        json!({"allOf": [item, more]}),
    ];

    let found = schemas.each_ref().map(|schema| {
        let found = Schema::new(schema).check(value, "params");
        found.map_or_else(
            |it| format!("{}: {}", it.field, it.reason),
            |()| String::new(),
        )
    });
    assert_eq!(found[0], misfit, "{value}");
    assert_eq!(found[1], misfit, "{value}");
    // What one part does not know is another's.
    assert!(!found[2].contains("unknown"), "{value}: {}", found[2]);
}

#[test]
fn a_slip_in_a_name_is_found_though_the_schema_allows_other_fields() {
    check_open(
        &json!({"massage": "hi"}),
        "params.massage: unknown, and ignored by the server; did you mean `message`?",
    );
    check_open(
        &json!({"text": "hi"}),
        "params.message: missing; it is a text; `text` is not a field",
    );
    check_open(
        &json!({"text": "hi", "body": "ho"}),
        "params.message: missing; it is a text; `body`, `text` are not fields",
    );

    // These may be another version's.
    check_open(&json!({"message": "hi", "priority": 1}), "");
    check_open(&json!({"message": "hi", "massage": 1, "ts": 1}), "");
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({"$ref": "#"});
    assert_eq!(Schema::new(&schema).check(&json!(1), "params"), Ok(()));

    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let mut value = json!({});
    for _ in 0..100 {
        value = json!({ "next": value });
    }
    assert_eq!(Schema::new(&tree).check(&value, "params"), Ok(()));
}
