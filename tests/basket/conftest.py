"""A node with a treasury: the real store, engine and dev chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from basket.coins import FUND_COINS
from basket.funds import FundCoin, Funding
from basket.keyring import Keyring
from basket.treasury import EmbeddedTreasury, Fund
from config.settings import WalletSettings
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder
from overlay.keys import PrivateKey
from overlay.pushdrop import lock
from overlay.records import ENGINE_COLLECTIONS
from overlay.transaction import Transaction
from store.sqlite import SqliteStore
from tests.overlay.kit import GC, Chain, Clock, Node

KEYRING = Keyring(PrivateKey.from_int(4321))


class WalletNode(Node):
    """An engine whose store keeps the treasury's coins too, and treasuries on it."""

    def treasury(self, fund: Fund | None = None, **wallet: Any) -> EmbeddedTreasury:
        settings = WalletSettings(**{"spare_coins": 8, "coin_satoshis": 5000, "least_change_satoshis": 1, **wallet})
        return EmbeddedTreasury(
            self.store, self.engine, self.headers, self.verifier, KEYRING, settings, self.chain.clock, fund=fund
        )

    async def open(self) -> None:
        collections = [collection for service in self.services for collection in service.collections]
        await self.store.open([*ENGINE_COLLECTIONS, FUND_COINS, *collections])
        await self.headers.open()
        await self.headers.sync()
        await self.engine.open()

    async def refresh(self) -> None:
        """Follow the chain, and learn the proofs of what it holds."""
        await self.headers.sync()
        await self.engine.refresh_proofs()

    async def spend(
        self, treasury: EmbeddedTreasury, satoshis: int = 300
    ) -> tuple[Transaction, Funding, FundCoin | None]:
        """Issue a certificate with coins of the treasury's, as the registry does."""
        funding = await treasury.take(satoshis)
        change = treasury.change()
        transaction = await self.issue(funding, change.script)
        rest = FundCoin(Coin(transaction.txid, 1, transaction.outputs[1]), change.key_id)
        await self.engine.submit(
            await self.beef(transaction), [GC], alongside=lambda _: treasury.writes(funding, rest)
        )
        treasury.settle(funding, rest)
        return transaction, funding, rest

    async def issue(self, funding: Funding, change_script: bytes) -> Transaction:
        from certificates.token import encode_fields

        _, (token,) = await self.chain.issue([1000], funding.coins[0].coin)
        builder = TransactionBuilder()
        for coin in funding.coins:
            builder.spend(coin.coin, P2pkhSigner(KEYRING.funds_key(coin.key_id)))
        builder.pay(1, lock(token.locking_key, encode_fields(token)))
        return builder.change_to(change_script).build()

    async def beef(self, transaction: Transaction) -> bytes:
        """The transaction alone: its ancestors are kept by the engine."""
        from overlay.wire import write_beef

        return write_beef([(transaction, None)], version=2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def chain(tmp_path: Path, clock: Clock) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[WalletNode]:
    made = WalletNode(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open()
    yield made
    await made.close()
