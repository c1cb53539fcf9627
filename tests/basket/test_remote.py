"""The client of remote wallets, and topping up, against a wallet with keys of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from basket.remote import RemoteWallet, origin_of
from basket.top_up import TopUp
from config.errors import ErrorCode, Unavailable
from config.settings import WalletSettings
from overlay.keys import PrivateKey, verify
from tests.basket.brc100 import Wallet
from tests.basket.conftest import WalletNode
from tests.overlay.kit import Clock

USER = PrivateKey.from_int(777)
NODE = PrivateKey.from_int(4321)
PROTOCOL = (1, "metawatt gc")


@pytest.fixture
async def server() -> AsyncIterator[Wallet]:
    wallet = Wallet(USER)
    runner = await wallet.serve()
    yield wallet
    await runner.cleanup()


@pytest.fixture
async def remote(server: Wallet) -> AsyncIterator[RemoteWallet]:
    made = RemoteWallet(server.url, "metawatt", timeout_secs=5)
    yield made
    await made.close()


async def test_keys_and_signatures_are_those_of_the_wallet(server: Wallet, remote: RemoteWallet) -> None:
    assert await remote.is_authenticated()
    assert await remote.identity_key() == USER.public
    theirs = await remote.public_key(PROTOCOL, "7", NODE.public)
    assert theirs == NODE.derive(PROTOCOL, "7", USER.public).public
    own = await remote.public_key(PROTOCOL, "7", NODE.public, for_self=True)
    assert own == NODE.derive_public(PROTOCOL, "7", USER.public)
    digest = bytes(range(32))
    assert verify(await remote.sign(digest, PROTOCOL, "7", NODE.public), digest, own)
    assert {origin for _, _, origin in server.calls} == {"http://metawatt"}
    assert list(await remote.list_outputs("METAWATTS")) == []


@pytest.mark.parametrize(
    ("originator", "origin"),
    [
        ("metawatt", "http://metawatt"),
        ("registry.example:8443", "http://registry.example:8443"),
        ("https://registry.example/path?x", "https://registry.example"),
    ],
)
def test_origins_are_written_as_the_sdk_does(originator: str, origin: str) -> None:
    assert origin_of(originator) == origin


async def test_a_wallet_that_is_down_refuses_or_talks_nonsense_is_unavailable(
    server: Wallet, remote: RemoteWallet
) -> None:
    async def code_of(awaited: object) -> tuple[ErrorCode, str]:
        with pytest.raises(Unavailable) as caught:
            await awaited  # type: ignore[misc]
        return caught.value.code, caught.value.message

    code, message = await code_of(remote.create_action({"description": "Pay somebody", "outputs": []}))
    assert code == ErrorCode.WALLET_UNAVAILABLE
    assert "insufficient funds" in message
    assert (await code_of(remote.abort_action("x")))[0] == ErrorCode.WALLET_UNAVAILABLE
    for reply in ({"publicKey": "zz"}, {"publicKey": "02" + "00" * 32}, {}):
        assert (await code_of(_asked(reply)))[0] == ErrorCode.WALLET_UNAVAILABLE
    server.is_down = True
    assert (await code_of(remote.is_authenticated()))[0] == ErrorCode.WALLET_UNAVAILABLE
    nowhere = RemoteWallet("http://127.0.0.1:1", "metawatt", timeout_secs=2)
    assert (await code_of(nowhere.identity_key()))[0] == ErrorCode.WALLET_UNAVAILABLE
    await nowhere.close()


async def _asked(reply: object) -> bytes:
    """A wallet whose every answer is `reply`."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(reply)

    app = web.Application()
    app.router.add_post("/{method}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    remote = RemoteWallet(f"http://127.0.0.1:{runner.addresses[0][1]}", "metawatt", timeout_secs=5)
    try:
        return await remote.identity_key()
    finally:
        await remote.close()
        await runner.cleanup()


# Topping up


async def test_a_low_balance_is_topped_up_by_the_remote_wallet(
    node: WalletNode, server: Wallet, remote: RemoteWallet, clock: Clock
) -> None:
    server.fund(await node.chain.dev.faucet(server.funds_script, 1_000_000, 1))
    settings = WalletSettings(spare_coins=8, coin_satoshis=5000, top_up_satoshis=200_000, low_satoshis=50_000)
    treasury = node.treasury(top_up_satoshis=200_000)
    await treasury.open()
    top_up = TopUp(treasury, remote, settings, clock)
    assert treasury.is_low
    assert await top_up.work() == 200_000
    assert not treasury.is_low
    assert treasury.balance().coins == 8
    assert await top_up.work() == 0
    await node.spend(treasury)
    await node.engine.tend()
    await node.chain.dev.mine(1)
    await node.refresh()
    await treasury.tend()
    assert treasury.balance().proven_satoshis == treasury.balance().satoshis


async def test_a_wallet_that_will_not_pay_is_not_asked_again_at_once(
    node: WalletNode, server: Wallet, remote: RemoteWallet, clock: Clock
) -> None:
    treasury = node.treasury()
    await treasury.open()
    top_up = TopUp(treasury, remote, WalletSettings(), clock)
    with pytest.raises(Unavailable):
        await top_up.work()
    assert await top_up.work() == 0
    clock.now_ms += 60_000
    server.fund(await node.chain.dev.faucet(server.funds_script, 1_000_000, 1))
    assert await top_up.work() == 500_000
