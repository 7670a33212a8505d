//! Every row of `golden/arguments.json`, which is real Salt's reading of a command line argument.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod typed;

use brine_config::parse_arguments;
use brine_wire::Value;
use serde_json::Value as Json;

/// Where the grammars differ: libyaml's is YAML 1.1, ours YAML 1.2. Keys over 1,024 characters,
/// which only libyaml refuses inside brackets, are the fourth kind.
const EXCEPTIONS: [&str; 18] = [
    // A colon or question mark against a bracket; block indicators inside brackets.
    "{a:}",
    "{:}",
    "[:]",
    "[: 1]",
    "[?]",
    "{?a:b}",
    "[-]",
    "[|]",
    "[>]",
    "[::1]",
    // A comment needs no blank before it in libyaml.
    "a=[1]#c",
    "[1]#b",
    "{a: 1}#b",
    // NEL and LS are line breaks in libyaml.
    "a\u{85}b",
    "1\u{2028}",
    "[1,\u{2028}2]",
    "[1,\u{85} 2]",
    // Nobody passes this on purpose.
    "__kwarg__=1",
];

#[test]
fn arguments_read_as_salt_reads_them() {
    let mut wrong = Vec::new();
    let mut exceptions = 0;
    let rows = rows(include_str!("golden/arguments.json"));
    assert!(rows.len() > 500);
    for row in &rows {
        let input = row["in"].as_str().unwrap();
        let parsed = parse_arguments([input], &[]);
        let positional = typed::value(&row["positional"]);
        let keyword = typed::map(&row["keyword"]);
        let is_exception =
            EXCEPTIONS.contains(&input) || input.len() > 1024 && input.contains(": ");
        if is_exception {
            exceptions += 1;
        } else if !typed::same(&Value::Array(parsed.positional.clone()), &positional)
            || !typed::same(
                &Value::Map(parsed.keyword.clone()),
                &Value::Map(keyword.clone()),
            )
        {
            wrong.push(format!(
                "{input:?}\n   salt {positional:?} {keyword:?}\n   ours {:?} {:?}",
                parsed.positional, parsed.keyword
            ));
        }
    }
    assert_eq!(exceptions, EXCEPTIONS.len() + 3);
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_last_of_two_keyword_values_stands_and_positionals_keep_their_order() {
    let parsed = parse_arguments(["b", "x=1", "a", "x=2", "y=[]"], &[]);
    assert_eq!(parsed.positional, ["b", "a"].map(Value::from));
    assert_eq!(parsed.keyword.get("x").and_then(Value::as_int), Some(2));
    assert_eq!(parsed.keyword.len(), 2);
}

#[test]
fn no_parse_keeps_a_keyword_value_as_text() {
    let parsed = parse_arguments(["x=1", "y=1"], &["x"]);
    assert_eq!(parsed.keyword.get("x"), Some(&Value::from("1")));
    assert_eq!(parsed.keyword.get("y"), Some(&Value::Int(1)));
}

fn rows(golden: &str) -> Vec<Json> {
    let golden: Json = serde_json::from_str(golden).unwrap();
    golden["rows"].as_array().unwrap().clone()
}
