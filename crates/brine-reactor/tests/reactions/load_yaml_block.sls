#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% load_yaml as settings %}
tgt: {{ data.id }}
names: [x, y]
{% endload %}
set:
  local.test.echo:
    - tgt: {{ settings.tgt }}
    - arg: {{ settings.names | json }}
