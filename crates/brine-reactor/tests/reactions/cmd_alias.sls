#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
run:
  cmd.cmd.run:
    - tgt: 'G@os:Debian and {{ data["id"] }}'
    - tgt_type: compound
    - arg:
      - echo "started {{ data['id'] }}" >> /tmp/log
      - cwd=/tmp
