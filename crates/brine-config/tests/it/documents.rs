//! Every document of `golden/documents.json`, which is real Salt's reading of YAML.

use brine_config::yaml::{self, Fault};
use serde_json::Value as Json;

use crate::typed;

#[test]
fn documents_read_as_salt_reads_them() {
    let golden: Json = serde_json::from_str(include_str!("../golden/documents.json")).unwrap();
    let mut wrong = Vec::new();
    let (mut read, mut refused) = (0, 0);
    for row in golden["rows"].as_array().unwrap() {
        let text = row["in"].as_str().unwrap();
        let ours = yaml::load(text.as_bytes());
        match (&ours, row.get("out")) {
            (Ok(ours), Some(salt)) if typed::same(ours, &typed::value(salt)) => read += 1,
            (Err(_), None) => refused += 1,
            // A mapping merged into itself is nothing new to real Salt.
            (Err(error), Some(_)) if error.fault == Fault::RecursiveAlias => {}
            (_, salt) => wrong.push(format!("{text:?}\n   salt {salt:?}\n   ours {ours:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        read > 300 && refused > 300,
        "{read} read, {refused} refused"
    );
}
