#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
sync:
  local.saltutil.sync_all:
    - tgt: {{ data['id'] }}
    - name: ignored
