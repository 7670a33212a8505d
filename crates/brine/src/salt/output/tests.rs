//! Compares every outputter with real Salt's, over generated values.

use std::io::Write;
use std::process::Stdio;

use brine_testkit::salt;
use brine_wire::{Value, msgpack};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Reads cases `[name, indent, color, retcode, value]`, writes the text of each.
const ORACLE: &str = r#"
import sys, logging, msgpack, salt.config, salt.output
logging.disable()
cases = msgpack.unpackb(sys.stdin.buffer.read(), raw=False, strict_map_key=False)
texts = []
for name, indent, color, retcode, value in cases:
    opts = dict(salt.config.DEFAULT_MASTER_OPTS, color=color, output=name)
    if color:
        opts["force_color"] = True
    if indent is not None:
        opts["output_indent"] = indent
    try:
        texts.append(salt.output.out_format(value, name, opts, _retcode=retcode) or "")
    except TypeError:  # keys it cannot sort, in an outputter that has no way around it
        texts.append(None)
sys.stdout.buffer.write(msgpack.packb(texts))
"#;

struct Case {
    name: &'static str,
    indent: Option<Value>,
    colours: bool,
    failed: bool,
    value: Value,
}

fn compare(release: &str, cases: &[Case]) {
    let questions = cases.iter().map(|case| {
        Value::Array(vec![
            case.name.into(),
            case.indent.clone().unwrap_or(Value::Nil),
            case.colours.into(),
            i64::from(case.failed).into(),
            case.value.clone(),
        ])
    });
    let mut bytes = Vec::new();
    msgpack::encode(&Value::Array(questions.collect()), &mut bytes);
    let mut oracle = salt::python(release)
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    oracle.stdin.take().unwrap().write_all(&bytes).unwrap();
    let answers = oracle.wait_with_output().unwrap();
    assert!(answers.status.success());
    let Ok(Value::Array(answers)) = msgpack::decode(&answers.stdout) else {
        panic!("expected a list of texts");
    };
    assert_eq!(answers.len(), cases.len());
    let mut wrong = 0;
    for (case, salts) in cases.iter().zip(&answers) {
        let style = Style {
            colours: if case.colours {
                Colours::ALL
            } else {
                Colours::NONE
            },
            indent: case.indent.as_ref().map_or(Indent::Unsaid, Indent::of),
            failed: case.failed,
        };
        let ours = Outputter::named(case.name)
            .unwrap()
            .show(&case.value, style);
        if *salts != Value::Nil && salts.as_str() != Some(&ours) {
            wrong += 1;
            if wrong <= 10 {
                eprintln!(
                    "{} {:?} {:?}\nSalt: {:?}\nours: {ours:?}\n",
                    case.name, case.indent, case.value, salts
                );
            }
        }
    }
    assert_eq!(wrong, 0, "of {} cases, against {release}", cases.len());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_./-]{0,12}",
        "[ -~]{0,20}",
        "[a-z ]{60,200}",
        "([a-z]{1,9}[ ,.:]{1,2}){5,60}",
        "[a-zé☃ '\"\n]{0,40}",
        "([a-z# ]{0,30}\n){1,5}",
        // Only characters that the Unicode version of Salt's Python has.
        "[\\x00-\u{5ff}\u{2000}-\u{23ff}\u{2500}-\u{2bff}\u{1f300}-\u{1f5ff}]{0,12}",
        "[\\x00-\\x20a]{0,6}",
        proptest::sample::select(vec![
            "true",
            "No",
            "~",
            "null",
            "1",
            "0x1f",
            "1_000",
            "12:30:45",
            "2024-01-02",
            "2001-12-14 21:59:43.10 -5",
            "2001-1-1 1:11:11",
            "1.5",
            ".5",
            "1e3",
            "1.5e+3",
            "-",
            "- a",
            "a: b",
            "#x",
            "a #b",
            "",
            " a",
            "a ",
            "=",
            "<<",
            "!x",
            "&a",
            "*",
            "@",
            "%",
            "`",
            "---",
            "...",
            "[",
            "a,b",
            "{}",
            "\u{85}",
            "\u{2028}x",
            "😀",
            "\u{feff}",
            "a\tb",
            "?",
            "? a",
            ":",
            ":a",
            "a:",
            "it's",
            "\u{1b}[31m",
            "\r\n",
            "0o7",
            "017",
            "08",
            "\u{a0}",
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let key = || {
        prop_oneof![
            9 => text().prop_map(Value::Str),
            1 => (-3i64..200).prop_map(Value::from),
            1 => any::<bool>().prop_map(Value::from),
        ]
    };
    let leaf = prop_oneof![
        1 => Just(Value::Nil),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => any::<i64>().prop_map(Value::from),
        2 => any::<f64>().prop_map(Value::Float),
        1 => (-1e6..1e6).prop_map(Value::Float),
        1 => proptest::collection::vec(any::<u8>(), 0..90).prop_map(Value::Bin),
        9 => text().prop_map(Value::Str),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((text().prop_map(Value::Str), inner.clone()), 0..6)
                .prop_map(|pairs| Map::from_pairs(pairs).into()),
            proptest::collection::vec((key(), inner), 0..6)
                .prop_map(|pairs| Map::from_pairs(pairs).into()),
        ]
    })
}

fn samples(seed: u8, count: usize) -> Vec<Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let value = value();
    let sample = |_| value.new_tree(&mut runner).unwrap().current();
    (0..count).map(sample).collect()
}

const OUTPUTTERS: [&str; 7] = [
    "nested",
    "json",
    "yaml",
    "raw",
    "txt",
    "pprint",
    "no_return",
];

#[test]
fn outputters_print_what_salts_print() {
    for (release, seed) in [("3008.3", 1), ("3006.28", 2)] {
        let mut cases = Vec::new();
        for (at, value) in samples(seed, 400).into_iter().enumerate() {
            for name in OUTPUTTERS {
                cases.push(Case {
                    name,
                    indent: [None, None, Some(0), Some(2), Some(4), Some(-1)][at % 6]
                        .map(|indent: i64| indent.into()),
                    colours: at % 4 == 3,
                    failed: at % 8 == 3,
                    value: value.clone(),
                });
            }
        }
        compare(release, &cases);
    }
}

#[test]
fn keys_are_printed_as_salt_prints_them() {
    let ids = |ids: &[&str]| Value::Array(ids.iter().map(|id| (*id).into()).collect());
    let listed: Map = [
        ("minions_pre", ids(&["b", "a"])),
        ("minions_rejected", ids(&[])),
        ("minions", ids(&["m1"])),
        ("minions_denied", ids(&["d"])),
    ]
    .into_iter()
    .collect();
    let prints: Map = [("m2", "aa:bb"), ("m1", "cc:dd")].into_iter().collect();
    let prints: Map = [("minions", prints), ("local", Map::new())]
        .into_iter()
        .collect();
    let cases = [listed, prints].into_iter().flat_map(|value| {
        [true, false].map(|colours| Case {
            name: "key",
            indent: None,
            colours,
            failed: false,
            value: value.clone().into(),
        })
    });
    compare("3008.3", &cases.collect::<Vec<_>>());
}
