#event {"tag": "salt/job/20261129080000000001/ret/web1", "data": {"id": "web1", "fun": "state.apply", "fun_args": ["nginx", {"test": true}], "jid": "20261129080000000001", "return": {"a": {"result": true, "comment": "ok"}, "b": {"result": false, "comment": "no"}}, "retcode": 2, "success": false, "out": "highstate"}}
{% if data['fun'] == 'state.apply' and data['retcode'] != 0 %}
{% set failed = [] %}
{% for id, state in data['return'].items() %}
{% if not state.result %}{% do failed.append(id ~ ': ' ~ state.comment) %}{% endif %}
{% endfor %}
tell:
  runner.event.send:
    - args:
      - tag: myco/failed
      - data:
          failed: {{ failed | json }}
          text: "{{ failed | join(', ') }} ({{ failed | length }})"
{% endif %}
