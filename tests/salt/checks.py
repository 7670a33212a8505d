"""What the test programs here share: their arguments, event objects, one line per check.

A program is started with the Python of an environment that holds a Salt release:

    python PROGRAM.py NODE SOCK_DIR OPTIONS

NODE is master or minion; OPTIONS is a Python dict of configuration options. It drives real Salt's
event library against whatever bus serves SOCK_DIR, and prints one line per check: `ok NAME`, or
`FAILED NAME: what came`. What is expected is what real Salt's own bus gives: the tests run the
same programs on both.
"""

import ast
import contextlib
import logging
import sys
import time
import warnings

# What a library warns of while it is imported is not what is tested.
warnings.simplefilter("ignore")
logging.disable(logging.ERROR)

import salt.utils.event  # noqa: E402
import salt.version  # noqa: E402

NODE, SOCK_DIR = sys.argv[1:3]
OPTIONS = ast.literal_eval(sys.argv[3]) if len(sys.argv) > 3 else {}
SERIES = salt.version.__saltstack_version__.major

# Long enough for any event on a busy machine; nothing waits it out unless it fails.
SOON = 20


def check(name, got, expected):
    """Prints how a check ended; `expected` is a value, or a function that judges one."""
    fine = expected(got) if callable(expected) else got == expected
    text = repr(got)
    if len(text) > 300:
        text = text[:300] + "..."
    print(f"ok {name}" if fine else f"FAILED {name}: {text}", flush=True)


def open_bus(listen=True, **options):
    """An event object of the node the program was told."""
    opts = {**OPTIONS, **options}
    return salt.utils.event.get_event(NODE, sock_dir=SOCK_DIR, opts=opts, listen=listen)


@contextlib.contextmanager
def listening(**options):
    """One that listens, closed at the end."""
    bus = open_bus(listen=True, **options)
    try:
        yield bus
    finally:
        bus.destroy()


def timed(call):
    """What a call returns, or the name of what it raises, and how long it takes in seconds."""
    start = time.monotonic()
    try:
        value = call()
    except Exception as error:  # pylint: disable=broad-except
        value = type(error).__name__
    return value, time.monotonic() - start


def numbers(bus, count, wait=SOON, **arguments):
    """The `n` of the next events."""
    found = []
    for _ in range(count):
        data = bus.get_event(wait=wait, **arguments)
        if data is None:
            break
        found.append(data["n"])
    return found
