"""Sun, wind and households: the shapes that make them believable, and that they tell the same twice."""

from datetime import UTC, datetime
from itertools import pairwise
from math import asin, degrees

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.meters.amounts import milliwatthours
from bridge.simulator.household import household_watts
from bridge.simulator.noise import HOUR_MS, draw, smooth, weather
from bridge.simulator.season import Place
from bridge.simulator.site import MIX, SiteKind, kwh_text, site_of
from bridge.simulator.sun import clear_sky, panel_watts, sine_of_height, through_clouds
from bridge.simulator.wind import turbine_watts, wind_speed

DAY_MS = 24 * HOUR_MS
BERLIN = Place(52.5, 13.4)
BANGKOK = Place(13.75, 100.5)
SYDNEY = Place(-33.9, 151.2)


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def noon(place, day):
    return at(f"{day}T12:00:00") - round(place.longitude / 15 * HOUR_MS)


def year_of(watts, step_hours=3):
    return [watts(at("2026-01-01T00:00:00") + n * step_hours * HOUR_MS) for n in range(365 * 24 // step_hours)]


@pytest.mark.parametrize(
    ("place", "day", "height"),
    [
        (BERLIN, "2026-06-21", 60.9),
        (BERLIN, "2026-12-21", 14.1),
        (BANGKOK, "2026-04-27", 89.7),
        (SYDNEY, "2026-12-21", 79.5),
    ],
)
def test_the_sun_stands_as_high_at_noon_as_it_does(place, day, height):
    assert degrees(asin(sine_of_height(place, noon(place, day)))) == pytest.approx(height, abs=1.0)


def test_there_is_no_sun_at_night_and_most_at_noon():
    day = [panel_watts("roof", BERLIN, 5000, noon(BERLIN, "2026-06-21") + n * HOUR_MS) for n in range(-12, 12)]
    assert day[0] == day[1] == 0
    assert max(day) == max(day[9:16]) > 1000
    assert clear_sky(-0.1) == 0


def test_summers_have_more_sun_than_winters_on_either_half():
    def light(place, month):
        hours = [at(f"2026-{month:02d}-15T00:00:00") + n * HOUR_MS for n in range(24)]
        return sum(clear_sky(sine_of_height(place, hour)) for hour in hours)

    assert light(BERLIN, 6) > 4 * light(BERLIN, 12)
    assert light(SYDNEY, 12) > 2 * light(SYDNEY, 6)


def test_clouds_take_light_but_never_all_of_it():
    assert through_clouds(0) == 1
    assert through_clouds(0.5) > 0.9
    assert through_clouds(1) == 0.25


def test_wind_is_strong_at_times_calm_at_others_and_lasts():
    speeds = year_of(lambda ms: wind_speed("hill", BERLIN, ms), 1)
    assert 6 < sum(speeds) / len(speeds) < 9
    assert min(speeds) < 2
    assert max(speeds) > 17
    steps = [abs(one - other) for one, other in pairwise(speeds)]
    spread = [abs(one - other) for one, other in zip(speeds, speeds[500:], strict=False)]
    assert sum(steps) / len(steps) < 0.4 * sum(spread) / len(spread)


@pytest.mark.parametrize(("speed", "watts"), [(0, 0), (2.9, 0), (12, 1000), (24.9, 1000), (25, 0), (40, 0)])
def test_a_turbine_turns_between_its_limits(speed, watts):
    assert turbine_watts(speed, 1000) == watts


def test_a_turbine_gives_more_the_stronger_the_wind():
    given_watts = [turbine_watts(speed / 10, 1000) for speed in range(30, 121)]
    assert given_watts == sorted(given_watts)


def test_households_draw_most_in_the_evening_and_always_something():
    by_hour = [0.0] * 24
    for n in range(365 * 24):
        by_hour[n % 24] += household_watts("home", Place(50, 0), 400, at("2026-01-01T00:00:00") + n * HOUR_MS)
    assert by_hour.index(max(by_hour)) in (18, 19, 20)
    assert by_hour.index(min(by_hour)) in (1, 2, 3, 4)
    assert min(by_hour) > 0
    assert 300 < sum(by_hour) / (365 * 24) < 700


def test_chance_is_a_function_of_names_and_even():
    draws = [draw("a", n) for n in range(4000)]
    assert draws == [draw("a", n) for n in range(4000)]
    assert draws != [draw("b", n) for n in range(4000)]
    assert 0.48 < sum(draws) / 4000 < 0.52


@given(st.integers(0, 2**42))
def test_noise_stays_within_its_bounds_and_has_no_jumps(ms):
    assert 0 <= weather("x", ms) <= 1
    assert abs(smooth("x", ms + 1, HOUR_MS) - smooth("x", ms, HOUR_MS)) < 1e-5


@given(st.integers(0, 10**12))
def test_kwh_have_six_decimals_and_are_read_as_what_they_were(mwh):
    text = kwh_text(mwh)
    assert len(text.partition(".")[2]) == 6
    assert milliwatthours(text) == mwh


@pytest.mark.parametrize("kind", list(SiteKind))
def test_a_site_tells_the_same_of_an_interval_whenever_it_is_asked(kind):
    starts = [at("2026-05-05T00:00:00") + n * 300_000 for n in range(288)]
    first = [site_of(7, "METER-001", kind).energy(start, 300_000) for start in starts]
    assert first == [site_of(7, "METER-001", kind).energy(start, 300_000) for start in reversed(starts)][::-1]
    assert first != [site_of(8, "METER-001", kind).energy(start, 300_000) for start in starts]
    assert all(isinstance(energy.generated_mwh, int) for energy in first)


def test_a_household_without_a_source_never_has_anything_to_give():
    site = site_of(1, "METER-004", SiteKind.LOAD)
    energies = [site.energy(at("2026-01-01T00:00:00") + n * DAY_MS // 7, 900_000) for n in range(365 * 7)]
    assert all(energy.surplus_mwh < 0 for energy in energies)


def test_of_fifty_meters_some_have_always_something_to_give():
    sites = [site_of(1, f"METER-{n:03d}", MIX[n % 10]) for n in range(50)]
    for hour in range(0, 24 * 30, 5):
        start = at("2026-11-01T00:00:00") + hour * HOUR_MS
        assert sum(site.energy(start, 5000).surplus_mwh > 0 for site in sites) >= 5


def test_with_speed_a_day_goes_by_in_minutes():
    usual, fast = site_of(1, "M", SiteKind.SOLAR), site_of(1, "M", SiteKind.SOLAR, speed=144)
    midnight = at("2026-06-01T00:00:00")
    assert fast.generated_watts(midnight + 5 * 60_000) == usual.generated_watts(midnight + 12 * HOUR_MS)
