#event {"tag": "salt/auth", "data": {"id": "web1", "act": "pend", "pub": "key", "result": false, "_stamp": "2026-11-29T08:00:00.000000"}}
{% if not data['result'] and data['id'].startswith('web') %}
minion_remove:
  wheel.key.delete:
    - match: {{ data['id'] }}
minion_rejoin:
  local.cmd.run:
    - tgt: salt-master
    - arg:
      - ssh {{ data['id'] }} service salt-minion restart
{% else %}
nothing:
  runner.jobs.active: []
{% endif %}
