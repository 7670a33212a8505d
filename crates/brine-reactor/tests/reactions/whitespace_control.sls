#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{%- for host in data.data.hosts -%}
{%- if host != 'a' %}
w_{{ host }}:
  local.test.ping:
    - tgt: {{ host -}}
{% endif -%}
{%- endfor %}
