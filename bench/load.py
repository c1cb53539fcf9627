"""The load generator: HTTP/1.1 requests over a fixed number of kept connections, on the loopback only.

    python -m bench.load submit URL CORPUS PART [--skip N] [--most N] [--seconds S] [--rate R]
    python -m bench.load lookup URL [--seconds S] [--rate R] [--limit 20]

Without `--rate` the loop is closed: each connection sends its next request when it has its answer. With it
the loop is open: requests fall due at that rate whether or not answers come, and a latency counts from
when the request was due, not from when a connection was free to take it. The answer is one JSON object.

Requests are built before the clock starts, and one thread of plain epoll sends them, so that the generator
costs a small part of what it measures.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from bench.bundles import COUNTRIES, SOURCES
from bench.corpus import TOPICS, Corpus

MAX_SECONDS = 600.0
DRAIN_SECS = 10.0
OK = (200, 201)
_RECEIVE_BYTES = 1 << 18


@dataclass(slots=True)
class Outcome:
    """What came of a run. Latencies are in seconds."""

    seconds: float = 0.0
    sent: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    admitted: int = 0
    answer_bytes: int = 0
    first_error: str = ""

    @property
    def ok(self) -> int:
        """Answers of status 200 and 201."""
        return sum(self.statuses[status] for status in OK)

    @property
    def rate(self) -> float:
        """These, a second."""
        return self.ok / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "rate": round(self.rate, 1),
            "seconds": round(self.seconds, 3),
            "sent": self.sent,
            "ok": self.ok,
            "admitted": self.admitted,
            "errors": {str(status): n for status, n in self.statuses.items() if status not in OK},
            "broken": self.broken,
            "first_error": self.first_error,
            "answer_bytes": self.answer_bytes,
            **percentiles_ms(self.latencies),
        }


def percentiles_ms(latencies: Iterable[float]) -> dict[str, float]:
    """p50, p90, p99 and max in milliseconds."""
    ordered = sorted(latencies)
    if not ordered:
        return {}
    marks = {"p50_ms": 0.50, "p90_ms": 0.90, "p99_ms": 0.99, "max_ms": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[round(last * mark)] * 1000, 3) for name, mark in marks.items()}


class Connection:
    """One kept connection, with at most one request under way."""

    __slots__ = ("buffer", "due", "end", "socket", "unsent")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = bytearray()
        self.end = 0
        self.due = 0.0
        self.unsent: memoryview | None = None

    def send(self, request: bytes, due: float) -> bool:
        """Start a request; False when some of it is left for `flush`."""
        self.due = due
        sent = self.socket.send(request)
        if sent == len(request):
            return True
        self.unsent = memoryview(request)[sent:]
        return False

    def flush(self) -> bool:
        """Send more; True when all is sent."""
        assert self.unsent is not None
        self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if len(self.unsent):
            return False
        self.unsent = None
        return True

    def receive(self) -> bytes | None:
        """The whole answer when it is there; ConnectionError when the server hung up."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data
        if not self.end:
            self.end = answer_end(self.buffer)
        if not self.end or len(self.buffer) < self.end:
            return None
        answer = bytes(self.buffer)
        self.buffer.clear()
        self.end = 0
        return answer


def answer_end(buffer: bytearray) -> int:
    """Where the answer that starts at 0 ends; 0 when that cannot be told yet."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return 0
    head = bytes(buffer[:head_end]).lower()
    start = head.find(b"\r\ncontent-length:")
    if start >= 0:
        line = head[start + 17 :].split(b"\r\n", 1)[0]
        return head_end + 4 + int(line)
    return _chunked_end(buffer, head_end + 4)


def _chunked_end(buffer: bytearray, position: int) -> int:
    while True:
        line_end = buffer.find(b"\r\n", position)
        if line_end < 0:
            return 0
        size = int(bytes(buffer[position:line_end]).split(b";")[0], 16)
        position = line_end + 2 + size + 2
        if position > len(buffer):
            return 0
        if size == 0:
            return position


class Load:
    """Drives one server with prepared requests until they or the time run out."""

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        if not address[0].startswith("127."):
            raise ValueError("load is for the loopback only")
        self._address = address
        self._outcome = Outcome()
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque(self._connect() for _ in range(connections))

    def _connect(self) -> Connection:
        connection = Connection(self._address)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def closed(self, requests: Iterator[bytes], seconds: float) -> Outcome:
        """Keep every connection busy for `seconds`."""
        started = perf_counter()
        deadline = started + seconds
        while perf_counter() < deadline:
            while self._idle and (request := next(requests, None)) is not None:
                self._start(request, perf_counter())
            if len(self._idle) == len(self._connections):
                break
            self._poll(0.1)
        return self._finish(started)

    def open(self, requests: Iterator[bytes], seconds: float, rate: float) -> Outcome:
        """Let requests fall due at `rate` a second for `seconds`."""
        started = perf_counter()
        waiting: deque[float] = deque()
        issued, most = 0, int(seconds * rate)
        while issued < most or waiting:
            now = perf_counter()
            if now > started + seconds + DRAIN_SECS:
                break
            while issued < most and started + issued / rate <= now:
                waiting.append(started + issued / rate)
                issued += 1
            while waiting and self._idle:
                request = next(requests, None)
                if request is None:
                    return self._finish(started)
                self._start(request, waiting.popleft())
            self._poll(max(0.0, started + issued / rate - perf_counter()) if issued < most else 0.05)
        return self._finish(started)

    def _start(self, request: bytes, due: float) -> None:
        connection = self._idle.popleft()
        self._outcome.sent += 1
        try:
            whole = connection.send(request, due)
        except OSError:
            self._replace(connection)
            return
        if not whole:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _poll(self, timeout: float) -> None:
        if timeout < 0.002:  # epoll itself counts in whole milliseconds
            select.select([self._epoll.fileno()], [], [], timeout)
            timeout = 0
        for number, event in self._epoll.poll(timeout):
            connection = self._connections.get(number)
            if connection is None:
                continue
            try:
                self._on_ready(connection, event)
            except OSError:
                self._replace(connection)

    def _on_ready(self, connection: Connection, event: int) -> None:
        if event & select.EPOLLOUT and connection.flush():
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)
        if event & ~select.EPOLLOUT:
            answer = connection.receive()
            if answer is not None:
                self._record(connection, answer)

    def _record(self, connection: Connection, answer: bytes) -> None:
        outcome = self._outcome
        outcome.latencies.append(perf_counter() - connection.due)
        status = int(answer[9:12])
        outcome.statuses[status] += 1
        outcome.answer_bytes += len(answer)
        outcome.admitted += b'"outputsToAdmit":[0' in answer
        if status not in OK and not outcome.first_error:
            outcome.first_error = answer.split(b"\r\n\r\n", 1)[-1][:300].decode(errors="replace")
        self._idle.append(connection)

    def _replace(self, connection: Connection) -> None:
        busy = connection not in self._idle
        if not busy:
            self._idle.remove(connection)
        self._outcome.broken += busy
        self._epoll.unregister(connection.socket.fileno())
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._idle.append(self._connect())

    def _finish(self, started: float) -> Outcome:
        """Let answers under way come in; they count, and so does the time that they take."""
        limit = perf_counter() + DRAIN_SECS
        while len(self._idle) < len(self._connections) and perf_counter() < limit:
            self._poll(0.05)
        self._outcome.seconds = perf_counter() - started
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()
        return self._outcome


def http_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole request, ready to send."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def submit_request(beef: bytes, topics: Iterable[str] = TOPICS) -> bytes:
    headers = {"Content-Type": "application/octet-stream", "X-Topics": json.dumps(list(topics))}
    return http_request("/submit", beef, headers)


def lookup_requests(limit: int) -> Iterator[bytes]:
    """The same question about every source and country in turn, without end."""
    headers = {"Content-Type": "application/json", "X-Aggregation": "yes"}
    queries = [
        {"energy_source": source, "country": country, "limit": limit} for source in SOURCES for country in COUNTRIES
    ]
    bodies = [json.dumps({"service": "ls_metawatt", "query": query}).encode() for query in queries]
    return cycle([http_request("/lookup", body, headers) for body in bodies])


def loopback(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _prepare(options: argparse.Namespace) -> Iterator[bytes]:
    if options.what == "lookup":
        return islice(lookup_requests(options.limit), options.most)
    beefs = Corpus(options.corpus).submissions(options.part)
    wanted = islice(beefs, options.skip, options.skip + options.most)
    return iter([submit_request(beef) for beef in wanted])


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    submit, lookup = what.add_parser("submit"), what.add_parser("lookup")
    for command in (submit, lookup):
        command.add_argument("url")
        command.add_argument("--connections", type=int, default=16)
        command.add_argument("--seconds", type=float, default=4.0)
        command.add_argument("--rate", type=float, help="requests a second, whether or not answers come")
        command.add_argument("--most", type=int, default=100_000, help="requests at most")
    submit.add_argument("corpus", type=Path)
    submit.add_argument("part")
    submit.add_argument("--skip", type=int, default=0, help="submissions of the part to pass over")
    lookup.add_argument("--limit", type=int, default=20, help="outputs a question asks for")
    return parser.parse_args()


def main() -> None:
    options = _parse_options()
    requests = _prepare(options)
    seconds = min(options.seconds, MAX_SECONDS)
    load = Load(loopback(options.url), options.connections)
    gc.collect()
    gc.freeze()
    gc.disable()
    outcome = load.open(requests, seconds, options.rate) if options.rate else load.closed(requests, seconds)
    print(json.dumps(outcome.to_json()))


if __name__ == "__main__":
    main()
