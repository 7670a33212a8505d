"""The process that waits for jobs and forks a child for each.

A child loads what it needs, runs one function and exits. The minion's program is at the other end of
every socket. Control socket (descriptor 0), from the minion: b"J" with a descriptor: a job on that
socket; b"D" and a frame: data that children see; b"K" and four bytes: kill the child of that pid. To
the minion: a frame {"pid", "status"} for each child that ended. A job's socket carries frames only.
Works with Python 3.8 and later and its standard library alone.
"""

import array
import logging
import os
import select
import signal
import socket
import struct
import sys
import traceback
import types

from brine_worker.failures import offer_exceptions
from brine_worker.job import run_job
from brine_worker.loading import BASE, Preloaded
from brine_worker.packing import receive, receive_exactly, send

class Parent:
    def __init__(self):
        self.control = socket.socket(fileno=os.dup(0))
        self.data = {}
        self.children = set()
        self.wake, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for ignored in (signal.SIGINT, signal.SIGHUP):  # the minion decides when this process ends
            signal.signal(ignored, signal.SIG_IGN)

    def serve(self):
        while True:
            ready = select.select([self.control, self.wake], [], [])[0]
            if self.wake in ready:
                try:
                    os.read(self.wake, 4096)
                except BlockingIOError:
                    pass
            self.reap()
            if self.control in ready and not self.handle():
                break
        for pid in self.children:
            self.kill(pid)

    def handle(self):
        kind, ancillary, _, _ = self.control.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        if kind == b"J":
            descriptors = array.array("i")
            for level, name, raw in ancillary:
                if level == socket.SOL_SOCKET and name == socket.SCM_RIGHTS:
                    descriptors.frombytes(raw[:4])
            if descriptors:
                self.fork(descriptors[0])
        elif kind == b"D":
            self.data.update(receive(self.control))
            for path in self.data.pop("preload", None) or ():
                Preloaded.add(path)
        elif kind == b"K":
            self.kill(struct.unpack(">I", receive_exactly(self.control, 4))[0])
        else:
            return False
        return True

    def fork(self, descriptor):
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            os.close(descriptor)
            return
        status = 1
        try:
            self.become_child()
            with socket.socket(fileno=descriptor) as connection:
                run_job(connection, self.data)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def become_child(self):
        signal.set_wakeup_fd(-1)
        for usual in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(usual, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.control.close()
        os.close(self.wake)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def kill(self, pid):
        if pid not in self.children:
            return
        for kill in (os.killpg, os.kill):  # the group first, so that processes the job started end too
            try:
                kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.children.discard(pid)
                send(self.control, {"pid": pid, "status": status})


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.INFO,
                        format="[%(levelname)s] %(name)s: %(message)s")
    sys.dont_write_bytecode = True
    offer_exceptions()
    package = types.ModuleType(BASE[:-1])
    package.__path__ = []
    sys.modules[BASE[:-1]] = package
    Parent().serve()
