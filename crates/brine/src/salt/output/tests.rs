//! Compares every outputter with real Salt's, over generated values.

use std::io::Write;
use std::process::Stdio;

use brine_testkit::salt;
use brine_wire::{Value, msgpack};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Reads cases `[name, indent, color, retcode, options, value]`, writes the text of each.
const ORACLE: &str = r#"
import copy, sys, logging, msgpack, salt.config, salt.output
logging.disable()
def shown(value, name, opts, retcode):
    if name == "highstate":  # it changes what it is given, and may then leave it to nested
        try:
            return salt.output.get_printout(name, opts)(copy.deepcopy(value)).rstrip()
        except (KeyError, AttributeError, TypeError):
            name = "nested"
    return salt.output.out_format(value, name, opts, _retcode=retcode) or ""
cases = msgpack.unpackb(sys.stdin.buffer.read(), raw=False, strict_map_key=False)
texts = []
for name, indent, color, retcode, options, value in cases:
    opts = dict(salt.config.DEFAULT_MASTER_OPTS, color=color, output=name, **options)
    if color:
        opts["force_color"] = True
    if indent is not None:
        opts["output_indent"] = indent
    try:
        texts.append(shown(value, name, opts, retcode))
    except Exception:  # keys it cannot sort, in an outputter that has no way around it; a state without a whole name
        texts.append(None)
sys.stdout.buffer.write(msgpack.packb(texts))
"#;

struct Case {
    name: &'static str,
    indent: Option<Value>,
    colours: bool,
    failed: bool,
    states: StateOptions,
    table: TableOptions,
    value: Value,
}

/// The options of `table` under Salt's names.
fn salts_table_options(table: &TableOptions, options: &mut Map) {
    let mut set = |name: &str, value: Value| options.insert(format!("out.table.{name}"), value);
    let key = |key: &Option<String>| key.as_deref().map_or(Value::Nil, Value::from);
    set("nested_indent", (table.nested_indent as i64).into());
    set("rows_key", key(&table.rows_key));
    set("labels_key", key(&table.labels_key));
    set("title", key(&table.title));
    set("has_header", table.has_header.into());
    set("row_delimiter", table.row_delimiter.as_str().into());
    set("delim", table.delim.as_str().into());
    set("justify", table.justify.as_str().into());
    set("separate_rows", table.separate_rows.into());
    set("prefix", table.prefix.as_str().into());
    set("suffix", table.suffix.as_str().into());
    set("width", table.width.into());
}

/// The options of `highstate` under Salt's names.
fn salts_options(states: &StateOptions) -> Map {
    let texts = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let mut options = Map::new();
    options.insert("state_verbose", states.verbose);
    options.insert("state_output", states.output.as_str());
    options.insert("state_output_diff", states.diff);
    options.insert("state_output_profile", states.profile);
    options.insert("state_output_pct", states.percentages);
    let tabular = match &states.tabular {
        Tabular::No => false.into(),
        Tabular::Columns => true.into(),
        Tabular::Format(format) => Value::from(format.as_str()),
    };
    options.insert("state_tabular", tabular);
    options.insert("state_compress_ids", states.compress_ids);
    options.insert("state_output_exclude", Value::Array(texts(&states.exclude)));
    options.insert("state_output_terse", Value::Array(texts(&states.terse)));
    options
}

fn compare(release: &str, cases: &[Case]) {
    let questions = cases.iter().map(|case| {
        let mut options = salts_options(&case.states);
        salts_table_options(&case.table, &mut options);
        Value::Array(vec![
            case.name.into(),
            case.indent.clone().unwrap_or(Value::Nil),
            case.colours.into(),
            i64::from(case.failed).into(),
            options.into(),
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
            states: &case.states,
            table: &case.table,
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

const OUTPUTTERS: [&str; 9] = [
    "nested",
    "json",
    "yaml",
    "raw",
    "txt",
    "pprint",
    "no_return",
    "highstate",
    "table",
];

#[test]
fn outputters_print_what_salts_print() {
    for (release, seed) in [("3008.3", 1), ("3006.28", 2)] {
        let mut cases = Vec::new();
        for (at, value) in generated(seed, 400, &value()).into_iter().enumerate() {
            let of_3006 = (release == "3006.28").then_some("newline_values_only");
            for name in OUTPUTTERS.into_iter().chain(of_3006) {
                cases.push(Case {
                    name,
                    indent: [None, None, Some(0), Some(2), Some(4), Some(-1)][at % 6]
                        .map(|indent: i64| indent.into()),
                    colours: at % 4 == 3,
                    failed: at % 8 == 3,
                    states: StateOptions::default(),
                    table: TableOptions::default(),
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
            states: StateOptions::default(),
            table: TableOptions::default(),
            value: value.clone().into(),
        })
    });
    compare("3008.3", &cases.collect::<Vec<_>>());
}

/// States as minions return them, and what else there may be in their place.
fn states() -> impl Strategy<Value = Value> {
    let sentence = || "[A-Za-z][a-z]{0,9}( [a-z]{1,12}| [a-z]{1,5}-[a-z]{1,9}| /etc/[a-z]{1,8}|\\. The [a-z]+){0,30}\n?";
    let module = proptest::sample::select(vec!["file_|-", "pkg_|-", "cmd_|-", "test_|-"]);
    let function = proptest::sample::select(vec!["managed", "installed", "run", "nop"]);
    let result = prop_oneof![
        6 => Just(Value::Bool(true)),
        3 => Just(Value::Bool(false)),
        2 => Just(Value::Nil),
        1 => Just(Value::Int(1)),
        1 => Just(Value::from("odd")),
    ];
    let changes = prop_oneof![
        5 => Just(Value::from(Map::new())),
        3 => ("[a-z]{1,9}", sentence()).prop_map(|(key, text)| {
            let inner: Map = [("old", Value::Nil), ("new", text.into())].into_iter().collect();
            Map::from_pairs(vec![(key.into(), inner.into())]).into()
        }),
        1 => sentence().prop_map(|text| [("diff", text)].into_iter().collect::<Map>().into()),
        1 => Just(Value::from("no mapping")),
    ];
    let optional = (
        proptest::option::weighted(
            0.9,
            (0.0..9000.0_f64).prop_map(|ms| (ms * 1000.0).round() / 1000.0),
        ),
        proptest::option::weighted(0.9, "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}"),
        proptest::option::weighted(0.2, proptest::collection::vec(sentence(), 1..4)),
        proptest::option::weighted(0.1, Just(true)),
        proptest::option::weighted(0.1, value()),
    );
    let state = (
        (module, "[a-z ]{1,9}", "[a-z/.]{0,20}", function),
        (result, changes, sentence(), 0..50_i64),
        optional,
    );
    let state = state.prop_map(
        |((module, id, name, function), (result, changes, comment, number), optional)| {
            let (duration, started, warnings, parallel, data) = optional;
            let name = if name.is_empty() { id.clone() } else { name };
            let mut ret = Map::new();
            ret.insert("name", name.as_str());
            ret.insert("changes", changes);
            ret.insert("result", result);
            ret.insert("comment", comment);
            ret.insert("__sls__", "top");
            ret.insert("__id__", id.as_str());
            ret.insert("__run_num__", number);
            if let Some(duration) = duration {
                ret.insert("duration", duration);
            }
            if let Some(started) = started {
                ret.insert("start_time", started);
            }
            if let Some(warnings) = warnings {
                let warnings = warnings.into_iter().map(Value::from);
                ret.insert("warnings", warnings.collect::<Vec<_>>());
            }
            if let Some(parallel) = parallel {
                ret.insert("__parallel__", parallel);
            }
            if let Some(data) = data {
                ret.insert("data", data);
            }
            let key = format!("{module}{id}_|-{name}_|-{function}");
            (Value::from(key), Value::from(ret))
        },
    );
    let states = prop_oneof![
        8 => proptest::collection::vec(state, 0..8).prop_map(|states| Map::from_pairs(states).into()),
        1 => proptest::collection::vec(sentence().prop_map(Value::from), 1..3).prop_map(Value::from),
        1 => sentence().prop_map(Value::from),
        1 => value(),
    ];
    ("[a-z]{1,6}(_master)?", states, 0..9).prop_map(|(id, states, form)| {
        let minions: Map = [(id.as_str(), states.clone())].into_iter().collect();
        match form {
            // As an orchestration returns it, below a runner's names, and inside a state's changes.
            0 => [("retcode", Value::from(0)), (id.as_str(), states)]
                .into_iter()
                .collect::<Map>()
                .into(),
            1 => {
                let data: Map = [
                    ("data", Value::from(minions)),
                    ("outputter", "highstate".into()),
                ]
                .into_iter()
                .collect();
                [("return", data)].into_iter().collect::<Map>().into()
            }
            2 | 3 => {
                let mut changes: Map = [
                    ("ret", Value::from(minions.clone())),
                    ("out", "highstate".into()),
                ]
                .into_iter()
                .collect();
                let mut name = "salt.state";
                if form == 3 {
                    (name, changes) = ("state.orchestrate", minions);
                }
                let mut ret = Map::new();
                ret.insert("name", name);
                ret.insert("changes", changes);
                ret.insert("result", true);
                ret.insert("comment", "ran");
                ret.insert("__run_num__", 0);
                let outer = Map::from_pairs(vec![("salt_|-a_|-a_|-state".into(), ret.into())]);
                [("m_master", outer)].into_iter().collect::<Map>().into()
            }
            _ => minions.into(),
        }
    })
}

fn state_options() -> impl Strategy<Value = StateOptions> {
    let output = proptest::sample::select(vec![
        "full", "full", "terse", "mixed", "changes", "filter", "full_id", "terse_id", "Mixed_ID",
    ]);
    let results = || proptest::sample::subsequence(vec!["True", "False", "None"], 0..3);
    let flags = proptest::collection::vec(proptest::bool::weighted(0.3), 5);
    let tabular = prop_oneof![
        4 => Just(Tabular::No),
        2 => Just(Tabular::Columns),
        2 => proptest::sample::select(vec![
            "{0}{2}.{3} {4} {1}{5}",
            "{0}{2:>12}.{3:*<12}|{4:^9}|{1:.3}{5} {6[result]!s:>9} {{}}",
            "{} {} {} {6[__run_num__]:4} {6[comment]!r}",
            "{6[duration]} {6[no]}",
            "{9}",
            "",
        ]).prop_map(|format| Tabular::Format(format.to_owned())),
    ];
    let options = (output, flags, results(), results(), tabular);
    options.prop_map(|(output, flags, exclude, terse, tabular)| {
        let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        StateOptions {
            verbose: !flags[0],
            output: output.to_owned(),
            diff: flags[1],
            profile: !flags[2],
            percentages: flags[3],
            tabular,
            compress_ids: flags[4],
            exclude: texts(exclude),
            terse: texts(terse),
        }
    })
}

fn table_options() -> impl Strategy<Value = TableOptions> {
    let key = |names: &'static [&'static str]| {
        let name = proptest::sample::select(names.to_vec()).prop_map(str::to_owned);
        proptest::option::weighted(0.3, name)
    };
    let text = |texts: &'static [&'static str]| {
        proptest::sample::select(texts.to_vec()).prop_map(str::to_owned)
    };
    let keys = (
        key(&["out", "m1", "nosuch"]),
        key(&["labels", "nosuch"]),
        key(&["A title", ""]),
    );
    let look = (
        text(&["-", "=", "~*", ""]),
        text(&[" | ", "", " "]),
        text(&["center", "left", "RIGHT", "nosuch"]),
        text(&["| ", ""]),
        text(&[" |", " ||"]),
    );
    let numbers = (
        0..5_usize,
        proptest::sample::select(vec![50_i64, 12, 0, -1]),
    );
    let flags = (any::<bool>(), any::<bool>());
    let changed = (keys, look, numbers, flags).prop_map(|(keys, look, numbers, flags)| {
        let (rows_key, labels_key, title) = keys;
        let (row_delimiter, delim, justify, prefix, suffix) = look;
        TableOptions {
            nested_indent: numbers.0,
            rows_key,
            labels_key,
            title: title.filter(|title| !title.is_empty()),
            has_header: flags.0,
            row_delimiter,
            delim,
            justify,
            separate_rows: flags.1,
            prefix,
            suffix,
            width: numbers.1,
        }
    });
    prop_oneof![1 => Just(TableOptions::default()), 2 => changed]
}

/// Rows of all kinds, some beside names for their columns.
fn tables() -> impl Strategy<Value = Value> {
    let cell = || {
        prop_oneof![
            3 => "[a-z]{0,12}",
            1 => "[a-z]{1,30}( [a-z]{1,20}){0,6}",
            1 => "[a-zé\n ]{0,12}",
        ]
    };
    let map = |cells: Vec<String>| {
        let keys = ["interface", "last_move", "mac-address", "x's"];
        let pairs = keys.into_iter().zip(cells);
        pairs.collect::<Map>().into()
    };
    let texts = |cells: Vec<String>| Value::Array(cells.into_iter().map(Value::from).collect());
    let rows = prop_oneof![
        4 => proptest::collection::vec(proptest::collection::vec(cell(), 3..5).prop_map(map), 0..5),
        2 => proptest::collection::vec(proptest::collection::vec(cell(), 1..4).prop_map(texts), 0..5),
        2 => proptest::collection::vec(cell().prop_map(Value::from), 0..5),
        1 => proptest::collection::vec(value(), 0..4),
    ];
    let labels = prop_oneof![
        3 => Just(None),
        2 => proptest::collection::vec("[a-z ]{1,9}", 0..5)
            .prop_map(|labels| Some(labels.into_iter().map(Value::from).collect::<Vec<_>>().into())),
        1 => proptest::collection::vec(("[a-z]{1,3}", "[a-z]{1,9}"), 0..4)
            .prop_map(|labels| Some(Value::from(labels.into_iter().collect::<Map>()))),
        1 => "[a-z]{0,4}".prop_map(|label| Some(label.into())),
    ];
    let parts = (rows.prop_map(Value::Array), any::<bool>(), labels);
    parts.prop_map(|(rows, is_inside, labels): (_, _, Option<Value>)| {
        if !is_inside {
            return [("m1", rows)].into_iter().collect::<Map>().into();
        }
        let mut inside: Map = [("out", rows), ("result", true.into())]
            .into_iter()
            .collect();
        if let Some(labels) = labels {
            inside.insert("labels", labels);
        }
        [("m1", inside)].into_iter().collect::<Map>().into()
    })
}

fn generated<S: Strategy>(seed: u8, count: usize, strategy: &S) -> Vec<S::Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let sample = |_| strategy.new_tree(&mut runner).unwrap().current();
    (0..count).map(sample).collect()
}

#[test]
fn states_and_tables_are_printed_as_salt_prints_them() {
    for (release, seed) in [("3008.3", 3), ("3006.28", 4)] {
        let states = generated(seed, 1500, &(states(), state_options()));
        let states = states
            .into_iter()
            .map(|(value, states)| ("highstate", value, states, TableOptions::default()));
        let tables = generated(seed, 1500, &(tables(), table_options()));
        let tables = tables
            .into_iter()
            .map(|(value, table)| ("table", value, StateOptions::default(), table));
        let cases = states.chain(tables).enumerate();
        let cases = cases.map(|(at, (name, value, states, table))| Case {
            name,
            indent: None,
            colours: at % 4 == 3,
            failed: false,
            states,
            table,
            value,
        });
        compare(release, &cases.collect::<Vec<_>>());
    }
}
