"""The dev chain over HTTP, on the dev network only: its own controls, ARC's API and the headers service's.

The controls answer like every route of this node. ARC's and the headers service's answer as those services
do, errors included, because the clients that talk to them are the ones for real networks.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from api.dev_arc import DevArcHandler
from api.dev_headers import DevHeadersHandler
from api.fields import read_object
from api.limits import Bodies
from api.replies import json_reply
from api.route import Handler, Route, Schema, Tag, json_content
from config.errors import BadRequest
from overlay.devchain import DevChain

_OBJECT: Final[Schema] = {"type": "object", "additionalProperties": True}
_MAX_VALUE: Final = 2**63 - 1


class DevChainHandler:
    """Everything under `/dev`."""

    def __init__(self, chain: DevChain, bodies: Bodies) -> None:
        self._controls = ControlHandler(chain, bodies)
        self._arc = DevArcHandler(chain, bodies)
        self._headers = DevHeadersHandler(chain, bodies)

    def routes(self) -> tuple[Route, ...]:
        return (*self._controls.routes(), *self._arc.routes(), *self._headers.routes())


class ControlHandler:
    """The faucet, the miner and reorganisations."""

    def __init__(self, chain: DevChain, bodies: Bodies) -> None:
        self._chain = chain
        self._bodies = bodies

    async def faucet(self, request: web.Request) -> web.Response:
        body = await read_object(request, self._bodies)
        script = _hex_field(body, "lockingScript")
        satoshis = _number_field(body, "satoshis", None)
        payment = await self._chain.faucet(script, satoshis, _number_field(body, "count", 1))
        return json_reply(
            {"txid": payment.txid[::-1].hex(), "vouts": list(payment.vouts), "beef": payment.beef.hex()}
        )

    async def mine(self, request: web.Request) -> web.Response:
        body = await read_object(request, self._bodies)
        headers = await self._chain.mine(_number_field(body, "blocks", 1))
        hashes = [header.hash[::-1].hex() for header in headers]
        return json_reply({"height": self._chain.tip.height, "hashes": hashes})

    async def reorg(self, request: web.Request) -> web.Response:
        body = await read_object(request, self._bodies)
        drop = body.get("drop", False)
        if not isinstance(drop, bool):
            raise BadRequest("drop must be true or false")
        result = await self._chain.reorg(_number_field(body, "depth", None), drop)
        return json_reply(
            {
                "forkHeight": result.fork_height,
                "height": self._chain.tip.height,
                "replaced": [digest[::-1].hex() for digest in result.replaced],
                "hashes": [header.hash[::-1].hex() for header in result.headers],
                "returned": [txid[::-1].hex() for txid in result.returned],
                "lost": [txid[::-1].hex() for txid in result.lost],
            }
        )

    def routes(self) -> tuple[Route, ...]:
        positive = {"type": "integer", "minimum": 1}
        hex_text = {"type": "string", "pattern": "^([0-9a-fA-F]{2})+$"}
        return (
            _control(
                "faucet",
                "Pay coins to a locking script, mined at once",
                self.faucet,
                {"lockingScript": hex_text, "satoshis": positive, "count": positive},
                ["lockingScript", "satoshis"],
                errors=(503,),
            ),
            _control("mine", "Mine blocks", self.mine, {"blocks": positive}, []),
            _control(
                "reorg",
                "Replace the last blocks by one more of new ones",
                self.reorg,
                {"depth": positive, "drop": {"type": "boolean"}},
                ["depth"],
            ),
        )


def _number_field(body: dict[str, Any], name: str, default: int | None) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_VALUE:
        raise BadRequest(f"{name} must be a positive integer")
    return value


def _hex_field(body: dict[str, Any], name: str) -> bytes:
    value = body.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be hex digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise BadRequest(f"{name} must be hex digits") from None


def _control(
    name: str,
    summary: str,
    handler: Handler,
    properties: dict[str, Any],
    required: list[str],
    errors: tuple[int, ...] = (),
) -> Route:
    shape = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    return Route(
        "POST",
        f"/dev/{name}",
        f"dev{name.capitalize()}",
        Tag.DEV,
        summary,
        handler,
        body=json_content("What is wanted.", shape),
        replies={200: json_content("Done.", _OBJECT)},
        errors=(400, 408, 413, 415, *errors),
        when_ready=True,
    )
