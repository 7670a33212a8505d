//! What the golden files cannot show: places of errors, and the limits.

use brine_wire::Value;

use super::*;

fn fault(text: &str) -> Fault {
    load(text.as_bytes()).unwrap_err().fault
}

#[test]
fn an_error_says_the_line_and_the_column() {
    let at = |text: &[u8]| {
        let error = load(text).unwrap_err();
        (error.line, error.column)
    };
    assert_eq!(at(b"a: 1\nb: 2\na: 3\n"), (3, 1));
    assert_eq!(at(b"a: 1\nb: !odd x\n"), (2, 4));
    assert_eq!(at("a: 1\n é\u{1}".as_bytes()), (2, 3));
    assert_eq!(at(b"a: 1\nb: \xff"), (2, 4));
    assert_eq!(at(b"a: 1\n--- b"), (2, 1));
    assert_eq!(
        load(b"a: 1\na: 2").unwrap_err().to_string(),
        "line 2, column 1: key \"a\" is given twice in this mapping; keep one"
    );
}

#[test]
fn an_empty_text_is_nil() {
    for text in ["", "  \n", "# only a comment\n", "---\n", "\u{FEFF}"] {
        assert_eq!(load(text.as_bytes()), Ok(Value::Nil), "{text:?}");
    }
}

#[test]
fn nesting_is_limited_also_when_aliases_do_it() {
    let open = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(load(open(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(fault(&open(MAX_DEPTH + 1)), Fault::TooDeep);
    assert!(load("[".repeat(200_000).as_bytes()).is_err());
    let mut chain = "- &a0 [1]\n".to_owned();
    for n in 1..2 * MAX_DEPTH {
        chain += &format!("- &a{n} [*a{}]\n", n - 1);
    }
    assert_eq!(fault(&chain), Fault::TooDeep);
}

#[test]
fn a_billion_laughs_end_in_an_error() {
    let mut lists = "- &a0 [lol]\n".to_owned();
    let mut merges = "a0: &a0 {}\n".to_owned();
    for n in 1..40 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        lists += &format!("- &a{n} [{before}]\n");
        merges += &format!("a{n}: &a{n} {{<<: [{before}]}}\n");
    }
    assert_eq!(fault(&lists), Fault::TooLarge);
    assert_eq!(fault(&merges), Fault::TooLarge);
    let long = format!("- &a {}\n{}", "x".repeat(1 << 20), "- *a\n".repeat(40));
    assert_eq!(fault(&long), Fault::TooLarge);
}

#[test]
fn an_alias_inside_what_it_repeats_is_refused() {
    assert_eq!(fault("&a [*a]"), Fault::RecursiveAlias);
    assert_eq!(fault("&a {b: {c: *a}}"), Fault::RecursiveAlias);
}

#[test]
fn a_text_over_the_limit_is_not_looked_at() {
    let bytes = MAX_BYTES + 1;
    assert_eq!(
        load(&vec![b' '; bytes]).unwrap_err().fault,
        Fault::TooLong { bytes }
    );
}

#[test]
fn an_error_shows_no_more_than_an_excerpt() {
    for text in ["1:", "!!int ", "!x", "- *", "{~: 1, "] {
        let text = format!("{text}{}", "1:".repeat(100_000));
        if let Err(error) = load(text.as_bytes()) {
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
    assert!(
        fault(&format!(
            "a: 1\n? '{0}'\n: 1\n? '{0}'\n: 2",
            "x".repeat(9999)
        ))
        .to_string()
        .len()
            < 300
    );
}
