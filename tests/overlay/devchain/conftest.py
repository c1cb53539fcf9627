"""Dev chains over SQLite, and a wallet that spends what their faucets pay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from api.devchain import DevChainHandler
from api.errors import error_reply
from api.limits import Bodies
from api.route import Route
from config.errors import MetawattError
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, coins_of, p2pkh_lock
from overlay.devchain import DEV_COLLECTIONS, DevChain
from overlay.keys import PrivateKey
from overlay.transaction import Output, Transaction
from store.sqlite import SqliteStore


@asynccontextmanager
async def chain_at(path: Path, **settings: Any) -> AsyncIterator[DevChain]:
    store = SqliteStore(path)
    await store.open(DEV_COLLECTIONS)
    chain = DevChain(store, "dev", **settings)
    try:
        await chain.open()
        yield chain
    finally:
        await chain.close()
        await store.close()


class Wallet:
    """One key's coins."""

    key = PrivateKey.from_int(1001)
    signer = P2pkhSigner(key)
    lock = p2pkh_lock(key.public)

    async def fund(self, chain: DevChain, count: int = 1, satoshis: int = 10_000) -> list[Coin]:
        """Coins, mined."""
        payment = await chain.faucet(self.lock, satoshis, count)
        return [Coin(payment.txid, vout, Output(satoshis, self.lock)) for vout in payment.vouts]

    def spend(self, coin: Coin, satoshis: int | None = None, script: bytes | None = None) -> Transaction:
        """One in, one out; the fee is 100 satoshis unless told."""
        value = coin.output.satoshis - 100 if satoshis is None else satoshis
        return TransactionBuilder().spend(coin, self.signer).pay(value, script or self.lock).build()

    def chained(self, coin: Coin, length: int) -> list[Transaction]:
        """Transactions, each of which spends the one before."""
        transactions: list[Transaction] = []
        for _ in range(length):
            transactions.append(self.spend(coin))
            coin = coins_of(transactions[-1])[0]
        return transactions


@pytest.fixture
def wallet() -> Wallet:
    return Wallet()


@pytest.fixture
async def open_chain(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[DevChain]]]:
    """Opens dev chains, each in a file of its own, and closes them at the end."""
    async with AsyncExitStack() as stack:
        opened = 0

        async def opener(**settings: Any) -> DevChain:
            nonlocal opened
            opened += 1
            return await stack.enter_async_context(chain_at(tmp_path / f"dev-{opened}.db", **settings))

        yield opener


@pytest.fixture
async def chain(open_chain: Callable[..., Awaitable[DevChain]]) -> DevChain:
    return await open_chain()


@pytest.fixture
def restarting(tmp_path: Path) -> Callable[..., Any]:
    """A context manager that opens the one chain of this test, again and again."""
    return lambda **settings: chain_at(tmp_path / "dev.db", **settings)


@dataclass(frozen=True)
class Served:
    """A dev chain behind HTTP, on a free port."""

    chain: DevChain
    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.session.post(self.url + path, json=body) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(self.url + path) as reply:
            return reply.status, await reply.json()


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The route's handler, this node's errors turned into replies."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await route.handler(request)
        except MetawattError as error:
            return error_reply(error)

    return handler


@pytest.fixture
async def served(chain: DevChain) -> AsyncIterator[Served]:
    app = web.Application()
    for route in DevChainHandler(chain, Bodies(1_000_000, 4_000_000, 5)).routes():
        app.router.add_route(route.method, route.path, answering(route))
    async with listening(app) as url, aiohttp.ClientSession() as session:
        yield Served(chain, url, session)


@pytest.fixture
def listen() -> Callable[[web.Application], Any]:
    """Serves an application on a free port: a context manager that gives its URL."""
    return listening
