"""The embedded cluster inside the node, on the dev network: `/dev/solana` of the node's own port."""

from __future__ import annotations

from typing import Final

from api.limits import Bodies
from api.route import Content, Route, Tag, json_content
from api.solana.handler import SolanaHandler
from bridge.cluster.rpc.service import Service

PATH: Final = "/dev/solana"
_CALL: Final = {
    "type": "object",
    "required": ["jsonrpc", "id", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer", "null"]},
        "method": {"type": "string"},
        "params": {"type": "array"},
    },
}


class DevSolanaHandler:
    """Mounts a service; whoever mounts it starts and stops the service."""

    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._handler = SolanaHandler(service, bodies)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                PATH,
                "devSolana",
                Tag.DEV,
                "Solana's JSON-RPC, of the embedded cluster",
                self._handler.call,
                description="Answers as a validator does, errors included: 200 with `result` or `error`.",
                body=json_content(
                    "A call, or a batch of them.", {"oneOf": [_CALL, {"type": "array", "items": _CALL}]}
                ),
                replies={200: json_content("As JSON-RPC answers.", {})},
                quiet=True,
            ),
            Route(
                "GET",
                PATH,
                "devSolanaNotices",
                Tag.DEV,
                "Solana's WebSocket, of the embedded cluster",
                self._handler.listen,
                replies={101: Content("The connection is a WebSocket from here on.", {})},
                errors=(405, 503),
                quiet=True,
                stays_open=True,
            ),
        )
