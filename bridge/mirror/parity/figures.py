"""Parity in figures: both chains at one moment, what is between them, and what the ledger says of it.

custody + burned − minted  =  live + in_flight_in + in_flight_out + held          all in base units
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bridge.mirror.books.ledger import Ledger
from bridge.mirror.message import UNITS_PER_WH
from store.port import Document


@dataclass(frozen=True, slots=True)
class ParityFigures:
    """At `slot` on Solana and entry `entries` of the log. `custody` is what lies in the custody account (mode lock;
    0 in mode burn, where nothing in it is the mirror's), `supply` the mint's. `coins_wh` are mirrored certificates
    that are not Withdrawn. Of these `live` are nobody's crossing; `in_flight_out` are those of exits whose tokens
    are not out. `in_flight_in` and `held` are tokens that are no certificates yet: on their way, or waiting for a
    person or to be given back. `findings` are figures of the ledger that differ."""

    at_ms: int
    mode: Literal["lock", "burn"]
    slot: int
    height: int
    entries: int
    custody: int
    supply: int
    burned: int
    minted: int
    coins_wh: int
    live: int
    in_flight_in: int
    in_flight_out: int
    held: int
    findings: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """What ought to be mirrored: one side of the equation."""
        return self.custody + self.burned - self.minted

    @property
    def accounted_for(self) -> int:
        """What is: the other side."""
        return self.live + self.in_flight_in + self.in_flight_out + self.held

    @property
    def difference(self) -> int:
        """Base units too many on Solana, negative for too few; 0 when parity holds."""
        return self.tokens - self.accounted_for

    @property
    def is_exact(self) -> bool:
        """Both chains add up, to the base unit, and the ledger says the same."""
        return self.difference == 0 and not self.findings

    @property
    def verdict(self) -> str:
        """A sentence for people."""
        if self.difference:
            way = "more" if self.difference > 0 else "fewer"
            return (
                f"Breached: {abs(self.difference)} base units {way} on Solana than certificates and crossings say."
            )
        if self.findings:
            return f"Breached: the ledger differs from the chains: {'; '.join(self.findings)}."
        return f"Exact: {self.tokens // UNITS_PER_WH} Wh are on both sides."

    def document(self) -> Document:
        """As it is stored, and shown."""
        return {**asdict(self), "findings": list(self.findings)}

    @classmethod
    def read(cls, row: Document) -> ParityFigures:
        figures: dict[str, Any] = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**figures, "findings": tuple(row["findings"])})


@dataclass(frozen=True, slots=True)
class Between:
    """What is between the chains, of open messages. `unentered` came and is not in the ledger, `landed_out` and
    `landed_back` left and have not ended there, `issued` are certificates of messages that have not ended, and
    `unwithdrawn` of exits that ended and whose withdrawal was evicted: it is made again."""

    in_flight_in: int = 0
    held: int = 0
    leaving: int = 0
    landed_out: int = 0
    landed_back: int = 0
    issued: int = 0
    entered_in: int = 0
    refunding: int = 0
    unentered: int = 0
    unwithdrawn: int = 0


def against_ledger(ledger: Ledger, tokens: int, coins: int, between: Between) -> Sequence[str]:
    """Where the ledger differs from what the chains and the open messages say."""
    expected = {
        "tokens": tokens - between.unentered + between.landed_out + between.landed_back,
        "certificates": coins - between.issued - between.unwithdrawn,
        "in_flight_in": between.entered_in,
        "held": between.refunding,
    }
    entered = {
        "tokens": ledger.custody + ledger.burned - ledger.minted,
        "certificates": ledger.live + ledger.in_flight_out,
        "in_flight_in": ledger.in_flight_in,
        "held": ledger.held,
    }
    return [
        f"{name} {entered[name]} in the ledger, {units} found"
        for name, units in expected.items()
        if entered[name] != units
    ]
