#event {"tag": "salt/auth", "data": {"id": "web1", "act": "pend", "pub": "key", "result": true, "_stamp": "2026-11-29T08:00:00.000000"}}
{% if 'act' in data and data['act'] == 'pend' and data['id'].endswith('1') %}
minion_add:
  wheel.key.accept:
    - args:
      - match: {{ data['id'] }}
{% endif %}
