"""The residual mix of a zone, from readings of production and from what the index knows of certificates.

`certificates/residual.py` has the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from certificates.lifecycle import Status
from certificates.matching import HOUR_SECS, percent
from certificates.ranges import Range
from certificates.residual import Balance, Fate, ResidualMix, mix, untracked_wh
from energytag.ground import RegistryGround
from energytag.holdings import shown
from energytag.matching import fraction_text
from energytag.measurements import MEASUREMENTS
from energytag.models.matching import MixPart, ResidualMixReply, ResidualQuestion, SourceBalance
from energytag.retired import TooMuch, standing_parts
from lookup.filters import Filters
from lookup.search import Shown
from lookup.standing import LOST, STATUSES, status_of
from store.pages import pages
from store.port import Document, Find

MOST_RECORDS: Final = 200_000
"""Readings, and certificates, that one question may be about."""
MOST_PAGES: Final = 100
"""Pages of the index that one question may turn; of each, the zone's records are taken."""
_PAGE: Final = 2000
_FATES: Final[Mapping[str, Fate]] = {
    Status.CANCELLED: Fate.CANCELLED,
    Status.CLAIMED: Fate.CANCELLED,
    Status.EXPIRED: Fate.EXPIRED,
    Status.WITHDRAWN: Fate.EXPORTED,
    LOST: Fate.LOST,
}
"""By the status of a certificate, notices aside; a token that itself says Withdrawn lives on elsewhere."""


async def residual_mix(ground: RegistryGround, question: ResidualQuestion) -> ResidualMixReply:
    """The answer to a question about one zone; `TooMuch` beyond `MOST_RECORDS` or `MOST_PAGES`."""
    zone = ResidualMix()
    await _measure(zone, ground, question)
    await _issue(zone, ground, question)
    balances = zone.balances()
    consumption = question.total_consumption_wh
    untracked = None if consumption is None else untracked_wh(balances, consumption)
    held = sum(each.fates.get(Fate.HELD, 0) for each in balances.values())
    return ResidualMixReply(
        zone=question.zone,
        start=question.start,
        end=question.end,
        sources=[_told(source, each) for source, each in balances.items()],
        total_consumption_wh=consumption,
        untracked_wh=untracked,
        held_wh=held,
        is_final=not held,
        mix=list(_parts(balances, untracked or 0)),
    )


async def _measure(zone: ResidualMix, ground: RegistryGround, question: ResidualQuestion) -> None:
    start, end = question.window
    count = 0
    async for rows in pages(ground.store, MEASUREMENTS, Find("zone", {"zone": question.zone}, start, end), _PAGE):
        count += len(rows)
        _check(count)
        for row in rows:
            zone.measured(row["energy_source"], row["device_id"], row["start"], row["energy_wh"])


async def _issue(zone: ResidualMix, ground: RegistryGround, question: ResidualQuestion) -> None:
    start, end = question.window
    now_secs = ground.now_ms() // 1000
    filters = Filters({"zone": (question.zone,)}, STATUSES, period_start=start, period_end=end + HOUR_SECS)
    pages = count = 0
    async for page in shown(ground.store, filters, now_secs):
        pages, count = pages + 1, count + len(page)
        _check(count if pages < MOST_PAGES else MOST_RECORDS + 1)
        for each in page:
            record = each.record
            if record["period_start"] < end and not record["unissued"]:
                for fate, energy_wh in fates_of(each, now_secs):
                    zone.issued(
                        record["energy_source"], record["device_id"], record["period_start"], energy_wh, fate
                    )


def fates_of(each: Shown, now_secs: int) -> Iterator[tuple[Fate, int]]:
    """What has become of a record's energy, Wh: of what notices have withdrawn, and of the rest."""
    record = each.record
    whole = Range(record["range_start"], record["range_end"])
    standing = sum(part.quantity for part in standing_parts(record, each.notices))
    if standing < whole.quantity:
        yield Fate.WITHDRAWN, (whole.quantity - standing) * record["face_value"]
    if standing:
        yield _fate(record, now_secs), standing * record["face_value"]


def _fate(record: Document, now_secs: int) -> Fate:
    """What was cancelled stays so, also when its coin was destroyed afterwards."""
    fate = _FATES.get(record["status"])
    if fate is Fate.CANCELLED:
        return fate
    return _FATES.get(status_of(record, False, now_secs) or "", Fate.HELD)


def _check(count: int) -> None:
    if count > MOST_RECORDS:
        raise TooMuch(f"the question is about more than {MOST_RECORDS} records; ask about a shorter time")


def _told(source: str, balance: Balance) -> SourceBalance:
    fates = balance.fates
    return SourceBalance(
        energy_source=source,
        production_wh=balance.production_wh,
        measured_wh=balance.measured_wh,
        issued_wh=balance.issued_wh,
        cancelled_wh=fates.get(Fate.CANCELLED, 0),
        exported_wh=fates.get(Fate.EXPORTED, 0),
        residual_wh=balance.residual_wh,
        held_wh=fates.get(Fate.HELD, 0),
        expired_wh=fates.get(Fate.EXPIRED, 0),
        lost_wh=fates.get(Fate.LOST, 0),
        withdrawn_wh=fates.get(Fate.WITHDRAWN, 0),
    )


def _parts(balances: Mapping[str, Balance], untracked: int) -> Iterator[MixPart]:
    whole = sum(each.residual_wh for each in balances.values()) + untracked
    for source, share in mix(balances, untracked).items():
        yield MixPart(
            energy_source=source,
            energy_wh=int(share * whole),
            share=fraction_text(share) or "",
            share_percent=percent(share) or "",
        )
