#event {"tag": "salt/auth", "data": {"id": "web1", "act": "pend", "pub": "key", "result": true, "_stamp": "2026-11-29T08:00:00.000000"}}
{% if data['act'] == 'pend' and data['id'].startswith('web') %}
accept_{{ data['id'] }}:
  wheel.key.accept:
    - match: {{ data['id'] }}
{% endif %}
