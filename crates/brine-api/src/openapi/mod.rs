//! `/openapi.json`: the network API described in OpenAPI 3.1, generated from one table.
//!
//! The table is [`table::OPERATIONS`]. `tests/it/openapi.rs` tests that it lists exactly what the router serves; a
//! property-based tester checks that the server behaves as the description says (`tests/page/schema.py`).

mod table;

use std::sync::LazyLock;

use brine_wire::{Map, Value, json};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use self::table::{Access, Body, OPERATIONS, Operation, Parameter, Schema};
use crate::body::ResponseBody;
use crate::rest::Answer;

/// Answers with the description.
pub(crate) fn answer() -> Answer {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut text = String::new();
        json::to_pretty(&document().into(), &mut text);
        text.push('\n');
        Bytes::from(text)
    });
    let mut response = Response::new(ResponseBody::full(TEXT.clone()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Answer::Response(response)
}

fn document() -> Map {
    let mut info = Map::new();
    info.insert("title", "Brine");
    info.insert("version", env!("CARGO_PKG_VERSION"));
    info.insert(
        "description",
        "Salt's REST surface (rest_cherrypy), with streams that resume and are filtered, metrics and status. docs/api.md has examples.",
    );
    let mut paths: Vec<(&str, Map)> = Vec::new();
    for operation in OPERATIONS {
        let item = described(operation);
        match paths.iter_mut().find(|(path, _)| *path == operation.path) {
            Some((_, methods)) => methods.insert(operation.method, item),
            None => paths.push((operation.path, object([(operation.method, item.into())]))),
        }
    }
    object([
        ("openapi", "3.1.0".into()),
        ("info", info.into()),
        ("paths", paths.into_iter().collect::<Map>().into()),
        ("components", components().into()),
    ])
}

fn described(operation: &Operation) -> Map {
    let mut item = object([
        ("operationId", operation.id.into()),
        ("summary", operation.summary.into()),
    ]);
    if operation.access == Access::Login {
        let schemes = ["token", "cookie"];
        let schemes = schemes.map(|scheme| object([(scheme, Vec::new().into())]).into());
        item.insert("security", schemes.to_vec());
    }
    let in_path = path_parameters(operation.path).map(|name| {
        object([
            ("name", name.into()),
            ("in", "path".into()),
            ("required", true.into()),
            ("schema", typed("string").into()),
        ])
    });
    let in_query = operation.query.iter().map(query_parameter);
    let parameters: Vec<Value> = in_path.chain(in_query).map(Value::from).collect();
    if !parameters.is_empty() {
        item.insert("parameters", parameters);
    }
    if let Some(body) = operation.body {
        item.insert("requestBody", request_body(body));
    }
    let mut responses = Map::new();
    for answer in operation.answers {
        let mut response = object([("description", answer.text.into())]);
        if !answer.media.is_empty() {
            let schema = if answer.media == "application/json" {
                schema(answer.schema)
            } else {
                typed("string")
            };
            let content = object([("schema", schema.into())]);
            response.insert("content", object([(answer.media, content.into())]));
        }
        responses.insert(answer.status, response);
    }
    if operation.access == Access::Login {
        let refused = object([("$ref", "#/components/responses/NotLoggedIn".into())]);
        responses.insert("401", refused);
    }
    // What every endpoint may say: too large, too many, a wrong type.
    let refused = object([("$ref", "#/components/responses/Refused".into())]);
    responses.insert("4XX", refused);
    item.insert("responses", responses);
    item
}

/// The names in braces.
fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn query_parameter(parameter: &Parameter) -> Map {
    let mut schema = typed(parameter.kind);
    if !parameter.values.is_empty() {
        let values = parameter.values.iter().map(|value| Value::from(*value));
        schema.insert("enum", values.collect::<Vec<_>>());
    }
    if parameter.kind == "integer" {
        schema.insert("minimum", 1);
    }
    if parameter.repeats {
        schema = object([("type", "array".into()), ("items", schema.into())]);
    }
    object([
        ("name", parameter.name.into()),
        ("in", "query".into()),
        ("description", parameter.text.into()),
        ("schema", schema.into()),
    ])
}

fn request_body(body: Body) -> Map {
    let media = match body {
        Body::Lowstate => ["application/json", "application/x-yaml"].as_slice(),
        Body::Credentials => &["application/json", "application/x-www-form-urlencoded"],
        Body::Any => &["application/json", "application/x-www-form-urlencoded"],
    };
    let shape = match body {
        Body::Lowstate => Schema::Lowstate,
        Body::Credentials => Schema::Credentials,
        Body::Any => Schema::Anything,
    };
    let content = object([("schema", schema(shape).into())]);
    let content = media.iter().map(|media| (*media, content.clone()));
    object([
        ("required", (body != Body::Any).into()),
        ("content", content.collect::<Map>().into()),
    ])
}

fn schema(schema: Schema) -> Map {
    match schema {
        Schema::Anything => Map::new(),
        Schema::Object => typed("object"),
        Schema::Return => {
            let mut shape = typed("object");
            shape.insert("required", vec![Value::from("return")]);
            shape.insert("properties", object([("return", Map::new().into())]));
            shape
        }
        Schema::Reference(name) => {
            object([("$ref", format!("#/components/schemas/{name}").into())])
        }
        Schema::Lowstate => lowstate(),
        Schema::Credentials => credentials(),
    }
}

/// One chunk, or a list of them.
fn lowstate() -> Map {
    let chunk = object([("$ref", "#/components/schemas/Chunk".into())]);
    let mut list = typed("array");
    list.insert("items", chunk.clone());
    object([("anyOf", vec![chunk.into(), list.into()].into())])
}

fn credentials() -> Map {
    let mut shape = typed("object");
    let names = ["username", "password", "eauth"];
    shape.insert("required", names.map(Value::from).to_vec());
    let properties = names.map(|name| (name, typed("string")));
    shape.insert("properties", properties.into_iter().collect::<Map>());
    shape
}

fn components() -> Map {
    let scheme = |place: &str, name: &str| {
        object([
            ("type", "apiKey".into()),
            ("in", place.into()),
            ("name", name.into()),
        ])
    };
    let page = |text: &str| {
        let html = object([("schema", typed("string").into())]);
        object([
            ("description", text.into()),
            ("content", object([("text/html", html.into())]).into()),
        ])
    };
    let mut chunk = typed("object");
    chunk.insert("required", vec![Value::from("client"), "fun".into()]);
    let properties = [
        ("client", typed("string")),
        ("fun", typed("string")),
        ("tgt", Map::new()),
        ("tgt_type", typed("string")),
        ("arg", Map::new()),
        ("kwarg", typed("object")),
    ];
    chunk.insert("properties", properties.into_iter().collect::<Map>());
    let mut health = typed("object");
    health.insert("required", vec![Value::from("status")]);
    health.insert("properties", object([("status", typed("string").into())]));
    object([
        (
            "securitySchemes",
            object([
                ("token", scheme("header", "X-Auth-Token").into()),
                ("cookie", scheme("cookie", "session_id").into()),
            ])
            .into(),
        ),
        (
            "schemas",
            object([("Chunk", chunk.into()), ("Health", health.into())]).into(),
        ),
        (
            "responses",
            object([
                (
                    "NotLoggedIn",
                    page("Not logged in, or not permitted.").into(),
                ),
                (
                    "Refused",
                    page("The request is wrong; the page says why.").into(),
                ),
            ])
            .into(),
        ),
    ])
}

fn typed(kind: &str) -> Map {
    object([("type", kind.into())])
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().collect()
}
