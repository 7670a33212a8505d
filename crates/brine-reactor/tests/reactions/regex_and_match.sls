#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% if data.id is match('app[0-9]+') and data.data.version | regex_match('([0-9]+)[.]([0-9]+).*') %}
re:
  local.test.echo:
    - tgt: '*'
    - arg: [{{ (data.data.version | regex_match('([0-9]+)[.]([0-9]+).*'))[1] }}, {{ (data.data.version | regex_search('[.]([0-9]+)$'))[0] }}]
{% endif %}
