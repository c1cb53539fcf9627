"""Topic names by BRC-87."""

from __future__ import annotations

import pytest

from certificates.policy import Scope
from config.errors import BadRequest, ErrorCode
from topics.names import certificate_topic, certificate_topics, is_topic_name


@pytest.mark.parametrize("name", ["tm_a", "tm_metawatt_gc", "tm_metawatt_gc_solar_pv_de", "tm_" + "a" * 47])
def test_names(name: str) -> None:
    assert is_topic_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "tm", "tm_", "ls_a", "tm_A", "tm_a1", "tm_a__b", "tm_a_", "tm_a\n", "tm-a", "xtm_a", "tm_" + "a" * 48],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_topic_name(name)


def test_sources_by_regions() -> None:
    topics = {topic.name: topic.scope for topic in certificate_topics(["solar_pv", "Wind"], ["de", "DK"])}
    assert topics == {
        "tm_metawatt_gc": Scope(),
        "tm_metawatt_gc_solar_pv": Scope("solar_pv"),
        "tm_metawatt_gc_wind": Scope("wind"),
        "tm_metawatt_gc_de": Scope(None, "DE"),
        "tm_metawatt_gc_dk": Scope(None, "DK"),
        "tm_metawatt_gc_solar_pv_de": Scope("solar_pv", "DE"),
        "tm_metawatt_gc_solar_pv_dk": Scope("solar_pv", "DK"),
        "tm_metawatt_gc_wind_de": Scope("wind", "DE"),
        "tm_metawatt_gc_wind_dk": Scope("wind", "DK"),
    }


@pytest.mark.parametrize(
    ("sources", "regions", "reason"),
    [
        (["7"], [], "no letters"),
        (["wind"], ["xx"], "not a country"),
        (["wind"], ["deu"], "not a country"),
        (["a" * 40], [], "over 50"),
        (["solar", "solar_de"], ["de"], "two topics"),
        (["de"], ["de"], "two topics"),
        (["wind", "Wind"], [], "two topics"),
    ],
)
def test_settings_that_give_no_topics(sources: list[str], regions: list[str], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        certificate_topics(sources, regions)
    assert caught.value.code is ErrorCode.SETTINGS_INVALID


def test_one_topic() -> None:
    assert certificate_topic("Solar PV", "de").name == "tm_metawatt_gc_solar_pv_de"
