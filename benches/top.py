#!/usr/bin/env python3
"""What `brine top` and `brine watch` cost at a rate, and what the bus they read costs: processor time and memory.

A bus with history is started and fed with returns of jobs at the rate, as a site of many minions has them. Each reader
runs on a terminal of its own (a pty whose output is read and thrown away). Times are those of /proc/PID/stat.

    benches/top.py target/release/brine [RATE [SECONDS]]
"""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def feed(program, sockets, rate, ends):
    """Fires events at a rate until told to stop; each tick fires what is due."""
    sender = subprocess.Popen([program, "send", "--stdin", "--sock-dir", sockets], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL)
    began, sent = time.monotonic(), 0
    while not ends.is_set():
        due = int((time.monotonic() - began) * rate)
        lines = []
        while sent < due:
            job, minion = 20261129100000000000 + sent // 1000, f"web{sent % 1000:03}"
            if sent % 1000 == 0:
                lines.append({"tag": f"salt/job/{job}/new", "data": {
                    "jid": str(job), "fun": "state.apply", "tgt": "*", "tgt_type": "glob", "user": "root", "arg": [],
                    "minions": [f"web{number:03}" for number in range(1000)], "missing": []}})
            lines.append({"tag": f"salt/job/{job}/ret/{minion}", "data": {
                "id": minion, "jid": str(job), "fun": "state.apply", "fun_args": [], "cmd": "_return",
                "success": sent % 97 != 0, "retcode": 0 if sent % 97 else 2, "return": {
                    f"pkg_|-p{n}_|-p{n}_|-installed": {"result": True, "comment": "ok", "duration": 1.5, "changes": {}}
                    for n in range(4)}}})
            sent += 1
        if lines:
            sender.stdin.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            sender.stdin.flush()
        time.sleep(0.01)
    sender.stdin.close()
    sender.wait()
    return sent


def on_terminal(command, columns=160, rows=48):
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)
    written = [0]

    def drain():
        try:
            while part := os.read(master, 65536):
                written[0] += len(part)
        except OSError:
            pass

    threading.Thread(target=drain, daemon=True).start()
    return pid, master, written


def measure(program, command, rate, seconds):
    with tempfile.TemporaryDirectory(prefix="b") as scratch:
        sockets = str(Path(scratch) / "bus")
        bus = subprocess.Popen([program, "bus", "--sock-dir", sockets, "--history", str(Path(scratch) / "history")],
                               stderr=subprocess.DEVNULL)
        ends = threading.Event()
        try:
            while not (Path(sockets) / "brine.sock").exists():
                time.sleep(0.05)
            feeder = threading.Thread(target=feed, args=(program, sockets, rate, ends))
            feeder.start()
            reader = on_terminal([program, *command, "--sock-dir", sockets]) if command else None
            time.sleep(5)
            pids = {"bus": bus.pid, **({"reader": reader[0]} if reader else {})}
            before = {name: processor_seconds(pid) for name, pid in pids.items()}
            status = json.loads(subprocess.run([program, "status", "--json", "--sock-dir", sockets],
                                               capture_output=True, check=True).stdout)
            first, began = int(status["log"]["newest"].rsplit("-", 1)[1]), time.monotonic()
            written = reader[2][0] if reader else 0
            time.sleep(seconds)
            status = json.loads(subprocess.run([program, "status", "--json", "--sock-dir", sockets],
                                               capture_output=True, check=True).stdout)
            took = time.monotonic() - began
            last = int(status["log"]["newest"].rsplit("-", 1)[1])
            used = {name: (processor_seconds(pid) - before[name]) / took * 100 for name, pid in pids.items()}
            lag = max((stream["lag"] for stream in status["streams"]), default=0)
            row = f"{' '.join(command) or 'nobody reads':<24} {(last - first) / took:>7.0f}/s  bus {used['bus']:>5.1f} % " \
                  f"{resident_mib(bus.pid):>5.0f} MiB"
            if reader:
                row += f"  reader {used['reader']:>5.1f} % {resident_mib(reader[0]):>5.0f} MiB" \
                       f"  {(reader[2][0] - written) / took / 1024:>6.0f} KiB/s to the terminal  lag {lag}"
            print(row, flush=True)
        finally:
            ends.set()
            feeder.join()
            if reader:
                os.kill(reader[0], 15)
                os.waitpid(reader[0], 0)
            bus.terminate()
            bus.wait()


def main():
    program = str(Path(sys.argv[1]).resolve())
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30
    load = os.getloadavg()[0]
    print(f"{rate} events/s for {seconds:.0f} s, load of the machine before: {load:.1f}; % of one core")
    for command in ([], ["top"], ["watch"], ["watch", "--filter", "ok:false"]):
        measure(program, command, rate, seconds)


if __name__ == "__main__":
    main()
