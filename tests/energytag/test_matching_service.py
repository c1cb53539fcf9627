"""Matching and the residual mix on the real registry: issued, cancelled, claimed, withdrawn, expired."""

from __future__ import annotations

from typing import Any

import pytest

from certificates.matching import Granularity
from config.errors import NotFound
from energytag import matching as service
from energytag import residual, retired
from energytag.actions import Kind
from energytag.matching import match_account
from energytag.models.common import InvalidFields, read
from energytag.models.matching import (
    Matching,
    MatchingQuestion,
    ResidualMixReply,
    ResidualQuestion,
    StatementQuestion,
)
from energytag.residual import residual_mix
from energytag.retired import TooMuch
from energytag.statements import state_cancellations
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment, readings
from tests.energytag.storage_kit import Battery
from tests.overlay.kit import Clock


async def act(registry: RegistryNode, kind: Kind, account_id: str = ACCOUNT, **fields: Any) -> None:
    await registry.resolved(kind, {"source_account_id": account_id, "source_user_id": account_id, **fields})


async def cancel(registry: RegistryNode, hour: int, quantity: int, **fields: Any) -> None:
    period = {"certificate_period_start": moment(hour), "certificate_period_end": moment(hour + 1)}
    await act(registry, Kind.CANCEL, certificate_quantity=quantity, **period, **fields)


async def consume(registry: RegistryNode, account_id: str, zone: str, *energy_wh: int, first: float = 0) -> None:
    rows = [
        {"start": moment(first + hour), "end": moment(first + hour + 1), "energy_wh": each}
        for hour, each in enumerate(energy_wh)
    ]
    request = {"series": [{"account_id": account_id, "zone": zone, "readings": rows}]}
    await registry.resolved(Kind.CONSUMPTION, request)


async def measure(registry: RegistryNode, first: int, count: int, energy_wh: int) -> None:
    request = {"series": [{"device_id": DEVICE, "readings": readings(first, count, energy_wh)}]}
    await registry.resolved(Kind.MEASUREMENTS, request)


async def ask(registry: RegistryNode, account_id: str = ACCOUNT, hours: int = 4, **fields: Any) -> Matching:
    question = {"account_id": account_id, "start": moment(0), "end": moment(hours)} | fields
    return await match_account(registry.registry.ground, read(MatchingQuestion, question))


async def ask_mix(registry: RegistryNode, hours: int = 4, **fields: Any) -> ResidualMixReply:
    question = {"zone": "NL", "start": moment(0), "end": moment(hours)} | fields
    return await residual_mix(registry.registry.ground, read(ResidualQuestion, question))


async def test_hours_are_matched_and_sums_are_told_at_each_granularity(registry: RegistryNode) -> None:
    await registry.issue(0, 3)
    await consume(registry, ACCOUNT, "NL", 500, 800, 0, 100)
    await cancel(registry, 0, 700)
    await cancel(registry, 1, 400)
    await act(registry, Kind.CLAIM, certificate_period_start=moment(1), certificate_period_end=moment(2))
    await cancel(registry, 2, 50)
    answer = await ask(registry)
    (zone,) = answer.zones
    assert [(each.matched_wh, each.excess_wh, each.uncovered_wh, each.coverage) for each in zone.periods] == [
        (500, 200, 0, "1/1"),
        (400, 0, 400, "1/2"),
        (0, 50, 0, None),
        (0, 0, 100, "0/1"),
    ]
    assert zone.periods[0].start == moment(0)
    hour, day = zone.totals["hour"], zone.totals["day"]
    assert (hour.matched_wh, hour.coverage, hour.coverage_percent) == (900, "9/14", "64.28")
    assert (day.matched_wh, day.coverage_percent) == (1150, "82.14")
    assert answer.totals == zone.totals
    assert set(answer.totals) == set(Granularity)
    assert answer.certificates == 3
    (whole,) = (await ask(registry, granularity="year")).zones[0].periods
    assert (whole.matched_wh, whole.start, whole.end) == (1150, moment(0), moment(4))


async def test_what_was_cancelled_for_somebody_else_covers_only_that_one(registry: RegistryNode) -> None:
    await registry.issue(0, 2)
    await consume(registry, ACCOUNT, "NL", 1000)
    await consume(registry, OTHER_ACCOUNT, "NL", 1000)
    await cancel(registry, 0, 100)
    await cancel(registry, 0, 200, beneficiary="Mill & Sons")
    await cancel(registry, 0, 300, beneficiary=OTHER_ACCOUNT)
    await cancel(registry, 0, 50, beneficiary=registry.chain.owner.public.hex())
    assert (await ask(registry)).totals["hour"].matched_wh == 100
    assert (await ask(registry, OTHER_ACCOUNT)).totals["hour"].matched_wh == 300


async def test_zones_do_not_cover_each_other(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await cancel(registry, 0, 1000)
    await consume(registry, ACCOUNT, "DE-LU", 400)
    answer = await ask(registry, granularity="year")
    assert [(each.zone, each.totals["year"].matched_wh) for each in answer.zones] == [("DE-LU", 0), ("NL", 0)]
    assert (answer.totals["year"].consumption_wh, answer.totals["year"].cancelled_wh) == (400, 1000)
    assert answer.totals["year"].matched_wh == 0
    assert [each.zone for each in (await ask(registry, zone="NL")).zones] == ["NL"]
    assert (await ask(registry, zone="FR")).zones == []


async def test_intervals_across_hours_and_edges_are_spread(registry: RegistryNode) -> None:
    request = {
        "device_id": DEVICE,
        "readings": [{"start": moment(0.5), "end": moment(1.5), "energy_wh": 1001}],
    }
    await registry.resolved(Kind.CREATE_MANY, request)
    # Split before it is cancelled, which must not matter.
    await act(registry, Kind.CANCEL, certificate_quantity=333)
    await act(registry, Kind.CANCEL, certificate_quantity=668)
    await consume(registry, ACCOUNT, "NL", 600, first=0.5)
    (zone,) = (await ask(registry)).zones
    assert [(each.consumption_wh, each.cancelled_wh) for each in zone.periods] == [(300, 501), (300, 500)]
    (edge,) = (await ask(registry, start=moment(1))).zones
    assert [(each.consumption_wh, each.cancelled_wh) for each in edge.periods] == [(300, 500)]


async def test_without_consumption_nothing_is_covered(registry: RegistryNode) -> None:
    answer = await ask(registry)
    assert answer.zones == []
    assert (answer.totals["year"].coverage, answer.totals["year"].coverage_percent) == (None, None)


async def test_an_account_that_is_not_there(registry: RegistryNode) -> None:
    with pytest.raises(NotFound):
        await ask(registry, "00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "2026-01-01T00:30:00Z"},
        {"end": moment(0)},
        {"end": "2037-01-01T00:00:00Z"},
        {"start": "9999-06-01T00:00:00Z", "end": "9999-07-01T00:00:00Z"},
        {"granularity": "quarter"},
        {"zone": ""},
    ],
)
def test_questions_that_cannot_be_asked(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields):
        read(MatchingQuestion, {"account_id": ACCOUNT, "start": moment(0), "end": moment(4)} | fields)


async def test_questions_are_bounded(registry: RegistryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    await registry.issue(0, 3)
    await consume(registry, ACCOUNT, "NL", 1, 1, 1)
    await act(registry, Kind.CANCEL)
    for module, name in ((service, "MOST_READINGS"), (retired, "MOST_BUNDLES"), (service, "MOST_PERIODS")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 2)
            with pytest.raises(TooMuch, match="more than 2"):
                await ask(registry)
    for name in ("MOST_RECORDS", "MOST_PAGES"):
        with monkeypatch.context() as patch:
            patch.setattr(residual, name, 1)
            with pytest.raises(TooMuch):
                await ask_mix(registry)


async def test_the_residual_mix_of_a_zone(registry: RegistryNode, clock: Clock) -> None:
    await measure(registry, 0, 4, 1000)
    await registry.issue(0, 3)
    await cancel(registry, 0, 600)
    await act(registry, Kind.CLAIM)
    await cancel(registry, 1, 100, beneficiary="Mill & Sons")
    period = {"certificate_period_start": moment(2), "certificate_period_end": moment(3)}
    await act(registry, Kind.WITHDRAW, certificate_quantity=300, **period)
    answer = await ask_mix(registry, total_consumption_wh=10_000)
    (solar,) = answer.sources
    assert (solar.energy_source, solar.production_wh, solar.measured_wh) == ("solar_pv", 4000, 4000)
    assert (solar.issued_wh, solar.withdrawn_wh, solar.cancelled_wh) == (2700, 300, 700)
    assert (solar.residual_wh, solar.held_wh, answer.is_final) == (3300, 2000, False)
    assert answer.untracked_wh == 6000
    assert [(each.energy_source, each.energy_wh, each.share, each.share_percent) for each in answer.mix] == [
        ("solar_pv", 3300, "11/31", "35.48"),
        ("untracked", 6000, "20/31", "64.51"),
    ]
    clock.now_ms += 3 * 365 * 86_400_000
    (later,) = (await ask_mix(registry)).sources
    assert (later.expired_wh, later.held_wh, later.residual_wh) == (2000, 0, 3300)


async def test_an_interval_counts_for_the_time_in_which_it_begins(registry: RegistryNode) -> None:
    await measure(registry, 0, 4, 1000)
    await registry.issue(0, 4)
    answer = await ask_mix(registry, start=moment(1), end=moment(3))
    assert [(each.production_wh, each.issued_wh) for each in answer.sources] == [(2000, 2000)]
    assert (await ask_mix(registry, zone="DE-LU")).sources == []


async def test_certificates_that_back_a_charge_cover_nothing(registry: RegistryNode) -> None:
    battery = Battery(registry)
    await battery.open()
    await battery.charged(0, 1000)
    await battery.cancelled(1, 1000)
    await consume(registry, ACCOUNT, "NL", 800, 800)
    assert (await ask(registry)).totals["hour"].matched_wh == 800
    question = read(StatementQuestion, {"account_id": ACCOUNT, "start": moment(0), "end": moment(4)})
    told = await state_cancellations(registry.registry.ground, question)
    assert (told.statement.energy_wh, told.charged_wh) == (2000, 1000)
