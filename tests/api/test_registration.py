"""The registry's background work on a whole node: deliveries, top-ups, and an end in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import pytest
from aiohttp import web

from api.node import Node
from api.registry_figures import RegistryCounts
from energytag.actions import Kind, State
from energytag.delivery import DELIVERIES
from energytag.records import ACCOUNTS, DEVICES
from overlay.keys import PrivateKey
from store.port import Find, Put
from tests.api.test_workers import headers_service
from tests.basket.brc100 import Wallet
from tests.energytag.kit import ACCOUNT, DEVICE, account_row, device_row, readings

USER = PrivateKey.from_int(777)


class Hook:
    """A webhook that notes what it is told; with `hangs` it does not answer."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.called = asyncio.Event()
        self.hangs = False
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        self.called.set()
        if self.hangs:
            await asyncio.sleep(60)
        return web.json_response({})


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/hook", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


async def issue_to_a_wallet(running: Any, hook: Hook) -> None:
    account = account_row(ACCOUNT, identity_key=USER.public, webhook_url=hook.url)
    await running.node.store.commit([Put(ACCOUNTS, account), Put(DEVICES, device_row(DEVICE))])
    request = {"device_id": DEVICE, "readings": readings(0, 2)}
    outcome = await running.node.registry.act(Kind.CREATE_MANY, request, user_id=None)
    assert outcome.action.state is State.RESOLVED, outcome.action.error


async def waiting(running: Any) -> int:
    return await running.node.store.count(DELIVERIES, Find("waiting"))


async def test_certificates_are_pushed_and_counted_until_they_are(running: Any, hook: Hook) -> None:
    await issue_to_a_wallet(running, hook)
    async with asyncio.timeout(20):
        while await waiting(running):
            await asyncio.sleep(0.05)
    (told,) = hook.told
    assert told["account_id"] == ACCOUNT
    assert len(told["outputs"]) == 2


async def test_a_push_under_way_does_not_hold_up_the_end(running: Any, hook: Hook) -> None:
    hook.hangs = True
    await issue_to_a_wallet(running, hook)
    async with asyncio.timeout(20):
        await hook.called.wait()
    assert await waiting(running) == 2
    began = perf_counter()
    await running.server.stop()
    assert perf_counter() - began < 4


async def test_a_low_balance_asks_the_remote_wallet(settings_of: Any) -> None:
    """On a real network, where nobody pays in by himself."""
    service, url = await headers_service()
    wallet = Wallet(USER)
    runner = await wallet.serve()
    node = Node(
        settings_of(
            node={"network": "test"},
            chain={"headers_url": url},
            engine={"broadcast": False},
            wallet={"remote_url": wallet.url},
        )
    )
    try:
        await node.start()
        async with asyncio.timeout(10):
            while "createAction" not in (name for name, *_ in wallet.calls):
                await asyncio.sleep(0.05)
        asked = next(arguments for name, arguments, _ in wallet.calls if name == "createAction")
        treasury = node.registry.treasury  # type: ignore[union-attr]
        assert {each["lockingScript"] for each in asked["outputs"]} == {treasury.deposit_script.hex()}
        findings = {check.name: await check.probe() for check in node.health_checks}
        assert findings["wallet"].status == "degraded"
    finally:
        await node.stop()
        await runner.cleanup()
        service.close()


async def test_a_secondary_does_no_background_work(settings_of: Any) -> None:
    service, url = await headers_service()
    wallet = Wallet(USER)
    runner = await wallet.serve()
    sections = {"network": "test", "workers": 2}
    settings = settings_of(node=sections, chain={"headers_url": url}, wallet={"remote_url": wallet.url})
    node = Node(settings, primary=False)
    try:
        await node.start()
        await asyncio.sleep(0.3)
        assert wallet.calls == []
        findings = {check.name: await check.probe() for check in node.health_checks}
        assert findings["registry queue"].status == "ok"
    finally:
        await node.stop()
        await runner.cleanup()
        service.close()


async def test_two_processes_answer_as_one_registry(settings_of: Any) -> None:
    """Two nodes over one database: what the second is asked, the first resolves."""
    service, url = await headers_service()
    sections = {"network": "test", "workers": 2}
    settings = settings_of(node=sections, chain={"headers_url": url}, engine={"broadcast": False})
    first, second = Node(settings), Node(settings, primary=False)
    try:
        await first.start()
        await second.start()
        assert second.registry is not None
        body = {"name": "Grid", "business_id": 7, "primary_contact": "Ada"}
        began = perf_counter()
        for _ in range(10):
            outcome = await second.registry.act(Kind.ORGANISATION_CREATE, body, user_id=None)
            assert outcome.action.state is State.RESOLVED
        assert (perf_counter() - began) / 10 < 0.5
        # Coins are with the first, which alone tells of them: what all processes tell is added up.
        assert first.registry is not None
        told = [{each.name for each in RegistryCounts(one).collect()} for one in (first.registry, second.registry)]
        assert "metawatt_wallet_satoshis" in told[0] - told[1]
        assert "metawatt_registry_actions" in told[0] & told[1]
    finally:
        await second.stop()
        await first.stop()
        service.close()
