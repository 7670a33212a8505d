#!/usr/bin/env python3
"""Records one event of every kind from a real Salt site, for the golden file of event lines.

    .salt/3008.3/bin/python crates/brine-view/tests/record/record.py OUT

Starts a master, an API, two minions and a syndic's master of this Python's Salt in a scratch directory, has them do
what fires events, and writes OUT/events-RELEASE-{master,minion}.jsonl: one line {"tag": ..., "data": ...} for each
shape of tag. Keys, session keys and the scratch directory's name are replaced. Takes two to three minutes.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import salt.client
import salt.config
import salt.payload
import salt.utils.event
import salt.version

RELEASE = salt.version.__version__
IS_3008 = RELEASE.startswith("3008")
BIN = pathlib.Path(sys.executable).parent
ROOT = pathlib.Path(tempfile.mkdtemp(prefix="rec"))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


PUBLISH, RETURN, API, TOP_PUBLISH, TOP_RETURN = free_ports(5)


def write(path, text):
    path = ROOT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def configure():
    common = "log_level: error\nlog_level_logfile: quiet\nuser: root\n"
    write(
        "m/master",
        f"""{common}
root_dir: {ROOT}/m
interface: 127.0.0.1
id: central
publish_port: {PUBLISH}
ret_port: {RETURN}
worker_threads: 2
loop_interval: 2
presence_events: true
state_events: true
master_stats: true
master_stats_event_iter: 1
fileserver_events: true
file_roots: {{base: [{ROOT}/states]}}
nodegroups: {{all: '*'}}
order_masters: true
reactor: [{{'my/reacts': [{ROOT}/react.sls]}}]
queue_dirs: []
engines: []
netapi_enable_clients: [local, runner, wheel]
external_auth: {{file: {{^filename: {ROOT}/users, ^hashtype: plaintext, alice: ['.*', '@runner', '@wheel']}}}}
rest_cherrypy: {{port: {API}, host: 127.0.0.1, disable_ssl: true, webhook_disable_auth: true}}
peer: {{'.*': [test.ping]}}
""",
    )
    for name, more in [("m1", "state_events: true\nstart_event_grains: [os]\n"), ("m2", "")]:
        write(
            f"{name}/minion",
            f"""{common}
root_dir: {ROOT}/{name}
id: {name}
master: 127.0.0.1
master_port: {RETURN}
publish_port: {PUBLISH}
acceptance_wait_time: 1
random_reauth_delay: 1
loop_interval: 1
mine_functions: {{test.ping: []}}
{more}
""",
        )
    write(
        "top/master",
        f"""{common}
root_dir: {ROOT}/top
interface: 127.0.0.1
publish_port: {TOP_PUBLISH}
ret_port: {TOP_RETURN}
worker_threads: 2
order_masters: true
auto_accept: true
""",
    )
    write(
        "m/extra.conf",
        f"syndic_master: 127.0.0.1\nsyndic_master_port: {TOP_RETURN}\nsyndic_master_publish_port: {TOP_PUBLISH}\n",
    )
    with open(ROOT / "m/master", "a", encoding="utf-8") as master:
        master.write((ROOT / "m/extra.conf").read_text())
    write("m/minion", f"{common}\nroot_dir: {ROOT}/m\nid: central\nmaster: 127.0.0.1\n")
    write(
        "states/good.sls",
        """
ok: {test.succeed_with_changes: [{name: ok}]}
named: {test.nop: [{fire_event: my/named}]}
/tmp/nothing-to-do: {test.nop: []}
evt: {event.send: [{name: my/from/state}, {data: {a: 1}}]}
""",
    )
    write(
        "states/bad.sls",
        """
fine: {test.nop: []}
broken: {test.fail_without_changes: [{comment: 'Package nginx not found'}]}
after: {test.succeed_with_changes: [{require: [{test: broken}]}]}
""",
    )
    write("states/orch.sls", "step: {salt.function: [{name: test.ping}, {tgt: m1}]}\n")
    write(
        "states/orchbad.sls",
        "highstate: {salt.state: [{tgt: m1}, {sls: [bad]}]}\n",
    )
    write("users", "alice:secret\n")
    write("react.sls", "do: {local.test.ping: [{tgt: m1}]}\n")


# Recording.

LINES = {"master": {}, "minion": {}}


def shape(tag, data):
    """What makes an event different from others: its tag without numbers, and a few words of its data."""
    tag = re.sub(r"\d{20}", "JID", tag)
    tag = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", tag)
    tag = re.sub(r"MWorker-.*", "MWorker", tag)
    keys = ["act", "success", "retcode", "func", "cmd", "type"]
    words = [str(data.get(key)) for key in keys if key in data]
    if "/ret" in tag:
        fun = str(data.get("fun"))
        returned = data.get("return")
        # Of functions that only answer, one is enough.
        words.append(fun if isinstance(returned, dict) or data.get("retcode") else type(returned).__name__)
    if isinstance(data.get("fun"), list):
        words.append("several")
    if isinstance(data.get("tgt_type"), str) and tag.endswith("/new"):
        words.append(data["tgt_type"])
    for key in ("new", "lost", "missing", "schedule", "grains", "error"):
        if data.get(key):
            words.append(key)
    return (tag, *words)


def clean(value, key=""):
    if isinstance(value, dict):
        return {str(name): clean(one, str(name)) for name, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [clean(one) for one in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        if key in ("pub", "key", "creds", "token", "aes", "session") or "BEGIN" in value:
            return "<removed>"
        value = value.replace(str(ROOT), "/srv/site").replace(str(BIN.resolve().parent), "/opt/salt")
        value = value.replace(str(BIN.parent), "/opt/salt")
        return value if len(value) <= 400 else value[:400] + "…"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return repr(value)


def listen(kind, config, ready):
    opts = salt.config.master_config(config) if kind == "master" else salt.config.minion_config(config)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        with salt.utils.event.get_event(kind, opts=opts, listen=True) as bus:
            ready.set()
            while True:
                event = bus.get_event(wait=1, full=True, auto_reconnect=True)
                if event is None:
                    continue
                tag, data = event["tag"], event["data"]
                kept = LINES[kind].setdefault(shape(tag, data), {"tag": tag, "data": clean(data)})
                if kept["data"].get("lost") == [] and data.get("lost"):
                    kept["data"] = clean(data)


def start_listening(kind, config):
    ready = threading.Event()
    threading.Thread(target=listen, args=(kind, str(config), ready), daemon=True).start()
    ready.wait(60)


# Doing things.

PROCESSES = []


def start(name, config, *arguments):
    process = subprocess.Popen(
        [BIN / name, "-c", ROOT / config, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=open(ROOT / f"{name}-{config}.log", "wb"),
        start_new_session=True,
    )
    PROCESSES.append(process)
    return process


def stop(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def do(name, *arguments, config="m", timeout=90):
    print("#", name, *arguments, file=sys.stderr)
    try:
        done = subprocess.run(
            [BIN / name, "-c", ROOT / config, *arguments],
            capture_output=True,
            timeout=timeout,
            text=True,
        )
    except subprocess.TimeoutExpired:
        print("  timed out", file=sys.stderr)
        return
    if done.returncode:
        print("  code", done.returncode, (done.stdout + done.stderr)[-400:], file=sys.stderr)


def until(what, condition, timeout=90):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            print("gave up waiting for", what, file=sys.stderr)
            return
        time.sleep(0.2)


def seen(kind, start_of_tag):
    return any(key[0].startswith(start_of_tag) for key in list(LINES[kind]))


def post(path, body, headers=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{API}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except (OSError, urllib.error.HTTPError) as error:
        print("  post", path, error, file=sys.stderr)
        return {}


def record():
    configure()
    start("salt-master", "m")
    until("the master's bus", (ROOT / "m/var/run/salt/master/master_event_pub.ipc").exists)
    time.sleep(2)
    start_listening("master", ROOT / "m/master")
    start("salt-api", "m")
    m1 = start("salt-minion", "m1")
    until("a pending key", (ROOT / "m/etc/salt/pki/master/minions_pre/m1").exists)
    minion_bus = ROOT / "m1/var/run/salt/minion"
    until("the minion's bus", lambda: any(minion_bus.glob("*pub.ipc")))
    start_listening("minion", ROOT / "m1/minion")
    do("salt-key", "-y", "-a", "m1")
    until("m1", lambda: seen("master", "salt/minion/m1/start"))
    m2 = start("salt-minion", "m2")
    until("another pending key", (ROOT / "m/etc/salt/pki/master/minions_pre/m2").exists)
    do("salt-key", "-y", "-r", "m2")
    until("a rejected key", lambda: any(key[:2] == ("salt/auth", "reject") for key in list(LINES["master"])), 30)
    do("salt-key", "-y", "-d", "m2")
    do("salt-key", "-y", "-a", "m2")
    jobs()
    minions_own()
    master_side()
    through_the_api()
    do("salt-key", "-y", "-a", "m2")
    # A minion with another key of the same id.
    stop(m2)
    shutil.rmtree(ROOT / "m2/etc/salt/pki/minion", ignore_errors=True)
    again = start("salt-minion", "m2")
    until("a denied key", lambda: any(key[:2] == ("salt/auth", "denied") for key in list(LINES["master"])), 30)
    stop(again)
    stop(m1)
    until("a lost minion", lambda: any("lost" in key for key in list(LINES["master"])), 30)
    syndic()


def jobs():
    do("salt", "m1", "test.ping")
    do("salt", "*", "test.ping", "-t", "3")
    do("salt", "-G", "os:*", "test.ping", "-t", "3")
    do("salt", "-L", "m1,nobody", "test.ping", "-t", "3")
    do("salt", "nobody", "test.ping", "-t", "3")
    do("salt", "m1", "cmd.run", "echo one; echo two")
    do("salt", "m1", "cmd.run", "echo no such thing; exit 3")
    do("salt", "m1", "test.fib", "nonsense")
    do("salt", "m1", "no.such")
    do("salt", "m1", "grains.item", "os", "id")
    do("salt", "m1", "test.ping,test.echo", ",hello")
    do("salt", "m1", "state.apply", "good")
    do("salt", "m1", "state.apply", "good", "test=True")
    do("salt", "m1", "state.apply", "bad")
    do("salt", "m1", "state.sls", "bad")
    do("salt", "m1", "state.apply", "nosuch")
    do("salt", "m1", "state.single", "test.succeed_with_changes", "name=one")
    do("salt", "m1", "state.single", "test.fail_with_changes", "name=one", "fire_event=true")
    do("salt", "-b", "1", "m1", "test.ping")
    do("salt", "-b", "1", "--failhard", "m1", "test.retcode", "2")
    if IS_3008:
        do("salt", "--start-event", "m1", "test.ping")
        do("salt", "m1", "test.arg", "x" * 10)
    do("salt", "m1", "publish.publish", "m1", "test.ping")


def minions_own():
    do("salt-call", "test.ping", config="m1")
    do("salt-call", "event.send", "my/from/call", '{"host": "web1", "ok": true, "text": "two words"}', config="m1")
    do("salt-call", "event.fire", '{"a": 1}', "my/local", config="m1")
    do("salt-call", "event.fire_master", '{"a": 1}', "my/master", config="m1")
    do("salt", "m1", "saltutil.refresh_pillar")
    do("salt", "m1", "saltutil.refresh_modules")
    do("salt", "m1", "saltutil.refresh_grains")
    do("salt", "m1", "saltutil.refresh_beacons")
    do("salt", "m1", "saltutil.refresh_matchers")
    do("salt", "m1", "environ.setval", "A", "b", "permanent=False")
    do("salt", "m1", "mine.update")
    do("salt", "m1", "beacons.list")
    do("salt", "m1", "beacons.list_available")
    do("salt", "m1", "beacons.add", "nosuchbeacon", "[]")
    do("salt", "m1", "beacons.add", "ps", "[{processes: {nosuchproc: stopped}}, {interval: 1}]")
    until("a beacon", lambda: seen("master", "salt/beacon/m1/ps"), 20)
    do("salt", "m1", "beacons.disable_beacon", "ps")
    do("salt", "m1", "beacons.enable_beacon", "ps")
    do("salt", "m1", "beacons.modify", "ps", "[{processes: {other: stopped}}, {interval: 60}]")
    do("salt", "m1", "beacons.disable")
    do("salt", "m1", "beacons.enable")
    do("salt", "m1", "beacons.delete", "ps")
    do("salt", "m1", "beacons.reset")
    do("salt", "m1", "schedule.list")
    do("salt", "m1", "schedule.add", "j1", "function=test.ping", "seconds=2")
    until("a scheduled job", lambda: seen("minion", "__schedule_return"), 20)
    do("salt", "m1", "schedule.disable_job", "j1")
    do("salt", "m1", "schedule.enable_job", "j1")
    do("salt", "m1", "schedule.disable")
    do("salt", "m1", "schedule.enable")
    do("salt", "m1", "schedule.show_next_fire_time", "j1")
    do("salt", "m1", "schedule.skip_job", "j1", "time=2030-01-01T00:00:00")
    do("salt", "m1", "schedule.modify", "j1", "function=test.ping", "seconds=60")
    do("salt", "m1", "schedule.delete", "j1")
    do("salt", "m1", "schedule.save")
    do("salt-call", "--local", "event.fire", '{"message": "x"}', "_salt_error", config="m1")


def master_side():
    do("salt-run", "test.arg", "1", "a=2")
    do("salt-run", "no.such")
    do("salt-run", "test.sleep", "1")
    do("salt-run", "event.send", "myco/backup", '{"host": "web1", "ok": false}')
    do("salt-run", "event.send", "my/reacts", "{}")
    do("salt-run", "manage.up")
    do("salt-run", "state.orchestrate", "orch")
    do("salt-run", "state.orchestrate", "orchbad")
    do("salt-run", "jobs.list_jobs")
    do("salt-run", "reactor.list")
    do("salt-run", "reactor.is_leader")
    do("salt-run", "reactor.add", "my/other", f"{ROOT}/react.sls")
    do("salt-run", "reactor.delete", "my/other")
    do("salt-run", "queue.insert", "q", "one", "backend=sqlite")
    do("salt-run", "queue.process_queue", "q", "backend=sqlite")
    do("salt-run", "fileserver.update")
    write("states/new.sls", "x: {test.nop: []}\n")
    do("salt-run", "fileserver.update")
    do("salt-run", "salt.cmd", "test.ping")
    do("salt-run", "cloud.list_sizes", "nosuch", timeout=30)
    do("salt-run", "state.event", "count=0", timeout=5)


def through_the_api():
    until("the API", lambda: socket.socket().connect_ex(("127.0.0.1", API)) == 0, 60)
    post("/hook/build/done", {"project": "site", "ok": True})
    login = post("/login", {"username": "alice", "password": "secret", "eauth": "file"})
    token = (login.get("return") or [{}])[0].get("token", "")
    headers = {"X-Auth-Token": token}
    post("/", [{"client": "wheel", "fun": "key.list_all"}], headers)
    post("/", [{"client": "runner", "fun": "manage.up"}], headers)
    post("/", [{"client": "local_async", "tgt": "m1", "fun": "test.ping"}], headers)
    do("salt-run", "salt.cmd", "test.echo", "hi")


def syndic():
    """A master above: what it sees of the one below comes as syndic/<id>/..., which is recorded as the master's."""
    start("salt-master", "top")
    until("the upper bus", (ROOT / "top/var/run/salt/master/master_event_pub.ipc").exists)
    time.sleep(2)
    start_listening("master", ROOT / "top/master")
    start("salt-syndic", "m")
    until("the syndic", lambda: seen("master", "salt/syndic/"), 60)
    do("salt-run", "event.send", "myco/below", '{"x": 1}')
    until("an event from below", lambda: seen("master", "syndic/"), 30)


def main():
    out = pathlib.Path(sys.argv[1])
    try:
        record()
        time.sleep(3)
    finally:
        for process in reversed(PROCESSES):
            stop(process)
        for log in ROOT.glob("*.log"):
            text = log.read_text(errors="replace")
            if text.strip():
                print(f"--- {log.name}\n{text[-2000:]}", file=sys.stderr)
    for kind, lines in LINES.items():
        path = out / f"events-{RELEASE}-{kind}.jsonl"
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
        path.write_text(text)
        print(path, len(lines))
    shutil.rmtree(ROOT, ignore_errors=True)


if __name__ == "__main__":
    main()
