#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event", "flag": true, "nothing": null, "float": 2.5, "big": 12345678901234567890}}
say:
  local.test.echo:
    - tgt: '*'
    - arg: [{{ data.flag }}, {{ data.nothing }}, {{ data.float }}, {{ data.big }}, {{ data.flag | lower }}, {{ 7 // 2 }}, {{ 7 / 2 }}, {{ 2 ** 3 }}, {{ -7 % 3 }}, {{ data.float | int }}, "{{ data.data.hosts }}", "{{ data.data.hosts | length > 2 }}"]
