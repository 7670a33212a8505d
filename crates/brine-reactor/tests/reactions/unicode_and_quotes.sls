#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event", "who": "Zo\u00eb \"Z\" O'Hara \u2014 \u00fcn\u00ef"}}
say:
  local.test.echo:
    - tgt: '*'
    - arg:
      - {{ data.who | json }}
      - {{ data.who | yaml_dquote }}
      - {{ data.who | yaml_squote }}
      - '{{ [data.who, None, True, 1.5] | tojson }}'
      - {{ data.data.note | quote | json }}
