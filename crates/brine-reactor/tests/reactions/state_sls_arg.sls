#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
{% set id = data['id'] %}
{%- if id is defined %}
sls_{{ id }}:
  local.state.sls:
    - tgt: {{ id }}
    - arg:
      - users
      - base
    - kwarg:
        test: false
{%- endif %}
