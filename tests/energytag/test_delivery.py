"""Certificates come to users' own wallets: pulled, acknowledged, pushed."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from basket.keyring import Keyring
from config.errors import BadRequest, ErrorCode
from energytag.actions import Kind
from energytag.delivery import BASKET_NAME, DELIVERIES, acknowledge, pull
from energytag.pushing import MOST_ATTEMPTS, SIGNATURE_HEADER, Pusher, pause_ms
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.records import TRANSACTIONS
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT
from tests.energytag.wallet_kit import BOUND, WalletRegistry, transfer
from tests.overlay.kit import Chain, Clock


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[WalletRegistry]:
    made = WalletRegistry(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.begin()
    yield made
    await made.end()


@pytest.fixture
async def pusher(node: WalletRegistry) -> AsyncIterator[Pusher]:
    made = Pusher(node.store, node.keyring, node.settings.wallet, "dev", node.clock)
    yield made
    await made.close()


class Hook:
    """A webhook that keeps what it is sent, and answers as told."""

    def __init__(self) -> None:
        self.status = 200
        self.pushed: list[tuple[bytes, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.pushed.append((await request.read(), request.headers[SIGNATURE_HEADER]))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, str]]:
    made = Hook()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/hook", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield made, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


# Pulling


async def test_a_wallet_takes_in_what_is_handed_out_to_it(node: WalletRegistry) -> None:
    await node.give(3)
    parcels, cursor = await pull(node.store, BOUND, 100)
    assert cursor is None
    (parcel,) = parcels
    assert len(parcel.rows) == 3
    assert parse_envelope(parcel.beef).subject.txid == parcel.outpoints[0][:32]
    await node.remote.internalize_action(parcel.as_json())
    outputs = await node.remote.list_outputs(BASKET_NAME)
    assert len(outputs) == 3
    assert {each["satoshis"] for each in outputs} == {1}
    assert "solar_pv" in outputs[0]["tags"]
    assert await acknowledge(node.store, BOUND, parcel.outpoints) == 3
    assert await acknowledge(node.store, BOUND, parcel.outpoints) == 0
    assert await pull(node.store, BOUND, 100) == ([], None)


async def test_what_waits_is_handed_out_page_by_page(node: WalletRegistry) -> None:
    await node.give(5)
    seen: list[bytes] = []
    cursor = None
    for expected in (2, 2, 1):
        parcels, cursor = await pull(node.store, BOUND, 2, cursor)
        found = [outpoint for parcel in parcels for outpoint in parcel.outpoints]
        assert len(found) == expected
        seen += found
    assert cursor is None
    assert len(set(seen)) == 5
    _, cursor = await pull(node.store, BOUND, 2)
    with pytest.raises(BadRequest) as caught:
        await pull(node.store, ACCOUNT, 2, cursor)
    assert caught.value.code == ErrorCode.BAD_CURSOR


async def test_others_cannot_acknowledge_and_custodial_accounts_have_nothing_to_pull(node: WalletRegistry) -> None:
    await node.give()
    (parcel,), _ = await pull(node.store, BOUND, 100)
    assert await acknowledge(node.store, OTHER_ACCOUNT, parcel.outpoints) == 0
    assert await acknowledge(node.store, BOUND, [bytes(36)]) == 0
    assert len((await pull(node.store, BOUND, 100))[0]) == 1
    assert await pull(node.store, ACCOUNT, 100) == ([], None)


async def test_what_is_spent_or_evicted_is_not_handed_out(node: WalletRegistry) -> None:
    await node.give()
    (parcel,), _ = await pull(node.store, BOUND, 100)
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT))).action
    assert action.memo is not None
    await node.registry.complete(action.action_id, await node.signed(action.memo["prepared"]))
    assert await pull(node.store, BOUND, 100) == ([], None)
    row = await node.store.get(DELIVERIES, parcel.outpoints[0])
    assert row is not None
    assert row["waits_for"] is None

    await node.resolved(Kind.TRANSFER, transfer(ACCOUNT, BOUND))
    (again,), _ = await pull(node.store, BOUND, 100)
    txid = again.outpoints[0][:32]
    await node.node.engine.evictor.evict(txid, "for the test")
    assert await node.store.get(TRANSACTIONS, txid) is None
    assert await pull(node.store, BOUND, 100) == ([], None)


# Pushing


async def test_a_webhook_is_sent_what_its_wallet_can_take_in(
    node: WalletRegistry, pusher: Pusher, hook: tuple[Hook, str]
) -> None:
    sent, url = hook
    await node.bind(webhook_url=url)
    await node.give(2)
    assert await pusher.work() == 2
    ((body, sealed),) = sent.pushed
    secret = node.keyring.webhook_secret(BOUND)
    at, _, mac = sealed.removeprefix("t=").partition(",v1=")
    assert hmac.digest(secret, f"{at}.".encode() + body, sha256).hex() == mac
    pushed: dict[str, Any] = json.loads(body)
    assert pushed.pop("account_id") == BOUND
    await node.remote.internalize_action(pushed)
    assert await pull(node.store, BOUND, 100) == ([], None)
    assert await pusher.work() == 0


@pytest.mark.parametrize("status", [500, 302, 404])
async def test_a_webhook_that_fails_is_tried_again_later(
    node: WalletRegistry, pusher: Pusher, hook: tuple[Hook, str], clock: Clock, status: int
) -> None:
    sent, url = hook
    sent.status = status
    await node.bind(webhook_url=url)
    await node.give()
    assert await pusher.work() == 1
    assert await pusher.work() == 0
    assert len((await pull(node.store, BOUND, 100))[0]) == 1
    clock.now_ms += 2000
    sent.status = 204
    assert await pusher.work() == 1
    assert len(sent.pushed) == 2
    assert await pull(node.store, BOUND, 100) == ([], None)


async def test_a_webhook_that_never_answers_is_given_up(node: WalletRegistry, pusher: Pusher, clock: Clock) -> None:
    await node.bind(webhook_url="http://127.0.0.1:1/hook")
    await node.give()
    for _ in range(MOST_ATTEMPTS):
        assert await pusher.work() == 1
        clock.now_ms += 3_600_000
    assert await pusher.work() == 0
    assert len((await pull(node.store, BOUND, 100))[0]) == 1


async def test_a_private_address_is_not_asked(node: WalletRegistry, hook: tuple[Hook, str]) -> None:
    sent, url = hook
    await node.bind(webhook_url=url)
    await node.give()
    pusher = Pusher(node.store, node.keyring, node.settings.wallet, "main", node.clock)
    assert await pusher.work() == 1
    await pusher.close()
    assert sent.pushed == []
    assert len((await pull(node.store, BOUND, 100))[0]) == 1


async def test_a_wallet_is_pushed_to_directly(node: WalletRegistry, pusher: Pusher) -> None:
    await node.bind(wallet_url=node.wallet.url)
    await node.give(2)
    assert await pusher.work() == 2
    assert len(await node.remote.list_outputs(BASKET_NAME)) == 2
    assert await pull(node.store, BOUND, 100) == ([], None)


async def test_a_wallet_of_another_key_does_not_take_what_it_cannot_unlock(
    node: WalletRegistry, pusher: Pusher
) -> None:
    node.wallet.key = PrivateKey.from_int(778)
    await node.bind(wallet_url=node.wallet.url)
    await node.give()
    await pusher.work()
    assert len((await pull(node.store, BOUND, 100))[0]) == 1


async def test_an_account_without_an_address_waits_to_pull(node: WalletRegistry, pusher: Pusher) -> None:
    await node.give()
    assert await pusher.work() == 1
    assert await pusher.work() == 0
    assert len((await pull(node.store, BOUND, 100))[0]) == 1


async def test_two_processes_do_not_push_the_same_at_once(node: WalletRegistry, hook: tuple[Hook, str]) -> None:
    sent, url = hook
    await node.bind(webhook_url=url)
    await node.give()
    pushers = [Pusher(node.store, node.keyring, node.settings.wallet, "dev", node.clock) for _ in range(2)]
    assert sum(await asyncio.gather(*(each.work() for each in pushers))) == 1
    assert len(sent.pushed) == 1
    for each in pushers:
        await each.close()


@pytest.mark.parametrize(
    ("attempts", "pause"), [(1, 2000), (2, 4000), (5, 32_000), (15, 3_600_000), (16, None), (400, None)]
)
def test_pauses_double_up_to_an_hour_and_end(attempts: int, pause: int | None) -> None:
    assert pause_ms(attempts) == pause


def test_each_account_has_a_secret_of_its_own() -> None:
    keyring, other = Keyring(PrivateKey.from_int(1)), Keyring(PrivateKey.from_int(2))
    secrets = {each.webhook_secret(account) for each in (keyring, other) for account in (ACCOUNT, BOUND)}
    assert len(secrets) == 4
