"""Real Salt's job cache, without a master: jobs and returns written, and read again.

argv: the ids of minions with accepted keys. Standard input: lines of JSON, values in msgpack as hex. Standard output:
a line of JSON for each.

    ["cache", cachedir, hash_type] the cache that is meant from now on       null
    ["publish", jid, load, ids]    as a master does for a clear publish      null
    ["return", jid, load]          as a master does for `_return`; `jid` is  null, or what was raised
                                   what it allots to one of no job
    ["function", id, data]         as the master of an id does after a       null
                                   runner or wheel function
    ["syndic", jid, ids, syndic]   as a master of masters does               null
    ["endtime", jid, text]         likewise                                  null
    ["jobs"]                       all job ids                               [jid, ...]
    ["load", jid]                  the load of a job                         msgpack, or what was raised
    ["returns", jid]               what minions returned for it              msgpack
"""

import json
import logging
import os
import sys
import warnings

import salt.config
import salt.payload
import salt.returners.local_cache as local_cache
import salt.utils.jid
import salt.utils.job

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


class MasterMinion:
    """What a master loads returners with."""

    returners = {
        f"local_cache.{name}": getattr(local_cache, name)
        for name in ("prep_jid", "save_load", "save_minions", "get_load", "returner", "update_endtime")
    }


def load(packed):
    return salt.payload.loads(bytes.fromhex(packed))


def dump(value):
    return salt.payload.dumps(value, use_bin_type=True).hex()


def publish(jid, packed, ids):
    clear_load = load(packed)
    nocache = clear_load.get("kwargs", {}).get("nocache", False)
    local_cache.prep_jid(nocache=nocache, passed_jid=jid)
    local_cache.save_load(jid, clear_load, ids)


def returned(jid, packed):
    salt.utils.jid.gen_jid = lambda opts: jid
    salt.utils.job._store_job(local_cache.__opts__, load(packed), None, MasterMinion, endtime="")


def function(master, packed):
    data = load(packed)
    ran = {"id": master, "tgt": master, "jid": data["jid"], "return": data}
    salt.utils.job._store_job(local_cache.__opts__, ran, None, MasterMinion, endtime="")


ASKED = {
    "publish": publish,
    "return": returned,
    "function": function,
    "syndic": lambda jid, ids, syndic: local_cache.save_minions(jid, ids, syndic_id=syndic),
    "endtime": local_cache.update_endtime,
    "jobs": lambda: sorted(local_cache.get_jids()),
    "load": lambda jid: dump(local_cache.get_load(jid)),
    "returns": lambda jid: dump(local_cache.get_jid(jid)),
}


def main():
    opts = local_cache.__opts__ = salt.config.master_config(None)

    def cache(cachedir, hash_type):
        opts.update(cachedir=cachedir, pki_dir=os.path.join(cachedir, "pki"), hash_type=hash_type)
        keys = os.path.join(opts["pki_dir"], "minions")
        os.makedirs(keys, exist_ok=True)
        for name in sys.argv[1:]:
            with open(os.path.join(keys, name), "w", encoding="utf-8") as key:
                key.write("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n")

    asked = dict(ASKED, cache=cache)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = asked[name](*arguments)
        except Exception as exc:  # pylint: disable=broad-except
            answer = {"raised": repr(exc)}
        print(json.dumps(answer), flush=True)


main()
