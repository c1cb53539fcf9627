"""Matching of an account: its consumption against the certificates that were retired for it.

What counts as retired for an account: certificates Cancelled or Claimed that stand in it and whose beneficiary
is the account itself, whoever cancelled them. What it cancelled for somebody else counts for that one. What backs
a storage charge counts for nobody: its energy is consumed when it comes out of the store, with certificates of its
own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from certificates import matching
from certificates.matching import HOUR_SECS, Flow, Granularity, Hours, Window
from energytag.accounts import account
from energytag.charged import charged_in
from energytag.consumption import CONSUMPTION
from energytag.ground import RegistryGround
from energytag.models.common import moment_of_ms
from energytag.models.matching import Coverage, MatchedPeriod, MatchedZone, Matching, MatchingQuestion
from energytag.retired import TooMuch, retired_of
from lookup.filters import Filters
from store.pages import pages
from store.port import Document, Find, Reader

MOST_READINGS: Final = 200_000
"""Readings that one question may be about."""
MOST_PERIODS: Final = 20_000
"""Periods in one answer."""
_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Party:
    """An account as a beneficiary: by identity key (hex), the derived one and its user's own, or by name."""

    account: Document
    identities: frozenset[str]
    names: frozenset[str]


async def party(ground: RegistryGround, account_id: str) -> Party:
    """`NotFound(ACCOUNT_UNKNOWN)` when there is no such account."""
    document = await account(ground.store, account_id)
    keys = (ground.keyring.account(account_id).public, document["identity_key"])
    return Party(document, frozenset(key.hex() for key in keys if key), frozenset({account_id, document["name"]}))


async def match_account(ground: RegistryGround, question: MatchingQuestion) -> Matching:
    """The answer to a question about one account.

    `NotFound(ACCOUNT_UNKNOWN)`; `TooMuch` beyond `MOST_READINGS`, `retired.MOST_BUNDLES` or `MOST_PERIODS`.
    """
    who = await party(ground, question.account_id)
    consumed = [each async for each in _consumed(ground.store, question)]
    cancelled = [each async for each in _cancelled(ground, question, who)]
    # Sums over many hours take a while, and others are served meanwhile.
    return await asyncio.to_thread(answer, question, consumed, cancelled)


def answer(question: MatchingQuestion, consumed: Sequence[Flow], cancelled: Sequence[Flow]) -> Matching:
    """The answer, given what was consumed and what was retired; pure. `TooMuch` beyond `MOST_PERIODS`."""
    window = question.window
    used, given = matching.by_hour(consumed, window), matching.by_hour(cancelled, window)
    zones = {zone: (used.get(zone, {}), given.get(zone, {})) for zone in sorted(used.keys() | given.keys())}
    answered = [_zone(zone, hours, question) for zone, hours in zones.items()]
    if sum(len(each.periods) for each in answered) > MOST_PERIODS:
        raise TooMuch(f"the answer has more than {MOST_PERIODS} periods; ask for longer ones, or a shorter time")
    return Matching(
        account_id=question.account_id,
        start=question.start,
        end=question.end,
        granularity=question.granularity,
        zones=answered,
        totals=_totals(zones.values(), window),
        certificates=len(cancelled),
    )


def _zone(zone: str, hours: tuple[Hours, Hours], question: MatchingQuestion) -> MatchedZone:
    periods = matching.match(*hours, question.granularity, question.window)
    shown = [
        MatchedPeriod(start=_moment(each.start), end=_moment(each.end), **coverage_of(each)) for each in periods
    ]
    return MatchedZone(zone=zone, periods=shown, totals=_totals([hours], question.window))


def _totals(zones: Iterable[tuple[Hours, Hours]], window: Window) -> dict[str, Coverage]:
    """At each granularity the sum of what is matched within the zones."""
    known = list(zones)
    return {
        granularity.value: Coverage(
            **coverage_of(
                matching.total(
                    (each for hours in known for each in matching.match(*hours, granularity, window)), window
                )
            )
        )
        for granularity in Granularity
    }


def coverage_of(match: matching.Match) -> dict[str, Any]:
    """A match as JSON."""
    return {
        "consumption_wh": match.consumption_wh,
        "cancelled_wh": match.cancelled_wh,
        "matched_wh": match.matched_wh,
        "excess_wh": match.excess_wh,
        "uncovered_wh": match.uncovered_wh,
        "coverage": fraction_text(match.coverage),
        "coverage_percent": matching.percent(match.coverage),
    }


def fraction_text(part: Fraction | None) -> str | None:
    """`3/5`; `1/1` is all of it."""
    return None if part is None else f"{part.numerator}/{part.denominator}"


async def _consumed(reader: Reader, question: MatchingQuestion) -> AsyncIterator[Flow]:
    """The account's readings that reach into the window."""
    start, end = question.window
    count = 0
    find = Find("account", {"account_id": question.account_id}, start - HOUR_SECS, end)
    async for rows in pages(reader, CONSUMPTION, find, _PAGE):
        count += len(rows)
        if count > MOST_READINGS:
            raise TooMuch(f"there are more than {MOST_READINGS} readings then; ask about a shorter time")
        for row in rows:
            if question.zone in (None, row["zone"]):
                yield Flow(row["zone"], row["start"], row["end"], row["energy_wh"])


async def _cancelled(ground: RegistryGround, question: MatchingQuestion, who: Party) -> AsyncIterator[Flow]:
    """What was retired for the account, and was produced within the window or at its edges."""
    start, end = question.window
    equals: Mapping[str, tuple[str, ...]] = {"account_id": (question.account_id,)}
    if question.zone is not None:
        equals = {**equals, "zone": (question.zone,)}
    filters = Filters(equals, period_start=start - HOUR_SECS, period_end=end + HOUR_SECS)
    charged = await charged_in(ground.store, question.account_id, start - HOUR_SECS, end + HOUR_SECS)
    async for each in retired_of(ground.store, filters, ground.now_ms() // 1000):
        if each.beneficiary.is_one_of(who.identities, who.names):
            record, energy_wh = each.record, each.energy_wh - each.charged_wh(charged)
            yield Flow(record["zone"], record["period_start"], record["period_end"], energy_wh)


def _moment(secs: int) -> str:
    return moment_of_ms(secs * 1000)
