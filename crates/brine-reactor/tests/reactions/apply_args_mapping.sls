#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
apply:
  local.state.apply:
    - tgt: '{{ data.id }}'
    - tgt_type: glob
    - args:
        mods: base.users
        queue: true
        pillar: {from: "{{ tag }}"}
