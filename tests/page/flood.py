"""flood.py SOCKET RATE SECONDS: fires events of all kinds through the local socket; prints how many."""

import json
import socket
import sys
import time

from kinds import batches

path, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
link = socket.socket(socket.AF_UNIX)
link.connect(path)
link.sendall(
    b"POST /events?durable=false HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
# Written once and sent again and again: writing JSON must not be what limits the rate.
events = []
for batch in batches():
    events += [json.dumps({"tag": tag, "data": data}).encode() + b"\n" for tag, data in batch]
    if len(events) > 10_000:
        break
start = time.monotonic()
sent = 0
while (now := time.monotonic() - start) < seconds:
    due = int(now * rate)
    first = sent % len(events)
    some = events[first : first + min(due - sent, 2000)]
    chunk = b"".join(some)
    sent += len(some)
    if chunk:
        link.setblocking(True)
        link.sendall(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
    link.setblocking(False)
    try:
        while link.recv(1 << 18):
            pass
    except BlockingIOError:
        pass
    time.sleep(0.01)
link.setblocking(True)
link.settimeout(120)
link.sendall(b"0\r\n\r\n")
tail = b""
while not tail.endswith(b"0\r\n\r\n"):  # every event has been answered
    piece = link.recv(1 << 18)
    if not piece:
        break
    tail = (tail + piece)[-16:]
print(sent)
