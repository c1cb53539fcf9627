"""A node without HTTP for the engine's tests: the real store, dev chain, topics and lookup service."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from certificates.issuance import issue
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, Token, encode_fields
from config.settings import Settings
from lookup.hosted import hosted_lookup_services
from overlay.admission import Alongside
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, TransactionBuilder, coins_of, p2pkh_lock
from overlay.chain import Broadcast, Broadcaster, Header, TxStatus
from overlay.devchain import DEV_COLLECTIONS, DevChain, Refusal
from overlay.engine import Engine, EngineLimits
from overlay.envelope import parse_envelope
from overlay.headers import HeaderChain
from overlay.keys import PrivateKey
from overlay.lookup_service import LookupService
from overlay.pushdrop import lock
from overlay.records import ENGINE_COLLECTIONS, RAWS, TRANSACTIONS
from overlay.steak import Steak
from overlay.transaction import Output, Transaction
from overlay.verifier import Verifier
from overlay.verify import VerifyLimits
from overlay.wire import write_beef
from store.port import Delete, Patch, Store, Write
from store.sqlite import SqliteStore
from tests.sample import ATTRIBUTES
from topics.hosted import hosted_topics

GC = "tm_metawatt_gc"
SOLAR_DE = "tm_metawatt_gc_solar_pv_de"


class Clock:
    """A clock that the test turns."""

    def __init__(self, now_ms: int = 1_780_315_200_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class DevSource:
    """The dev chain as a headers service."""

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain

    async def tip(self) -> Header:
        return self._chain.tip

    async def range(self, start: int, count: int) -> list[Header]:
        return await self._chain.headers(start, count)

    async def close(self) -> None:
        """Nothing is held."""


class DevBroadcaster:
    """The dev chain as ARC, without HTTP between."""

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain

    async def broadcast(self, transaction: bytes) -> Broadcast:
        try:
            report = await self._chain.submit(transaction)
        except Refusal as refusal:
            assert refusal.txid is not None
            return Broadcast(refusal.txid, TxStatus.REJECTED, refusal.message)
        return Broadcast(report.txid, report.status, report.detail, report.merkle_path, report.block_height)

    async def status(self, txid: bytes) -> Broadcast | None:
        report = await self._chain.status(txid)
        if report is None:
            return None
        return Broadcast(txid, report.status, report.detail, report.merkle_path, report.block_height)

    async def close(self) -> None:
        """Nothing is held."""


class Chain:
    """A dev chain of its own, with an issuer and funds."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.issuer = PrivateKey.from_int(1001)
        self.owner = PrivateKey.from_int(1002)
        self.clock = clock
        self._store = SqliteStore(folder / "devchain.db", cache_mib=4)
        self.dev = DevChain(self._store, "dev", initial_blocks=101, now_ms=clock)
        self._coins: list[Coin] = []
        self.proofs: dict[bytes, bytes] = {}
        self.known: dict[bytes, Transaction] = {}

    async def open(self) -> None:
        await self._store.open(DEV_COLLECTIONS)
        await self.dev.open()

    async def close(self) -> None:
        await self.dev.close()
        await self._store.close()

    async def fund(self) -> Coin:
        """A mined P2PKH coin of the owner's."""
        if not self._coins:
            payment = await self.dev.faucet(p2pkh_lock(self.owner.public), 10_000, 50)
            envelope = parse_envelope(payment.beef)
            transaction = envelope.subject
            assert envelope.subject_bump is not None
            self.known[transaction.txid] = transaction
            self.proofs[transaction.txid] = envelope.subject_bump.raw
            self.add_funds(transaction)
        return self._coins.pop()

    def add_funds(self, payment: Transaction) -> None:
        """Coins that `fund` will give."""
        self._coins += [coin for coin in coins_of(payment) if coin.output.satoshis == 10_000]

    async def issue(
        self, quantities: Sequence[int] = (1000,), funding: Coin | None = None, **changes: Any
    ) -> tuple[Transaction, list[Token]]:
        """A transaction that issues one certificate for each quantity, to the owner's key, paid by `funding`."""
        funding = funding or await self.fund()
        spent = funding.txid + funding.index.to_bytes(4, "little")
        tokens = [
            self.sign(
                issue(
                    ATTRIBUTES | changes,
                    Range(1, quantity),
                    spends=spent,
                    output_index=index,
                    issuer_key=self.issuer.public,
                    locking_key=self.owner.public,
                )
            )
            for index, quantity in enumerate(quantities)
        ]
        return self.spend([funding], tokens), tokens

    def sign(self, token: Token) -> Token:
        key = self.issuer.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone")
        return token.with_signature(key.sign(sha256(token.signed_text).digest()))

    def spend(self, coins: Sequence[Coin], tokens: Sequence[Token], change: bool = True) -> Transaction:
        """Spend coins of the owner's, P2PKH or certificates, into tokens."""
        builder = TransactionBuilder()
        for coin in coins:
            plain = coin.output.script[:1] == b"\x76"
            builder.spend(coin, P2pkhSigner(self.owner) if plain else PushDropSigner(self.owner))
        for token in tokens:
            builder.pay(1, lock(token.locking_key, encode_fields(token)))
        if change:
            builder.change_to(p2pkh_lock(self.owner.public))
        transaction = builder.build()
        self.known[transaction.txid] = transaction
        return transaction

    async def succeed(self, coins: Sequence[Coin], tokens: Sequence[Token]) -> Transaction:
        """Spend certificates into successors, with a fresh coin for the fee."""
        return self.spend([*coins, await self.fund()], tokens)

    def beef(self, transaction: Transaction) -> bytes:
        """A BEEF V1 of a transaction and all that it needs."""
        order: list[tuple[Transaction, bytes | None]] = []
        seen: set[bytes] = set()

        def visit(current: Transaction) -> None:
            if current.txid in seen:
                return
            seen.add(current.txid)
            proof = self.proofs.get(current.txid)
            if proof is None:
                for spent in current.inputs:
                    visit(self.known[spent.source_txid])
            order.append((current, proof))

        visit(transaction)
        return write_beef(order)

    async def mine(self, *transactions: Transaction, blocks: int = 1) -> None:
        """Put transactions into a block, and remember their proofs."""
        broadcaster = DevBroadcaster(self.dev)
        for transaction in transactions:
            report = await broadcaster.broadcast(self.extended(transaction))
            assert not report.status.refused, report
        await self.dev.mine(blocks)
        for transaction in transactions:
            status = await broadcaster.status(transaction.txid)
            assert status is not None
            assert status.merkle_path is not None
            self.proofs[transaction.txid] = status.merkle_path

    def extended(self, transaction: Transaction) -> bytes:
        from overlay.wire import to_extended

        return to_extended(transaction, self.sources(transaction))

    def sources(self, transaction: Transaction) -> list[Output]:
        return [self.known[spent.source_txid].outputs[spent.source_index] for spent in transaction.inputs]


def without_raw(txid: bytes) -> list[Write]:
    """The writes that take a transaction's raw bytes away, wherever they are."""
    return [Patch(TRANSACTIONS, txid, {"raw": None}), Delete(RAWS, txid)]


class Node:
    """An engine on a store, over a chain."""

    def __init__(
        self,
        chain: Chain,
        store: Store,
        clock: Clock,
        *,
        broadcasts: bool = True,
        broadcaster: Broadcaster | None = None,
        settings: Settings | None = None,
        services: Sequence[LookupService] = (),
        **limits: Any,
    ) -> None:
        self.chain = chain
        self.store = store
        settings = settings or Settings()
        self.services = [*hosted_lookup_services(settings), *services]
        self.headers = HeaderChain(store, DevSource(chain.dev), first_height=0, reorg_limit=10)
        self.verifier = Verifier(self.headers, VerifyLimits())
        self.engine = Engine(
            store,
            self.headers,
            self.verifier,
            hosted_topics(settings, chain.issuer.public),
            self.services,
            broadcaster=(broadcaster or DevBroadcaster(chain.dev)) if broadcasts else None,
            limits=EngineLimits(**limits),
            now_ms=clock,
        )

    async def open(self) -> None:
        collections = [collection for service in self.services for collection in service.collections]
        await self.store.open([*ENGINE_COLLECTIONS, *collections])
        await self.headers.open()
        await self.headers.sync()
        await self.engine.open()

    async def close(self) -> None:
        await self.verifier.close()
        await self.store.close()

    async def submit(self, transaction: Transaction, *topics: str, alongside: Alongside | None = None) -> Steak:
        return await self.engine.submit(self.chain.beef(transaction), topics or (GC,), alongside=alongside)

    async def live(self, **query: Any) -> set[tuple[bytes, int]]:
        """Outpoints that a query finds."""
        answer = await self.engine.lookup("ls_metawatt", query or "all")
        return {(found.txid, found.output_index) for found in answer.outputs}
