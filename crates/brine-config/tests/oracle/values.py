"""Python values as JSON that loses nothing, and one script run under several Salts.

Used by the other scripts here; needs no Salt itself.
"""

import json
import subprocess
import sys


def typed(value):
    """Text, booleans and null are themselves, lists are lists, the rest is {type: text}."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (list, tuple)):
        return [typed(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((typed(item) for item in value), key=json.dumps)}
    return {"map": [[typed(key), typed(item)] for key, item in value.items()]}


def run_under(script, pythons):
    """Runs `script --dump` under each Python; all must print the same rows."""
    answers = {}
    for python in pythons:
        answers[python] = json.loads(
            subprocess.run([python, script, "--dump"], check=True, capture_output=True).stdout
        )
    first, *others = answers.values()
    for other in others:
        for a, b in zip(first["rows"], other["rows"], strict=True):
            if a != b:
                sys.exit(f"{first['salt']} and {other['salt']} differ:\n{a}\n{b}")
    salts = [answer["salt"] for answer in answers.values()]
    print('{"salt": ' + json.dumps(salts) + ', "rows": [')
    print(",\n".join(json.dumps(row, ensure_ascii=True) for row in first["rows"]))
    print("]}")
