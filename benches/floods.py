"""Floods of our own master, and what honest minions beside feel of them.

    .salt/3008.3/bin/python3 benches/floods.py target/release/brine --transport tcp [--seconds 6] [NAME...]

Takes a Python with `cryptography` and `msgpack`, such as real Salt's, and Linux namespaces: master, minions and floods
have addresses of their own, and nothing leaves the machine. For each flood a fresh master is started. Two honest minions
sign in anew and fire numbered events all the time, two listeners read everything, one of them stopped while the flood
lasts. Prints a JSON object a flood: sign-ins and events before and during it (milliseconds), events that a listener has
not seen, the master's peak of memory, and what the flood itself got done.
"""

import argparse
import base64
import collections
import ctypes
import datetime
import hashlib
import hmac
import json
import multiprocessing
import os
import pathlib
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid

import msgpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common import accepts, in_scratch, until

MASTER, HONEST, ROGUE = "10.9.0.1", "10.9.2.1", "10.9.3.1"
STRANGERS = [f"10.9.1.{n}" for n in range(1, 9)]
REQUESTS, PUBLISHES = 4506, 4505
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
PING, PONG = b"\x04\x07\x04PING\0\0", b"\x04\x05\x04PONG"


def zmtp(body, more=False):
    head = bytes([more, len(body)]) if len(body) < 256 else bytes([2 | more]) + len(body).to_bytes(8, "big")
    return head + body


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


class Peer:
    """A connection to one of the master's ports."""

    def __init__(self, transport, source, port=REQUESTS, kind=b"REQ", patience=60, tls=None):
        self.zeromq, self.buffer = transport == "zeromq", b""
        self.unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=1 << 30)
        self.socket = socket.create_connection((MASTER, port), patience, source_address=(source, 0))
        if tls:
            self.socket = tls.wrap_socket(self.socket)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.zeromq:
            self.socket.sendall(GREETING + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03" + kind)
            self.need(64)
            self.buffer = self.buffer[64:]

    def frame(self, payload):
        if self.zeromq:
            return zmtp(b"", True) + zmtp(pack(payload))
        return pack({"head": {"mid": 1}, "body": payload})

    def need(self, length):
        while len(self.buffer) < length:
            read = self.socket.recv(1 << 20)
            if not read:
                raise ConnectionError("closed")
            self.buffer += read

    def reply(self):
        """The next answer, unpacked, with bytes for all texts."""
        while not self.zeromq:
            for message in self.unpacker:
                return message[b"body"]
            read = self.socket.recv(1 << 20)
            if not read:
                raise ConnectionError("closed")
            self.unpacker.feed(read)
        while True:
            self.need(2)
            flags, length, head = self.buffer[0], self.buffer[1], 2
            if flags & 2:
                self.need(9)
                length, head = int.from_bytes(self.buffer[1:9], "big"), 9
            self.need(head + length)
            body, self.buffer = self.buffer[head : head + length], self.buffer[head + length :]
            if flags & 4:
                if body.startswith(b"\x04PING"):
                    self.socket.sendall(PONG)
            elif not flags & 1:
                return msgpack.unpackb(body, raw=True, strict_map_key=False)

    def ask(self, payload):
        self.socket.sendall(self.frame(payload))
        return self.reply()


class Minion:
    def __init__(self, name):
        self.id, self.key = name, rsa.generate_private_key(65537, 2048)
        kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        self.public = self.key.public_key().public_bytes(kind, form).decode().strip()
        numbers, size = self.key.private_numbers(), 256
        block = b"\x6b" + b"\xbb" * (size - 4 - 3) + b"\xba" + b"salt" + b"\xcc"
        n = numbers.public_numbers.n
        token = pow(int.from_bytes(block, "big"), numbers.d, n)
        self.token = min(token, n - token).to_bytes(size, "big")

    def request(self, **more):
        load = {"cmd": "_auth", "id": self.id, "nonce": uuid.uuid4().hex, "enc_algo": "OAEP-SHA1",
                "sig_algo": "PKCS1v15-SHA1", "pub": self.public, **more}
        return {"enc": "clear", "load": load, "version": 3}

    def sign_in(self, peer):
        answer = msgpack.unpackb(peer.ask(self.request())[b"load"], raw=True)
        sha1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        key = base64.b64decode(self.key.decrypt(answer[b"session"], sha1))
        self.aes, self.mac = key[:24], key[24:]
        return self

    def seal(self, cmd, at=None, **more):
        load = {"cmd": cmd, "id": self.id, "nonce": uuid.uuid4().hex, "ts": int(at or time.time()), "tok": self.token}
        text = b"pickle::" + pack({**load, **more})
        fill = 16 - len(text) % 16
        start = os.urandom(16)
        sealing = Cipher(algorithms.AES(self.aes), modes.CBC(start)).encryptor()
        sealed = start + sealing.update(text + bytes([fill]) * fill) + sealing.finalize()
        sealed += hmac.new(self.mac, sealed, hashlib.sha256).digest()
        return {"enc": "aes", "load": sealed, "id": self.id, "version": 3,
                "enc_algo": "OAEP-SHA1", "sig_algo": "PKCS1v15-SHA1"}

    def open(self, reply):
        opening = Cipher(algorithms.AES(self.aes), modes.CBC(reply[:16])).decryptor()
        text = opening.update(reply[16:-32]) + opening.finalize()
        return msgpack.unpackb(text[8 + 32 : -text[-1]], raw=True, strict_map_key=False)


def within_tls(root):
    """Makes the master's certificate; how its minions connect."""
    key, name = rsa.generate_private_key(65537, 2048), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, MASTER)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (root / "tls.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    (root / "tls.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.create_default_context(cafile=root / "tls.crt")
    context.check_hostname = False
    return context


class Master:
    def __init__(self, program, root, transport, files, more=""):
        self.program, self.root, self.transport, self.files = program, root, transport, files
        self.log, self.cache, self.tls = root / "log", root / "c", None
        if "ssl:" in more:
            self.tls, more = within_tls(root), more.replace("HERE", str(root))
        keys = root / "p/minions"
        keys.mkdir(parents=True)
        self.honest, self.rogue = [Minion("honest1"), Minion("honest2")], Minion("rogue")
        for minion in [*self.honest, self.rogue]:
            (keys / minion.id).write_text(minion.public)
        (root / "master").write_text(
            f"interface: {MASTER}\ntransport: {transport}\nroot_dir: {root}\nsock_dir: {root}/s\ncachedir: {root}/c\n"
            f"pki_dir: {root}/p\nlog_file: {root}/log\n{more}\n")
        self.start()

    def start(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))
        self.process = subprocess.Popen([self.program, "salt-master", "-c", self.root], preexec_fn=limit,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the master's bus", lambda: accepts(self.root / "s/master_event_pub.ipc"), pause=0.01)
        until("the master's port", self.is_open, pause=0.01)

    def is_open(self):
        try:
            self.peer(HONEST).socket.close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def peer(self, source, **more):
        return Peer(self.transport, source, tls=self.tls, **more)

    def memory(self, what="VmRSS"):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return round(int(status.split(what + ":")[1].split()[0]) / 1024, 1)

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def listen(self, path, *tags):
        """A listener that writes what it hears to a file, once it is known to hear."""
        out = open(path, "wb")
        listener = subprocess.Popen([self.program, "watch", *tags, "-c", self.root], stdout=out,
                                    stderr=subprocess.DEVNULL)
        command = [self.program, "send", "honest/hello", "{}", "-c", self.root]

        def hears():
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return b"honest/hello" in path.read_bytes()

        until("a listener", hears, pause=0.1)
        return listener


# An honest minion. Each runs in its own process until it is stopped.


def signs_in(master, minion, ended, figures):
    while not ended.is_set():
        began = time.monotonic()
        try:
            peer = master.peer(HONEST, patience=30)
            minion.sign_in(peer)
            peer.socket.close()
        except OSError:
            figures.put(("failed", began, 0))
            continue
        took = time.monotonic() - began
        figures.put(("sign_in", began, took * 1000))
        time.sleep(max(0, 0.1 - took))


def fires(master, minion, ended, figures):
    peer = master.peer(HONEST, patience=30)
    minion.sign_in(peer)
    number = 0
    while not ended.is_set():
        began = time.monotonic()
        data = {"n": number, "at": began}
        try:
            peer.ask(minion.seal("_minion_event", tag="honest/event", data=data))
            number += 1
        except OSError:
            figures.put(("failed", began, 0))
            peer = master.peer(HONEST, patience=30)
        time.sleep(max(0, 0.02 - (time.monotonic() - began)))
    figures.put(("fired", 0, number))


def hears(path, ended, figures):
    """Reads what a listener writes while it is written."""
    seen, read = set(), path.open("rb")
    rest = b""
    while True:
        is_over = ended.is_set()
        more = read.read()
        now = time.monotonic()
        *lines, rest = (rest + more).split(b"\n")
        for line in lines:
            if found := re.search(rb'"honest/event".*', line):
                data = json.loads(line)["data"]
                data = data.get("data", data)
                seen.add(data["n"])
                figures.put(("event", data["at"], (now - data["at"]) * 1000))
        if is_over and not more:
            break
        time.sleep(0.002)
    figures.put(("heard", 0, sorted(seen)[-1:] == [len(seen) - 1] and len(seen)))


# Floods. Each runs in a process of its own until the time is over, and says what it got done.


def hold(port, opening, sources, each, until_time):
    """Keeps so many connections of each address open, opening others for those that are closed."""
    poll, connections, opened = select.epoll(), {}, 0
    while time.monotonic() < until_time:
        held = collections.Counter(source for _, source in connections.values())
        missing = [source for source in sources for _ in range(each - held[source])]
        for source in missing[:500]:
            try:
                peer = socket.create_connection((MASTER, port), 5, source_address=(source, 0))
                peer.sendall(opening)
            except OSError:
                break
            connections[peer.fileno()] = peer, source
            poll.register(peer, select.EPOLLIN | select.EPOLLHUP)
            opened += 1
        for file, _ in poll.poll(0.01):
            try:
                read = connections[file][0].recv(4096)
                if read.endswith(PING):
                    connections[file][0].sendall(PONG)
            except OSError:
                read = b""
            if not read:
                poll.unregister(file)
                connections.pop(file)[0].close()
    return {"opened": opened, "held": len(connections)}


def idle(master, until_time):
    return hold(REQUESTS, b"", STRANGERS, 1200, until_time)


def subscribers(master, until_time):
    opening = GREETING + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB" + b"\0\x01\x01"
    return hold(PUBLISHES, opening, STRANGERS[:1], 4000, until_time)


def pipelined(master, make, until_time, at_once=32):
    """Requests over one connection of each strangers' address, as fast as they are answered."""
    peers, sent, answered = [], 0, 0
    while time.monotonic() < until_time:
        while len(peers) < len(STRANGERS):
            peers.append(master.peer(STRANGERS[len(peers)]))
        for at, peer in enumerate(peers):
            try:
                peer.socket.sendall(b"".join(peer.frame(make(sent + n)) for n in range(at_once)))
                sent += at_once
            except OSError:
                peers[at] = master.peer(STRANGERS[at])
        for at, peer in enumerate(peers):
            try:
                for _ in range(at_once):
                    peer.reply()
                    answered += 1
            except OSError:
                peers[at] = master.peer(STRANGERS[at])
    return {"answered": answered}


def new_ids(master, until_time):
    stranger = Minion("stranger")
    done = pipelined(master, lambda n: stranger.request(id=f"stranger{n}"), until_time)
    return {**done, "key_files": len(list((master.root / "p/minions_pre").iterdir()))}


def denied_ids(master, until_time):
    stranger = Minion("rogue")
    return pipelined(master, lambda _: stranger.request(), until_time)


def denied_keys(master, until_time):
    strangers = [Minion("rogue") for _ in range(4)]
    return pipelined(master, lambda n: strangers[n % 4].request(), until_time + 1)


def no_key(master, until_time):
    stranger = Minion("stranger")
    return pipelined(master, lambda n: stranger.request(id=f"s{n}", pub="no key"), until_time)


def copied_key(master, until_time):
    """Signs in with the id and the public key of an accepted minion; neither is secret."""
    return pipelined(master, lambda _: master.honest[0].request(), until_time)


def long_keys(master, until_time):
    modulus = int.from_bytes(os.urandom(1024), "big") | 1 | 1 << 8191
    key = rsa.RSAPublicNumbers(65537, modulus).public_key()
    kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    text = key.public_bytes(kind, form).decode()
    stranger = Minion("stranger")
    return pipelined(master, lambda n: stranger.request(id=f"s{n}", pub=text), until_time)


def outstanding(master, until_time):
    stranger, sent = Minion("stranger"), 0
    while time.monotonic() < until_time:
        peers = [master.peer(STRANGERS[n % 8]) for n in range(700)]
        for peer in peers:
            try:
                peer.socket.sendall(b"".join(peer.frame(stranger.request(id=f"s{sent + n}")) for n in range(32)))
                sent += 32
            except OSError:
                pass
        time.sleep(0.5)
        for peer in peers:
            peer.socket.close()
    return {"sent": sent}


def tls_handshakes(master, until_time):
    """Opens TLS connections and stops: before the first byte, within a record, after a greeting, after rubbish, and with
    the handshake done."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def greeting():
        outgoing = ssl.MemoryBIO()
        begun = context.wrap_bio(ssl.MemoryBIO(), outgoing)
        try:
            begun.do_handshake()
        except ssl.SSLWantReadError:
            return outgoing.read()

    openings = [b"", greeting()[:50], greeting(), os.urandom(200), b"\x16\x03\x01\x40\x00" + bytes([1, 0, 255, 251]) + bytes(16_000)]
    held, opened, shaken = collections.deque(), 0, 0
    while time.monotonic() < until_time:
        try:
            peer = socket.create_connection((MASTER, REQUESTS), 5, source_address=(STRANGERS[opened % 8], 0))
            if opened % 6 == 5:
                peer.settimeout(2)
                peer = context.wrap_socket(peer)
                shaken += 1
            else:
                peer.sendall(openings[opened % 6])
            held.append(peer)
        except OSError:
            pass
        opened += 1
        if len(held) > 8000:
            held.popleft().close()
    return {"opened": opened, "handshakes": shaken}


def push(peer, head, mebibytes, timeout):
    """Sends a message's beginning and so much of the rest; how much was taken."""
    part, taken = bytes(1 << 20), 0
    try:
        peer.socket.settimeout(timeout)
        peer.socket.sendall(head)
        for _ in range(mebibytes):
            peer.socket.sendall(part)
            taken += 1
    except OSError:
        pass
    return taken


def unfinished_small(master, until_time):
    """60,000 bytes of a message, and no more, over every connection that the master takes."""
    message = pack({"head": {"mid": 1}, "body": {"enc": "clear", "load": {"x": bytes(64_000)}, "version": 3}})
    if master.transport == "zeromq":
        message = GREETING + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ" + zmtp(b"", True) + zmtp(bytes(64_000))
    return hold(REQUESTS, message[:60_000], STRANGERS, 1200, until_time)


def unfinished(master, until_time):
    """Messages of 60 MiB from six addresses, all but the last byte of each."""
    taken = []
    peers = [master.peer(source) for source in STRANGERS[:6]]
    for peer in peers:
        message = peer.frame({"enc": "clear", "load": {"x": b""}, "version": 3})[:-1]
        size = 60 << 20
        head = zmtp(b"", True) + b"\2" + size.to_bytes(8, "big") if peer.zeromq else message[:-4]
        length = b"\x81\xa1x\xc6" if peer.zeromq else b"\xc6"
        left = max(0.1, until_time - time.monotonic())
        taken.append(push(peer, head + length + size.to_bytes(4, "big"), 59, left))
    time.sleep(max(0, until_time - time.monotonic()))
    return {"mib_taken": taken}


def large_sign_ins(master, until_time):
    stranger, filler = Minion("stranger"), bytes(40 << 20)
    small = [master.peer(source) for source in STRANGERS for _ in range(50)]
    for at, peer in enumerate(small):
        peer.socket.sendall(b"".join(peer.frame(stranger.request(id=f"s{at * 32 + n}")) for n in range(32)))
    sent, large = 0, [master.peer(STRANGERS[n % 8]) for n in range(16)]
    for peer in large:
        try:
            peer.socket.settimeout(max(0.1, until_time - time.monotonic()))
            peer.socket.sendall(peer.frame(stranger.request(x=filler)))
            sent += 1
        except OSError:
            pass
    time.sleep(max(0, until_time - time.monotonic()))
    return {"large_ones_sent": sent}


def names(master, until_time):
    """77 KiB of function names at a blacklist, without a key."""
    funs = [f"f{n:05}.{n:05}" for n in range(5600)]
    load = {"cmd": "publish", "fun": funs, "arg": [[]] * len(funs), "tgt": "*", "ret": "", "user": "root", "key": "x"}
    return pipelined(master, lambda _: {"enc": "clear", "load": load, "version": 3}, until_time, 4)


def as_rogue(master):
    peer = master.peer(ROGUE)
    master.rogue.sign_in(peer)
    peer.ask(master.rogue.seal("_minion_event", tag="rogue/here", data={}))
    return peer


def repeated(master, until_time, make):
    """An accepted minion's requests, one after the other."""
    answered, slowest = 0, 0
    peer = as_rogue(master)
    while time.monotonic() < until_time:
        began = time.monotonic()
        try:
            peer.ask(make())
            answered += 1
        except OSError:
            peer = as_rogue(master)
        slowest = max(slowest, time.monotonic() - began)
    return {"answered": answered, "slowest_ms": round(slowest * 1000)}


def nils(mib):
    return [None] * (mib << 20)


def nils_16(master, until_time):
    data = {"x": nils(16)}
    return repeated(master, until_time, lambda: master.rogue.seal("_minion_event", tag="x", data=data))


def nils_48(master, until_time):
    data = {"x": nils(48)}
    return repeated(master, until_time, lambda: master.rogue.seal("_minion_event", tag="x", data=data))


def deep_nils(master, until_time):
    """The same behind something that is nested deeply."""
    deep = None
    for _ in range(100):
        deep = [deep]
    data = {"deep": deep, "x": nils(16)}
    return repeated(master, until_time, lambda: master.rogue.seal("_minion_event", tag="x", data=data))


def grains(master, until_time):
    large = {"x": "x" * (16 << 20)}
    return repeated(master, until_time, lambda: master.rogue.seal("_pillar", grains=large, saltenv="base", ver="2"))


def grains_of_nils(master, until_time):
    large = {"x": nils(1)[:1_000_000]}
    return repeated(master, until_time, lambda: master.rogue.seal("_pillar", grains=large, saltenv="base", ver="2"))


def minions_unfinished(master, until_time):
    """Ten messages of 50 MiB of an accepted minion, all but the last byte of each."""
    taken = []
    peers = [as_rogue(master) for _ in range(10)]
    for peer in peers:
        size = 50 << 20
        if peer.zeromq:
            head = zmtp(b"", True) + b"\2" + size.to_bytes(8, "big") + b"\x81\xa1x\xc6"
        else:
            head = b"\x82\xa4head\x80\xa4body\xc6"
        taken.append(push(peer, head + (size - 20).to_bytes(4, "big"), 49, 1))
    time.sleep(max(0, until_time - time.monotonic()))
    return {"mib_taken": taken}


def minions_connections(master, until_time):
    held = []
    event = lambda: master.rogue.seal("_minion_event", tag="rogue/here", data={})
    while time.monotonic() < until_time and len(held) < 6000:
        try:
            held.append(master.peer(ROGUE))
            if len(held) == 1:
                master.rogue.sign_in(held[-1])
            held[-1].ask(event())
        except OSError:
            pass
    open_files = len(os.listdir(f"/proc/{master.process.pid}/fd"))
    return {"opened": len(held), "files_of_the_master": open_files}


def mine(master, until_time):
    data = {f"f{n}": 1 for n in range(40_000)}
    return repeated(master, until_time, lambda: master.rogue.seal("_mine", data=data))


def mine_get(master, until_time):
    """By an expensive pattern against its own grain of 100 KB."""
    peer = as_rogue(master)
    peer.ask(master.rogue.seal("_pillar", grains={"x": "a" * 100_000}, saltenv="base", ver="2"))
    peer.ask(master.rogue.seal("_mine", data={"f": 1}))
    ask = lambda: master.rogue.seal("_mine_get", tgt="x:(?=(a+)+$)x", tgt_type="grain_pcre", fun="f")
    return repeated(master, until_time, ask)


def wildcards(master, until_time):
    """By wildcards through its own nested grains."""
    deep = {"end": 1}
    for _ in range(40):
        deep = {"in": deep, "x": 1}
    peer = as_rogue(master)
    peer.ask(master.rogue.seal("_pillar", grains=deep, saltenv="base", ver="2"))
    ask = lambda: master.rogue.seal("_mine_get", tgt="*:" * 40 + "no", tgt_type="grain", fun="f")
    return repeated(master, until_time, ask)


def same_function(master, until_time):
    """One function of the mine, named 20,000 times."""
    peer = as_rogue(master)
    peer.ask(master.rogue.seal("_mine", data={"f": "x" * 100_000}))
    ask = lambda: master.rogue.seal("_mine_get", tgt="rogue", tgt_type="glob", fun=["f"] * 20_000)
    return repeated(master, until_time, ask)


def returns(master, until_time):
    """Sends 3,000 returns of jobs that were never published."""
    peer = as_rogue(master)
    for n in range(3000):
        ret = {"jid": f"20260101000000{n:06}", "fun": "x.y", "fun_args": [], "return": n, "retcode": 0, "success": True}
        peer.ask(master.rogue.seal("_return", **ret))
    time.sleep(max(0, until_time - time.monotonic()))
    return {"files": sum(len(files) for _, _, files in os.walk(master.cache / "jobs"))}


def refused_tags(master, until_time):
    """20,000 tags of the master's in one batch, and one of 4 MiB."""
    peer = as_rogue(master)
    before = master.log.stat().st_size if master.log.exists() else 0
    peer.ask(master.rogue.seal("_minion_event", events=[{"tag": "salt/key/x", "data": {}}] * 20_000))
    peer.ask(master.rogue.seal("_minion_event", tag="salt/key/" + "x" * (4 << 20), data={}))
    time.sleep(max(0, until_time - time.monotonic()))
    return {"log_bytes": (master.log.stat().st_size if master.log.exists() else 0) - before}


def malformed(master, until_time):
    """Changed bytes of encrypted and of clear requests, within a minion's own connection."""
    counter = iter(range(1 << 60))

    def make():
        n = next(counter)
        value = [None, True, -1, 2**63, 1.5, "x" * (n % 300), b"\xff" * (n % 300), [[]] * (n % 50), {"a": {1: []}}][n % 9]
        field = ["cmd", "tag", "data", "events", "pretag", "jid", "return", "tok", "nonce", "ts", "id", "fun"][n % 12]
        cmd = ["_minion_event", "_return", "_pillar", "_mine", "_mine_get", "_serve_file", "_file_list", "x"][n % 8]
        sealed = master.rogue.seal(cmd, **{field: value} if field != "cmd" else {})
        if n % 5 == 0:
            cut = bytearray(sealed["load"])
            cut[n % len(cut)] ^= 1 << n % 8
            sealed["load"] = bytes(cut)
        return sealed

    return repeated(master, until_time, make)


FLOODS = {flood.__name__: flood for flood in [
    idle, subscribers, new_ids, denied_ids, denied_keys, no_key, copied_key, long_keys, outstanding, unfinished, unfinished_small,
    large_sign_ins, tls_handshakes, names, nils_16, nils_48, deep_nils, grains, grains_of_nils, minions_unfinished, minions_connections,
    mine, mine_get, wildcards, same_function, returns, refused_tags, malformed]}
CONFIG = {"tls_handshakes": "ssl: {certfile: HERE/tls.crt, keyfile: HERE/tls.key, cert_reqs: CERT_NONE}",
          "names": "publisher_acl_blacklist: {modules: ['cmd.*', 'test.(ping|echo)', '(a+)+b']}"}
FILES = {"subscribers": 4096}


def quantile(values, share):
    return round(sorted(values)[int(share * (len(values) - 1))], 1) if values else None


def run(name, options, root):
    master = Master(options.program, root, options.transport, FILES.get(name, 20_000), CONFIG.get(name, ""))
    figures, ended, over = multiprocessing.Queue(), multiprocessing.Event(), multiprocessing.Event()
    paths = [root / "heard", root / "heard-stopped"]
    listeners = [master.listen(path) for path in paths]
    honest = [multiprocessing.Process(target=signs_in, args=(master, master.honest[0], ended, figures)),
              multiprocessing.Process(target=fires, args=(master, master.honest[1], ended, figures)),
              multiprocessing.Process(target=hears, args=(paths[0], over, figures))]
    for process in honest:
        process.start()
    time.sleep(3)
    listeners[1].send_signal(signal.SIGSTOP)
    before = master.memory()
    master.forget_peak()
    begun = time.monotonic()
    said = multiprocessing.Queue()
    flood = multiprocessing.Process(target=lambda: said.put(FLOODS[name](master, begun + options.seconds)))
    flood.start()
    done = said.get(timeout=60 + 10 * options.seconds)
    flood.join()
    flooded = time.monotonic()
    peak, after = master.memory("VmHWM"), master.memory()
    listeners[1].send_signal(signal.SIGCONT)
    time.sleep(1)
    ended.set()
    honest[0].join()
    honest[1].join()
    time.sleep(1)
    over.set()
    found = []
    while not any(kind == "heard" for kind, *_ in found):
        found.append(figures.get(timeout=60))
    time.sleep(0.3)
    while not figures.empty():
        found.append(figures.get())
    fired = next(value for kind, _, value in found if kind == "fired")
    stopped = sum(b'"honest/event"' in line for line in paths[1].open("rb"))
    of = lambda kind, first, last: [value for one, at, value in found if one == kind and first <= at <= last]
    kinds = {kind: [of(kind, 0, begun - 0.2), of(kind, begun, flooded)] for kind in ["sign_in", "event"]}
    heard = next(value for kind, _, value in found if kind == "heard")
    is_alive = master.process.poll() is None
    master.stop()
    for listener in listeners:
        listener.kill()
        listener.wait()
    return {
        "flood": name, "transport": options.transport, "seconds": round(flooded - begun, 1), **done,
        "sign_in_ms_before_p50_max": [quantile(kinds["sign_in"][0], share) for share in (0.5, 1)],
        "sign_in_ms_p50_max": [quantile(kinds["sign_in"][1], share) for share in (0.5, 1)],
        "event_ms_before_p50_p99": [quantile(kinds["event"][0], share) for share in (0.5, 0.99)],
        "event_ms_p50_p99_max": [quantile(kinds["event"][1], share) for share in (0.5, 0.99, 1)],
        "honest_failures": len(of("failed", begun, flooded)), "fired": fired, "heard": heard, "heard_by_the_stopped": stopped,
        "mib_before_peak_after": [before, peak, after], "alive": is_alive,
    }


def replays(options, root):
    """A recorded request sent again: how often it is acted on besides the first time."""
    master = Master(options.program, root, options.transport, 20_000)
    path = root / "heard"
    listener = master.listen(path, "replay/*", "honest/*")
    peer = as_rogue(master)
    event = lambda tag, **more: master.rogue.seal("_minion_event", tag="replay/" + tag, data={}, **more)
    again = {name: event(name) for name in ["at_once", "after_70_others", "after_a_restart"]}
    for sealed in again.values():
        peer.ask(sealed)
    peer.ask(again["at_once"])
    for _ in range(70):
        peer.ask(event("other"))
    peer.ask(again["after_70_others"])
    year = 365 * 86_400
    for name, ts in [("ts_3_years_ago", time.time() - 3 * year), ("ts_3_years_ahead", time.time() + 3 * year)]:
        peer.ask(event(name, at=ts))
        again[name] = None
    peer.ask(event("end"))
    until("the last event", lambda: b"replay/end" in path.read_bytes())
    first = path.read_text()
    listener.kill()
    master.stop()
    master.start()
    listener = master.listen(root / "heard-again", "replay/*", "honest/*")
    master.peer(STRANGERS[0]).ask(again["after_a_restart"])
    as_rogue(master).ask(event("end"))
    until("the last event", lambda: b"replay/end" in (root / "heard-again").read_bytes())
    text = first + (root / "heard-again").read_text()
    listener.kill()
    master.stop()
    heard = lambda name: sum(f'"replay/{name}"' in line for line in text.splitlines())
    count = {name: heard(name) - (sealed is not None) for name, sealed in again.items()}
    return {"flood": "replays", "transport": options.transport, "acted_on_again": count}


def inside(options):
    for command in ["link set lo up"] + [f"addr add {one}/32 dev lo" for one in [MASTER, HONEST, ROGUE, *STRANGERS]]:
        subprocess.run(["ip", *command.split()], check=True)
    for name in options.names or [*FLOODS, "replays"]:
        if name == "tls_handshakes" and options.transport == "zeromq":
            continue
        what = replays if name == "replays" else lambda options, root: run(name, options, root)
        print(json.dumps(in_scratch("floods", options.keep, lambda root: what(options, root))), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*FLOODS, "replays"]))
    parser.add_argument("--transport", default="tcp", choices=["tcp", "zeromq"])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--keep", action="store_true", help="keep the scratch directories")
    options = parser.parse_intermixed_args()
    if unknown := set(options.names) - {*FLOODS, "replays"}:
        parser.error(f"no such flood: {', '.join(unknown)}")
    options.program = options.program.resolve()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    new_network = 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(new_network):
        sys.exit(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}; run as root")
    inside(options)


if __name__ == "__main__":
    main()
