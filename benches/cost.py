"""What a master's events and sign-ins cost, beside another build of it.

    benches/cost.py target/release/brine OTHER... [--transport tcp] [--rounds 5]

Each round starts a fresh master of every program, in turn, puts the same fleet on it (`brine bench fleet` of the first
program), and reads from the scheduler what processor time the master's threads took: for a sign-in with its start
event, for an event of one minion, for an event of a hundred. Prints medians, ranges, and the ratio to the last program.
Processor time moves less than rates do on a busy machine, but it moves: compare what one run prints.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

from common import accepts, free_port, until

PHASES = {
    "sign-in": (["--minions", "300"], 300),
    "event of 1 minion": (["--minions", "1", "--events", "8000"], 8000),
    "event of 100 minions": (["--minions", "100", "--senders", "100", "--events", "30000"], 30000),
}


def busy(pid):
    """Processor time of all threads, in microseconds."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def fleet(program, config, keys, transport, arguments):
    command = [program, "bench", "fleet", "--live", "-c", config, "--transport", transport, "--key-dir", keys, "--json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(done.args)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def without_history(program):
    """What turns the history of a program off. One that has none refuses the option."""
    has_history = not subprocess.run([program, "log", "--help"], capture_output=True, check=False).returncode
    return "brine: {history: false}\n" if has_history else ""


def measure(program, generator, scratch, transport):
    """Microseconds of each phase, in a master of its own.

    Its files stay until the end: for minutes, ext4 looks at each inode that was freed before it makes a file, which takes
    longer than all else in a sign-in.
    """
    costs = {}
    options = without_history(program)
    for name, (arguments, count) in PHASES.items():
        directory = tempfile.mkdtemp(dir=scratch)
        port = free_port()
        pathlib.Path(directory, "master").write_text(
            f"{options}root_dir: {directory}\nauto_accept: true\ninterface: 127.0.0.1\nuser: root\n"
            f"publish_port: {port}\nret_port: {free_port()}\ntransport: {transport}\n"
        )
        with open(f"{directory}/log", "w") as log:
            master = subprocess.Popen([program, "salt-master", "-c", directory], stdout=log, stderr=log)
            try:
                socket = f"{directory}/var/run/salt/master/master_event_pub.ipc"
                until("the master", lambda socket=socket: accepts(socket) or master.poll() is not None)
                if master.poll() is not None:
                    raise SystemExit(pathlib.Path(directory, "log").read_text())

                def cost(arguments):
                    before = busy(master.pid)
                    fleet(generator, directory, scratch, transport, arguments)
                    return busy(master.pid) - before

                spent = cost(arguments[:2])
                if name != "sign-in":
                    # Signing in again is not what is measured.
                    spent = cost(arguments) - cost(arguments[:2])
                costs[name] = spent / count
            finally:
                master.kill()
                master.wait()
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--transport", default="zeromq", choices=["zeromq", "tcp"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    programs = [os.path.abspath(program) for program in options.programs]
    costs = {program: [] for program in programs}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(options.rounds):
            for program in programs:
                costs[program].append(measure(program, programs[0], scratch, options.transport))
    for name in PHASES:
        for program in programs:
            values = sorted(cost[name] for cost in costs[program])
            last = statistics.median(cost[name] for cost in costs[programs[-1]])
            median = statistics.median(values)
            print(f"{name:22} {program}: {median:.1f} us [{values[0]:.1f}..{values[-1]:.1f}], {median / last:.2f}")


if __name__ == "__main__":
    main()
