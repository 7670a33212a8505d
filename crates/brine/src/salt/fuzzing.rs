//! What must hold for any value that a minion returns: the body of the fuzz target `printers`, which a test replays.
//!
//! The target includes this file and the outputters as source files, since a program is not a library.

use brine_wire::{Value, json, msgpack};

use super::output::{OutputOptions, Printer, StateOptions, Tabular};

/// Every outputter that shows a value. A minion names one with its return.
const OUTPUTTERS: [&str; 11] = [
    "nested",
    "highstate",
    "table",
    "json",
    "yaml",
    "raw",
    "txt",
    "pprint",
    "key",
    "no_return",
    "newline_values_only",
];

/// What `state_output` may be.
const STATES: [&str; 7] = [
    "full",
    "terse",
    "mixed",
    "changes",
    "filter",
    "full_id",
    "changes_id",
];

/// The most bytes of text for a byte of a value: an empty array within others has its own line, indented by four
/// spaces for each of them.
const PER_BYTE: usize = 8192;
/// Beside those.
const BESIDES: usize = 2 << 20;

/// Every outputter shows any value, in an amount of text in proportion to it; as JSON it is read again. The first byte
/// says how it is shown.
pub(crate) fn fuzz_printers(bytes: &[u8]) {
    let Some((&how, packed)) = bytes.split_first() else {
        return;
    };
    let Ok(value) = msgpack::decode(packed) else {
        return;
    };
    let is_set = |bit: u8| how & 1 << bit != 0;
    for name in OUTPUTTERS {
        let options = OutputOptions {
            // As an option of the command line `highstate` is left to the return.
            out: Some(name).filter(|name| *name != "highstate"),
            indent: is_set(0).then_some(Value::Int(i128::from(how >> 5))),
            no_color: !is_set(1),
            force_color: is_set(1),
            states: StateOptions {
                verbose: !is_set(2),
                output: STATES[usize::from(how) % STATES.len()].to_owned(),
                diff: is_set(3),
                percentages: is_set(4),
                tabular: match is_set(3) {
                    true => Tabular::Columns,
                    false => Tabular::No,
                },
                compress_ids: is_set(4),
                terse: vec!["True".to_owned()],
                ..StateOptions::default()
            },
            ..OutputOptions::default()
        };
        let Ok(printer) = Printer::new(options) else {
            panic!("no file is written");
        };
        let text = printer.text(&value, Some(name), i64::from(how & 1));
        let most = packed.len() * PER_BYTE + BESIDES;
        assert!(
            text.len() <= most,
            "{name}: {} bytes of text for {}",
            text.len(),
            packed.len()
        );
        if name == "json" {
            assert!(json::parse(text.as_bytes()).is_ok(), "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::terminal::Shown;

    #[test]
    fn the_corpus_of_printers() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/printers");
        let mut replayed = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            fuzz_printers(&fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 5, "only {replayed} inputs");
    }

    fn packed(value: &Value) -> Vec<u8> {
        let mut packed = vec![2];
        msgpack::encode(value, &mut packed);
        packed
    }

    #[test]
    fn a_long_cell_is_shown_whatever_else_is_in_its_column() {
        let rows = |count: usize, length: usize| -> Value {
            let mut rows = vec![Value::from(vec![Value::from("x")]); count];
            rows.push(vec![Value::from("y".repeat(length))].into());
            [("m1", rows)]
                .into_iter()
                .collect::<brine_wire::Map>()
                .into()
        };
        // Wider than Rust's formats pad, and so much of both that blanks would be most of it.
        fuzz_printers(&packed(&rows(3, 200_000)));
        fuzz_printers(&packed(&rows(5000, 50_000)));
    }

    #[test]
    fn no_outputter_lets_a_value_act_on_a_terminal() {
        let text = "a\x1b]0;x\x07\x1b[2J\u{9b}31m\u{202e}b\rc";
        let pair: brine_wire::Map = [(text, Value::from(vec![Value::from(text)]))]
            .into_iter()
            .collect();
        let value: Value = [("m1", Value::from(pair))]
            .into_iter()
            .collect::<brine_wire::Map>()
            .into();
        for name in OUTPUTTERS {
            let printer = Printer::new(OutputOptions {
                no_color: true,
                ..OutputOptions::default()
            });
            let shown = printer.unwrap().text(&value, Some(name), 0);
            let mut out = Vec::new();
            Shown::new("test", &mut out, true)
                .write_all(shown.as_bytes())
                .unwrap();
            let out = String::from_utf8(out).unwrap();
            for acts in ['\x1b', '\u{9b}', '\u{202e}', '\x07', '\r'] {
                assert!(!out.contains(acts), "{name}: {out:?}");
            }
        }
    }
}
