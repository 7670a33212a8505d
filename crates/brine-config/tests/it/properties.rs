//! What holds for every text: the loader ends without panic, and JSON is YAML.

use brine_config::{parse_arguments, yaml};
use brine_wire::{Map, Value};
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::typed;

/// Bytes of which many mean something to YAML.
fn yaml_like_bytes() -> impl Strategy<Value = Vec<u8>> {
    let signs =
        prop::sample::select(b" \t\n\r:-?,[]{}#&*!|>'\"%@`<=~\\ab01.\xC2\x85\xE2\x80\xA8".to_vec());
    prop::collection::vec(prop_oneof![8 => signs, 1 => any::<u8>()], 0..200)
}

/// JSON as Salt's tools and people write it. Numbers stay within what both formats share.
fn json() -> impl Strategy<Value = Json> {
    // DEL and what lies behind it JSON leaves raw and YAML refuses.
    let text = "[ -~\n\té☃\u{A0}😀]{0,12}";
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e6..1e6f64).prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::hash_map(text, inner, 0..6)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    })
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number),
            None => Value::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(fields) => {
            let pairs = fields
                .iter()
                .map(|(key, inner)| (Value::from(key.as_str()), value(inner)));
            Value::Map(Map::from(pairs.collect::<Vec<_>>()))
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_load_or_are_refused(bytes in yaml_like_bytes()) {
        yaml::fuzz_load(&bytes);
    }

    #[test]
    fn json_loads_as_what_it_is(json in json()) {
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            let loaded = yaml::load(text.as_bytes());
            prop_assert!(
                loaded.as_ref().is_ok_and(|loaded| typed::same(loaded, &value(&json))),
                "{text}\n{loaded:?}"
            );
        }
    }

    #[test]
    fn a_json_object_or_list_is_an_argument(json in json()) {
        let text = json.to_string();
        if text.starts_with(['{', '[']) && !text.contains(['#', '\n', '\t']) {
            let arguments = parse_arguments([text.as_str()], &[]);
            prop_assert!(typed::same(&arguments.positional[0], &value(&json)), "{text}");
        }
    }
}
