"""Recurring actions: a series that is kept, and an action of its own for each occurrence.

    recurring_transfer …  ──→ a record with the filters, the schedule and the time of what is due next
    due                   ──→ for what is due: an action `recurring_run`, and the record moved on, in one commit
    recurring_run         ──→ planned like the transfer, cancellation or claim that it stands for

An occurrence's action id is derived from the series and its number, so it exists once, whoever looks, and
however often. What fell due while the node was down is made up for, in the order of the intended times. An
occurrence that cannot be carried out is a rejected action with the reason; the series goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Protocol

import orjson

from config.errors import BadRequest, ErrorCode, NotFound
from energytag.access import demand_on
from energytag.accounts import account
from energytag.actions import Action, Kind, made_id
from energytag.cancellations import Cancellations
from energytag.claims import Claims
from energytag.ground import RegistryGround
from energytag.models.common import moment_text
from energytag.plan import Handler, Handlers, Plan, Scene
from energytag.records import ACTIONS
from energytag.schedule import Schedule, Unit, moment_of, ms_of
from energytag.transfers import Transfers
from energytag.users import requester
from store.port import Collection, Document, Find, Index, Insert, Patch, Reader, Write

RECURRING: Final = Collection(
    "energytag_recurring",
    key="text",
    fields={"next_ms": "int", "account_id": "text"},
    indexes=(Index("due", ("next_ms",), partial=True), Index("account", ("account_id",))),
)
"""Key: the id of the action that began the series. `next_ms` is None once nothing more is due; `occurrence` is
the number of what is due next, `request` the filters as JSON. The rest is the schedule's."""
COLLECTIONS: Final = (RECURRING,)

ACTIVE, FINISHED, STOPPED = "active", "finished", "stopped"
MOST_OVERDUE: Final = 100
"""Occurrences that may have passed already when a series is begun."""
_ROUND: Final = 256
_PAGE: Final = 64


@dataclass(frozen=True, slots=True)
class Series:
    """A kind of series: what its occurrences do, and the word for it in EnergyTag's names of fields."""

    run: Kind
    word: str

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The fields of the first moment, the units, how many of them, and the number of occurrences."""
        word = self.word
        period = f"recurring_{word}_period"
        return f"initial_{word}_datetime", f"{period}_units", f"{period}_quantity", f"number_of_recurring_{word}s"

    def schedule(self, request: Mapping[str, Any]) -> Schedule:
        """The schedule of a request. Without a unit of time it occurs once; without a number, endlessly."""
        first, unit, every, number = (request.get(name) for name in self.names)
        moment = datetime.fromisoformat(str(first))
        if unit is None:
            return Schedule(moment)
        return Schedule(moment, Unit(unit), every or 1, number)

    def filters(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request of one occurrence: without the schedule."""
        return {name: value for name, value in request.items() if name not in (*self.names, WINDOW_MOVES)}


WINDOW_MOVES: Final = "certificate_period_moves"
"""An extension: the filters' window of production moves on with each occurrence."""
SERIES: Final[Mapping[Kind, Series]] = {
    Kind.RECURRING_TRANSFER: Series(Kind.TRANSFER, "transfer"),
    Kind.RECURRING_CANCEL: Series(Kind.CANCEL, "cancellation"),
    Kind.RECURRING_CLAIM: Series(Kind.CLAIM, "claim"),
}
_OWN: Final = ("recurring_id", "occurrence", "due_datetime", "next_datetime")
"""What an occurrence's request has of the series: its id, the number, the intended time, and that of the next."""


class Ended(BadRequest):
    """The series has ended already."""

    default_code = ErrorCode.STATUS_FORBIDS


@dataclass(frozen=True, slots=True)
class Beginning:
    """Begins a series. Whoever begins it must be one who may do this at each occurrence, too."""

    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        series, request = SERIES[action.kind], action.request
        caller = await requester(scene.reader, action)
        await demand_on(scene.reader, caller, series.run, request["source_account_id"])
        if series.run is Kind.TRANSFER:
            await account(scene.reader, _target_of(request))
        schedule = series.schedule(request)
        _check_overdue(schedule, action.requested_ms)
        document = record(action, series, schedule)
        result = {"recurring_id": action.action_id, "next_datetime": moment_text(schedule.first)}
        return Plan(writes=[Insert(RECURRING, document)], result=result)


def _target_of(request: Mapping[str, Any]) -> str:
    target: str | None = request.get("target_account_id")
    if target is None:
        raise BadRequest("target_account_id is missing", ErrorCode.INVALID_FIELD)
    if target == request["source_account_id"]:
        raise BadRequest("target_account_id is the source account itself", ErrorCode.INVALID_FIELD)
    return target


def _check_overdue(schedule: Schedule, now_ms: int) -> None:
    for count, _ in enumerate(schedule.until(moment_of(now_ms)), 1):
        if count > MOST_OVERDUE:
            message = f"more than {MOST_OVERDUE} occurrences of this series would be overdue from the beginning"
            raise BadRequest(message, ErrorCode.INVALID_FIELD)


def record(action: Action, series: Series, schedule: Schedule) -> Document:
    """A series as it is kept, before its first occurrence."""
    return {
        "_id": action.action_id,
        "run": series.run.value,
        "account_id": action.request["source_account_id"],
        "user_id": action.user_id,
        "state": ACTIVE,
        "created_ms": action.requested_ms,
        "next_ms": ms_of(schedule.first),
        "occurrence": 0,
        "first_ms": ms_of(schedule.first),
        "unit": schedule.unit.value,
        "every": schedule.every,
        "number": schedule.number,
        "window_moves": bool(action.request.get(WINDOW_MOVES)),
        "request": orjson.dumps(series.filters(action.request)),
    }


def schedule_of(document: Document) -> Schedule:
    """The schedule of a kept series."""
    return Schedule(moment_of(document["first_ms"]), Unit(document["unit"]), document["every"], document["number"])


@dataclass(frozen=True, slots=True)
class Stopping:
    """Stops a series: what is due later is not carried out, what is queued already is rejected."""

    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        document = await series_of(scene.reader, action.request["recurring_id"])
        if document["state"] != ACTIVE:
            raise Ended(f"recurring action {document['_id']} is {document['state']} already")
        stopped = Patch(RECURRING, document["_id"], {"state": STOPPED, "next_ms": None})
        return Plan(
            writes=[stopped], result={"recurring_id": document["_id"], "occurrences": document["occurrence"]}
        )


@dataclass(frozen=True, slots=True)
class Running:
    """Carries out one occurrence, in the way of the action that it stands for."""

    delegates: Handlers
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        document = await series_of(scene.reader, action.request["recurring_id"])
        kind = Kind(document["run"])
        if action.memo is None:
            await _check_still(scene.reader, document, action, kind)
        request = {name: value for name, value in action.request.items() if name not in _OWN}
        plan = await self.delegates[kind].plan(replace(action, kind=kind, request=request), scene)
        return replace(plan, result={**plan.result, **{name: action.request[name] for name in _OWN}})


async def _check_still(reader: Reader, document: Document, action: Action, kind: Kind) -> None:
    """`Ended` when the series was stopped meanwhile, `Forbidden` when whoever began it may not do this any
    longer."""
    if document["state"] == STOPPED:
        raise Ended(f"recurring action {document['_id']} was stopped before its turn came")
    await demand_on(reader, await requester(reader, action), kind, document["account_id"])


def handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    """The handlers of all that recurs; `ground` is for those that occurrences are handed to."""
    delegates: Handlers = {
        Kind.TRANSFER: Transfers(ground),
        Kind.CANCEL: Cancellations(ground),
        Kind.CLAIM: Claims(ground),
    }
    return {
        **dict.fromkeys(SERIES, Beginning()),
        Kind.RECURRING_STOP: Stopping(),
        Kind.RECURRING_RUN: Running(delegates),
    }


# What is due


class Act(Protocol):
    """`Registry.act`."""

    async def __call__(
        self,
        kind: Kind,
        request: Mapping[str, Any],
        *,
        user_id: str | None,
        account_id: str | None = None,
        wait_secs: float | None = None,
        action_id: str | None = None,
        also: Sequence[Write] = (),
    ) -> object: ...


async def due(ground: RegistryGround, act: Act) -> int:
    """Enqueue what is due by now, in the order of the intended times; how many occurrences that were.

    What is too much for one round is left for the next. `Busy` when the queue takes no more.
    """
    count = 0
    while count < _ROUND:
        page = await ground.store.find(RECURRING, Find("due", upper=ground.now_ms() + 1, limit=_PAGE))
        taken = [await _enqueue(document, act) for document in page.documents]
        if not any(taken):
            break
        count += sum(taken)
    return count


async def _enqueue(document: Document, act: Act) -> bool:
    """Enqueue a series' next occurrence and move the series on, both or neither; False when it was stopped, or
    somebody else was faster."""
    occurrence, request = document["occurrence"], occurrence_request(document)
    expected = {"occurrence": occurrence, "state": ACTIVE}
    moved_on = Patch(RECURRING, document["_id"], after(request), expect=expected)
    try:
        await act(
            Kind.RECURRING_RUN,
            request,
            user_id=document["user_id"],
            account_id=document["account_id"],
            wait_secs=0,
            action_id=occurrence_id(document["_id"], occurrence),
            also=[moved_on],
        )
    except NotFound:
        return False
    return True


def after(request: Mapping[str, Any]) -> dict[str, Any]:
    """What is changed of a series by the occurrence that a request stands for."""
    coming = request["next_datetime"]
    return {
        "occurrence": request["occurrence"] + 1,
        "next_ms": None if coming is None else ms_of(datetime.fromisoformat(coming)),
        "state": FINISHED if coming is None else ACTIVE,
    }


def occurrence_id(recurring_id: str, occurrence: int) -> str:
    """The action id of an occurrence: a UUID (version 8) that follows from the series and the number."""
    digest = sha256(f"metawatt recurring\n{recurring_id}\n{occurrence}".encode()).digest()
    return made_id(digest[:16], version=8)


def occurrence_request(document: Document) -> dict[str, Any]:
    """What the action of the next occurrence asks for; its window of production is moved when it should be."""
    occurrence, schedule = document["occurrence"], schedule_of(document)
    request: dict[str, Any] = orjson.loads(document["request"])
    if document["window_moves"]:
        for name in ("certificate_period_start", "certificate_period_end"):
            if name in request:
                moved = schedule.moved(datetime.fromisoformat(request[name]), occurrence)
                request[name] = request[name] if moved is None else moment_text(moved)
    coming = schedule.at(occurrence + 1)
    due_ms, next_text = document["next_ms"], None if coming is None else moment_text(coming)
    own = (document["_id"], occurrence, moment_text(moment_of(due_ms)), next_text)
    return request | dict(zip(_OWN, own, strict=True))


# Reading


async def series_of(reader: Reader, recurring_id: str) -> Document:
    """A kept series; `NotFound(RECORD_UNKNOWN)` when there is none."""
    document = await reader.get(RECURRING, recurring_id)
    if document is None:
        raise NotFound(f"There is no recurring action {recurring_id}", ErrorCode.RECORD_UNKNOWN)
    return document


async def occurrences_of(reader: Reader, document: Document, most: int) -> list[Action]:
    """The actions of the latest occurrences, the latest first; at most `most`."""
    last = document["occurrence"]
    ids = [occurrence_id(document["_id"], number) for number in range(max(0, last - most), last)]
    found = await reader.get_many(ACTIONS, list(ids))
    return [Action.read(found[each]) for each in reversed(ids) if each in found]
