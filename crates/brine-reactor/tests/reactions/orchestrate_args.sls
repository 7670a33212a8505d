#event {"tag": "salt/netapi/hook/deploy", "data": {"post": {"repo": "site", "branch": "main"}, "headers": {"X-Token": "abc", "Content-Type": "application/json"}, "body": "{\"ref\": \"refs/heads/main\", \"commits\": [{\"id\": \"a1\", \"by\": \"li\"}, {\"id\": \"b2\", \"by\": \"jo\"}]}"}}
{% set body = data['body'] | load_json %}
{% if data['post'].get('branch', 'x') == 'main' and body.ref.endswith('main') %}
orch:
  runner.state.orchestrate:
    - args:
      - mods: orch.deploy
      - pillar:
          event_tag: {{ tag }}
          event_data: {{ data['post'] | json }}
          commits: {{ body.commits | map(attribute='id') | list | json }}
{% endif %}
