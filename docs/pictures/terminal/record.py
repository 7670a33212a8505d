#!/usr/bin/env python3
"""Makes the pictures of `brine watch` and `brine top` in this directory, from real runs.

A bus is started, the events of a small site are fired, and each command runs on a terminal of its own (a pty) of 40, 80
and 160 columns, with colours and without. What it leaves on the screen becomes a picture: dark, light and without colour
beside each other. Colours are the terminal's own sixteen, so dark and light are one run in two palettes.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pyte
    /tmp/venv/bin/python docs/pictures/terminal/record.py target/debug/brine
"""

import fcntl
import html
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from wcwidth import wcwidth  # pyte needs it, too

HERE = Path(__file__).resolve().parent
ROWS = 24
WIDTHS = (40, 80, 160)

# The sixteen colours, the text and the ground: GNOME's palette on dark, and the same hues darker on light.
PALETTES = {
    "dark": {
        "ground": "#171421", "text": "#d0cfcc",
        "black": "#171421", "red": "#f66151", "green": "#33d17a", "brown": "#e9ad0c",
        "blue": "#6aa0f0", "magenta": "#c061cb", "cyan": "#33c7de", "white": "#d0cfcc",
    },
    "light": {
        "ground": "#ffffff", "text": "#1e1e1e",
        "black": "#1e1e1e", "red": "#c01c28", "green": "#1a7f37", "brown": "#8a6100",
        "blue": "#1a5fb4", "magenta": "#813d9c", "cyan": "#0a7083", "white": "#5e5c64",
    },
}
PALETTES["no colour"] = PALETTES["light"]

NAMES = ["black", "red", "green", "brown", "blue", "magenta", "cyan", "white"]


def events():
    """A small site, told in events: (pause before it in seconds, tag, data)."""
    def jid(number):
        return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + f"{number:06}"

    def ret(job, minion, fun, value, code=0):
        return f"salt/job/{job}/ret/{minion}", {
            "id": minion, "jid": job, "fun": fun, "fun_args": [], "return": value,
            "retcode": code, "success": code == 0, "cmd": "_return"}

    def new(job, fun, target, minions):
        return f"salt/job/{job}/new", {
            "jid": job, "fun": fun, "tgt": target, "tgt_type": "glob", "user": "root",
            "arg": [], "minions": minions, "missing": []}

    def states(failed):
        out = {}
        for number, name in enumerate(["repo", "packages", "nginx", "site", "certificate", "firewall", "users", "cron"]):
            bad = name in failed
            out[f"pkg_|-{name}_|-{name}_|-installed"] = {
                "result": not bad, "name": name, "__id__": name, "__run_num__": number,
                "changes": {} if bad or number % 3 else {"new": "1"}, "duration": 1540.0,
                "comment": "The following packages failed to install/update: nginx" if bad else "ok"}
        return out

    web = ["web1", "web2", "web3"]
    everybody = [*web, "db1", "db2"]
    first, second, third, fourth = (jid(number) for number in (1, 2, 3, 4))
    yield 0, "salt/presence/present", {"present": everybody}
    yield 0, *new(first, "state.apply", "web*", web)
    yield 0.4, "myco/backup", {"host": "db1", "file": 6, "bytes": 7340032}
    yield 0.3, "myco/backup", {"host": "db1", "file": 7, "bytes": 41943040}
    yield 0.3, *ret(first, "web1", "state.apply", states({"nginx", "site"}), 2)
    yield 0.2, *ret(first, "web2", "state.apply", states(set()))
    yield 0.3, *new(second, "test.ping", "*", everybody)
    for minion in everybody:
        yield 0.02, *ret(second, minion, "test.ping", True)
    yield 0.3, "salt/auth", {"id": "db3", "act": "pend", "result": True, "pub": "…"}
    yield 0.2, "salt/beacon/web1/diskusage/", {"id": "web1", "diskusage": 91.2, "mount": "/var"}
    yield 0.3, *new(third, "cmd.run", "db*", ["db1", "db2"])
    yield 0.2, *ret(third, "db1", "cmd.run", "no such file or directory: /srv/dump", 3)
    yield 0.1, *ret(third, "db2", "cmd.run", "/srv/dump is 41 GiB")
    yield 0.3, "salt/presence/change", {"new": ["web4"], "lost": ["db1", "db2"]}
    yield 0.2, f"salt/run/{fourth}/ret", {"fun": "runner.manage.up", "jid": fourth, "user": "root", "fun_args": [],
                                         "return": web, "success": True}
    yield 0.2, "salt/netapi/hook/build/done", {"post": {"project": "site", "ok": True}, "headers": {}, "body": ""}
    yield 0.1, "myco/odd", {"text": "\x1b[2J\u202etxt.exe", "name": "東京 🗼", "ok": True}


class Terminal:
    """A program on a terminal of its own, and what is on its screen."""

    def __init__(self, command, columns, colour):
        self.screen = pyte.Screen(columns, ROWS)
        self.stream = pyte.Stream(self.screen)
        # What it leaves when it ends is not for the picture.
        self.is_over = False
        environment = {**os.environ, "TERM": "xterm-256color", "TZ": "UTC"}
        environment.pop("NO_COLOR", None)
        if not colour:
            environment["NO_COLOR"] = "1"
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
            os.execvpe(command[0], command, environment)

    def read(self, seconds):
        """Takes what comes until nothing has come for so long."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                part = os.read(self.master, 65536)
            except OSError:
                return
            if not part:
                return
            if self.is_over:
                continue
            self.stream.feed(simplified(part.decode("utf-8", "replace")))

    def shows(self, text):
        """Waits until the screen has a text."""
        until = time.monotonic() + 60
        while not any(text in line for line in self.screen.display):
            if time.monotonic() > until:
                raise SystemExit(f"no {text!r} on the screen:\n" + "\n".join(self.screen.display))
            self.read(0.2)

    def keys(self, text):
        os.write(self.master, text.encode())

    def end(self):
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        self.read(0.5)
        os.waitpid(self.pid, 0)
        os.close(self.master)


def simplified(text):
    """Colours as pyte knows them: the first sixteen by their old numbers, and faint as crossed out."""
    def sequence(match):
        numbers = match.group(1).split(";")
        out = []
        while numbers:
            number = numbers.pop(0)
            if number in ("38", "48") and numbers[:1] == ["5"]:
                index = int(numbers[1])
                numbers = numbers[2:]
                base = 30 if number == "38" else 40
                out.append(str(base + index % 8))
            else:
                out.append({"2": "9", "22": "22;29"}.get(number, number))
        return f"\x1b[{';'.join(out)}m"

    # A private parameter of the cursor's shape and of the keyboard that pyte does not read.
    text = re.sub(r"\x1b\[[<>=?][0-9;]*[umq]", "", text)
    return re.sub(r"\x1b\[([0-9;]*)m", sequence, text)


CELL, LINE, SIZE = 8.4, 18, 14


def cells_of(text):
    """How many columns a text takes."""
    return sum(max(wcwidth(c), 0) for c in text)


def panel(screen, columns, rows, name, left, top):
    """A screen as SVG, at this place."""
    colours = PALETTES[name]
    width, height = columns * CELL + 16, rows * LINE + 12
    out = [f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{height}" rx="6" fill="{colours["ground"]}" '
           f'stroke="#8888"/>']
    for row in range(rows):
        line = screen.buffer[row]
        y = top + 8 + row * LINE
        at = 0
        while at < columns:
            char = line[at]
            look = (char.fg, char.bold, char.strikethrough, char.reverse)
            text, end = "", at
            while end < columns:
                next_ = line[end]
                if (next_.fg, next_.bold, next_.strikethrough, next_.reverse) != look:
                    break
                text += next_.data  # the second cell of a wide character is empty
                end += 1
            x = left + 8 + at * CELL
            cells = end - at
            fill, ground = colours.get(char.fg, colours["text"]), None
            if char.reverse:
                fill, ground = colours["ground"], fill
            if ground:
                out.append(f'<rect x="{x:.1f}" y="{y}" width="{cells * CELL:.1f}" height="{LINE}" fill="{ground}"/>')
            style = (' font-weight="bold"' if char.bold else "") + (' opacity="0.6"' if char.strikethrough else "")
            # Spaces are where nothing is drawn: renderers join them.
            for word in re.finditer(r"\S+(?: \S+)*", text):
                shown, before = word.group(), text[:word.start()]
                word_x = x + cells_of(before) * CELL
                out.append(
                    f'<text x="{word_x:.1f}" y="{y + 14}" fill="{fill}" textLength="{cells_of(shown) * CELL:.1f}" '
                    f'lengthAdjust="spacingAndGlyphs"{style}>{html.escape(shown)}</text>')
            at = end
    return out, width, height


def picture(path, screens, columns, rows, caption):
    """Writes three screens beside or below each other."""
    parts, gap, title = [], 12, 22
    left = top = gap
    right = bottom = 0
    for name, screen in screens:
        label = f"{name}, {columns} columns"
        parts.append(f'<text x="{left}" y="{top + 14}" fill="#777" font-size="13">{label}</text>')
        drawn, width, height = panel(screen, columns, rows, name, left, top + title)
        parts += drawn
        right, bottom = max(right, left + width), max(bottom, top + title + height)
        if columns >= 160:
            top += title + height + gap
        else:
            left += width + gap
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + gap:.0f}" height="{bottom + gap:.0f}" '
            f'viewBox="0 0 {right + gap:.0f} {bottom + gap:.0f}" role="img" aria-label="{html.escape(caption)}" '
            f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{SIZE}" xml:space="preserve">')
    path.write_text("\n".join([head, *parts, "</svg>"]) + "\n")
    print(path)


def shot(command, columns, colour, wait_for, keys=""):
    terminal = Terminal(command, columns, colour)
    try:
        terminal.shows(wait_for)
        for key in keys:
            terminal.keys(key)
            terminal.read(0.4)
        terminal.read(0.4)
        return terminal.screen, terminal
    except BaseException:
        terminal.end()
        raise


def used_rows(screens):
    """How many rows have something on any of the screens."""
    last = 0
    for _, screen in screens:
        for row, line in enumerate(screen.display):
            if line.strip():
                last = max(last, row + 1)
    return last


def record(name, command, columns, wait_for, keys="", trims=False):
    screens, running = [], []
    for palette, colour in (("dark", True), ("no colour", False)):
        screen, terminal = shot(command, columns, colour, wait_for, keys)
        screens.append((palette, screen))
        running.append(terminal)
    for terminal in running:
        terminal.is_over = True
        terminal.end()
    screens = [screens[0], ("light", screens[0][1]), screens[1]]
    rows = used_rows(screens) if trims else ROWS
    picture(HERE / f"{name}-{columns}.svg", screens, columns, rows, f"{' '.join(command[1:2])} at {columns} columns")


def main():
    brine = str(Path(sys.argv[1] if len(sys.argv) > 1 else "target/debug/brine").resolve())
    with tempfile.TemporaryDirectory(prefix="b") as scratch:
        root = Path(scratch)
        sockets = root / "bus"
        bus = subprocess.Popen([brine, "bus", "--sock-dir", str(sockets), "--history", str(root / "history")],
                               stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while not (sockets / "brine.sock").exists():
                if time.monotonic() > until:
                    raise SystemExit("the bus does not start")
                time.sleep(0.1)
            where = ["--sock-dir", str(sockets), "--utc"]
            sender = subprocess.Popen([brine, "send", "--stdin", "--sock-dir", str(sockets)], stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL)
            for pause, tag, data in events():
                time.sleep(pause)
                sender.stdin.write(json.dumps({"tag": tag, "data": data}).encode() + b"\n")
                sender.stdin.flush()
            sender.stdin.close()
            sender.wait()
            for columns in WIDTHS:
                record("watch", [brine, "watch", "--last", "22", *where], columns, "myco/odd", trims=True)
                record("top", [brine, "top", *where], columns, "live")
                record("top-jobs", [brine, "top", *where], columns, "live", "2")
        finally:
            bus.terminate()
            bus.wait()


if __name__ == "__main__":
    main()
