use rpc_core::{Descriptor, Kind, Resume};
use serde_json::{Value, json};

use super::*;

fn command(cmdid: u32, service: &str, method: &str) -> Descriptor {
    let mut descriptor = Descriptor::new(service.to_owned(), method.to_owned());
    descriptor.cmdid = cmdid.into();
    descriptor
}

/// What is written of these commands, in Python and in TypeScript.
fn written(commands: &[Descriptor]) -> [String; 2] {
    let api = |reserved| Api::of(commands.to_vec(), Names::without(reserved));
    [
        python::write(&api(python::RESERVED)),
        typescript::write(&api(typescript::RESERVED)),
    ]
}

/// Checks the types of a command's data in both languages.
fn check(schema: Value, in_python: &str, in_typescript: &str) {
    let command = command(100, "shop", "look").data_schema(schema.clone());
    let [python, typescript] = written(&[command]);

    let expected = format!("-> {in_python}:\n");
    assert!(python.contains(&expected), "{schema}: {python}");
    let expected = format!("Promise<{in_typescript}> {{\n");
    assert!(typescript.contains(&expected), "{schema}: {typescript}");
}

#[test]
fn each_schema_has_a_type_in_each_language() {
    check(json!(true), "Any", "unknown");
    check(json!({}), "Any", "unknown");
    check(json!({"type": "null"}), "None", "void");
    check(
        json!({"type": "integer", "title": "uint64"}),
        "int",
        "number",
    );
    check(
        json!({"type": ["number", "null"]}),
        "float | None",
        "number | null",
    );
    check(
        json!({"type": "array", "items": {"enum": ["a", 1, true, null]}}),
        "list[Literal[\"a\", 1, True, None]]",
        "readonly (\"a\" | 1 | true | null)[]",
    );
    check(json!({"enum": ["a", "b"]}), "LookData", "LookData");
    check(json!({"enum": [1.5]}), "Any", "unknown");
    check(json!({"const": "a"}), "Literal[\"a\"]", "\"a\"");
    check(
        json!({"type": "array", "items": {"type": ["string", "null"]}}),
        "list[str | None]",
        "readonly (string | null)[]",
    );
    check(
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}]}),
        "list[str | bool]",
        "readonly [string, boolean]",
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        "dict[str, int]",
        "{ readonly [name: string]: number }",
    );
    check(
        json!({"type": "object"}),
        "dict[str, Any]",
        "{ readonly [name: string]: unknown }",
    );
    check(
        json!({"anyOf": [{"$ref": "#/$defs/Pear"}, {"type": "null"}], "$defs": {"Pear": {"type": "string"}}}),
        "Pear | None",
        "Pear | null",
    );
    check(json!({"$ref": "#/$defs/gone"}), "Any", "unknown");
    check(json!({"allOf": [{"type": "string"}]}), "str", "string");
    check(
        json!({"title": "Box", "type": "object", "properties": {"a": {"type": "string"}}}),
        "Box",
        "Box",
    );
}

#[test]
fn an_enum_with_its_other_fields_beside_the_tag_is_a_type_for_each_form() {
    let schema = json!({
        "title": "Way",
        "type": "object",
        "properties": {"note": {"type": "string"}},
        "required": ["note"],
        "oneOf": [
            {"type": "object", "properties": {"by": {"const": "air"}}, "required": ["by"]},
            {"type": "object", "properties": {"by": {"const": "sea"}, "days": {"type": "integer"}}, "required": ["by"]},
        ],
    });
    let [python, typescript] = written(&[command(100, "shop", "send").data_schema(schema)]);

    assert!(
        python.contains("Way: TypeAlias = \"WayAir | WaySea\"\n"),
        "{python}"
    );
    let sea = "class WaySea(TypedDict):\n    note: str\n    by: Literal[\"sea\"]\n    days: NotRequired[int]\n";
    assert!(python.contains(sea), "{python}");
    assert!(
        typescript.contains("export type Way = WayAir | WaySea;\n"),
        "{typescript}"
    );
    let sea = "export interface WaySea {\n  readonly note: string;\n  readonly by: \"sea\";\n  readonly days?: number;\n}\n";
    assert!(typescript.contains(sea), "{typescript}");
}

#[test]
fn a_type_of_several_commands_is_written_once_and_two_of_one_name_are_told_apart() {
    let level =
        |values: Value| json!({"$ref": "#/$defs/Level", "$defs": {"Level": {"enum": values}}});
    let commands = [
        command(100, "log", "read").data_schema(level(json!(["low", "high"]))),
        command(101, "log", "tail").data_schema(level(json!(["low", "high"]))),
        command(102, "lift", "go").data_schema(level(json!([1, 2]))),
    ];
    let [python, _] = written(&commands);

    assert_eq!(
        python.matches("\nLevel: TypeAlias = ").count(),
        1,
        "{python}"
    );
    assert!(
        python.contains("\nLiftLevel: TypeAlias = Literal[1, 2]\n"),
        "{python}"
    );
    assert_eq!(python.matches(") -> Level:\n").count(), 4, "{python}");
    assert_eq!(python.matches(") -> LiftLevel:\n").count(), 2, "{python}");
}

#[test]
fn a_type_that_refers_to_itself_is_the_same_as_root_and_as_definition() {
    let tree = |reference: &str| json!({"type": "object", "properties": {"of": {"type": "array", "items": {"$ref": reference}}}});
    let mut root = tree("#");
    root["title"] = "Tree".into();
    let list = json!({"type": "array", "items": {"$ref": "#/$defs/Tree"}, "$defs": {"Tree": tree("#/$defs/Tree")}});
    let commands = [
        command(100, "woods", "plant").params_schema(root),
        command(101, "woods", "all").data_schema(list),
    ];
    let [python, typescript] = written(&commands);

    assert_eq!(python.matches("(TypedDict)").count(), 1, "{python}");
    assert!(python.contains(") -> list[Tree]:"), "{python}");
    assert!(
        typescript.contains("readonly of?: readonly Tree[];"),
        "{typescript}"
    );
}

#[test]
fn what_a_command_says_of_its_calls_is_in_the_call() {
    let mut first = command(100, "shop", "first").idempotent();
    first.no_timeout = true;
    first.params = Some(
        json!({"title": "first", "type": "object", "required": ["class"], "properties": {
        "class": {"type": "string"}, "timeout": {"type": ["integer", "null"]}}}),
    );
    let mut second = command(101, "shop", "del").kind(Kind::Oneway);
    second.deprecated = Some("".into());
    let [python, typescript] = written(&[first, second]);

    for part in [
        "class_: str,",
        "timeout_: int | None = None,",
        "timeout: float | None = None,",
        "{\"class\": class_, **_given({\"timeout\": timeout_})},",
        "timeout=float(\"inf\") if timeout is None else timeout,",
        "idempotent=True,",
        "async def del_(self, params: Any, *, meta: Mapping[str, str] | None = None) -> None:",
        "warnings.warn(\"`shop.del` is deprecated\", DeprecationWarning, stacklevel=2)",
    ] {
        assert!(python.contains(part), "{part}: {python}");
    }
    for part in [
        "first(params: FirstParams, options: Options = {}): Promise<void> {",
        "{ timeoutMs: Infinity, ...options, idempotent: true }",
        " * @deprecated\n",
        "del(params: unknown, options: NotifyOptions = {}): Promise<void> {",
    ] {
        assert!(typescript.contains(part), "{part}: {typescript}");
    }
}

#[test]
fn a_method_an_argument_or_a_member_with_the_name_of_a_type_does_not_hide_it_elsewhere() {
    let names = json!({"type": "array", "items": {"type": "string"}});
    let query = json!({"title": "Query", "type": "object", "properties": {"int": names, "float": {"type": "integer"}}});
    let mut list = command(100, "shop", "list")
        .params_schema(query)
        .data_schema(names.clone());
    list.no_timeout = true;
    let all = command(101, "shop", "all").data_schema(names);
    let [python, _] = written(&[list, all]);

    for part in [
        "import builtins\n",
        "Query = TypedDict(\n",
        "\"int\": \"NotRequired[list[str]]\",",
        "int: builtins.list[str] | None = None,",
        "float: int | None = None,",
        "_data: list[str] = await self._client.call(",
        "timeout=builtins.float(\"inf\") if timeout is None else timeout,",
        ") -> builtins.list[str]:\n",
    ] {
        assert!(python.contains(part), "{part}: {python}");
    }
}

#[test]
fn a_resumable_stream_is_begun_with_the_members_of_its_cursor() {
    let members = [Resume::new("log", "log"), Resume::new("next", "a\"fter")];
    let tail = command(100, "log", "tail")
        .kind(Kind::Stream)
        .resumable(members);
    let [python, typescript] = written(&[tail]);

    let part = "resumable=[(\"log\", \"log\"), (\"next\", \"a\\\"fter\")]";
    assert_eq!(python.matches(part).count(), 2, "{python}");
    let part = "{ ...options, resumable: [[\"log\", \"log\"], [\"next\", \"a\\\"fter\"]] }";
    assert!(typescript.contains(part), "{typescript}");
}

#[test]
fn services_are_chosen_by_name_and_an_unknown_one_is_refused_with_the_known_ones() {
    let description = || Description {
        protocol: 1,
        server: serde_json::from_value(json!({"name": "a", "version": "1"})).unwrap(),
        commands: vec![
            command(101, "shop", "b"),
            command(0, "rpc", "ping"),
            command(100, "log", "a"),
        ],
    };
    let names = |services: &[&str]| {
        let services: Vec<_> = services.iter().map(|&it| it.to_owned()).collect();
        chosen(description(), &services)
            .map(|it| it.iter().map(Descriptor::name).collect::<Vec<_>>())
    };

    // In the order of their numbers, whatever that of the server is.
    assert_eq!(names(&[]).ok().unwrap(), ["log.a", "shop.b"]);
    assert_eq!(names(&["shop"]).ok().unwrap(), ["shop.b"]);
    match names(&["shop", "sms"]).err().unwrap() {
        Failure::Usage { message, hint } => {
            assert_eq!(message, "`--services`: the server has no service `sms`");
            assert_eq!(hint, "it has log, shop");
        }
        _ => panic!("it is a mistake in the usage"),
    }
}
