"""Choosing: an action's criteria put to the index, and the certificates that it takes, as holdings.

What an action may take is a matter of each certificate's status as it stands now, with expiry and withdrawals, and
of what else the action demands. Without a status among the criteria, what cannot be taken is passed over; when
nothing is left, the refusal says why.

A notice withdraws numbers, and does not move the coin: what it leaves of a coin can still be taken. Only an Active
certificate can be divided (`certificates.lifecycle`); of any other status a bundle is taken whole or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from certificates.lifecycle import Status
from certificates.ranges import Range, subtract
from config.errors import BadRequest, ErrorCode, MetawattError, NotFound
from energytag.holdings import load, shown
from energytag.plan import Holder, Holding, Scene
from energytag.selection import Candidate, Criteria, NothingSelected, Taken, suffices, take
from lookup.filters import Filters
from lookup.search import Shown
from lookup.standing import LOST, status_of
from overlay.transaction import show_outpoint
from store.port import Document, Reader

PICKED = "picked"


class StatusForbids(BadRequest):
    """The certificate's status does not allow this."""

    default_code = ErrorCode.STATUS_FORBIDS


Against: TypeAlias = Callable[[Holding], MetawattError | None]
"""Why a certificate cannot be taken, None when it can."""
Barred: TypeAlias = Callable[[Reader, Sequence[Holding]], Awaitable[Mapping[bytes, MetawattError]]]
"""Why some of these cannot be taken, by outpoint, where the store must be asked."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an action demands of a certificate: `verb` is for messages ("be transferred"). `is_strict`: if one that
    meets the criteria cannot be taken, none is. What `spends` no coin may take part of one of any status."""

    verb: str
    statuses: frozenset[Status]
    against: Against
    is_strict: bool = False
    spends: bool = True
    barred: Barred | None = None

    def forbids(self, statuses: Iterable[str]) -> StatusForbids:
        able = " or ".join(sorted(self.statuses))
        return StatusForbids(f"{', '.join(sorted(set(statuses)))} certificates cannot {self.verb}; only {able} can")


@dataclass(frozen=True, slots=True)
class Choice:
    """A certificate, and the numbers of it that an action takes: ascending, not joined."""

    holding: Holding
    parts: tuple[Range, ...]

    @property
    def whole(self) -> Range:
        return self.holding.token.bundle.range

    @property
    def kept(self) -> list[Range]:
        return subtract([self.whole], self.parts)

    @property
    def quantity(self) -> int:
        return sum(each.quantity for each in self.parts)

    @property
    def energy_wh(self) -> int:
        return self.quantity * self.holding.token.bundle.face_value_wh


def held_by(holder: Holder) -> Against:
    """Against certificates that merely say that they stand in a custodial account: the node cannot move what
    it has not locked. What is in a user's own wallet, that wallet can move."""

    def against(holding: Holding) -> MetawattError | None:
        if not holder.is_custodial or holding.key_id is not None:
            return None
        return StatusForbids(f"{show_outpoint(holding.outpoint)} is not locked to a key of its account")

    return against


async def choose(criteria: Criteria, demand: Demand, scene: Scene, most: int) -> list[Choice]:
    """The certificates that an action takes, at most `most`, in the order of `selection`.

    Raises `NothingSelected`, `QuantityLacking`, `StatusForbids`, or what `demand.against` gave.
    """
    if criteria.status is not None and criteria.status not in demand.statuses:
        raise demand.forbids([criteria.status])
    survey = _Survey(criteria, demand, scene.now_ms // 1000)
    for question in criteria.questions():
        # What is retired stays in the account for ever; only those who must know of it look through it.
        asked = question if demand.is_strict else _of_status(question, demand.statuses)
        await survey.ask(asked, scene.reader, most)
    if not survey.candidates:
        for question in criteria.questions():
            await survey.glance(question, scene.reader)
    return survey.choices(most)


def _of_status(question: Filters, statuses: Iterable[Status]) -> Filters:
    """The question for tokens of these statuses, whatever a notice or their expiry makes of them."""
    wanted = tuple(None if status is Status.ACTIVE else status.value for status in sorted(statuses))
    return replace(question, equals={**question.equals, "other_status": wanted})


async def chosen_before(memo: Mapping[str, Any], reader: Reader) -> list[Choice]:
    """The choices that a memo names, in its order, whatever became of the coins since."""
    parts: dict[bytes, list[Range]] = {}
    for outpoint, start, end in memo[PICKED]:
        parts.setdefault(bytes.fromhex(outpoint), []).append(Range(start, end))
    holdings = {each.outpoint: each for each in await load(reader, list(parts))}
    if len(holdings) != len(parts):
        raise NotFound("certificates that were chosen are gone", ErrorCode.CERTIFICATE_UNKNOWN)
    return [Choice(holdings[outpoint], tuple(ranges)) for outpoint, ranges in parts.items()]


def memo_of(choices: Iterable[Choice]) -> dict[str, Any]:
    """What `chosen_before` goes by."""
    return {PICKED: [[each.holding.outpoint.hex(), *part] for each in choices for part in each.parts]}


def standing_of(found: Shown, now_secs: int) -> tuple[str, tuple[Range, ...]]:
    """The status of what no notice withdraws of a record's numbers, and these numbers. A record that is
    withdrawn whole is Withdrawn, and has none."""
    own = Range(found.record["range_start"], found.record["range_end"])
    free = subtract([own], (notice.range for notice in found.notices))
    if not free:
        return Status.WITHDRAWN.value, ()
    return status_of(found.record, False, now_secs) or LOST, tuple(free)


@dataclass(slots=True)
class _Survey:
    """What was found so far: certificates that can be taken, and why others cannot."""

    criteria: Criteria
    demand: Demand
    now_secs: int
    candidates: dict[bytes, Candidate] = field(default_factory=dict)
    holdings: dict[bytes, Holding] = field(default_factory=dict)
    statuses: set[str] = field(default_factory=set)
    refusal: MetawattError | None = None

    async def ask(self, question: Filters, reader: Reader, most: int) -> None:
        """Look through the answers to one question until enough is found."""
        async for page in shown(reader, question, self.now_secs):
            await self._look(page, reader)
            if page and self._is_enough(page[-1].record["period_start"], most):
                return

    async def glance(self, question: Filters, reader: Reader) -> None:
        """Look at the first answers only: why there is nothing to be taken."""
        async for page in shown(reader, question, self.now_secs):
            if page:
                await self._look(page, reader)
                return

    def _is_enough(self, period_start: int, most: int) -> bool:
        """Whether nothing that is produced from that moment on can be taken. What is produced before it is
        taken all when it does not suffice; that may be too much already."""
        if suffices(self.criteria, self.candidates.values(), period_start):
            return True
        if self.criteria.quantity is None:
            certain = len(self.candidates)
        else:
            certain = sum(each.period_start < period_start for each in self.candidates.values())
        if certain > most:
            raise _too_many(most)
        return False

    async def _look(self, page: Sequence[Shown], reader: Reader) -> None:
        candidates = {each.outpoint: each for each in map(self._candidate, page) if each is not None}
        held = await load(reader, list(candidates))
        barred = {} if self.demand.barred is None else await self.demand.barred(reader, held)
        for holding in held:
            refusal = self.demand.against(holding) or barred.get(holding.outpoint)
            if refusal is None:
                self.candidates[holding.outpoint] = candidates[holding.outpoint]
                self.holdings[holding.outpoint] = holding
            else:
                self.refusal = self.refusal or refusal

    def _candidate(self, found: Shown) -> Candidate | None:
        status, free = standing_of(found, self.now_secs)
        if not self.criteria.admits(found.record) or self.criteria.status not in (None, status):
            return None
        if status not in self.demand.statuses:
            self.statuses.add(status)
            return None
        return _candidate(found.record, free)

    def choices(self, most: int) -> list[Choice]:
        if self.demand.is_strict:
            self._check_strictly()
        try:
            taken = take(self.criteria, self.candidates.values())
        except NothingSelected:
            raise self._why_nothing() from None
        if len(taken) > most:
            raise _too_many(most)
        for each in taken:
            self._check_divisible(each)
        return [Choice(self.holdings[each.outpoint], each.parts) for each in taken]

    def _check_strictly(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        if barring := self.statuses - {Status.WITHDRAWN}:
            raise self.demand.forbids(barring)

    def _why_nothing(self) -> MetawattError:
        if self.candidates:
            return NothingSelected()
        if self.refusal is not None:
            return self.refusal
        return self.demand.forbids(self.statuses) if self.statuses else NothingSelected()

    def _check_divisible(self, taken: Taken) -> None:
        if not self.demand.spends:
            return
        status = self.holdings[taken.outpoint].token.bundle.status
        free = self.candidates[taken.outpoint].free
        if status is Status.ACTIVE or not taken.kept or (status is not Status.CANCELLED and taken.parts == free):
            return
        raise StatusForbids(f"a {status} bundle cannot be divided: {taken.whole} can {self.demand.verb} as a whole")


def _candidate(record: Document, free: tuple[Range, ...]) -> Candidate:
    whole = Range(record["range_start"], record["range_end"])
    return Candidate(record["_id"], record["issuance_id"], record["period_start"], whole, free)


def _too_many(most: int) -> BadRequest:
    return BadRequest(f"more than {most} bundles at once; narrow the criteria", ErrorCode.INVALID_FIELD)
