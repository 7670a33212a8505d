#event {"tag": "salt/key", "data": {"id": "web1", "act": "accept", "result": true}}
{% if data['act'] == 'accept' %}
grains:
  local.grains.setval:
    - tgt: 'role:web'
    - tgt_type: grain
    - arg: [state, ready]
    - ret: smtp
{% elif data['act'] == 'reject' %}
no:
  local.test.ping:
    - tgt: '*'
{% endif %}
