# Job on minion
import salt.utils.event

opts = salt.config.minion_config("/etc/salt/minion")
event = salt.utils.event.MinionEvent(opts)

for evdata in event.iter_events(match_type="regex", tag="custom/.*"):
    # do your processing here...
    ...
