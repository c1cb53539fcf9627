"""Faults that a cluster shows, deterministic by their seed: drops, late landings, lost answers, lies and lag."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, Final

from solders.signature import Signature

from config.errors import BadRequest

MAX_LAG_SLOTS: Final = 32
MAX_LATE_SLOTS: Final = 1000
_MAX_DENIED: Final = 100_000


@dataclass(slots=True)
class FaultPlan:
    """What goes wrong, as chances from 0 to 1; all are off at first.

    `drop_next` and `lose_next` count down. A sent transaction draws once for each of: dropped (its sender is
    given the signature, it never lands), late (it lands `late_min_slots` to `late_max_slots` later), and answer
    lost (it lands, the sender sees a broken connection).
    """

    drop_rate: float = 0.0
    drop_next: int = 0
    late_rate: float = 0.0
    late_min_slots: int = 1
    late_max_slots: int = 1
    lose_rate: float = 0.0
    lose_next: int = 0
    deny_rate: float = 0.0
    """Chance that a question about a status, a transaction or an address's history says "not found"."""
    lag_slots: int = 0
    """Reads show the cluster as it was so many slots ago."""

    def check(self) -> None:
        """BadRequest unless every value is within its bounds."""
        rates = (self.drop_rate, self.late_rate, self.lose_rate, self.deny_rate)
        if not all(0.0 <= rate <= 1.0 for rate in rates):
            raise BadRequest("a rate must be from 0 to 1")
        if min(self.drop_next, self.lose_next) < 0:
            raise BadRequest("drop_next and lose_next must not be negative")
        if not 1 <= self.late_min_slots <= self.late_max_slots <= MAX_LATE_SLOTS:
            raise BadRequest(f"late slots must be from 1 to {MAX_LATE_SLOTS}, the least first")
        if not 0 <= self.lag_slots <= MAX_LAG_SLOTS:
            raise BadRequest(f"lag_slots must be from 0 to {MAX_LAG_SLOTS}")


@dataclass(slots=True)
class FaultCounts:
    """How often each fault was shown."""

    dropped: int = 0
    late: int = 0
    lost: int = 0
    denied: int = 0


@dataclass(slots=True)
class Faults:
    """The plan, what it did so far, and the draws."""

    plan: FaultPlan = field(default_factory=FaultPlan)
    counts: FaultCounts = field(default_factory=FaultCounts)
    denied: set[Signature] = field(default_factory=set)
    """Transactions that are denied always, until taken out."""
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311

    def set(self, *, seed: int | None = None, **changes: Any) -> None:
        """Change fields of the plan; a seed starts the draws anew. BadRequest for an unknown field or value."""
        values = {each.name: getattr(self.plan, each.name) for each in fields(FaultPlan)}
        if unknown := changes.keys() - values.keys():
            raise BadRequest(f"there is no fault {sorted(unknown)[0]}")
        plan = FaultPlan(**{**values, **changes})
        plan.check()
        self.plan = plan
        if seed is not None:
            self._random = Random(seed)  # noqa: S311

    def clear(self) -> None:
        """No faults any more; the counts stay."""
        self.plan = FaultPlan()
        self.denied.clear()

    def deny(self, signature: Signature) -> None:
        """Say "not found" of this transaction from now on."""
        if len(self.denied) >= _MAX_DENIED:
            raise BadRequest("too many transactions are denied already")
        self.denied.add(signature)

    def drops(self) -> bool:
        """Whether the transaction that is being sent never lands."""
        if self.plan.drop_next:
            self.plan.drop_next -= 1
        elif not self._chance(self.plan.drop_rate):
            return False
        self.counts.dropped += 1
        return True

    def late_slots(self) -> int:
        """How many slots later the transaction that is being sent lands; 0 for now."""
        if not self._chance(self.plan.late_rate):
            return 0
        self.counts.late += 1
        return self._random.randint(self.plan.late_min_slots, self.plan.late_max_slots)

    def loses_answer(self) -> bool:
        """Whether the answer to the transaction that was sent is lost."""
        if self.plan.lose_next:
            self.plan.lose_next -= 1
        elif not self._chance(self.plan.lose_rate):
            return False
        self.counts.lost += 1
        return True

    def denies(self, signature: Signature | None = None) -> bool:
        """Whether a question is answered with "not found" although it is there."""
        if signature not in self.denied and not self._chance(self.plan.deny_rate):
            return False
        self.counts.denied += 1
        return True

    def _chance(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate
