"""`POST /submit`: a BEEF to topics, answered with a STEAK (BRC-22)."""

from __future__ import annotations

from functools import lru_cache

import orjson
from aiohttp import web

from api import schemas
from api.fields import demand_media
from api.limits import Bodies, Gate
from api.ports import Node
from api.replies import json_bytes
from api.route import Content, Parameter, Route, Tag, json_content
from config.errors import BadRequest, ErrorCode, NotFound
from overlay.steak import steak_to_wire
from overlay.varint import read_varint


class SubmitHandler:
    """Takes a body apart and hands it to the engine, within the gate."""

    def __init__(self, node: Node, bodies: Bodies, gate: Gate) -> None:
        self._node = node
        self._bodies = bodies
        self._gate = gate
        self._topics_limit = node.settings.limits.topics_per_submission

    async def submit(self, request: web.Request) -> web.Response:
        demand_media(request, "application/octet-stream")
        topics = self._topics(request)
        body = await self._bodies.read(request)
        try:
            envelope, off_chain_values = split_body(body, request.headers.get("x-includes-off-chain-values"))
            return await self._submit(envelope, topics, off_chain_values)
        finally:
            self._bodies.release(len(body))

    async def _submit(
        self, envelope: bytes, topics: tuple[str, ...], off_chain_values: bytes | None
    ) -> web.Response:
        async with self._gate:
            steak = await self._node.engine.submit(envelope, topics, off_chain_values)
        return json_bytes(orjson.dumps(steak_to_wire(steak)))

    def _topics(self, request: web.Request) -> tuple[str, ...]:
        header = request.headers.get("x-topics")
        if header is None:
            raise BadRequest("Missing x-topics header", ErrorCode.BAD_TOPICS_HEADER)
        topics = parse_topics(header)
        if len(topics) > self._topics_limit:
            raise BadRequest(
                f"A submission may name {self._topics_limit} topics at most", ErrorCode.BAD_TOPICS_HEADER
            )
        for topic in topics:
            if topic not in self._node.engine.topic_managers:
                raise NotFound(f"This server does not support this topic: {topic}", ErrorCode.TOPIC_UNKNOWN)
        return topics

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                "/submit",
                "submitTransaction",
                Tag.DATA_PLANE,
                "Submit a transaction to topics",
                self.submit,
                description=_DESCRIPTION,
                parameters=_PARAMETERS,
                body=Content("BEEF, or VarInt(its length), BEEF and off-chain values.", schemas.BINARY),
                replies={200: json_content("What each topic did (STEAK).", schemas.ref("STEAK"))},
                errors=(400, 408, 413, 415, 429, 503),
                when_ready=True,
                quiet=True,
            ),
        )


@lru_cache(maxsize=256)
def parse_topics(header: str) -> tuple[str, ...]:
    """The topics of an `x-topics` header, each once, in order. Both forms are in use: a JSON array of
    strings, and names with commas between them."""
    names = _json_names(header) if header.lstrip().startswith("[") else header.split(",")
    topics = tuple(dict.fromkeys(name.strip() for name in names))
    if "" in topics:
        raise BadRequest("x-topics names an empty topic", ErrorCode.BAD_TOPICS_HEADER)
    return topics


def _json_names(header: str) -> list[str]:
    try:
        names = orjson.loads(header)
    except orjson.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("x-topics must be a JSON array of strings", ErrorCode.BAD_TOPICS_HEADER)
    return names


def split_body(body: bytes, includes_off_chain_values: str | None) -> tuple[bytes, bytes | None]:
    """The BEEF and the off-chain values of a body; None when the header does not announce any."""
    if not body:
        raise BadRequest("Missing or empty BEEF body", ErrorCode.MISSING_BODY)
    if includes_off_chain_values != "true":
        return body, None
    length, start = read_varint(body, 0)
    end = start + length
    if end > len(body):
        raise BadRequest(
            f"The body announces {length} bytes of BEEF and has {len(body) - start}",
            ErrorCode.ENVELOPE_MALFORMED,
        )
    return body[start:end], body[end:]


_DESCRIPTION = """\
The body is a BEEF: V1 (BRC-62), V2 (BRC-96) or Atomic (BRC-95). The reply is sent when the admission is
durable. A transaction that was submitted before is answered with the first STEAK again."""

_PARAMETERS = (
    Parameter(
        "x-topics",
        "header",
        'Topics: a JSON array of strings, or names with commas between them: `["tm_a","tm_b"]` or `tm_a,tm_b`.',
        {"type": "string"},
        required=True,
    ),
    Parameter(
        "x-includes-off-chain-values",
        "header",
        "`true` when the body is VarInt(length of the BEEF), the BEEF, and then off-chain values.",
        {"type": "string", "enum": ["true", "false"]},
    ),
)
