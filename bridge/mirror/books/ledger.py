"""The ledger: what ought to lie where, entered step by step, in base units of the token.

    custody + burned − minted  =  live + in_flight_in + in_flight_out + held

Every step keeps this, for it adds the same to both sides. No figure is ever below 0: a step that would make one so
is refused, and nothing of its page is written.

    custody         tokens of messages that were entered, and were not released or given back
    burned          base units that were burned to cross (mode burn)
    minted          base units that the bridge minted for crossings (mode burn)
    live            certificates whose crossing ended: they are somebody's, and may come back
    in_flight_in    on its way to be certificates
    in_flight_out   on its way to be tokens
    held            tokens that are to be given back
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal, TypeAlias

from bridge.mirror.message import Message
from bridge.mirror.states import Kind
from config.errors import Internal
from store.port import Document

Mode: TypeAlias = Literal["lock", "burn"]
Change: TypeAlias = Mapping[str, int]
"""What is added to each figure."""


class LedgerRefuses(Internal):
    """A figure of the ledger would be below zero."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Of one asset, immutable."""

    custody: int = 0
    burned: int = 0
    minted: int = 0
    live: int = 0
    in_flight_in: int = 0
    in_flight_out: int = 0
    held: int = 0

    @classmethod
    def read(cls, row: Document | None) -> Ledger:
        return cls() if row is None else cls(**{each.name: row[each.name] for each in fields(cls)})

    def document(self) -> dict[str, int]:
        return asdict(self)

    def changed(self, change: Change) -> Ledger:
        """The ledger after a step. Raises `LedgerRefuses`."""
        figures = self.document()
        for name, units in change.items():
            figures[name] += units
        if below := [name for name, units in figures.items() if units < 0]:
            raise LedgerRefuses(f"The ledger has too little in {', '.join(below)}")
        return Ledger(**figures)

    @property
    def difference(self) -> int:
        """0, always."""
        tokens = self.custody + self.burned - self.minted
        return tokens - self.live - self.in_flight_in - self.in_flight_out - self.held


NOTHING: Final[Change] = {}


def entered_in(message: Message) -> Change:
    """Tokens that came are to become certificates."""
    return {**_came(message), "in_flight_in": message.units}


def arrived_in(message: Message) -> Change:
    """Its certificates are final."""
    return {"in_flight_in": -message.units, "live": message.units}


def entered_out(message: Message) -> Change:
    """A certificate is to become tokens."""
    return {"live": -message.units, "in_flight_out": message.units}


def arrived_out(message: Message, mode: Mode) -> Change:
    """Its tokens are out, finally, and the certificate is withdrawn."""
    return {"in_flight_out": -message.units, **_went(message, mode)}


def refund_decided(message: Message) -> Change:
    """What came as tokens is held until it is back. A certificate that is given back was live all the time."""
    if message.kind is Kind.EXIT:
        return {"in_flight_out": -message.units, "live": message.units} if message.was_accounted else NOTHING
    if message.was_accounted:
        return {"in_flight_in": -message.units, "held": message.units}
    return {**_came(message), "held": message.units}


def refund_ended(message: Message, mode: Mode) -> Change:
    """Tokens are back where they came from."""
    return NOTHING if message.kind is Kind.EXIT else {"held": -message.units, **_went(message, mode)}


def _came(message: Message) -> Change:
    return {"burned" if message.kind is Kind.BURN else "custody": message.units}


def _went(message: Message, mode: Mode) -> Change:
    return {"minted": message.units} if mode == "burn" else {"custody": -message.units}
