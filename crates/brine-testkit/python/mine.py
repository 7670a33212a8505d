"""Real Salt's mine, without a master: what a master does with the requests of minions.

argv: a master's configuration file. Standard input: lines of JSON `[name, load]`, the load in msgpack as hex. Standard
output: for each a line of JSON, the answer in msgpack as hex, or what was raised.
"""

import json
import logging
import sys
import warnings

import salt.config
import salt.daemons.masterapi
import salt.payload

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

master = salt.daemons.masterapi.RemoteFuncs(salt.config.master_config(sys.argv[1]))
for line in sys.stdin:
    name, packed = json.loads(line)
    try:
        answer = getattr(master, name)(salt.payload.loads(bytes.fromhex(packed)))
        print(json.dumps(salt.payload.dumps(answer, use_bin_type=True).hex()), flush=True)
    except Exception as error:  # what a master answers then is not of interest here
        print(json.dumps([type(error).__name__]), flush=True)
