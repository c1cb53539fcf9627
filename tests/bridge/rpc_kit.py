"""Asking an embedded cluster's JSON-RPC as a client does, without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
import orjson
import pytest

from bridge.cluster.rpc.service import Service


@dataclass
class Asker:
    """Calls by name; `service` answers without HTTP between."""

    service: Service
    _numbers: Any = field(default_factory=lambda: count(1))

    async def reply(self, method: str, *params: Any) -> dict[str, Any]:
        """The whole reply."""
        asked = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        told: dict[str, Any] = orjson.loads(await self.service.answer(orjson.dumps(asked)))
        assert told["id"] == asked["id"]
        return told

    async def ask(self, method: str, *params: Any) -> Any:
        """The result of a call that must succeed."""
        told = await self.reply(method, *params)
        assert "error" not in told, (method, told["error"])
        return told["result"]

    async def value(self, method: str, *params: Any) -> Any:
        """The value of a result that names its slot."""
        result = await self.ask(method, *params)
        assert result["context"]["slot"] >= 0
        return result["value"]

    async def refused(self, method: str, *params: Any) -> dict[str, Any]:
        """The error of a call that must fail."""
        told = await self.reply(method, *params)
        assert "result" not in told, (method, told["result"])
        error: dict[str, Any] = told["error"]
        return error


@dataclass
class Hearer:
    """A WebSocket client: replies by their id, notices in their order."""

    socket: aiohttp.ClientWebSocketResponse
    notices: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    async def call(self, method: str, *params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self.socket.send_json({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while True:
            message = await self.read()
            if message.get("id") == number:
                return message
            self.notices.append(message)

    async def subscribe(self, method: str, *params: Any) -> int:
        told = await self.call(method, *params)
        assert isinstance(told.get("result"), int), told
        return int(told["result"])

    async def hear(self) -> dict[str, Any]:
        """The next notice."""
        notice = self.notices.pop(0) if self.notices else await self.read()
        params: dict[str, Any] = notice["params"]
        return params

    async def silent(self) -> None:
        """Nothing was told until now: whatever was, stands before the reply to another call."""
        error = (await self.call("rootUnsubscribe", 0))["error"]
        assert error["code"] == -32602
        if self.notices:
            pytest.fail(f"was told {self.notices}")

    async def read(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        read: dict[str, Any] = orjson.loads(message.data)
        return read
