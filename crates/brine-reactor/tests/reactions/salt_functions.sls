#event {"tag": "myco/deploy", "data": {"id": "app1", "data": {"name": "deploy", "version": "1.2.3", "hosts": ["a", "b", "c"], "level": 7, "note": "it's \"so\" # no: comment"}, "cmd": "_minion_event"}}
{% do salt.log.info('seen ' ~ tag) %}
pillar:
  local.test.echo:
    - tgt: '*'
    - arg: ["{{ salt['pillar.get']('no:such', 'unset') }}", "{{ salt['config.get']('reactor_worker_threads') }}", "{{ opts['reactor_worker_hwm'] }}", "{{ saltenv }}", "{{ sls }}", "{{ pillar }}"]
