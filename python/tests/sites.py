"""A master and a minion of real Salt, or of Brine, running in a directory of their own."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from conftest import BRINE, ROOT, wait_for

from brine.event import get_event


class Site:
    """Started when made; the minion is accepted. ``env`` lets programs find the configuration."""

    def __init__(self, release):
        self.release = release
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="brine-site-"))
        self.processes = []
        self._configure()
        self.env = {
            **os.environ,
            "SALT_MASTER_CONFIG": str(self.directory / "etc/master"),
            "SALT_MINION_CONFIG": str(self.directory / "etc/minion"),
        }
        try:
            self._start("salt-master")
            self.master_opts = {"sock_dir": str(self.directory / "run/master"), "id": "master"}
            for side in ("pub", "pull"):
                wait_for(self.directory / f"run/master/master_event_{side}.ipc")
            with get_event("master", opts=self.master_opts) as event:
                self._start("salt-minion")
                assert event.get_event(wait=120, tag="salt/minion/m1/start"), self.logs()
        except BaseException:
            self.stop()
            raise

    def _configure(self):
        for name in ("etc", "run", "srv/_modules"):
            (self.directory / name).mkdir(parents=True)
        publish, ret = free_ports()
        common = {
            "root_dir": self.directory,
            "publish_port": publish,
            "user": "root" if os.getuid() == 0 else os.environ.get("USER", "root"),
            "log_level": "warning",
        }
        master = {
            **common,
            "interface": "127.0.0.1",
            "ret_port": ret,
            "sock_dir": self.directory / "run/master",
            "pki_dir": self.directory / "pki/master",
            "cachedir": self.directory / "cache/master",
            "log_file": self.directory / "master.log",
            "auto_accept": True,
            "worker_threads": 2,
            "file_roots": f"{{base: [{self.directory / 'srv'}]}}",
        }
        minion = {
            **common,
            "id": "m1",
            "master": "127.0.0.1",
            "master_port": ret,
            "sock_dir": self.directory / "run/minion",
            "pki_dir": self.directory / "pki/minion",
            "cachedir": self.directory / "cache/minion",
            "log_file": self.directory / "minion.log",
        }
        for node, options in (("master", master), ("minion", minion)):
            lines = (f"{name}: {value}\n" for name, value in options.items())
            (self.directory / "etc" / node).write_text("".join(lines))

    def command(self, program, *arguments):
        """A program of this release, with this site's configuration."""
        config = ["-c", str(self.directory / "etc")]
        if self.release == "brine":
            return [BRINE, program, *config, *arguments]
        return [str(ROOT / ".salt" / self.release / "bin" / program), *config, *arguments]

    def run(self, program, *arguments):
        done = subprocess.run(
            self.command(program, *arguments),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def _start(self, program):
        with open(self.directory / f"{program}.out", "w") as out:
            self.processes.append(
                subprocess.Popen(
                    self.command(program), stdout=out, stderr=out, start_new_session=True
                )
            )

    def logs(self):
        files = [*self.directory.glob("*.log"), *self.directory.glob("*.out")]
        return "\n".join(f"{file.name}: {file.read_text()[-3000:]}" for file in files)

    def stop(self):
        for process in reversed(self.processes):
            # A master of real Salt leaves children: the whole group goes.
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    break
                time.sleep(0.5)
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def has_command(name):
    done = subprocess.run([BRINE, name, "--version"], capture_output=True, check=False)
    return done.returncode == 0


def free_ports():
    probes = [socket.socket() for _ in range(2)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
