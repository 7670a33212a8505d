#event {"tag": "salt/netapi/hook/deploy", "data": {"post": {"repo": "site", "branch": "main"}, "headers": {"X-Token": "abc", "Content-Type": "application/json"}, "body": "{\"ref\": \"refs/heads/main\", \"commits\": [{\"id\": \"a1\", \"by\": \"li\"}, {\"id\": \"b2\", \"by\": \"jo\"}]}"}}
words:
  runner.state.orchestrate:
    - args: [mods, test]
