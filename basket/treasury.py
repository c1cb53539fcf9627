"""The node's own treasury: coins in the node's storage, keys derived from the node's key.

    deposit ─→ coin ─→ split into coins of one size ─→ take ─→ spent in the commit of a certificate transaction
                 ↑            (reshape)                              │
                 └──────────── change, joined when small ←───────────┘

Wallet and chain agree after a crash, because a coin is spent, and its change made, in the very commit that admits
the transaction (`writes`). What is held in memory is only who was given which coin.

The treasury's own transactions are handed to the engine as ancestors, which no topic judges. The engine does the
rest as for any ancestor: it broadcasts them, asks for their proofs, sends them along with what stands on them, and
evicts them, with all of that, when the network refuses them.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from basket.address import p2pkh_address
from basket.checking import verify
from basket.coins import FUND_COINS, coin_row, kept, read_coin, spent
from basket.funds import Change, FundCoin, Funding
from basket.keyring import Keyring
from basket.purse import Purse, PurseCoin
from basket.reshape import Reshape, Shape, plan_reshape
from basket.upkeep import Upkeep
from config.errors import BadRequest, Busy, ErrorCode, Unavailable
from config.settings import Network, WalletSettings
from overlay.ancestors import ancestor_writes
from overlay.builder import P2pkhSigner, TransactionBuilder, coins_of, p2pkh_lock
from overlay.clock import NowMs
from overlay.clock import Sequence as Numbers
from overlay.devchain import Payment
from overlay.engine import Engine
from overlay.envelope import Envelope, Member, parse_envelope
from overlay.headers import HeaderChain
from overlay.outbox import outbox_entry
from overlay.records import SPENDS, TRANSACTIONS
from overlay.transaction import Transaction
from overlay.verifier import Verifier
from store.port import Conflict, Find, Store, Write

DEPOSIT_KEY_ID: Final = "deposit"
_KEY_ID_BYTES: Final = 16
_LIGHT_BYTES: Final = 16 * 1024
_MOST_DEPOSIT_OUTPUTS: Final = 1000
_MOST_SHOWN: Final = 100

Fund: TypeAlias = Callable[[bytes, int, int], Awaitable[Payment]]
"""Pays a script so many satoshis so many times: the dev chain's faucet."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Balance:
    """What there is. `ready` coins could be given now; `taken` ones are with transactions being made."""

    satoshis: int
    proven_satoshis: int
    coins: int
    ready: int
    taken: int
    is_low: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """What is kept in storage, whichever process uses it: all live coins, and the largest."""

    satoshis: int
    coins: int
    largest: tuple[FundCoin, ...]


class EmbeddedTreasury:
    """`basket.funds.Treasury` over the node's store. `open` once before use, `tend` in the background.

    `fund`, on the dev network, is asked for coins when there are none. The store is opened with `FUND_COINS`
    among its collections.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        headers: HeaderChain,
        verifier: Verifier,
        keyring: Keyring,
        settings: WalletSettings,
        now_ms: NowMs,
        *,
        network: Network = "dev",
        fund: Fund | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._headers = headers
        self._verifier = verifier
        self._keyring = keyring
        self._settings = settings
        self._now_ms = now_ms
        self._fund = fund
        self._numbers = Numbers(now_ms)
        self._shape = Shape(settings.coin_satoshis, settings.spare_coins, settings.fee_rate)
        self._purse = Purse(settings.unproven_depth, settings.fee_rate)
        self._upkeep = Upkeep(store, engine, headers, self._purse, now_ms)
        self._doubtful: set[bytes] = set()
        self._was_used = False
        # Guards what brings coins in or makes others of them: each coin is put into the purse once.
        self._lock = asyncio.Lock()
        deposit_key = keyring.funds_key(DEPOSIT_KEY_ID).public
        self.deposit_script = p2pkh_lock(deposit_key)
        self.deposit_address = p2pkh_address(deposit_key, network)

    async def open(self) -> None:
        """Load the coins that are kept."""
        async with self._lock:
            await self._upkeep.load()

    # Giving coins

    @property
    def fee_rate(self) -> int:
        """Satoshis for 1000 bytes."""
        return self._settings.fee_rate

    async def take(self, satoshis: int, spending: Sequence[bytes] = ()) -> Funding:
        """See `Treasury.take`. Coins beyond the first also bring what their own inputs cost."""
        self._was_used = True
        if self._doubtful:
            await self._settle_doubts()
        named = self._purse.take_these(spending)
        if len(named) < len(spending):
            raise Busy("coins that must be spent once more are not free")
        try:
            lacking = satoshis - self._purse.worth_beyond_inputs(named)
            chosen = [] if lacking <= 0 else self._purse.take(lacking) or await self._take_more(lacking)
        except BaseException:
            self.give_back(Funding(tuple(coin.fund for coin in named)))
            raise
        return Funding(tuple(coin.fund for coin in (*named, *chosen)))

    async def _take_more(self, satoshis: int) -> list[PurseCoin]:
        """Make coins out of larger ones, or have some paid in; those who come meanwhile wait and look again."""
        async with self._lock:
            chosen = self._purse.take(satoshis)
            if not chosen and await self._reshape():
                chosen = self._purse.take(satoshis)
            if not chosen and self._fund is not None:
                await self._paid_in(self._fund, satoshis)
                chosen = self._purse.take(satoshis)
        if not chosen:
            raise Unavailable(self._why_none(satoshis), ErrorCode.WALLET_EMPTY)
        return chosen

    def _why_none(self, satoshis: int) -> str:
        if self._purse.satoshis < satoshis:
            return f"the wallet holds {self._purse.satoshis} satoshis; pay to {self.deposit_address}"
        return f"no coins for {satoshis} satoshis are free: others use them, or they wait to be mined"

    def give_back(self, funding: Funding) -> None:
        """See `Treasury.give_back`. The coins are looked at before they are given again: perhaps they were not
        spent because they cannot be."""
        self._doubtful.update(coin.outpoint for coin in funding.coins)

    async def _settle_doubts(self) -> None:
        doubtful, self._doubtful = self._doubtful, set()
        rows, spends, made = await self._store.get_each(
            [
                (FUND_COINS, list(doubtful)),
                (SPENDS, list(doubtful)),
                (TRANSACTIONS, list({outpoint[:32] for outpoint in doubtful})),
            ]
        )
        for outpoint in doubtful:
            row = rows.get(outpoint)
            if row is not None and row["live"] is not None and outpoint[:32] in made and outpoint not in spends:
                self._purse.release(outpoint)
            else:
                await self._lose(outpoint, spender=spends.get(outpoint, {}).get("txid"))

    async def _lose(self, outpoint: bytes, spender: bytes | None) -> None:
        """A coin was spent by somebody else with this node's key, or its transaction is gone."""
        coin = self._purse.get(outpoint)
        self._purse.drop(outpoint)
        if coin is None or spender is None:
            return
        log.warning("a coin was spent elsewhere", txid=coin.txid[::-1].hex(), spender=spender[::-1].hex())
        try:
            await self._store.commit([spent(coin.fund, spender, self._now_ms())])
        except Conflict:
            log.debug("the coin's row says so already", txid=coin.txid[::-1].hex())

    def change(self) -> Change:
        """A fresh key of the node's."""
        key_id = b64encode(secrets.token_bytes(_KEY_ID_BYTES)).decode()
        script = p2pkh_lock(self._keyring.funds_key(key_id).public)
        return Change(key_id, script, self._settings.least_change_satoshis)

    # Spending them

    def writes(self, funding: Funding, change: FundCoin | None) -> Sequence[Write]:
        """See `Treasury.writes`: a `Conflict` when a coin was spent meanwhile."""
        spender = None if change is None else change.coin.txid
        writes = [spent(coin, spender, self._now_ms()) for coin in funding.coins]
        return writes if change is None else [*writes, coin_row(self._change_coin(funding, change))]

    def settle(self, funding: Funding, change: FundCoin | None) -> None:
        """See `Treasury.settle`."""
        if change is not None:
            self._purse.add(self._change_coin(funding, change))
        for coin in funding.coins:
            self._purse.drop(coin.outpoint)

    def _change_coin(self, funding: Funding, change: FundCoin) -> PurseCoin:
        """It stands on the deepest of the coins, and is of a transaction that may be large."""
        known = [self._purse.get(coin.outpoint) for coin in funding.coins]
        # Where the coins were spent before (a transaction that was kept back) nothing is known but the bound.
        depth = max((coin.depth for coin in known if coin is not None), default=self._settings.unproven_depth - 1)
        return PurseCoin(change, depth + 1, is_light=False)

    # Bringing coins in

    async def deposit(self, beef: bytes, vouts: Sequence[int] | None = None) -> list[FundCoin]:
        """Take in outputs that pay to `deposit_script`: those named, or all that do. They are proven by the header
        chain, or verified and then broadcast. `BadRequest` as for a submission, with INVALID_FIELD for an output
        that does not pay to this wallet."""
        envelope = parse_envelope(beef, self._engine.limits.envelope)
        outputs = envelope.subject.outputs
        if vouts is None:
            vouts = [index for index, output in enumerate(outputs) if output.script == self.deposit_script]
        return await self.receive(envelope, dict.fromkeys(vouts, DEPOSIT_KEY_ID))

    async def receive(self, envelope: Envelope, key_ids: Mapping[int, str]) -> list[FundCoin]:
        """Take in outputs of an envelope's subject by index, each locked to the key of its key ID."""
        self._check_outputs(envelope.subject, key_ids)
        await verify(envelope, self._store, self._headers, self._verifier)
        async with self._lock:
            return await self._take_in(envelope, key_ids)

    def _check_outputs(self, subject: Transaction, key_ids: Mapping[int, str]) -> None:
        if not 0 < len(key_ids) <= _MOST_DEPOSIT_OUTPUTS:
            raise BadRequest(
                f"a deposit has 1 to {_MOST_DEPOSIT_OUTPUTS} outputs to this wallet", ErrorCode.INVALID_FIELD
            )
        for index, key_id in key_ids.items():
            script = p2pkh_lock(self._keyring.funds_key(key_id).public)
            if not 0 <= index < len(subject.outputs) or subject.outputs[index].script != script:
                raise BadRequest(f"output {index} does not pay to this wallet", ErrorCode.INVALID_FIELD)

    async def _take_in(self, envelope: Envelope, key_ids: Mapping[int, str]) -> list[FundCoin]:
        subject, now_ms = envelope.subject, self._now_ms()
        members = envelope.ancestry()
        generation = self._headers.generation
        depth = sum(member.bump is None for member in members)
        is_light = len(subject.raw) <= _LIGHT_BYTES
        made = coins_of(subject)
        coins = [PurseCoin(FundCoin(made[i], key_id), depth, is_light) for i, key_id in key_ids.items()]
        writes = ancestor_writes(members, self._headers, now_ms)
        writes += [coin_row(coin, arrived_ms=now_ms) for coin in coins]
        if envelope.subject_bump is None:
            writes += self._broadcast(subject)
        await self._store.commit(writes)
        if envelope.subject_bump is not None:
            await self._engine.proofs.prove(subject.txid, envelope.subject_bump.raw)
        if generation != self._headers.generation:
            await self._engine.proofs.revalidate([member.transaction.txid for member in members])
        await self._upkeep.admit([coin.outpoint for coin in coins])
        return [coin.fund for coin in coins]

    def _broadcast(self, transaction: Transaction) -> list[Write]:
        if self._engine.outbox is None:
            return []
        return [outbox_entry(self._numbers, self._now_ms(), "broadcast", {"txid": transaction.txid})]

    async def _paid_in(self, fund: Fund, satoshis: int) -> None:
        """Have spare coins paid, each large enough for what is wanted."""
        change = self.change()
        payment = await fund(change.script, max(self._shape.coin_satoshis, satoshis), self._shape.spare_coins)
        envelope = parse_envelope(payment.beef, self._engine.limits.envelope)
        await verify(envelope, self._store, self._headers, self._verifier)
        await self._take_in(envelope, dict.fromkeys(payment.vouts, change.key_id))

    # Upkeep

    async def tend(self) -> None:
        """One round: learn what became of the coins, split and join, and on the dev network have more paid in."""
        async with self._lock:
            await self._upkeep.round()
            await self._reshape()
            if self._fund is not None and self._was_used and 2 * self._ready < self._shape.spare_coins:
                await self._paid_in(self._fund, 0)

    async def _reshape(self) -> bool:
        """Split or join coins, if that is worth it; whether it was."""
        plan = plan_reshape(self._purse.free(), self._ready, self._shape)
        if plan is None:
            return False
        for coin in plan.coins:
            self._purse.hold(coin)
        try:
            made = await self._make_coins(plan)
        except BaseException:
            # Whether the commit came about is not known on cancellation: look before they are given again.
            self.give_back(Funding(tuple(coin.fund for coin in plan.coins)))
            raise
        for coin in plan.coins:
            self._purse.drop(coin.outpoint)
        for coin in made:
            self._purse.add(coin)
        return True

    async def _make_coins(self, plan: Reshape) -> list[PurseCoin]:
        transaction, key_ids = self._build(plan)
        coins = [
            PurseCoin(FundCoin(coin, key_id), depth=1, is_light=True)
            for coin, key_id in zip(coins_of(transaction), key_ids, strict=True)
        ]
        now_ms = self._now_ms()
        writes = [spent(coin.fund, transaction.txid, now_ms) for coin in plan.coins]
        writes += [coin_row(coin, arrived_ms=now_ms) for coin in coins]
        writes += ancestor_writes([Member(transaction)], self._headers, now_ms)
        writes += self._broadcast(transaction)
        await self._store.commit(writes)
        log.info("coins reshaped", txid=transaction.txid_hex, spent=len(plan.coins), made=len(coins))
        return coins

    def _build(self, plan: Reshape) -> tuple[Transaction, list[str]]:
        builder = TransactionBuilder()
        for coin in plan.coins:
            builder.spend(coin.fund.coin, P2pkhSigner(self._keyring.funds_key(coin.fund.key_id)))
        targets = [self.change() for _ in range(plan.count + 1)]
        for target in targets[:-1]:
            builder.pay(self._shape.coin_satoshis, target.script)
        builder.change_to(targets[-1].script, self._shape.fee_rate)
        return builder.build(), [target.key_id for target in targets]

    # Figures

    @property
    def _ready(self) -> int:
        return self._purse.ready(self._shape.least_satoshis)

    @property
    def is_low(self) -> bool:
        """Whether the balance is below the alarm. Where coins are paid in when asked for, it never is."""
        return self.is_below_alarm(self._purse.satoshis)

    def is_below_alarm(self, satoshis: int) -> bool:
        return self._fund is None and satoshis < self._settings.low_satoshis

    def balance(self) -> Balance:
        proven = sum(coin.satoshis for coin in self._purse if coin.block is not None)
        return Balance(self._purse.satoshis, proven, len(self._purse), self._ready, self._purse.taken, self.is_low)

    async def kept_satoshis(self) -> int:
        """The balance for all processes of this node, read from storage."""
        return (await kept(self._store))[0]

    async def stock(self) -> Stock:
        """What there is for all processes of this node, read from storage."""
        satoshis, coins = await kept(self._store)
        page = await self._store.find(FUND_COINS, Find("live", descending=True, limit=_MOST_SHOWN))
        largest = tuple(read_coin(document).fund for document in page.documents)
        return Stock(satoshis, coins, largest)
