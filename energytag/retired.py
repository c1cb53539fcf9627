"""Retired certificates of an account: what was cancelled, for whom, and by which transaction.

A certificate that was claimed was cancelled before, by another transaction; that one is the retirement, and is
found through the coin that the claim spends. What an issuer's notice has withdrawn is not retired.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from certificates.document import Json
from certificates.lifecycle import Status
from certificates.ranges import Range, subtract
from config.errors import BadRequest, ErrorCode
from energytag.charged import Charged
from energytag.holdings import load, shown
from energytag.plan import Holding
from lookup.filters import Filters
from lookup.records import CERTIFICATES
from lookup.search import Shown
from lookup.standing import LOST, Notice, applying, is_lost, notices_for
from overlay.records import load_raws
from overlay.transaction import Transaction
from store.port import Document, Reader

MOST_BUNDLES: Final = 100_000
"""Bundles that one question may be about."""
_RETIRED: Final = (Status.CANCELLED.value, Status.CLAIMED.value)
# A bundle that was withdrawn in part is shown as withdrawn, and one whose coin was destroyed as lost. What notices
# leave of the one, and all of the other, was retired nevertheless.
_ASKED: Final = (*_RETIRED, Status.WITHDRAWN.value, LOST)


class TooMuch(BadRequest):
    """The question is about more than one answer can hold."""

    default_code = ErrorCode.RESPONSE_TOO_LARGE


@dataclass(frozen=True, slots=True)
class Retired:
    """A retired bundle; `parts` are those of its numbers that stand, ascending."""

    holding: Holding
    parts: tuple[Range, ...]

    @property
    def record(self) -> Document:
        return self.holding.record

    @property
    def is_claimed(self) -> bool:
        return bool(self.record["status"] == Status.CLAIMED)

    @property
    def is_spent(self) -> bool:
        """Whether the coin is gone: nothing but a claim can follow a cancellation."""
        return not self.record["live"] and not is_lost(self.record)

    @property
    def energy_wh(self) -> int:
        return self._energy_wh(self.parts)

    def charged_wh(self, charged: Charged) -> int:
        """What of the energy went into a store."""
        backing = charged.get(self.record["issuance_id"])
        return self.energy_wh - self._energy_wh(subtract(self.parts, backing)) if backing else 0

    def _energy_wh(self, parts: Iterable[Range]) -> int:
        return sum(each.quantity for each in parts) * int(self.record["face_value"])

    @property
    def beneficiary(self) -> Beneficiary:
        return Beneficiary.read(self.holding.token.beneficiary)


@dataclass(frozen=True, slots=True)
class Beneficiary:
    """For whom a certificate was retired: a name, and an identity key (hex) when one was given."""

    name: str
    identity_key: str | None = None

    @classmethod
    def read(cls, value: Json) -> Beneficiary:
        """The beneficiary that a token names; admission has seen to it that there is a name or a key."""
        if not isinstance(value, Mapping):
            return cls(value if isinstance(value, str) else "")
        name, key = value.get("name"), value.get("identity_key")
        key = key if isinstance(key, str) else None
        return cls(name if isinstance(name, str) else key or "", key)

    def is_one_of(self, identities: Collection[str], names: Collection[str]) -> bool:
        """Whether it is the party that has these identity keys (hex) and names. A key outweighs a name, which
        anybody may bear."""
        if self.identity_key is not None:
            return self.identity_key in identities
        return self.name in names


async def retired_of(reader: Reader, filters: Filters, now_secs: int) -> AsyncIterator[Retired]:
    """The retired bundles that the filters admit, the earliest production first, or the first admitted when
    they name an issuance; `TooMuch` beyond `MOST_BUNDLES`."""
    asked = Filters(filters.equals, _ASKED, period_start=filters.period_start, period_end=filters.period_end)
    count = 0
    async for page in shown(reader, asked, now_secs):
        parts = _parts_of(page)
        count += len(parts)
        if count > MOST_BUNDLES:
            raise TooMuch(f"more than {MOST_BUNDLES} bundles were cancelled then; ask about a shorter time")
        for holding in await load(reader, [outpoint for outpoint, left in parts.items() if left]):
            yield Retired(holding, parts[holding.outpoint])


def _parts_of(page: Iterable[Shown]) -> dict[bytes, tuple[Range, ...]]:
    """By outpoint what stands of those records of a page that were retired."""
    retired = [each for each in page if each.record["status"] in _RETIRED]
    return {each.record["_id"]: standing_parts(each.record, each.notices) for each in retired}


def standing_parts(record: Document, notices: Iterable[Notice]) -> tuple[Range, ...]:
    """The numbers of a record that no notice has withdrawn, ascending."""
    whole = Range(record["range_start"], record["range_end"])
    return tuple(subtract([whole], [notice.range for notice in notices]))


async def cancelled_as(reader: Reader, retired: Sequence[Retired]) -> list[Retired]:
    """These bundles as they were cancelled, each cancellation once, in order: the bundles themselves, and for
    those that were claimed the cancelled coins that the claim spent."""
    claims = {each.holding.coin.txid for each in retired if each.is_claimed}
    spent = await coins_spent(reader, claims)
    outpoints: dict[bytes, None] = {}
    for each in retired:
        if not each.is_claimed:
            outpoints[each.holding.outpoint] = None
            continue
        coins = spent.get(each.holding.coin.txid, ())
        outpoints |= dict.fromkeys(coin["_id"] for coin in coins if shares_numbers(coin, each.record))
    return await retired_at(reader, list(outpoints))


async def retired_at(reader: Reader, outpoints: Sequence[bytes]) -> list[Retired]:
    """The retired bundles at these outpoints, spent ones too, without what notices have withdrawn."""
    holdings = [each for each in await load(reader, outpoints) if each.record["status"] in _RETIRED]
    notices = await notices_for([each.record for each in holdings], reader)
    standing = (Retired(each, standing_parts(each.record, applying(each.record, notices))) for each in holdings)
    return [each for each in standing if each.parts]


async def coins_spent(reader: Reader, txids: Collection[bytes]) -> dict[bytes, list[Document]]:
    """By txid (internal order) the records of the certificates that a transaction spends."""
    raws = await load_raws(reader, txids)
    inputs = {txid: [spend.outpoint for spend in Transaction.parse(raw).inputs] for txid, raw in raws.items()}
    records = await reader.get_many(CERTIFICATES, [each for outpoints in inputs.values() for each in outpoints])
    return {txid: [records[each] for each in outpoints if each in records] for txid, outpoints in inputs.items()}


def shares_numbers(one: Document, other: Document) -> bool:
    """Whether two records hold certificates in common, at two times."""
    return bool(
        one["issuance_id"] == other["issuance_id"]
        and one["range_start"] <= other["range_end"]
        and other["range_start"] <= one["range_end"]
    )
