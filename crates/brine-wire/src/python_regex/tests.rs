//! What patterns become, and which are refused, as Python refuses them.

use super::*;

#[test]
fn what_means_the_same_is_written_in_forms_both_know() {
    for (python, ours) in [
        ("a|b", "a|b"),
        ("^a$", r"\Aa(?=\n?\z)"),
        (r"a\Z", r"a\z"),
        ("(?m:^a$)", "(?:(?m:^)a(?m:$))"),
        ("(?i:a.)", r"(?i:a[^\n])"),
        ("(?s:.)", "(?:(?s:.))"),
        (r"[\d-]", r"[[\p{Nd}]\x{2d}]"),
        ("[]a]", r"[\x{5d}\x{61}]"),
        ("[^a-c]", r"[^\x{61}-\x{63}]"),
        ("[[a]", r"[\x{5b}\x{61}]"),
        (r"\ud800", "(?!)"),
        (r"\101\n", "A\n"),
        ("(a)\\1", r"(a)(?:\1)"),
        ("(?P<x>a)(?P=x)(?(x)b|c)", r"(a)(?:\1)(?(1)b|c)"),
        ("a{,2}b{3}?c++{", r"(?:a){0,2}(?:b){3,3}?(?>(?:c)+)\{"),
        ("(?x: a # b\n c)", "(?:ac)"),
        ("a(?#b)*", "(?:a)*"),
        ("<>", "<>"),
    ] {
        assert_eq!(translate(python).as_deref(), Ok(ours), "{python}");
    }
}

#[test]
fn errors_are_pythons_and_say_where() {
    for (pattern, reason, position) in [
        ("(", "missing ), unterminated subpattern", 1),
        ("a)", "unbalanced parenthesis", 1),
        ("a**", "multiple repeat", 3),
        ("^*", "nothing to repeat", 2),
        ("a|*", "nothing to repeat", 3),
        ("[a", "unterminated character set", 2),
        ("[b-a]", "bad character range", 4),
        (r"\h", "bad escape", 2),
        (r"\1", "invalid group reference", 2),
        (r"(\1)", "cannot refer to an open group", 3),
        (
            "a(?i)",
            "global flags not at the start of the expression",
            5,
        ),
        ("(?<=a*)b", "look-behind requires fixed-width pattern", 7),
        ("a{2,1}", "min repeat greater than max repeat", 6),
        ("(?P<1>a)", "bad character in group name", 6),
        ("(?(2)a)", "invalid group reference", 7),
    ] {
        let expected = SyntaxError { reason, position };
        assert_eq!(translate(pattern), Err(expected), "{pattern}");
    }
}

#[test]
fn flags_stand_before_what_salt_binds_to_the_start() {
    for (python, ours) in [
        ("a|b", "^a|b"),
        ("(?i)a|b", "(?i:^a|b)"),
        ("(?s).", "^(?s:.)"),
    ] {
        let (translated, start) = (translate_at_start(python).unwrap(), translate("^").unwrap());
        assert_eq!(translated, ours.replace('^', &start), "{python}");
    }
    let error = translate_at_start("(?i)a(").unwrap_err();
    assert_eq!(error.position, translate("(?i)a(").unwrap_err().position);
}

#[test]
fn a_whole_expressions_flags_stand_first() {
    for (python, ours) in [
        ("a|b", r"\A(?:a|b)"),
        ("(?i)a|b", r"\A(?i:a|b)"),
        ("(?#x)(?s)(?i).", r"\A(?i:(?s:.))"),
        ("(?x) # a\n (?i) b # c", r"\A(?i:b)"),
        ("(?i:a)b", r"\A(?:(?i:a)b)"),
    ] {
        assert_eq!(translate_match(python).as_deref(), Ok(ours), "{python}");
    }
    for pattern in [
        "a(?i)",
        "|(?i)a",
        "(?au)a",
        "(?a)(?u)a",
        "(?L)a",
        "(?i",
        "(?)a",
    ] {
        assert!(translate_match(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = "(".repeat(10_000) + &")".repeat(10_000);
    assert!(translate(&deep).is_err());
    let bearable = "(".repeat(40) + &")".repeat(40);
    assert!(fancy_regex::Regex::new(&translate(&bearable).unwrap()).is_ok());
}
