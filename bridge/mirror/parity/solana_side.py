"""What Solana holds for the mirror at one final slot, from the chain itself.

The event processor runs behind the chain by a moment. What it has not applied yet up to that slot is read from the
history of the address: of it only the bridge's own releases count, for of deposits nobody here knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token.state import Mint, TokenAccount

from bridge.mirror.ground import MirrorGround
from bridge.mirror.parity.token_movements import Strange, TokenMovements
from bridge.mirror.records import MESSAGES, RELEASES
from bridge.programs.instructions import Kind
from bridge.programs.mint import MINT_BYTES
from bridge.programs.movements import balance_changes, movements
from bridge.records import CURSORS
from bridge.solana.rpc import AccountState, SeenSignature, SeenTransaction, Status
from config.errors import ErrorCode, Unavailable
from store.port import Document, Find

TOKEN_ACCOUNT_BYTES: Final = 165
_MOST_UNAPPLIED: Final = 999
_ASKED: Final = ("the custody account", "the mint")


class Moving(Unavailable):
    """What was read does not belong to one moment: it is to be read again."""

    default_code = ErrorCode.SOLANA_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class SolanaSide:
    """At `slot`, base units. `custody` is without what came by transactions that nobody here knows yet, `balance`
    with it. `supply_moved` is what the supply would be by its movements, None while some are not applied."""

    slot: int
    balance: int
    custody: int
    supply: int
    burned: int
    minted: int
    supply_moved: int | None
    custody_moved: int | None
    foreign: Sequence[Strange]
    unexplained: Sequence[Strange]


@dataclass(frozen=True, slots=True)
class _Cursor:
    signature: Signature | None
    slot: int
    whole_slot: int


class SolanaReading:
    """Reads one asset's side."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._asset = ground.asset
        self.movements = TokenMovements(ground.store, ground.asset)

    async def read_on(self) -> None:
        """Add up the movements that are behind us for good. What takes long is done here, before `read`."""
        cursors = await self._cursors()
        whole_slot = min(each.whole_slot for each in cursors.values())
        await self.movements.at(whole_slot, whole_slot)

    async def read(self, pending: Collection[bytes]) -> SolanaSide:
        """`pending` are the source events in the inbox that are no messages yet. Raises `Moving`, `Unavailable`."""
        cursors = await self._cursors()
        found = await self._ground.rpc.accounts_at([self._asset.custody, self._asset.mint])
        custody, mint = _data(found.accounts)
        unapplied = {each: await self._unapplied(each, cursors[each], found.slot) for each in cursors}
        whole_slot = min(each.whole_slot for each in cursors.values())
        told = await self.movements.at(found.slot, whole_slot)
        ahead = await self._ahead({each.signature for entries in unapplied.values() for each in entries}, pending)
        balance = TokenAccount.from_bytes(custody[:TOKEN_ACCOUNT_BYTES]).amount
        supply = Mint.from_bytes(mint[:MINT_BYTES]).supply
        is_applied = not any(unapplied.values())
        return SolanaSide(
            slot=found.slot,
            balance=balance,
            custody=balance - ahead.unknown,
            supply=supply,
            burned=told.sums.burned,
            minted=told.sums.minted + ahead.minted,
            supply_moved=told.sums.supply if is_applied else None,
            custody_moved=told.sums.custody if is_applied else None,
            foreign=told.foreign,
            unexplained=told.unexplained,
        )

    async def landed(self, signatures: Iterable[bytes], slot: int) -> frozenset[bytes]:
        """Those of these transactions that are final by that slot, and did what they were to."""
        asked = sorted(set(signatures))
        if not asked:
            return frozenset()
        told = await self._ground.rpc.statuses([Signature.from_bytes(each) for each in asked])
        return frozenset(key for key, status in zip(asked, told, strict=True) if _has_landed(status, slot))

    async def _cursors(self) -> dict[Pubkey, _Cursor]:
        addresses = [self._asset.custody, self._asset.mint]
        rows = await self._store.get_many(CURSORS, [str(each) for each in addresses])
        if len(rows) < len(addresses):
            raise Unavailable("the event processor has not begun yet", ErrorCode.SOLANA_UNAVAILABLE)
        if gap := next((row["gap"] for row in rows.values() if row["gap"] is not None), None):
            raise Unavailable(f"the history on Solana has a gap: {gap}", ErrorCode.SOLANA_UNAVAILABLE)
        return {each: _cursor(rows[str(each)]) for each in addresses}

    async def _unapplied(self, address: Pubkey, cursor: _Cursor, slot: int) -> list[SeenSignature]:
        """The address's transactions up to the slot that the event processor has yet to apply."""
        if cursor.slot > slot:
            raise Moving("the cluster told an older slot than before")
        entries = await self._ground.rpc.signatures_for(address, until=cursor.signature, limit=_MOST_UNAPPLIED + 1)
        newer = [each for each in entries if cursor.signature is not None or each.slot > cursor.whole_slot]
        if len(newer) > _MOST_UNAPPLIED:
            raise Moving("the event processor is far behind the chain")
        if any(each.slot < cursor.slot for each in newer):
            raise Moving("the cluster's history does not lead to what was applied last")
        return [each for each in newer if each.slot <= slot and each.error is None]

    async def _ahead(self, signatures: Collection[Signature], pending: Collection[bytes]) -> _Ahead:
        """What unapplied transactions did: those of the bridge's own, and those that nobody here knows."""
        keys = [bytes(each) for each in signatures]
        if not keys:
            return _Ahead()
        releases = await self._store.get_many(RELEASES, keys)
        ahead = _Ahead()
        for key in keys:
            seen = await self._transaction(key)
            if key in releases:
                ahead.minted += _minted(seen, self._asset.mint)
            elif not await self._is_known(key, pending):
                # What takes from custody is nobody's deposit: it counts at once.
                ahead.unknown += max(0, balance_changes(seen, self._asset.mint)[self._asset.custody])
        return ahead

    async def _transaction(self, key: bytes) -> SeenTransaction:
        seen = await self._ground.rpc.transaction(Signature.from_bytes(key))
        if seen is None:
            raise Moving("the cluster does not tell a transaction of its own history")
        return seen

    async def _is_known(self, key: bytes, pending: Collection[bytes]) -> bool:
        """Whether the inbox or a message is of this transaction: another address's history had it first."""
        if any(event.startswith(key) for event in pending):
            return True
        page = await self._store.find(MESSAGES, Find("source", {"source_tx": key}, limit=1))
        return bool(page.documents)


@dataclass(slots=True)
class _Ahead:
    minted: int = 0
    unknown: int = 0


def _cursor(row: Document) -> _Cursor:
    signature = None if row["signature"] is None else Signature.from_bytes(row["signature"])
    return _Cursor(signature, row["slot"], row["whole_slot"])


def _data(accounts: Sequence[AccountState | None]) -> list[bytes]:
    """The data of the custody account and of the mint."""
    data = [each.data for each in accounts if each is not None]
    if len(data) != len(_ASKED):
        raise Unavailable(f"the cluster does not tell {' and '.join(_ASKED)}", ErrorCode.SOLANA_UNAVAILABLE)
    return data


def _has_landed(status: Status | None, slot: int) -> bool:
    is_final = status is not None and status.commitment == "finalized" and status.error is None
    return is_final and status is not None and status.slot <= slot


def _minted(seen: SeenTransaction, mint: Pubkey) -> int:
    return sum(each.units for each in movements(seen, mint).instructions if each.kind is Kind.MINT)
