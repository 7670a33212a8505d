#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% set hosts = data['data']['hosts'] %}
deploy:
  local.state.apply:
    - tgt: {{ hosts | json }}
    - tgt_type: list
    - args:
      - mods: app
      - pillar:
          version: '{{ data.data.version }}'
          note: {{ data.data.note | yaml_encode }}
