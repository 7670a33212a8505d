#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{# not shown: {{ data.nope }} #}
raw:
  local.cmd.run:
    - tgt: '*'
    - arg:
      - {% raw %}'docker ps --format "{{.ID}}"'{% endraw %}
