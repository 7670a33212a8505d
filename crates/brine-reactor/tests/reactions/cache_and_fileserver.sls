#event {"tag": "salt/netapi/hook/deploy", "data": {"post": {"repo": "site", "branch": "main"}, "headers": {"X-Token": "abc", "Content-Type": "application/json"}, "body": "{\"ref\": \"refs/heads/main\", \"commits\": [{\"id\": \"a1\", \"by\": \"li\"}, {\"id\": \"b2\", \"by\": \"jo\"}]}"}}
update_fileserver:
  runner.fileserver.update
clear:
  runner.cache.clear_all:
    - tgt: '*'
jobs: runner.jobs.active
