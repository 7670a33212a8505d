"""Drives real Salt's event library line by line.

Started with the Python of an environment that holds the Salt release wanted:

    python client.py NODE SOCK_DIR OPTIONS

Every line read is a Python expression, evaluated with `bus` (the event object, which listens),
`event` (`salt.utils.event`), `datetime`, `hashlib`, `pathlib` and `time` at hand. The answer is one line:
`= ` and the value's repr, or `! ` and the exception's.
"""

import ast
import datetime
import hashlib
import pathlib
import sys
import time


def main():
    node, sock_dir, options = sys.argv[1:4]
    import salt.utils.event as event

    bus = event.get_event(node, sock_dir=sock_dir, opts=ast.literal_eval(options), listen=True)
    names = dict(
        bus=bus, event=event, datetime=datetime, hashlib=hashlib, pathlib=pathlib, time=time
    )
    answer("= 'ready'")
    for line in sys.stdin:
        try:
            answer(f"= {eval(line, names)!r}")
        except Exception as error:
            answer(f"! {error!r}")


def answer(line):
    print(line, flush=True)


if __name__ == "__main__":
    main()
