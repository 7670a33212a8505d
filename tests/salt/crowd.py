"""Many at once: four publishers, each a process of its own, and up to 200 listeners.

Every listener must hear every event, and each publisher's in the order it fired them. The listeners
share this process and read one after the other, so most of them are behind most of the time.
"""

import os
import sys
import traceback

from checks import SOON, check, open_bus

PUBLISHERS = 4


def publish(publisher, count):
    """Fires numbered events from a child process; its id."""
    child = os.fork()
    if child:
        return child
    try:
        bus = open_bus(listen=False)
        for n in range(count):
            if bus.fire_event({"publisher": publisher, "n": n}, f"crowd/{publisher}") is not True:
                os._exit(1)
        bus.destroy()
        os._exit(0)
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        os._exit(2)


def crowd(listeners, count):
    buses = [open_bus(listen=True) for _ in range(listeners)]
    children = [publish(publisher, count) for publisher in range(PUBLISHERS)]
    total = PUBLISHERS * count
    wrong = []
    for number, bus in enumerate(buses):
        heard = {publisher: [] for publisher in range(PUBLISHERS)}
        for _ in range(total):
            data = bus.get_event(wait=SOON)
            if data is None:
                break
            heard[data["publisher"]].append(data["n"])
        if any(events != list(range(count)) for events in heard.values()):
            wrong.append((number, {publisher: len(events) for publisher, events in heard.items()}))
    exits = [os.waitpid(child, 0)[1] for child in children]
    for bus in buses:
        bus.destroy()
    name = f"{PUBLISHERS} publishers x {count} events to {listeners} listeners, in order"
    check(name, (wrong, exits), ([], [0] * PUBLISHERS))


if __name__ == "__main__":
    crowd(1, 500)
    crowd(10, 500)
    crowd(200, 25)
    sys.stdout.flush()
