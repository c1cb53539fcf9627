"""Lots: which readings' energy there is in tokens that may come to the bridge.

A *lot* is the energy of one reading that became tokens at one time: by its mint, or, of what had been a certificate
in between, by a release. What a token is of cannot be told, for tokens are alike; so who brings tokens is given the
energy that has been a token longest, whoever brings them:

    The line     Lots stand in it by the slot in which their energy became tokens; within a slot by their keys, of
                 which those of mints begin with the readings' intervals. That is the chain's own order: whoever
                 reads the chain again, in whatever pieces, comes to the same line.
    Whole Wh     Of a lot only whole Wh are ever certificates, counted over the lot as a whole: a lot of 2,500,000
                 base units is good for 2 Wh, however they are taken. What is left over stays a token for good, and
                 is never put together with that of another reading: no reading says that anybody made that Wh.
    Reserved     A lot that was minted into custody for its meter's account is its own message's, and stands in the
                 line only once that message was refunded.
    No lot       A meter without `device_id` and `account_id`, a mint that is not this node's, or of which it cannot
                 be told which reading it is of: such tokens have no provenance here, and none is invented.

A lot's document is changed by compare-and-set on `rev` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from solders.pubkey import Pubkey

from bridge.meters.mirroring import minted_to
from bridge.mirror.ground import Asset
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.records import LOTS
from bridge.programs.attribution import explained
from bridge.programs.instructions import Kind, TokenInstruction
from bridge.programs.tokens import associated_account
from bridge.records import ATTEMPTS, READINGS
from bridge.solana.rpc import SeenTransaction
from bridge.watching.rows import readings_by_mint, too_large
from energytag.intervals import series_key
from energytag.measurements import CARRIER
from store.port import Document, Insert, Patch, Reader, Write

FROM_MINT: Final = "mint"

log = structlog.get_logger("metawatt.mirror")


def key_of_reading(reading: bytes) -> str:
    """The key of the lot of a reading's mint: a reading is minted once, and has one."""
    return reading.hex()


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as it is stored, or as a page leaves it. `slot` is its place in the line, `left` base units of `units`;
    `is_reserved` while it is its own message's alone, `is_elsewhere` once the registry is known to have issued its
    interval otherwise, which keeps it out of the line for good."""

    key: str
    slot: int
    reading: bytes
    meter: str
    device_id: str
    account_id: str
    interval_start_ms: int
    interval_secs: int
    units: int
    left: int
    source: str = FROM_MINT
    is_reserved: bool = False
    is_elsewhere: bool = False
    rev: int = 0

    @property
    def wh(self) -> int:
        """Whole Wh that can still be taken."""
        return self.left // UNITS_PER_WH

    @property
    def interval_ms(self) -> tuple[int, int]:
        return self.interval_start_ms, self.interval_start_ms + self.interval_secs * 1000

    @property
    def series(self) -> bytes:
        """The registry's series of its device."""
        return series_key(self.device_id, CARRIER)

    @property
    def place(self) -> int | None:
        """Where it stands in the line; None when it does not."""
        return None if self.is_reserved or self.is_elsewhere or not self.wh else self.slot

    def less(self, wh: int) -> Lot:
        """With so many Wh taken."""
        assert 0 < wh <= self.wh, f"{wh} Wh of {self.wh} in lot {self.key}"
        return replace(self, left=self.left - wh * UNITS_PER_WH)

    def more(self, units: int) -> Lot:
        """With so many base units given back."""
        assert 0 <= units <= self.units - self.left, f"{units} units more than lot {self.key} had"
        return replace(self, left=self.left + units)

    def document(self) -> Document:
        return {
            "_id": self.key,
            "slot": self.slot,
            "reading": self.reading,
            "meter": self.meter,
            "device_id": self.device_id,
            "account_id": self.account_id,
            "interval_start_ms": self.interval_start_ms,
            "interval_secs": self.interval_secs,
            "units": self.units,
            "from": self.source,
            "rev": self.rev,
            **self._changing(),
        }

    def _changing(self) -> dict[str, Any]:
        return {
            "free": self.place,
            "left": self.left,
            "is_reserved": self.is_reserved,
            "is_elsewhere": self.is_elsewhere,
        }

    def change(self) -> Patch:
        """The write of this state over that of the `rev` that it was read at."""
        return Patch(LOTS, self.key, {**self._changing(), "rev": self.rev + 1}, expect={"rev": self.rev})

    @classmethod
    def read(cls, row: Document) -> Lot:
        return cls(
            key=row["_id"],
            slot=row["slot"],
            reading=row["reading"],
            meter=row["meter"],
            device_id=row["device_id"],
            account_id=row["account_id"],
            interval_start_ms=row["interval_start_ms"],
            interval_secs=row["interval_secs"],
            units=row["units"],
            left=row["left"],
            source=row["from"],
            is_reserved=row["is_reserved"],
            is_elsewhere=row["is_elsewhere"],
            rev=row["rev"],
        )


# What a message took


def drawn(message: Message) -> list[tuple[str, int]]:
    """The lots that a message took, in its order: key and base units."""
    return [(key, units) for key, units in message.facts.get("lots", ())]


def lot_of_exit(message: Message, lot: Lot, slot: int) -> Lot:
    """What an exit made a token again, in `slot`: energy of the reading that its certificate was of. There is one
    for each exit, whose id is its key."""
    return replace(
        lot,
        key=message.id.hex(),
        slot=slot,
        units=message.units,
        left=message.units,
        source=message.id.hex(),
        is_reserved=False,
        is_elsewhere=False,
        rev=0,
    )


# What a final transaction minted


async def lots_of(seen: SeenTransaction, asset: Asset, reader: Reader) -> list[Write]:
    """A lot for each reading that a final transaction of ours minted, for the commit that reads it; the same again
    when it is told of again, and nothing where such a lot is there already, taken or not."""
    attempt = await reader.get(ATTEMPTS, bytes(seen.signature))
    told = None if attempt is None or seen.error is not None else explained(seen, asset.mint)
    if attempt is None or told is None or too_large(told):
        return []
    readings = await reader.get_many(READINGS, attempt["readings"])
    minted = attributed_mints(told.instructions, attempt["readings"], readings, asset)
    lots = [_lot(reading, mint, seen.slot, asset) for mint, reading in minted]
    return [Insert(LOTS, lot.document(), keep=True) for lot in lots if lot is not None]


def attributed_mints(
    instructions: Sequence[TokenInstruction],
    order: Sequence[bytes],
    readings: Mapping[Any, Document],
    asset: Asset,
) -> Iterable[tuple[TokenInstruction, Document]]:
    """Each mint with the reading that it is of. Where a transaction left out mints, a mint is a reading's if there
    are just as many mints of that amount to that account as there are readings: then nothing hangs on which is
    whose but their order, which is theirs. None of the others is anybody's."""
    for index, keys in readings_by_mint(instructions, order).items():
        mint = instructions[index]
        fitting = [key for key in keys if key in readings and _fits(mint, readings[key], asset)]
        alike = [each for each in instructions if each.kind is Kind.MINT and _is_alike(each, mint)]
        if len(keys) == 1 and fitting:
            yield mint, readings[fitting[0]]
        elif len(keys) > 1 and len(fitting) == len(alike):
            yield mint, readings[fitting[alike.index(mint)]]
        else:
            log.warning("a mint without provenance", account=str(mint.destination), units=mint.units)


def _is_alike(one: TokenInstruction, other: TokenInstruction) -> bool:
    return (one.destination, one.units) == (other.destination, other.units)


def _fits(mint: TokenInstruction, reading: Document, asset: Asset) -> bool:
    owner = Pubkey.from_string(minted_to(reading))
    account = associated_account(owner, asset.mint, asset.token_program)
    return (mint.destination, mint.units) == (account, reading["units"])


def _lot(reading: Document, mint: TokenInstruction, slot: int, asset: Asset) -> Lot | None:
    """None for a reading of a meter that is no device of the registry's."""
    if reading["device_id"] is None or reading["account_id"] is None:
        return None
    return Lot(
        key=key_of_reading(reading["_id"]),
        slot=slot,
        reading=reading["_id"],
        meter=reading["meter"],
        device_id=reading["device_id"],
        account_id=reading["account_id"],
        interval_start_ms=reading["interval_start_ms"],
        interval_secs=reading["interval_secs"],
        units=mint.units,
        left=mint.units,
        is_reserved=_is_automatic(reading, mint, asset),
    )


def _is_automatic(reading: Document, mint: TokenInstruction, asset: Asset) -> bool:
    """Whether the mint is a message by itself: where tokens are burned, none begins in custody."""
    came = asset.mode == "lock" and mint.destination == asset.custody
    return came and reading.get("mint_to") == str(asset.owner)
