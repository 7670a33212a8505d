"""Calls of a `LocalClient`, one line of JSON for each: what it returned, printed or raised.

    python local_calls.py salt|brine

The library is Salt's or ours; the master is found through SALT_MASTER_CONFIG. What differs from run
to run (job ids) is written as `JID`.
"""

import contextlib
import io
import json
import re
import sys
import time

if sys.argv[1] == "salt":
    import salt.client as client
else:
    import brine.client as client

local = client.LocalClient("/etc/salt/master")


def without_none(returns):
    return [one for one in returns if one is not None]


def looked_up():
    jid = local.cmd_async("m1", "test.echo", ["kept"])
    # What is in the cache comes from there; only then both clients say the same.
    while not local.get_cache_returns(jid):
        time.sleep(0.1)
    first = list(local.get_cli_returns(jid, ["m1"], timeout=10))
    return first, local.get_cache_returns(jid)


CALLS = {
    "cmd": lambda: local.cmd("*", "test.ping"),
    "full_return": lambda: local.cmd("*", "test.ping", full_return=True),
    "arguments": lambda: local.cmd("m1", "test.arg", [1, "a", [2]], kwarg={"x": {"y": None}}),
    "list": lambda: local.cmd(["m1"], "test.echo", ["t"], tgt_type="list"),
    "pcre": lambda: local.cmd("m[0-9]", "test.ping", tgt_type="pcre"),
    "grain": lambda: local.cmd("id:m1", "test.ping", tgt_type="grain"),
    "compound": lambda: local.cmd("m1 or nobody", "test.ping", tgt_type="compound"),
    "nobody": lambda: local.cmd("nobody", "test.ping"),
    "nobody, async": lambda: local.cmd_async("nobody", "test.ping"),
    "nobody, iter": lambda: list(local.cmd_iter("nobody", "test.ping")),
    "async": lambda: local.cmd_async("*", "test.ping"),
    "run_job": lambda: local.run_job("*", "test.ping"),
    "own jid": lambda: local.run_job("*", "test.ping", jid="20260102030405060708"),
    "iter": lambda: list(local.cmd_iter("*", "test.ping")),
    "iter with its publication": lambda: list(
        local.cmd_iter("*", "test.ping", yield_pub_data=True)
    ),
    "iter, no block": lambda: without_none(local.cmd_iter_no_block("*", "test.ping")),
    "iter, show_jid": lambda: without_none(
        local.cmd_iter_no_block("*", "test.ping", show_jid=True)
    ),
    "cli": lambda: list(local.cmd_cli("*", "test.ping")),
    "several functions": lambda: local.cmd("*", ["test.ping", "test.echo"], [[], ["x"]]),
    "a function that is not there": lambda: local.cmd("*", "no.such", full_return=True),
    "a function that raises": lambda: local.cmd("*", "test.exception", ["sorry"], full_return=True),
    "longer than the timeout": lambda: local.cmd("*", "test.sleep", [4], timeout=1),
    "subset": lambda: local.cmd_subset("*", "test.ping", subset=1),
    "a job of another client": looked_up,
    "no job of that id": lambda: local.get_cache_returns("20200101000000000000"),
}


def outcome(call):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            said = f"= {call()!r}"
        except Exception as error:
            said = f"! {type(error).__name__}: {error}"
    return re.sub(r"\b20\d{18}\b", "JID", f"{said} {printed.getvalue()!r}")


# The values of one call may hang on the order of returns: there is one minion.
wanted = sys.argv[2:] or CALLS
for name in wanted:
    print(json.dumps([name, outcome(CALLS[name])]), flush=True)
