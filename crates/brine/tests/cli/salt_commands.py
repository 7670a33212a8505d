"""Runs Salt's own commands one after the other, each in a fork of one warm process.

Standard input: a JSON list of [name, [argument, ...], input]; standard output: a JSON list of
[exit code, stdout, stderr].
"""

import json
import os
import sys
import tempfile

import salt.key
import salt.scripts
import salt.wheel


def main():
    cases = json.load(sys.stdin)
    print(json.dumps([run(*case) for case in cases]))


def run(name, arguments, given):
    files = [tempfile.TemporaryFile() for _ in range(3)]
    files[0].write(given.encode())
    files[0].seek(0)
    pid = os.fork()
    if pid == 0:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.argv = [name, *arguments]
        sys.stdin = open(0, closefd=False)
        code = 0
        try:
            getattr(salt.scripts, "salt_main" if name == "salt" else name.replace("-", "_"))()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    texts = []
    for file in files[1:]:
        file.seek(0)
        texts.append(file.read().decode())
    return [os.waitstatus_to_exitcode(status), *texts]


main()
