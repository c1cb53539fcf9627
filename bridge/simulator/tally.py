"""What became of the readings of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bridge.simulator.message import Measured
from bridge.simulator.site import SiteKind


@dataclass(slots=True)
class Count:
    """Of one kind of site. Energies are in milliwatt-hours. Each reading that is `taken` ends as one of `skipped`
    (nothing left to submit), `accepted`, `refused` or `dropped` (the backlog was full), and waits until then."""

    meters: int = 0
    taken: int = 0
    skipped: int = 0
    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    minted: int = 0
    accepted_mwh: int = 0
    minted_mwh: int = 0

    @property
    def waiting(self) -> int:
        """Taken, and not yet answered."""
        return self.taken - self.skipped - self.accepted - self.refused - self.dropped


@dataclass(slots=True)
class Tally:
    """`codes` counts refusals, `troubles` what came to nothing for now; `by_wallet` is the accepted energy."""

    kinds: dict[SiteKind, Count] = field(default_factory=lambda: {kind: Count() for kind in SiteKind})
    codes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    by_wallet: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Accepted readings that the gateway does not tell of any more, by its code."""

    def accepted(self, kind: SiteKind, measured: Measured) -> None:
        count, mwh = self.kinds[kind], measured.energy.surplus_mwh
        count.accepted += 1
        count.accepted_mwh += mwh
        self.by_wallet[measured.wallet] += mwh

    def refused(self, kind: SiteKind, code: str) -> None:
        self.kinds[kind].refused += 1
        self.codes[code] += 1

    def minted(self, kind: SiteKind, mwh: int) -> None:
        self.kinds[kind].minted += 1
        self.kinds[kind].minted_mwh += mwh

    @property
    def total(self) -> Count:
        """All kinds together."""
        total = Count()
        for count in self.kinds.values():
            for name in Count.__slots__:
                setattr(total, name, getattr(total, name) + getattr(count, name))
        return total
