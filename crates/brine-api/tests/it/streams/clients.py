"""Reads /events and /ws with the libraries that people use, and prints what each handed out.

Called with URL and token. Prints "open NAME" once a client hears; ends after the event with the tag "end".
Each line of the result: NAME, then a list of [event name, id, tag] as JSON.
"""

import asyncio
import json
import sys
import threading

import aiohttp
import httpx
import httpx_sse
import requests
import sseclient
import websockets
from aiohttp_sse_client2 import client as aiohttp_sse

URL, TOKEN = sys.argv[1:]
HEADERS = {"X-Auth-Token": TOKEN}
SOON = 120  # seconds; as long as the test waits
LOCK = threading.Lock()


def say(*words):
    with LOCK:
        print(*words, flush=True)


class Seen:
    """What one client handed out."""

    def __init__(self, name):
        self.name = name
        self.events = []

    def take(self, event, identity, data):
        """Whether there is more to come."""
        tag = json.loads(data)["tag"]
        if tag == "begin":
            say("open", self.name)
            return True
        self.events.append([event, identity, tag])
        if tag == "end":
            say(self.name, json.dumps(self.events))
        return tag != "end"


def with_sseclient():
    seen = Seen("sseclient")
    answer = requests.get(URL + "/events", headers=HEADERS, stream=True, timeout=SOON)
    for event in sseclient.SSEClient(answer).events():
        if not seen.take(event.event, event.id, event.data):
            break


def with_httpx():
    seen = Seen("httpx-sse")
    with httpx.Client(timeout=SOON) as client:
        with httpx_sse.connect_sse(client, "GET", URL + "/events", headers=HEADERS) as source:
            for event in source.iter_sse():
                if not seen.take(event.event, event.id, event.data):
                    break


def with_lines():
    """As salt-api-go and ruby-salt-api read: lines that begin with `data: `."""
    seen = Seen("lines")
    answer = requests.get(URL + "/events", headers=HEADERS, stream=True, timeout=SOON)
    for line in answer.iter_lines():
        if line.startswith(b"data: ") and not seen.take("", "", line[6:]):
            break


async def with_aiohttp():
    seen = Seen("aiohttp-sse-client")
    timeout = aiohttp.ClientTimeout(sock_read=SOON)
    async with aiohttp_sse.EventSource(URL + "/events", headers=HEADERS, timeout=timeout) as source:
        async for event in source:
            # It hands out comments as events without data, and has no name for those without one.
            name = event.type or "message"
            if event.data and not seen.take(name, event.last_event_id, event.data):
                break


async def with_websockets():
    seen = Seen("websockets")
    async with websockets.connect(URL.replace("http", "ws", 1) + "/ws/" + TOKEN) as socket:
        await socket.send("websocket client ready")
        async for message in socket:
            if message == "server received message":
                continue
            assert message.startswith("data: ") and message.endswith("\n\n"), message
            if not seen.take("", "", message[6:]):
                break


THREADS = [with_sseclient, with_httpx, with_lines]
for coroutine in (with_aiohttp, with_websockets):
    THREADS.append(lambda coroutine=coroutine: asyncio.run(coroutine()))
THREADS = [threading.Thread(target=target) for target in THREADS]
for thread in THREADS:
    thread.start()
for thread in THREADS:
    thread.join()
