#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
say:
  local.test.echo:
    - tgt: {{ 'big' if data.data.level > 5 else 'small' }}
    - arg:
      - {{ 'v' ~ data.data.version ~ '-' ~ (data.data.level + 1) }}
      - "{{ '%s/%03d' % (data.data.name, data.data.level) }}"
      - "{{ '{}:{}'.format(data.id, data.data.level) }}"
      - "{{ tag.split('/')[1] | upper }}"
