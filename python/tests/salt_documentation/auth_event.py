data = event.get_event(wait=10, tag="salt/auth")
