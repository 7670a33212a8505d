#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
highstate_run:
  local.state.highstate:
    - tgt: {{ data['id'] }}
    - kwarg:
        queue: True
