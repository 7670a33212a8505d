#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% macro ping(host, extra={}) %}
ping_{{ host }}:
  local.test.ping:
    - tgt: {{ host }}
    - kwarg: {{ extra | json }}
{% endmacro %}
{% set more = {'a': 1} %}{% do more.update({'b': [2]}) %}
{{ ping('x') }}
{{ ping('y', more) }}
