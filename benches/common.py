"""What the scripts here share; run as a program, a publisher that fires numbered events on a pull socket.

    benches/common.py PULL_SOCKET RATE DATA_BYTES

It fires `load/event` with `n` from 0 until something comes on its standard input, goes on when the bus is away, and
then prints as JSON how many it has fired, how many of those while the bus was away, in how many seconds, and by how
much it was late at most.
"""

import datetime
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def until(what, is_so, seconds=900, pause=0.05):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: still not so after {seconds} s")
        time.sleep(pause)


def in_scratch(name, keeps, run):
    """Runs something in a directory of its own, which is removed afterwards, or named on stderr."""
    root = pathlib.Path(tempfile.mkdtemp(prefix=name))
    try:
        return run(root)
    finally:
        if keeps:
            print(root, file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def accepts(path):
    """Whether somebody listens on this UNIX socket."""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(path))
            return True
        except OSError:
            return False


def salt(version, name):
    """One of Salt's programs, or its Python."""
    return ROOT / ".salt" / version / "bin" / name


def salt_environment():
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}


def kill_group(process, how=signal.SIGKILL):
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        pass


def used(pid):
    """Seconds of a processor, MiB now and MiB at most, of a process and its children."""
    seconds, now, most = 0, 0, 0
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in [pid, *children]:
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = pathlib.Path(f"/proc/{one}/status").read_text()
        now += int(status.split("VmRSS:")[1].split()[0]) / 1024
        most += int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"processor_s": round(seconds, 2), "mib": round(now, 1), "mib_at_most": round(most, 1)}


def frame(number, data_bytes, tag=b"load/event"):
    """A numbered event as programs of 3006.28 and 3008.3 write it to a bus."""
    stamp = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None).isoformat().encode()
    data = (b"\x83\xa1n\xce" + struct.pack(">I", number) + b"\xa6_stamp" + bytes([0xA0 | len(stamp)]) + stamp +
            b"\xa1x\xda" + struct.pack(">H", data_bytes) + b"x" * data_bytes)
    event = tag + b"\n\n" + data
    payload = b"\x82\xa4head\x80\xa4body\xc6" + struct.pack(">I", len(event)) + event
    return struct.pack(">I", len(payload)) + payload


def start_publisher(path, rate, data_bytes=100):
    command = [sys.executable, __file__, path, str(rate), str(data_bytes)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def end_publisher(publisher):
    return json.loads(publisher.communicate("end")[0])


def publish(path, rate, data_bytes):
    together = max(rate // 100, 1)
    fired, refused, late, bus, begun = 0, 0, 0, None, time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        due = begun + fired / rate
        time.sleep(max(0, due - time.monotonic()))
        late = max(late, time.monotonic() - due)
        frames = b"".join(frame(fired + one, data_bytes) for one in range(together))
        fired += together
        try:
            if bus is None:
                bus = socket.socket(socket.AF_UNIX)
                bus.connect(path)
            bus.sendall(frames)
        except OSError:
            bus, refused = None, refused + together
    seconds = time.monotonic() - begun
    print(json.dumps({"fired": fired, "while_the_bus_was_away": refused, "seconds": round(seconds, 1), "late_by_at_most_s": round(late, 3)}))


if __name__ == "__main__":
    publish(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
