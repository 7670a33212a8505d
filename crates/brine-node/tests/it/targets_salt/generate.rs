//! Fleets of minions with their data, and targets that mean some of them, or almost do.
//!
//! Left out is what `docs/compatibility.md` lists as different on purpose.

use brine_wire::network::MinionId;
use brine_wire::python_text::str;
use brine_wire::{Map, Value, msgpack};

use crate::oracle::Random;

/// The types that mean somebody now and then.
pub(crate) const TYPES: [&str; 11] = [
    "glob",
    "pcre",
    "list",
    "grain",
    "grain_pcre",
    "pillar",
    "pillar_pcre",
    "pillar_exact",
    "ipcidr",
    "compound",
    "nodegroup",
];
const OTHER_TYPES: [&str; 5] = ["range", "nosuch", "", "Glob", "compound_pillar_exact"];

const IDS: [&str; 16] = [
    "web1",
    "web2",
    "db1",
    "WEB1",
    "web1.example.com",
    "a b",
    "é1",
    "ключ",
    "(x)",
    "[web]",
    "web*",
    "not",
    "1",
    "None",
    "-n",
    "w",
];
const KEYS: [&str; 18] = [
    "os", "a", "b", "c", "roles", "A", "x:y", "a:b", "a|b", "é", "1", "0", "*", "", "None", "true",
    "Os", "1.5",
];
const TEXTS: [&str; 24] = [
    "Debian", "debian", "a", "b", "x:y", "a:b", "1", "", "é", "É", "ß", "İ", "web1", "[a]", "a*",
    "*", "None", "true", "a b", "x|y", "x\ny", "☃", "Σ", "σς",
];
const ADDRESSES: [&str; 12] = [
    "10.0.0.7",
    "10.0.0.8",
    "10.1.2.3",
    "127.0.0.1",
    "192.168.5.6",
    "255.255.255.255",
    "0.0.0.0",
    "fe80::1",
    "::1",
    "2001:db8::5",
    "::ffff:10.0.0.7",
    "FE80::2",
];
const NETWORKS: [&str; 40] = [
    "10.0.0.0/24",
    "10.0.0.0/255.255.255.0",
    "10.0.0.0/0.0.0.255",
    "10.0.0.0/0.255.0.255",
    "10.0.0.7/24",
    "10.0.0.0/8",
    "10.0.0.0/08",
    "10.0.0.0/+8",
    "10.0.0.0/ 8",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "10.0.0.7/32",
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "10.0.0.7/255.255.255.255",
    "10.0.0",
    "10.0.0.07",
    "010.0.0.7",
    "10.0.0.256",
    "10.0.0.7 ",
    "fe80::/10",
    "fe80::1/10",
    "fe80::/ffc0::",
    "fe80::1%eth0",
    "fe80::%eth0/10",
    "fe80::1%",
    "::/0",
    "::ffff:10.0.0.7",
    "::ffff:a00:7",
    "::ffff:10.0.0.0/120",
    "FE80::1",
    "fe80:0:0:0:0:0:0:1",
    "fe80::0001",
    "1:2:3:4:5:6:7:8:9",
    ":::",
    "",
    "web1",
    "2001:db8::/32",
];
/// Of globs and regular expressions.
const PIECES: [&str; 30] = [
    "*", "?", "[a-d]*", "[!a]*", "d*", "web?", "web[12]", "*1", ".*", ".+", "(a|b)", "a|web",
    "^web", "b$", "web\\d", "\\w+", "[", "(", "*a", "a**", "(?i)WEB1", "(?:a)|b", "\\D", "web{1}",
    "deb.an", "[[]a]", "$", "x", "W", "É",
];

/// Some minions, and what is asked about them.
pub(crate) struct Fleet {
    pub(crate) minions: Vec<Minion>,
    pub(crate) groups: Map,
    pub(crate) questions: Vec<Question>,
}

pub(crate) struct Minion {
    pub(crate) id: MinionId,
    pub(crate) grains: Map,
    pub(crate) pillar: Map,
}

pub(crate) struct Question {
    pub(crate) tgt_type: &'static str,
    pub(crate) tgt: Value,
    pub(crate) delimiter: &'static str,
}

impl Question {
    /// `T@` and `M@` came with 3008, which is whom we follow.
    pub(crate) fn names_an_engine_of_3008(&self) -> bool {
        let text = str(&self.tgt);
        self.tgt_type == "compound" && (text.contains("M@") || text.contains("T@"))
    }
}

impl Fleet {
    pub(crate) fn generate(random: &mut Random) -> Self {
        let mut minions: Vec<Minion> = Vec::new();
        for _ in 0..=random.below(4) {
            let minion = minion(random);
            if minions.iter().all(|other| other.id != minion.id) {
                minions.push(minion);
            }
        }
        let groups = groups(random);
        let questions = (0..10)
            .map(|_| question(random, &minions, &groups))
            .collect();
        Self {
            minions,
            groups,
            questions,
        }
    }
}

fn minion(random: &mut Random) -> Minion {
    let mut grains = map(random, 3, 6);
    for (name, own) in [("ipv4", &ADDRESSES[..7]), ("ipv6", &ADDRESSES[7..])] {
        if random.is(85) {
            let addresses = random.some(3, |random| Value::from(random.one(own)));
            grains.insert(name, addresses);
        }
    }
    Minion {
        id: MinionId::parse(random.one(&IDS)).unwrap(),
        grains,
        pillar: map(random, 3, 6),
    }
}

fn map(random: &mut Random, depth: usize, most: usize) -> Map {
    let pairs = random.some(most, |random| (key(random), value(random, depth)));
    pairs.into_iter().collect()
}

fn key(random: &mut Random) -> Value {
    if random.is(85) {
        return (random.one(&KEYS)).into();
    }
    scalar(random)
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 10 }) {
        0..6 => scalar(random),
        6 | 7 => random.some(4, |random| value(random, depth - 1)).into(),
        _ => map(random, depth - 1, 4).into(),
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(14) {
        0 => Value::Nil,
        1 => true.into(),
        2 => false.into(),
        3..6 => (random.one(&[0, 1, 2, 10, -1, 1_000_000])).into(),
        6 => Value::Int(random.one(&[i128::from(u64::MAX), i128::from(i64::MIN)])),
        7 => (random.one(&[1.5, 2.0, -0.0, 1e16, 1e-7, f64::INFINITY])).into(),
        8 => Value::Ext(msgpack::DATE, b"20240102T03:04:05.000600".to_vec()),
        _ => (random.one(&TEXTS)).into(),
    }
}

fn question(random: &mut Random, minions: &[Minion], groups: &Map) -> Question {
    let tgt_type = match random.below(20) {
        0 => random.one(&OTHER_TYPES),
        1..6 => "compound",
        _ => random.one(&TYPES),
    };
    let delimiter = match random.is(70) {
        true => ":",
        false => random.one(&["|", "/", "@", "::", ".", "*", "", " "]),
    };
    let tgt = match tgt_type {
        "compound" => compound(random, minions, groups),
        _ => text_target(random, tgt_type, minions, groups, delimiter),
    };
    Question {
        tgt_type,
        tgt,
        delimiter,
    }
}

fn text_target(
    random: &mut Random,
    tgt_type: &str,
    minions: &[Minion],
    groups: &Map,
    delimiter: &str,
) -> Value {
    if random.is(3) {
        return match tgt_type {
            // Lists of what is no text, and mappings, are taken or not, by release.
            "list" | "ipcidr" => Value::Nil,
            _ => random
                .item(&[
                    Value::Nil,
                    5.into(),
                    true.into(),
                    vec!["web1".into(), ":".into()].into(),
                ])
                .clone(),
        };
    }
    match tgt_type {
        "list" if random.is(40) => {
            let ids = random.some(4, |random| id_like(random, minions));
            let ids = ids.into_iter().filter(|id| !id.is_empty());
            ids.map(Value::from).collect::<Vec<_>>().into()
        }
        "list" => {
            let ids = random.some(4, |random| id_like(random, minions));
            ids.join(if random.is(80) { "," } else { ", " }).into()
        }
        "ipcidr" => address(random).into(),
        "nodegroup" => group_name(random, groups).into(),
        "grain" | "grain_pcre" | "pillar" | "pillar_pcre" | "pillar_exact" => {
            expression(random, tgt_type.starts_with('g'), minions, delimiter).into()
        }
        _ => pattern(random, minions).into(),
    }
}

/// Something that may be an id. One that cannot be, or is empty in a list, makes 3008 fail.
fn id_like(random: &mut Random, minions: &[Minion]) -> String {
    match random.below(10) {
        0 => String::new(),
        1..4 => random.one(&IDS).to_owned(),
        4 => pattern(random, minions).replace('\\', ""),
        _ => random.item(minions).id.as_str().to_owned(),
    }
}

/// For ids: some of one, with pieces of patterns.
fn pattern(random: &mut Random, minions: &[Minion]) -> String {
    let id = random.item(minions).id.as_str().to_owned();
    match random.below(10) {
        0 | 1 => id,
        2 => id.to_uppercase(),
        3 | 4 => {
            let kept = id.chars().take(random.below(4)).collect::<String>();
            kept + random.one(&PIECES)
        }
        5 => (random.one(&PIECES)).to_owned() + &id,
        6 => format!("{}|{id}", random.one(&IDS)),
        7 => "*".to_owned(),
        _ => random.some(3, |random| random.one(&PIECES)).concat(),
    }
}

fn address(random: &mut Random) -> &'static str {
    if random.is(30) {
        random.one(&ADDRESSES)
    } else {
        random.one(&NETWORKS)
    }
}

fn group_name(random: &mut Random, groups: &Map) -> String {
    let names: Vec<_> = groups.iter().map(|(name, _)| str(name)).collect();
    if names.is_empty() || random.is(10) {
        return "nosuch".to_owned();
    }
    random.item(&names).clone()
}

/// `key:value`, mostly along a path that there is.
fn expression(random: &mut Random, of_grains: bool, minions: &[Minion], delimiter: &str) -> String {
    let minion = random.item(minions);
    let data = if of_grains {
        &minion.grains
    } else {
        &minion.pillar
    };
    let mut parts = if random.is(85) {
        path(random, data)
    } else {
        random.some(4, |random| (random.one(&KEYS)).to_owned())
    };
    if random.is(50) {
        for part in &mut parts {
            disturb(random, part);
        }
    }
    if random.is(10) && !parts.is_empty() {
        let at = random.below(parts.len());
        parts.remove(at);
    }
    if random.is(15) {
        let at = random.below(parts.len() + 1);
        parts.insert(
            at,
            (random.one(&["*", "*", "", "x", "0", "-1", " 1 ", "1_0", "+0"])).to_owned(),
        );
    }
    parts.join(delimiter)
}

/// Keys, places in lists and a last value.
fn path(random: &mut Random, data: &Map) -> Vec<String> {
    let mut parts = Vec::new();
    let whole = Value::Map(data.clone());
    let mut at = &whole;
    loop {
        match at {
            Value::Map(map) if !map.is_empty() => {
                let (key, inner) = &map.iter().as_slice()[random.below(map.len())];
                parts.push(str(key));
                at = inner;
            }
            Value::Array(items) if !items.is_empty() => {
                let fixture = random.below(items.len());
                if random.is(50) {
                    parts.push(fixture.to_string());
                }
                at = &items[fixture];
            }
            value => {
                parts.push(str(value));
                return parts;
            }
        }
        if parts.len() > 1 && random.is(20) {
            return parts;
        }
    }
}

fn disturb(random: &mut Random, part: &mut String) {
    *part = match random.below(12) {
        0 | 1 => "*".to_owned(),
        2 => part.to_uppercase(),
        3 => part.chars().take(1).collect::<String>() + "*",
        4 => format!("({part}|x)"),
        5 => part.chars().take(1).collect::<String>() + ".*",
        6 => (random.one(&PIECES)).to_owned(),
        7 => format!("{part}x"),
        _ => return,
    };
}

fn compound(random: &mut Random, minions: &[Minion], groups: &Map) -> Value {
    let mut words = Vec::new();
    expression_words(random, 3, &mut words, &mut |random| {
        leaf(random, minions, groups)
    });
    damage(random, &mut words);
    target_of(random, words)
}

/// Words as text, or as a list, in which a word may be anything.
fn target_of(random: &mut Random, mut words: Vec<String>) -> Value {
    if random.is(70) {
        return words.join(if random.is(80) { " " } else { " \t " }).into();
    }
    if random.is(15) {
        let at = random.below(words.len() + 1);
        let odd = [
            "",
            "web1 or web2",
            " ",
            "web1\n",
            "G@os:Debian\n",
            "G@os:Debian\nx",
        ];
        words.insert(at, (random.one(&odd)).to_owned());
    }
    let mut words: Vec<Value> = words.into_iter().map(Value::from).collect();
    if random.is(3) {
        words.push(
            random
                .item(&[Value::Nil, 1.into(), Value::Array(Vec::new())])
                .clone(),
        );
    }
    words.into()
}

fn expression_words(
    random: &mut Random,
    depth: usize,
    words: &mut Vec<String>,
    leaf: &mut dyn FnMut(&mut Random) -> String,
) {
    for at in 0..=random.below(3) {
        if at > 0 {
            words.push((random.one(&["and", "or", "and", "or", "not"])).to_owned());
        }
        if random.is(20) && words.last().is_none_or(|last| last != "not") {
            words.push("not".to_owned());
        }
        if depth > 0 && random.is(25) {
            words.push("(".to_owned());
            expression_words(random, depth - 1, words, leaf);
            words.push(")".to_owned());
        } else {
            words.push(leaf(random));
        }
    }
}

/// A word too many, too few, or in the wrong place.
fn damage(random: &mut Random, words: &mut Vec<String>) {
    if random.is(75) {
        return;
    }
    let at = random.below(words.len());
    match random.below(4) {
        0 => {
            words.remove(at);
        }
        1 => words.insert(at, words[random.below(words.len())].clone()),
        2 => words.insert(
            at,
            (random.one(&["(", ")", "not", "and", "or", "( )", "web1"])).to_owned(),
        ),
        _ => words.swap(at, 0),
    }
}

fn leaf(random: &mut Random, minions: &[Minion], groups: &Map) -> String {
    let data = |random: &mut Random, engine: &str| {
        let delimiter = random.one(&["", "", "", "|", "@", "é", "/"]);
        let parts = if delimiter.is_empty() { ":" } else { delimiter };
        let text = expression(random, "GP".contains(engine), minions, parts);
        format!("{engine}{delimiter}@{text}")
    };
    let word = match random.below(16) {
        0 | 1 => data(random, "G"),
        2 => data(random, "P"),
        3 => data(random, "I"),
        4 => data(random, "J"),
        5 => format!(
            "L@{}",
            random.some(3, |random| id_like(random, minions)).join(",")
        ),
        6 => format!("S@{}", address(random)),
        7 => format!("E@{}", pattern(random, minions)),
        8 => format!("N@{}", group_name(random, groups)),
        // A pattern for the master, an id for minions.
        9 if random.is(50) => format!("M@{}", random.one(&["web1", "web2", "1"])),
        9 => (random.one(&[
            "T@x", "T@x:y", "R@x", "Q@x", "G@", "G@@", "N@", "@x", "g@os:x", "G@os", "L@", "Ga@os",
        ]))
        .to_owned(),
        _ => pattern(random, minions),
    };
    // White space would part it, and make a word that is no leaf.
    word.replace(char::is_whitespace, "")
}

/// Node groups that name ids, patterns, targets and each other.
fn groups(random: &mut Random) -> Map {
    const NAMES: [&str; 6] = ["g1", "g2", "g3", "web", "é", "or"];
    let word = |random: &mut Random| -> String {
        let words = [
            "web1",
            "web2",
            "db1",
            "web*",
            "web?",
            "web[12]",
            "G@os:Debian",
            "E@web.",
            "L@web1,db1",
            "N@g1",
            "N@g2",
            "N@g3",
            "N@web",
            "N@é",
            "N@nosuch",
            "N@",
            "S@10.0.0.0/8",
            "W@x",
            "(x)",
            "é1",
        ];
        (random.one(&words)).to_owned()
    };
    let mut groups = Map::new();
    for name in NAMES {
        if random.is(30) {
            continue;
        }
        let mut words = Vec::new();
        if random.is(40) {
            words = random.some(3, word);
        } else {
            expression_words(random, 1, &mut words, &mut |random| word(random));
            damage(random, &mut words);
        }
        let group: Value = match random.is(60) {
            true => words.join(" ").into(),
            false => words
                .into_iter()
                .map(Value::from)
                .collect::<Vec<_>>()
                .into(),
        };
        groups.insert(name, group);
    }
    groups
}
