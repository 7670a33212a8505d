#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% set ns = namespace(n=0) %}
{% for host in data.data.hosts if host != 'b' %}{% set ns.n = ns.n + 1 %}{% endfor %}
count:
  local.test.echo:
    - tgt: '*'
    - arg: ['{{ ns.n }} of {{ data.data.hosts | length }}']
