"""How fast an event library is: Salt's or ours, on one bus, in the same run.

    BRINE=target/release/brine python benchmarks/library.py PYTHON_WITH_SALT

starts a bus of Brine, runs the same measurements with our library under this interpreter and with
Salt's under the other one, and prints a table.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def load(library):
    begin = time.perf_counter()
    if library == "brine":
        import brine.event as event
    else:
        import salt.utils.event as event
    return event, time.perf_counter() - begin


def rate(count, begin, end):
    return count / (end - begin)


def measure(library, sock_dir):
    event, import_time = load(library)
    opts = {"sock_dir": sock_dir}
    data = {"id": "m1", "fun": "test.ping", "return": True, "success": True, "retcode": 0}
    factor = 10 if library == "brine" else 1
    result = {"import, ms": import_time * 1000}

    with event.get_event("master", sock_dir=sock_dir, opts=opts, listen=False) as sender:
        sender.fire_event(dict(data), "warm")
        count = 3000 * factor
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            sender.fire_event(data, "bench/fire")
        result["fire_event, per s"] = rate(count, begin, time.perf_counter())
        result["fire_event, CPU us"] = (time.process_time() - cpu) / count * 1e6

    with event.get_event("master", sock_dir=sock_dir, opts=opts) as listener:
        count = 2000 * factor
        feeder = feed(sock_dir, count, 1)
        begin, cpu = None, None
        for _ in range(count):
            assert listener.get_event(wait=20, tag="bench/") is not None
            if begin is None:
                feeder.wait()
                begin, cpu = time.perf_counter(), time.process_time()
        result["get_event, per s"] = rate(count - 1, begin, time.perf_counter())
        result["get_event, CPU us"] = (time.process_time() - cpu) / count * 1e6

    with event.get_event("master", sock_dir=sock_dir, opts=opts) as listener:
        # What waits for the reader must fit into the log of the bus, 64 MiB.
        count = 5000 if library == "salt" else 400_000
        feeder = feed(sock_dir, count, 1000)
        begin = None
        for number, _ in enumerate(listener.iter_events(tag="wanted/"), 1):
            if begin is None:
                feeder.wait()
                begin = time.perf_counter()
            if number == count // 1000:
                break
        result["iter_events of 1 in 1000, read per s"] = rate(
            count - 1000, begin, time.perf_counter()
        )
    result["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def feed(sock_dir, count, every):
    """Fires from another process, with our library for both: the reader is what is measured."""
    program = [OURS, __file__, "feed", sock_dir, str(count), str(every)]
    return subprocess.Popen(program)


def run_feed(sock_dir, count, every):
    from brine.event import get_event

    with get_event("master", opts={"sock_dir": sock_dir}, listen=False) as sender:
        for number in range(1, count + 1):
            tag = "wanted/x" if every > 1 and number % every == 0 else "bench/x"
            data = {"id": "m1", "fun": "test.ping", "return": True, "number": number}
            sender.fire_event(data, tag, timeout=60000)


OURS = os.environ.get("OURS", sys.executable)


def main(salt_python):
    with tempfile.TemporaryDirectory() as sock_dir:
        bus = subprocess.Popen(
            [os.environ["BRINE"], "bus", "--sock-dir", sock_dir], stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(0.5)
            results = {}
            for library, python in (("salt", salt_python), ("brine", sys.executable)):
                output = subprocess.run(
                    [python, __file__, "measure", library, sock_dir],
                    env={**os.environ, "OURS": sys.executable},
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
                results[library] = json.loads(output)
        finally:
            bus.kill()
            bus.wait()
    print("| | Salt's library | brine.event | factor |\n|---|--:|--:|--:|")
    for name, theirs in results["salt"].items():
        ours = results["brine"][name]
        factor = ours / theirs if "per s" in name else theirs / ours
        print(f"| {name} | {theirs:,.1f} | {ours:,.1f} | {factor:.1f} |")


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        print(json.dumps(measure(*sys.argv[2:])))
    elif sys.argv[1] == "feed":
        run_feed(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(sys.argv[1])
