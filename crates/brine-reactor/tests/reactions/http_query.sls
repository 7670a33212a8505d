#event {"tag": "salt/minion/db-2/start", "data": {"id": "db-2", "cmd": "_minion_event", "tag": "salt/minion/db-2/start", "data": "Minion db-2 started", "pretag": null}}
tell:
  runner.http.query:
    - args:
      - url: https://chat.example.com/hook
      - method: POST
      - header_dict: {Content-Type: application/json}
      - data: '{"text": "{{ data.id }} started"}'
