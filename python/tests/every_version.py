"""A day's work of the package in one program without test tools, for every Python there is.

Started with a bus's `sock_dir`; every failure is an exception.
"""

import asyncio
import datetime
import gc
import os
import subprocess
import sys
import threading

import brine
import brine.config
from brine.event import get_event, tagify

SOCK_DIR = sys.argv[1]
OPTS = {"sock_dir": SOCK_DIR}


def values_and_subscriptions():
    with get_event("master", opts=OPTS) as event:
        event.subscribe("kept/")
        data = {"n": 2**70, "at": datetime.datetime(2026, 1, 2), "b": b"\xff", "l": (1, {"a": None})}
        assert event.fire_event(data, tagify("x", "job")) and data["_stamp"]
        event.fire_event({}, "kept/1")
        event.fire_event({"last": True}, "last")
        assert event.get_event(wait=60, tag="last")["last"]
        got = event.get_event(wait=60, tag="kept/*", match_type="fnmatch", full=True)
        assert got["tag"] == "kept/1"
        event.fire_event(data, "again")
        got = event.get_event(wait=60, tag="^aga", match_type="regex")
        assert (got["n"], got["at"], got["b"]) == (str(2**70), data["at"], b"\xff")
        assert event.get_event(wait=0.05) is None


def streams():
    async def main():
        door = brine.Bus(sock_dir=SOCK_DIR)
        async with door.events(["a/*", "b/*"], exclude="*/no", timeout=60) as events:
            for tag in ("a/1", "a/no", "b/2"):
                await door.fire_async(tag, {"tag": tag})
            seen = []
            async for event in events:
                seen.append(event.tag)
                if len(seen) == 2:
                    return seen

    assert asyncio.run(main()) == ["a/1", "b/2"]


def threads():
    with get_event("master", opts=OPTS) as event:
        got = []
        takers = [
            threading.Thread(target=lambda: got.append(event.get_event(wait=60, tag="t/")))
            for _ in range(4)
        ]
        for taker in takers:
            taker.start()
        for number in range(4):
            event.fire_event({"n": number}, "t/")
        for taker in takers:
            taker.join()
        assert sorted(one["n"] for one in got) == [0, 1, 2, 3]


def fork():
    with get_event("master", opts=OPTS) as event:
        child = os.fork()
        if not child:
            fired = event.connect_pub() and event.fire_event({"from": "child"}, "fork")
            os._exit(0 if fired else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert event.get_event(wait=60, tag="fork")["from"] == "child"


def end_while_a_thread_waits():
    program = (
        "import sys, threading, time; from brine.event import get_event\n"
        "event = get_event('master', opts={'sock_dir': sys.argv[1]})\n"
        "threading.Thread(target=event.get_event, kwargs={'wait': 0}, daemon=True).start()\n"
        "time.sleep(0.2); print('over')"
    )
    command = [sys.executable, "-c", program, SOCK_DIR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "over\n"), done


def no_descriptor_stays():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10_000):
        get_event("master", opts=OPTS)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def salts_names():
    import salt.client
    import salt.config
    import salt.utils.event

    assert salt.utils.event.get_event is get_event
    assert salt.config.master_config("/nowhere")["sock_dir"]
    assert salt.client.Caller


values_and_subscriptions()
streams()
threads()
fork()
end_while_a_thread_waits()
no_descriptor_stays()
salts_names()
print("all works on {}.{}".format(*sys.version_info))
