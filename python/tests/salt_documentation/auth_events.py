for data in event.iter_events(tag="salt/auth"):
    print(data)
