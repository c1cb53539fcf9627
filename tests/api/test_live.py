"""`/ws`: who is let in, who hears what, and how a connection ends. Over real sockets, through the edge."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.client_ws import ClientWebSocketResponse

from api.access import any_bearer
from api.bridge.live import LiveHandler
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.metrics import HttpMetrics
from api.route import Access
from bridge.hub import Hub
from bridge.notices import Notice, NoticeKind
from bridge.records import BRIDGE_COLLECTIONS, METERS
from config.settings import LiveSettings, Settings
from energytag.access import Role
from energytag.memberships import membership_key
from energytag.records import DIRECTORY, MEMBERSHIPS, USERS
from energytag.tokens import Tokens
from overlay.clock import system_now_ms
from store.port import Delete, Patch, Put
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import SimpleMeter, public_of
from tests.energytag.kit import ACCOUNT

ADMIN_TOKEN = "an admin's token"
USER = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
WALLET = "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"
OTHER_WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
RECEIVED, MINTED, REFUSED, BATCH = (kind.value for kind in NoticeKind)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Live:
    """A hub behind `/ws` on a free port."""

    node: Any
    hub: Hub
    lifecycle: Lifecycle
    client: aiohttp.ClientSession
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def listening(
        self, path: str = "/ws", token: str = ADMIN_TOKEN, **more: Any
    ) -> AsyncIterator[ClientWebSocketResponse]:
        async with self.client.ws_connect(self.url + path, headers=bearer(token), **more) as socket:
            yield socket

    async def refusal(self, path: str = "/ws", **more: Any) -> int:
        more = {"headers": bearer(ADMIN_TOKEN), **more}
        with pytest.raises(WSServerHandshakeError) as refused:
            await self.client.ws_connect(self.url + path, **more)
        return refused.value.status

    def tell(self, kind: str = RECEIVED, meter: str | None = "M-1", wallet: str | None = WALLET) -> None:
        self.hub.tell(Notice(NoticeKind(kind), {"meter_serial": meter}, wallet, meter))

    async def user(self, *meters: str, roles: tuple[Role, ...] = (Role.ACCOUNT_HOLDER,)) -> str:
        """The token of a user whose account has these meters."""
        row = {"_id": USER, "role": list(roles), "organisation_id": None, "tokens_since": 0}
        membership = {"_id": membership_key(ACCOUNT, USER), "account_id": ACCOUNT, "user_id": USER}
        await self.node.store.commit([Put(USERS, row), Put(MEMBERSHIPS, membership)])
        for meter in meters:
            await self.add_meter(meter)
        return str(self.node.tokens.issue(USER).token)

    async def add_meter(self, serial: str, account_id: str | None = ACCOUNT) -> None:
        row = {"_id": serial, "wallet": WALLET, "account_id": account_id, "status": "verified"}
        await self.node.store.commit([Put(METERS, row)])


async def said(socket: ClientWebSocketResponse) -> Any:
    return await socket.receive_json(timeout=5)


async def wish(socket: ClientWebSocketResponse, **message: Any) -> Any:
    await socket.send_json(message)
    return await said(socket)


async def closed(socket: ClientWebSocketResponse, secs: float = 10) -> int | None:
    """The code that the node closes with; what comes before is read."""
    async with asyncio.timeout(secs):
        async for _ in socket:
            pass
    return socket.close_code


Open = Callable[..., Awaitable[Live]]


@pytest.fixture
async def open_live(tmp_path: Path) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Live:
            store = SqliteStore(tmp_path / "node.db")
            await store.open([*DIRECTORY, *BRIDGE_COLLECTIONS])
            stack.push_async_callback(store.close)
            live = LiveSettings(**settings)
            hub = Hub(live)
            node = SimpleNamespace(
                settings=Settings(live=live),
                store=store,
                registry=object(),
                metering=SimpleNamespace(hub=hub),
                admin_token=ADMIN_TOKEN,
                tokens=Tokens(b"s" * 32, 1, system_now_ms),
            )
            lifecycle = Lifecycle(Phase.READY)
            port = await served(stack, node, lifecycle)
            stack.push_async_callback(hub.stop)
            client = await stack.enter_async_context(aiohttp.ClientSession())
            return Live(node, hub, lifecycle, client, port)

        yield start


async def served(stack: contextlib.AsyncExitStack, node: Any, lifecycle: Lifecycle) -> int:
    edge = Edge(HttpMetrics(), lifecycle, None, {Access.CALLER: any_bearer}, verbose=False)
    app = web.Application()
    for route in LiveHandler(node).routes():
        app.router.add_get(route.path, edge.guard(route))
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return int(runner.addresses[0][1])


@pytest.fixture
async def live(open_live: Open) -> Live:
    return await open_live()


# Who is let in


async def test_nobody_is_let_in_without_a_good_token(live: Live) -> None:
    token = await live.user("M-1")
    assert await live.refusal(headers={}) == 401
    assert await live.refusal(headers=bearer("nonsense")) == 401
    assert await live.refusal(headers={}, protocols=("metawatt", "bearer.nonsense")) == 401
    await live.node.store.commit([Patch(USERS, USER, {"tokens_since": system_now_ms() // 1000 + 60})])
    assert await live.refusal(headers=bearer(token)) == 401
    await live.node.store.commit([Delete(USERS, USER)])
    assert await live.refusal(headers=bearer(token)) == 401
    assert live.hub.listeners == 0


async def test_a_browser_shows_its_token_among_the_protocols(live: Live) -> None:
    token = await live.user("M-1")
    async with live.client.ws_connect(live.url + "/ws", protocols=("metawatt", f"bearer.{token}")) as socket:
        assert socket.protocol == "metawatt"
        live.tell()
        assert (await said(socket))["type"] == RECEIVED


async def test_a_token_alone_among_the_protocols_is_refused_and_not_logged(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    token = await live.user("M-1")
    assert await live.refusal(headers={}, protocols=(f"bearer.{token}",)) == 400
    assert token not in caplog.text


async def test_what_asks_for_no_upgrade_is_told_so(live: Live) -> None:
    async with live.client.get(live.url + "/ws", headers=bearer(ADMIN_TOKEN)) as reply:
        assert reply.status == 400
        assert (await reply.json())["code"] == "ERR_BAD_REQUEST"


@pytest.mark.parametrize(("channel", "status"), [("nonsense", 404), ("0" * 40, 404), ("METERS", 404)])
async def test_channels_that_there_are_not(live: Live, channel: str, status: int) -> None:
    assert await live.refusal(f"/ws/{channel}") == status


async def test_no_metering_no_route(live: Live) -> None:
    live.node.metering = None
    assert await live.refusal() == 404


async def test_listeners_are_bounded(open_live: Open) -> None:
    live = await open_live(listeners_per_client=1)
    async with live.listening():
        assert await live.refusal() == 429
    async with live.listening():
        pass


async def test_a_stopping_node_lets_nobody_in(live: Live) -> None:
    live.lifecycle.phase = Phase.STOPPING
    assert await live.refusal() == 503


# Who hears what


async def test_an_administrator_hears_everything(live: Live) -> None:
    async with live.listening() as socket:
        for kind in (RECEIVED, MINTED, REFUSED):
            live.tell(kind)
        live.tell(BATCH, None, None)
        assert [(await said(socket))["type"] for _ in range(4)] == [RECEIVED, MINTED, REFUSED, BATCH]


async def test_a_user_hears_of_the_meters_of_his_accounts_only(live: Live) -> None:
    token = await live.user("M-1")
    await live.add_meter("M-2", "another account")
    await live.add_meter("M-3", None)
    async with live.listening(token=token) as socket:
        for meter in ("M-3", "M-2", "M-1"):
            live.tell(meter=meter)
        assert (await said(socket))["meter_serial"] == "M-1"
        refused = await wish(socket, type="subscribe", meters=["M-1", "M-2"])
        assert refused == {
            "type": "error",
            "code": "ERR_FORBIDDEN",
            "message": "You do not act for the account of one of these meters",
        }
        assert (await wish(socket, type="subscribe", wallets=[WALLET]))["type"] == "subscribed"
        live.tell(meter="M-2")
        live.tell(meter="M-1")
        assert (await said(socket))["meter_serial"] == "M-1"


async def test_a_meter_that_was_registered_just_now_may_be_asked_for(live: Live) -> None:
    token = await live.user()
    async with live.listening(token=token) as socket:
        await live.add_meter("M-7")
        told = await wish(socket, type="subscribe", meters=["M-7"])
        assert told == {
            "type": "subscribed",
            "kinds": sorted([RECEIVED, MINTED, REFUSED, BATCH]),
            "meters": ["M-7"],
            "wallets": None,
        }
        live.tell(meter="M-7")
        assert (await said(socket))["meter_serial"] == "M-7"


@pytest.mark.parametrize(
    ("channel", "kinds"),
    [("meters", [RECEIVED, REFUSED]), ("minting", [MINTED, BATCH]), (WALLET, [RECEIVED, MINTED, REFUSED, BATCH])],
)
async def test_a_channel_has_its_own(live: Live, channel: str, kinds: list[str]) -> None:
    async with live.listening(f"/ws/{channel}") as socket:
        for kind in (RECEIVED, MINTED, REFUSED):
            live.tell(kind, wallet=OTHER_WALLET if channel == WALLET else WALLET)
            live.tell(kind)
        live.tell(BATCH, None, None)
        expected = [kind for kind in kinds for _ in range(1 if channel == WALLET or kind == BATCH else 2)]
        assert [(await said(socket))["type"] for _ in expected] == expected
        assert (await wish(socket, type="unsubscribe"))["kinds"] == []


async def test_wishes_replace_what_is_heard(live: Live) -> None:
    async with live.listening() as socket:
        await wish(socket, type="subscribe", kinds=[MINTED], meters=["M-1"])
        live.tell(RECEIVED)
        live.tell(MINTED, "M-2")
        live.tell(MINTED, "M-1")
        assert await said(socket) == {"type": MINTED, "meter_serial": "M-1"}
        await wish(socket, type="unsubscribe")
        live.tell(MINTED, "M-1")
        assert (await wish(socket, type="subscribe"))["meters"] is None
        live.tell(BATCH, None, None)
        assert (await said(socket))["type"] == BATCH


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "ERR_BAD_JSON"),
        ("{", "ERR_BAD_JSON"),
        ('{"x": ' + "[" * 8_000, "ERR_BAD_JSON"),
        ("[]", "ERR_BAD_REQUEST"),
        ('{"type": "publish"}', "ERR_BAD_REQUEST"),
        ('{"type": "subscribe", "kind": "tokens_minted"}', "ERR_BAD_REQUEST"),
        ('{"type": "subscribe", "kinds": ["TokensMinted"]}', "ERR_BAD_REQUEST"),
        ('{"type": "subscribe", "meters": [1]}', "ERR_BAD_REQUEST"),
        ('{"type": "subscribe", "meters": [""]}', "ERR_BAD_REQUEST"),
        (b'{"type": "unsubscribe"}', "ERR_BAD_REQUEST"),
    ],
)
async def test_what_is_not_understood_is_answered_and_changes_nothing(
    live: Live, message: str | bytes, code: str
) -> None:
    async with live.listening() as socket:
        await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))
        told = await said(socket)
        assert (told["type"], told["code"]) == ("error", code)
        live.tell()
        assert (await said(socket))["type"] == RECEIVED


# How it ends


async def test_a_message_that_is_too_large_ends_it(open_live: Open) -> None:
    live = await open_live(message_bytes=256)
    async with live.listening() as socket:
        await socket.send_str("x" * 300)
        assert await closed(socket) == 1009


async def test_a_stopping_node_says_good_bye_and_does_not_wait_for_listeners(live: Live) -> None:
    async with live.listening() as socket:
        live.lifecycle.phase = Phase.STOPPING
        assert await live.lifecycle.drained(1)
        stopping = asyncio.create_task(live.hub.stop())
        assert await closed(socket) == 1001
        await asyncio.wait_for(stopping, 5)


async def test_a_token_that_ended_ends_it_at_the_next_heartbeat(open_live: Open) -> None:
    live = await open_live(heartbeat_secs=0.2)
    token = await live.user("M-1")
    async with live.listening(token=token) as socket:
        await live.node.store.commit([Delete(USERS, USER)])
        assert await closed(socket) == 4401


async def test_a_membership_that_ended_is_noticed_at_the_next_heartbeat(open_live: Open) -> None:
    live = await open_live(heartbeat_secs=0.5)
    token = await live.user("M-1")
    async with live.listening(token=token) as socket:
        await live.node.store.commit([Delete(MEMBERSHIPS, membership_key(ACCOUNT, USER))])
        hearing = asyncio.create_task(said(socket))  # pings are answered while it reads
        await asyncio.sleep(0.8)
        live.tell()
        live.tell(BATCH, None, None)
        assert (await hearing)["type"] == BATCH


async def test_one_that_answers_no_ping_is_let_go(open_live: Open) -> None:
    live = await open_live(heartbeat_secs=0.2)
    async with live.listening(autoping=False) as socket:
        # Read on, or the client would not see what comes; but never answer.
        assert await closed(socket) == 1006
    await gone(live)


async def test_one_that_does_not_read_is_let_go_and_its_memory_with_it(open_live: Open) -> None:
    live = await open_live(queue_notices=200)
    writer = await upgraded(live)
    async with asyncio.timeout(20):
        while live.hub.measures.slow == 0:
            for _ in range(100):
                live.hub.tell(Notice(NoticeKind.MINTED, {"text": "x" * 2000}, WALLET, "M-1"))
            await asyncio.sleep(0)
    await gone(live)
    writer.transport.abort()


async def test_many_listeners_hear_the_same(open_live: Open) -> None:
    live = await open_live(listeners_per_client=100)
    async with contextlib.AsyncExitStack() as stack:
        listening = [await stack.enter_async_context(live.listening()) for _ in range(50)]
        for _ in range(20):
            live.tell()
        for socket in listening:
            assert [(await said(socket))["type"] for _ in range(20)] == [RECEIVED] * 20
        assert live.hub.measures.queued == 1000


async def gone(live: Live) -> None:
    """Wait until nobody listens."""
    async with asyncio.timeout(10):
        while live.hub.listeners:
            await asyncio.sleep(0.02)


async def upgraded(live: Live) -> asyncio.StreamWriter:
    """A connection that was upgraded and reads nothing more."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", live.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Authorization: Bearer " + ADMIN_TOKEN.encode() + b"\r\n\r\n"
    )
    assert b"101" in await reader.readline()
    return writer


# On a whole node


async def test_a_whole_node_tells_of_readings_and_stops_without_waiting_for_listeners(launch: Any) -> None:
    running = await launch()
    headers = bearer(running.node.admin_token)
    async with running.client.ws_connect(running.url + "/ws/meters", headers=headers) as socket:
        meter = SimpleMeter()
        registration = {
            "serial": meter.serial,
            "wallet": meter.wallet,
            "public_key": public_of(meter.key),
            "verified": True,
        }
        assert (await running.admin("POST", "/api/meters", json=registration)).status == 201
        wire = meter.wire(system_now_ms() // 1000 * 1000)
        reply = await running.post("/api/meters/submit-reading", wire)
        assert reply.status == 201, reply.body
        told = await said(socket)
        assert (told["type"], told["meter_serial"], told["kwh_amount"]) == (RECEIVED, meter.serial, "1.500000")
        wrong = wire | {"kwh_amount": "1.600000"}
        assert (await running.post("/api/meters/submit-reading", wrong)).status == 401
        told = await said(socket)
        assert (told["type"], told["error_code"]) == (REFUSED, "ERR_SIGNATURE_INVALID")
        text = (await running.get("/metrics")).body.decode()
        assert "metawatt_readings_accepted_total 1.0" in text
        assert 'metawatt_readings_refused_total{code="ERR_SIGNATURE_INVALID"} 1.0' in text
        assert "metawatt_live_listeners 1.0" in text
        assert "metawatt_readings_unminted 1.0" in text
        stopping = asyncio.create_task(running.server.stop())
        assert await closed(socket) == 1001
        await asyncio.wait_for(stopping, 10)
