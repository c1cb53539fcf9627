"""One listener's WebSocket: notices out, wishes in, and its permission asked for anew now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import orjson
import structlog
from aiohttp import WSMsgType, web

from bridge.hub import Hub
from bridge.listener import End, Listener
from bridge.notices import NoticeKind
from bridge.wants import ALL_KINDS, Wants
from config.errors import BadRequest, ErrorCode, Forbidden, MetawattError, Unauthorized, Unavailable
from config.settings import LiveSettings

UNAUTHORIZED: Final = 4401
_CLOSE_SECS: Final = 3.0
_MOST_NAME: Final = 128

log = structlog.get_logger("metawatt.live")

Audible: TypeAlias = Callable[[], Awaitable[frozenset[str] | None]]
_Names: TypeAlias = list[Annotated[str, msgspec.Meta(min_length=1, max_length=_MOST_NAME)]]


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="type", forbid_unknown_fields=True):
    """Hear this from now on, instead of what was heard."""

    kinds: list[NoticeKind] | None = None
    meters: _Names | None = None
    wallets: _Names | None = None


class Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="type", forbid_unknown_fields=True):
    """Hear nothing, until the next wish."""


Wish: TypeAlias = Subscribe | Unsubscribe

_decode: Callable[[str], Wish] = msgspec.json.Decoder(Wish).decode


class _Over(Exception):
    """The session is to end, for this reason."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Session:
    """A prepared socket and its listener. `audible` tells which meters the listener may hear of; it is asked again
    at every heartbeat, so that a token that ended ends the session."""

    def __init__(
        self, hub: Hub, listener: Listener, socket: web.WebSocketResponse, settings: LiveSettings, audible: Audible
    ) -> None:
        self._hub = hub
        self._listener = listener
        self._socket = socket
        self._settings = settings
        self._audible = audible

    async def serve(self) -> None:
        """Until the listener leaves, or is let go."""
        work = (self._send(), self._receive(), self._renew(), self._wait_for_end())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            await self._conclude(task)

    async def _conclude(self, task: asyncio.Task[None]) -> None:
        try:
            task.result()
        except _Over as over:
            await self._close(over.end)
        except ConnectionError:
            log.debug("a listener went away")

    async def _close(self, end: End) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECS):
                await self._socket.close(code=end.code, message=end.reason.encode())
        except TimeoutError:
            log.debug("a listener did not close", code=end.code)

    # What goes on at once

    async def _send(self) -> None:
        while True:
            for text in await self._listener.take():
                await self._socket.send_frame(text, WSMsgType.TEXT)

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return  # closed, by whichever side
            await self._reply(await self._answer(message.data))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_secs)
            try:
                await self._look_again()
            except Unauthorized as error:
                raise _Over(End(UNAUTHORIZED, error.message)) from None
            except Unavailable as error:
                log.warning("a listener's permission could not be looked up", reason=error.message)

    async def _wait_for_end(self) -> None:
        raise _Over(await self._listener.ended())

    async def _look_again(self) -> None:
        may = await self._audible()
        self._hub.change(self._listener, replace(self._listener.wants, may=may))

    # Wishes

    async def _answer(self, text: str | bytes) -> dict[str, Any]:
        try:
            wants = await self._wanted(_wish(text))
        except Unauthorized as error:
            raise _Over(End(UNAUTHORIZED, error.message)) from None
        except MetawattError as error:
            return {"type": "error", "code": error.code.value, "message": error.message}
        self._hub.change(self._listener, wants)
        return {
            "type": "subscribed",
            "kinds": sorted(wants.kinds),
            "meters": None if wants.meters is None else sorted(wants.meters),
            "wallets": None if wants.wallets is None else sorted(wants.wallets),
        }

    async def _wanted(self, wish: Wish) -> Wants:
        if isinstance(wish, Unsubscribe):
            return Wants(kinds=frozenset(), may=self._listener.wants.may)
        meters = _set(wish.meters)
        await self._demand(meters)
        kinds = ALL_KINDS if wish.kinds is None else frozenset(wish.kinds)
        return Wants(kinds, meters, _set(wish.wallets), self._listener.wants.may)

    async def _demand(self, meters: frozenset[str] | None) -> None:
        """`Forbidden` for a meter that the listener may not hear of; it may have been registered just now."""
        if meters is None or _allows(self._listener.wants.may, meters):
            return
        await self._look_again()
        if not _allows(self._listener.wants.may, meters):
            raise Forbidden("You do not act for the account of one of these meters")

    async def _reply(self, reply: dict[str, Any]) -> None:
        await self._socket.send_frame(orjson.dumps(reply), WSMsgType.TEXT)


def _wish(text: str | bytes) -> Wish:
    if isinstance(text, bytes):
        raise BadRequest("Messages are text")
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"The message is not JSON: {error}", ErrorCode.BAD_JSON) from None


def _allows(may: frozenset[str] | None, meters: frozenset[str]) -> bool:
    return may is None or meters <= may


def _set(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
