#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
z_first:
  runner.jobs.active: []
a_second:
  local.test.ping:
    - tgt: '*'
m_third:
  local.test.ping:
    - tgt: x
    - order: 1
