"""Mirrored certificates on BSV, found in the overlay's own outputs, and not in the books.

    coins  =  what was issued with an origin of this bridge's  −  what became Withdrawn by this bridge

By the partition rule every certificate of an issuance is in some output that is not spent, or was destroyed by its
own holder; so the difference is what lives of every status but Withdrawn, and what holders destroyed, whose tokens
stay in custody for good.

Outputs are read in the order of their admission, each once. What is so deep that no reorganisation that is followed
reaches it is added up for good; of what is above that, each transaction is asked for again at every reading, for it
may have been evicted. `forget` begins anew, and is done before anything is called a breach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.mirror.ground import MirrorGround
from bridge.mirror.origin import chain_name, read_origin
from bridge.mirror.records import ISSUES, MIRROR
from bridge.mirror.to_bsv.posting import Purpose
from certificates.lifecycle import Status
from certificates.token import Token, issuance_id_for
from overlay.clock import drawn_ms
from overlay.outputs import complete_outputs
from overlay.records import OUTPUTS, TRANSACTIONS, applied, load_raws
from overlay.transaction import Transaction, split_outpoint
from store.pages import pages
from store.port import Document, Find, Key, Put
from topics.certificates import read_script

_PAGE: Final = 250
_OVERLAP_MS: Final = 20_000
"""Another process of the node may commit a number a little after a higher one was read."""
_NUMBERS_A_MS: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Part:
    """What one output adds, in Wh."""

    issued_wh: int = 0
    withdrawn_wh: int = 0


@dataclass(slots=True)
class _Recent:
    """A transaction that may still be evicted: its first number, and what its outputs add."""

    seq: int
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coins:
    """`seq` is the number up to which outputs were read."""

    issued_wh: int = 0
    withdrawn_wh: int = 0
    seq: int = 0

    @property
    def wh(self) -> int:
        return self.issued_wh - self.withdrawn_wh

    def plus(self, parts: Iterable[Part]) -> Coins:
        issued, withdrawn = self.issued_wh, self.withdrawn_wh
        for part in parts:
            issued += part.issued_wh
            withdrawn += part.withdrawn_wh
        return replace(self, issued_wh=issued, withdrawn_wh=withdrawn)


class MirroredCoins:
    """Of one asset. One reading at a time."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._chain = chain_name(ground.asset.genesis)
        self._key = f"coins:{ground.asset.name}"
        self._deep: Coins | None = None
        self._read_seq = 0
        self._recent: dict[bytes, _Recent] = {}
        self._seen: dict[bytes, int] = {}

    def forget(self) -> None:
        """Read everything again at the next reading, from the first output on."""
        self._deep, self._read_seq = Coins(), 0
        self._recent.clear()
        self._seen.clear()

    async def read_on(self) -> None:
        """Read what was admitted since. What takes long is done here, before `coins` is asked for."""
        if self._deep is None:
            await self._load()
        lower = max(0, self._read_seq - _OVERLAP_MS * _NUMBERS_A_MS)
        async for rows in pages(self._store, OUTPUTS, Find("by_seq", lower=lower), size=_PAGE):
            new = [row for row in rows if self._seen.get(row["_id"]) != row["seq"]]
            await self._enter(new)
            self._seen |= {row["_id"]: row["seq"] for row in new}
            self._read_seq = max(self._read_seq, rows[-1]["seq"] if rows else 0)
            await asyncio.sleep(0)
        lower = self._read_seq - 2 * _OVERLAP_MS * _NUMBERS_A_MS
        self._seen = {outpoint: seq for outpoint, seq in self._seen.items() if seq >= lower}

    async def coins(self) -> Coins:
        """What there is at this moment."""
        await self.read_on()
        assert self._deep is not None
        stored = await self._store.get_many(TRANSACTIONS, list(self._recent))
        # What is evicted is read again, with another number, should it come back.
        self._recent = {txid: each for txid, each in self._recent.items() if applied(stored.get(txid))}
        await self._settle(stored)
        return self._deep.plus(part for each in self._recent.values() for part in each.parts.values())

    # What is deep

    async def _load(self) -> None:
        row = await self._store.get(MIRROR, self._key)
        self._deep = Coins() if row is None else Coins(row["issued_wh"], row["withdrawn_wh"], row["seq"])
        # What is deep was read: from the next number on.
        self._read_seq = 0 if row is None else row["seq"] + 1 + _OVERLAP_MS * _NUMBERS_A_MS

    async def _settle(self, stored: Mapping[Key, Document]) -> None:
        """Add up for good what no reorganisation takes back: in the order of admission, up to the first that one
        may."""
        deep = self._ground.engine.headers.tip_height - self._ground.settings.chain.reorg_limit
        gone: list[bytes] = []
        sums = self._deep or Coins()
        for txid, recent in sorted(self._recent.items(), key=lambda item: item[1].seq):
            height = stored[txid]["height"]
            if height is None or height > deep:
                break
            sums = replace(sums.plus(recent.parts.values()), seq=recent.seq)
            gone.append(txid)
        if gone and drawn_ms(sums.seq) < drawn_ms(self._read_seq) - _OVERLAP_MS:
            self._deep = sums
            for txid in gone:
                del self._recent[txid]
            row = {"issued_wh": sums.issued_wh, "withdrawn_wh": sums.withdrawn_wh, "seq": sums.seq}
            await self._store.commit([Put(MIRROR, {"_id": self._key, **row})])

    # Outputs

    async def _enter(self, rows: Sequence[Document]) -> None:
        outputs = await complete_outputs(
            self._store, [row["_id"] for row in rows], {row["_id"]: row for row in rows}
        )
        tokens = {key: token for key, each in outputs.items() if (token := self._mirrored(each.script)) is not None}
        txids = {split_outpoint(key)[0] for key in tokens}
        made = {txid: Transaction.parse(raw) for txid, raw in (await load_raws(self._store, txids)).items()}
        own = await self._store.get_many(ISSUES, list(txids)) if txids else {}
        for row in rows:
            txid, index = split_outpoint(row["_id"])
            if row["_id"] not in tokens or txid not in made:
                continue
            part = _part(tokens[row["_id"]], made[txid], index, own.get(txid))
            if part != Part():
                recent = self._recent.setdefault(txid, _Recent(row["seq"]))
                recent.seq, recent.parts[index] = row["seq"], part

    def _mirrored(self, script: bytes) -> Token | None:
        """A certificate that this bridge issued, with an origin of the asset's."""
        token = read_script(script)
        if not isinstance(token, Token) or token.issuer_key != self._ground.identity:
            return None
        origin = read_origin(token.origin)
        is_own = origin is not None and (origin.chain, origin.asset) == (self._chain, self._ground.asset.name)
        return token if is_own else None


def _part(token: Token, transaction: Transaction, index: int, own: Document | None) -> Part:
    """What an output adds: an issuance, or a withdrawal that is the bridge's own. Everything else passes on what
    was there."""
    if token.issuance_id == issuance_id_for(transaction.inputs[0].outpoint, index):
        return Part(issued_wh=token.bundle.energy_wh)
    is_withdrawn = token.bundle.status is Status.WITHDRAWN
    if is_withdrawn and own is not None and own["purpose"] == Purpose.COMPLETE:
        return Part(withdrawn_wh=token.bundle.energy_wh)
    return Part()
