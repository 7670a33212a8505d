#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% set hosts = data.data.hosts %}
lists:
  local.test.echo:
    - tgt: '*'
    - arg:
      - {{ hosts | first }}
      - {{ (hosts + ['c', 'd']) | unique | list | json }}
      - {{ [{'n': 1, 'a': 'x'}, {'n': 2, 'a': 'y'}] | selectattr('n', 'equalto', 2) | map(attribute='a') | list | json }}
      - {{ hosts | compare_lists(['b', 'z']) | json }}
      - {{ 'a-b' | replace('-', '_') }}
      - {{ hosts | union(['q']) | json }}
      - {{ hosts | difference(['a']) | json }}
