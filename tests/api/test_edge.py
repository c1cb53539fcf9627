"""What surrounds every route: CORS, request ids, unknown routes, broken HTTP, limits, the log."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import Any

import orjson
import pytest
import structlog

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Expose-Headers": "*",
    "Access-Control-Allow-Private-Network": "true",
}


def told(raw: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of a raw reply."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, orjson.loads(body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health/live", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/submit", 405),
        ("POST", "/submit", 503),
        ("POST", "/admin/reindex", 401),
        ("OPTIONS", "/submit", 200),
        ("OPTIONS", "/nowhere", 200),
        ("HEAD", "/version", 200),
    ],
)
async def test_every_reply_carries_cors_and_an_id(launch: Any, method: str, path: str, status: int) -> None:
    running = await launch(ready=False)
    reply = await running.ask(method, path)
    assert reply.status == status
    assert {name: reply.headers[name] for name in CORS} == CORS
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", reply.headers["X-Request-Id"])
    assert reply.headers["Server"] == "metawatt"


async def test_preflight(launch: Any) -> None:
    reply = await (await launch(ready=False)).ask("OPTIONS", "/submit")
    assert reply.body == b"OK"


@pytest.mark.parametrize(
    ("offered", "kept"),
    [("order-1:2.3_x", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("<script>", False)],
)
async def test_a_sane_request_id_is_kept(launch: Any, offered: str, kept: bool) -> None:
    reply = await (await launch(ready=False)).get("/version", headers={"X-Request-Id": offered})
    assert (reply.headers["X-Request-Id"] == offered) is kept


async def test_an_unknown_route_as_the_reference_says(launch: Any) -> None:
    running = await launch(ready=False)
    for path in ("/nowhere", "/submit/", "/requestSyncResponse", "/admin/bans", "/%00"):
        reply = await running.get(path)
        assert reply.status == 404
        assert reply.json() == {
            "status": "error",
            "code": "ERR_ROUTE_NOT_FOUND",
            "description": "Route not found.",
        }


async def test_a_wrong_method_tells_the_right_ones(launch: Any) -> None:
    running = await launch(ready=False)
    reply = await running.get("/submit")
    assert (reply.status, reply.json()["code"]) == (405, "ERR_METHOD_NOT_ALLOWED")
    assert reply.headers["Allow"] == "OPTIONS, POST"
    assert (await running.post("/version", {})).headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_broken_http_is_answered_in_json(launch: Any, raw_http: Any, sent: bytes) -> None:
    running = await launch(ready=False)
    status, headers, body = told(await raw_http(running.server.port, [sent]))
    assert status == 400
    assert (body["status"], body["code"]) == ("error", "ERR_BAD_REQUEST")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Traceback" not in body["message"]


async def test_a_body_that_is_announced_too_large_is_refused_unread(running: Any, raw_http: Any) -> None:
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nContent-Length: 999999999\r\n\r\n"
    status, headers, body = told(await raw_http(running.server.port, [head]))
    assert (status, body["code"], headers["Connection"]) == (413, "ERR_BODY_TOO_LARGE", "close")


async def test_a_chunked_body_is_cut_at_the_limit(launch: Any, raw_http: Any) -> None:
    running = await launch(limits={"body_bytes": 4096})
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    status, _, body = told(await raw_http(running.server.port, [head, *[chunk] * 5, b"0\r\n\r\n"]))
    assert (status, body["code"]) == (413, "ERR_BODY_TOO_LARGE")


async def test_a_compressed_body_is_measured_as_it_unfolds(launch: Any) -> None:
    running = await launch(limits={"body_bytes": 4096})
    bomb = gzip.compress(b"\0" * 2_000_000)
    assert len(bomb) < 4096
    reply = await running.submit(bomb, Content_Encoding="gzip")
    assert (reply.status, reply.json()["code"]) == (413, "ERR_BODY_TOO_LARGE")


async def test_a_body_with_broken_framing_is_given_up(launch: Any, raw_http: Any) -> None:
    running = await launch(limits={"body_timeout_secs": 0.4})
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, headers, body = told(await raw_http(running.server.port, [head, b"zz\r\n"], pause_secs=0.05))
    assert (status, body["code"], headers["Connection"]) == (408, "ERR_BODY_TIMEOUT", "close")


async def test_a_body_that_is_not_compressed_as_it_says(running: Any) -> None:
    reply = await running.submit(b"this is no gzip at all", Content_Encoding="gzip")
    assert (reply.status, reply.json()["code"]) == (400, "ERR_BAD_REQUEST")


async def test_a_lost_connection_of_our_own_is_a_fault(running: Any) -> None:
    async def stats() -> Any:
        raise ConnectionResetError("the database went away")

    running.node.engine.stats = stats
    with structlog.testing.capture_logs() as logs:
        reply = await running.admin("GET", "/admin/stats")
    assert (reply.status, reply.json()["code"]) == (500, "ERR_INTERNAL")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["request failed"]


@pytest.mark.parametrize("pieces", [1, 5])
async def test_a_slow_body_is_given_up(launch: Any, raw_http: Any, pieces: int) -> None:
    running = await launch(limits={"body_timeout_secs": 0.4})
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nContent-Length: 1000\r\n\r\n"
    reply = await raw_http(running.server.port, [head, *[b"x"] * pieces], pause_secs=0.15)
    status, headers, body = told(reply)
    assert (status, body["code"], headers["Connection"]) == (408, "ERR_BODY_TIMEOUT", "close")


async def test_headers_that_never_end_are_given_up(launch: Any, raw_http: Any) -> None:
    running = await launch(ready=False, limits={"keepalive_secs": 0.3})
    assert await raw_http(running.server.port, [b"GET / HTTP/1.1\r\nX: "]) == b""


async def test_an_idle_connection_is_closed(launch: Any, raw_http: Any) -> None:
    running = await launch(ready=False, limits={"keepalive_secs": 0.3})
    reply = await raw_http(running.server.port, [b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
    assert reply.startswith(b"HTTP/1.1 200")


async def test_bodies_are_bounded_together(launch: Any, raw_http: Any) -> None:
    running = await launch(limits={"body_bytes": 65536, "bodies_bytes": 65536})
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nContent-Length: 60000\r\n\r\n"
    holding = asyncio.create_task(raw_http(running.server.port, [head, b"x" * 50_000]))
    while "metawatt_http_body_bytes 50000.0" not in (await running.get("/metrics")).body.decode():
        await asyncio.sleep(0.01)
    reply = await running.submit(b"x" * 30_000)
    assert (reply.status, reply.json()["code"]) == (429, "ERR_OVERLOADED")
    assert "Retry-After" in reply.headers
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    while "metawatt_http_body_bytes 0.0" not in (await running.get("/metrics")).body.decode():
        await asyncio.sleep(0.01)


async def test_large_bodies_count_in_the_same_total(launch: Any, raw_http: Any) -> None:
    running = await launch(limits={"body_bytes": 65536, "bodies_bytes": 65536})
    head = b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nContent-Length: 60000\r\n\r\n"
    holding = asyncio.create_task(raw_http(running.server.port, [head, b"x" * 50_000]))
    while "metawatt_http_body_bytes 50000.0" not in (await running.get("/metrics")).body.decode():
        await asyncio.sleep(0.01)
    table = {"headers": {"Authorization": f"Bearer {running.node.admin_token}", "Content-Type": "text/csv"}}
    for size, refusal in ((30_000, (429, "ERR_OVERLOADED")), (70_000, (413, "ERR_BODY_TOO_LARGE"))):
        reply = await running.ask("POST", "/certificates/import", data=b"x" * size, **table)
        assert (reply.status, reply.json()["code"]) == refusal
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_a_client_that_leaves_within_its_body_is_counted_quietly(running: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(
            b"POST /submit HTTP/1.1\r\nHost: x\r\nx-topics: tm_metawatt_gc\r\nContent-Length: 1000\r\n\r\nx"
        )
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        while "metawatt_http_disconnects_total 1.0" not in (await running.get("/metrics")).body.decode():
            await asyncio.sleep(0.01)
    assert not [line for line in logs if line["log_level"] in ("warning", "error")]


async def test_an_address_that_asks_too_often(launch: Any) -> None:
    running = await launch(ready=False, limits={"requests_per_minute": 60, "burst_requests": 3})
    replies = [await running.get("/version") for _ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert replies[-1].json()["code"] == "ERR_RATE_LIMITED"
    assert replies[-1].headers["Retry-After"] == "1"
    assert (await running.get("/health/live")).status == 200


async def test_a_fault_is_logged_and_not_told(running: Any) -> None:
    class Broken:
        metadata = property(lambda self: 1 / 0)

    running.node.engine.topic_managers["tm_broken"] = Broken()
    with structlog.testing.capture_logs() as logs:
        reply = await running.get("/listTopicManagers", headers={"X-Request-Id": "find-me"})
    assert reply.status == 500
    assert reply.json() == {
        "status": "error",
        "message": "Unexpected error",
        "code": "ERR_INTERNAL",
        "requestId": "find-me",
    }
    assert [line["request_id"] for line in logs if line["log_level"] == "error"] == ["find-me"]


async def test_secrets_do_not_reach_the_log(launch: Any) -> None:
    running = await launch(log={"level": "debug"})
    with structlog.testing.capture_logs() as logs:
        await running.admin("GET", "/admin/stats")
        await running.get("/admin/stats?token=x", headers={"Authorization": "Bearer wrong-secret"})
    lines = [line for line in logs if line["event"] == "request" and line["path"] == "/admin/stats"]
    assert [line["status"] for line in lines] == [200, 403]
    assert running.node.admin_token not in str(logs)
    assert "wrong-secret" not in str(logs)
    assert "token=x" not in str(logs)
