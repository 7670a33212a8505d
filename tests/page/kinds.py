"""Events as a bus of a dozen minions has them, the same in every run but for the time."""

import random
import time

MINIONS = [f"web{number}" for number in range(1, 9)] + ["db1", "db2", "cache1"]
FUNCTIONS = ["test.ping", "state.apply", "cmd.run", "pkg.upgrade"]


def jid():
    now = time.time()
    fraction = int(now % 1 * 1e6)
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(now)) + f"{fraction:06d}"


def job(number, fun, minions, missing=(), failed=(), user="root"):
    """The events of a job: its beginning, then what returns."""
    arg = ["app"] if fun == "state.apply" else []
    yield f"salt/job/{number}/new", {
        "jid": number, "tgt_type": "list", "tgt": list(minions), "user": user, "fun": fun, "arg": arg,
        "minions": list(minions), "missing": [],
    }
    for minion in minions:
        if minion not in missing:
            yield ret(number, fun, minion, minion in failed)


def ret(number, fun, minion, is_bad=False):
    result = {
        "test.ping": True,
        "state.apply": {
            "pkg_|-nginx_|-nginx_|-installed": {
                "name": "nginx", "result": not is_bad, "changes": {}, "__run_num__": 0, "duration": 12.5,
                "comment": "Package nginx cannot be installed" if is_bad else "All specified packages are already installed",
            }
        },
    }.get(fun, "bash: frob: command not found" if is_bad else "ok")
    return f"salt/job/{number}/ret/{minion}", {
        "cmd": "_return", "id": minion, "success": not is_bad, "return": result, "retcode": 2 if is_bad else 0,
        "jid": number, "fun": fun, "fun_args": [],
    }


def batches(seed=7):
    """Without end: small lists of events that belong together."""
    chance = random.Random(seed)
    while True:
        kind, minion = chance.random(), chance.choice(MINIONS)
        if kind < 0.12:
            minions = chance.sample(MINIONS, chance.randint(1, 6))
            missing = [one for one in minions if chance.random() < 0.04]
            failed = [one for one in minions if chance.random() < 0.08]
            user = chance.choice(["root", "fred", "deploy"])
            yield list(job(jid(), chance.choice(FUNCTIONS), minions, missing, failed, user))
        elif kind < 0.2:
            yield [("salt/auth", {"result": True, "act": "accept", "id": minion, "pub": "-----BEGIN PUBLIC KEY-----\n…"})]
        elif kind < 0.24:
            yield [(f"minion/refresh/{minion}", {f'Minion data cache refresh: "{minion}"': ""})]
        elif kind < 0.28:
            text = f"Minion {minion} started at Sun Nov 29 14:00:00 2026"
            yield [(f"salt/minion/{minion}/start", {"id": minion, "cmd": "_minion_event", "data": text})]
        elif kind < 0.4:
            yield [(f"salt/beacon/{minion}/load/", {"id": minion, "1m": round(chance.random() * 4, 2), "5m": 1.2})]
        elif kind < 0.46:
            number = jid()
            begun = {"fun": "runner.manage.up", "jid": number, "user": "root", "fun_args": []}
            yield [
                (f"salt/run/{number}/new", begun),
                (f"salt/run/{number}/ret", {**begun, "return": MINIONS, "success": True}),
            ]
        elif kind < 0.49:
            yield [("salt/presence/present", {"present": MINIONS[:-1]})]
        else:
            items = [{"sku": "A-1", "n": 2}, {"sku": "B-7", "n": 1}]
            yield [(f"shop/order/{chance.randint(1, 9999)}", {"order": chance.randint(1, 9 << 40), "total": 12.5, "items": items})]
