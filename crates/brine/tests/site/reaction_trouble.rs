//! Reactions in trouble, and those that need real Salt: what people are told of each.

use std::fs;

use brine_testkit::salt::python;
use rustix::process::Signal;

use crate::reactor::{append, history, reactor, send, start};
use crate::site::{Site, at, wait_until};

/// Writes reaction files, and the rules for them: `myco/NAME` for each.
fn with_files(files: &[(&str, &str)], brine: &str) -> Site {
    let site = Site::configured("tcp", "auto_accept: true\n");
    let folder = site.path("r");
    fs::create_dir(&folder).unwrap();
    let mut rules = String::new();
    for (name, text) in files {
        fs::write(folder.join(format!("{name}.sls")), text).unwrap();
        rules += &format!("  - myco/{name}: {}/{name}.sls\n", folder.display());
    }
    append(&site, "master", &format!("reactor:\n{rules}{brine}"));
    site
}

/// What `brine explain` says of an event.
fn explained(site: &Site, tag: &str, data: &str) -> String {
    let left = site.run(&["explain", tag, data]);
    assert!(matches!(left.code, Some(0 | 1)), "{left:?}");
    left.stdout
}

fn says(site: &Site, tag: &str, expected: &[&str]) {
    let said = explained(site, tag, "{}");
    for expected in expected {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn each_trouble_is_in_the_record_and_explained() {
    let files = [
        (
            "hangs",
            "x:\n  runner.manage.up:\n    - timeout: 600\n    - gather_job_timeout: 600\n",
        ),
        (
            "broken",
            "x:\n  runner.event.send:\n    - tag: {{ data.nope }}\n",
        ),
        (
            "nobody",
            "x:\n  local.test.ping:\n    - tgt: no-such-minion\n",
        ),
        ("again", "x:\n  runner.event.send:\n    - tag: {{ tag }}\n"),
        ("good", "x:\n  runner.event.send:\n    - tag: myco/well\n"),
    ];
    let mut site = with_files(&files, "brine: {reactor: {rate: 5}}\n");
    start(&mut site);
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    site.minion.as_ref().unwrap().signal(Signal::STOP); // it never answers
    says(
        &site,
        "myco/again",
        &["note: it fires myco/again, to which this rule reacts again, for ever"],
    );
    for name in ["hangs", "broken", "nobody", "again"] {
        send(&site, &format!("myco/{name}"), "{}");
    }
    let recorded = |outcome: &str, tag: &str| {
        let lines = history(&site, outcome);
        lines.iter().filter(|line| line.contains(tag)).count()
    };
    wait_until("the one that hangs to run", || {
        recorded("running", "myco/hangs") == 1
    });
    wait_until("the broken one to fail", || {
        recorded("failed", "myco/broken") == 1
    });
    wait_until("the one for nobody to be done", || {
        recorded("done", "myco/nobody") == 1
    });
    wait_until("the one that triggers itself to go on", || {
        recorded("done", "myco/again") > 5
    });
    // The others go on beside them.
    send(&site, "myco/good", "{}");
    bus.next("myco/well");

    says(
        &site,
        "myco/hangs",
        &["so far, in the record: 1 running; the last one: running "],
    );
    says(
        &site,
        "myco/broken",
        &[
            "so far, in the record: 1 failed; the last one: failed ",
            "broken.sls:3: Jinja variable `data.nope` is undefined",
            "  error: ",
        ],
    );
    says(
        &site,
        "myco/nobody",
        &[
            "1 done; the last one: done ",
            ": no minion matches the target; nothing was published",
        ],
    );
    says(&site, "myco/again", &[" done", "reacts again, for ever"]);
    site.minion.as_ref().unwrap().signal(Signal::CONT);
}

#[test]
fn what_brine_has_not_is_rendered_and_run_by_real_salt() {
    let files = [
        (
            "python",
            "#!py\ndef run():\n    return {'x': {'runner.event.send': [{'tag': 'myco/rendered'}, {'data': {'of': tag}}]}}\n",
        ),
        (
            "filter",
            "x:\n  runner.event.send:\n    - tag: myco/filtered\n    - data: {of: '{{ \"10.0.0.0/30\" | network_hosts | first }}'}\n",
        ),
        (
            "runs",
            "x:\n  runner.salt.cmd:\n    - args: [{fun: test.echo}, {text: {{ data.text }}}]\n",
        ),
        (
            "fails",
            "x:\n  runner.salt.cmd:\n    - args: [{text: without a function}]\n",
        ),
        ("breaks", "#!py\ndef run():\n    return {}['nope']\n"),
    ];
    let python = python("3008.3");
    let brine = format!("brine: {{python: {:?}}}\n", python.get_program());
    let mut site = with_files(&files, &brine);
    start(&mut site);
    let mut bus = site.master_bus();
    for (name, heard, of) in [
        ("python", "myco/rendered", "myco/python"),
        ("filter", "myco/filtered", "10.0.0.1"),
    ] {
        send(&site, &format!("myco/{name}"), "{}");
        assert_eq!(at(&bus.next(heard), "of"), &of.into());
    }
    let said = explained(&site, "myco/filter", "{}");
    assert!(
        said.contains("x: runner.event.send kwarg={\"tag\": \"myco/filtered\", "),
        "{said}"
    );
    for name in ["runs", "fails", "breaks"] {
        send(&site, &format!("myco/{name}"), "{text: echoed}");
    }
    let of = |rule: &str| reactor(&site, &["history", "--json", "--rule", rule]).1;
    wait_until("what real Salt ran", || {
        of("myco/runs").contains("\"result\": \"\\\"echoed")
    });
    wait_until("what it could not run", || {
        of("myco/fails").contains("Passed invalid arguments: cmd() missing 1 required")
    });
    wait_until("what it could not render", || {
        of("myco/breaks").contains("KeyError")
    });
}
