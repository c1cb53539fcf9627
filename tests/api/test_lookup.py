"""`POST /lookup` over a socket: both forms of the answer, its bounds, and its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson
import pytest

from api.answer import binary_chunks, json_chunks
from config.errors import BadRequest, ErrorCode
from overlay.envelope import parse_envelope
from overlay.lookup_service import Formula, Found, Freeform, Question
from overlay.topic import Metadata
from overlay.varint import read_varint


@dataclass
class Line:
    txid: bytes
    output_index: int
    context: bytes | None = None


@dataclass
class Answer:
    outputs: list[Line] = field(default_factory=list)
    cursor: str | None = None

    def beef(self, output: Line) -> bytes:
        return output.txid * 3

    def aggregated(self) -> Iterator[bytes]:
        yield bytes.fromhex("0200beef")
        yield b"\x00\x00"


LINES = [Line(bytes(range(32)), 0), Line(bytes(32), 300, b"{}"), Line(b"\xff" * 32, 70_000, b"")]


async def test_the_json_form_to_the_byte() -> None:
    told = orjson.loads(b"".join(await json_chunks(Answer(LINES[:2], "next"), 10**6)))
    assert told == {
        "type": "output-list",
        "outputs": [
            {"beef": list(LINES[0].txid * 3), "outputIndex": 0},
            {"beef": [0] * 96, "outputIndex": 300, "context": [123, 125]},
        ],
        "cursor": "next",
    }


async def test_the_binary_form_to_the_byte() -> None:
    body = b"".join(await binary_chunks(Answer(LINES), 10**6))
    assert body == (
        b"\x03"
        + bytes(reversed(range(32)))
        + b"\x00\x00"
        + bytes(32)
        + b"\xfd\x2c\x01"
        + b"\x02{}"
        + b"\xff" * 32
        + b"\xfe\x70\x11\x01\x00"
        + b"\x00"
        + bytes.fromhex("0200beef0000")
    )


async def test_no_outputs() -> None:
    assert b"".join(await json_chunks(Answer(), 100)) == b'{"type":"output-list","outputs":[]}'
    assert b"".join(await binary_chunks(Answer(), 100)) == bytes.fromhex("000200beef0000")


@pytest.mark.parametrize("form", [json_chunks, binary_chunks])
async def test_an_answer_above_the_limit_is_refused(form: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        await form(Answer(LINES * 10), 500)
    assert refused.value.code is ErrorCode.RESPONSE_TOO_LARGE


def read_outpoints(body: bytes) -> tuple[list[tuple[str, int, bytes]], bytes]:
    """As the TypeScript client reads it: txids as they stand, then the BEEF."""
    number, position = read_varint(body, 0)
    outpoints = []
    for _ in range(number):
        txid_hex, position = body[position : position + 32].hex(), position + 32
        index, position = read_varint(body, position)
        length, position = read_varint(body, position)
        outpoints.append((txid_hex, index, body[position : position + length]))
        position += length
    return outpoints, body[position:]


async def test_a_certificate_is_found_in_both_forms(running: Any) -> None:
    certificates = await running.certificates(3)
    for certificate in certificates:
        assert (await running.submit(certificate.beef)).status == 200
    listed = (await running.lookup({})).json()
    assert listed["type"] == "output-list"
    assert {parse_envelope(bytes(line["beef"])).subject.txid_hex for line in listed["outputs"]} == {
        certificate.txid_hex for certificate in certificates
    }
    reply = await running.lookup({}, X_Aggregation="yes")
    assert reply.headers["Content-Type"] == "application/octet-stream"
    outpoints, beef = read_outpoints(reply.body)
    assert {(txid_hex, index) for txid_hex, index, _ in outpoints} == {
        (certificate.txid_hex, 0) for certificate in certificates
    }
    assert beef.startswith(bytes.fromhex("0200beef"))
    assert {certificate.transaction.txid for certificate in certificates} <= set(parse_envelope(beef).members)


async def test_pages_by_cursor(running: Any) -> None:
    for certificate in await running.certificates(3):
        await running.submit(certificate.beef)
    first = (await running.lookup({"limit": 2})).json()
    rest = (await running.lookup({"limit": 2, "cursor": first["cursor"]})).json()
    assert (len(first["outputs"]), len(rest["outputs"])) == (2, 1)
    assert "cursor" not in rest


async def test_nothing_found_in_binary(running: Any) -> None:
    reply = await running.lookup({}, x_aggregation="yes")
    assert reply.body == bytes.fromhex("000200beef0000")


INVALID = 'Invalid request: body must contain "service" (string) and "query" fields'


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{}", 400, "ERR_BAD_REQUEST", INVALID),
        (b"[]", 400, "ERR_BAD_REQUEST", INVALID),
        (b"null", 400, "ERR_BAD_REQUEST", INVALID),
        (b'{"service":"ls_metawatt"}', 400, "ERR_BAD_REQUEST", INVALID),
        (b'{"service":1,"query":{}}', 400, "ERR_BAD_REQUEST", INVALID),
        (
            b'{"service":"ls_x","query":{}}',
            400,
            "ERR_LOOKUP_SERVICE_UNKNOWN",
            "Lookup service not found for provider: ls_x ",
        ),
        (b'{"service":"ls_metawatt","query":{"nonsense":1}}', 400, "ERR_BAD_QUERY", None),
        (b'{"service":"ls_metawatt","query":{"cursor":"x"}}', 400, "ERR_BAD_CURSOR", None),
        (b'{"service":', 400, "ERR_BAD_JSON", None),
        (b"\xff\xfe", 400, "ERR_BAD_JSON", None),
        (b"[" * 100_000, 400, "ERR_BAD_JSON", None),
        (b"", 400, "ERR_BAD_JSON", None),
        (b" " * (1024 * 1024 + 1), 413, "ERR_BODY_TOO_LARGE", None),
    ],
)
async def test_refusals(running: Any, body: bytes, status: int, code: str, message: str | None) -> None:
    sent = BytesIO(body)
    reply = await running.ask("POST", "/lookup", data=sent, headers={"Content-Type": "application/json"})
    assert reply.status == status
    assert reply.json()["code"] == code
    if message is not None:
        assert reply.json()["message"] == message


async def test_another_media_type(running: Any) -> None:
    reply = await running.ask("POST", "/lookup", data=b"{}", headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.json()["code"]) == (415, "ERR_UNSUPPORTED_MEDIA_TYPE")


class Service:
    """A lookup service that answers what it is told to."""

    name = "ls_given"
    metadata = Metadata("ls_given", "Given")
    documentation = "# ls_given"
    collections = ()

    def __init__(self, answer: Formula | Freeform) -> None:
        self.answer = answer

    async def lookup(self, question: Question, _reader: Any) -> Formula | Freeform:
        return self.answer


async def test_a_freeform_answer(running: Any) -> None:
    running.node.engine.lookup_services["ls_given"] = Service(Freeform({"total": 3}))
    for headers in ({}, {"x-aggregation": "yes"}):
        reply = await running.post("/lookup", {"service": "ls_given", "query": None}, headers=headers)
        assert reply.json() == {"type": "freeform", "outputs": [], "result": {"total": 3}}


async def big_answer(running: Any, lines: int) -> int:
    """Makes `ls_given` answer one certificate many times; returns the size of the JSON answer."""
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    found = [Found(certificate.transaction.txid, 0)] * lines
    running.node.engine.lookup_services["ls_given"] = Service(Formula(found))
    return lines * len(certificate.beef) * 2


async def test_a_large_answer_is_streamed_whole(running: Any) -> None:
    at_least = await big_answer(running, 600)
    reply = await running.post("/lookup", {"service": "ls_given", "query": None})
    assert int(reply.headers["Content-Length"]) == len(reply.body) > at_least > 10**6
    assert len(reply.json()["outputs"]) == 600
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["X-Request-Id"]


async def test_an_answer_above_the_limit_is_refused_before_it_begins(launch: Any) -> None:
    running = await launch(limits={"response_bytes": 20_000})
    await big_answer(running, 20)
    reply = await running.post("/lookup", {"service": "ls_given", "query": None})
    assert (reply.status, reply.json()["code"]) == (413, "ERR_RESPONSE_TOO_LARGE")


async def test_a_reader_that_does_not_read_is_cut_off(launch: Any) -> None:
    running = await launch(limits={"body_timeout_secs": 0.3})
    await big_answer(running, 3000)
    body = b'{"service":"ls_given","query":null}'
    head = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, limit=1024)
    writer.write(head + body)
    received = 0
    await asyncio.sleep(1.5)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        while chunk := await reader.read(65536):
            received += len(chunk)
        raise asyncio.IncompleteReadError(b"", None)
    writer.close()
    assert (await running.get("/health/live")).status == 200
    assert "metawatt_http_disconnects_total 1.0" in (await running.get("/metrics")).body.decode()
