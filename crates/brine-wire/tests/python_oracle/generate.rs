//! The cases that real Salt is asked about.

use brine_wire::{Value, msgpack};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same cases in every run.
pub(crate) fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

fn one_of(characters: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(characters)
}

fn joined(
    parts: impl Strategy<Value = &'static str>,
    most: usize,
) -> impl Strategy<Value = String> {
    vec(parts, 0..most).prop_map(|parts| parts.concat())
}

/// Tags short enough to match patterns of the same few characters now and then.
pub(crate) fn tags() -> impl Strategy<Value = Vec<String>> {
    let part = one_of(&[
        "a", "a", "a", "b", "b", "c", "A", "B", "1", "2", "_", "/", "/", "-", "]", "[", "!", "^",
        ".", "*", "\\", " ", "\n", "ü", "☃", "🧂", "é", "ß", "٣", "e\u{301}", "\u{1c}", "\u{a0}",
        "&", "<", "'", "|",
    ]);
    vec(joined(part, 6), 12)
}

pub(crate) fn plain_pattern() -> impl Strategy<Value = String> {
    joined(one_of(&["a", "b", "A", "/", "ü", "☃", "1", "*", "\n"]), 3)
}

pub(crate) fn shell_pattern() -> impl Strategy<Value = String> {
    let part = one_of(&[
        "a", "b", "A", "c", "/", "1", "ü", "☃", "🧂", "*", "*", "?", "[", "[", "[", "]", "]", "!",
        "^", "-", "-", "\\", ".", "\n", "&&", "<", ">", "'", "||", "~~", "--", "[a-c]", "[b-a",
        "[a-", "!-", "[!b]", "[é-ü]", "#", " ", "(", "+", "{2}", "$",
    ]);
    joined(part, 9)
}

/// Python's syntax in small pieces, put together at random: half of them are none.
pub(crate) fn regular_expression() -> impl Strategy<Value = String> {
    let part = one_of(&[
        "a",
        "a",
        "b",
        "c",
        "A",
        "1",
        "/",
        "-",
        "ü",
        "☃",
        ".",
        ".",
        "*",
        "+",
        "?",
        "*?",
        "+?",
        "??",
        "{2}",
        "{1,}",
        "{,2}",
        "{1,2}",
        "{0,1}?",
        "{",
        "}",
        "{,}",
        "{a}",
        "^",
        "$",
        "|",
        "|",
        "(",
        "(",
        ")",
        ")",
        ")",
        "(?:",
        "(?=",
        "(?!",
        "(?<=a)",
        "(?<!b)",
        "(?P<n>a)",
        "(?P=n)",
        r"\1",
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        r"\S",
        r"\b",
        r"\B",
        r"\A",
        r"\Z",
        r"\.",
        r"\/",
        r"\-",
        r"\n",
        r"\x61",
        r"\u00fc",
        r"\101",
        r"\0",
        "[abc]",
        "[^a]",
        "[a-c]",
        r"[\w-]",
        r"[\d/]",
        "[]a]",
        "[^]]",
        "[[a]",
        "[a&&b]",
        "[&|]",
        "[-a]",
        "[a-]",
        r"[\]]",
        "[.*]",
        "[",
        "]",
        r"\h",
        r"\z",
        r"\p",
        r"\e",
        "(?i:A)",
        "(?i)",
        "(?s:.)",
        "(?#x)",
        "(?x: a b )",
        "(?>a|ab)",
        "a++",
        "<",
        r"\<",
        "'",
        r"\@",
        "(?a:\\w)",
        "(?m:^a$)",
        "(?(1)a|b)",
        r"[\D]",
        r"[^\W]",
        r"[\s-]",
        "(?P<n>b)",
        "(?<x>a)",
        "#",
        " ",
        "&",
        "~",
    ]);
    joined(part, 9)
}

/// The same with flags for the whole expression before it, now and then.
pub(crate) fn flagged_expression() -> impl Strategy<Value = String> {
    let flags = one_of(&[
        "",
        "",
        "",
        "(?i)",
        "(?s)",
        "(?m)",
        "(?x)",
        "(?ix) ",
        "(?a)",
        "(?u)",
        "(?L)",
        "(?#x)(?i)",
        "(?i)(?s)",
        "(?x) #\n(?i)",
        " (?i)",
        "(?-i)",
        "(?iu)",
        "(?au)",
    ]);
    (flags, regular_expression()).prop_map(|(flags, expression)| flags.to_owned() + &expression)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        (-300..300i32).prop_map(Value::from),
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        any::<u64>().prop_map(|bits| Value::Float(without_nan(f64::from_bits(bits)))),
        (-5000..5000i32, -20..25i32).prop_map(|(n, e)| Value::Float(f64::from(n) * 10f64.powi(e))),
        any::<String>().prop_map(Value::Str),
        "[a-z\"\\\\\n\r\t\u{0}-\u{1f}\u{7f}-\u{a0}é☃\u{2028}]{0,20}".prop_map(Value::Str),
        vec(any::<u8>(), 0..40).prop_map(Value::Bin),
        "[a-zé]{0,10}".prop_map(|text: String| Value::Bin(text.into_bytes())),
        date(),
    ]
}

/// Of the many NaNs Python keeps the bits or not, as the processor likes.
fn without_nan(number: f64) -> f64 {
    if number.is_nan() { 0.5 } else { number }
}

fn date() -> impl Strategy<Value = Value> {
    let day = (1000..10_000u32, 1..=12u32, 1..=28u32);
    let time = (
        0..24u32,
        0..60u32,
        0..60u32,
        prop_oneof![Just(0u32), 0..1_000_000u32],
    );
    (day, time).prop_map(|((year, month, day), (h, m, s, micros))| {
        let text = format!("{year:04}{month:02}{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}");
        Value::Ext(msgpack::DATE, text.into_bytes())
    })
}

fn key() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => "[a-c_é]{0,3}".prop_map(Value::Str),
        2 => any::<String>().prop_map(Value::Str),
        1 => (-5..30i32).prop_map(Value::from),
        1 => prop_oneof![Just(0.5), Just(-1.5), Just(1e22), Just(2.0)].prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Nil),
        1 => "[a-c]{0,2}".prop_map(|text: String| Value::Bin(text.into_bytes())),
        1 => date(),
    ]
}

fn numeric_key() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-50..50i32).prop_map(Value::from),
        (-50..50i32).prop_map(|n| Value::Float(f64::from(n) + 0.5)),
    ]
}

fn map_of(
    keys: impl Strategy<Value = Value>,
    values: impl Strategy<Value = Value>,
    most: usize,
) -> impl Strategy<Value = Value> {
    vec((keys, values), 0..most).prop_map(|pairs| Value::Map(pairs.into_iter().collect()))
}

fn nested() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::Array),
            map_of(key(), inner.clone(), 6),
            map_of("[a-z]{1,3}".prop_map(Value::Str), inner.clone(), 20),
            map_of(numeric_key(), inner, 6),
        ]
    })
}

/// Event data: maps of everything Salt can carry.
pub(crate) fn data() -> impl Strategy<Value = Value> {
    prop_oneof![
        map_of(key(), nested(), 6),
        map_of("[a-z]{1,3}".prop_map(Value::Str), nested(), 6),
    ]
}

/// Packed data with a few bytes changed, cut or added, and bytes of no origin at all.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = || {
        data().prop_map(|data| {
            let mut out = Vec::new();
            msgpack::encode(&data, &mut out);
            out
        })
    };
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let changed = (whole(), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    let cut = (whole(), any::<prop::sample::Index>())
        .prop_map(|(bytes, at)| bytes[..at.index(bytes.len())].to_vec());
    let extended = (whole(), any::<u8>()).prop_map(|(mut bytes, byte)| {
        bytes.push(byte);
        bytes
    });
    let noise = vec(any::<u8>(), 0..12);
    prop_oneof![6 => changed, 1 => cut, 1 => extended, 2 => noise]
        .prop_filter("values that Python has no equal of", |bytes| {
            !is_beyond_python(bytes)
        })
}

/// Where Salt's own objects come in: extensions other than dates are not packed again, NaN is not
/// equal to itself, and of dates in forms that no Salt writes Python's reader takes some.
fn is_beyond_python(bytes: &[u8]) -> bool {
    fn has_odd(value: &Value) -> bool {
        match value {
            Value::Ext(kind, _) => *kind != msgpack::DATE,
            Value::Float(number) => number.is_nan(),
            Value::Array(items) => items.iter().any(has_odd),
            Value::Map(map) => map
                .iter()
                .any(|(key, value)| has_odd(key) || has_odd(value)),
            _ => false,
        }
    }
    match msgpack::decode(bytes) {
        Ok(value) => has_odd(&value),
        Err(error) => error == msgpack::DecodeError::NotADate,
    }
}

/// Times as people write them, and pieces of such in any order.
pub(crate) fn time() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        3 => (0..32_u32).prop_map(|number| number.to_string()),
        2 => (0..32_u32).prop_map(|number| format!("{number:02}")),
        1 => (1990..2040_u32).prop_map(|number| number.to_string()),
        1 => "[0-9]{1,4}",
        1 => "20[0-3][0-9](0[1-9]|1[0-2])([0-2][0-9])([01][0-9][0-5][0-9]([0-5][0-9])?)?",
        1 => "[0-2][0-9][0-5][0-9][0-5][0-9](\\.[0-9]{1,3})?",
        1 => "[0-9]{1,2}\\.[0-9]{1,2}",
    ];
    let clock = prop_oneof![
        "[0-2]?[0-9]:[0-5][0-9]",
        "[01]?[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
    ];
    let word = prop::sample::select(vec![
        "Jan", "feb", "March", "Apr", "May", "june", "JUL", "aug", "Sept", "Oct", "Nov",
        "December", "Mon", "sunday", "Fri", "am", "pm", "a", "P", "h", "m", "s", "hours", "minute",
        "of", "at", "th", "st", "T", "t", "and", "x", "UTC",
    ]);
    let sign = prop::sample::select(vec![
        " ", " ", " ", "-", "/", ".", ",", ", ", ":", "", "+", "'",
    ]);
    let piece = prop_oneof![4 => number, 2 => clock, 3 => word.prop_map(str::to_owned)];
    let loose = vec((piece, sign.prop_map(str::to_owned)), 1..6).prop_map(|pieces| {
        let all: String = pieces
            .iter()
            .flat_map(|(piece, sign)| [piece.as_str(), sign.as_str()])
            .collect();
        all.trim_end_matches([' ', ',']).to_owned()
    });
    let usual = prop_oneof![
        "20[12][0-9]-(0[1-9]|1[0-2])-([0-2][0-9])([ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9])?)?",
        "20[12][0-9], (Jan|Feb|Mar|Nov) [0-2][0-9]( [0-2][0-9]:[0-5][0-9])?",
        "[0-3]?[0-9]([./-])[01]?[0-9]([./-])(20)?[0-9]{2}( 1?[0-9] ?(am|pm))?",
    ];
    prop_oneof![loose, usual].prop_filter("what is read is no longer", |text| text.len() <= 64)
}

/// Data and a limit that they mostly exceed, with values around the shares of it that count.
pub(crate) fn over_the_limit() -> impl Strategy<Value = (Value, usize)> {
    (200..5_000usize).prop_flat_map(|limit| {
        let text = (
            one_of(&["x", "x", "é", "☃", "🧂"]),
            proptest::sample::select(vec![49usize, 73, 74, 76]),
            (1..=5usize, 0..4usize),
        )
            .prop_map(move |(character, header, (tenths, off))| {
                let width = match character.len() { 3 => 2, 4 => 4, _ => 1 };
                let count = (limit * tenths / 10).saturating_sub(header) / width + off;
                Value::Str(character.repeat(count.max(2)))
            });
        let anything = (0..limit).prop_map(|length| Value::Str("y".repeat(length)));
        let bytes = (0..limit).prop_map(|length| Value::Bin(vec![7; length]));
        let list = (0..limit / 8).prop_map(|length| Value::Array(vec![Value::Nil; length]));
        let leaf = prop_oneof![3 => text, 3 => anything, 1 => bytes, 1 => list, 1 => scalar_of_fixed_size()];
        let inner = leaf.prop_recursive(3, 16, 5, |inner| {
            prop_oneof![
                map_of("[a-z]{1,3}".prop_map(Value::Str), inner.clone(), 6),
                vec(inner, 0..4).prop_map(Value::Array),
            ]
        });
        map_of("[a-z]{1,3}".prop_map(Value::Str), inner, 9)
            .prop_map(move |data| (data, limit))
    })
}

fn scalar_of_fixed_size() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        Just(Value::Float(1.5)),
        date(),
    ]
}
