evdata = event.get_event(wait=10, tag="salt/job", full=True)

tag, data = evdata["tag"], evdata["data"]
