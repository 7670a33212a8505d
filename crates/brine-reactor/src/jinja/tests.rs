//! Templates as reactions use them. `tests/it/reactor` checks that real Salt renders the same.

use std::sync::Arc;

use brine_config::yaml;
use brine_wire::Map;

use super::*;

fn jinja() -> Jinja {
    let mapping = |text: &str| {
        yaml::load(text.as_bytes())
            .unwrap()
            .as_map()
            .cloned()
            .unwrap()
    };
    let around = Surroundings {
        opts: mapping("{id: master, a: {b: [1, 2]}}"),
        grains: mapping("{os: Debian}"),
        pillar: Map::new(),
        environment: vec![("HOME".to_owned(), "/root".to_owned())],
    };
    let include: Include = Arc::new(|name| match name {
        "map.jinja" => {
            Some("{% set port = 80 %}{% macro hi(x) %}hi {{ x }}{% endmacro %}".to_owned())
        }
        "map.yaml" => Some("a: [1, 2]".to_owned()),
        "broken.jinja" => Some("a\n{{ data.nothing }}".to_owned()),
        _ => None,
    });
    Jinja::new(&Arc::new(around), &include)
}

const DATA: &str = "{id: web1, act: pend, n: 3, none: null, ok: true, list: [a, b], data: {data: {x: y}}, fun_args: []}";

fn rendered(template: &str) -> Result<String, JinjaError> {
    let mut jinja = jinja();
    jinja.add("t", template)?;
    jinja.render("t", "salt/auth", &yaml::load(DATA.as_bytes()).unwrap())
}

#[test]
fn a_fault_of_an_included_file_is_told_with_its_place() {
    let error = rendered("{% include 'broken.jinja' %}").unwrap_err();
    assert!(
        error.message.contains("broken.jinja:2: Jinja variable"),
        "{error:?}"
    );
}

#[test]
fn what_reactions_in_the_wild_write_is_rendered() {
    let mut wrong = Vec::new();
    for (template, expected) in [
        (
            "{{ data['id'] }} {{ data.id }} {{ tag }} {{ data.data.data.x }}",
            "web1 web1 salt/auth y",
        ),
        (
            "{% if data['act'] == 'pend' and data['id'].startswith('web') %}a{% elif false %}b{% else %}c{% endif %}",
            "a",
        ),
        (
            "{% if 'x' in data %}a{% endif %}{% if 'id' in data %}b{% endif %}{% if data.nope is defined %}c{% endif %}",
            "b",
        ),
        (
            "{% for x in data.list %}{% if x == 'b' %}{% break %}{% endif %}{{ x }}{% endfor %}",
            "a",
        ),
        (
            "{% set x = data.get('nope', 'd') %}{{ x }} {{ data.get('nope') }}",
            "d None",
        ),
        ("{%- set a, b = tag.split('/') %}{{ b }}", "auth"),
        (
            "{{ data.none }} {{ data.ok }} {{ data.n + 1 }} {{ data.n / 2 }} {{ data.n ~ 'x' }}",
            "None True 4 1.5 3x",
        ),
        (
            "{{ data.list }} {{ data.data }}",
            "['a', 'b'] {'data': {'x': 'y'}}",
        ),
        (
            "{{ data | json }}",
            "{\"act\": \"pend\", \"data\": {\"data\": {\"x\": \"y\"}}, \"fun_args\": [], \"id\": \"web1\", \"list\": [\"a\", \"b\"], \"n\": 3, \"none\": null, \"ok\": true}",
        ),
        (
            "{{ data.data | yaml }} {{ data.id | yaml_encode }} {{ data.list | tojson }}",
            "{data: {x: y}} \"web1\" [\"a\", \"b\"]",
        ),
        (
            "{% set l = [] %}{% for x in data.list %}{% do l.append(x ~ '!') %}{% endfor %}{{ l | join(',') }}",
            "a!,b!",
        ),
        (
            "{% set d = {'a': 1} %}{% do d.update({'b': 2}) %}{{ d }} {{ d.items() | list }}",
            "{'a': 1, 'b': 2} [['a', 1], ['b', 2]]",
        ),
        (
            "{% set ns = namespace(x=1) %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
            "4",
        ),
        (
            "{{ '%s-%03d' % (data.id, 7) }} {{ '%s' % data.id }} {{ '%(a)s' % {'a': 1} }}",
            "web1-007 web1 1",
        ),
        (
            "{{ '{}/{name}'.format(1, name=2) }} {{ 'a' if data.n > 2 else 'b' }}",
            "1/2 a",
        ),
        (
            "{{ ('{\"a\": [1]}' | load_json).a[0] }} {{ ('a: b' | load_yaml)['a'] }}",
            "1 b",
        ),
        (
            "{% load_yaml as x %}\na: [1, {{ data.n }}]\n{% endload %}{{ x.a[1] + 1 }}",
            "4",
        ),
        ("{% import_yaml 'map.yaml' as m %}{{ m.a }}", "[1, 2]"),
        (
            "{% from 'map.jinja' import hi, port with context %}{{ hi('x') }} {{ port }}",
            "hi x 80",
        ),
        ("{% raw %}{{ x }}{% endraw %}{# gone #}", "{{ x }}"),
        (
            "{{ 'aGk=' | base64_decode }} {{ 'hi' | base64_encode }}",
            "hi aGk=",
        ),
        (
            "{{ [3, 1, 3] | unique | list }} {{ data.list | first }} {{ [1, 2] | length }}",
            "[3, 1] a 2",
        ),
        (
            "{{ [{'a': 1, 'b': 2}, {'a': 3}] | selectattr('a', 'equalto', 3) | map(attribute='a') | list }}",
            "[3]",
        ),
        (
            "{{ 'abc' | replace('b', 'x') }} {{ data.nope | default('d') }} {{ 'x' is match('[xy]') }}",
            "axc d True",
        ),
        (
            "{{ [1, 2] | compare_lists([2, 3]) }}",
            "{'new': [3], 'old': [1]}",
        ),
        (
            "{{ 'web12' | regex_match('([a-z]+)(\\\\d+)') }}",
            "['web', '12']",
        ),
        (
            "{{ salt['pillar.get']('a', 'd') }} {{ salt.grains.get('os') }} {{ salt['environ.get']('HOME') }} {{ grains.os }}",
            "d Debian /root Debian",
        ),
        (
            "{{ salt['config.get']('a:b:1') }} {{ opts['id'] }} {{ __opts__.id }} {{ saltenv }}{{ sls }}",
            "2 master master base",
        ),
        (
            "{% do salt.log.info('x') %}{{ salt['log.debug']('y') }}",
            "True",
        ),
        (
            "{{ data.list[-1] }} {{ data.list[0:1] }} {{ data['id'][:3] }} {{ tag.split('/')[1] }}",
            "b ['a'] web auth",
        ),
        (
            "{{ data.id.upper() }} {{ ' a '.strip() }} {{ 'a,b'.split(',') | last }} {{ ','.join(data.list) }}",
            "WEB1 a b a,b",
        ),
        (
            "{{ data.list + ['c'] }} {{ {} }} {{ [] }} {{ data.fun_args | length }}",
            "['a', 'b', 'c'] {} [] 0",
        ),
        (
            "{{ (data.data.data.x | upper) ~ data.n | string }}{% if not data.fun_args %} e{% endif %}",
            "Y3 e",
        ),
        (
            "{{ dict(a=1) }} {{ range(3) | list }} {{ data.keys() | list | length }}",
            "{'a': 1} [0, 1, 2] 8",
        ),
        (
            "{{ 'a' | md5 }} {{ 'a' | sha1 }} {{ 'a' | sha256 | length }} {{ 'a' | sha512 | length }}",
            "0cc175b9c0f1b6a831c399e269772661 86f7e437faa5a7fce15d1ddcb9eaeaea377667b8 64 128",
        ),
        (
            "{{ '2002/12/25' | strftime }} {{ '2026-11-29T18:10:30.25' | strftime('%H:%M:%S.%f') }}",
            "2002-12-25 18:10:30.250000",
        ),
        (
            "{{ '2026-11-29 18:10' | date_format('%c|%x|%j|%Z') }} {{ 1e9 | strftime('%Y') }}",
            "Sun Nov 29 18:10:00 2026|11/29/26|333| 2001",
        ),
        (
            "{% for k, v in data.data.items() %}{{ k }}={{ v.x }}{{ loop.index }}{% endfor %}",
            "data=y1",
        ),
    ] {
        let text = rendered(template).unwrap_or_else(|error| format!("{error:?}"));
        if text != expected {
            wrong.push(format!(
                "{template}\n  gave     {text}\n  expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_undefined_variable_is_an_error_with_its_line() {
    for template in [
        "a\n{{ data.nope }}",
        "\n{% if data.nope == 'x' %}{% endif %}",
        "\n{% if data.nope %}{% endif %}",
        "\n{{ nope }}",
        "\n{{ data.nope.deeper }}",
        "\n{% for x in data.nope %}{% endfor %}",
        "\n{{ 'a' ~ data.nope }}",
        "\n{{ data.nope | json }}",
        "\n{{ 'x' in data.nope }}",
    ] {
        let error = rendered(template).unwrap_err();
        assert_eq!(error.line, Some(2), "{template}: {error}");
        assert!(error.message.contains("undefined"), "{template}: {error}");
    }
    assert!(
        rendered("{{ data.nope }}")
            .unwrap_err()
            .message
            .contains("data.nope")
    );
}

#[test]
fn templates_that_do_not_end_are_ended() {
    for template in [
        "{% set l = [1] %}{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set l = [1] %}{% for i in range(1000) %}{% do l.extend(l) %}{% endfor %}",
        "{% set l = [] %}{% do l.append(l) %}",
        "{% set a = [] %}{% set b = {'a': a} %}{% do a.append(b) %}",
        "{{ 'x' * 1000000000 }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | json }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{% do [].append(n.l) %}",
        "{% set n = namespace(s='xx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set s = 'x' * 60000 %}{% for i in range(10000) %}{{ s }}{% endfor %}",
    ] {
        assert!(rendered(template).is_err(), "{template}");
    }
}

#[test]
fn a_large_dictionary_is_as_fast_to_ask_as_to_walk() {
    let template = "{% set d = {} %}{% for i in range(40000) %}{% do d.update({'k' ~ i: i}) %}{% endfor %}\
                    {% for k in d %}{% if d[k] != loop.index0 %}wrong{% endif %}{% endfor %}\
                    {% do d.pop('k7') %}{{ 'k7' in d }} {{ d['k39999'] }} {{ d | length }}";
    assert_eq!(rendered(template).unwrap(), "False 39999 39999");
}

#[test]
fn what_is_not_here_is_named_with_its_line() {
    let missing = examine("{{ 1 | ipaddr }}\n{{ salt['cmd.run']('x') }}{{ salt['log.info']('x') }}\n{% frob %}{{ x is nice }}\n{{ salt[x]() }}").unwrap();
    let shown: Vec<_> = missing
        .iter()
        .map(|one| format!("{} {}", one.line, one.what))
        .collect();
    assert_eq!(
        shown,
        [
            "1 filter `ipaddr`",
            "2 salt['cmd.run']",
            "3 tag `frob`",
            "3 test `nice`",
            "4 salt[…] with a name made by the template",
        ]
    );
    assert_eq!(
        examine("{{ data | json | d }}{% if x is not defined %}{% endif %}").unwrap(),
        []
    );
    let error = examine("\n{% if x %}\n").unwrap_err();
    assert!(error.line.is_some(), "{error:?}");
}

#[test]
fn a_template_that_changed_is_read_again() {
    let mut jinja = jinja();
    let data = Data::from(Map::new());
    jinja.add("a", "1").unwrap();
    jinja.add("b", "x").unwrap();
    jinja.add("a", "2").unwrap();
    assert_eq!(jinja.render("a", "t", &data).unwrap(), "2");
    assert_eq!(jinja.render("b", "t", &data).unwrap(), "x");
    assert_eq!(jinja.evaluate("tag ~ 1", "t", &data).unwrap(), "t1");
}

/// What an administrator writes by mistake must not end the process that runs the reactor.
#[test]
fn values_that_lie_deep_in_each_other_do_not_end_the_process() {
    let run = || {
        for inner in ["[n.l]", "{'a': n.l}", "(n.l, 1)"] {
            let template = format!(
                "{{% set n = namespace(l=[]) %}}{{% for i in range(99999) %}}{{% set n.l = {inner} %}}{{% endfor %}}{{{{ n.l }}}}"
            );
            let shown = rendered(&template).map_err(|error| error.message);
            assert!(shown.is_err(), "{inner}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(run).unwrap().join().unwrap();
}

/// Each of these would take a gigabyte and more. The engine counts only text that is there already.
#[test]
fn text_that_a_template_cannot_pay_for_is_not_made() {
    for made in [
        "(l.replace('x', l))",
        "(l.replace('', l))",
        "(l.join('y' * 100000))",
        "(', '.join([l] * 1000))",
        "(([l] * 1000) | join)",
        "(([l] * 1000) | join('') | length)",
        "(([{'a': l}] * 1000) | join('-', attribute='a') | length)",
        "(('{0}' * 1000).format(l))",
        "(('%(a)s' * 100000) | format(a=l) | length)",
        "(('%s' * 1000) | format(*([l] * 1000)) | length)",
        "('%s' | format([l] * 1000))",
        "([l] * 1000)",
        "(([[l] * 1000] * 1000) | string | length)",
        "([[l] * 1000] | json)",
    ] {
        let template = format!("{{% set l = 'x' * 1000000 %}}{{{{ {made} }}}}");
        let error = rendered(&template).expect_err(made).message;
        assert!(
            error.contains("steps") || error.contains("bytes of text"),
            "{made}: {error}"
        );
    }
    let template = "{{ 'a-b-c'.replace('-', '+', 1) }} {{ 'ab'.replace('', '.') }} {{ '-'.join([1, 'b']) }} \
                    {{ [1, none] | join(d='/') }} {{ [{'a': {'b': 2}}] | join(attribute='a.b') }}{{ [] | join }}";
    assert_eq!(rendered(template).unwrap(), "a+b-c .a.b. 1-b 1/None 2");
}

/// Lists that the engine makes out of others, and work on them that it does not count. Before there was a bound, each of
/// these took minutes, or more memory than there is.
#[test]
fn lists_that_a_template_cannot_pay_for_end_it() {
    let doubled = "{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}";
    for template in [
        format!("{{% set n = namespace(l=data.list) %}}{doubled}{{{{ n.l | length }}}}"),
        format!("{{% set n = namespace(l=[2, 1] | sort) %}}{doubled}"),
        "{% set l = range(60000) | list %}{{ l | union(l) | length }}".to_owned(),
        "{% set l = range(60000) | list %}{{ l | difference(l) | length }}".to_owned(),
        "{% set l = range(90000) | list %}{% for i in l %}{% do l.index(i) %}{% endfor %}"
            .to_owned(),
        "{% set l = range(90000) | list %}{% for i in range(90000) %}{% do [].append(l) %}{% endfor %}"
            .to_owned(),
        "{{ (['x' * 1000] * 10000) | sum(start='') | length }}".to_owned(),
    ] {
        let error = rendered(&template).expect_err(&template).message;
        assert!(
            error.contains("steps") || error.contains("use join"),
            "{template}: {error}"
        );
    }
    // The next template has all its steps.
    let template = "{{ ([[1]] * 10000) | sum(start=[]) | length }} {{ [[1], [2]] | sum(start=[0]) }} \
                    {{ [{'a': [1]}, {'a': [2]}] | sum('a', []) }} {{ [1, 2.5] | sum }} {{ [{'a': 1}] | sum(attribute='a') }} \
                    {{ [1] | sum(start=5) }} {{ [1] + [2] }} {{ [2, 1] | sort + [3] }} {{ [1, 2] | sort(reverse=true) }} \
                    {{ ({'b': 1, 'a': 2} | dictsort)[0][0] }}";
    assert_eq!(
        rendered(template).unwrap(),
        "10000 [0, 1, 2] [1, 2] 3.5 1 6 [1, 2] [1, 2, 3] [2, 1] a"
    );
}
