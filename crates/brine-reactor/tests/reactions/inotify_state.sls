#event {"tag": "salt/beacon/web1/inotify//etc/motd", "data": {"id": "web1", "data": {"id": "web1", "path": "/etc/motd", "change": "IN_MODIFY"}, "path": "/etc/motd", "change": "IN_MODIFY"}}
{%- if data.change == 'IN_MODIFY' and data.path.split('/')[-1] == 'motd' %}
revert-file:
  local.state.apply:
    - tgt: {{ data['data']['id'] }}
    - arg:
      - motd
{%- endif %}
