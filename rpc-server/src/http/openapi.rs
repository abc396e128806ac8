//! The document of `OpenAPI` 3.1 that describes the commands as calls over HTTP.

use rpc_core::descriptor::first_paragraph;
use serde_json::{Map, Value, json};

/// Commands that no request makes.
const NOT_OVER_HTTP: [u64; 3] = [4, 5, 6];

/// The document, from what `describe` has answered: it has the commands that the caller may call.
pub(super) fn document(description: &Value) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();

    let commands = description["commands"].as_array().into_iter().flatten();
    for command in commands {
        let is_callable = command["cmdid"]
            .as_u64()
            .is_some_and(|cmdid| !NOT_OVER_HTTP.contains(&cmdid));
        if is_callable {
            let name = format!("{}.{}", text(command, "service"), text(command, "method"));
            let call = operation(command, &name, &mut schemas);
            paths.insert(format!("/{name}"), json!({ "post": call }));
        }
    }

    schemas.insert("Failure".into(), failure());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": text(&description["server"], "name"),
            "version": text(&description["server"], "version"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

/// The call of one command.
fn operation(command: &Value, name: &str, schemas: &mut Map<String, Value>) -> Value {
    let params = moved(&command["params"], &format!("{name}.params"), schemas);
    let data = moved(&command["data"], &format!("{name}.data"), schemas);
    let doc = text(command, "doc");

    let success = match text(command, "kind") {
        "stream" => json!({
            "description": "the items of the stream, one at a time",
            "content": {
                "application/x-ndjson": { "schema": data },
                "text/event-stream": { "schema": { "type": "string" } },
            },
        }),
        _ => json!({
            "description": "the data; without data, the status is 204",
            "content": { "application/json": { "schema": data } },
        }),
    };

    json!({
        "operationId": name,
        "tags": [text(command, "service")],
        "summary": first_paragraph(doc),
        "description": doc,
        "deprecated": command.get("deprecated").is_some(),
        "parameters": parameters(command),
        "requestBody": { "content": { "application/json": { "schema": params } } },
        "responses": {
            "2XX": success,
            "default": {
                "description": "the failure of the call; the header `Rpc-Code` has its code, too",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } },
            },
        },
    })
}

/// The header fields of a call.
fn parameters(command: &Value) -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });

    let mut fields = vec![
        header(
            "Rpc-Timeout-Ms",
            "time that the caller waits, in milliseconds",
            json!({ "type": "integer", "minimum": 0 }),
        ),
        header(
            "traceparent",
            "the trace that the call belongs to",
            json!({ "type": "string" }),
        ),
    ];
    if command.get("dedup").is_some() {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
        fields.push(header(
            "Idempotency-Key",
            "key of the call, which is the same each time the call is sent",
            schema,
        ));
    }
    fields.into()
}

fn failure() -> Value {
    json!({
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": { "type": "integer" },
            "message": { "type": "string" },
            "details": true,
            "rejected": { "const": true },
            "retry_after_ms": { "type": "integer" },
        },
    })
}

/// A schema whose own definitions have been moved to those of the document, where they have a prefix to their names.
fn moved(schema: &Value, prefix: &str, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = match schema {
        Value::Null => json!(true),
        schema => schema.clone(),
    };

    let definitions = schema
        .as_object_mut()
        .and_then(|object| object.remove("$defs"));
    if let Some(Value::Object(definitions)) = definitions {
        for (name, mut definition) in definitions {
            refer(&mut definition, prefix);
            schemas.insert(format!("{prefix}.{name}"), definition);
        }
    }
    refer(&mut schema, prefix);
    schema
}

/// Has references to definitions follow them to where they have been moved.
fn refer(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(target) if name == "$ref" => {
                        if let Some(definition) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/components/schemas/{prefix}.{definition}");
                        }
                    }
                    value => refer(value, prefix),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| refer(value, prefix)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_calls_and_their_definitions_those_of_the_document() {
        let level = json!({ "$ref": "#/$defs/Level" });
        let params = json!({
            "type": "object",
            "properties": { "level": level, "levels": { "items": level } },
            "$defs": { "Level": { "enum": ["info"] } },
        });
        let description = json!({
            "server": { "name": "shop", "version": "1.2" },
            "commands": [
                { "cmdid": 4, "service": "rpc", "method": "cancel", "kind": "oneway", "doc": "" },
                { "cmdid": 1001, "service": "log", "method": "append", "kind": "unary", "doc": "Writes an\nentry.\n\nMore.",
                  "params": params, "dedup": {} },
                { "cmdid": 1003, "service": "log", "method": "tail", "kind": "stream", "doc": "", "deprecated": "" },
            ],
        });

        let document = document(&description);
        assert_eq!(
            document["info"],
            json!({ "title": "shop", "version": "1.2" })
        );
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.keys().eq(["/log.append", "/log.tail"]), "{paths:?}");

        let append = &paths["/log.append"]["post"];
        assert_eq!(append["summary"], "Writes an entry.");
        assert_eq!(append["parameters"][2]["name"], "Idempotency-Key");
        let schema = &append["requestBody"]["content"]["application/json"]["schema"];
        let moved = json!({ "$ref": "#/components/schemas/log.append.params.Level" });
        assert_eq!(
            schema["properties"],
            json!({ "level": moved, "levels": { "items": moved } })
        );
        let definition = &document["components"]["schemas"]["log.append.params.Level"];
        assert_eq!(definition, &json!({ "enum": ["info"] }));

        let tail = &paths["/log.tail"]["post"];
        assert_eq!(tail["deprecated"], true);
        assert!(tail["responses"]["2XX"]["content"]["text/event-stream"].is_object());
    }
}
