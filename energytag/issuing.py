"""Issuing: what is checked, numbered and guarded for every bundle, whatever it is made from.

A request has a bundle's attributes; this gives it its numbers and claims its interval. The same plan can be made
again after a crash: the first number of each series is in the action's memo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from certificates.bundle import EPOCH, Bundle
from certificates.document import Json
from certificates.issuance import draft
from certificates.policy import Policy
from certificates.ranges import Range
from certificates.rules import against_capacity
from certificates.token import Token
from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.intervals import (
    IssuedTwice,
    Series,
    WrongNumber,
    bridge_claim,
    interval_row,
    load_series,
    series_key,
    windows,
)
from energytag.plan import Holder, Issue, Made, Recorder, Scene
from energytag.records import INTERVALS
from store.port import Insert, Write

_MAX_INTERVAL: Final = timedelta(hours=1)
_SERIES: Final = "series"


class IntervalInvalid(BadRequest):
    """The production interval must be UTC, over, above zero and at most an hour."""

    default_code = ErrorCode.INTERVAL_INVALID


class CapacityExceeded(BadRequest):
    """The device cannot have made that much in the interval."""

    default_code = ErrorCode.CAPACITY_EXCEEDED


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A bundle to issue. `attributes` are those of EnergyTag without issuance id, status and range;
    `first_number` is what the caller expects, None for whatever comes next. `row` is for messages: which of
    several bundles this is. `also` are further writes of the caller's for the token that is made. One that
    `is_bridged` is part of an interval that is the bridge's, or becomes so; its `origin` must say so."""

    attributes: Mapping[str, Json]
    quantity: int
    holder: Holder
    first_number: int | None = None
    row: int | None = None
    extras: Mapping[str, Json] = field(default_factory=dict)
    also: Recorder | None = None
    is_bridged: bool = False


@dataclass(frozen=True, slots=True)
class Issuance:
    """Pieces in the order of the requests, the writes of their decision, and the memo to plan them again."""

    pieces: Sequence[Issue]
    decision: Sequence[Write]
    memo: Mapping[str, Any]


async def plan_issuance(requests: Sequence[IssueRequest], action: Action, scene: Scene, policy: Policy) -> Issuance:
    """Check, number and guard bundles; all of them or none.

    Raises `IntervalInvalid`, `CapacityExceeded`, `WrongNumber`, `IssuedTwice`, or `TokenMalformed` for an
    attribute that EnergyTag does not allow; the message names the row.
    """
    bundles = [checked(each, scene.now_ms, policy) for each in requests]
    keys = [_series_of(bundle) for bundle in bundles]
    known: dict[bytes, Series] = scene.taken.setdefault(_SERIES, {})
    known |= await load_series(scene.reader, [key for key in dict.fromkeys(keys) if key not in known])
    series = {key: known[key].copy() for key in dict.fromkeys(keys)}
    if action.memo is not None:
        _remember(series, action.memo)
    first = {key: each.next for key, each in series.items()}
    for key, intervals in _intervals(keys, bundles).items():
        for window in windows(intervals):
            await series[key].look_back(scene.reader, window, action.action_id)
    pieces = [
        _piece(request, bundle, series[key], action)
        for request, bundle, key in zip(requests, bundles, keys, strict=True)
    ]
    decision = [] if action.memo is not None else [each.write(first[key]) for key, each in series.items()]
    known |= series
    return Issuance(pieces, decision, {"numbers": {key.hex(): number for key, number in first.items()}})


def checked(request: IssueRequest, now_ms: int, policy: Policy) -> Bundle:
    """The draft of a request; everything is checked that does not depend on others."""
    with _named(request):
        if request.quantity < 1:
            raise WrongNumber("a bundle has at least one certificate")
        bundle = draft(request.attributes, request.quantity)
        _check_interval(bundle, now_ms)
        reason = against_capacity(bundle, policy)
        if reason is not None:
            raise CapacityExceeded(reason)
        return bundle


def _check_interval(bundle: Bundle, now_ms: int) -> None:
    start, end = bundle.period
    if not timedelta() < end - start <= _MAX_INTERVAL:
        raise IntervalInvalid(f"the production interval is {end - start}; it must be above 0 and at most one hour")
    if end > EPOCH + timedelta(milliseconds=now_ms):
        raise IntervalInvalid(f"the production interval ends in the future, at {end.isoformat()}")
    if bundle.expiry <= end.date():
        raise IntervalInvalid(f"expiry_datestamp {bundle.expiry} is not after the production interval")


def _series_of(bundle: Bundle) -> bytes:
    return series_key(str(bundle.attributes["device_id"]), str(bundle.attributes["energy_carrier"]))


def _intervals(keys: Sequence[bytes], bundles: Sequence[Bundle]) -> dict[bytes, list[tuple[int, int]]]:
    """The intervals of each series."""
    intervals: dict[bytes, list[tuple[int, int]]] = {}
    for key, bundle in zip(keys, bundles, strict=True):
        intervals.setdefault(key, []).append(bundle.period_ms)
    return intervals


def _remember(series: Mapping[bytes, Series], memo: Mapping[str, Any]) -> None:
    """Go back to the numbers that were decided; what was issued since is of this very action."""
    for key, number in memo["numbers"].items():
        if (each := series.get(bytes.fromhex(key))) is not None:
            each.next = number


def _piece(request: IssueRequest, bundle: Bundle, series: Series, action: Action) -> Issue:
    interval = bundle.period_ms
    with _named(request):
        try:
            series.take(interval, is_bridged=request.is_bridged)
        except IssuedTwice:
            start, end = bundle.period
            raise IssuedTwice(
                f"device {bundle.attributes['device_id']} already has certificates for {start.isoformat()} to "
                f"{end.isoformat()}, or for part of it"
            ) from None
        numbers = series.number(request.quantity, request.first_number)
    record = _recorder(series.key, interval, numbers, action.action_id, request)
    return Issue(bundle, numbers, request.holder, record, request.extras)


def _recorder(
    series: bytes, interval: tuple[int, int], numbers: Range, action_id: str, request: IssueRequest
) -> Callable[[Made], list[Write]]:
    """Guards the interval in the commit that issues it."""

    def guard(token: Token) -> list[Write]:
        if request.is_bridged:
            return bridge_claim(series, interval)
        return [Insert(INTERVALS, interval_row(series, interval, token.issuance_id, numbers, action_id))]

    def record(made: Made) -> list[Write]:
        assert made.token is not None
        return [*guard(made.token), *(request.also(made) if request.also is not None else ())]

    return record


@contextmanager
def _named(request: IssueRequest) -> Iterator[None]:
    """Puts the row in front of a message."""
    try:
        yield
    except BadRequest as error:
        if request.row is not None:
            error.args = (f"row {request.row}: {error.message}",)
        raise


def holders_of(requests: Iterable[IssueRequest]) -> frozenset[str]:
    """The accounts that the bundles go to."""
    return frozenset(request.holder.account_id for request in requests)
