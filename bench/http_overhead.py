"""What the HTTP application costs a request, over bare aiohttp: the same body through both, one process serving,
another asking over keep-alive connections.

    python -m bench.http_overhead [--requests N] [--connections C]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import time
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, ClassVar

import uvloop
from aiohttp import web

from api.server import Server
from config.settings import NodeSettings, Settings
from overlay.measure import Measures
from overlay.steak import Steak, TopicResult

BODY = os.urandom(900)
TOPICS = ("tm_metawatt_gc", "tm_metawatt_solar_pv")
REPLY = b'{"tm_metawatt_gc":{"outputsToAdmit":[0],"coinsToRetain":[],"coinsRemoved":[]}}'


class Engine:
    """Admits everything at once: what is left is HTTP."""

    topic_managers = dict.fromkeys(TOPICS)
    lookup_services: ClassVar[dict[str, Any]] = {}
    measures = Measures()

    async def submit(self, envelope: bytes, topics: Any, off_chain_values: Any = None) -> Steak:
        return {topic: TopicResult((0,)) for topic in topics}


class Node(SimpleNamespace):
    def listening(self, port: int) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def ours() -> Server:
    return Server(
        Node(
            settings=Settings(node=NodeSettings(port=0)),
            engine=Engine(),
            headers=SimpleNamespace(tip_height=1),
            identity=b"\x02" * 33,
            primary=True,
            admin_token="a",
            callback_token="c",
            started_ms=0,
            dev_chain=None,
            health_checks=(),
            solana=None,
        )
    )


async def bare(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=REPLY, content_type="application/json")


async def serve(which: str, pipe: Connection) -> None:
    if which == "ours":
        server = ours()
        await server.start()
        port = server.port
    else:
        app = web.Application()
        app.router.add_post("/submit", bare)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site.port
    pipe.send(port)
    while True:
        command = await asyncio.to_thread(pipe.recv)
        if command == "stop":
            return
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(usage.ru_utime + usage.ru_stime)


def server_process(which: str, pipe: Connection) -> None:
    uvloop.run(serve(which, pipe))


async def ask(port: int, count: int) -> None:
    """One keep-alive connection, one request after the other, parsed no further than needed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /submit HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
        f'x-topics: ["{TOPICS[0]}"]\r\nContent-Length: {len(BODY)}\r\n\r\n'
    ).encode()
    for _ in range(count):
        writer.write(head + BODY)
        headers = await reader.readuntil(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 200"), headers
        length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


def measure(which: str, requests: int, connections: int) -> tuple[float, float]:
    """Requests a second, and microseconds of the server's processor a request."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=server_process, args=(which, theirs), daemon=True)
    process.start()
    # The server's end is the server's alone, so that its death is told here.
    theirs.close()
    port = mine.recv()

    async def load(count: int) -> None:
        await asyncio.gather(*(ask(port, count // connections) for _ in range(connections)))

    uvloop.run(load(requests // 10))
    mine.send("usage")
    before = mine.recv()
    started = time.perf_counter()
    uvloop.run(load(requests))
    elapsed = time.perf_counter() - started
    mine.send("usage")
    used = mine.recv() - before
    mine.send("stop")
    process.join()
    return requests / elapsed, used / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for which in ("bare", "ours"):
            rate, cost = measure(which, options.requests, options.connections)
            print(f"{which:5} {rate:8.0f} requests/s {cost:7.1f} us of CPU a request")


if __name__ == "__main__":
    main()
