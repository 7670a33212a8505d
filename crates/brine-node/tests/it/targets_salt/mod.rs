//! Targets of every type, against real Salt: its master's resolving and its minions' matching together say who
//! runs a job, and so must ours.

mod generate;

use std::collections::BTreeMap;

use brine_node::target::{Candidate, Target};
use brine_wire::Map;
use brine_wire::nodegroup::nodegroup;
use brine_wire::python_text::repr;
use serde_json::{Value as Json, json};

use self::generate::{Fleet, Minion, Question};
use crate::oracle::{Oracle, Random, cases, packed};

#[test]
fn targets_mean_whom_they_mean_in_salt_3006() {
    check("3006.28");
}

#[test]
fn targets_mean_whom_they_mean_in_salt_3008() {
    check("3008.3");
}

/// How often a type of target was asked about, and how often it meant somebody.
#[derive(Debug, Default)]
struct Asked {
    all: usize,
    meant: usize,
}

fn check(version: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut salt = Oracle::start(version, "targets.py", &[root.path()]);
    let mut random = Random::new(1);
    let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
    let mut faults = Vec::new();
    for _ in 0..cases(150) {
        let fleet = &Fleet::generate(&mut random);
        let answer = salt.ask(&question(fleet));
        faults.extend(other_groups(fleet, &answer["groups"]));
        let answers = answer["targets"].as_array().unwrap();
        for (question, answer) in fleet.questions.iter().zip(answers) {
            if version == "3006.28" && question.names_an_engine_of_3008() {
                continue;
            }
            let ours = meant(fleet, question);
            for ((minion, answer), ours) in fleet
                .minions
                .iter()
                .zip(answer.as_array().unwrap())
                .zip(ours)
            {
                let theirs = answer == &json!([true, true]);
                let asked = asked.entry(question.tgt_type).or_default();
                asked.all += 1;
                asked.meant += usize::from(theirs);
                if ours != theirs {
                    faults.push(fault(fleet, question, minion, ours, answer));
                }
            }
        }
    }
    println!("{version}: {asked:?}");
    let shown = faults[..faults.len().min(15)].join("\n");
    assert!(faults.is_empty(), "{} faults:\n{shown}", faults.len());
    let known = asked
        .iter()
        .filter(|(tgt_type, _)| generate::TYPES.contains(tgt_type));
    for (tgt_type, Asked { all, meant }) in known {
        assert!(
            meant * 50 > *all && meant * 50 < all * 49,
            "{tgt_type}: {meant} of {all}"
        );
    }
}

fn question(fleet: &Fleet) -> Json {
    let minions = fleet.minions.iter().map(|minion| {
        json!([
            minion.id.as_str(),
            packed(minion.grains.clone()),
            packed(minion.pillar.clone())
        ])
    });
    let targets = fleet.questions.iter().map(|question| {
        json!([
            question.tgt_type,
            packed(question.tgt.clone()),
            question.delimiter
        ])
    });
    json!({
        "minions": minions.collect::<Vec<_>>(),
        "groups": packed(fleet.groups.clone()),
        "targets": targets.collect::<Vec<_>>(),
    })
}

/// Node groups that stand for something else in Salt.
fn other_groups(fleet: &Fleet, theirs: &Json) -> Vec<String> {
    let groups = fleet.groups.iter().map(|(name, _)| name.as_str().unwrap());
    let other = groups.filter_map(|name| {
        let ours = nodegroup(name, &fleet.groups);
        let ours = ours.map_or_else(|_| json!([]), |group| json!(group.words));
        let theirs = match &theirs[name] {
            Json::String(nothing) if nothing.is_empty() => &json!([]),
            theirs => theirs,
        };
        (ours != *theirs).then(|| format!("N@{name}: ours {ours}, theirs {theirs}"))
    });
    other.collect()
}

/// Which minions of a fleet are meant, in ours.
fn meant(fleet: &Fleet, question: &Question) -> Vec<bool> {
    let Question {
        tgt_type,
        tgt,
        delimiter,
    } = question;
    let target = Target::parse(tgt, tgt_type, delimiter, &fleet.groups);
    let is_meant = |minion: &Minion| {
        let candidate = Candidate {
            id: &minion.id,
            grains: &minion.grains,
            pillar: &minion.pillar,
        };
        target
            .as_ref()
            .is_ok_and(|target| target.matches(candidate))
    };
    fleet.minions.iter().map(is_meant).collect()
}

fn fault(fleet: &Fleet, question: &Question, minion: &Minion, ours: bool, theirs: &Json) -> String {
    let shown = |map: &Map| repr(&map.clone().into());
    let groups = shown(&fleet.groups);
    format!(
        "{} {:?} by {:?}, for {}: ours {ours}, theirs {theirs}\n  grains {:.600}\n  pillar {:.600}\n  groups {groups:.300}",
        question.tgt_type,
        question.tgt,
        question.delimiter,
        minion.id,
        shown(&minion.grains),
        shown(&minion.pillar),
    )
}
