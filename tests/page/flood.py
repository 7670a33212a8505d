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
events = batches()
start = time.monotonic()
sent = 0
while (now := time.monotonic() - start) < seconds:
    due = int(now * rate)
    chunk = bytearray()
    while sent < due and len(chunk) < 1 << 18:
        for tag, data in next(events):
            chunk += json.dumps({"tag": tag, "data": data}).encode() + b"\n"
            sent += 1
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
link.settimeout(20)
link.sendall(b"0\r\n\r\n")
tail = b""
while not tail.endswith(b"0\r\n\r\n"):  # every event has been answered
    piece = link.recv(1 << 18)
    if not piece:
        break
    tail = (tail + piece)[-16:]
print(sent)
